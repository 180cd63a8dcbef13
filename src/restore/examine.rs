//! Everything that happens before the first change that stays: the target is looked at, cleaned in a transaction that can
//! still be undone, and judged. What is asked is in `target`, the judgement in `preflight`.

use std::collections::BTreeSet;

use super::journal::{self, Bond, Found, Journal};
use super::options::RestoreOptions;
use super::prove::{self, Indexes};
use super::report::{Dropped, chain, object_of};
use super::row_order::RowOrder;
use super::select::Selection;
use super::shared::Shared;
use super::target::{self, TargetFacts};
use super::wanted::Wanted;
use super::{Chosen, clean, create, preflight, text, untrusted};
use crate::archive::Archive;
use crate::archive::manifest::Scope;
use crate::error::{Error, Result};
use crate::pg::pin::{RestorePins, pin_restore_session};
use crate::pg::pooler::require_own_backend;
use crate::pg::{ConnSettings, Session, connect};
use crate::sql::Ident;
use crate::toc::DataOf;

/// What was found out about the target.
pub(super) struct Examined {
    /// With `--clean` in a transaction that has dropped the archive's objects.
    pub(super) session: Session,
    pub(super) facts: TargetFacts,
    pub(super) order: RowOrder,
    pub(super) dropped: Option<Dropped>,
    /// Roles that the chosen entries name and that only newer servers bring along.
    pub(super) absent_roles: BTreeSet<String>,
    /// True if the database is still to be made, and the session is to another one.
    pub(super) begins_with_database: bool,
    /// True if the journal of a restore that has come to its end is to go.
    pub(super) begins_over: bool,
    /// What an earlier run has done, if this one goes on with it.
    pub(super) journal: Option<Journal>,
    pub(super) findings: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Looks at the target. The only change, `--clean`'s, is not committed.
///
/// Errors: if the target cannot be reached or asked.
pub(super) async fn examine(
    archive: &Archive,
    shared: &Shared,
    options: &RestoreOptions,
    chosen: &Chosen,
    indexes: &Indexes,
) -> Result<Examined> {
    let Chosen {
        selection,
        encoding,
        ..
    } = chosen;
    let mut findings = chosen.findings.clone();
    let Opened {
        session,
        begins_with_database,
    } = open(&shared.settings, options, &mut findings).await?;
    untrusted::check_user(&session, options, &mut findings).await?;
    let found = if begins_with_database {
        None
    } else {
        journal::look(&session).await?
    };
    let has_journal = found.is_some();
    let begins_over = found.as_ref().is_some_and(|found| found.has_ended) && !options.resume;
    let mut journal = None;
    if let Some(found) = found.filter(|_| !begins_over) {
        match go_on(archive, &session, options, shared, found).await? {
            Ok(earlier) => journal = Some(earlier),
            Err(problem) => findings.push(problem),
        }
    }
    if let Some(journal) = &journal {
        findings.extend(open_work(journal, selection));
    }
    let wanted = Wanted::new(selection, options, session.version());
    let mut warnings = Vec::new();
    let mut dropped = None;
    // A restore that goes on has dropped what was to be dropped, and must not drop what it has made.
    if options.clean && findings.is_empty() && journal.is_none() {
        // A drop may wait for a lock for long.
        shared.note(&session);
        let cleaned = clean_up(&session, selection).await?;
        findings.extend(cleaned.findings);
        warnings.extend(cleaned.warnings);
        dropped = Some(cleaned.dropped);
    }
    let source = &archive.manifest().source;
    let mut facts = target::read(&session, &wanted, begins_with_database).await?;
    facts.is_resumed = journal.is_some();
    facts.has_names = journal.as_ref().is_some_and(Journal::has_names);
    // A new database has the archive's, and globals go into catalogs of any.
    if begins_with_database || archive.manifest().group.scope == Scope::Globals {
        // A declaration is not the source's encoding, with which the database is made.
        facts.encoding.clone_from(&source.encoding);
        facts.locale.clone_from(&source.locale);
    }
    let verdict = preflight::judge(&wanted, &facts, encoding, options);
    // What could not be dropped is in the way, and so is what an earlier restore made: one finding is enough.
    if findings.is_empty() || !(options.clean || has_journal && !facts.is_resumed) {
        findings.extend(verdict.findings);
    }
    warnings.extend(verdict.warnings);
    let encodings = (encoding.as_str(), facts.encoding.as_str());
    findings.extend(text::findings(selection.iter(), encodings, options));
    findings.extend(preflight::binary_rows(
        selection, indexes, encodings, options,
    ));
    let of_extensions = preflight::extension_warnings(&wanted, &facts, &source.extensions);
    warnings.extend(of_extensions);
    let to_fill: Vec<_> = indexes
        .values()
        .filter_map(|index| match &selection.entry(index.entry).data {
            Some(DataOf::Table { target, .. }) => Some((target.text(), index)),
            _ => None,
        })
        .collect();
    findings.extend(preflight::missing_columns(&wanted, &facts, &to_fill));
    let order = order(selection, options, &facts, &mut findings);
    if let Some(reason) = without_journal(archive, shared, &facts) {
        let rest = "what an interruption leaves undone cannot be gone on with by --resume";
        warnings.push(format!("{reason}: {rest}"));
    }
    let named = wanted.roles.into_keys();
    Ok(Examined {
        session,
        absent_roles: named.filter(|role| facts.is_absent(role)).collect(),
        facts,
        order,
        dropped,
        begins_with_database,
        begins_over,
        journal,
        findings,
        warnings,
    })
}

/// Claims the journal of an earlier restore, if this one is to go on with it; else says why not.
async fn go_on(
    archive: &Archive,
    session: &Session,
    options: &RestoreOptions,
    shared: &Shared,
    found: Found,
) -> Result<std::result::Result<Journal, String>> {
    let begun = found.begun;
    let Some(bond) = found.bond else {
        return Ok(Err(
            "the journal of an earlier restore cannot be read; restore into a new database"
                .to_owned(),
        ));
    };
    if !options.resume {
        let earlier = crate::sql::printable(&bond.archive);
        return Ok(Err(format!(
            "a restore of archive {earlier} that was begun at {begun} has not ended here; --resume goes on with it, \
             or drop schema pgark_restore if what is there is to stay as it is"
        )));
    }
    let now = Bond::new(
        archive.name().as_str(),
        &archive.seal().to_string(),
        options,
    );
    if let Some(problem) = bond.problem(&now) {
        return Ok(Err(format!(
            "the restore that was begun here at {begun} cannot go on: {problem}; say the same again, or restore into a new database"
        )));
    }
    shared.note(session);
    journal::claim(session, shared.progress.as_ref()).await?;
    if journal::look(session).await?.is_none() {
        return Ok(Err(format!(
            "the restore that was begun here at {begun} was still at work, and has ended now"
        )));
    }
    journal::read(session).await.map(Ok)
}

/// What an earlier restore left in a state that nobody can know.
fn open_work(journal: &Journal, selection: &Selection) -> Vec<String> {
    let mut findings = Vec::new();
    if journal.is_beyond_repair() {
        findings.push(
            "a crash of the server has taken rows of UNLOGGED tables that cannot be told from those that stayed; restore into a new database"
                .to_owned(),
        );
    }
    let begun = journal.begun().filter(|id| selection.knows(*id));
    findings.extend(begun.map(|id| {
        format!(
            "{} was being made when the restore ended, which no transaction can hold; drop it if it is there, \
             then DELETE FROM pgark_restore.done WHERE entry = {} AND what = 'begun'",
            object_of(selection.entry(id)),
            id.0
        )
    }));
    findings
}

/// Why no journal is kept where one might be.
fn without_journal(
    archive: &Archive,
    shared: &Shared,
    facts: &TargetFacts,
) -> Option<&'static str> {
    let is_asked = !shared.one_transaction
        && shared.feeding.feed().is_none()
        && archive.manifest().group.scope != Scope::Globals;
    if !is_asked {
        return None;
    }
    if !facts.makes_schemas {
        return Some("the connecting user may not make a schema for the restore's journal");
    }
    // Its changes would go to subscribers, who have no such tables.
    let is_published = facts.publishes_all && !facts.is_resumed;
    is_published.then_some("a publication of all tables would publish the restore's journal")
}

