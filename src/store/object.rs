//! A store in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage, by the crate `object_store`.
//! Here are the calls and their repetition; `settings` and `service` know the services, `trouble` judges and explains their errors.

mod http;
mod service;
mod settings;
mod trouble;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{
    Error as ServiceError, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode, PutPayload,
};

use self::service::Service;
use super::{Key, Put, Store, Stored, Variables, check_size, is_segment};
use crate::config::Place;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::retry::{self, Patience};

/// Of the work itself: a service that stumbles for a minute does not end a dump of hours.
const WORKING: Patience = Patience {
    tries_max: 20,
    lasts: Duration::from_secs(180),
    pause: PAUSE,
    pause_max: PAUSE_MAX,
};
/// Of opening: whoever mistyped something wants to know soon.
const OPENING: Patience = Patience {
    tries_max: 3,
    lasts: Duration::from_secs(20),
    pause: PAUSE,
    pause_max: PAUSE_MAX,
};

/// The first pause between two tries; each next one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// A bucket, or what lies below a prefix in it.
///
/// An object is durable once its put is acknowledged, so there is nothing to flush. Puts ask the service to refuse what is there
/// already; each brings a checksum that the service compares. Nothing is kept on the local disk, and an object is held in memory once.
pub struct BucketStore {
    service: Service,
    prefix: Path,
    location: String,
    told: Arc<dyn Progress>,
}

impl fmt::Debug for BucketStore {
    /// Leaves out the service, whose settings have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BucketStore").field(&self.location).finish()
    }
}

impl BucketStore {
    /// Opens `place`, a URL with one of [`BucketStore::SCHEMES`], and looks whether it can be listed.
    /// `variable` gives the value of an environment variable; whoever is `told` hears of each call that is tried again.
    pub async fn open(
        place: &Place,
        variable: Variables<'_>,
        told: Arc<dyn Progress>,
    ) -> Result<BucketStore> {
        let (service, prefix) = settings::connect(place, variable)?;
        let prefix = Path::parse(prefix).map_err(|problem| {
            Error::Usage(format!("{}: the path cannot be: {problem}", place.place))
        })?;
        let location = match prefix.as_ref() {
            "" => service.root(),
            prefix => format!("{}/{prefix}", service.root()),
        };
        let store = BucketStore {
            service,
            prefix,
            location,
            told,
        };
        store.look().await?;
        Ok(store)
    }

    /// The schemes of URLs that name buckets.
    pub const SCHEMES: [&str; 3] = ["s3", "gs", "az"];

