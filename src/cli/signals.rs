//! Signals: the first one ends the work in an orderly way, the second one at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// How long cancel requests that the dropped work sends to servers may take.
pub(super) const GRACE: Duration = Duration::from_millis(700);

/// Runs `work` until it ends or a signal comes; then it is dropped and the result is [`Error::Cancelled`].
pub(crate) async fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        ended = work => ended,
        () = signals.next() => {
            // `work` is dropped by now.
            tokio::select! {
                () = tokio::time::sleep(GRACE) => Err(Error::Cancelled),
                () = signals.next() => std::process::exit(130),
            }
        }
    }
}

/// The hangup is left to its default, so that `nohup` keeps its meaning.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Signals> {
        let listen =
            |kind| signal(kind).map_err(|e| Error::failed("listening for signals", e, "try again"));
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
