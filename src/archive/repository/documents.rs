//! Documents that an encrypted repository seals: manifests, records of drills and runs, and the inventories that stay readable.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Repository, manifest_key};
use crate::archive::chunker::ChunkSettings;
use crate::archive::chunks::{ChunkRef, ChunkStore};
use crate::archive::crypt::{InventoryLine, ManifestEnvelope, RecordEnvelope, Sealer, Sealing};
use crate::archive::digest::Digest;
use crate::archive::jsonl::{JsonlReader, JsonlWriter};
use crate::archive::manifest::{FORMAT, Manifest};
use crate::archive::name::ArchiveName;
use crate::archive::records::RecordKey;
use crate::archive::sealed::{self, Sealed};
use crate::error::{Error, Result};

/// What can be read of a manifest without the key.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// The chunks of the inventory.
    pub(crate) inventory: Vec<ChunkRef>,
    /// The seal, which stands for the archive.
    pub(crate) seal: Digest,
}

impl Repository {
    /// Reads the manifest of `name` in `bytes`, which lie at `place`; gives its seal too.
    pub(crate) fn manifest_in(
        &self,
        bytes: &[u8],
        name: &ArchiveName,
        place: &str,
    ) -> Result<(Manifest, Digest)> {
        let sealer = match &self.inner.sealing {
            Sealing::Plain => return Manifest::read(bytes, name, place),
            Sealing::Locked => {
                envelope(bytes, name, place)?;
                return Err(self.key_missing());
            }
            Sealing::Open(sealer) => sealer,
        };
        let damaged =
            |problem: &str| Error::corrupt(format_args!("archive {name}"), place, problem);
        let (envelope, seal) = envelope(bytes, name, place)?;
        // In the trash too it is sealed for the place at which it stood.
        let json = envelope
            .open(sealer, manifest_key(name).as_str())
            .map_err(damaged)?;
        let manifest = Manifest::parse(&json, name, place)?;
        if manifest.inventory != envelope.inventory {
            return Err(damaged(
                "names another inventory than the one that it seals",
            ));
        }
        Ok((manifest, seal))
    }

    /// What can be read without the key of the manifest of `name`, in an encrypted repository.
    pub(crate) async fn envelope(&self, name: &ArchiveName) -> Result<Envelope> {
        let key = manifest_key(name);
        let bytes = self.store().get(&key).await?;
        let object = format!("archive {name}");
        let bytes = bytes.ok_or_else(|| Error::corrupt(object, &key, "is missing"))?;
        let (envelope, seal) = envelope(&bytes, name, key.as_str())?;
        Ok(Envelope {
            inventory: envelope.inventory,
            seal,
        })
    }

    /// The manifest as it is stored, and its seal.
    pub(super) fn sealed_manifest(&self, manifest: &Manifest) -> Result<(Bytes, Digest)> {
        let sealer = match &self.inner.sealing {
            Sealing::Plain => return Ok(manifest.seal()),
            Sealing::Locked => return Err(self.key_missing()),
            Sealing::Open(sealer) => sealer,
        };
        let key = manifest_key(&manifest.name);
        Ok(sealed::seal(&ManifestEnvelope::seal(
            sealer,
            (&manifest.name, key.as_str()),
            &manifest.inventory,
            json(manifest),
        )))
    }

    /// The record as it is stored under `key`.
    pub(super) fn sealed_record(&self, key: &RecordKey, record: &impl Serialize) -> Result<Bytes> {
        let sealer = match &self.inner.sealing {
            _ if !key.is_secret() => return Ok(sealed::seal(record).0),
            Sealing::Plain => return Ok(sealed::seal(record).0),
            Sealing::Locked => return Err(self.key_missing()),
            Sealing::Open(sealer) => sealer,
        };
        let place = key.key();
        let envelope = RecordEnvelope::seal(sealer, place.as_str(), json(record));
        Ok(sealed::seal(&envelope).0)
    }

