//! Tells whether two databases are the same, for tests of restores. Shares no code with the crate
//! under test, and looks in three independent ways: the script of `pg_dump` item by item, every
//! column of every catalog by names, and digests of all rows.
//!
//! What is not compared: planner statistics, physical places and ages, dropped columns, progress of
//! replication, the cluster's own objects (roles, tablespaces), and comments on the system's
//! own functions, types and operators. `catalogs` names each column passed over, with the reason.

mod addresses;
mod catalogs;
mod cross_version;
mod facts;
mod names;
mod object_catalogs;
mod options;
mod read;
mod references;
mod rows;
mod schema_dump;
mod session;
mod wording;

use std::path::Path;

pub(crate) use facts::Difference;
use facts::Facts;
pub(crate) use options::{CompareOptions, Excuse};
pub(crate) use session::Problem;

use catalogs::RELATION_CATALOGS;
use names::Names;
use object_catalogs::{DATABASE_CATALOGS, OBJECT_CATALOGS};
use session::Session;

/// One database to compare.
pub(crate) struct Side<'a> {
    /// Connection string, `key=value` form, of a superuser.
    pub(crate) conninfo: &'a str,
    /// A `pg_dump` not older than the server; 18 serves all.
    pub(crate) pg_dump: &'a Path,
}

/// All that is known of one database at one time.
pub(crate) struct Snapshot {
    facts: Facts,
    /// Major version of the server.
    major: u32,
}

impl Snapshot {
    /// Reads a database: catalogs and rows in one snapshot, the script beside it.
    pub(crate) async fn take(side: &Side<'_>, options: &CompareOptions) -> Result<Self, Problem> {
        let session = Session::open(side.conninfo).await?;
        let quoted = session
            .text("SELECT pg_catalog.quote_ident(pg_catalog.current_database())")
            .await?;
        let database = options.database.then_some(quoted.as_str());
        let (script, read) = tokio::join!(
            schema_dump::read_schema_dump(side.pg_dump, side.conninfo, database),
            read_session(&session, options),
        );
        let mut facts = read?;
        facts.extend(script?);
        facts.sort();
        Ok(Self {
            facts,
            major: session.major,
        })
    }

    /// Compares two databases. Empty means the same but for what `options` excuse.
    pub(crate) fn differences(&self, other: &Self, options: &CompareOptions) -> Vec<Difference> {
        let judged = self.judged(other, options).into_iter();
        judged
            .filter(|(_, reason)| reason.is_none())
            .map(|(difference, _)| difference)
            .collect()
    }

    /// Gives the differences that `options` excuse, each with the reason.
    pub(crate) fn accepted(
        &self,
        other: &Self,
        options: &CompareOptions,
    ) -> Vec<(Difference, &'static str)> {
        let judged = self.judged(other, options).into_iter();
        judged
            .filter_map(|(difference, reason)| Some((difference, reason?)))
            .collect()
    }

    /// All differences, those that are excused with the reason.
    fn judged(
        &self,
        other: &Self,
        options: &CompareOptions,
    ) -> Vec<(Difference, Option<&'static str>)> {
        let unify = |property: &str, text: &str| {
            if options.strict {
                text.to_owned()
            } else if options.cross_version && property.ends_with("acl") {
                cross_version::without_new_privileges(text)
            } else {
                wording::unified(property, text)
            }
        };
        let found = self
            .facts
            .differences(&other.facts, options.cross_version, unify);
        let built_in = options.built_in_excuses(self.major, other.major);
        let judge = |difference: Difference| {
            let mut excuses = options.excuse.iter().chain(&built_in);
            let excuse = excuses.find(|excuse| excuse.covers(&difference));
            let reason = excuse.map(|excuse| excuse.reason);
            (difference, reason)
        };
        found.into_iter().map(judge).collect()
    }
}

async fn read_session(session: &Session, options: &CompareOptions) -> Result<Facts, Problem> {
    let mut names = Names::default();
    let columns = read::server_columns(session).await?;
    let mut facts = Facts::default();
    let of_database = options.database.then_some(DATABASE_CATALOGS);
    for catalogs in [RELATION_CATALOGS, OBJECT_CATALOGS]
        .into_iter()
        .chain(of_database)
    {
        let cross_version = options.cross_version;
        facts.extend(
            read::read_catalogs(session, catalogs, &columns, &mut names, cross_version).await?,
        );
    }
    facts.extend(addresses::read_addresses(session, &mut names, options.cross_version).await?);
    facts.extend(rows::read_rows(session).await?);
    Ok(facts)
}

/// Compares two databases, reading both at once. A side that cannot be read is a difference, so
/// that an oracle that failed never passes for one that agreed.
pub(crate) async fn compare(
    a: &Side<'_>,
    b: &Side<'_>,
    options: &CompareOptions,
) -> Vec<Difference> {
    let unreadable = |side: &str, problem: &Problem| Difference {
        what: format!("the {side} side could not be read"),
        left: (side == "left").then(|| problem.clone()),
        right: (side == "right").then(|| problem.clone()),
    };
    match tokio::join!(Snapshot::take(a, options), Snapshot::take(b, options)) {
        (Ok(a), Ok(b)) => a.differences(&b, options),
        (a, b) => {
            let left = a.err().map(|problem| unreadable("left", &problem));
            left.into_iter()
                .chain(b.err().map(|problem| unreadable("right", &problem)))
                .collect()
        }
    }
}

/// Writes differences one under the other, with their number.
pub(crate) fn report(differences: &[Difference]) -> String {
    let count = format!("{} differences", differences.len());
    let listed = differences.iter().map(Difference::to_string);
    std::iter::once(count)
        .chain(listed)
        .collect::<Vec<_>>()
        .join(
            "
",
        )
}
