//! The catalog phase: lock, read, deparse, and compare with a fresh look; again if somebody changed what was read, or if what
//! was read needs more than was chosen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::entries::{self, Toc};
use super::needs::{self, Needed};
use super::select;
use super::sizes::{self, SizeRow};
use super::source::{self, SourceFacts};
use super::{DumpOptions, conditions, globals, open_fresh, refusals};
use crate::archive::manifest::Skipped;
use crate::catalog::fresh;
use crate::catalog::listing::ListedRow;
use crate::catalog::loader::load;
use crate::catalog::lock::{LockRequest, Locked, TRIES_MAX, lock_tables};
use crate::catalog::rights::{Reach, Unreadable};
use crate::catalog::unknown::{self, Unknown};
use crate::error::{Error, Result};
use crate::kinds::Object;
use crate::kinds::arena::{Catalog, CatalogId, RenderCx};
use crate::kinds::row::Oid;
use crate::kinds::toc_builder::{Aspect, Draft};
use crate::pg::{ConnSettings, Session, SnapshotOwner};
use crate::progress::{Event, Progress};
use crate::selection::{Brought, Omit};
use crate::toc::{EntryId, Part};

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
    /// What was not chosen and came along.
    pub brought: Vec<Brought>,
    /// How large the tables are.
    pub sizes: HashMap<Oid, SizeRow>,
    /// The user's conditions on rows, by table.
    pub conditions: BTreeMap<Oid, String>,
    /// Relations of the database, chosen or not.
    pub n_relations: usize,
    /// False if something is left out because the role may not read it.
    pub is_whole: bool,
    /// How many objects are left out because of that, rows that an accepted filter hides not counted.
    pub n_unreadable: u64,
}

/// How often what chosen objects need may lead to more. Once is usual; more if definitions change meanwhile.
const GROWTHS_MAX: u32 = 20;

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
    let mut needed = Needed::default();
    let (mut n_disturbed, mut n_grown) = (0, 0);
    while n_disturbed < TRIES_MAX && n_grown < GROWTHS_MAX {
        let request = LockRequest {
            database: &facts.database.name,
            search_path: &facts.search_path,
            serializable_deferrable: options.serializable_deferrable,
            lock_table: facts.lock_table,
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
        let choose = |listing: &_| select::choose(&options.selection, listing, &needed);
        let (owner, locked) = lock_tables(session, request, progress, &choose)
            .await
            .map_err(|error| refusals::explain(error, &facts, 0))?;
        let n_relations = locked.listing.relations.len();
        let conditions = conditions::prove(owner.session(), &locked).await?;
        let known = (&facts, &needed);
        let read = Box::pin(read_once(settings, &owner, &locked, known, options)).await;
        match read.map_err(|error| refusals::explain(error, &facts, n_relations))? {
            Reading::Undisturbed(found) => {
                let Found {
                    mut toc,
                    brought,
                    sizes,
                    skipped: mut left_out,
                } = *found;
                for Skipped { what, reason } in &left_out {
                    progress.event(Event::Warning(format!("{what}: {reason}")));
                }
                left_out.extend(skipped(&locked, &facts, options));
                let warnings = locked.wanted.warnings.iter().cloned();
                warnings.for_each(|warning| progress.event(Event::Warning(warning)));
                for finding in locked.barriers.findings() {
                    let warning = format!("left out, because the role may not read it: {finding}");
                    progress.event(Event::Warning(warning.clone()));
                    toc.warnings.push(warning);
                }
                return Ok(Looked {
                    owner,
                    facts,
                    toc,
                    skipped: left_out,
                    brought,
                    sizes,
                    conditions,
                    n_relations,
                    is_whole: locked.barriers.is_whole(),
                    n_unreadable: locked.barriers.n_missing(),
                });
            }
            Reading::Grown(more) => {
                n_grown += 1;
                "more and more objects were needed".clone_into(&mut disturbed_by);
                needed.extend(more);
                session = owner.give_up().await?;
            }
            Reading::Disturbed(by) => {
                n_disturbed += 1;
                progress.event(Event::Warning(format!("{by}; reading the catalog again")));
                disturbed_by = by;
                session = owner.give_up().await?;
            }
        }
    }
    Err(Error::failed(
        "reading the catalog",
        format!(
            "it kept changing during {} tries; the last: {disturbed_by}",
            n_disturbed + n_grown
        ),
        "run the dump when no schema change is under way",
    ))
}

/// What an undisturbed reading gives.
struct Found {
    toc: Toc,
    brought: Vec<Brought>,
    sizes: HashMap<Oid, SizeRow>,
    /// What is unknown to this version, or cannot be saved.
    skipped: Vec<Skipped>,
}

enum Reading {
    Undisturbed(Box<Found>),
    /// Objects are needed that are not chosen, and perhaps not locked.
    Grown(Needed),
    Disturbed(String),
}

