//! A service with its bucket: what it wants to be told with a put, and what it is called. Settings become one in `settings`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use md5::Digest as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::MicrosoftAzure;
use object_store::gcp::GoogleCloudStorage;
use object_store::{
    Attribute, AttributeValue, Attributes, ClientOptions, Error as ServiceError, HeaderMap,
    HeaderValue, ObjectStore, PutOptions,
};

use super::trouble;
use crate::config::{ObjectLock, ObjectLockMode};
use crate::error::Error;
use crate::store::Key;

/// A service with one bucket.
pub(super) struct Service {
    pub(super) kind: Kind,
    pub(super) bucket: String,
    /// Who answers, for people.
    pub(super) host: String,
    /// Where its keys come from, for people.
    pub(super) keys: &'static str,
    /// Whether somebody said which keys to use.
    pub(super) has_keys: bool,
    /// Values that no message may have.
    pub(super) secrets: Vec<String>,
    pub(super) storage_class: Option<String>,
    pub(super) lock: Option<ObjectLock>,
}

/// How the bucket is reached.
pub(super) enum Kind {
    S3 {
        /// Makes a client for a put that says its own lock; connections are shared.
        builder: Box<AmazonS3Builder>,
        plain: Arc<AmazonS3>,
    },
    Google(Arc<GoogleCloudStorage>),
    Azure(Arc<MicrosoftAzure>),
}

impl Service {
    /// For everything but puts.
    pub(super) fn plain(&self) -> Arc<dyn ObjectStore> {
        match &self.kind {
            Kind::S3 { plain, .. } => Arc::clone(plain) as _,
            Kind::Google(store) => Arc::clone(store) as _,
            Kind::Azure(store) => Arc::clone(store) as _,
        }
    }

    /// For the put of `key`, with what the service is to be told about it.
    pub(super) fn putter(
        &self,
        key: &Key,
        bytes: &Bytes,
    ) -> Result<(Arc<dyn ObjectStore>, PutOptions), ServiceError> {
        let mut options = PutOptions::default();
        if let Some(class) = self.storage_class.as_ref().filter(|_| is_bulk(key)) {
            let class = AttributeValue::from(class.clone());
            options.attributes = Attributes::from_iter([(Attribute::StorageClass, class)]);
        }
        let (Kind::S3 { builder, .. }, Some(lock)) = (&self.kind, &self.lock) else {
            return Ok((self.plain(), options));
        };
        if is_passing(key) {
            return Ok((self.plain(), options));
        }
        let headers = lock_headers(lock, bytes, Timestamp::now());
        let client = ClientOptions::new().with_default_headers(headers);
        let locking = builder.as_ref().clone().with_client_options(client);
        Ok((Arc::new(locking.build()?), options))
    }

    /// True if a put was refused because the object is there.
    pub(super) fn says_exists(&self, error: &ServiceError) -> bool {
        matches!(error, ServiceError::AlreadyExists { .. }) && !self.says_conflict(error)
    }

    /// True if a put met another one of the same key of which nobody knows yet how it ends.
    pub(super) fn says_conflict(&self, error: &ServiceError) -> bool {
        matches!(self.kind, Kind::S3 { .. }) && trouble::is_conflict(error)
    }

    /// Whether objects are locked.
    pub(super) fn locks(&self) -> bool {
        self.lock.is_some()
    }

    /// The bucket as a URL.
    pub(super) fn root(&self) -> String {
        let scheme = match self.kind {
            Kind::S3 { .. } => "s3",
            Kind::Google(_) => "gs",
            Kind::Azure(_) => "az",
        };
        format!("{scheme}://{}", self.bucket)
    }

    /// The text without any secret of this service.
    pub(super) fn without_secrets(&self, text: String) -> String {
        scrubbed(text, &self.secrets)
    }

    /// The error of a bucket that is not there.
    pub(super) fn no_bucket(&self) -> Error {
        Error::NotFound {
            what: format!("{} has no bucket {}", self.host, self.bucket),
            remedy: "make it, or look at its name, at the endpoint and whose keys these are; pgark makes no buckets"
                .to_owned(),
        }
    }
}

/// The text without any of `secrets`.
pub(super) fn scrubbed(text: String, secrets: &[String]) -> String {
    let found = secrets.iter().filter(|secret| text.contains(*secret));
    let found: Vec<&String> = found.collect();
    found
        .into_iter()
        .fold(text, |text, secret| text.replace(secret, "…"))
}

/// Rows and definitions; everything else is small, is read by each listing, and has no use for a cold class.
fn is_bulk(key: &Key) -> bool {
    key.is_below("chunks")
}

/// What is there to be removed soon.
fn is_passing(key: &Key) -> bool {
    key.is_below("leases") || key.is_below("trash")
}

/// What S3 wants with a put of a locked object: the lock, and digests of the body even where the request itself is signed.
fn lock_headers(lock: &ObjectLock, bytes: &Bytes, now: Timestamp) -> HeaderMap {
    let mode = match lock.mode {
        ObjectLockMode::Governance => "GOVERNANCE",
        ObjectLockMode::Compliance => "COMPLIANCE",
    };
    let until = now + lock.period.duration();
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let md5 = BASE64.encode(md5::Md5::digest(bytes));
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).expect("letters, digits and - + / = : only");
        headers.insert(name, value);
    };
    add("x-amz-object-lock-mode", mode);
    add("x-amz-object-lock-retain-until-date", &until);
    add("x-amz-sdk-checksum-algorithm", "SHA256");
    add("content-md5", &md5);
    headers
}
