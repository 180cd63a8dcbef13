//! What comes along because something chosen needs it, for people.

use serde::Serialize;

/// An object that was not chosen and came along.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Brought {
    /// Kind and name: `table sales.customers`.
    pub object: String,
    /// Kind and name of what needs it.
    pub needed_by: String,
}
