//! The catalog phase: lock, read, deparse, and compare with a fresh look; again if somebody changed what was read.

use std::collections::BTreeSet;

use super::entries::{self, Sections, Toc};
use super::source::{self, SourceFacts};
use super::{DumpOptions, open_fresh};
use crate::archive::manifest::Skipped;
use crate::catalog::fresh::Definitions;
use crate::catalog::loader::load;
use crate::catalog::lock::{LockRequest, Locked, TRIES_MAX, lock_tables};
use crate::catalog::rights::{Reach, Unreadable};
use crate::error::{Error, Result};
use crate::kinds::arena::{Catalog, CatalogId, RenderCx};
use crate::kinds::toc_builder::{Aspect, Draft};
use crate::pg::{ConnSettings, Session, SnapshotOwner};
use crate::progress::{Event, Progress};
use crate::toc::Part;

/// What the catalog phase found; the owner holds locks and snapshot.
#[derive(Debug)]
pub(super) struct Looked {
    /// The transaction.
    pub owner: SnapshotOwner,
    /// The source.
    pub facts: SourceFacts,
    /// Entries in order.
    pub toc: Toc,
    /// What is left out, with reasons.
    pub skipped: Vec<Skipped>,
    /// False if something is left out because the role may not read it.
    pub is_whole: bool,
    /// How many objects are left out because of that, rows that an accepted filter hides not counted.
    pub n_unreadable: u64,
}

/// Reads the catalog until a whole reading was undisturbed.
pub(super) async fn look(
    settings: &ConnSettings,
    mut session: Session,
    search_path: Vec<String>,
    options: &DumpOptions,
    progress: &dyn Progress,
) -> Result<Looked> {
    let facts = source::read(&session, search_path).await?;
    let mut disturbed_by = String::new();
    for _ in 0..TRIES_MAX {
        let request = LockRequest {
            database: &facts.database.name,
            search_path: &facts.search_path,
            serializable_deferrable: options.serializable_deferrable,
            reach: Reach {
                definitions: !options.selection.data_only,
                row_security: options.enable_row_security,
            },
            unreadable: if options.skip_unreadable {
                Unreadable::LeaveOut
            } else {
                Unreadable::Refuse
            },
        };
        let choose = |listing: &_| options.selection.choose(listing);
        let (owner, locked) = lock_tables(session, request, progress, &choose).await?;
        match read_once(settings, &owner, &locked, &facts, options).await? {
            Reading::Undisturbed(toc) => {
                let skipped = skipped(&locked, options);
                let is_whole = locked.barriers.is_whole();
                let mut toc = *toc;
                for finding in locked.barriers.findings() {
                    let warning = format!("left out, because the role may not read it: {finding}");
                    progress.event(Event::Warning(warning.clone()));
                    toc.warnings.push(warning);
                }
                return Ok(Looked {
                    owner,
                    facts,
                    toc,
                    skipped,
                    is_whole,
                    n_unreadable: locked.barriers.n_missing(),
                });
            }
            Reading::Disturbed(by) => {
                progress.event(Event::Warning(format!("{by}; reading the catalog again")));
                disturbed_by = by;
                session = owner.give_up().await?;
            }
        }
    }
    Err(Error::failed(
        "reading the catalog",
        format!("it kept changing during {TRIES_MAX} tries; the last: {disturbed_by}"),
        "run the dump when no schema change is under way",
    ))
}

enum Reading {
    Undisturbed(Box<Toc>),
    Disturbed(String),
}

