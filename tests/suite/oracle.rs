//! Whole databases go from one cluster to a fresh one of the same major, and `pg_dump`, the catalogs and all rows must say the
//! same of both. What is excused stands in one table for each fixture, with the reasons.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::pair::{Pair, Unavoidable, assert_same, assert_whole};
use crate::support::{Database, Major, majors, matrix, oracle, output_of};

pub(crate) const OF_SHOP: &[Unavoidable] = &[
    Unavoidable {
        since: 15,
        pattern: r"^(function|dependencies of proc) catalog\.weight_(multi)?range\(.*: (proowner|on authid shop_owner)$",
        reason: "a range type's constructors belong to whoever runs CREATE TYPE, and ALTER TYPE OWNER does not reach them",
    },
    Unavoidable {
        since: 15,
        pattern: r"^table sales\.coupons: relacl$",
        reason: "a list that spells out the default is the default; what roles may do is compared by itself",
    },
];

/// Takes the database across, and finds it the same.
async fn comes_back(pair: &Pair, source: &Database, excuses: &[Unavoidable]) {
    let what = format!("{} on {}", source.conninfo(), source.major());
    let (_, restored, target) = pair.take_across(source).await;
    assert_whole(&what, &restored);
    assert_same(&what, source, &target, excuses).await;
}

/// The majors that the other fixtures are written for.
fn served() -> impl Iterator<Item = Major> {
    majors().into_iter().filter(|major| major.number() >= 15)
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_comes_back_the_same() {
    for major in served() {
        let pair = Pair::start(major);
        let source = pair.source.create_database("shop");
        source.psql_file(&fixture("shop/01-schema.sql"));
        source.psql_file(&fixture("shop/02-generate.sql"));
        source.psql("CALL shop_admin.generate(10)");
        comes_back(&pair, &source, OF_SHOP).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_of_pgbench_come_back_the_same() {
    for major in served() {
        let pair = Pair::start(major);
        let source = pair.source.create_database("pgbench");
        let mut pgbench = Command::new(oracle("pgbench"));
        pgbench.args([
            "--initialize",
            "--quiet",
            "--scale=10",
            "--init-steps=dtGvpf",
        ]);
        output_of(pgbench.arg(source.conninfo()));
        comes_back(&pair, &source, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_traps_come_back_the_same() {
    for major in matrix() {
        let pair = Pair::start(major);
        let source = pair.source.create_database("traps");
        source.psql_file(&fixture("traps.sql"));
        comes_back(&pair, &source, &[]).await;
    }
}

#[test]
fn no_object_of_the_fixtures_waits_for_its_kind() {
    let text = std::fs::read_to_string(fixture("next_kinds.toml")).unwrap();
    let waiting: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(waiting, [""; 0], "the traps are compared without them");
}
