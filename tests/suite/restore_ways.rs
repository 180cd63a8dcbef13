//! Ways to restore: over old objects, all in one transaction, up to the first failure, rows with triggers off, in the order of
//! foreign keys, through the root of partitions.

use std::path::Path;
use std::sync::Arc;

use pgark::archive::Archive;
use pgark::dump::DumpOptions;
use pgark::restore::{RestoreOptions, RestoreReport};
use pgark::selection::Selection;
use pgark::store::{MemoryStore, Store};
use serde_json::json;

use crate::archives::HandMade;
use crate::round_trip::{archive_of, dump_to_memory, options, run, settings};
use crate::support::{Database, Server, majors, pgark};

async fn whole(archive: &Archive, database: &Database, options: &RestoreOptions) -> RestoreReport {
    let report = run(archive, database, options).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    report
}

async fn refused(archive: &Archive, database: &Database, options: &RestoreOptions) -> String {
    let before = database.pg_dump(&[]);
    let error = run(archive, database, options).await.unwrap_err();
    assert_eq!(database.pg_dump(&[]), before, "{error}");
    error.to_string()
}

fn clean() -> RestoreOptions {
    RestoreOptions {
        clean: true,
        ..options()
    }
}

fn in_one() -> RestoreOptions {
    RestoreOptions {
        single_transaction: true,
        ..options()
    }
}

fn only_rows() -> RestoreOptions {
    RestoreOptions {
        selection: Selection {
            data_only: true,
            ..Selection::default()
        },
        ..options()
    }
}

fn only_definitions() -> RestoreOptions {
    RestoreOptions {
        selection: Selection {
            schema_only: true,
            ..Selection::default()
        },
        ..options()
    }
}

/// Circles, attached keys, and what else drops go wrong over: in traps.sql there is some of every kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_puts_every_kind_of_object_anew() {
    for major in majors().into_iter().filter(|major| major.number() >= 15) {
        let server = Server::start_with(major, &[("allow_in_place_tablespaces", "on")]);
        let source = server.create_database("traps");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        source.psql_file(&fixtures.join("traps.sql"));
        let archive = archive_of(&source).await;
        let target = server.create_database("copy");
        let first = whole(&archive, &target, &clean()).await;
        assert_eq!(first.dropped.unwrap().n_objects, 0);
        let definitions = || target.pg_dump(&["--schema-only"]);
        let before = definitions();
        let again = whole(&archive, &target, &clean()).await;
        assert!(again.dropped.unwrap().n_objects > 200);
        assert_eq!(definitions(), before, "{major}");
        let in_one = RestoreOptions {
            single_transaction: true,
            ..clean()
        };
        let report = whole(&archive, &target, &in_one).await;
        assert!(report.dropped.unwrap().n_objects > 200);
        assert!(report.checked.unwrap().n_tables > 40);
        assert_eq!(definitions(), before, "{major}");
    }
}

