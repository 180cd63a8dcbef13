//! Drops the archive's objects that are on the target, before a restore makes them anew: `--clean`.
//!
//! All drops are one transaction, which the caller keeps or undoes. No object goes that is not the archive's: nothing is
//! dropped with `CASCADE` but circles of which every member, and everything that hangs on them, is proved to be among those
//! to be dropped. What does not go the first time is tried again when others have gone, so that no order has to be known.

use std::collections::BTreeSet;

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::report::{Dropped, chain, object_of};
use super::select::Selection;
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::toc::Grant;

/// How many names a report shows.
const NAMES_SHOWN: usize = 10;
/// How many findings a refusal shows.
const FINDINGS_SHOWN: usize = 20;
/// The word with which archives may say that an object is part of a circle.
const CASCADE: &str = " CASCADE";

/// The objects among those that the statements of `$1` would drop which can be part of a circle: class and number.
const MEMBERS: &str = "
WITH names(classid, oid, schema, word, name, arguments) AS (
 SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid, c.oid, c.relnamespace,
        CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE'
                       WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' ELSE 'TABLE' END, c.relname, ''
   FROM pg_catalog.pg_class c WHERE c.oid >= 16384
 UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid, t.oid, t.typnamespace,
        CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, t.typname, '' FROM pg_catalog.pg_type t WHERE t.oid >= 16384
 UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, p.oid, p.pronamespace,
        CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, p.proname,
        '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')' FROM pg_catalog.pg_proc p WHERE p.oid >= 16384)
SELECT s.classid, s.oid, s.statement FROM (
 SELECT o.classid, o.oid, 'DROP ' || o.word || ' \"' || pg_catalog.replace(n.nspname, '\"', '\"\"') || '\".\"'
        || pg_catalog.replace(o.name, '\"', '\"\"') || '\"' || o.arguments AS statement
   FROM names o JOIN pg_catalog.pg_namespace n ON n.oid = o.schema) AS s WHERE s.statement = ANY ($1)";

/// What would go along with the objects of `$1` (classes) and `$2` (numbers) without being one of them or a part of one.
/// A part of something (a view's rule) takes that along; what hangs on an object as its part goes with it in any case.
const OUTSIDERS: &str = "
WITH RECURSIVE members(classid, objid) AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS m(classid, objid)),
gone(classid, objid) AS (SELECT classid, objid FROM members
 UNION SELECT o.classid, o.objid FROM gone g JOIN LATERAL (
   SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.refclassid = g.classid AND d.refobjid = g.objid
   UNION ALL SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d
    WHERE d.classid = g.classid AND d.objid = g.objid AND d.deptype = 'i') o ON true),
parts(classid, objid) AS (SELECT classid, objid FROM members
 UNION SELECT d.classid, d.objid FROM parts p JOIN pg_catalog.pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid
  WHERE d.deptype IN ('a', 'i', 'P', 'S'))
SELECT pg_catalog.pg_describe_object(classid, objid, 0) FROM (SELECT * FROM gone EXCEPT SELECT * FROM parts) AS outsiders
 ORDER BY 1";

/// The replication slots of the database's subscriptions.
const SLOTS: &str = "
SELECT s.subname, s.subslotname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
 WHERE d.datname = pg_catalog.current_database() AND s.subslotname IS NOT NULL";

/// What dropping came to. The transaction is still open.
#[derive(Debug, Default)]
pub(super) struct Cleaned {
    pub(super) dropped: Dropped,
    /// What stands against dropping all; then nothing may be kept.
    pub(super) findings: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// One object that is to go.
#[derive(Debug)]
struct Target {
    object: String,
    statement: String,
    /// Why it did not go the last time.
    problem: Option<String>,
}

/// Drops, in the session's open transaction, what the chosen entries would make.
///
/// Errors: if the connection is lost, or the catalog cannot be asked.
pub(super) async fn drop_all(session: &Session, selection: &Selection) -> Result<Cleaned> {
    let mut targets = Vec::new();
    let mut has_subscriptions = false;
    for entry in selection.iter() {
        let Some(drop) = &entry.drop else { continue };
        has_subscriptions |= entry.label == "subscription";
        let text = drop.text();
        targets.push(Target {
            object: object_of(entry),
            statement: text.strip_suffix(CASCADE).unwrap_or(&text).to_owned(),
            problem: None,
        });
    }
    targets.reverse();
    let mut cleaner = Cleaner {
        session,
        outcome: Cleaned::default(),
    };
    if has_subscriptions {
        cleaner.outcome.warnings = slots(session).await?;
    }
    let mut left = cleaner.until_nothing_moves(targets).await?;
    if !left.is_empty() && cleaner.outcome.findings.is_empty() {
        left = cleaner.circles(left).await?;
        left = cleaner.until_nothing_moves(left).await?;
    }
    cleaner.refuse(&left);
    if cleaner.outcome.findings.is_empty() {
        cleaner.reset_default_privileges(selection).await?;
    }
    Ok(cleaner.outcome)
}

struct Cleaner<'a> {
    session: &'a Session,
    outcome: Cleaned,
}