async fn read_once(
    settings: &ConnSettings,
    owner: &SnapshotOwner,
    locked: &Locked,
    facts: &SourceFacts,
    options: &DumpOptions,
) -> Result<Reading> {
    let session = owner.session();
    let catalog = match load(session, locked, facts.database.clone()).await {
        Ok(catalog) => catalog,
        Err(error) => {
            // A deparse function that meets a dropped object fails, and the transaction with it: only a changed catalog is
            // a reason to try again.
            let aborted = matches!(
                error.sqlstate(),
                Some("XX000" | "42P01" | "42704" | "42883" | "2BP01")
            );
            let vanished =
                matches!(&error, Error::Failed { problem, .. } if problem.starts_with("vanished"));
            if aborted || vanished {
                return Ok(Reading::Disturbed(describe(&error)));
            }
            return Err(error);
        }
    };
    let seen = Definitions::read(session).await?;
    let toc = build(&catalog, session, locked, options);
    let fresh = open_fresh(settings, session.version()).await?;
    let now = Definitions::read(&fresh).await?;
    fresh.close().await;
    let changed = seen.changed_in(&now, &toc.relevant);
    match changed.first() {
        None => Ok(Reading::Undisturbed(Box::new(toc))),
        Some(first) => {
            let name = name_of(*first, &catalog, session);
            let others = match changed.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            Ok(Reading::Disturbed(format!(
                "{name}{others} changed while the catalog was read"
            )))
        }
    }
}

fn describe(error: &Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn build(catalog: &Catalog, session: &Session, locked: &Locked, options: &DumpOptions) -> Toc {
    let selection = &options.selection;
    let cx = RenderCx {
        catalog,
        server: session.version(),
    };
    let sections = Sections {
        without_definitions: selection.data_only,
        without_tablespaces: selection.no_tablespaces,
    };
    let wanted = &locked.wanted;
    let wanted_rows = |draft: &Draft| match (&draft.data, draft.key.aspect) {
        (Some(data), _) if data.relation == 0 => wanted.large_objects,
        (Some(data), _) => wanted.rows.contains(&data.relation),
        (None, Aspect::Refresh) => !selection.schema_only,
        // A sequence's value is data, unless its rows of use are left out with its table.
        (None, Aspect::SequenceValue) => {
            let parts = wanted
                .relations
                .get(&draft.key.id.oid)
                .copied()
                .unwrap_or_default();
            !selection.schema_only && (parts.has(Part::Data) || parts.is_empty())
        }
        _ => true,
    };
    entries::build(cx, sections, &wanted_rows)
}

/// What the role may not read, then what the user left out.
fn skipped(locked: &Locked, options: &DumpOptions) -> Vec<Skipped> {
    let missing = locked.barriers.missing().into_iter();
    let mut skipped: Vec<Skipped> = missing
        .map(|(what, reason)| Skipped { what, reason })
        .collect();
    let named: BTreeSet<String> = skipped.iter().map(|skip| skip.what.clone()).collect();
    let excluded = skipped_rows(locked, options).into_iter();
    skipped.extend(excluded.filter(|skip| !named.contains(&skip.what)));
    skipped
}

/// Tables whose definition is saved without rows; a dump without any rows says so by its options.
fn skipped_rows(locked: &Locked, options: &DumpOptions) -> Vec<Skipped> {
    if options.selection.schema_only {
        return Vec::new();
    }
    let wanted = &locked.wanted;
    let tables = locked
        .listing
        .relations
        .values()
        .filter(|row| row.kind == 'r');
    let defined = tables.filter(|row| {
        wanted
            .relations
            .get(&row.oid)
            .is_some_and(|parts| parts.has(Part::Define))
    });
    let without = defined.filter(|row| !wanted.rows.contains(&row.oid));
    let reason = "left out by --exclude-table-data";
    without
        .map(|row| Skipped {
            what: format!("rows of {}", row.qualified().quoted()),
            reason: reason.to_owned(),
        })
        .collect()
}

fn name_of(id: CatalogId, catalog: &Catalog, session: &Session) -> String {
    let cx = RenderCx {
        catalog,
        server: session.version(),
    };
    match catalog.get(id) {
        Some(object) => {
            let ddl = object.ddl();
            format!("{} {}", ddl.facts().label, ddl.name(&cx))
        }
        None => match catalog.core.relations.get(&id.oid) {
            Some(row) => format!("relation {}", crate::toc::printable(&row.name)),
            None => format!(
                "an object they depend on (catalog {}, OID {})",
                id.class, id.oid
            ),
        },
    }
}
