//! Where archives are: `--repo` becomes a repository. `@NAME` is one of the configuration.

use std::path::PathBuf;
use std::sync::Arc;

use super::output::diagnostic;
use super::{Context, config_file, passphrase};
use crate::archive::chunker::ChunkSettings;
use crate::archive::marker::Marker;
use crate::archive::{Repository, Unlock};
use crate::config::{Place, Secret};
use crate::error::{Error, Result};
use crate::pg::Environment;
use crate::store::{self, At, Opening, Store};

/// What `--repo` names.
pub(crate) async fn of(cx: &Context) -> Result<Place> {
    named(&cx.common.repo, cx).await
}

/// A place as people write it: a folder, a URL, or `@NAME`.
pub(crate) async fn named(text: &str, cx: &Context) -> Result<Place> {
    let mut place = match text.strip_prefix('@') {
        None => Place::of(text),
        Some(name) => configured(name, cx).await?,
    };
    if let Some(file) = &cx.common.passphrase_file {
        place.passphrase = Some(Secret::File(file.clone()));
    }
    Ok(place)
}

async fn configured(name: &str, cx: &Context) -> Result<Place> {
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
    for_reading(&of(cx).await?, cx).await
}

/// The same for what can be done without the key too: an encrypted repository is locked if no passphrase is given.
pub(crate) async fn open_maybe_locked(cx: &Context) -> Result<Repository> {
    maybe_locked(&of(cx).await?, cx).await
}

/// The same without asking anybody for a passphrase, or reading one.
pub(crate) async fn open_without_key(cx: &Context) -> Result<Repository> {
    let store = opened(&of(cx).await?, Opening::Existing, cx).await?;
    Repository::open_for_reading(store).await
}

/// Opens another repository to read archives.
pub(crate) async fn open_other(text: &str, cx: &Context) -> Result<Repository> {
    maybe_locked(&named(text, cx).await?, cx).await
}

/// Opens the repository at `place` to read archives.
pub(crate) async fn for_reading(place: &Place, cx: &Context) -> Result<Repository> {
    let repository = maybe_locked(place, cx).await?;
    repository.require_key()?;
    Ok(repository)
}

async fn maybe_locked(place: &Place, cx: &Context) -> Result<Repository> {
    let store = opened(place, Opening::Existing, cx).await?;
    let repository = Repository::open_for_reading(store).await?;
    unlocked(repository, unlock_of(place)?).await
}

/// Opens the repository that `--repo` names to change what is in it.
pub(crate) async fn open_to_change(cx: &Context) -> Result<Repository> {
    let place = of(cx).await?;
    let store = opened(&place, Opening::Existing, cx).await?;
    let repository = Repository::open(store).await?;
    let repository = unlocked(repository, unlock_of(&place)?).await?;
    repository.require_key()?;
    Ok(repository)
}

/// Opens the repository that `--repo` names, or makes it: encrypted if a passphrase is given, or if `encrypt` says so.
pub(crate) async fn open_or_create(cx: &Context, encrypt: bool) -> Result<Repository> {
    let place = of(cx).await?;
    let store = opened(&place, Opening::Create, cx).await?;
    let mut unlock = unlock_of(&place)?;
    let is_new = store.head(&Marker::key()).await?.is_none();
    if !is_new {
        let there = Repository::open(Arc::clone(&store)).await?;
        if encrypt && !there.is_encrypted() {
            return Err(Error::Usage(format!(
                "repository {} exists and is not encrypted: --encrypt makes a new one, and what is there cannot be encrypted afterwards; give another place with --repo",
                there.location()
            )));
        }
        let there = unlocked(there, unlock).await?;
        there.require_key()?;
        return Ok(there);
    }
    if encrypt && unlock.passphrase.is_none() {
        let asked = passphrase::ask_twice(&store.location())?;
        unlock = Unlock::with(asked);
    }
    Repository::open_or_create_with(store, ChunkSettings::default(), &unlock).await
}

/// The repository with its key, if a passphrase is given or somebody at the terminal knows it.
async fn unlocked(repository: Repository, mut unlock: Unlock) -> Result<Repository> {
    if unlock.passphrase.is_none() && repository.is_locked() {
        unlock.passphrase = passphrase::ask(&repository.location())?;
    }
    repository.unlock(&unlock).await
}

fn unlock_of(place: &Place) -> Result<Unlock> {
    let environment = Environment::of_process();
    Unlock::of(place, |name| environment.variable(name))
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