    /// Reads the record in `bytes`, which lie under `key`.
    pub(crate) fn record_in<T: DeserializeOwned>(
        &self,
        bytes: &[u8],
        key: &RecordKey,
    ) -> Result<T> {
        let place = key.key();
        let damaged = |problem: &str| Error::corrupt("record", &place, problem);
        let document = sealed::open(bytes).map_err(damaged)?;
        let json = match &self.inner.sealing {
            Sealing::Open(sealer) if key.is_secret() => Cow::Owned(
                opened(&document, sealer, place.as_str()).map_err(|text| damaged(&text))?,
            ),
            Sealing::Locked if key.is_secret() => {
                record_envelope(&document).map_err(|text| damaged(&text))?;
                return Err(self.key_missing());
            }
            _ => Cow::Borrowed(document.json),
        };
        serde_json::from_slice(&json).map_err(|error| damaged(&format!("does not parse: {error}")))
    }

    /// Stores the inventory of an archive of `chunks`: their names and stored bytes, readable without the key. There is none in a
    /// repository that is not encrypted.
    pub(crate) async fn write_inventory(
        &self,
        store: &ChunkStore,
        chunks: impl IntoIterator<Item = (Digest, u64)>,
    ) -> Result<Vec<ChunkRef>> {
        if !self.is_encrypted() {
            return Ok(Vec::new());
        }
        let lines = chunks
            .into_iter()
            .map(|(chunk, stored_bytes)| InventoryLine {
                chunk,
                stored_bytes,
            });
        let lines: BTreeSet<InventoryLine> = lines.collect();
        let settings: ChunkSettings = self.marker().chunks;
        let mut writer = JsonlWriter::new(store.unsealed(), settings);
        for line in &lines {
            writer.push(line).await?;
        }
        Ok(writer.finish().await?.refs())
    }

    /// The lines of an inventory; errors name `object`.
    pub(crate) fn inventory(
        &self,
        chunks: Vec<ChunkRef>,
        object: String,
    ) -> JsonlReader<InventoryLine> {
        JsonlReader::new(self.inventory_chunks(), chunks, object, "inventory")
    }

    /// The chunks of inventories, which need no key.
    pub(crate) fn inventory_chunks(&self) -> ChunkStore {
        self.chunks(1).unsealed()
    }
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have string keys and no I/O")
}

fn envelope(bytes: &[u8], name: &ArchiveName, place: &str) -> Result<(ManifestEnvelope, Digest)> {
    let object = format!("archive {name}");
    let damaged = |problem: &str| Error::corrupt(&object, place, problem);
    let sealed = sealed::open(bytes).map_err(damaged)?;
    known_format(&sealed).map_err(|feature| Error::Feature {
        what: object.clone(),
        feature,
    })?;
    let envelope: ManifestEnvelope = serde_json::from_slice(sealed.json)
        .map_err(|error| damaged(&format!("is not sealed as the repository is: {error}")))?;
    if envelope.name != *name {
        let problem = format!("is the manifest of another archive, {}", envelope.name);
        return Err(damaged(&problem));
    }
    Ok((envelope, sealed.seal))
}

/// The format by name if it is one of a newer version. What has no format is for the caller to judge.
fn known_format(sealed: &Sealed<'_>) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Gate {
        format: u32,
    }
    match serde_json::from_slice::<Gate>(sealed.json) {
        Ok(gate) if gate.format > FORMAT => Err(format!("sealed format {}", gate.format)),
        _ => Ok(()),
    }
}

fn record_envelope(sealed: &Sealed<'_>) -> Result<RecordEnvelope, String> {
    known_format(sealed).map_err(|format| format!("needs a newer pgark: {format}"))?;
    serde_json::from_slice(sealed.json)
        .map_err(|error| format!("is not sealed as the repository is: {error}"))
}

fn opened(document: &Sealed<'_>, sealer: &Sealer, place: &str) -> Result<Vec<u8>, String> {
    let envelope = record_envelope(document)?;
    envelope.open(sealer, place).map_err(str::to_owned)
}
