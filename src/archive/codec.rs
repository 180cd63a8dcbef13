//! One chunk as one zstd frame, sealed where the repository is encrypted: packing that proves itself, unpacking that trusts nothing. No I/O.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective};

use super::chunk_memory::ChunkMemory;
use super::crypt::{SEAL_BYTES, Sealer};
use super::digest::Digest;

/// The first four bytes of a zstd frame (RFC 8878, 3.1.1); skippable frames have others.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The content checksum flag in the frame header's descriptor, the fifth byte.
const CHECKSUM_FLAG: u8 = 0b100;

/// A chunk as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The SHA-256 of `stored`: the chunk's name.
    pub digest: Digest,
    /// One zstd frame with content size and checksum, sealed where the codec seals.
    pub stored: Bytes,
    /// Raw bytes in it.
    pub n_bytes: u64,
}

/// What is wrong with a chunk's stored bytes, in words that follow the chunk's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecProblem(String);

impl fmt::Display for CodecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecProblem {}

fn problem(text: impl fmt::Display) -> CodecProblem {
    CodecProblem(text.to_string())
}

fn zstd_problem(code: usize) -> CodecProblem {
    problem(zstd_safe::get_error_name(code))
}

/// Packs and unpacks chunks, with working memory that is used again. Shared by many threads.
pub struct Codec {
    level: i32,
    memory: ChunkMemory,
    sealer: Option<Arc<Sealer>>,
    idle: Mutex<Vec<Workspace>>,
}

/// What one thread needs while it works on one chunk.
struct Workspace {
    /// Made when it is first needed: most codecs only decode.
    encoder: Option<CCtx<'static>>,
    decoder: DCtx<'static>,
    /// A piece of what is decoded for the comparison: a whole chunk for each thread would be much of a dump's memory.
    decoded: Vec<u8>,
}

impl Workspace {
    fn encode(
        &mut self,
        level: i32,
        plain: &[u8],
        stored: &mut Vec<u8>,
    ) -> Result<(), CodecProblem> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(new_encoder(level)?),
        };
        encoder.compress2(stored, plain).map_err(zstd_problem)?;
        if !is_reusable(level) {
            self.encoder = None;
        }
        Ok(())
    }

    /// Decodes `stored` piece by piece, and compares it with what it must be.
    fn compare(&mut self, stored: &[u8], plain: &[u8]) -> Result<(), CodecProblem> {
        let differs = || {
            problem(
                "the compressed bytes decode to something else: memory or processor are at fault",
            )
        };
        self.decoder
            .reset(ResetDirective::SessionOnly)
            .map_err(zstd_problem)?;
        let mut input = InBuffer::around(stored);
        let mut rest = plain;
        loop {
            let mut output = OutBuffer::around(&mut self.decoded);
            let n_wanted = self
                .decoder
                .decompress_stream(&mut output, &mut input)
                .map_err(zstd_problem)?;
            rest = rest
                .strip_prefix(self.decoded.as_slice())
                .ok_or_else(differs)?;
            let at_end = input.pos() == stored.len();
            match (n_wanted, at_end, self.decoded.is_empty()) {
                (0, true, _) if rest.is_empty() => return Ok(()),
                (0, _, _) | (_, true, true) => return Err(differs()),
                _ => {}
            }
        }
    }
}

impl Codec {
    /// A codec that compresses with zstd's `level`, and packs and unpacks into `memory`.
    pub(super) fn new(level: i32, memory: ChunkMemory) -> Codec {
        Codec {
            level,
            memory,
            sealer: None,
            idle: Mutex::default(),
        }
    }

    /// The same, with frames sealed by `sealer`.
    pub(super) fn sealing(self, sealer: Arc<Sealer>) -> Codec {
        Codec {
            sealer: Some(sealer),
            ..self
        }
    }

    /// The same without sealing, with the memory of this one.
    pub(super) fn unsealed(&self) -> Codec {
        Codec::new(self.level, self.memory.clone())
    }

    /// Compresses `plain` into one frame, decodes it again and compares: what cannot be read back is never stored.
    /// A frame that `is_known` was read back when it was stored. The same bytes, level and zstd version give the same frame.
    pub fn pack(
        &self,
        plain: &[u8],
        is_known: impl FnOnce(&Digest) -> bool,
    ) -> Result<Packed, CodecProblem> {
        let n_bytes_max = zstd_safe::compress_bound(plain.len()) + SEAL_BYTES;
        let mut stored = self.memory.take(n_bytes_max);
        let digest = self.with_workspace(|workspace| {
            workspace.encode(self.level, plain, &mut stored)?;
            let Some(sealer) = &self.sealer else {
                let digest = Digest::of(&stored);
                if !is_known(&digest) {
                    workspace.compare(&stored, plain)?;
                }
                return Ok(digest);
            };
            sealer.seal_chunk(&mut stored);
            let digest = Digest::of(&stored);
            if !is_known(&digest) {
                // In place, so that no second buffer is needed; what is stored is what was opened if its digest is the same.
                let frame = sealer.open_chunk(&mut stored).map_err(problem)?;
                workspace.compare(frame, plain)?;
                sealer.seal_again(&mut stored);
                if Digest::of(&stored) != digest {
                    let text = "sealing gave two results: memory or processor are at fault";
                    return Err(problem(text));
                }
            }
            Ok(digest)
        })?;
        Ok(Packed {
            digest,
            stored: self.memory.lend(stored),
            n_bytes: plain.len() as u64,
        })
    }

