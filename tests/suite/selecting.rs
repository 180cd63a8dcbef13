//! What is chosen, at dump and again at restore: `pg_dump` with the same options says what is right; where pgark does better, the
//! difference stands here with its reason.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use pgark::pg::{ConnSettings, Environment};
use pgark::progress::Silent;
use pgark::restore::{Check, RestoreOptions};
use pgark::selection::{Omit, Section, Selection};
use pgark::store::MemoryStore;
use pgark::{Archive, ChunkSettings, DumpOptions, Error, Repository, RestoreReport};
use tempfile::TempDir;

use crate::support::{Database, Server, majors, oracle, output_of, pgark};

/// An object: kind as `pg_restore --list` says it, schema, and the last word of its name.
type Object = (String, String, String);

/// Kinds as pgark and as `pg_restore` call them. What the two write at different places (defaults, ownership of sequences,
/// comments, privileges) is compared by other tests.
const KINDS: &[(&str, &str)] = &[
    ("materialized view data", "MATERIALIZED VIEW DATA"),
    ("materialized view", "MATERIALIZED VIEW"),
    ("publication table", "PUBLICATION TABLE"),
    ("sequence value", "SEQUENCE SET"),
    ("row security", "ROW SECURITY"),
    ("large object", "BLOB METADATA"),
    ("large objects", "BLOBS"),
    ("foreign key", "FK CONSTRAINT"),
    ("table data", "TABLE DATA"),
    ("enum type", "TYPE"),
    ("constraint", "CONSTRAINT"),
    ("publication", "PUBLICATION"),
    ("statistics", "STATISTICS"),
    ("extension", "EXTENSION"),
    ("function", "FUNCTION"),
    ("sequence", "SEQUENCE"),
    ("trigger", "TRIGGER"),
    ("policy", "POLICY"),
    ("schema", "SCHEMA"),
    ("index", "INDEX"),
    ("table", "TABLE"),
    ("view", "VIEW"),
    ("cast", "CAST"),
];

/// Kinds that a longer word of `pg_restore` begins with and that are not compared.
const OTHERS: &[&str] = &["TABLE ATTACH", "INDEX ATTACH", "SEQUENCE OWNED BY"];

fn object(kind: &str, schema: &str, name: &str) -> Object {
    // These are named otherwise, and one of each is there.
    let unnamed = matches!(
        kind,
        "BLOBS" | "BLOB METADATA" | "CAST" | "PUBLICATION TABLE"
    );
    let name = name.split_whitespace().last().unwrap_or_default();
    let name = if unnamed { "" } else { name };
    (kind.to_owned(), schema.to_owned(), name.to_owned())
}

/// The list of `pg_restore`: number, two OIDs, kind, schema, name, owner.
fn of_pg_restore(list: &str) -> BTreeSet<Object> {
    let lines = list.lines().filter(|line| !line.starts_with(';'));
    let described = lines.filter_map(|line| line.splitn(4, ' ').nth(3));
    let of_other = |text: &&str| !OTHERS.iter().any(|other| text.starts_with(other));
    described
        .filter(of_other)
        .filter_map(|text| {
            let kind = KINDS.iter().map(|(_, kind)| *kind);
            let kind = kind
                .filter(|kind| text.starts_with(&format!("{kind} ")))
                .max_by_key(|kind| kind.len())?;
            let rest = text[kind.len()..].trim_start();
            let (schema, rest) = rest.split_once(' ')?;
            let (name, _owner) = rest.rsplit_once(' ')?;
            Some(object(kind, schema, name))
        })
        .collect()
}

/// The list of `pgark show`: number, label, schema, name, owner.
fn of_pgark(list: &str) -> BTreeSet<Object> {
    let lines = list.lines().filter(|line| !line.starts_with(';'));
    lines
        .filter_map(|line| {
            let parts: Vec<&str> = line.split("; ").collect();
            let label = parts[1].strip_suffix(" stub").unwrap_or(parts[1]);
            let (_, kind) = KINDS.iter().find(|(known, _)| *known == label)?;
            Some(object(kind, parts[2], parts[3]))
        })
        .collect()
}

