//! What follows from the list of kinds: `docs/kinds.md` is written from it, and each kind has a fixture.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pgark::kinds::cluster::CLUSTER_KINDS;
use pgark::kinds::scope::{NOT_KEPT, SINCE, VERDICTS, Verdict};
use pgark::kinds::{KINDS, KindFacts};

const HEAD: &str = "\
# Object kinds

Written from the lists of kinds in `src/kinds/mod.rs` and `src/kinds/cluster/mod.rs` by the test `kind_docs::the_document_lists_every_kind`; to renew it:
`UPDATE_GOLDEN=1 cargo nextest run kind_docs`. The order is that of loading; *stage* is when an object is restored unless a
dependency moves it, *owner* whether `ALTER … OWNER TO` exists, *grants* the word after `GRANT … ON`.
The last ones, from `role` on, are the cluster's: they live in an archive of globals, but for `database` and `database setting`,
which every archive of a database has and which are restored where the restore made the database.
Comments and security labels are kept for every kind that PostgreSQL lets have them. Whatever belongs to an extension comes with the extension.
*Not kept* is what the restored object lacks on every server; what an older target lacks is named by the restore itself, before its first
change. *Since* is the first major that has the kind; the others are on 12 and newer.

| kind | catalog | stage | owner | grants | since | not kept |
|---|---|---|---|---|---|---|
";

const CATALOGS: &str = "
## Catalogs

Every catalog of 12 to 18, and who takes care of its rows. A dump compares the server's catalogs and columns with this list, and names
in the archive what is not on it.

| catalog | archived |
|---|---|
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
            "| {} | `{}` | {stage} | {owner} | {grants} | {} | {} |",
            kind.label,
            kind.catalog,
            since(kind.label),
            not_kept(kind.label)
        )
        .unwrap();
    }
    expected.push_str(CATALOGS);
    for (catalog, verdict) in VERDICTS {
        let text = match verdict {
            Verdict::Kinds(labels) => labels.join(", "),
            Verdict::Part(of) => format!("with {of}"),
            Verdict::Excused(why) => format!("no: {why}"),
        };
        writeln!(expected, "| `{catalog}` | {text} |").unwrap();
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

fn since(label: &str) -> String {
    let found = SINCE.iter().find(|(kind, _)| *kind == label);
    found
        .map(|(_, major)| major.to_string())
        .unwrap_or_default()
}

fn not_kept(label: &str) -> &'static str {
    let found = NOT_KEPT.iter().find(|(kind, _)| *kind == label);
    let text = found.map_or("", |(_, text)| *text);
    if text == "-" { "" } else { text }
}

#[test]
fn every_kind_has_a_fixture_and_every_fixture_a_kind() {
    let labels = kinds().map(|kind| kind.label);
    let kinds: BTreeSet<String> = labels
        .chain(["dependents"])
        .map(|label| format!("{}.sql", label.replace(' ', "_")))
        .collect();
    let fixtures: BTreeSet<String> = std::fs::read_dir(repository().join("fixtures/kinds"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(fixtures, kinds);
}
