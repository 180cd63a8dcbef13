//! Where archives are: `--repo` becomes a repository. `@NAME` is one of the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use super::output::diagnostic;
use super::{Context, config_file};
use crate::archive::Repository;
use crate::archive::chunker::ChunkSettings;
use crate::config::Place;
use crate::error::{Error, Result};
use crate::pg::Environment;
use crate::store::{self, At, Opening, Store};

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
    let store = opened(&of(cx).await?, Opening::Existing, cx).await?;
    Repository::open_for_reading(store).await
}

/// Opens another repository to read archives.
pub(crate) async fn open_other(text: &str, cx: &Context) -> Result<Repository> {
    let store = opened(&named(text, cx).await?, Opening::Existing, cx).await?;
    Repository::open_for_reading(store).await
}

/// Opens the repository that `--repo` names to change what is in it.
pub(crate) async fn open_to_change(cx: &Context) -> Result<Repository> {
    let store = opened(&of(cx).await?, Opening::Existing, cx).await?;
    Repository::open(store).await
}

/// Opens the repository that `--repo` names, or makes it.
pub(crate) async fn open_or_create(cx: &Context) -> Result<Repository> {
    let store = opened(&of(cx).await?, Opening::Create, cx).await?;
    Repository::open_or_create(store, ChunkSettings::default()).await
}

/// Opens the store at `place` with the keys of this process's environment.
pub(crate) async fn opened(
    place: &Place,
    opening: Opening,
    cx: &Context,
) -> Result<Arc<dyn Store>> {
    if let At::Untested(service) = At::parse(&place.place)? {
        diagnostic(format!(
            "warning: {service} is reached by a well-known library, but pgark was never tested with the real service: verify what you dump"
        ));
    }
    let environment = Environment::of_process();
    let variables = |name: &str| environment.variable(name);
    store::open(place, opening, &variables, cx.shown.progress()).await
}

/// Where this program may remember things: `$XDG_CACHE_HOME/pgark`, else `~/.cache/pgark`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let environment = Environment::of_process();
    let folder = environment.variable("XDG_CACHE_HOME").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(environment.home?.join(".cache")))?;
    Some(folder.join("pgark"))
}