    /// Lists the top, which any use of the store needs: wrong keys, names and addresses are found at once.
    async fn look(&self) -> Result<()> {
        let plain = self.service.plain();
        let mut trying = Trying::new(self, OPENING, "", "open");
        while let Err(error) = plain.list_with_delimiter(Some(&self.prefix)).await {
            match trying.again(&error).await {
                Ok(()) => {}
                Err(Stopped::Missing) => return Err(self.service.no_bucket()),
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn path(&self, key: &str) -> Path {
        let parts = key.split('/').filter(|part| !part.is_empty());
        self.prefix.parts().chain(parts.map(Into::into)).collect()
    }

    fn key(&self, path: &Path) -> Option<Key> {
        let rest = match self.prefix.as_ref() {
            "" => path.as_ref(),
            prefix => path.as_ref().strip_prefix(prefix)?.strip_prefix('/')?,
        };
        Key::parse(rest)
    }

    /// The object at `key` if it holds exactly `bytes`.
    async fn holds(&self, key: &Key, bytes: &Bytes) -> Result<bool> {
        Ok(self.get(key).await?.as_ref() == Some(bytes))
    }

    async fn put_once(&self, key: &Key, bytes: Bytes) -> Result<Put, ServiceError> {
        let (store, mut options) = self.service.putter(key, &bytes)?;
        options.mode = PutMode::Create;
        let path = self.path(key.as_str());
        let payload = PutPayload::from_bytes(bytes);
        match store.put_opts(&path, payload, options).await {
            Ok(_) => Ok(Put::Stored),
            Err(error) if self.service.says_exists(&error) => Ok(Put::Exists),
            Err(error) => Err(error),
        }
    }

    /// The object or its range; `None` if the range begins after its end, or if it is not there.
    async fn object(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        let path = self.path(key.as_str());
        let plain = self.service.plain();
        let mut trying = Trying::new(self, WORKING, key.as_str(), "get");
        loop {
            let options = GetOptions {
                range: range.clone().map(GetRange::Bounded),
                ..GetOptions::default()
            };
            let got = async {
                let found = plain.get_opts(&path, options).await?;
                let n_bytes = found.range.end.saturating_sub(found.range.start);
                if let Err(too_large) = check_size(&self.location, key, n_bytes) {
                    return Ok(Err(too_large));
                }
                found.bytes().await.map(Ok)
            };
            match got.await {
                Ok(bytes) => return bytes.map(Some),
                Err(error) if range.is_some() && trouble::is_beyond_end(&error) => return Ok(None),
                Err(error) => match trying.again(&error).await {
                    Ok(()) => {}
                    Err(Stopped::Missing) => return Ok(None),
                    Err(Stopped::Failed(error)) => return Err(error),
                },
            }
        }
    }

    async fn described(&self, key: &Key) -> Result<Option<Stored>> {
        let path = self.path(key.as_str());
        let plain = self.service.plain();
        let mut trying = Trying::new(self, WORKING, key.as_str(), "head");
        loop {
            match plain.head(&path).await {
                Ok(found) => return Ok(Some(describe(key.clone(), &found))),
                Err(error) => match trying.again(&error).await {
                    Ok(()) => {}
                    Err(Stopped::Missing) => return Ok(None),
                    Err(Stopped::Failed(error)) => return Err(error),
                },
            }
        }
    }
}

/// Why a call ended without success.
enum Stopped {
    /// The object is not there, or the service does not say whether it is the bucket.
    Missing,
    Failed(Error),
}

/// The tries of one call.
struct Trying<'a> {
    store: &'a BucketStore,
    key: &'a str,
    action: &'static str,
    tries: retry::Trying,
}

impl<'a> Trying<'a> {
    fn new(
        store: &'a BucketStore,
        patience: Patience,
        key: &'a str,
        action: &'static str,
    ) -> Trying<'a> {
        Trying {
            store,
            key,
            action,
            tries: retry::Trying::new(patience, Arc::clone(&store.told)),
        }
    }

    /// True if an earlier try may have been done although its answer was lost.
    fn is_repeated(&self) -> bool {
        self.tries.tries() > 1
    }

    /// Waits for the next try after `error`; says why there is none.
    async fn again(&mut self, error: &ServiceError) -> Result<(), Stopped> {
        let service = &self.store.service;
        let may_pass = trouble::may_pass(error) || service.says_conflict(error);
        let what = format!("store {}: {}", self.place(), self.action);
        if may_pass && self.tries.again(what, trouble::told(error, service)).await {
            return Ok(());
        }
        Err(self.stopped(error))
    }

    /// The object, or the place where there is none.
    fn place(&self) -> String {
        let location = &self.store.location;
        match self.key {
            "" => location.clone(),
            key => format!("{location}/{key}"),
        }
    }

    fn stopped(&self, error: &ServiceError) -> Stopped {
        let service = &self.store.service;
        if trouble::lacks_bucket(error) {
            return Stopped::Failed(service.no_bucket());
        }
        if trouble::is_missing(error) {
            return Stopped::Missing;
        }
        Stopped::Failed(Error::Store {
            key: self.place(),
            action: self.action,
            tries: self.tries.tries(),
            source: trouble::explained(error, service).into(),
        })
    }
}

fn describe(key: Key, found: &ObjectMeta) -> Stored {
    Stored {
        key,
        n_bytes: found.size,
        written_ms: found.last_modified.timestamp_millis(),
    }
}

#[async_trait]
impl Store for BucketStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Put> {
        let mut trying = Trying::new(self, WORKING, key.as_str(), "put");
        loop {
            match self.put_once(key, bytes.clone()).await {
                // What an earlier try has stored although its answer was lost is this put's own work.
                Ok(Put::Exists) if trying.is_repeated() && self.holds(key, &bytes).await? => {
                    return Ok(Put::Stored);
                }
                Ok(put) => return Ok(put),
                Err(error) => match trying.again(&error).await {
                    Ok(()) => {}
                    Err(Stopped::Missing) => return Err(self.service.no_bucket()),
                    Err(Stopped::Failed(error)) => return Err(error),
                },
            }
        }
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.object(key, None).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        if !range.is_empty()
            && let Some(bytes) = self.object(key, Some(range)).await?
        {
            return Ok(Some(bytes));
        }
        // Nothing lies in the range: is there an object at all?
        Ok(self.described(key).await?.map(|_| Bytes::new()))
    }

    async fn head(&self, key: &Key) -> Result<Option<Stored>> {
        self.described(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Stored>> {
        assert!(
            prefix.is_empty() || prefix.split('/').all(is_segment),
            "{prefix:?} is no prefix of keys"
        );
        let path = self.path(prefix);
        let plain = self.service.plain();
        let mut trying = Trying::new(self, WORKING, prefix, "list");
        let mut found = Vec::new();
        // What came is kept over a page that failed.
        let mut last: Option<Path> = None;
        loop {
            let mut objects = match &last {
                Some(last) => plain.list_with_offset(Some(&path), last),
                None => plain.list(Some(&path)),
            };
            let error = loop {
                match objects.try_next().await {
                    Ok(Some(object)) => {
                        let key = self.key(&object.location);
                        found.extend(key.map(|key| describe(key, &object)));
                        last = Some(object.location);
                    }
                    Ok(None) => {
                        found.sort_by(|a: &Stored, b| a.key.cmp(&b.key));
                        return Ok(found);
                    }
                    Err(error) => break error,
                }
            };
            match trying.again(&error).await {
                Ok(()) => {}
                Err(Stopped::Missing) => return Err(self.service.no_bucket()),
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let path = self.path(key.as_str());
        let plain = self.service.plain();
        let mut trying = Trying::new(self, WORKING, key.as_str(), "delete");
        while let Err(error) = plain.delete(&path).await {
            match trying.again(&error).await {
                Ok(()) => {}
                Err(Stopped::Missing) => return Ok(()),
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// What was acknowledged is durable.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
