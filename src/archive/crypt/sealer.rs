//! Seals and opens bytes: a nonce that comes of the bytes themselves, XChaCha20-Poly1305, all of it in place.
//!
//! Equal bytes are sealed equally, so that archives share chunks and a put stays idempotent. Different bytes never share a nonce, because a
//! nonce is a keyed digest of label and bytes.

use std::fmt;

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::key::{KeyBytes, RepositoryKey};

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 24;
/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;
/// Bytes that sealing adds.
pub(crate) const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// The label of every chunk.
const CHUNK: &str = "pgark chunk";

/// What is wrong with sealed bytes that do not open.
const SHUT: &str =
    "does not open with the repository's key: it was changed, or sealed for another place";

/// Seals and opens with the keys of one repository.
pub(crate) struct Sealer {
    key: RepositoryKey,
    chunks: XChaCha20Poly1305,
    documents: XChaCha20Poly1305,
    nonces: Hmac<Sha256>,
    repository: String,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// The keys of the repository with the id `repository`.
    pub(crate) fn new(key: RepositoryKey, repository: String) -> Sealer {
        let nonce_key = key.derive("pgark nonce key");
        Sealer {
            chunks: cipher(&key.derive("pgark chunk key")),
            documents: cipher(&key.derive("pgark document key")),
            nonces: <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&*nonce_key)
                .expect("HMAC takes keys of any length"),
            key,
            repository,
        }
    }

    /// The repository key.
    pub(crate) fn key(&self) -> &RepositoryKey {
        &self.key
    }

    /// The repository's id.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// Seals the frame of a chunk in place; it needs [`SEAL_BYTES`] more.
    pub(crate) fn seal_chunk(&self, frame: &mut Vec<u8>) {
        self.seal(&self.chunks, CHUNK, frame);
    }

    /// Opens a sealed chunk in place; gives its frame.
    pub(crate) fn open_chunk<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a [u8], &'static str> {
        open(&self.chunks, CHUNK, sealed)
    }

    /// Seals again what [`Sealer::open_chunk`] opened in place.
    pub(crate) fn seal_again(&self, opened: &mut [u8]) {
        let (nonce, rest) = opened.split_at_mut(NONCE_BYTES);
        let (bytes, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        tag.copy_from_slice(&encrypt(&self.chunks, nonce, CHUNK, bytes));
    }

    /// The label of the document that belongs under `key`.
    fn label(&self, key: &str) -> String {
        format!("pgark document {} {key}", self.repository)
    }

    /// Seals the JSON of the document that belongs under `key`.
    pub(crate) fn seal_document(&self, key: &str, mut json: Vec<u8>) -> Vec<u8> {
        self.seal(&self.documents, &self.label(key), &mut json);
        json
    }

    /// Opens the JSON of the document that belongs under `key`.
    pub(crate) fn open_document(
        &self,
        key: &str,
        mut sealed: Vec<u8>,
    ) -> Result<Vec<u8>, &'static str> {
        let n_bytes = open(&self.documents, &self.label(key), &mut sealed)?.len();
        sealed.copy_within(NONCE_BYTES..NONCE_BYTES + n_bytes, 0);
        sealed.truncate(n_bytes);
        Ok(sealed)
    }

    fn seal(&self, cipher: &XChaCha20Poly1305, label: &str, bytes: &mut Vec<u8>) {
        let mut mac = self.nonces.clone();
        mac.update(label.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        let nonce = mac.finalize().into_bytes();
        let nonce = &nonce[..NONCE_BYTES];
        let n_bytes = bytes.len();
        bytes.resize(n_bytes + NONCE_BYTES, 0);
        bytes.copy_within(..n_bytes, NONCE_BYTES);
        bytes[..NONCE_BYTES].copy_from_slice(nonce);
        let tag = encrypt(cipher, nonce, label, &mut bytes[NONCE_BYTES..]);
        bytes.extend_from_slice(&tag);
    }
}

/// A cipher with this key.
pub(super) fn cipher(key: &KeyBytes) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&(**key).into())
}