/// True if finished work is to be noted on the target.
pub(super) fn keeps_journal(archive: &Archive, shared: &Shared, facts: &TargetFacts) -> bool {
    !shared.one_transaction
        && shared.feeding.feed().is_none()
        && archive.manifest().group.scope != Scope::Globals
        && without_journal(archive, shared, facts).is_none()
}

/// A connection to the target, or beside it.
struct Opened {
    session: Session,
    begins_with_database: bool,
}

async fn open(
    target: &ConnSettings,
    options: &RestoreOptions,
    findings: &mut Vec<String>,
) -> Result<Opened> {
    let mut begins_with_database = options.create;
    let session = if options.create {
        let (session, exists) = create::look(target).await?;
        if exists && options.resume {
            begins_with_database = false;
            session.close().await;
            connect(target, "restore").await?
        } else if exists {
            findings.push(format!(
                "database {} exists already; restore into it without --create, or choose another name",
                Ident::new(target.dbname()).quoted()
            ));
            session
        } else {
            session
        }
    } else {
        connect(target, "restore").await?
    };
    require_own_backend(&session, target).await?;
    // No setting of a role or database may stop the looking, or what the journal begins with.
    let pins = RestorePins {
        row_security: true,
        ..RestorePins::default()
    };
    session
        .pin(&pin_restore_session(session.version(), &pins))
        .await?;
    if let Some(role) = &options.role {
        let set = format!("SET ROLE {}", Ident::new(role).quoted());
        if let Err(error) = session.batch("the session", "SET ROLE", &set).await {
            findings.push(format!(
                "role {} cannot be taken on: {}; choose another with --role",
                Ident::new(role).quoted(),
                chain(&error)
            ));
        }
    }
    Ok(Opened {
        session,
        begins_with_database,
    })
}