const SHARED: &str = "
CREATE SCHEMA s;
CREATE TABLE s.parent (id int PRIMARY KEY); INSERT INTO s.parent VALUES (1), (2);
CREATE TABLE s.kid (id int REFERENCES s.parent); INSERT INTO s.kid VALUES (1);
CREATE TYPE s.cr; CREATE FUNCTION s.canon(s.cr) RETURNS s.cr LANGUAGE internal IMMUTABLE STRICT AS 'int4range_canonical';
CREATE TYPE s.cr AS RANGE (SUBTYPE = int, CANONICAL = s.canon);
CREATE VIEW s.v1 AS SELECT 1 AS a; CREATE VIEW s.v2 AS SELECT a FROM s.v1; CREATE OR REPLACE VIEW s.v1 AS SELECT a FROM s.v2;
SELECT lo_from_bytea(4711, 'old');";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_drops_nothing_but_the_archives_objects() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        source.psql(SHARED);
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        target.psql(SHARED);
        target.psql("CREATE SCHEMA mine; CREATE TABLE mine.t AS SELECT 5 AS a; INSERT INTO s.parent VALUES (3); SELECT lo_put(4711, 0, 'new')");
        whole(&archive, &target, &clean()).await;
        assert_eq!(
            target.psql("SELECT a FROM mine.t; SELECT count(*) FROM s.parent; SELECT lo_get(4711)"),
            "5\n2\n\\x6f6c64\n"
        );
        for (made, undone, wanted) in [
            (
                "CREATE TABLE mine.kid (id int REFERENCES s.parent)",
                "DROP TABLE mine.kid",
                "constraint kid_id_fkey on table mine.kid",
            ),
            (
                "CREATE VIEW mine.v AS SELECT * FROM s.v1",
                "DROP VIEW mine.v",
                "view mine.v",
            ),
            (
                "CREATE TABLE mine.r (r s.cr)",
                "DROP TABLE mine.r",
                "column r of table mine.r",
            ),
            (
                "CREATE TABLE s.more (a int)",
                "DROP TABLE s.more",
                "table s.more",
            ),
        ] {
            target.psql(made);
            let error = refused(&archive, &target, &clean()).await;
            assert!(
                error.contains(wanted) && !error.contains("CASCADE"),
                "{error}"
            );
            target.psql(undone);
        }
        // What stands there under another kind is not taken for the archive's.
        target.psql("DROP VIEW s.v1 CASCADE; CREATE TABLE s.v1 (mine int)");
        let error = refused(&archive, &target, &clean()).await;
        assert!(error.contains("\"v1\" is not a view"), "{error}");
        target.psql("DROP TABLE s.v1");
        // Only what is chosen goes.
        let kid = RestoreOptions {
            selection: Selection {
                tables: vec!["s.kid".into()],
                ..Selection::default()
            },
            ..clean()
        };
        target.psql("INSERT INTO s.parent VALUES (9); TRUNCATE s.kid");
        let report = whole(&archive, &target, &kid).await;
        assert_eq!(
            report.dropped.unwrap().first,
            ["foreign key s.kid kid_id_fkey", "table s.kid"]
        );
        assert_eq!(
            target.psql("SELECT count(*) FROM s.parent; SELECT count(*) FROM s.kid"),
            "3\n1\n"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_drops_a_subscription_and_names_the_slot_that_stays() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        let subscription = "CREATE SUBSCRIPTION pgark_sub CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false, slot_name = 'pgark_slot')";
        source.psql(subscription);
        let archive = archive_of(&source).await;
        source.psql(
            "ALTER SUBSCRIPTION pgark_sub SET (slot_name = NONE); DROP SUBSCRIPTION pgark_sub",
        );
        let target = server.create_database("target");
        target.psql(subscription);
        let report = whole(&archive, &target, &clean()).await;
        target.psql(
            "ALTER SUBSCRIPTION pgark_sub SET (slot_name = NONE); DROP SUBSCRIPTION pgark_sub",
        );
        assert_eq!(report.dropped.unwrap().n_objects, 1);
        assert!(
            report
                .warnings
                .iter()
                .any(|w| w.contains("slot pgark_slot stays")),
            "{:?}",
            report.warnings
        );
    }
}

/// Default privileges of the restoring role are given to everything that it makes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_takes_back_default_privileges_that_would_leak() {
    for major in majors() {
        let server = Server::start(major);
        let source = server.create_database("source");
        source.psql(
            "CREATE ROLE reader; CREATE TABLE secret (a int); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;
             ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; CREATE TABLE open (a int)",
        );
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        for _ in 0..2 {
            whole(&archive, &target, &clean()).await;
            assert_eq!(target.pg_dump(&[]), source.pg_dump(&[]), "{major}");
        }
    }
}

