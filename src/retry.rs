//! Trying again what may pass: how often, how long, and with which pauses. What may pass is known to those who call.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::progress::{Event, Progress};

/// How often and how long something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Tries at most, the first one included.
    pub tries_max: u32,
    /// No try begins after this long.
    pub lasts: Duration,
    /// The first pause; each next one is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Patience {
    /// The pause after try number `tries`, which failed `elapsed` after the first began; `None` if there is no other try.
    ///
    /// `chance`, from 0 to 1, chooses between half the pause and all of it: clients that failed together do not come back together.
    pub fn pause_after(&self, tries: u32, elapsed: Duration, chance: f64) -> Option<Duration> {
        let left = self.lasts.checked_sub(elapsed)?;
        if tries >= self.tries_max || left.is_zero() {
            return None;
        }
        let doublings = tries.saturating_sub(1).min(20);
        let longest = self.pause.saturating_mul(1 << doublings);
        let half = longest.min(self.pause_max) / 2;
        // The last try is made at the end of the time, not left out.
        Some((half + half.mul_f64(chance.clamp(0.0, 1.0))).min(left))
    }
}

/// The tries of one thing.
pub struct Trying {
    patience: Patience,
    told: Arc<dyn Progress>,
    tries: u32,
    started: Instant,
}

impl Trying {
    /// Begins with the first try. Whoever is `told` hears of each one after it.
    pub fn new(patience: Patience, told: Arc<dyn Progress>) -> Trying {
        Trying {
            patience,
            told,
            tries: 1,
            started: Instant::now(),
        }
    }

    /// Tries so far, the one under way included.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// How long it has been tried.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Lets it be tried for so much longer, from now.
    pub fn go_on_for(&mut self, left: Duration) {
        self.patience.lasts = self.elapsed() + left;
    }

    /// Waits for the next try at `what`, which failed because of `problem`; false if there is none.
    pub async fn again(&mut self, what: impl fmt::Display, problem: impl fmt::Display) -> bool {
        let chance = (RandomState::new().hash_one(self.tries) % 1000) as f64 / 1000.0;
        let pause = self
            .patience
            .pause_after(self.tries, self.elapsed(), chance);
        let Some(pause) = pause else {
            return false;
        };
        self.told.event(Event::Retry {
            what: what.to_string(),
            problem: problem.to_string(),
            tries: self.tries,
            pause,
        });
        tokio::time::sleep(pause).await;
        self.tries += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PATIENCE: Patience = Patience {
        tries_max: 6,
        lasts: Duration::from_secs(10),
        pause: Duration::from_millis(100),
        pause_max: Duration::from_millis(500),
    };

    #[test]
    fn pauses_double_up_to_a_limit_and_differ_by_chance() {
        let pause = |tries, chance| PATIENCE.pause_after(tries, Duration::ZERO, chance);
        let ms = |ms| Some(Duration::from_millis(ms));
        let all: Vec<_> = (1..=6).map(|tries| pause(tries, 1.0)).collect();
        assert_eq!(all, [ms(100), ms(200), ms(400), ms(500), ms(500), None]);
        assert_eq!((pause(2, 0.0), pause(2, 0.5)), (ms(100), ms(150)));
        let many = Patience {
            tries_max: u32::MAX,
            ..PATIENCE
        };
        assert_eq!(many.pause_after(u32::MAX - 1, Duration::ZERO, 1.0), ms(500));
    }

    #[test]
    fn time_ends_it_and_the_last_try_is_at_its_end() {
        let pause = |elapsed| PATIENCE.pause_after(3, Duration::from_millis(elapsed), 1.0);
        assert_eq!(pause(9_500), Some(Duration::from_millis(400)));
        assert_eq!(pause(9_900), Some(Duration::from_millis(100)));
        assert_eq!((pause(10_000), pause(11_000)), (None, None));
        let never = Patience {
            lasts: Duration::ZERO,
            ..PATIENCE
        };
        assert_eq!(never.pause_after(1, Duration::ZERO, 0.0), None);
    }

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Progress for Heard {
        fn event(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    #[tokio::test]
    async fn each_further_try_is_told() {
        let heard = Arc::new(Heard::default());
        let patience = Patience {
            tries_max: 3,
            pause: Duration::from_millis(1),
            ..PATIENCE
        };
        let mut trying = Trying::new(patience, heard.clone());
        while trying.again("the store", "a hiccup").await {}
        assert_eq!(trying.tries(), 3);
        let heard = heard.0.lock().unwrap();
        let told: Vec<String> = heard.iter().map(|event| format!("{event:?}")).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("a hiccup") && told[1].contains("tries: 2"));
    }
}
