//! What the connections of one work know of their server: whether it was ever reached, since when it is not, and whether it is
//! still the one that it was. From it follows how long a connection is tried again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::refusal::Hope;
use crate::retry::Patience;

/// How long a connection is tried again unless the user says otherwise.
const RETRY: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Shared by all settings that were made of each other.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// The user's limit, which counts for whatever may pass.
    pub(super) retry: Option<Duration>,
    /// Whether the server must be in the life in which it was met first.
    pub(super) one_life: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    was_reached: bool,
    /// Since when no connection could be made.
    down_since: Option<Instant>,
    life: Option<String>,
}

impl Contact {
    pub(super) fn new(retry: Option<Duration>, one_life: bool) -> Contact {
        Contact {
            retry,
            one_life,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was made; false if the server is not in the life in which it was met first.
    pub(super) fn reached(&self, life: Option<String>) -> bool {
        let mut known = self.known();
        if self.one_life {
            match (&known.life, life) {
                (Some(before), Some(now)) if *before != now => return false,
                (None, life) => known.life = life,
                _ => {}
            }
        }
        known.was_reached = true;
        known.down_since = None;
        true
    }

    /// How much longer to try after a failure with this hope of an attempt that began then. All connections of a work share the time: a server that is gone is
    /// waited for once.
    pub(super) fn left(&self, hope: Hope, began: Instant, now: Instant) -> Duration {
        let mut known = self.known();
        let may_pass = match hope {
            Hope::None => false,
            Hope::Network => known.was_reached || self.retry.is_some(),
            Hope::Server => true,
        };
        if !may_pass {
            return Duration::ZERO;
        }
        let down = now - *known.down_since.get_or_insert(began);
        self.retry.unwrap_or(RETRY).saturating_sub(down)
    }
}

/// How connections are tried again; the time is added by what is left of it.
pub(super) const PATIENCE: Patience = Patience {
    tries_max: u32::MAX,
    lasts: Duration::ZERO,
    pause: PAUSE,
    pause_max: PAUSE_MAX,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_never_reached_is_tried_again_only_on_its_own_word_or_the_users() {
        let now = Instant::now();
        let lasts = |contact: &Contact, hope| contact.left(hope, now, now);
        let unmet = Contact::default();
        assert_eq!(lasts(&unmet, Hope::Network), Duration::ZERO);
        assert_eq!(lasts(&unmet, Hope::Server), RETRY);
        assert!(unmet.reached(None));
        assert_eq!(lasts(&unmet, Hope::Network), RETRY);
        assert_eq!(lasts(&unmet, Hope::None), Duration::ZERO);
        let minute = Duration::from_secs(60);
        let asked = Contact::new(Some(minute), false);
        assert_eq!(lasts(&asked, Hope::Network), minute);
        assert_eq!(lasts(&asked, Hope::None), Duration::ZERO);
        let never = Contact::new(Some(Duration::ZERO), false);
        assert_eq!(lasts(&never, Hope::Server), Duration::ZERO);
    }

    #[test]
    fn all_connections_share_the_time_until_one_is_made() {
        let (contact, now) = (Contact::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        let lasts = |at| contact.left(Hope::Server, at, at);
        assert_eq!(lasts(now), RETRY);
        assert_eq!(lasts(later(15)), Duration::from_secs(5));
        assert_eq!(lasts(later(30)), Duration::ZERO);
        assert!(contact.reached(None));
        assert_eq!(lasts(later(31)), RETRY);
    }

    #[test]
    fn another_life_is_refused_where_it_must_be_one() {
        let life = |text: &str| Some(text.to_owned());
        let contact = Contact::new(None, true);
        assert!(contact.reached(life("1")) && contact.reached(life("1")));
        assert!(!contact.reached(life("2")) && contact.reached(life("1")));
        let any = Contact::default();
        assert!(any.reached(life("1")) && any.reached(life("2")));
    }
}
