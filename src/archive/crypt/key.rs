//! The repository key, and random bytes for secrets.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::archive::digest::Digest;
use crate::error::{Error, Result};

/// Bytes of every key.
pub(super) const KEY_BYTES: usize = 32;

/// Key bytes that are wiped when they are dropped.
pub(super) type KeyBytes = Zeroizing<[u8; KEY_BYTES]>;

/// The key from which all others of a repository come.
pub(crate) struct RepositoryKey(KeyBytes);

impl RepositoryKey {
    /// A key that nobody else has.
    pub(crate) fn random() -> Result<RepositoryKey> {
        let mut bytes = KeyBytes::default();
        fill_random(&mut *bytes)?;
        Ok(RepositoryKey(bytes))
    }

    /// The key with these bytes, if there are as many as a key has.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<RepositoryKey> {
        let mut key = KeyBytes::default();
        (bytes.len() == KEY_BYTES).then(|| {
            key.copy_from_slice(bytes);
            RepositoryKey(key)
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key that is derived for `purpose`.
    pub(super) fn derive(&self, purpose: &str) -> KeyBytes {
        let mut derived = KeyBytes::default();
        Hkdf::<Sha256>::new(None, &*self.0)
            .expand(purpose.as_bytes(), &mut *derived)
            .expect("HKDF gives up to 255 times 32 bytes");
        derived
    }

    /// What the marker keeps to tell a wrong key from damage; it says nothing of the key.
    pub(crate) fn check(&self) -> String {
        Digest::from_bytes(*self.derive("pgark key check")).to_string()
    }
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RepositoryKey")
    }
}

/// Fills `bytes` with what nobody can guess.
///
/// # Errors
/// Without a source of random bytes there is no secret.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(bytes).map_err(|_| {
        Error::failed(
            "making a key",
            "the operating system gives no random bytes",
            "let the process read /dev/urandom",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_from_each_other_and_from_what_is_derived_and_show_nothing() {
        let key = RepositoryKey::random().unwrap();
        assert_ne!(key.as_bytes(), RepositoryKey::random().unwrap().as_bytes());
        assert_ne!(key.derive("a"), key.derive("b"));
        assert_eq!(key.check(), key.check());
        assert_eq!(format!("{key:?}"), "RepositoryKey");
        assert!(RepositoryKey::from_slice(&[1; 31]).is_none());
    }

    /// RFC 5869 has no case with these inputs; this one is by Python's `cryptography`.
    #[test]
    fn keys_are_derived_as_the_document_says() {
        let key = RepositoryKey::from_slice(&[7; 32]).unwrap();
        assert_eq!(key.check(), CHECK_OF_SEVENS);
    }

    const CHECK_OF_SEVENS: &str =
        "31f5955db5a4e3c11f23329e3137d19fbed84fa89874870793c09666b7c78412";
}
