//! The two-line form of small documents: a line of JSON, and the SHA-256 of that line, the *seal*.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digest::Digest;
use crate::error::{Error, Result};

/// The seal's line: 64 hexadecimal digits and a newline.
const SEAL_BYTES: usize = 65;

/// A document whose seal was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// The first line, without its newline.
    pub json: &'a [u8],
    /// The seal: the SHA-256 of `json`.
    pub seal: Digest,
}

/// Writes `document` with its seal. Gives the bytes and the seal.
pub fn seal(document: &impl Serialize) -> (Bytes, Digest) {
    // serde_json escapes every control character, so the line has no newline in it.
    let mut bytes = serde_json::to_vec(document).expect("documents have string keys and no I/O");
    let seal = Digest::of(&bytes);
    bytes.extend_from_slice(format!("\n{seal}\n").as_bytes());
    (bytes.into(), seal)
}

/// Checks form and seal. Every bit of the file counts, the newlines too. The text of an error follows the file's name.
pub fn open(bytes: &[u8]) -> Result<Sealed<'_>, &'static str> {
    let damaged = "is damaged: it is not a line of JSON and its SHA-256";
    let split = bytes.len().checked_sub(SEAL_BYTES + 1).ok_or(damaged)?;
    let (json, rest) = bytes.split_at(split);
    let seal = rest
        .strip_prefix(b"\n")
        .and_then(|rest| rest.strip_suffix(b"\n"))
        .and_then(|hex| std::str::from_utf8(hex).ok())
        .and_then(|hex| hex.parse::<Digest>().ok())
        .ok_or(damaged)?;
    if json.contains(&b'\n') {
        return Err(damaged);
    }
    if Digest::of(json) != seal {
        return Err("is damaged: the SHA-256 in its second line is not that of the first");
    }
    Ok(Sealed { json, seal })
}

/// Checks and reads a document. `object` and `place` say in errors what it is and where it lies.
pub fn read<T: DeserializeOwned>(bytes: &[u8], object: &str, place: &str) -> Result<(T, Digest)> {
    let sealed = open(bytes).map_err(|problem| Error::corrupt(object, place, problem))?;
    let document = serde_json::from_slice(sealed.json)
        .map_err(|error| Error::corrupt(object, place, format_args!("does not parse: {error}")))?;
    Ok((document, sealed.seal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (bytes, digest) = seal(&serde_json::json!({"name": "a\nb", "n": 1}));
        assert_eq!(open(&bytes).unwrap().seal, digest);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(open(&flipped).is_err(), "byte {at} bit {bit}");
            }
        }
        for len in 0..bytes.len() {
            assert!(open(&bytes[..len]).is_err());
        }
        assert!(open(&[&bytes[..], b"\n"].concat()).is_err());
    }
}
