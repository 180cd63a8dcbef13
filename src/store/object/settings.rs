//! From a place and environment variables to a service that can be talked to. Asks nobody yet.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{Error as ServiceError, RetryConfig};

use super::http::Connector;
use super::service::{Kind, Service, scrubbed};
use crate::config::{Place, Secret};
use crate::error::{Error, Result};
use crate::store::Variables;

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
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
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
        let keys = [S3_KEY_VARIABLES, GOOGLE_KEY_VARIABLES, AZURE_KEY_VARIABLES].concat();
        let of_variables = self.set(&[], &keys).into_iter().map(|(_, value)| value);
        let own = [&self.secret, &self.token, &self.account_key];
        let secrets: Vec<String> = own
            .into_iter()
            .flatten()
            .cloned()
            .chain(of_variables)
            .collect();
        let text = scrubbed(problem.to_string(), &secrets);
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
