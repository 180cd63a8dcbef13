//! The services and their settings: from a place and environment variables to what `object_store` talks to, and what each
//! service wants to be told with a put.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use md5::Digest as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{
    Attribute, AttributeValue, Attributes, ClientOptions, Error as ServiceError, HeaderMap,
    HeaderValue, ObjectStore, PutOptions, RetryConfig,
};

use super::http::Connector;
use super::trouble;
use crate::config::{ObjectLock, ObjectLockMode, Place, Secret};
use crate::error::{Error, Result};
use crate::store::Key;

/// Looks up an environment variable.
type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// Variables of S3's own tools that are understood; `object_store` knows them in lower case.
const S3_VARIABLES: &[&str] = &[
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_METADATA_ENDPOINT",
    "AWS_REQUEST_PAYER",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
];
/// Those that are keys; a key of the configuration makes all of them void, so that two keys are never mixed.
const S3_KEY_VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
const GOOGLE_KEY_VARIABLES: &[&str] = &[
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
];
const AZURE_VARIABLES: &[&str] = &["AZURE_STORAGE_ENDPOINT", "AZURE_AUTHORITY_HOST"];
const AZURE_KEY_VARIABLES: &[&str] = &[
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_STORAGE_USE_EMULATOR",
];

/// A service with one bucket.
pub(super) struct Service {
    kind: Kind,
    bucket: String,
    host: String,
    keys: &'static str,
    /// Whether somebody said which keys to use.
    has_keys: bool,
    /// Values that no message may have.
    secrets: Vec<String>,
    storage_class: Option<String>,
    lock: Option<ObjectLock>,
}

/// How the bucket is reached.
enum Kind {
    S3 {
        /// Makes a client for a put that says its own lock; connections are shared.
        builder: Box<AmazonS3Builder>,
        plain: Arc<AmazonS3>,
    },
    Google(Arc<GoogleCloudStorage>),
    Azure(Arc<MicrosoftAzure>),
}

/// The service that `place` names, and the path in its bucket. Asks nobody yet.
pub(super) fn connect<'a>(
    place: &'a Place,
    variables: Variables<'_>,
) -> Result<(Service, &'a str)> {
    let (scheme, rest) = place.place.split_once("://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::Usage(format!(
            "{}: the bucket is missing: write {scheme}://BUCKET/PREFIX",
            place.place
        )));
    }
    if rest.contains(['@', '?', '#']) {
        return Err(Error::Usage(format!(
            "{scheme}://…: a place has neither keys nor parameters in its URL: write {scheme}://BUCKET/PREFIX, and give keys by \
             environment variables or in the configuration"
        )));
    }
    let prefix = prefix.trim_matches('/');
    let connector = Connector::new()?;
    let settings = Settings::of(place, bucket, variables)?;
    let service = match scheme {
        "s3" => settings.s3(connector),
        "gs" => settings.google(connector),
        _ => settings.azure(connector),
    };
    Ok((service?, prefix))
}

/// What is known before a client is made.
struct Settings<'a> {
    place: &'a Place,
    bucket: &'a str,
    key_id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    account_key: Option<String>,
    variables: Variables<'a>,
}

