//! Where the tap puts the rows of `COPY … TO STDOUT`. What rows mean is left to those who implement it.

use std::task::{Context, Poll};

/// Receives the rows of COPY OUT. Called on the connection's task: must not block and must not use the session.
pub trait CopySink: Send {
    /// Pending (the waker kept) stops the reading of the socket until the waker is woken.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// A COPY began; `binary` is its format.
    fn begin(&mut self, binary: bool);

    /// A piece of one `CopyData` body. In text format one message is one row with its newline.
    ///
    /// `ends_message` is true exactly once per message, on its last piece; that piece may be empty only if the message is.
    fn data(&mut self, fragment: &[u8], ends_message: bool);

    /// The COPY's last row was given. Its success is known only when the query returns; where that holds several, another may begin.
    fn end(&mut self);

    /// Itself, for who gave it away and wants to know its type again.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// Swallows what an abandoned COPY still sends.
pub(super) struct Discard;

impl CopySink for Discard {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    fn begin(&mut self, _: bool) {}
    fn data(&mut self, _: &[u8], _: bool) {}
    fn end(&mut self) {}
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}
