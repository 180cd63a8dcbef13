//! Where archives are: `--repo` becomes a repository.

use std::sync::Arc;

use crate::archive::Repository;
use crate::archive::chunker::ChunkSettings;
use crate::error::{Error, Result};
use crate::store::{LocalStore, Store};

/// Opens the repository at `place` to read archives.
pub(crate) async fn open(place: &str) -> Result<Repository> {
    Repository::open_for_reading(folder(place, false).await?).await
}

/// Opens the repository at `place`, or makes one.
pub(crate) async fn open_or_create(place: &str) -> Result<Repository> {
    let store = folder(place, true).await?;
    Repository::open_or_create(store, ChunkSettings::default()).await
}

async fn folder(place: &str, create: bool) -> Result<Arc<dyn Store>> {
    let path = path_of(place)?;
    let store = if create {
        LocalStore::create(path).await?
    } else {
        LocalStore::open(path).await?
    };
    Ok(Arc::new(store))
}

/// The folder that `place` means; a URL of another scheme is refused rather than taken for a folder's name.
pub(crate) fn path_of(place: &str) -> Result<&str> {
    if place.is_empty() {
        return Err(Error::Usage(
            "--repo (or PGARK_REPO) is empty; give a folder".to_owned(),
        ));
    }
    match place.split_once("://") {
        Some(("file", path)) => Ok(path),
        Some((scheme, _)) => Err(Error::Usage(format!(
            "{scheme}:// is no place for archives that this version knows: give a folder with --repo, such as ./backups or a mounted volume"
        ))),
        None => Ok(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_never_taken_for_a_folder() {
        assert_eq!(path_of("./backups").unwrap(), "./backups");
        assert_eq!(path_of("file:///var/backups").unwrap(), "/var/backups");
        for place in ["s3://bucket/prefix", "gs://b", "az://b", "http://x", ""] {
            let problem = path_of(place).unwrap_err();
            assert!(matches!(problem, Error::Usage(_)), "{place}");
        }
    }
}
