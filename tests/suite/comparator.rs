//! Tests of the comparison that other tests rely on: it must notice every change that makes
//! another database, and none that does not.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod alterations;

use std::path::PathBuf;

use futures::{StreamExt, stream};

use crate::support::compare::{
    CompareOptions, Difference, Excuse, Side, Snapshot, compare, report,
};
use crate::support::{Major, Server, majors, oracle};
use alterations::{Alteration, HARMLESS, NOTICED, NOTICED_SINCE_18};

const BASE: &str = include_str!("comparator/base.sql");
/// Copies made and read at a time.
const AT_ONCE: usize = 3;

/// The alterations use what 15 has.
fn major() -> Major {
    majors()
        .into_iter()
        .find(|major| major.number() >= 15)
        .expect("a server of 15 or later")
}

/// A server with the base database, which nobody is connected to, and what it holds.
struct Bench {
    server: Server,
    pg_dump: PathBuf,
    base: Snapshot,
}

impl Bench {
    async fn new() -> Self {
        let (server, pg_dump) = (Server::start(major()), oracle("pg_dump"));
        server
            .connect("postgres")
            .await
            .batch_execute("CREATE DATABASE base")
            .await
            .unwrap();
        server
            .connect("base")
            .await
            .batch_execute(BASE)
            .await
            .unwrap();
        let conninfo = server.conninfo("base");
        let side = Side {
            conninfo: &conninfo,
            pg_dump: &pg_dump,
        };
        let base = Snapshot::take(&side, &CompareOptions::default())
            .await
            .unwrap();
        Self {
            server,
            pg_dump,
            base,
        }
    }

    /// Alters a copy of the base database and compares it.
    async fn altered(&self, copy: &str, sql: &str) -> Vec<Difference> {
        let postgres = self.server.connect("postgres").await;
        postgres
            .batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE base"))
            .await
            .unwrap();
        let altered = self.server.connect(copy).await.batch_execute(sql).await;
        altered.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
        let options = CompareOptions::default();
        let conninfo = self.server.conninfo(copy);
        let side = Side {
            conninfo: &conninfo,
            pg_dump: &self.pg_dump,
        };
        let snapshot = Snapshot::take(&side, &options).await.unwrap();
        let drop = format!("DROP DATABASE {copy} WITH (FORCE)");
        postgres.batch_execute(&drop).await.unwrap();
        self.base.differences(&snapshot, &options)
    }
}

/// Whether the script of `pg_dump` alone shows the change, and a complaint if nothing else does.
async fn notice(
    bench: &Bench,
    nth: usize,
    (name, sql, expected): Alteration,
) -> (bool, Option<String>) {
    let found = bench.altered(&format!("copy_{nth}"), sql).await;
    let in_script = |difference: &&Difference| difference.what.starts_with("pg_dump ");
    let (script, rest): (Vec<_>, Vec<_>) = found.iter().partition(in_script);
    let named = rest
        .iter()
        .any(|difference| difference.what.contains(expected));
    let complaint = (!named).then(|| format!("{name}: no {expected:?} among {}", report(&found)));
    (!script.is_empty(), complaint)
}

#[tokio::test]
async fn every_alteration_is_noticed_and_named() {
    let bench = Bench::new().await;
    let rows = bench
        .server
        .connect("postgres")
        .await
        .query("SHOW server_version_num", &[])
        .await;
    let version: String = rows.unwrap()[0].get(0);
    let newest: &[Alteration] = if version.as_str() >= "180000" {
        NOTICED_SINCE_18
    } else {
        &[]
    };
    let all: Vec<Alteration> = NOTICED.iter().chain(newest).copied().collect();
    let outcomes: Vec<(bool, Option<String>)> = stream::iter(all.iter().enumerate())
        .map(|(nth, alteration)| notice(&bench, nth, *alteration))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let n_in_script = outcomes.iter().filter(|(in_script, _)| *in_script).count();
    let missed: Vec<&String> = outcomes
        .iter()
        .filter_map(|(_, missed)| missed.as_ref())
        .collect();
    assert!(missed.is_empty(), "{} missed: {missed:#?}", missed.len());
    assert!(
        n_in_script > all.len() / 2,
        "the script shows only {n_in_script} of {}",
        all.len()
    );
}