struct Source {
    server: Server,
    database: Database,
    folder: TempDir,
}

impl Source {
    fn new(hint: &str) -> Option<Source> {
        let server = Server::shared(majors().pop()?);
        let database = server.create_database(hint);
        let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/selection.sql");
        database.psql_file(&fixture);
        Some(Source {
            server,
            database,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    fn pgark(&self, verb: &str, place: &str) -> Command {
        let mut command = pgark();
        command
            .arg(verb)
            .arg("-r")
            .arg(self.folder.path().join(place));
        command
    }

    /// The objects that both programs dump with the same options.
    fn both(&self, place: &str, options: &[&str]) -> (BTreeSet<Object>, BTreeSet<Object>) {
        let file = self.folder.path().join(format!("{place}.dump"));
        let mut dump = Command::new(oracle("pg_dump"));
        dump.args(["-Fc", "-d", &self.database.conninfo(), "-f"])
            .arg(&file);
        output_of(dump.args(options));
        let list = output_of(Command::new(oracle("pg_restore")).arg("-l").arg(&file));
        let mut dump = self.pgark("dump", place);
        dump.args(["-d", &self.database.conninfo()]).args(options);
        output_of(&mut dump);
        let own = output_of(self.pgark("show", place).arg("--list"));
        (of_pg_restore(&list), of_pgark(&own))
    }
}

/// What pgark dumps and `pg_dump` does not, or the other way round, and why.
const BETTER: &[(&str, &str, &str)] = &[
    (
        "-t",
        "STATISTICS",
        "statistics belong to their table, wherever their own schema is",
    ),
    (
        "-a",
        "MATERIALIZED VIEW DATA",
        "after new rows a materialized view is stale",
    ),
    (
        "-N",
        "PUBLICATION TABLE",
        "a table that is not there cannot be added to a publication",
    ),
];

fn is_excused(options: &[&str], found: &Object) -> bool {
    BETTER
        .iter()
        .any(|(option, kind, _)| options.contains(option) && found.0 == *kind)
        // pgark has an entry for it that makes nothing, but carries privileges and owner.
        || *found == object("SCHEMA", "-", "public")
}

const COMBINATIONS: &[&[&str]] = &[
    &[],
    &["-n", "app"],
    &["-n", "app", "-n", "other"],
    &["-n", "app", "-T", "app.orders"],
    &["-N", "app"],
    &["-N", "app", "-N", "oth*"],
    &["-t", "app.orders"],
    &["-t", "app.o*", "-t", "plain", "-N", "app"],
    &["-t", "app.*", "-T", "app.orders"],
    &["-t", "plain", "-b"],
    &["-T", "app.log"],
    &["-T", "app.log*", "-T", "nothing"],
    &["--table-and-children", "app.log"],
    &["--table-and-children", "other.base"],
    &["--exclude-table-and-children", "app.log"],
    &["--exclude-table-data", "app.customers"],
    &["--exclude-table-data", "app.sums"],
    &["--exclude-table-data", "other.numbers"],
    &["--exclude-table-data-and-children", "app.log"],
    &["-e", "hstore"],
    &["-e", "hstore", "-n", "app"],
    &["-e", "hst*", "-t", "plain"],
    &["--exclude-extension", "hstore"],
    &["-s"],
    &["-s", "-b"],
    &["-a"],
    &["-a", "-t", "app.orders"],
    &["-B"],
    &["-n", "app", "-b", "-B"],
    &["--section", "pre-data"],
    &["--section", "data"],
    &["--section", "post-data"],
    &["--section", "pre-data", "--section", "post-data"],
    &["--no-policies", "--no-publications"],
    &[
        "--no-unlogged-table-data",
        "--no-comments",
        "--no-security-labels",
        "--no-subscriptions",
    ],
];

#[test]
fn pg_dump_chooses_the_same_objects() {
    let Some(source) = Source::new("selecting") else {
        return;
    };
    let wrong: Vec<String> = std::thread::scope(|threads| {
        let check = |at: usize, options: &'static [&'static str]| {
            let (theirs, ours) = source.both(&format!("c{at}"), options);
            let differ: Vec<&Object> = theirs
                .symmetric_difference(&ours)
                .filter(|found| !is_excused(options, found))
                .collect();
            (!differ.is_empty()).then(|| format!("{options:?}: {differ:?}"))
        };
        let running: Vec<_> = (0..3)
            .map(|thread| {
                let mine = COMBINATIONS.iter().enumerate().skip(thread).step_by(3);
                threads.spawn(move || {
                    mine.filter_map(|(at, one)| check(at, one))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        running
            .into_iter()
            .flat_map(|one| one.join().unwrap())
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pg_dump_reads_the_same_filter_files() {
    let Some(source) = Source::new("filtering") else {
        return;
    };
    let files = [
        "# what matters\ninclude table app.\"orders\"  # with rows\ninclude table app . customers\nexclude table_data app.customers\n",
        "include schema app\nexclude table_and_children app.log\n\n  EXCLUDE TABLE app.notes",
        "exclude schema app\nexclude extension hstore\nexclude table \"odd\nname\"\n",
        "include extension hstore\ninclude table_and_children other.base\nexclude table_data_and_children other.base",
    ];
    for (at, text) in files.iter().enumerate() {
        let path = source.folder.path().join(format!("filter{at}"));
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let (theirs, ours) = source.both(&format!("f{at}"), &["--filter", path]);
        let differ: Vec<&Object> = theirs
            .symmetric_difference(&ours)
            .filter(|found| !is_excused(&["-t", "-N"], found))
            .collect();
        assert!(differ.is_empty(), "{text}: {differ:?}");
    }
    let path = source.folder.path().join("wrong filter");
    std::fs::write(
        &path,
        "include table app.orders\ninclude table_data app.orders",
    )
    .unwrap();
    let mut dump = source.pgark("dump", "wrong");
    dump.args(["-d", &source.database.conninfo(), "--filter"])
        .arg(&path);
    let text = refused(&mut dump);
    assert!(
        text.contains("wrong filter, line 2: include table_data is no filter of a dump"),
        "{text}"
    );
}

/// Runs a command that must end with 2; returns its standard error.
#[track_caller]
fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{command:?}: {text}");
    text
}

fn settings(database: &Database) -> ConnSettings {
    let conninfo = database.conninfo();
    ConnSettings::resolve(&Environment::of_process(), Some(&conninfo), &[]).unwrap()
}

async fn dumped(database: &Database, options: &DumpOptions) -> pgark::Result<Archive> {
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::open_or_create(store, ChunkSettings::default()).await?;
    let report = pgark::dump(&settings(database), &repository, options, Arc::new(Silent)).await?;
    repository.read(&report.name).await
}

fn choosing(selection: Selection) -> DumpOptions {
    DumpOptions {
        selection,
        ..DumpOptions::default()
    }
}

fn tables(patterns: &[&str]) -> Selection {
    Selection {
        tables: patterns.iter().map(|text| (*text).to_owned()).collect(),
        ..Selection::default()
    }
}

async fn restored(archive: &Archive, target: &Database, selection: Selection) -> RestoreReport {
    let options = RestoreOptions {
        jobs: 2,
        selection,
        check: Check::Content,
        ..RestoreOptions::default()
    };
    let report = pgark::restore(archive, &settings(target), &options, Arc::new(Silent)).await;
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_complete(), "{report:#?}");
    report
}

/// Kinds and names of what users made.
const THERE: &str = "SELECT relkind, relnamespace::regnamespace, relname FROM pg_class WHERE oid >= 16384 \
    AND relnamespace::regnamespace::text IN ('app', 'other', 'public') AND relkind <> 't' ORDER BY 1, 2, 3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_table_needs_comes_along_at_dump_and_at_restore_alike() {
    let Some(source) = Source::new("needs") else {
        return;
    };
    let with_needs = Selection {
        with_needs: true,
        ..tables(&["app.orders", "app.notes"])
    };
    let part = dumped(&source.database, &choosing(with_needs.clone()))
        .await
        .unwrap();
    let target = source.server.create_database("needs_of_dump");
    restored(&part, &target, Selection::default()).await;
    let whole = dumped(&source.database, &DumpOptions::default())
        .await
        .unwrap();
    let other = source.server.create_database("needs_of_restore");
    let report = restored(&whole, &other, with_needs).await;
    let brought: Vec<String> = report
        .brought
        .iter()
        .map(|one| format!("{} for {}", one.object, one.needed_by))
        .collect();
    for text in [
        "enum type other.mood for table app.customers",
        "function other.touch() for trigger app.orders stamp",
        "table app.customers for foreign key app.orders orders_customer_fkey",
    ] {
        assert!(
            brought.iter().any(|one| one == text),
            "{text}: {brought:#?}"
        );
    }
    assert_eq!(target.psql(THERE), other.psql(THERE));
    let there = "r|app|customers\nr|app|orders\nv|app|notes";
    let found = target.psql(THERE);
    let relations: Vec<&str> = found
        .lines()
        .filter(|line| !line.starts_with(['i', 'S']))
        .collect();
    assert_eq!(relations.join("\n"), there);
    let counts = "SELECT count(*) FROM app.orders; SELECT count(*) FROM app.customers";
    for database in [&target, &other] {
        assert_eq!(database.psql(counts), source.database.psql(counts));
    }
    // What is left out by name stays out, though it is needed.
    let without = Selection {
        with_needs: true,
        exclude_tables: vec!["app.customers".into()],
        ..tables(&["app.orders"])
    };
    let archive = dumped(&source.database, &choosing(without)).await.unwrap();
    let entries = archive.entries().await.unwrap();
    assert!(entries.iter().all(|entry| entry.name.name != "customers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_chooses_rows_in_cells_too_and_only_a_whole_one_is_taken() {
    let Some(source) = Source::new("conditions") else {
        return;
    };
    let database = &source.database;
    database.psql(
        "CREATE TABLE app.wide AS SELECT i, repeat('x', 500) AS pad FROM generate_series(1, 4000) AS i",
    );
    let condition = |text: &str| Selection {
        conditions: vec![text.parse().unwrap()],
        ..Selection::default()
    };
    let options = DumpOptions {
        cell_bytes: Some(256 << 10),
        ..choosing(condition("app.wide=i % 10 = 0 OR i < 5 -- and no more"))
    };
    let archive = dumped(database, &options).await.unwrap();
    let indexes = archive.table_indexes().await.unwrap();
    assert!(
        indexes
            .iter()
            .any(|index| index.segments.len() > 4 && index.n_rows == 404)
    );
    let skipped = &archive.manifest().skipped;
    assert!(
        skipped
            .iter()
            .any(|one| one.what.contains("\"wide\"") && one.reason.contains("i % 10 = 0"))
    );
    assert_eq!(archive.manifest().group.scope.to_string(), "partial");
    let target = source.server.create_database("conditions_back");
    let with_schema = Selection {
        with_needs: true,
        ..tables(&["app.wide"])
    };
    restored(&archive, &target, with_schema).await;
    assert_eq!(
        target.psql("SELECT count(*), max(i) FROM app.wide"),
        "404|4000\n"
    );
    for (text, problem) in [
        ("app.wide=i = 1) OR (true", "not take"),
        ("app.wide=true] || ARRAY[true", "not take"),
        ("app.wide=i = 1; DROP TABLE app.wide", "not take"),
        ("app.wide=i", "not take"),
        ("app.wide=no_column = 1", "not take"),
        ("app.log=x = 1", "its rows are in its partitions"),
        ("app.l*=x = 1", "3 tables match"),
        ("app.notes=true", "that is no table"),
        ("app.wiede=true", "near it: app.wide"),
    ] {
        let error = dumped(database, &choosing(condition(text)))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(problem), "{text}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_objects_sections_and_classes_are_chosen_at_restore() {
    let Some(source) = Source::new("single") else {
        return;
    };
    let archive = dumped(&source.database, &DumpOptions::default())
        .await
        .unwrap();
    let target = source.server.create_database("single_back");
    let section = |section| Selection {
        sections: BTreeSet::from([section]),
        ..Selection::default()
    };
    for one in Section::ALL {
        restored(&archive, &target, section(one)).await;
    }
    assert_eq!(source.database.psql(THERE), target.psql(THERE));
    target.psql("DROP INDEX app.orders_note; DROP TRIGGER stamp ON app.orders; DROP FUNCTION twice(int), twice(text)");
    let single = Selection {
        indexes: vec!["app.orders_n*".into()],
        triggers: vec!["orders.stamp".into()],
        functions: vec!["twice ( integer )".into()],
        ..Selection::default()
    };
    let report = restored(&archive, &target, single).await;
    assert_eq!(report.n_entries, 3);
    assert_eq!(source.database.psql(THERE), target.psql(THERE));
    let there = "SELECT to_regprocedure('twice(int)'), to_regprocedure('twice(text)'), count(*) FROM pg_trigger WHERE tgname = 'stamp'";
    assert_eq!(target.psql(there), "twice(integer)||1\n");
    let bare = source.server.create_database("bare");
    let omit = [
        Omit::Policies,
        Omit::Publications,
        Omit::Comments,
        Omit::Privileges,
        Omit::UnloggedRows,
    ];
    restored(&archive, &bare, Selection::default().without(omit)).await;
    let left = "SELECT (SELECT count(*) FROM pg_policy), (SELECT count(*) FROM pg_publication), obj_description('app.orders'::regclass), \
        relrowsecurity, has_table_privilege('pg_monitor', 'app.customers', 'SELECT'), (SELECT count(*) FROM other.cache) \
        FROM pg_class WHERE oid = 'app.orders'::regclass";
    assert_eq!(bare.psql(left), "0|0||f|f|0\n");
    for (wrong, problem) in [
        (
            Selection {
                functions: vec!["twice(bool)".into()],
                ..Selection::default()
            },
            "no function in the archive",
        ),
        (
            Selection {
                indexes: vec!["orders_not".into()],
                ..Selection::default()
            },
            "near it: app.orders orders_note",
        ),
        (
            Selection {
                schemas: vec!["other".into()],
                ..tables(&["orders"])
            },
            "no table in the archive",
        ),
        (
            Selection {
                foreign_data: vec!["x".into()],
                ..Selection::default()
            },
            "an option of dump",
        ),
    ] {
        let options = RestoreOptions {
            selection: wrong,
            ..RestoreOptions::default()
        };
        let ended = pgark::restore(&archive, &settings(&bare), &options, Arc::new(Silent)).await;
        let error = ended.unwrap_err();
        let is_usage = matches!(&error, Error::Usage(text) if text.contains(problem));
        assert!(is_usage, "{error}");
    }
}

#[test]
fn a_shortened_list_restores_and_writes_what_it_leaves_in() {
    let Some(source) = Source::new("listed") else {
        return;
    };
    source.database.psql(
        "CREATE TABLE app.\"broken\n0; table; app; orders; postgres\" (x int); CREATE TABLE app.\"; odd\" (x int)",
    );
    output_of(
        source
            .pgark("dump", "repo")
            .args(["-d", &source.database.conninfo()]),
    );
    let list = output_of(source.pgark("show", "repo").arg("--list"));
    let json = output_of(source.pgark("show", "repo").arg("--json"));
    let entries: serde_json::Value = serde_json::from_str(&json).unwrap();
    let n_lines = list.lines().filter(|line| !line.starts_with(';')).count();
    assert_eq!(n_lines, entries["entries"].as_array().unwrap().len());
    let kept = [
        "; schema; -; app; ",
        "; plain; ",
        "; broken",
        "; table; app; customers; ",
        "; mood; ",
        "; schema; -; other; ",
    ];
    let shortened: Vec<String> = list
        .lines()
        .map(|line| {
            let keep = kept.iter().any(|text| line.contains(text));
            if keep {
                line.to_owned()
            } else {
                format!(";{line}")
            }
        })
        .collect();
    let path = source.folder.path().join("list");
    std::fs::write(&path, shortened.join("\n")).unwrap();
    let script = output_of(source.pgark("sql", "repo").arg("-L").arg(&path));
    assert!(
        script.contains("CREATE TABLE \"public\".\"plain\""),
        "{script}"
    );
    assert!(
        !script.contains("orders_note") && !script.contains("odd"),
        "{script}"
    );
    let target = source.server.create_database("listed_back");
    let mut restore = source.pgark("restore", "repo");
    restore
        .args(["latest", "-d", &target.conninfo(), "-L"])
        .arg(&path);
    output_of(&mut restore);
    let tables = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
    let name = "broken\n0; table; app; orders; postgres";
    assert_eq!(target.psql(tables), format!("{name},customers,plain\n"));
    std::fs::write(&path, "1; table; app; another; postgres").unwrap();
    assert!(refused(&mut restore).contains("line 1: entry 1 of this archive is"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_foreign_tables_come_only_when_asked_and_are_not_written_twice() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let (far, near) = (
        server.create_database("far"),
        server.create_database("near"),
    );
    far.psql("CREATE TABLE t AS SELECT i, 'row ' || i AS v FROM generate_series(1, 50) AS i");
    let place = |database: &Database| {
        let words = database.conninfo();
        let mut words = words.split(' ').filter(|word| !word.starts_with("user="));
        let options: Vec<String> = words
            .by_ref()
            .map(|word| word.replacen('=', " '", 1) + "'")
            .collect();
        options.join(", ")
    };
    let script = format!(
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({}); \
         CREATE SERVER empty FOREIGN DATA WRAPPER postgres_fdw; CREATE USER MAPPING FOR postgres SERVER far; \
         CREATE FOREIGN TABLE ft (i int, v text) SERVER far OPTIONS (table_name 't'); CREATE TABLE own AS SELECT 1 AS x",
        place(&far)
    );
    near.batch(&script).await;
    let plain = dumped(&near, &DumpOptions::default()).await.unwrap();
    assert_eq!(plain.manifest().totals.n_rows, 1);
    let asked = |servers: &[&str]| {
        choosing(Selection {
            foreign_data: servers.iter().map(|text| (*text).to_owned()).collect(),
            ..Selection::default()
        })
    };
    let archive = dumped(&near, &asked(&["f*", "empty"])).await.unwrap();
    assert_eq!(archive.manifest().totals.n_rows, 51);
    let error = dumped(&near, &asked(&["farr"]))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no foreign server matches \"farr\"; near it: far"),
        "{error}"
    );
    let target = server.create_database("near_back");
    let options = RestoreOptions::default();
    let restore = async |target: &Database| {
        pgark::restore(&archive, &settings(target), &options, Arc::new(Silent))
            .await
            .unwrap()
    };
    let report = restore(&target).await;
    assert!(
        report.failed.len() == 1 && report.failed[0].message.contains("has rows already"),
        "{report:#?}"
    );
    assert_eq!(far.psql("SELECT count(*) FROM t"), "50\n");
    far.psql("TRUNCATE t");
    let target = server.create_database("near_again");
    let report = restore(&target).await;
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(far.psql("SELECT count(*) FROM t"), "50\n");
}
