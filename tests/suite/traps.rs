//! What dumps easily lose, one trap for each thing: every file of `fixtures/traps` is set up in a database, which goes from one
//! cluster to a fresh one and must be the same there. Then each trap's damage is done to the restored database, and the
//! comparison must name it: so it is known that it looks at that very fact. Traps that need more than SQL are tests elsewhere.

mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tempfile::TempDir;

use crate::support::compare::{CompareOptions, Difference};
use crate::support::pair::{Pair, Unavoidable, assert_same, assert_whole, snapshot};
use crate::support::{Database, Major, Server, matrix};
use fixture::{Step, Trap};

/// How many traps there are.
const N_TRAPS: u16 = 141;

/// Traps that no SQL in one database can set, and the tests that set them: number, and module and function.
const ELSEWHERE: &[(u16, &str)] = &[
    (
        112,
        "standby::a_dump_of_a_standby_is_of_one_moment_and_says_what_a_standby_does_not_have",
    ),
    (
        115,
        "encodings::bytes_without_an_encoding_come_back_in_every_name_text_and_row",
    ),
    (124, "cluster::a_cluster_of_every_major_comes_back_the_same"),
    (125, "cluster::a_cluster_of_every_major_comes_back_the_same"),
    (
        129,
        "injection::a_renamed_column_is_seen_whole_or_not_at_all",
    ),
    (
        130,
        "many_tables::twenty_thousand_tables_cost_the_queries_of_twenty_and_little_else",
    ),
];

/// What differs after every dump as SQL.
const UNAVOIDABLE: &[Unavoidable] = &[
    Unavoidable {
        since: 12,
        pattern: r"^(index|column|dependencies of class) trap_086\.bad(\.a)?$",
        reason: "an invalid index enforces nothing, and its statement would fail again",
    },
    Unavoidable {
        since: 13,
        pattern: r"^(((column|dependencies of type|table|type) pg_catalog\.)|rows of )trap_128(\[\]|\.a)?$",
        reason: "what is in pg_catalog is the server's, and can only be made with allow_system_table_mods",
    },
];

/// Traps that are set in one database of the source.
struct Place<'a> {
    traps: Vec<&'a Trap>,
    source: Database,
    scripts: TempDir,
}

impl<'a> Place<'a> {
    /// Makes the database and sets the traps.
    fn set(server: &Server, traps: Vec<&'a Trap>) -> Self {
        let scripts = tempfile::tempdir().unwrap();
        let source = server.create_database(&traps[0].database);
        source.psql_file(&fixture::write_script(scripts.path(), &traps, Step::Setup));
        Place {
            traps,
            source,
            scripts,
        }
    }

    /// The database goes across and comes back the same. Then the damages are done: gives complaints about those that the
    /// comparison does not name.
    async fn spring(&self, pair: &Pair) -> Vec<String> {
        let (name, major) = (&self.traps[0].database, self.source.major());
        let what = format!("the traps of {name} on {major}");
        let target = pair.target.create_database(name);
        let (_, restored) = pair.take_into(&self.source, &target).await;
        assert_whole(&what, &restored);
        let before = assert_same(&what, &self.source, &target, &excuses(&self.traps)).await;
        let damage = fixture::write_script(self.scripts.path(), &self.traps, Step::Damage);
        target.psql_file(&damage);
        let options = CompareOptions::default();
        let found = before.differences(&snapshot(&target, &options).await, &options);
        let unnamed = self
            .traps
            .iter()
            .flat_map(|trap| unnamed(trap, major, &found));
        unnamed.collect()
    }
}

/// The excuses that name one of these traps.
fn excuses(traps: &[&Trap]) -> Vec<Unavoidable> {
    let names_one = |excuse: &&Unavoidable| {
        traps
            .iter()
            .any(|trap| excuse.pattern.contains(&trap.schema()))
    };
    UNAVOIDABLE.iter().filter(names_one).copied().collect()
}

fn unnamed(trap: &Trap, major: Major, found: &[Difference]) -> Vec<String> {
    let is_named = |what: &&str| !found.iter().any(|found| found.what.contains(*what));
    let near = |found: &&Difference| found.what.contains(&trap.schema());
    trap.reported(major)
        .filter(is_named)
        .map(|what| {
            let found: Vec<&str> = found
                .iter()
                .filter(near)
                .map(|found| found.what.as_str())
                .collect();
            format!("{} on {major}: no {what:?}, but {found:#?}", trap.name)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_trap_comes_back_and_its_damage_is_named() {
    let all = fixture::all();
    for major in matrix() {
        let pair = Pair::start(major);
        let mut databases: BTreeMap<&str, Vec<&Trap>> = BTreeMap::new();
        for trap in all.iter().filter(|trap| trap.serves(major)) {
            databases.entry(&trap.database).or_default().push(trap);
        }
        let places: Vec<Place<'_>> = databases
            .into_values()
            .map(|traps| Place::set(&pair.source, traps))
            .collect();
        pair.copy_globals(&places[0].source, &pair.target.create_database("globals"));
        let mut missed = Vec::new();
        for place in &places {
            missed.extend(place.spring(&pair).await);
        }
        assert!(missed.is_empty(), "{} missed: {missed:#?}", missed.len());
        let n_traps: usize = places.iter().map(|place| place.traps.len()).sum();
        let n_databases = places.len();
        println!("{major}: {n_traps} traps in {n_databases} databases, every damage named");
    }
}

#[test]
fn every_trap_has_a_fixture_or_a_test_of_its_own() {
    let fixtures = fixture::all();
    let numbers = fixtures
        .iter()
        .map(|trap| trap.number)
        .chain(ELSEWHERE.iter().map(|(number, _)| *number));
    let mut seen = BTreeSet::new();
    for number in numbers {
        assert!((1..=N_TRAPS).contains(&number), "there is no trap {number}");
        assert!(seen.insert(number), "trap {number} is there twice");
    }
    let missing: Vec<u16> = (1..=N_TRAPS)
        .filter(|number| !seen.contains(number))
        .collect();
    assert_eq!(missing, [0; 0]);
    for (number, test) in ELSEWHERE {
        let (module, function) = test.split_once("::").unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/suite/{module}.rs"));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            text.contains(&format!("fn {function}(")),
            "trap {number}: there is no test {test}"
        );
    }
}
