//! Every kind of object on every major: all of `fixtures/kinds` in one database, which goes to a fresh cluster of the same
//! major and must be the same there. What is excused stands in one table, with the reasons; each excuse must be needed.

use std::path::{Path, PathBuf};

use pgark::kinds::cluster::CLUSTER_KINDS;
use pgark::kinds::scope::verdict;

use crate::support::pair::{Pair, Unavoidable, assert_same, assert_whole};
use crate::support::{Database, matrix};

/// What is excused, and the first major that is without it.
const EXCUSED: &[(u16, Unavoidable)] = &[
    (
        99,
        Unavoidable {
            since: 12,
            pattern: r"^changed privileges of type smallint$",
            reason: "a list that spells out the default is the default; what roles may do is compared by itself",
        },
    ),
    (
        99,
        Unavoidable {
            since: 15,
            pattern: r"^pg_dump TRIGGER k_key_trigger\.part_2 RI_ConstraintTrigger_c_\d+$",
            reason: "its name holds its OID; the state is compared in the catalogs, by what it does",
        },
    ),
    (
        99,
        Unavoidable {
            since: 12,
            pattern: r"^collation k_table\.coll: collencoding$",
            reason: "a copy of \"C\" is for every encoding, one that is made anew for the database's",
        },
    ),
    (
        99,
        Unavoidable {
            since: 12,
            pattern: r"^(materialized view k_materialized_view\.stale: relispopulated|rows of k_materialized_view\.stale)$",
            reason: "what it was filled from is empty now, so that it cannot be filled again",
        },
    ),
    (
        13,
        Unavoidable {
            since: 12,
            pattern: r#"^(dependencies of )?(constraint|trigger "RI_FKey_noaction_(del|upd)" of) self_part_up_fkey1 on k_foreign_key\.self_part"#,
            reason: "12 gives a table that refers to itself no copies of the key for partitions made later; the restore makes them first",
        },
    ),
];

/// Loads the fixtures of all kinds of a database, in the order of their names. The cluster's have tests of their own.
pub(crate) fn load_all_kinds(database: &Database) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kinds");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let of_cluster = |file: &PathBuf| {
        let name = file
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .replace('_', " ");
        CLUSTER_KINDS.iter().any(|kind| kind.label == name)
    };
    files.retain(|file| !of_cluster(file));
    files.sort();
    for file in files {
        database.psql_file(&file);
    }
}

/// A kind owns the objects of a catalog with OIDs, or their rows are a part of other objects, or the list says why neither.
fn assert_every_catalog_is_taken_care_of(database: &Database) {
    let catalogs = database.psql(
        "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = 'oid'
          WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind = 'r' AND a.attnum > 0 ORDER BY 1",
    );
    let names: Vec<&str> = catalogs.lines().collect();
    let major = database.major();
    assert!(names.len() > 30, "{major}: {names:?}");
    for name in names {
        assert!(
            verdict(name).is_some(),
            "{major}: nobody takes care of {name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_kinds_come_back_the_same_on_every_major() {
    for major in matrix() {
        let pair = Pair::start(major);
        let source = pair.source.create_database("kinds");
        load_all_kinds(&source);
        assert_every_catalog_is_taken_care_of(&source);
        let what = format!("all kinds on {major}");
        let (archive, restored, target) = pair.take_across(&source).await;
        let skipped = archive.manifest().skipped.iter();
        let skipped: Vec<&str> = skipped.map(|skipped| skipped.what.as_str()).collect();
        assert_eq!(
            skipped,
            ["materialized view k_materialized_view.stale"],
            "{what}: nothing is unknown"
        );
        assert_whole(&what, &restored);
        let excused = EXCUSED.iter().filter(|(until, _)| major.number() < *until);
        let excused: Vec<Unavoidable> = excused.map(|(_, excuse)| *excuse).collect();
        assert_same(&what, &source, &target, &excused).await;
    }
}
