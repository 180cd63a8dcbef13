//! From a place as people write it to the store that is there.

use std::path::PathBuf;
use std::sync::Arc;

use super::{BucketStore, LocalStore, Store};
use crate::config::Place;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What the store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To read, and to add to what is there: there must be something.
    Existing,
    /// To write: a folder that is not there is made. A bucket never is.
    Create,
}

/// Gives the value of an environment variable: a bucket's keys may be there.
pub type Variables<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

/// What a place means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of S3, or of what speaks like it.
    S3,
    /// A bucket of another cloud's own protocol, which no test of ours has met.
    Untested(&'static str),
}

impl At {
    /// Reads a place. A URL of an unknown scheme is refused rather than taken for a folder's name.
    pub fn parse(place: &str) -> Result<At> {
        if place.is_empty() {
            return Err(Error::Usage(
                "--repo (or PGARK_REPO) is empty; give a folder, or a bucket as s3://BUCKET/PREFIX"
                    .to_owned(),
            ));
        }
        match place.split_once("://") {
            None => Ok(At::Folder(place.into())),
            Some(("file", path)) => Ok(At::Folder(path.into())),
            Some(("s3", _)) => Ok(At::S3),
            Some(("gs", _)) => Ok(At::Untested("Google Cloud Storage")),
            Some(("az", _)) => Ok(At::Untested("Azure Blob Storage")),
            Some((scheme, _)) => Err(Error::Usage(format!(
                "{scheme}:// is no place for archives that this version knows: give a folder, or a bucket as s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            ))),
        }
    }

    /// True if it is beyond this machine, so that each request takes its time.
    pub fn is_far(&self) -> bool {
        !matches!(self, At::Folder(_))
    }
}

/// Opens the store at `place`. Whoever is `told` hears of each call that is tried again.
pub async fn open(
    place: &Place,
    opening: Opening,
    variables: Variables<'_>,
    told: Arc<dyn Progress>,
) -> Result<Arc<dyn Store>> {
    Ok(match (At::parse(&place.place)?, opening) {
        (At::Folder(path), Opening::Create) => {
            Arc::new(LocalStore::create(path).await?.telling(told))
        }
        (At::Folder(path), Opening::Existing) => {
            Arc::new(LocalStore::open(path).await?.telling(told))
        }
        (At::S3 | At::Untested(_), _) => Arc::new(BucketStore::open(place, variables, told).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_never_taken_for_a_folder() {
        assert_eq!(
            At::parse("./backups").unwrap(),
            At::Folder("./backups".into())
        );
        let folder = At::parse("file:///var/backups").unwrap();
        assert!(folder == At::Folder("/var/backups".into()) && !folder.is_far());
        assert!(At::parse("s3://b/p").unwrap().is_far());
        for place in ["gcs://b", "http://x", ""] {
            let problem = At::parse(place).unwrap_err();
            assert!(matches!(problem, Error::Usage(_)), "{place}");
        }
    }
}
