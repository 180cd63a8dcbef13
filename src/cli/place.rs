//! Where archives are: `--repo` becomes a repository. `@NAME` is one of the configuration.

use super::{Context, config_file};
use crate::archive::Repository;
use crate::archive::chunker::ChunkSettings;
use crate::config::Place;
use crate::error::{Error, Result};
use crate::store::{self, Opening};

/// What `--repo` names.
pub(crate) async fn of(cx: &Context) -> Result<Place> {
    named(&cx.common.repo, cx).await
}

/// A place as people write it: a folder, a URL, or `@NAME`.
pub(crate) async fn named(text: &str, cx: &Context) -> Result<Place> {
    let Some(name) = text.strip_prefix('@') else {
        return Ok(Place::of(text));
    };
    let configured = config_file::load(cx).await?;
    let place = configured.config.repository(name);
    place.cloned().ok_or_else(|| {
        Error::Usage(format!(
            "{} has no repository {name:?}",
            configured.file.display()
        ))
    })
}

/// Opens the repository that `--repo` names to read archives.
pub(crate) async fn open(cx: &Context) -> Result<Repository> {
    let store = store::open(&of(cx).await?, Opening::Existing).await?;
    Repository::open_for_reading(store).await
}

/// Opens the repository that `--repo` names to change what is in it.
pub(crate) async fn open_to_change(cx: &Context) -> Result<Repository> {
    let store = store::open(&of(cx).await?, Opening::Existing).await?;
    Repository::open(store).await
}

/// Opens the repository that `--repo` names, or makes it.
pub(crate) async fn open_or_create(cx: &Context) -> Result<Repository> {
    let store = store::open(&of(cx).await?, Opening::Create).await?;
    Repository::open_or_create(store, ChunkSettings::default()).await
}
