//! Progress as lines: for logs and pipes.

use std::time::{Duration, Instant};

use super::super::human;
use super::super::output::diagnostic;
use super::count::Count;
use crate::progress::Event;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Time between lines.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Writes a line when a phase that took a while ends, and every ten seconds. Ends with the value.
#[derive(Debug)]
pub(super) struct Lines {
    shared: Arc<Mutex<Pulse>>,
    /// Dropped to end the thread.
    _stop: Sender<()>,
}

#[derive(Debug)]
struct Pulse {
    count: Count,
    began: Instant,
}

impl Default for Lines {
    fn default() -> Lines {
        let shared = Arc::new(Mutex::new(Pulse {
            count: Count::default(),
            began: Instant::now(),
        }));
        let (stop, stopped) = channel::<()>();
        let pulse = Arc::clone(&shared);
        // A thread, because a line must come also when the runtime is busy or stuck: that is when people look.
        std::thread::spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                let pulse = pulse.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(line) = pulse.line(pulse.began.elapsed()) {
                    diagnostic(line);
                }
            }
        });
        Lines {
            shared,
            _stop: stop,
        }
    }
}

impl Lines {
    pub(super) fn event(&mut self, event: &Event) {
        let mut pulse = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if pulse.count.add(event) {
            pulse.began = Instant::now();
        }
    }
}

impl Pulse {
    /// `data: 12 GiB of 40 GiB, …, 2 min 5 s so far`
    fn line(&self, elapsed: Duration) -> Option<String> {
        if self.count.phase.is_empty() {
            return None;
        }
        let counted = self.count.text(elapsed);
        let comma = if counted.is_empty() { "" } else { ", " };
        let so_far = human::duration(elapsed);
        Some(format!(
            "{}: {counted}{comma}{so_far} so far",
            self.count.phase
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_phase() {
        let mut pulse = Pulse {
            count: Count::default(),
            began: Instant::now(),
        };
        assert_eq!(pulse.line(Duration::ZERO), None);
        pulse.count.add(&Event::Phase {
            name: "catalog",
            bytes: 0,
            tasks: 0,
        });
        let line = pulse.line(Duration::from_secs(10)).unwrap();
        assert_eq!(line, "catalog: 10.0 s so far");
    }
}
