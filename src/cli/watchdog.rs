//! Ends work of which nothing was heard for a set time: loudly, instead of waiting for ever.

use std::time::Duration;

use super::human;
use super::progress::{LastHeard, Shown};
use super::signals;
use crate::error::{Error, Result};

/// Runs `work`, but no longer than `limit` after the last that was heard of it; then it is dropped, as after a signal, and the error
/// says where it stood. Without a limit it may take for ever.
pub(crate) async fn guarded<T>(
    work: impl Future<Output = Result<T>>,
    limit: Option<Duration>,
    shown: &Shown,
) -> Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    tokio::select! {
        ended = work => ended,
        heard = silence(limit, shown) => {
            // `work` is dropped by now, and has asked its servers to cancel.
            tokio::time::sleep(signals::GRACE).await;
            Err(stalled(limit, &heard))
        }
    }
}

/// Waits until nothing was heard for so long.
async fn silence(limit: Duration, shown: &Shown) -> LastHeard {
    loop {
        let heard = shown.last_heard();
        let Some(rest) = limit
            .checked_sub(heard.at.elapsed())
            .filter(|d| !d.is_zero())
        else {
            return heard;
        };
        tokio::time::sleep(rest).await;
    }
}

fn stalled(limit: Duration, heard: &LastHeard) -> Error {
    let place = match (heard.phase, &heard.task) {
        (None, _) => "before the first phase".to_owned(),
        (Some(phase), None) => format!("phase {phase}"),
        (Some(phase), Some(task)) => format!("phase {phase}, the last that ended was {task}"),
    };
    Error::failed(
        "the work was given up",
        format_args!("nothing has moved for {}: {place}", human::duration(limit)),
        "see what the server waits for (pg_stat_activity, pg_locks) and whether the store answers; --stall-timeout sets the time",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::progress::Style;
    use crate::progress::Event;

    fn shown() -> Shown {
        Shown::new(Style::None, false, false)
    }

    async fn moves(shown: &Shown, n: u32, every: Duration) -> Result<u32> {
        shown.progress().event(Event::Phase {
            name: "data",
            bytes: 0,
            tasks: 0,
        });
        for _ in 0..n {
            tokio::time::sleep(every).await;
            shown.progress().event(Event::Bytes(1));
        }
        shown.progress().event(Event::Task("table t".to_owned()));
        std::future::pending().await
    }

    #[tokio::test]
    async fn what_moves_may_take_longer_and_what_does_not_is_named_with_its_place() {
        let (shown, limit) = (shown(), Duration::from_millis(300));
        let begun = std::time::Instant::now();
        let work = moves(&shown, 10, Duration::from_millis(100));
        let error = guarded(work, Some(limit), &shown).await.unwrap_err();
        assert!(
            begun.elapsed() > Duration::from_secs(1),
            "it moved for a second"
        );
        let text = error.to_string();
        assert!(
            text.contains("phase data, the last that ended was table t"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn without_a_limit_it_is_only_the_work() {
        let work = async { Ok(7) };
        assert_eq!(guarded(work, None, &shown()).await.unwrap(), 7);
        let work = async { Ok(8) };
        let limit = Some(Duration::from_secs(5));
        assert_eq!(guarded(work, limit, &shown()).await.unwrap(), 8);
    }
}
