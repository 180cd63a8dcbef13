//! Everything that talks to a PostgreSQL server over tokio-postgres.
//!
//! [`settings`] says where to, [`connect()`] makes a [`Session`], and statements run through it alone.

pub mod cancel;
pub mod connect;
mod conninfo;
mod contact;
pub mod copy;
pub mod environment;
mod keywords;
mod limits;
pub mod notices;
mod outgoing;
mod passfile;
pub mod pin;
pub mod pooler;
mod refusal;
mod resolve;
mod service;
pub mod session;
pub mod settings;
mod sink;
pub mod snapshot;
pub mod tap;
mod tls;
mod verify;
pub mod version;
mod wire;

pub use cancel::Canceller;
pub use connect::connect;
pub use copy::{CopyIn, CopyOut};
pub use environment::Environment;
pub use notices::Notice;
pub use session::Session;
pub use settings::ConnSettings;
pub use snapshot::{SnapshotId, SnapshotOwner, SnapshotReader};
pub use tap::{CopySink, TapHandle};
pub use version::ServerVersion;
