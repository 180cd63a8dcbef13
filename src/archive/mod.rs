//! Repositories and archives: layout, manifest, chunks, streams. The specification is `docs/format.md`.

pub mod buffer;
mod chunk_memory;
pub mod chunker;
pub mod chunks;
pub mod codec;
pub mod cpu;
pub mod crypt;
#[cfg(test)]
pub(crate) mod damaged;
pub mod digest;
pub mod fingerprint;
#[cfg(test)]
pub(crate) mod fixture;
pub mod index;
pub mod job_lock;
pub mod jsonl;
mod key_values;
pub mod lease;
pub mod manifest;
pub mod marker;
pub mod name;
pub mod records;
pub mod repository;
pub mod rows_at;
pub mod sealed;

pub use chunks::{ChunkRef, ChunkStore, StoredChunk};
pub use cpu::CpuPool;
pub use crypt::{KdfCost, KeySlot, Passphrase, Unlock};
pub use digest::Digest;
pub use fingerprint::Fingerprint;
pub use manifest::Manifest;
pub use name::ArchiveName;
pub(crate) use repository::AnnouncedAs;
pub use repository::{Archive, GroupFilter, Listed, ListedSlot, Repository};