async fn read_once(
    settings: &ConnSettings,
    owner: &SnapshotOwner,
    locked: &Locked,
    (facts, needed): (&SourceFacts, &Needed),
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
    if options.selection.with_needs {
        let cx = RenderCx {
            catalog: &catalog,
            server: session.version(),
        };
        let more = needs::missing(cx, &locked.wanted);
        if more.has_more_than(needed) {
            return Ok(Reading::Grown(more));
        }
    }
    // The fresh look must begin after the last deparse function. While the server looks, and measures, the entries are built.
    let open = open_fresh(settings.clone(), session.version());
    let meanwhile = async {
        tokio::try_join!(
            sizes::read(session, &locked.wanted.rows),
            unknown::read(session),
            async { Ok(build(&catalog, session, (locked, facts), options)) }
        )
    };
    let (changed, (sizes, unknown, mut toc)) =
        Box::pin(fresh::changed(session, open, meanwhile)).await?;
    let unknown = unknown
        .into_iter()
        .map(|Unknown { what, reason }| Skipped { what, reason });
    if !options.selection.data_only {
        let first = EntryId(u32::try_from(toc.entries.len()).expect("OIDs have 32 bits"));
        let database = globals::of_database(session, first, &options.selection).await?;
        toc.entries.extend(database);
    }
    let changed: Vec<CatalogId> = changed.intersection(&toc.relevant).copied().collect();
    match changed.first() {
        None => {
            let not_saved = not_saved(&catalog, session);
            Ok(Reading::Undisturbed(Box::new(Found {
                toc,
                brought: brought(needed, &catalog, session),
                sizes,
                skipped: unknown.chain(not_saved).collect(),
            })))
        }
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

/// What objects say cannot be saved of them.
fn not_saved(catalog: &Catalog, session: &Session) -> Vec<Skipped> {
    let objects = catalog.objects.iter().map(Object::ddl);
    let told = objects.filter_map(|ddl| {
        let what = name_of(ddl.id(), catalog, session);
        let reason = ddl.not_saved()?.to_owned();
        Some(Skipped { what, reason })
    });
    told.collect()
}

fn describe(error: &Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn build(
    catalog: &Catalog,
    session: &Session,
    (locked, facts): (&Locked, &SourceFacts),
    options: &DumpOptions,
) -> Toc {
    let selection = &options.selection;
    let cx = RenderCx {
        catalog,
        server: session.version(),
    };
    let wanted = &locked.wanted;
    let unreadable = unreadable(locked, facts);
    let wanted_rows = |draft: &Draft| match (&draft.data, draft.key.aspect) {
        (Some(data), _) if data.relation == 0 => wanted.large_objects,
        (_, Aspect::Data | Aspect::SequenceValue) if unreadable.contains(&draft.key.id.oid) => {
            false
        }
        (Some(data), _) => wanted.rows.contains(&data.relation),
        (None, Aspect::Refresh | Aspect::SequenceValue) => wanted.rows.contains(&draft.key.id.oid),
        _ => true,
    };
    entries::build(cx, selection, &wanted_rows)
}

/// The needed objects that are in the dump, each with what needs it, by name.
fn brought(needed: &Needed, catalog: &Catalog, session: &Session) -> Vec<Brought> {
    let there = needed
        .reasons()
        .filter(|(id, _)| catalog.parts_of(*id).has(Part::Define));
    let mut brought: Vec<Brought> = there
        .map(|(id, needed_by)| Brought {
            object: name_of(id, catalog, session),
            needed_by: name_of(needed_by, catalog, session),
        })
        .collect();
    brought.sort_by(|a, b| a.object.cmp(&b.object));
    brought
}

/// Unlogged tables and sequences of a standby: the primary sends their definitions but none of their contents.
fn unreadable(locked: &Locked, facts: &SourceFacts) -> BTreeSet<Oid> {
    let relations = locked.listing.relations.values();
    relations
        .filter(|row| row.unlogged && facts.database.standby)
        .map(|row| row.oid)
        .collect()
}

/// What the role may not read, then what the user left out.
fn skipped(locked: &Locked, facts: &SourceFacts, options: &DumpOptions) -> Vec<Skipped> {
    let missing = locked.barriers.missing().into_iter();
    let mut skipped: Vec<Skipped> = missing
        .map(|(what, reason)| Skipped { what, reason })
        .collect();
    let named: BTreeSet<String> = skipped.iter().map(|skip| skip.what.clone()).collect();
    let excluded = skipped_rows(locked, facts, options).into_iter();
    skipped.extend(excluded.filter(|skip| !named.contains(&skip.what)));
    skipped
}

/// Tables and sequences whose definition is saved without their contents, or with some of them; a dump without any rows says so
/// by its options.
fn skipped_rows(locked: &Locked, facts: &SourceFacts, options: &DumpOptions) -> Vec<Skipped> {
    if !options.selection.wants_rows() {
        return Vec::new();
    }
    let wanted = &locked.wanted;
    let unreadable = unreadable(locked, facts);
    let relations = locked.listing.relations.values();
    let stored = relations.filter(|row| matches!(row.kind.0, 'r' | 'S'));
    let defined = stored.filter(|row| {
        wanted
            .relations
            .get(&row.oid)
            .is_some_and(|parts| parts.has(Part::Define))
    });
    let reason = |row: &ListedRow| match (row.kind.0, wanted.conditions.get(&row.oid)) {
        (_, Some(condition)) => Some(format!("those for which this is not true: {condition}")),
        _ if unreadable.contains(&row.oid) => Some("unlogged, and a standby has none".to_owned()),
        ('S', None) => None,
        _ if wanted.rows.contains(&row.oid) => None,
        _ if row.unlogged && options.selection.omits(Omit::UnloggedRows) => {
            Some("left out by --no-unlogged-table-data".to_owned())
        }
        _ => Some("left out by --exclude-table-data".to_owned()),
    };
    let what = |row: &ListedRow| if row.kind == 'S' { "value" } else { "rows" };
    let skipped = |row: &ListedRow| {
        Some(Skipped {
            what: format!("{} of {}", what(row), row.qualified().quoted()),
            reason: reason(row)?,
        })
    };
    defined.filter_map(skipped).collect()
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
