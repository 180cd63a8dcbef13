//! Signals: the first one ends the work in an orderly way, the second one at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// Runs `work` until it ends or a signal comes; then it is dropped and the result is [`Error::Cancelled`].
pub(crate) async fn interruptible<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut signals = Signals::listen()?;
    tokio::select! {
        ended = work => ended,
        () = signals.next() => {
            // Dropping `work` may take a moment on other threads; who is in a hurry signals again.
            tokio::spawn(async move {
                signals.next().await;
                std::process::exit(130);
            });
            Err(Error::Cancelled)
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
        let listen = |kind| {
            signal(kind).map_err(|e| Error::failed("listening for signals", e, "try again"))
        };
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