    /// Decodes exactly one frame of exactly `n_bytes` raw bytes; anything else is a problem.
    /// Nothing beyond `n_bytes` is ever allocated, so the caller bounds that first.
    pub fn unpack(&self, stored: Bytes, n_bytes: usize) -> Result<Bytes, CodecProblem> {
        let Some(sealer) = &self.sealer else {
            return self.decode(&stored, n_bytes);
        };
        // What nobody else reads is opened where it is.
        let copied = |shared: Bytes| BytesMut::from(&shared[..]);
        let mut bytes = stored.try_into_mut().unwrap_or_else(copied);
        let frame = sealer.open_chunk(&mut bytes).map_err(problem)?;
        self.decode(frame, n_bytes)
    }

    fn decode(&self, stored: &[u8], n_bytes: usize) -> Result<Bytes, CodecProblem> {
        check_frame(stored, n_bytes)?;
        let mut plain = self.memory.take(n_bytes);
        self.with_workspace(|workspace| {
            decode(&mut workspace.decoder, stored, n_bytes, &mut plain)
        })?;
        Ok(self.memory.lend(plain))
    }

    fn with_workspace<T>(&self, work: impl FnOnce(&mut Workspace) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = idle().pop().unwrap_or_else(|| Workspace {
            encoder: None,
            decoder: DCtx::create(),
            decoded: Vec::with_capacity(DCtx::out_size()),
        });
        let done = work(&mut workspace);
        idle().push(workspace);
        done
    }
}

fn new_encoder(level: i32) -> Result<CCtx<'static>, CodecProblem> {
    let mut encoder = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(level),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(true),
    ] {
        encoder.set_parameter(parameter).map_err(zstd_problem)?;
    }
    Ok(encoder)
}

