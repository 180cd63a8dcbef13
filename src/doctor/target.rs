//! The database to restore into. With an archive the restore's own examination speaks; without one the source's extensions are
//! looked for.

use super::database::Seen;
use super::server::{self, rows};
use super::{Check, chain, open};
use crate::archive::Archive;
use crate::error::Result;
use crate::kinds::row::catalog_row;
use crate::pg::{ConnSettings, Session};
use crate::restore::{RestoreOptions, check_target};
use crate::sql::Ident;

catalog_row! {
    /// What the server can create, and in which version it would.
    struct AvailableRow from
        "pg_catalog.pg_available_extensions a FULL JOIN pg_catalog.pg_extension e ON e.extname = a.name" {
        name: String = col("COALESCE(a.name, e.extname)::pg_catalog.text"),
        version: Option<String> = col("COALESCE(a.installed_version, e.extversion, a.default_version)"),
    }
}

/// Looks at the target.
pub(super) async fn look(
    target: &ConnSettings,
    archive: Option<&Archive>,
    source: &Seen,
    checks: &mut Vec<Check>,
) {
    let Some(session) = open(target, "target", checks).await else {
        return;
    };
    match server::of_target(&session).await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::unseen("target", &error)),
    }
    let outcome = match archive {
        Some(archive) => of_archive(archive, target).await,
        None => extensions(&session, source).await,
    };
    match outcome {
        Ok(found) => checks.extend(found),
        Err(error) => {
            let remedy = error.remedy().unwrap_or_default().to_owned();
            checks.push(Check::problem("restore", chain(&error), remedy));
        }
    }
    session.close().await;
}

/// What a restore of the whole archive would say before its first change.
async fn of_archive(archive: &Archive, target: &ConnSettings) -> Result<Vec<Check>> {
    let foreseen = check_target(archive, target, &RestoreOptions::default()).await?;
    let remedy_of = |text: String| match text.split_once("; ") {
        Some((found, remedy)) => (found.to_owned(), remedy.to_owned()),
        None => (text, String::new()),
    };
    let mut checks = Vec::new();
    for finding in foreseen.findings {
        let (found, remedy) = remedy_of(finding);
        checks.push(Check::problem("restore", found, remedy));
    }
    for warning in foreseen.warnings {
        let (found, remedy) = remedy_of(warning);
        checks.push(Check::warning("restore", found, remedy));
    }
    if checks.is_empty() {
        let text = format!("nothing stands in the way of archive {}", archive.name());
        checks.push(Check::ok("restore", text));
    }
    Ok(checks)
}

async fn extensions(session: &Session, source: &Seen) -> Result<Vec<Check>> {
    let available: std::collections::BTreeMap<String, Option<String>> =
        rows::<AvailableRow>(session, "the target's extensions")
            .await?
            .into_iter()
            .map(|row| (row.name, row.version))
            .collect();
    let mut checks = Vec::new();
    for (name, version) in &source.extensions {
        let quoted = Ident::new(name).quoted();
        match available.get(name) {
            None => checks.push(Check::problem(
                "extensions",
                format!("the target's server does not have {quoted}"),
                "install its package there",
            )),
            Some(Some(there)) if there != version => checks.push(Check::warning(
                "extensions",
                format!("the target has {quoted} in version {there}, the source in {version}"),
                "update the older one first (ALTER EXTENSION … UPDATE) where that matters",
            )),
            Some(_) => {}
        }
    }
    if checks.is_empty() {
        let n = super::things(source.extensions.len(), "extension");
        let text = format!("the target has all that the source uses ({n})");
        checks.push(Check::ok("extensions", text));
    }
    Ok(checks)
}
