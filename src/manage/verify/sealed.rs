//! Verifies encrypted archives: without the key by the inventory alone, with it also that the inventory says what the sealed lists say.

use std::collections::BTreeMap;

use super::archive::pieces;
use super::records::check_envelope;
use super::report::{Finding, VerifiedArchive};
use super::{Run, VerifyOptions};
use crate::archive::chunks::ChunkRef;
use crate::archive::digest::Digest;
use crate::archive::index::TableIndex;
use crate::archive::name::ArchiveName;
use crate::archive::records::Depth;
use crate::archive::repository::{Archive, Repository, manifest_key};
use crate::error::{Error, Result};

/// # Errors
/// [`Error::Key`] if rows are to be read and the key is not known.
pub(super) fn check_depth(repository: &Repository, options: &VerifyOptions) -> Result<()> {
    if options.depth < Depth::Full {
        return Ok(());
    }
    match repository.require_key() {
        Err(Error::Key { what, remedy }) => Err(Error::Key {
            what,
            remedy: format!("{remedy}; stored bytes are verified without it: --depth bytes"),
        }),
        other => other,
    }
}

impl Run<'_> {
    /// Everything that can be proved of an archive without the key: its seal, and every chunk that its inventory names.
    pub(super) async fn check_sealed(
        &mut self,
        name: &ArchiveName,
        verified: &mut VerifiedArchive,
    ) -> Result<Option<(Digest, bool)>> {
        let Some(envelope) = check_envelope(self.repository, name, &mut self.findings).await?
        else {
            return Ok(None);
        };
        let unsealed = self.repository.inventory_chunks();
        let whole = self
            .check_stream(&unsealed, name, "inventory", &envelope.inventory)
            .await;
        if !whole {
            return Ok(Some((envelope.seal, false)));
        }
        let object = format!("archive {name}");
        let lines = self.repository.inventory(envelope.inventory, object);
        let lines = match lines.collect().await {
            Ok(lines) => lines,
            Err(error) => {
                let problem = format!("contradicts itself: {error}");
                let finding = Finding::damage(Some(name), &manifest_key(name), problem);
                self.findings.push(finding);
                return Ok(Some((envelope.seal, false)));
            }
        };
        let chunks: Vec<ChunkRef> = lines
            .iter()
            .map(|line| ChunkRef {
                chunk: line.chunk,
                stored_bytes: line.stored_bytes,
                // Only who has the key knows; nothing is decoded here.
                chunk_bytes: 0,
            })
            .collect();
        verified.n_chunks = chunks.len() as u64;
        verified.stored_bytes = lines.iter().map(|line| line.stored_bytes).sum();
        self.referenced.extend(lines.iter().map(|line| line.chunk));
        let damaged = self.prove_chunks(&self.repository.chunks(1), chunks).await;
        for (chunk, problem) in damaged.into_iter().collect::<BTreeMap<_, _>>() {
            let key = self.key_of(&chunk);
            let lost = "what only the passphrase tells";
            self.findings
                .push(Finding::damage(Some(name), &key, problem).affecting(lost));
        }
        Ok(Some((envelope.seal, true)))
    }

    /// The inventory names the chunks of the sealed lists, all of them and no other.
    pub(super) async fn check_inventory(&mut self, archive: &Archive, tables: &[TableIndex]) {
        if !self.repository.is_encrypted() {
            return;
        }
        let inventory = &archive.manifest().inventory;
        let unsealed = self.repository.inventory_chunks();
        if !self
            .check_stream(&unsealed, archive.name(), "inventory", inventory)
            .await
        {
            return;
        }
        let lines = match archive.inventory_reader().collect().await {
            Ok(lines) => lines,
            Err(error) => return self.inconsistent(archive, error),
        };
        let said: BTreeMap<Digest, u64> = lines
            .iter()
            .map(|line| (line.chunk, line.stored_bytes))
            .collect();
        let manifest = archive.manifest();
        let mut named: BTreeMap<Digest, u64> = BTreeMap::new();
        for chunk in manifest.toc.iter().chain(&manifest.data_index) {
            named.insert(chunk.chunk, chunk.stored_bytes);
        }
        for piece in pieces(tables) {
            named.insert(piece.chunk, piece.stored_bytes);
        }
        if said == named && said.len() == lines.len() {
            return;
        }
        let differs = |(chunk, n_bytes): &(&Digest, &u64), other: &BTreeMap<Digest, u64>| {
            other.get(*chunk) != Some(*n_bytes)
        };
        let missing = named.iter().filter(|one| differs(one, &said)).count();
        let strange = said.iter().filter(|one| differs(one, &named)).count();
        let problem = format!(
            "the inventory lacks {missing} of its chunks, and names {strange} that are none of it"
        );
        self.inconsistent(archive, problem);
    }
}
