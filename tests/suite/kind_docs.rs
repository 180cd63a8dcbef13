//! What follows from the list of kinds: `docs/kinds.md` is written from it, and each kind has a fixture.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pgark::kinds::cluster::CLUSTER_KINDS;
use pgark::kinds::{KINDS, KindFacts};

const HEAD: &str = "\
# Object kinds

Written from the lists of kinds in `src/kinds/mod.rs` and `src/kinds/cluster/mod.rs` by the test `kind_docs::the_document_lists_every_kind`; to renew it:
`UPDATE_GOLDEN=1 cargo nextest run kind_docs`. The order is that of loading; *stage* is when an object is restored unless a
dependency moves it, *owner* whether `ALTER … OWNER TO` exists, *grants* the word after `GRANT … ON`.
The last ones, from `role` on, are the cluster's: they live in an archive of globals, but for `database` and `database setting`,
which every archive of a database has and which are restored where the restore made the database.
Comments and security labels are kept for every kind that PostgreSQL lets have them. Whatever belongs to an extension comes with the extension.

| kind | catalog | stage | owner | grants |
|---|---|---|---|---|
";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn kinds() -> impl Iterator<Item = &'static KindFacts> {
    KINDS.iter().chain(CLUSTER_KINDS).copied()
}

#[test]
fn the_document_lists_every_kind() {
    let mut expected = HEAD.to_owned();
    for kind in kinds() {
        let stage = serde_json::to_value(kind.stage).unwrap();
        let (owner, grants) = (
            if kind.owned { "yes" } else { "" },
            kind.grant.unwrap_or_default(),
        );
        let stage = stage.as_str().unwrap().replace('_', "-");
        writeln!(
            expected,
            "| {} | `{}` | {stage} | {owner} | {grants} |",
            kind.label, kind.catalog
        )
        .unwrap();
    }
    let path = repository().join("docs/kinds.md");
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written, expected,
        "run it with UPDATE_GOLDEN=1 and read the change"
    );
}

#[test]
fn every_kind_has_a_fixture_and_every_fixture_a_kind() {
    let kinds: BTreeSet<String> = kinds()
        .map(|kind| format!("{}.sql", kind.label.replace(' ', "_")))
        .collect();
    let fixtures: BTreeSet<String> = std::fs::read_dir(repository().join("fixtures/kinds"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(fixtures, kinds);
}