async fn clean_up(session: &Session, selection: &Selection) -> Result<clean::Cleaned> {
    session.batch("the target", "BEGIN", "BEGIN").await?;
    clean::drop_all(session, selection).await
}

/// The order that the target's foreign keys ask for; none where they are not looked at.
fn order(
    selection: &Selection,
    options: &RestoreOptions,
    facts: &TargetFacts,
    findings: &mut Vec<String>,
) -> RowOrder {
    if options.disable_triggers {
        return RowOrder::default();
    }
    RowOrder::new(selection, &facts.foreign_keys).unwrap_or_else(|circle| {
        findings.push(format!(
            "{} reference each other in a circle, so that no order of their rows satisfies the foreign keys of the target; \
             load them with --disable-triggers as a superuser, or restore their definitions too, which adds the keys afterwards",
            circle.join(", ")
        ));
        RowOrder::default()
    })
}

impl Examined {
    /// Ends the restore, which is called `work`, here if anything stands against it; gives the warnings if not.
    ///
    /// Errors: [`Error::Refused`] with all findings, [`Error::Corrupt`] where the archive's damage is the only one.
    pub(super) async fn refuse(
        &self,
        archive: &Archive,
        work: String,
        damages: Vec<String>,
    ) -> Result<Vec<String>> {
        let damages = prove::listed(damages);
        let is_refused = !damages.is_empty() || !self.findings.is_empty();
        if is_refused && self.dropped.is_some() {
            // The locks of what was dropped must not outlast the refusal; closing would end them too, but later.
            let _ = self
                .session
                .batch("the target", "ROLLBACK", "ROLLBACK")
                .await;
        }
        if !damages.is_empty() && self.findings.is_empty() {
            let remedy = "`pgark verify --heal --from REPO` fetches whole copies, `pgark restore --salvage` takes what is whole";
            return Err(Error::corrupt(
                format_args!("archive {}", archive.name()),
                "its rows; nothing was changed",
                format_args!("{}; {remedy}", damages.join("; ")),
            ));
        }
        let mut findings: Vec<String> = damages
            .into_iter()
            .map(|damage| format!("the archive is damaged: {damage}"))
            .collect();
        findings.extend(self.findings.iter().cloned());
        if findings.is_empty() {
            let mut warnings = preflight::repository_warnings(archive);
            warnings.extend(self.warnings.iter().cloned());
            return Ok(warnings);
        }
        Err(Error::Refused {
            what: work,
            findings,
        })
    }
}