impl<'a> Settings<'a> {
    fn of(place: &'a Place, bucket: &'a str, variables: Variables<'a>) -> Result<Settings<'a>> {
        let read = |secret: &Option<Secret>| {
            let read = secret.as_ref().map(|secret| secret.read(variables));
            read.transpose()
        };
        Ok(Settings {
            place,
            bucket,
            key_id: read(&place.access_key_id)?,
            secret: read(&place.secret_access_key)?,
            token: read(&place.session_token)?,
            account_key: read(&place.service_account_key)?,
            variables,
        })
    }

    /// Whether the configuration itself names keys.
    fn has_keys(&self) -> bool {
        self.key_id.is_some() || self.secret.is_some() || self.account_key.is_some()
    }

    /// The variables that are set, in lower case with their values.
    fn set(&self, others: &[&str], keys: &[&str]) -> Vec<(String, String)> {
        let keys = if self.has_keys() { &[] } else { keys };
        let set = others.iter().chain(keys).filter_map(|name| {
            let value = (self.variables)(name).filter(|value| !value.is_empty())?;
            Some((name.to_ascii_lowercase(), value))
        });
        set.collect()
    }

    fn service(
        &self,
        kind: Kind,
        host: String,
        keys: &'static str,
        set: &[(String, String)],
    ) -> Service {
        let own = [&self.secret, &self.token, &self.account_key];
        let secret = |name: &str| {
            ["secret", "token", "_key", "sas"]
                .iter()
                .any(|part| name.contains(part))
                && !name.ends_with("_file")
        };
        let of_variables = set
            .iter()
            .filter(|(name, _)| {
                secret(name) && !name.ends_with("key_id") && !name.ends_with("_file")
            })
            .map(|(_, value)| value);
        let secrets = own.into_iter().flatten().chain(of_variables);
        Service {
            kind,
            bucket: self.bucket.to_owned(),
            host,
            keys: if self.has_keys() {
                "the keys that the configuration names"
            } else {
                keys
            },
            has_keys: self.has_keys()
                || set
                    .iter()
                    .any(|(name, _)| secret(name) || name.contains("credentials")),
            // What is shorter might be part of any word.
            secrets: secrets.filter(|one| one.len() >= 6).cloned().collect(),
            storage_class: self.place.storage_class.clone(),
            lock: self.place.object_lock.clone(),
        }
    }

    fn s3(&self, connector: Connector) -> Result<Service> {
        let set = self.set(S3_VARIABLES, S3_KEY_VARIABLES);
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &set {
            let key = name.parse().map_err(|problem| self.unusable(&problem))?;
            builder = builder.with_config(key, value);
        }
        builder = builder
            .with_bucket_name(self.bucket)
            .with_http_connector(connector)
            .with_checksum_algorithm(Checksum::SHA256)
            // Not every compatible service has it, and removing many objects at once is the caller's.
            .with_disable_bulk_delete(true)
            .with_retry(of_keys());
        if let Some(region) = &self.place.region {
            builder = builder.with_region(region);
        }
        let endpoint = self.place.endpoint.clone().or_else(|| {
            let named = |name: &str| set.iter().find(|(one, _)| one == name);
            let found = named("aws_endpoint_url_s3").or_else(|| named("aws_endpoint_url"));
            found.map(|(_, value)| value.clone())
        });
        if let Some(endpoint) = &self.place.endpoint {
            // The variable for S3 alone would win over the configuration.
            builder =
                builder.with_config(object_store::aws::AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(id) = &self.key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &self.secret {
            builder = builder.with_secret_access_key(secret);
        }
        if let Some(token) = &self.token {
            builder = builder.with_token(token);
        }
        let first = builder.clone().build().map_err(|e| self.unusable(&e))?;
        // One source of keys for all clients, so that temporary ones are fetched once.
        let builder = builder
            .with_credentials(Arc::clone(first.credentials()))
            .with_retry(none());
        let plain = builder.clone().build().map_err(|e| self.unusable(&e))?;
        let kind = Kind::S3 {
            builder: Box::new(builder),
            plain: Arc::new(plain),
        };
        let host = endpoint.map_or_else(|| "S3".to_owned(), |endpoint| host_of(&endpoint));
        let keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        Ok(self.service(kind, host, keys, &set))
    }

    fn google(&self, connector: Connector) -> Result<Service> {
        self.refuse_lock("gs")?;
        let set = self.set(&[], GOOGLE_KEY_VARIABLES);
        let mut builder = GoogleCloudStorageBuilder::new();
        for (name, value) in &set {
            let key = name.parse().map_err(|problem| self.unusable(&problem))?;
            builder = builder.with_config(key, value);
        }
        builder = builder
            .with_bucket_name(self.bucket)
            .with_http_connector(connector)
            .with_retry(of_keys());
        if let Some(key) = &self.account_key {
            builder = builder.with_service_account_key(key);
        }
        if let Some(endpoint) = &self.place.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        let first = builder.clone().build().map_err(|e| self.unusable(&e))?;
        let builder = builder
            .with_credentials(Arc::clone(first.credentials()))
            .with_retry(none());
        let plain = builder.build().map_err(|e| self.unusable(&e))?;
        let host = "Google Cloud Storage".to_owned();
        let keys = "GOOGLE_APPLICATION_CREDENTIALS";
        Ok(self.service(Kind::Google(Arc::new(plain)), host, keys, &set))
    }

    fn azure(&self, connector: Connector) -> Result<Service> {
        self.refuse_lock("az")?;
        let set = self.set(AZURE_VARIABLES, AZURE_KEY_VARIABLES);
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in &set {
            let key = name.parse().map_err(|problem| self.unusable(&problem))?;
            builder = builder.with_config(key, value);
        }
        builder = builder
            .with_container_name(self.bucket)
            .with_http_connector(connector)
            .with_retry(of_keys());
        if let Some(account) = &self.key_id {
            builder = builder.with_account(account);
        }
        if let Some(key) = &self.secret {
            builder = builder.with_access_key(key);
        }
        if let Some(endpoint) = &self.place.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let first = builder.clone().build().map_err(|e| self.unusable(&e))?;
        let builder = builder
            .with_credentials(Arc::clone(first.credentials()))
            .with_retry(none());
        let plain = builder.build().map_err(|e| self.unusable(&e))?;
        let host = "Azure Blob Storage".to_owned();
        let keys = "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY";
        Ok(self.service(Kind::Azure(Arc::new(plain)), host, keys, &set))
    }

    fn refuse_lock(&self, scheme: &str) -> Result<()> {
        match &self.place.object_lock {
            None => Ok(()),
            Some(_) => Err(Error::Usage(format!(
                "{}: object_lock is known for s3:// only; give the bucket of {scheme}:// a retention policy instead",
                self.place.place
            ))),
        }
    }

    /// Settings that no client can be made of. The text names settings, never their values.
    fn unusable(&self, problem: &ServiceError) -> Error {
        let service_says = problem.to_string();
        let known = self.set(&[], S3_KEY_VARIABLES);
        let mut text = service_says;
        let secrets = [&self.secret, &self.token, &self.account_key];
        let of_variables = known.iter().map(|(_, value)| value);
        for secret in secrets.into_iter().flatten().chain(of_variables) {
            text = text.replace(secret.as_str(), "…");
        }
        Error::Usage(format!("{}: {text}", self.place.place))
    }
}

/// The store itself repeats what failed, because only it can tell its own put from somebody else's.
fn none() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}

/// For fetching temporary keys: briefly, because where there is no such source nobody answers.
fn of_keys() -> RetryConfig {
    RetryConfig {
        max_retries: 1,
        retry_timeout: Duration::from_secs(10),
        ..RetryConfig::default()
    }
}

fn host_of(endpoint: &str) -> String {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Whoever wrote a password there does not want to read it again.
    authority.rsplit('@').next().unwrap_or_default().to_owned()
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

    /// Who answers, for people.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Where its keys come from, for people.
    pub(super) fn where_keys_come_from(&self) -> &'static str {
        self.keys
    }

    /// Whether anybody said which keys to use. Else a machine in the cloud has some of its own.
    pub(super) fn has_keys(&self) -> bool {
        self.has_keys
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
    pub(super) fn without_secrets(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, "…");
            }
        }
        text
    }

    pub(super) fn no_bucket(&self) -> Error {
        Error::NotFound {
            what: format!("{} has no bucket {}", self.host, self.bucket),
            remedy: "make it, or look at its name, at the endpoint and whose keys these are; pgark makes no buckets"
                .to_owned(),
        }
    }
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
