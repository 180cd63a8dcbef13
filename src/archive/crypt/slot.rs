//! Key slots: the repository key, encrypted under what Argon2id makes of a passphrase. Where slots lie belongs to `repository`.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::key::{KeyBytes, RepositoryKey, fill_random};
use super::sealer::{NONCE_BYTES, SEAL_BYTES, cipher, encrypt, open};
use super::unlock::Passphrase;
use crate::archive::marker::random_id;
use crate::error::{Error, Result};
use crate::store::Key;

/// The one derivation that this version knows.
const ARGON2ID: &str = "argon2id";
/// Bytes of salt in new slots.
const SALT_BYTES: usize = 16;

/// What deriving a slot's key costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes that could be computed side by side.
    pub lanes: u32,
}

impl Default for KdfCost {
    /// 64 MiB, three passes, one lane.
    fn default() -> KdfCost {
        KdfCost {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 1,
        }
    }
}

/// How a slot's key comes from its passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfTerms {
    /// `argon2id`.
    pub algorithm: String,
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// Random bytes, in Base64.
    pub salt: String,
}

/// A slot, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySlot {
    /// 128 random bits as hexadecimal digits.
    pub id: String,
    /// The id of the repository whose key is in it.
    pub repository: String,
    /// When it was made.
    pub created: Timestamp,
    /// What people call it.
    #[serde(default)]
    pub label: String,
    /// How its key comes from the passphrase.
    pub kdf: KdfTerms,
    /// The nonce of the encrypted key, in Base64.
    pub(super) nonce: String,
    /// The encrypted repository key with its tag, in Base64.
    pub(super) key: String,
}

impl KdfTerms {
    fn random(cost: KdfCost) -> Result<KdfTerms> {
        let mut salt = [0; SALT_BYTES];
        fill_random(&mut salt)?;
        Ok(KdfTerms {
            algorithm: ARGON2ID.to_owned(),
            memory_kib: cost.memory_kib,
            passes: cost.passes,
            lanes: cost.lanes,
            salt: STANDARD.encode(salt),
        })
    }

    /// The salt and Argon2's parameters, if they are such as a slot may ask for: whoever can write to a store must not be able to make its
    /// readers take all memory or never end.
    fn checked(&self) -> Result<(Vec<u8>, Params), String> {
        const MEMORY_KIB_MAX: u32 = 1 << 20;
        const PASSES_MAX: u32 = 20;
        const LANES_MAX: u32 = 16;
        const SALT_DIGITS_MAX: usize = 88;
        if self.algorithm != ARGON2ID {
            let shown: String = self.algorithm.chars().take(40).collect();
            return Err(format!(
                "asks for {shown:?}, and this version has {ARGON2ID} only"
            ));
        }
        for (what, is, max) in [
            ("KiB of memory", self.memory_kib, MEMORY_KIB_MAX),
            ("passes", self.passes, PASSES_MAX),
            ("lanes", self.lanes, LANES_MAX),
        ] {
            if is > max {
                return Err(format!("asks for {is} {what}, more than {max}"));
            }
        }
        let salt = (self.salt.len() <= SALT_DIGITS_MAX)
            .then(|| STANDARD.decode(&self.salt).ok())
            .flatten()
            .filter(|salt| (16..=64).contains(&salt.len()))
            .ok_or("has no salt of 16 to 64 bytes")?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|problem| format!("cannot be derived from: {problem}"))?;
        Ok((salt, params))
    }

    /// The slot's key.
    fn derive(&self, passphrase: &Passphrase) -> Result<KeyBytes, String> {
        let (salt, params) = self.checked()?;
        let n_blocks = params.block_count();
        let mut memory: Zeroizing<Vec<Block>> = Zeroizing::default();
        memory.try_reserve_exact(n_blocks).map_err(|_| {
            format!(
                "needs {} KiB of memory, which are not there",
                self.memory_kib
            )
        })?;
        memory.resize_with(n_blocks, Block::default);
        let mut key = KeyBytes::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.as_bytes(),
                &salt,
                &mut *key,
                memory.as_mut_slice(),
            )
            .map_err(|problem| format!("cannot be derived from: {problem}"))?;
        Ok(key)
    }
}

impl KeySlot {
    /// Where slots lie.
    pub(crate) const FOLDER: &str = "keys";