#[tokio::test]
async fn harmless_changes_are_no_difference() {
    let bench = Bench::new().await;
    let found = bench.altered("unaltered", "").await;
    assert!(found.is_empty(), "a plain copy: {}", report(&found));
    for (nth, (name, sql)) in HARMLESS.iter().enumerate() {
        let found = bench.altered(&format!("copy_{nth}"), sql).await;
        assert!(found.is_empty(), "{name}: {}", report(&found));
    }
}

#[tokio::test]
async fn options_say_what_counts() {
    let bench = Bench::new().await;
    let postgres = bench.server.connect("postgres").await;
    postgres
        .batch_execute("CREATE DATABASE \"Other one\" TEMPLATE base")
        .await
        .unwrap();
    let settings = "ALTER DATABASE \"Other one\" SET work_mem = '5MB'";
    postgres.batch_execute(settings).await.unwrap();
    let (base, other) = (
        bench.server.conninfo("base"),
        bench.server.conninfo("'Other one'"),
    );
    let base = Side {
        conninfo: &base,
        pg_dump: &bench.pg_dump,
    };
    let other = Side {
        conninfo: &other,
        pg_dump: &bench.pg_dump,
    };

    assert_eq!(compare(&base, &other, &CompareOptions::default()).await, []);

    let mut options = CompareOptions {
        database: true,
        ..CompareOptions::default()
    };
    let found = compare(&base, &other, &options).await;
    let named: Vec<&str> = found
        .iter()
        .map(|difference| difference.what.as_str())
        .collect();
    let expected = [
        "pg_dump DATABASE PROPERTIES <database>",
        "settings in the database of role -",
    ];
    assert_eq!(named, expected, "{}", report(&found));

    options.excuse.push(Excuse::new(
        "DATABASE PROPERTIES|^settings ",
        "made by this test",
    ));
    assert_eq!(compare(&base, &other, &options).await, []);
    let sides = [
        Snapshot::take(&base, &options).await,
        Snapshot::take(&other, &options).await,
    ];
    let [base, other] = sides.map(Result::unwrap);
    let reasons = base
        .accepted(&other, &options)
        .into_iter()
        .map(|(_, reason)| reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["made by this test"; 2]);
}

#[tokio::test]
async fn a_side_that_cannot_be_read_is_a_difference() {
    let bench = Bench::new().await;
    let (base, missing) = (
        bench.server.conninfo("base"),
        bench.server.conninfo("missing"),
    );
    let base = Side {
        conninfo: &base,
        pg_dump: &bench.pg_dump,
    };
    let absent = Side {
        conninfo: &missing,
        pg_dump: &bench.pg_dump,
    };
    let no_tool = Side {
        conninfo: base.conninfo,
        pg_dump: "/nowhere/pg_dump".as_ref(),
    };
    for side in [absent, no_tool] {
        let found = compare(&base, &side, &CompareOptions::default()).await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].what, "the right side could not be read");
    }
}

#[test]
fn a_report_shows_the_lines_that_differ() {
    let difference = Difference {
        what: "view s.v: query".to_owned(),
        left: Some("SELECT a,\n b\n FROM t".to_owned()),
        right: Some("SELECT a,\n c\n FROM t".to_owned()),
    };
    let indented = |letter: char| format!("…\n            {letter}\n           …");
    let expected = format!(
        "view s.v: query\n    left:  {}\n    right: {}",
        indented('b'),
        indented('c')
    );
    assert_eq!(difference.to_string(), expected);
}
