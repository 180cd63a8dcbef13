//! What the tests share.

pub(crate) mod compare;
pub(crate) mod server;
