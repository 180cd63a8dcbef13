//! What an encrypted repository seals, and with which keys: the repository key and what is derived from it, slots that passphrases open,
//! sealed chunks and documents. No I/O. Where all this lies in a store belongs to `repository`; `docs/format.md` specifies it.

mod documents;
mod key;
mod sealer;
mod slot;
mod unlock;

use std::sync::Arc;

use crate::error::Error;

pub(crate) use documents::{InventoryLine, ManifestEnvelope, RecordEnvelope};
pub(crate) use key::RepositoryKey;
pub(crate) use sealer::{SEAL_BYTES, Sealer};
pub use slot::{KdfCost, KdfTerms, KeySlot};
pub use unlock::{PASSPHRASE_VARIABLE, Passphrase, Unlock};

/// The one cipher that this version knows.
pub(crate) const CIPHER: &str = "xchacha20-poly1305";

/// How a repository's bytes are sealed.
#[derive(Debug, Clone, Default)]
pub(crate) enum Sealing {
    /// Not at all.
    #[default]
    Plain,
    /// They are sealed, and the key is not known.
    Locked,
    /// They are sealed, and this opens and seals them.
    Open(Arc<Sealer>),
}

/// The error of whoever needs the key of the repository at `location` and has none.
pub(crate) fn key_missing(location: &str) -> Error {
    Error::Key {
        what: format!("repository {location} is encrypted, and no passphrase is given"),
        remedy: format!(
            "give it with --passphrase-file FILE or {PASSPHRASE_VARIABLE}, or name it in the configuration: passphrase = {{ file = \"FILE\" }}"
        ),
    }
}
