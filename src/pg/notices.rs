//! Driving a connection: its task keeps what the server says beside results, and why the connection ended.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::{AsyncMessage, Connection};

use super::tap::Tap;
use super::wire::{TappedWire, Wire};

/// Notices kept per session; more are counted but dropped.
const NOTICES_MAX: usize = 200;
/// Bytes kept of each text of a notice.
const TEXT_BYTES_MAX: usize = 8192;

/// What the server said beside its results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `WARNING`, `NOTICE`, …, never translated where the server says so.
    pub severity: String,
    /// The SQLSTATE.
    pub code: String,
    /// The text.
    pub message: String,
    /// More text, or empty.
    pub detail: String,
    /// Advice, or empty.
    pub hint: String,
}

impl Notice {
    fn new(notice: &tokio_postgres::error::DbError) -> Self {
        let text = |field: Option<&str>| shortened(field.unwrap_or_default());
        Notice {
            severity: notice
                .parsed_severity()
                .map_or_else(|| notice.severity().to_owned(), |s| s.to_string()),
            code: notice.code().code().to_owned(),
            message: shortened(notice.message()),
            detail: text(notice.detail()),
            hint: text(notice.hint()),
        }
    }
}

/// The beginning of a text, so that what is kept stays small whatever a server sends.
fn shortened(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let is_end = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=TEXT_BYTES_MAX).rev().find(is_end).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[derive(Default)]
struct Letters {
    notices: VecDeque<Notice>,
    n_dropped: u64,
    end: Option<tokio_postgres::Error>,
}

/// What the connection's task leaves for the session.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<Letters>);

impl Mailbox {
    /// Takes the notices; when there were too many, the last one says how many were dropped.
    pub(super) fn take(&self) -> Vec<Notice> {
        let mut letters = self.open();
        let mut notices: Vec<Notice> = letters.notices.drain(..).collect();
        let n_dropped = std::mem::take(&mut letters.n_dropped);
        if n_dropped > 0 {
            notices.push(Notice {
                severity: "WARNING".to_owned(),
                code: "01000".to_owned(),
                message: format!("{n_dropped} more notices were dropped"),
                detail: String::new(),
                hint: String::new(),
            });
        }
        notices
    }

    /// Takes the reason why the connection ended, if it was not our goodbye.
    pub(super) fn take_end(&self) -> Option<tokio_postgres::Error> {
        self.open().end.take()
    }

    fn open(&self) -> MutexGuard<'_, Letters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives a connection to its end.
pub(super) async fn drive(
    mut connection: Connection<Tap<Wire>, TappedWire>,
    mailbox: Arc<Mailbox>,
) {
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => {
                let mut letters = mailbox.open();
                if letters.notices.len() < NOTICES_MAX {
                    letters.notices.push_back(Notice::new(&notice));
                } else {
                    letters.n_dropped += 1;
                }
            }
            Ok(_) => {}
            // Stored before the connection is dropped, which is when waiting statements fail.
            Err(error) => {
                mailbox.open().end = Some(error);
                return;
            }
        }
    }
}
