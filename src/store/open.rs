//! From a place as people write it to the store that is there.

use std::sync::Arc;

use super::{LocalStore, Store};
use crate::config::Place;
use crate::error::{Error, Result};

/// What the store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To read, and to add to what is there: there must be something.
    Existing,
    /// To write: a folder that is not there is made.
    Create,
}

/// Opens the store at `place`. A URL of an unknown scheme is refused rather than taken for a folder's name.
pub async fn open(place: &Place, opening: Opening) -> Result<Arc<dyn Store>> {
    let path = folder_of(&place.place)?;
    let store = match opening {
        Opening::Create => LocalStore::create(path).await?,
        Opening::Existing => LocalStore::open(path).await?,
    };
    Ok(Arc::new(store))
}

/// The folder that `place` means.
pub fn folder_of(place: &str) -> Result<&str> {
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
        assert_eq!(folder_of("./backups").unwrap(), "./backups");
        assert_eq!(folder_of("file:///var/backups").unwrap(), "/var/backups");
        for place in ["gcs://b", "http://x", ""] {
            let problem = folder_of(place).unwrap_err();
            assert!(matches!(problem, Error::Usage(_)), "{place}");
        }
    }
}
