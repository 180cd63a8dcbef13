//! `pgark.json`: what makes a folder a repository.

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::chunker::ChunkSettings;
use super::crypt::CIPHER;
use super::manifest::FORMAT;
use super::sealed;
use crate::error::{Error, Result};
use crate::sql::printable;
use crate::store::Key;

/// The marker's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The format a reader must know.
    pub format: u32,
    /// 128 random bits as 32 hexadecimal digits.
    pub repository: String,
    /// How rows are cut into chunks.
    pub chunks: ChunkSettings,
    /// How what is stored is sealed; `None` where nothing is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// What the marker of an encrypted repository says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// The cipher.
    pub cipher: String,
    /// What a right key is recognised by, 64 hexadecimal digits.
    pub check: String,
}

impl Marker {
    /// A new repository's marker, with an id of its own.
    pub fn new(chunks: ChunkSettings) -> Marker {
        Marker {
            format: FORMAT,
            repository: random_id(),
            chunks,
            encryption: None,
        }
    }

    /// Where the marker lies.
    pub fn key() -> Key {
        Key::new("pgark.json")
    }

    /// Reads the marker of the repository at `location`.
    pub fn read(bytes: &[u8], location: &str) -> Result<Marker> {
        #[derive(Deserialize)]
        struct Gate {
            format: u32,
        }
        let object = format!("repository {location}");
        let (gate, _): (Gate, _) = sealed::read(bytes, &object, Marker::key().as_str())?;
        if gate.format > FORMAT {
            return Err(Error::Feature {
                what: object,
                feature: format!("repository format {}", gate.format),
            });
        }
        let (marker, _): (Marker, _) = sealed::read(bytes, &object, Marker::key().as_str())?;
        if let Some(encryption) = &marker.encryption
            && encryption.cipher != CIPHER
        {
            return Err(Error::Feature {
                what: object,
                feature: format!("cipher {}", printable(&encryption.cipher)),
            });
        }
        if !marker.chunks.is_sound() {
            return Err(Error::corrupt(
                object,
                Marker::key(),
                "its chunk settings cannot be",
            ));
        }
        Ok(marker)
    }
}

/// 128 bits that nobody else has, as 32 hexadecimal digits.
pub(crate) fn random_id() -> String {
    let mut bytes = [0_u8; 16];
    let provider = rustls::crypto::ring::default_provider();
    if provider.secure_random.fill(&mut bytes).is_err() {
        // No secret hangs on it: time, process and a per-process random state tell ids apart as well.
        use std::hash::{BuildHasher as _, RandomState};
        let now = jiff::Timestamp::now().as_nanosecond();
        let seed = RandomState::new().hash_one((now, std::process::id()));
        bytes.copy_from_slice(&sha2::Sha256::digest(seed.to_le_bytes())[..16]);
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_reads_back_and_ids_differ() {
        let marker = Marker::new(ChunkSettings::default());
        let (bytes, _) = sealed::seal(&marker);
        assert_eq!(Marker::read(&bytes, "r").unwrap(), marker);
        assert_eq!(marker.repository.len(), 32);
        assert_ne!(random_id(), random_id());
    }

    #[test]
    fn newer_encrypted_and_senseless_markers_are_told_apart() {
        let read = |change: &dyn Fn(&mut Marker)| {
            let mut marker = Marker::new(ChunkSettings::default());
            change(&mut marker);
            Marker::read(&sealed::seal(&marker).0, "r").unwrap_err()
        };
        let newer = read(&|marker| marker.format = 2);
        assert!(
            matches!(newer, Error::Feature { feature, .. } if feature == "repository format 2")
        );
        let encrypted = read(&|marker| {
            marker.encryption = Some(Encryption {
                cipher: "rot13".into(),
                check: String::new(),
            });
        });
        assert!(matches!(encrypted, Error::Feature { feature, .. } if feature == "cipher rot13"));
        let senseless = read(&|marker| marker.chunks.bytes_max = 0);
        assert!(matches!(senseless, Error::Corrupt { .. }));
    }
}
