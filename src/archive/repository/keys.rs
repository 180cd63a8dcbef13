//! Opens encrypted repositories with a passphrase, and keeps their key slots. Making them belongs to `making`.

use std::sync::Arc;

use super::{Inner, Repository};
use crate::archive::crypt::{
    CIPHER, KdfCost, KeySlot, Passphrase, RepositoryKey, Sealer, Sealing, Unlock, key_missing,
};
use crate::archive::marker::{Encryption, Marker};
use crate::archive::sealed;
use crate::error::{Error, Result};
use crate::store::{Key, Store};

/// Slots that count. Trying one takes a moment, so somebody who can write to the store must not be able to add any number.
const SLOTS_MAX: usize = 64;
/// A longer file is not read.
const SLOT_BYTES_MAX: u64 = 64 << 10;

/// A key slot as a listing finds it.
#[derive(Debug, Clone)]
pub struct ListedSlot {
    /// Where it lies.
    pub key: Key,
    /// The slot; the text says what is wrong with it where it cannot be read.
    pub slot: Result<KeySlot, String>,
}

impl Repository {
    /// True if what the repository stores is sealed.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self.inner.sealing, Sealing::Plain)
    }

    /// True if it is encrypted and its key is not known.
    pub fn is_locked(&self) -> bool {
        matches!(self.inner.sealing, Sealing::Locked)
    }

    /// The error of whoever needs the key.
    pub(crate) fn key_missing(&self) -> Error {
        key_missing(&self.location())
    }

    /// # Errors
    /// [`Error::Key`] if the repository is locked.
    pub fn require_key(&self) -> Result<()> {
        if self.is_locked() {
            return Err(self.key_missing());
        }
        Ok(())
    }

    /// The repository with its key, if it is encrypted and `unlock` has a passphrase.
    ///
    /// # Errors
    /// [`Error::Key`] if no slot opens, or if there is a passphrase and the repository is not encrypted.
    pub async fn unlock(self, unlock: &Unlock) -> Result<Repository> {
        let Some(passphrase) = &unlock.passphrase else {
            return Ok(self);
        };
        match &self.inner.sealing {
            Sealing::Open(_) => return Ok(self),
            Sealing::Plain => return Err(self.not_encrypted()),
            Sealing::Locked => {}
        }
        let mut problems = Vec::new();
        for listed in self.key_slots().await? {
            let key = listed.key;
            let opened = match listed.slot {
                Ok(slot) if !self.counts(&slot) => continue,
                Ok(slot) => try_slot(slot, passphrase).await?,
                Err(problem) => Err(problem),
            };
            match opened {
                Ok(Some((id, opened))) => return self.opened(opened, id),
                Ok(None) => {}
                Err(problem) => problems.push(format!("{key} {problem}")),
            }
        }
        let aside = match problems.as_slice() {
            [] => String::new(),
            some => format!("; not tried: {}", some.join(", ")),
        };
        Err(Error::Key {
            what: format!(
                "no key slot of repository {} opens with this passphrase{aside}",
                self.location()
            ),
            remedy: "give another passphrase; `pgark keys list` shows when the slots were added"
                .to_owned(),
        })
    }

    pub(super) fn not_encrypted(&self) -> Error {
        Error::Key {
            what: format!(
                "repository {} is not encrypted, although a passphrase is given for it",
                self.location()
            ),
            remedy: "leave the passphrase away if that is right; else somebody has put another repository there".to_owned(),
        }
    }

    /// A slot of another repository is left by a run that made this one at the same time and was slower. Where the marker is lost, the slots
    /// say which repository it is.
    pub(super) fn counts(&self, slot: &KeySlot) -> bool {
        self.inner.marker_problem.is_some() || slot.repository == self.marker().repository
    }

    /// The repository with this key, which a slot of repository `id` gave.
    fn opened(self, key: RepositoryKey, id: String) -> Result<Repository> {
        let inner = &*self.inner;
        let mut marker = inner.marker.clone();
        if inner.marker_problem.is_some() {
            marker.repository.clone_from(&id);
        } else if marker
            .encryption
            .as_ref()
            .is_none_or(|known| known.check != key.check())
        {
            return Err(Error::corrupt(
                format_args!("repository {}", self.location()),
                Marker::key(),
                "belongs to another key than its slots",
            ));
        }
        Ok(Repository {
            inner: Arc::new(Inner {
                store: Arc::clone(&inner.store),
                marker,
                marker_problem: inner.marker_problem.clone(),
                sealing: Sealing::Open(Arc::new(Sealer::new(key, id))),
                cpu: inner.cpu.clone(),
                memory: inner.memory.clone(),
            }),
        })
    }

    /// The key slots, also damaged ones.
    pub async fn key_slots(&self) -> Result<Vec<ListedSlot>> {
        slots(self.store()).await
    }

    /// Adds a slot that opens with `passphrase`. Nothing else is written.
    pub async fn add_key_slot(
        &self,
        passphrase: &Passphrase,
        label: &str,
        cost: KdfCost,
    ) -> Result<KeySlot> {
        let sealer = match &self.inner.sealing {
            Sealing::Open(sealer) => Arc::clone(sealer),
            Sealing::Locked => return Err(self.key_missing()),
            Sealing::Plain => {
                return Err(Error::Usage(format!(
                    "repository {} is not encrypted, and has no keys",
                    self.location()
                )));
            }
        };
        if self.key_slots().await?.len() >= SLOTS_MAX {
            return Err(Error::Usage(format!(
                "repository {} has {SLOTS_MAX} key slots already; remove one first",
                self.location()
            )));
        }
        let (passphrase, label) = (passphrase.clone(), label.to_owned());
        let make = move || {
            KeySlot::seal(
                sealer.key(),
                sealer.repository(),
                &passphrase,
                (&label, cost),
            )
        };
        let slot = self.cpu().run(make).await?;
        put_slot(self.store(), &slot).await?;
        Ok(slot)
    }

    /// Removes the slot with this id, or the only one whose id begins so; gives its id. Nothing else is written.
    ///
    /// # Errors
    /// [`Error::Usage`] for the last slot that can be read.
    pub async fn remove_key_slot(&self, id: &str) -> Result<String> {
        self.require_key()?;
        let slots = self.key_slots().await?;
        let id_of = |slot: &ListedSlot| slot.key.name().trim_end_matches(".json").to_owned();
        let found: Vec<&ListedSlot> = slots
            .iter()
            .filter(|slot| !id.is_empty() && id_of(slot).starts_with(id))
            .collect();
        let slot = match found.as_slice() {
            [one] => *one,
            [] => {
                return Err(Error::NotFound {
                    what: format!("no key slot {id:?} in {}", self.location()),
                    remedy: "`pgark keys list` shows the slots".to_owned(),
                });
            }
            several => {
                let n = several.len();
                return Err(Error::Usage(format!(
                    "{id:?} is the beginning of {n} slots"
                )));
            }
        };
        let others = slots.iter().filter(|other| other.key != slot.key);
        let mut usable = others.filter_map(|other| other.slot.as_ref().ok());
        if !usable.any(|other| self.counts(other)) {
            return Err(Error::Usage(format!(
                "{} is the last key slot of {}: without it nobody opens the repository; add another first",
                id_of(slot),
                self.location()
            )));
        }
        self.store().delete(&slot.key).await?;
        self.store().flush().await?;
        Ok(id_of(slot))
    }
}

