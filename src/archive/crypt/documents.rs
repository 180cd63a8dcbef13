//! Envelopes: what of a sealed document can be read without the key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::sealer::Sealer;
use crate::archive::chunks::ChunkRef;
use crate::archive::digest::Digest;
use crate::archive::manifest::FORMAT;
use crate::archive::name::ArchiveName;

/// A line of an inventory: a chunk of an archive, whatever it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct InventoryLine {
    /// Its name.
    pub(crate) chunk: Digest,
    /// Its stored bytes.
    pub(crate) stored_bytes: u64,
}

/// A record that is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordEnvelope {
    /// The format a reader must know.
    pub(crate) format: u32,
    /// The repository's id.
    pub(crate) repository: String,
    sealed: String,
}

/// A manifest that is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestEnvelope {
    /// The format a reader must know.
    pub(crate) format: u32,
    /// The archive's name.
    pub(crate) name: ArchiveName,
    /// The repository's id.
    pub(crate) repository: String,
    /// The chunks of the inventory, which are not sealed.
    pub(crate) inventory: Vec<ChunkRef>,
    sealed: String,
}

impl RecordEnvelope {
    /// Seals the JSON of the record that belongs under `key`.
    pub(crate) fn seal(sealer: &Sealer, key: &str, json: Vec<u8>) -> RecordEnvelope {
        RecordEnvelope {
            format: FORMAT,
            repository: sealer.repository().to_owned(),
            sealed: STANDARD.encode(sealer.seal_document(key, json)),
        }
    }

    /// The record's JSON.
    pub(crate) fn open(&self, sealer: &Sealer, key: &str) -> Result<Vec<u8>, &'static str> {
        open(sealer, key, &self.sealed)
    }
}

impl ManifestEnvelope {
    /// Seals the JSON of the manifest of `name`, which belongs under `key`.
    pub(crate) fn seal(
        sealer: &Sealer,
        (name, key): (&ArchiveName, &str),
        inventory: &[ChunkRef],
        json: Vec<u8>,
    ) -> ManifestEnvelope {
        ManifestEnvelope {
            format: FORMAT,
            name: name.clone(),
            repository: sealer.repository().to_owned(),
            inventory: inventory.to_vec(),
            sealed: STANDARD.encode(sealer.seal_document(key, json)),
        }
    }

    /// The manifest's JSON.
    pub(crate) fn open(&self, sealer: &Sealer, key: &str) -> Result<Vec<u8>, &'static str> {
        open(sealer, key, &self.sealed)
    }
}

fn open(sealer: &Sealer, key: &str, text: &str) -> Result<Vec<u8>, &'static str> {
    let bytes = STANDARD.decode(text).map_err(|_| "is not Base64")?;
    sealer.open_document(key, bytes)
}
