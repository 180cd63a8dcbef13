//! A repository's place, with what its store needs to be opened.

use serde::Deserialize;

use super::period::Period;
use super::secret::Secret;

/// A repository of the configuration. What is not said comes from the environment variables of the cloud's own tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// A folder, or `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`.
    pub place: String,
    /// The region of an S3 bucket.
    pub region: Option<String>,
    /// Where an S3-compatible service answers: `https://s3.example.com`. Plain `http://` is for tests and private networks.
    pub endpoint: Option<String>,
    /// The id of an S3 access key, or the name of an Azure account.
    pub access_key_id: Option<Secret>,
    /// The secret of that key.
    pub secret_access_key: Option<Secret>,
    /// The session's token, for temporary keys.
    pub session_token: Option<Secret>,
    /// A Google service account's key, as JSON.
    pub service_account_key: Option<Secret>,
    /// The passphrase of an encrypted repository. It says that the repository is encrypted: a new one is made so.
    pub passphrase: Option<Secret>,
    /// The storage class of what is written, such as `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Objects cannot be removed for a time; the bucket must have been made so.
    pub object_lock: Option<ObjectLock>,
}

/// S3 object lock for each object that is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectLock {
    /// Who may lift it.
    pub mode: ObjectLockMode,
    /// For how long after writing.
    pub period: Period,
}

/// How strict an object lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectLockMode {
    /// Users with a special permission may lift it.
    Governance,
    /// Nobody may.
    Compliance,
}

impl Place {
    /// A place without settings of its own, as `--repo` names it.
    pub fn of(place: &str) -> Place {
        Place {
            place: place.to_owned(),
            ..Place::default()
        }
    }

    /// What cannot be meant.
    pub(super) fn problems(&self) -> Vec<String> {
        let about = |problem: &str| format!("repository {:?}: {problem}", self.name);
        let mut problems = Vec::new();
        if self.place.is_empty() {
            problems.push(about("place is empty; give a folder or an s3:// URL"));
        }
        let for_cloud_only = self.region.is_some()
            || self.endpoint.is_some()
            || self.storage_class.is_some()
            || self.object_lock.is_some();
        if for_cloud_only && !self.place.contains("://") {
            problems.push(about(
                "region, endpoint, storage_class and object_lock mean nothing for a folder",
            ));
        }
        problems
    }
}