/// Says in the marker of a repository whose own is lost that it is encrypted, if there are slots.
pub(super) async fn recall(store: &Arc<dyn Store>, marker: &mut Marker) -> Result<()> {
    let slots = slots(store).await?;
    if let Some(slot) = slots.iter().find_map(|slot| slot.slot.as_ref().ok()) {
        marker.repository.clone_from(&slot.repository);
        marker.encryption = Some(Encryption {
            cipher: CIPHER.to_owned(),
            check: String::new(),
        });
    }
    Ok(())
}

async fn slots(store: &Arc<dyn Store>) -> Result<Vec<ListedSlot>> {
    let mut slots = Vec::new();
    for stored in store
        .list(KeySlot::FOLDER)
        .await?
        .into_iter()
        .take(SLOTS_MAX)
    {
        if stored.n_bytes > SLOT_BYTES_MAX {
            let slot = Err("is longer than any key slot".to_owned());
            slots.push(ListedSlot {
                key: stored.key,
                slot,
            });
            continue;
        }
        // It may be removed at any time.
        let Some(bytes) = store.get(&stored.key).await? else {
            continue;
        };
        let slot = read_slot(&bytes, &stored.key);
        slots.push(ListedSlot {
            key: stored.key,
            slot,
        });
    }
    Ok(slots)
}

fn read_slot(bytes: &[u8], key: &Key) -> Result<KeySlot, String> {
    let sealed = sealed::open(bytes)?;
    let slot: KeySlot =
        serde_json::from_slice(sealed.json).map_err(|error| format!("does not parse: {error}"))?;
    if key.as_str() != format!("{}/{}.json", KeySlot::FOLDER, slot.id) {
        return Err("is a slot of another id".to_owned());
    }
    Ok(slot)
}

pub(super) async fn put_slot(store: &Arc<dyn Store>, slot: &KeySlot) -> Result<()> {
    store.put_new(&slot.key(), sealed::seal(slot).0).await?;
    store.flush().await
}

/// What the slot gives: the repository's id and key, nothing if the passphrase is another's, or why it was not tried.
type Tried = Result<Option<(String, RepositoryKey)>, String>;

async fn try_slot(slot: KeySlot, passphrase: &Passphrase) -> Result<Tried> {
    let passphrase = passphrase.clone();
    let tried = beside(move || {
        let opened = slot.open(&passphrase);
        Ok(opened.map(|key| key.map(|key| (slot.repository, key))))
    });
    tried.await
}

/// Work of some tenths of a second, not on the runtime's own threads.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
}