    /// A new slot for `key`, which opens with `passphrase`. It takes a moment of one core.
    pub(crate) fn seal(
        key: &RepositoryKey,
        repository: &str,
        passphrase: &Passphrase,
        (label, cost): (&str, KdfCost),
    ) -> Result<KeySlot> {
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce)?;
        let mut slot = KeySlot {
            id: random_id(),
            repository: repository.to_owned(),
            created: Timestamp::now(),
            label: label.to_owned(),
            kdf: KdfTerms::random(cost)?,
            nonce: STANDARD.encode(nonce),
            key: String::new(),
        };
        let own = slot
            .kdf
            .derive(passphrase)
            .map_err(|problem| Error::failed("a new key slot", problem, "ask for less"))?;
        let mut bytes = Zeroizing::new(*key.as_bytes());
        let tag = encrypt(&cipher(&own), &nonce, &slot.bound_to(), &mut *bytes);
        slot.key = STANDARD.encode([&bytes[..], &tag[..]].concat());
        Ok(slot)
    }

    /// The repository key, if `passphrase` opens the slot. An error says why nobody may try. It takes a moment of one core.
    pub(crate) fn open(&self, passphrase: &Passphrase) -> Result<Option<RepositoryKey>, String> {
        const DIGITS_MAX: usize = 128;
        let decoded = [&self.nonce, &self.key].map(|text| {
            (text.len() <= DIGITS_MAX)
                .then(|| STANDARD.decode(text).ok())
                .flatten()
                .unwrap_or_default()
        });
        let mut sealed = Zeroizing::new(decoded.concat());
        if decoded[0].len() != NONCE_BYTES || sealed.len() != SEAL_BYTES + size_of::<KeyBytes>() {
            return Err("holds no sealed key".to_owned());
        }
        let own = self.kdf.derive(passphrase)?;
        let opened = open(&cipher(&own), &self.bound_to(), &mut sealed);
        Ok(opened.ok().and_then(RepositoryKey::from_slice))
    }

    /// The label under which the key is encrypted: a slot is one repository's, under one id.
    fn bound_to(&self) -> String {
        format!("pgark slot {} {}", self.repository, self.id)
    }

    /// The key under which it lies.
    pub(crate) fn key(&self) -> Key {
        Key::new(format!("{}/{}.json", KeySlot::FOLDER, self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: KdfCost = KdfCost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned()).unwrap()
    }

    fn slot() -> (RepositoryKey, KeySlot) {
        let key = RepositoryKey::random().unwrap();
        let slot = KeySlot::seal(&key, "r", &passphrase("right"), ("first", CHEAP)).unwrap();
        (key, slot)
    }

    #[test]
    fn a_slot_opens_with_its_passphrase_alone_and_in_its_own_place() {
        let (key, slot) = slot();
        let opened = slot.open(&passphrase("right")).unwrap().unwrap();
        assert_eq!(opened.as_bytes(), key.as_bytes());
        assert!(slot.open(&passphrase("wrong")).unwrap().is_none());
        for change in [
            |slot: &mut KeySlot| slot.id = "0".repeat(32),
            |slot: &mut KeySlot| slot.repository = "s".into(),
            |slot: &mut KeySlot| slot.kdf.passes += 1,
        ] {
            let mut changed = slot.clone();
            change(&mut changed);
            assert!(changed.open(&passphrase("right")).unwrap().is_none());
        }
        let text = serde_json::to_string(&slot).unwrap();
        assert!(!text.contains("right"));
    }

    #[test]
    fn hostile_parameters_are_refused_before_anything_is_spent() {
        type Change = fn(&mut KeySlot);
        let (_, slot) = slot();
        let begun = |change: Change| {
            let mut hostile = slot.clone();
            change(&mut hostile);
            hostile.open(&passphrase("right")).unwrap_err()
        };
        let refusals: [(&str, Change); 11] = [
            ("4294967295 KiB", |slot| slot.kdf.memory_kib = u32::MAX),
            ("1048577 KiB", |slot| slot.kdf.memory_kib = (1 << 20) + 1),
            ("21 passes", |slot| slot.kdf.passes = 21),
            ("17 lanes", |slot| slot.kdf.lanes = 17),
            ("derived", |slot| slot.kdf.passes = 0),
            ("derived", |slot| slot.kdf.lanes = 0),
            ("derived", |slot| slot.kdf.memory_kib = 7),
            ("salt", |slot| slot.kdf.salt = STANDARD.encode([0; 15])),
            ("salt", |slot| slot.kdf.salt = "A".repeat(1 << 20)),
            ("scrypt", |slot| slot.kdf.algorithm = "scrypt".into()),
            ("no sealed key", |slot| slot.key = "A".repeat(1 << 20)),
        ];
        for (what, change) in refusals {
            let problem = begun(change);
            assert!(problem.contains(what), "{problem}");
        }
    }

    #[test]
    fn new_slots_cost_64_mib_and_three_passes() {
        let terms = KdfTerms::random(KdfCost::default()).unwrap();
        assert_eq!((terms.memory_kib, terms.passes, terms.lanes), (65536, 3, 1));
        assert_eq!(STANDARD.decode(&terms.salt).unwrap().len(), SALT_BYTES);
        assert!(terms.checked().is_ok());
    }
}