/// Encrypts in place; gives the tag.
pub(super) fn encrypt(
    cipher: &XChaCha20Poly1305,
    nonce: &[u8],
    label: &str,
    bytes: &mut [u8],
) -> Tag {
    let nonce = XNonce::try_from(nonce).expect("a nonce has 24 bytes");
    cipher
        .encrypt_inout_detached(&nonce, label.as_bytes(), bytes.into())
        .expect("nothing is as long as 256 GiB")
}

/// Opens nonce, ciphertext and tag in place; gives the plain bytes.
pub(super) fn open<'a>(
    cipher: &XChaCha20Poly1305,
    label: &str,
    sealed: &'a mut [u8],
) -> Result<&'a [u8], &'static str> {
    let n_bytes = sealed
        .len()
        .checked_sub(SEAL_BYTES)
        .ok_or("is too short to be sealed")?;
    let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
    let (bytes, tag) = rest.split_at_mut(n_bytes);
    let nonce = XNonce::try_from(&*nonce).expect("a nonce has 24 bytes");
    let tag = Tag::try_from(&*tag).expect("a tag has 16 bytes");
    cipher
        .decrypt_inout_detached(&nonce, label.as_bytes(), (&mut *bytes).into(), &tag)
        .map_err(|_| SHUT)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(repository: &str) -> Sealer {
        let key = RepositoryKey::from_slice(&[7; 32]).unwrap();
        Sealer::new(key, repository.to_owned())
    }

    #[test]
    fn equal_chunks_are_sealed_equally_and_open_and_seal_again_to_the_same() {
        let own = sealer("r");
        for n_bytes in [0, 1, 63, 64, 65, 100_000] {
            let frame: Vec<u8> = (0..=250).cycle().take(n_bytes).collect();
            let mut sealed = frame.clone();
            own.seal_chunk(&mut sealed);
            assert_eq!(sealed.len(), frame.len() + SEAL_BYTES);
            let mut again = frame.clone();
            own.seal_chunk(&mut again);
            assert_eq!(again, sealed);
            assert_eq!(own.open_chunk(&mut again).unwrap(), frame);
            own.seal_again(&mut again);
            assert_eq!(again, sealed);
        }
    }

    #[test]
    fn every_changed_byte_and_every_other_length_is_refused() {
        let own = sealer("r");
        let mut sealed = b"rows".to_vec();
        own.seal_chunk(&mut sealed);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(own.open_chunk(&mut changed).is_err(), "byte {at}");
        }
        for n_bytes in 0..sealed.len() {
            assert!(own.open_chunk(&mut sealed.clone()[..n_bytes]).is_err());
        }
    }

    #[test]
    fn a_document_opens_under_its_own_key_in_its_own_repository_only() {
        let sealed = sealer("r").seal_document("archives/a.json", b"{}".to_vec());
        let open =
            |repository: &str, key: &str| sealer(repository).open_document(key, sealed.clone());
        assert_eq!(open("r", "archives/a.json").unwrap(), b"{}");
        assert!(open("r", "archives/b.json").is_err());
        assert!(open("s", "archives/a.json").is_err());
        assert!(sealer("r").open_chunk(&mut sealed.clone()).is_err());
        // The same text under two keys shares no nonce.
        let other = sealer("r").seal_document("archives/b.json", b"{}".to_vec());
        assert_ne!(other[..NONCE_BYTES], sealed[..NONCE_BYTES]);
    }

    /// draft-irtf-cfrg-xchacha-03, A.3.1.
    #[test]
    fn the_cipher_is_the_one_of_the_draft() {
        let bytes = |hex: &str| -> Vec<u8> {
            let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
            digits
                .chunks(2)
                .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
                .collect()
        };
        let mut key = KeyBytes::default();
        key.copy_from_slice(&(0x80..=0x9f).collect::<Vec<u8>>());
        let nonce: Vec<u8> = (0x40..=0x57).collect();
        let mut text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.".to_vec();
        let nonce = XNonce::try_from(&nonce[..]).unwrap();
        let tag = cipher(&key)
            .encrypt_inout_detached(
                &nonce,
                &bytes("50515253c0c1c2c3c4c5c6c7"),
                (&mut text[..]).into(),
            )
            .unwrap();
        assert_eq!(text[..16], bytes("bd6d179d3e83d43b9576579493c0e939"));
        assert_eq!(tag[..], bytes("c0875924c1c7987947deafd8780acf49"));
    }
}