/// True if an encoder that was used before gives the same frames as a new one. From level 5 on zstd finds matches by a table
/// that is salted anew with each use (`ZSTD_row`, zstd 1.5.5 and later).
fn is_reusable(level: i32) -> bool {
    level < 5
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// Refuses what is not one whole frame with checksum and the content size `n_bytes`, before anything is allocated.
fn check_frame(stored: &[u8], n_bytes: usize) -> Result<(), CodecProblem> {
    if !stored.starts_with(&MAGIC) {
        return Err(problem("is not a zstd frame"));
    }
    let frame_bytes = zstd_safe::find_frame_compressed_size(stored).map_err(zstd_problem)?;
    if frame_bytes != stored.len() {
        return Err(problem(format_args!(
            "has {} bytes after its frame",
            stored.len() - frame_bytes
        )));
    }
    if stored[MAGIC.len()] & CHECKSUM_FLAG == 0 {
        return Err(problem("has no checksum in its frame"));
    }
    match zstd_safe::get_frame_content_size(stored) {
        Ok(Some(size)) if size == n_bytes as u64 => Ok(()),
        Ok(Some(size)) => Err(problem(format_args!(
            "says that it holds {size} bytes where {n_bytes} are expected"
        ))),
        Ok(None) | Err(_) => Err(problem("does not say how many bytes it holds")),
    }
}

fn decode(
    decoder: &mut DCtx<'static>,
    stored: &[u8],
    n_bytes: usize,
    plain: &mut Vec<u8>,
) -> Result<(), CodecProblem> {
    plain.clear();
    plain.reserve_exact(n_bytes);
    let n_plain = decoder.decompress(plain, stored).map_err(zstd_problem)?;
    if n_plain != n_bytes {
        return Err(problem(format_args!(
            "decodes to {n_plain} bytes instead of {n_bytes}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::crypt::RepositoryKey;

    fn sealing(level: i32) -> Codec {
        let key = RepositoryKey::random().unwrap();
        let sealer = Sealer::new(key, "r".to_owned());
        Codec::new(level, ChunkMemory::default()).sealing(Arc::new(sealer))
    }

    fn rows(seed: u64, n_bytes: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut out = Vec::new();
        while out.len() < n_bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            out.extend_from_slice(
                format!("{}\t{}\tsome text\n", state >> 40, state % 97).as_bytes(),
            );
        }
        out.truncate(n_bytes);
        out
    }

    #[test]
    fn what_is_sealed_opens_and_is_the_same_each_time() {
        let codec = sealing(1);
        for n_bytes in [0, 1, 100, 1_200_000] {
            let plain = rows(7, n_bytes);
            let packed = codec.pack(&plain, |_| false).unwrap();
            assert_eq!(packed.digest, Digest::of(&packed.stored));
            assert_eq!(codec.pack(&plain, |_| true).unwrap(), packed);
            // Once where others hold the bytes as well, once where nobody does.
            let shared = packed.stored.clone();
            assert_eq!(codec.unpack(shared, n_bytes).unwrap(), plain);
            let own = Bytes::from(packed.stored.to_vec());
            assert_eq!(codec.unpack(own, n_bytes).unwrap(), plain);
            assert_eq!(packed.digest, Digest::of(&packed.stored));
        }
    }

    #[test]
    fn what_another_key_sealed_or_nobody_did_is_refused() {
        let plain = rows(3, 5000);
        let sealed = sealing(1).pack(&plain, |_| false).unwrap().stored;
        let open = Codec::new(1, ChunkMemory::default());
        let frame = open.pack(&plain, |_| false).unwrap().stored;
        let refused =
            |codec: &Codec, bytes: &Bytes| codec.unpack(bytes.clone(), 5000).unwrap_err().0;
        assert!(refused(&sealing(1), &sealed).contains("does not open"));
        assert!(refused(&sealing(1), &frame).contains("does not open"));
        assert!(refused(&open, &sealed).contains("not a zstd frame"));
        assert!(refused(&sealing(1), &Bytes::from_static(b"short")).contains("too short"));
    }

    #[test]
    fn what_is_packed_unpacks() {
        let codec = Codec::new(1, ChunkMemory::default());
        for n_bytes in [0, 1, 100, 300_000] {
            let plain = rows(7, n_bytes);
            let packed = codec.pack(&plain, |_| false).unwrap();
            assert_eq!(packed.digest, Digest::of(&packed.stored));
            assert_eq!(packed.n_bytes, n_bytes as u64);
            assert_eq!(codec.unpack(packed.stored, n_bytes).unwrap(), plain);
        }
    }

    #[test]
    fn the_same_bytes_give_the_same_frame_whatever_came_before() {
        for level in [-3, 1, 2, 3, 4, 5, 6, 9, 12] {
            let codec = Codec::new(level, ChunkMemory::default());
            let first = codec.pack(&rows(1, 400_000), |_| false).unwrap();
            codec.pack(&rows(2, 250_000), |_| false).unwrap();
            assert_eq!(
                codec.pack(&rows(1, 400_000), |_| false).unwrap(),
                first,
                "{level}"
            );
            assert_eq!(
                Codec::new(level, ChunkMemory::default())
                    .pack(&rows(1, 400_000), |_| false)
                    .unwrap(),
                first
            );
        }
    }

    #[test]
    fn another_size_trailing_bytes_and_several_frames_are_refused() {
        let codec = Codec::new(1, ChunkMemory::default());
        let plain = rows(3, 5000);
        let stored = codec.pack(&plain, |_| false).unwrap().stored;
        let refused = |bytes: &[u8], n_bytes: usize| {
            codec
                .unpack(Bytes::copy_from_slice(bytes), n_bytes)
                .unwrap_err()
                .0
        };
        assert!(refused(&stored, 4999).contains("where 4999 are expected"));
        assert!(refused(&stored, 5001).contains("where 5001 are expected"));
        let twice = [&stored[..], &stored[..]].concat();
        assert!(refused(&twice, 10_000).contains("after its frame"));
        let trailing = [&stored[..], b"\0"].concat();
        assert!(refused(&trailing, 5000).contains("has 1 bytes after"));
        refused(&stored[..stored.len() - 1], 5000);
        refused(b"", 0);
        refused(&MAGIC, 0);
        // A skippable frame (RFC 8878, 3.1.2) would hide bytes.
        assert!(refused(b"\x50\x2a\x4d\x18\x00\x00\x00\x00", 0).contains("not a zstd frame"));
    }

    #[test]
    fn frames_without_size_or_checksum_are_refused() {
        let codec = Codec::new(1, ChunkMemory::default());
        let mut encoder = CCtx::create();
        encoder
            .set_parameter(CParameter::ContentSizeFlag(false))
            .unwrap();
        encoder
            .set_parameter(CParameter::ChecksumFlag(true))
            .unwrap();
        let mut stored = Vec::with_capacity(1000);
        encoder.compress2(&mut stored, b"some bytes").unwrap();
        assert!(
            codec
                .unpack(stored.into(), 10)
                .unwrap_err()
                .0
                .contains("does not say")
        );

        let plain_frame = zstd::bulk::compress(b"some bytes", 1).unwrap();
        assert!(
            codec
                .unpack(plain_frame.into(), 10)
                .unwrap_err()
                .0
                .contains("no checksum")
        );
    }

    proptest::proptest! {
        #[test]
        fn bytes_from_outside_never_panic(mut tail: Vec<u8>, n_bytes in 0usize..1000) {
            let codec = Codec::new(1, ChunkMemory::default());
            let _ = codec.unpack(tail.clone().into(), n_bytes);
            tail.splice(0..0, MAGIC);
            let _ = codec.unpack(tail.clone().into(), n_bytes);
        }
    }
}
