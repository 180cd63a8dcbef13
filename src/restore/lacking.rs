//! What a server lacks of what an archive names beside its own objects. Whether that matters is the caller's question; a restore
//! refuses.

use super::options::RestoreOptions;
use super::wanted::Wanted;
use super::{globals, target};
use crate::archive::Archive;
use crate::error::Result;
use crate::pg::{ConnSettings, Session};

/// What a server lacks, and what an archive has that a copy must not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// Roles that own something, were granted something, or stand in a definition.
    pub(crate) roles: Vec<String>,
    /// Tablespaces that something is in.
    pub(crate) tablespaces: Vec<String>,
    /// How many subscriptions the archive has.
    pub(crate) n_subscriptions: usize,
}

/// Looks at the server of `session`, whichever database that is to; `target` names the database to be.
///
/// Errors: as [`restore`](super::restore()) before the first change.
pub(crate) async fn lacking(
    archive: &Archive,
    session: &Session,
    target: &ConnSettings,
    options: &RestoreOptions,
) -> Result<Lacking> {
    let chosen = globals::of_database(archive, target, options).await?;
    let wanted = Wanted::new(&chosen.selection, options, session.version());
    let facts = target::read(session, &wanted, true).await?;
    let is_missing = |role: &String| !facts.roles.contains_key(role) && !facts.is_absent(role);
    let entries = chosen.selection.iter();
    Ok(Lacking {
        n_subscriptions: entries.filter(|e| e.label == "subscription").count(),
        roles: wanted.roles.into_keys().filter(is_missing).collect(),
        tablespaces: wanted
            .tablespaces
            .into_keys()
            .filter(|name| !facts.tablespaces.contains(name))
            .collect(),
    })
}