/// Three tables, of which the second cannot be made, and an index of the third.
async fn broken() -> Archive {
    let store = Arc::new(MemoryStore::new());
    let mut made = HandMade::new(store as Arc<dyn Store>).await;
    let steps = |sql: &str| json!([{"steps": [{"sql": [sql]}]}]);
    for (name, columns) in [
        ("good", "(a int)"),
        ("bad", "(a nosuchtype)"),
        ("late", "(a int)"),
    ] {
        let table = format!("\"public\".\"{name}\"");
        let sql = format!("CREATE TABLE {table} {columns}");
        let drop = format!("DROP TABLE {table}");
        let rest = json!({"forms": steps(&sql), "drop": drop});
        made.entry("table", &format!("public.{name}"), "pre_data", &rest);
    }
    let rest = json!({"forms": steps("CREATE INDEX late_a ON public.late (a)"), "needs": [2]});
    made.entry("index", "public.late.late_a", "post_data", &rest);
    made.finish("made-20261122T020000Z").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_transaction_keeps_all_or_nothing() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        source.psql(SHARED);
        source.psql("CREATE MATERIALIZED VIEW s.m AS SELECT count(*) AS n FROM s.kid; CREATE INDEX ON s.parent ((id + 1)); CREATE TABLE s.\"p q\" (a text) PARTITION BY LIST (a); CREATE TABLE s.px PARTITION OF s.\"p q\" DEFAULT; INSERT INTO s.px SELECT i FROM generate_series(1, 5000) i");
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        let report = whole(&archive, &target, &in_one()).await;
        // With a page of the large object.
        assert_eq!(report.n_rows, 5004);
        assert!(!report.rolled_back && report.checked.unwrap().n_tables >= 3);
        assert_eq!(target.pg_dump(&[]), source.pg_dump(&[]), "{major}");

        let broken = broken().await;
        let mine = server.create_database("mine");
        mine.psql("CREATE TABLE good AS SELECT 'mine'::text AS a");
        let before = mine.pg_dump(&[]);
        // What was dropped first comes back too.
        let over = RestoreOptions {
            clean: true,
            ..in_one()
        };
        let report = run(&broken, &mine, &over).await.unwrap();
        assert!(report.rolled_back && !report.is_complete());
        assert_eq!(
            (report.n_entries, report.failed.len(), report.not_tried),
            (0, 1, 2)
        );
        assert_eq!(report.failed[0].object, "table public.bad");
        assert_eq!(mine.pg_dump(&[]), before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_stops_at_the_first_failure_if_it_is_told_to() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let broken = broken().await;
    let goes_on = server.create_database("goes_on");
    let report = run(&broken, &goes_on, &options()).await.unwrap();
    assert_eq!(
        (report.n_entries, report.failed.len(), report.not_tried),
        (3, 1, 0)
    );
    let stops = server.create_database("stops");
    let first = RestoreOptions {
        exit_on_error: true,
        ..options()
    };
    let report = run(&broken, &stops, &first).await.unwrap();
    assert_eq!(
        (report.n_entries, report.failed.len(), report.not_tried),
        (1, 1, 2)
    );
    assert!(!report.is_complete() && report.checked.is_none());
    assert_eq!(
        stops.psql("SELECT to_regclass('good'), to_regclass('late')"),
        "good|\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ways_that_exclude_each_other_are_refused_as_usage() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let archive = broken().await;
    let target = server.create_database("target");
    let with = |change: fn(&mut RestoreOptions)| {
        let mut options = options();
        change(&mut options);
        options
    };
    for (asked, wanted) in [
        (
            with(|o| (o.clean, o.create) = (true, true)),
            "has nothing to drop",
        ),
        (
            with(|o| (o.clean, o.selection.data_only) = (true, true)),
            "--clean drops tables",
        ),
        (
            with(|o| (o.single_transaction, o.create) = (true, true)),
            "inside a transaction",
        ),
        (with(|o| o.disable_triggers = true), "is for --data-only"),
        (
            with(|o| (o.selection.schema_only, o.selection.data_only) = (true, true)),
            "exclude each other",
        ),
    ] {
        let error = run(&archive, &target, &asked).await.unwrap_err();
        assert!(
            matches!(&error, pgark::Error::Usage(text) if text.contains(wanted)),
            "{error}"
        );
    }
}

/// Triggers in all four states, a circle of foreign keys, and a trigger of a partitioned table that one leaf has off.
const WITH_TRIGGERS: &str = "
CREATE SCHEMA s;
CREATE FUNCTION s.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'fired'; END$$;
CREATE TABLE s.a (id int PRIMARY KEY, b int, ok bool CHECK (ok)); CREATE TABLE s.b (id int PRIMARY KEY, a int REFERENCES s.a);
ALTER TABLE s.a ADD FOREIGN KEY (b) REFERENCES s.b;
INSERT INTO s.a VALUES (1, NULL, true); INSERT INTO s.b VALUES (7, 1); UPDATE s.a SET b = 7;
CREATE TRIGGER plain BEFORE INSERT ON s.a FOR EACH ROW EXECUTE FUNCTION s.refuse();
CREATE TRIGGER off BEFORE INSERT ON s.a FOR EACH ROW EXECUTE FUNCTION s.refuse(); ALTER TABLE s.a DISABLE TRIGGER off;
CREATE TRIGGER replica BEFORE INSERT ON s.a FOR EACH ROW EXECUTE FUNCTION s.refuse(); ALTER TABLE s.a ENABLE REPLICA TRIGGER replica;
CREATE TRIGGER always BEFORE INSERT ON s.a FOR EACH ROW EXECUTE FUNCTION s.refuse(); ALTER TABLE s.a ENABLE ALWAYS TRIGGER always;
CREATE TABLE s.p (k int) PARTITION BY LIST (k);
CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES IN (1); CREATE TABLE s.p2 PARTITION OF s.p FOR VALUES IN (2);
INSERT INTO s.p VALUES (1), (2);
CREATE TRIGGER each AFTER INSERT ON s.p FOR EACH ROW EXECUTE FUNCTION s.refuse();
ALTER TABLE s.p1 DISABLE TRIGGER each; ALTER TABLE s.p2 ENABLE ALWAYS TRIGGER each;";

const STATES: &str = "SELECT tgrelid::regclass, regexp_replace(tgname, '\\d+$', ''), tgenabled, count(*) FROM pg_trigger GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_that_were_switched_off_come_back_as_they_were() {
    for major in majors() {
        let server = Server::start(major);
        let source = server.create_database("source");
        source.psql(WITH_TRIGGERS);
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        whole(&archive, &target, &only_definitions()).await;
        // A foreign key that somebody has switched off stays so.
        target.psql("ALTER TABLE s.b DISABLE TRIGGER ALL");
        let before = target.psql(STATES);
        assert_eq!(before.matches("|A|").count(), 2, "{before}");

        // No order satisfies a circle.
        let error = refused(&archive, &target, &only_rows()).await;
        assert!(
            error.contains("table data s.a, table data s.b reference each other in a circle")
                && error.contains("--disable-triggers"),
            "{error}"
        );
        let off = RestoreOptions {
            disable_triggers: true,
            ..only_rows()
        };
        // A table that cannot be loaded has its triggers back too.
        target.psql("ALTER TABLE s.a ADD CHECK (id > 5)");
        let report = run(&archive, &target, &off).await.unwrap();
        assert_eq!(report.failed.len(), 1, "{report:#?}");
        assert_eq!(target.psql(STATES), before, "{major}");
        target.psql("TRUNCATE s.a, s.b, s.p; ALTER TABLE s.a DROP CONSTRAINT a_id_check");
        for via_root in [false, true] {
            let off = RestoreOptions {
                load_via_partition_root: via_root,
                ..off.clone()
            };
            let report = whole(&archive, &target, &off).await;
            assert_eq!(report.n_rows, 4);
            assert!(report.warnings.iter().any(|w| w.contains("is not checked")));
            assert_eq!(target.psql(STATES), before, "{major}, via root: {via_root}");
            target.psql("TRUNCATE s.a, s.b, s.p");
        }
        // Whoever is no superuser is told so.
        target.psql(&format!(
            "CREATE ROLE plain LOGIN; GRANT CREATE ON DATABASE \"{}\" TO plain; GRANT ALL ON SCHEMA s TO plain; ALTER TABLE s.a OWNER TO plain; GRANT SELECT ON ALL TABLES IN SCHEMA s TO plain",
            target.name()
        ));
        let plain = RestoreOptions {
            role: Some("plain".into()),
            ..off
        };
        let error = refused(&archive, &target, &plain).await;
        assert!(error.contains("needs a superuser here"), "{error}");
    }
}

const WITH_KEYS: &str = "
CREATE SCHEMA s;
CREATE TABLE s.z (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE s.z1 PARTITION OF s.z FOR VALUES FROM (0) TO (1000); CREATE TABLE s.z2 PARTITION OF s.z DEFAULT;
CREATE TABLE s.a_child (id int PRIMARY KEY REFERENCES s.z);
CREATE TABLE s.a_part (id int REFERENCES s.a_child) PARTITION BY LIST (id);
CREATE TABLE s.a_leaf PARTITION OF s.a_part DEFAULT;
CREATE TABLE s.selfie (id int PRIMARY KEY, up int REFERENCES s.selfie);
INSERT INTO s.z SELECT generate_series(1, 2000); INSERT INTO s.a_child SELECT generate_series(1, 2000);
INSERT INTO s.a_part SELECT generate_series(1, 2000); INSERT INTO s.selfie SELECT i, 2001 - i FROM generate_series(1, 2000) i;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_come_in_the_order_that_foreign_keys_ask_for() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        source.psql(WITH_KEYS);
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        whole(&archive, &target, &only_definitions()).await;
        let report = whole(&archive, &target, &only_rows()).await;
        assert_eq!((report.n_rows, report.n_tables), (8000, 5), "{major}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_through_the_root_where_their_partition_may_be_another() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        source.psql("CREATE TABLE p (k int, t text) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2); INSERT INTO p SELECT i % 2 + 1, i FROM generate_series(1, 1000) i");
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        whole(&archive, &target, &only_definitions()).await;
        target.psql("ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p DETACH PARTITION p2; ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (2); ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (1)");
        let report = run(&archive, &target, &only_rows()).await.unwrap();
        assert_eq!(report.failed.len(), 2, "{report:#?}");
        let routed = RestoreOptions {
            load_via_partition_root: true,
            ..only_rows()
        };
        let report = whole(&archive, &target, &routed).await;
        assert_eq!(report.checked.unwrap().n_tables, 1);
        assert_eq!(
            target.psql("SELECT DISTINCT k FROM p1; SELECT count(*) FROM p2"),
            "2\n500\n"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_encoding_or_collation_sends_rows_through_the_root_by_itself() {
    for major in majors() {
        let server = Server::shared(major);
        let postgres = server.create_database("postgres");
        let latin = format!("{}_latin", postgres.name());
        postgres.psql(&format!(
            "CREATE DATABASE {latin} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        let source = settings(&server.conninfo(&latin));
        let client = server.connect(&latin).await;
        client
            .batch_execute(
                "CREATE TABLE h (t text) PARTITION BY HASH (t); CREATE TABLE h0 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 0);
                 CREATE TABLE h1 PARTITION OF h FOR VALUES WITH (MODULUS 2, REMAINDER 1);
                 CREATE TABLE n (k int) PARTITION BY LIST (k); CREATE TABLE n1 PARTITION OF n DEFAULT; INSERT INTO n VALUES (1);
                 INSERT INTO h SELECT chr(233) || i FROM generate_series(1, 100) i",
            )
            .await
            .unwrap();
        drop(client);
        let archive = dump_to_memory(&source, &DumpOptions::default())
            .await
            .unwrap();
        postgres.psql(&format!("DROP DATABASE {latin}"));
        let target = server.create_database("utf8");
        let report = whole(&archive, &target, &options()).await;
        assert_eq!(report.n_rows, 101);
        assert!(
            report.warnings.iter().any(|warning| {
                warning.contains("encoding UTF8 instead of LATIN1")
                    && warning.contains("those of 1 partitioned table ")
            }),
            "{:?}",
            report.warnings
        );
        assert_eq!(
            target.psql("SELECT count(*) FROM h WHERE t LIKE 'é%'"),
            "100\n"
        );
    }
}

#[test]
fn the_program_says_what_it_did_and_what_it_undid() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let source = server.create_database("source");
    source.psql("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS a; CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT a FROM s.t'; CREATE UNIQUE INDEX u ON s.t (a)");
    let target = server.create_database("target");
    let repository = tempfile::tempdir().unwrap();
    let run = |verb: &str, database: &Database, arguments: &[&str]| {
        let mut command = pgark();
        command.arg(verb).arg("-r").arg(repository.path());
        command.args(["-d", &database.conninfo()]).args(arguments);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    assert_eq!(run("dump", &source, &[]).0, Some(0));
    let from = ["--from-database", source.name()];
    let restore = |more: &[&str]| run("restore", &target, &[&from, more].concat());

    let (code, text) = restore(&["--map-schema", "s=new"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("schema s is now new"), "{text}");
    assert!(
        text.contains("still names schema s: function new.f(): its body"),
        "{text}"
    );
    let (code, text) = restore(&["-t", "s.t", "--map-schema", "s=again"]);
    assert_eq!(code, Some(0), "{text}");
    // The table is in the way of nothing but is what is dropped the next time.
    target.psql("ALTER SCHEMA again RENAME TO s");
    let (code, text) = restore(&["-c", "--yes", "--if-exists", "-1", "-t", "s.t"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("dropped first: 2 objects: index s.t u, table s.t"),
        "{text}"
    );
    // An event trigger of the target's own makes the index fail.
    target.psql(
        "CREATE FUNCTION public.no() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no indexes here'; END$$;
         CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION public.no(); INSERT INTO s.t VALUES (2)",
    );
    let (code, text) = restore(&["-c", "--yes", "-1", "-t", "s.t"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("no indexes here") && text.contains("rolled back, nothing has changed"),
        "{text}"
    );
    assert_eq!(target.psql("SELECT count(*) FROM s.t"), "2\n");
    let (code, text) = restore(&["-c", "--yes", "-e", "-t", "s.t"]);
    assert_eq!(code, Some(3), "{text}");
    for wrong in [
        &["--if-exists"][..],
        &["-1", "-j", "2"],
        &["-c", "-C"],
        &["--map-role", "a"],
    ] {
        assert_eq!(restore(wrong).0, Some(2), "{wrong:?}");
    }
    target.psql("DROP EVENT TRIGGER no");
}
