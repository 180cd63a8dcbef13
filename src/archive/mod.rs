//! Repositories and archives: layout, manifest, chunks, streams. The specification is `docs/format.md`.

pub mod digest;
pub mod index;