impl Cleaner<'_> {
    /// Goes over the objects until a round drops nothing more; gives those that stay.
    async fn until_nothing_moves(&mut self, mut left: Vec<Target>) -> Result<Vec<Target>> {
        loop {
            let n_before = left.len();
            let mut next = Vec::new();
            for mut target in left {
                let statement = target.statement.clone();
                match attempt(self.session, &target.object, &statement).await? {
                    Attempt::Done => self.note(&target),
                    Attempt::Missing => {}
                    Attempt::Refused(problem) => {
                        target.problem = Some(problem);
                        next.push(target);
                    }
                    Attempt::Hopeless(problem) => {
                        let finding = format!("{} cannot be dropped: {problem}", target.object);
                        self.outcome.findings.push(finding);
                        return Ok(Vec::new());
                    }
                }
            }
            if next.is_empty() || next.len() == n_before {
                return Ok(next);
            }
            left = next;
        }
    }

    /// Takes back the default privileges that the archive gives: those of the restoring role would be given to every
    /// object that is made now, although the archive's may have lost them. Taking back what is not there changes nothing.
    async fn reset_default_privileges(&self, selection: &Selection) -> Result<()> {
        let grants = selection.iter().flat_map(|entry| &entry.grants);
        let defaults: Vec<&Grant> = grants.filter(|grant| !grant.prefix.is_empty()).collect();
        for grant in defaults.into_iter().rev() {
            let opposite = Grant {
                grant: !grant.grant,
                with_grant_option: false,
                ..grant.clone()
            };
            // Who may not do it may not restore them either, and is told so then.
            attempt(
                self.session,
                "default privileges",
                &opposite.statement().text(),
            )
            .await?;
        }
        Ok(())
    }

    fn note(&mut self, target: &Target) {
        // A column without a default takes this too.
        if target.statement.ends_with(" DROP DEFAULT") {
            return;
        }
        let dropped = &mut self.outcome.dropped;
        dropped.n_objects += 1;
        if dropped.first.len() < NAMES_SHOWN {
            dropped.first.push(target.object.clone());
        }
    }

    /// Drops the objects that hold each other, if nothing else would go with them.
    async fn circles(&mut self, left: Vec<Target>) -> Result<Vec<Target>> {
        let statements: Vec<&str> = left.iter().map(|t| t.statement.as_str()).collect();
        let what = "looking for circles";
        let members = self
            .session
            .query(what, MEMBERS, &[(&statements, Type::TEXT_ARRAY)])
            .await?;
        let (classes, numbers): (Vec<u32>, Vec<u32>) = members
            .iter()
            .map(|row| (row.get::<_, u32>(0), row.get::<_, u32>(1)))
            .unzip();
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
            &[(&classes, Type::OID_ARRAY), (&numbers, Type::OID_ARRAY)];
        let rows = self.session.query(what, OUTSIDERS, params).await?;
        let outsiders: Vec<String> = rows.iter().filter_map(|row| row.get(0)).collect();
        if !outsiders.is_empty() {
            self.outcome.findings.push(format!(
                "{} would have to go too, and --clean drops only what it was told to; drop that yourself, or leave out what it needs",
                listed(&outsiders)
            ));
            return Ok(left);
        }
        let members: BTreeSet<String> = members.iter().map(|row| row.get(2)).collect();
        let is_member = |target: &&Target| members.contains(&target.statement);
        for target in left.iter().filter(is_member) {
            let statement = format!("{}{CASCADE}", target.statement);
            if let Attempt::Done = attempt(self.session, &target.object, &statement).await? {
                self.note(target);
            }
        }
        Ok(left)
    }

    fn refuse(&mut self, left: &[Target]) {
        for target in left.iter().take(FINDINGS_SHOWN) {
            let problem = target.problem.as_deref().unwrap_or_default();
            let finding = format!("{} cannot be dropped: {problem}", target.object);
            self.outcome.findings.push(finding);
        }
        if let Some(more) = left.len().checked_sub(FINDINGS_SHOWN).filter(|n| *n > 0) {
            let finding = format!("{more} more objects cannot be dropped");
            self.outcome.findings.push(finding);
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
    match names.len().checked_sub(NAMES_SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// What one statement came to.
enum Attempt {
    Done,
    /// There is no such object.
    Missing,
    /// It may go when others have gone.
    Refused(String),
    /// Nothing more will go.
    Hopeless(String),
}

/// Runs a statement so that the transaction outlives its failure.
async fn attempt(session: &Session, object: &str, statement: &str) -> Result<Attempt> {
    let text = format!("SAVEPOINT pgark;\n{statement};\nRELEASE SAVEPOINT pgark");
    let error = match session.simple(object, "dropping it", &text).await {
        Ok(messages) => {
            let has_row = |m: &SimpleQueryMessage| matches!(m, SimpleQueryMessage::Row(_));
            let found_none = statement.starts_with("SELECT") && !messages.iter().any(has_row);
            return Ok(if found_none {
                Attempt::Missing
            } else {
                Attempt::Done
            });
        }
        Err(error) => error,
    };
    let Some(code) = error.sqlstate().map(str::to_owned) else {
        return Err(error);
    };
    let back = "ROLLBACK TO SAVEPOINT pgark;\nRELEASE SAVEPOINT pgark";
    session.batch(object, "ROLLBACK", back).await?;
    Ok(match code.as_str() {
        // No such object, table, function, schema, column.
        "42704" | "42P01" | "42883" | "3F000" | "42703" => Attempt::Missing,
        // Out of resources, given up by somebody, disturbed by another session.
        code if ["53", "57", "40", "55"].contains(&&code[..2]) => Attempt::Hopeless(told(&error)),
        _ => Attempt::Refused(told(&error)),
    })
}

/// The server's words, with its detail and advice.
fn told(error: &Error) -> String {
    let server = match error {
        Error::Sql { source, .. } => source.as_db_error(),
        _ => None,
    };
    let Some(server) = server else {
        return chain(error);
    };
    let mut text = server.message().to_owned();
    if let Some(detail) = server.detail() {
        text.push_str(" (");
        text.push_str(&detail.replace('\n', "; "));
        text.push(')');
    }
    // The server's advice for dependents is CASCADE, which is what must not be done.
    if let Some(hint) = server.hint().filter(|hint| !hint.contains("CASCADE")) {
        text.push_str("; ");
        text.push_str(hint);
    }
    text
}

/// What is said of slots, which stay on the publisher when a subscription is dropped in a transaction.
async fn slots(session: &Session) -> Result<Vec<String>> {
    let text = format!("SAVEPOINT pgark;\n{SLOTS};\nRELEASE SAVEPOINT pgark");
    let messages = match session
        .simple("subscriptions", "looking for slots", &text)
        .await
    {
        Ok(messages) => messages,
        // Not everybody may look; who may not drops no subscription either.
        Err(error) if error.sqlstate().is_some() => {
            let back = "ROLLBACK TO SAVEPOINT pgark;\nRELEASE SAVEPOINT pgark";
            session.batch("subscriptions", "ROLLBACK", back).await?;
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut warnings = Vec::new();
    for message in &messages {
        if let SimpleQueryMessage::Row(row) = message
            && let (Some(name), Some(slot)) = (row.get(0), row.get(1))
        {
            warnings.push(format!(
                "subscription {name}: if it is dropped, its slot {slot} stays on the publisher, for the restored subscription or to be dropped there"
            ));
        }
    }
    Ok(warnings)
}
