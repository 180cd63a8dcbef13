//! Drills: what they find, what they measure and put on record, and that nothing of them stays, whatever ends them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pgark::archive::records::{Depth, Drilled};
use pgark::archive::{Archive, Repository};
use pgark::config::SqlCheck;
use pgark::dump::DumpOptions;
use pgark::pg::session::Interpose;
use pgark::progress::Silent;
use pgark::store::{MemoryStore, Store};
use pgark::{DrillOptions, Error, drill};
use serde_json::{Value, json};

use crate::archives::HandMade;
use crate::round_trip::{dump_to_memory, settings};
use crate::support::{Database, Server, majors, output_of, pgark};

fn options() -> DrillOptions {
    DrillOptions {
        jobs: 2,
        ..DrillOptions::default()
    }
}

fn check(sql: &str, expect: &str) -> SqlCheck {
    SqlCheck {
        name: format!("about {expect}"),
        sql: sql.to_owned(),
        expect: expect.to_owned(),
    }
}

async fn drilled(archive: &Archive, server: &Server, options: &DrillOptions) -> Drilled {
    let settings = settings(&server.conninfo("postgres"));
    let drilled = drill(archive, &settings, options, Arc::new(Silent)).await;
    drilled.unwrap()
}

/// The scratch databases of the server, those of tests beside this one included.
async fn scratches(server: &Server) -> Vec<String> {
    let client = server.connect("postgres").await;
    let sql = r"SELECT datname::text FROM pg_database WHERE datname LIKE 'pgark\_drill\_%'";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn assert_gone(server: &Server, drilled: &Drilled) {
    assert!(drilled.scratch.starts_with("pgark_drill_"), "{drilled:#?}");
    let left = scratches(server).await;
    assert!(!left.contains(&drilled.scratch), "{left:?}");
}

async fn recorded(archive: &Archive) -> Vec<Drilled> {
    archive.repository().drills(10).await.unwrap()
}

async fn stamp(repository: &Repository) -> Option<Depth> {
    let listed = repository.archives().await.unwrap();
    listed[0].verified.as_ref().map(|verified| verified.depth)
}

/// A database with a key, an index and three rows.
async fn small(server: &Server) -> Database {
    let database = server.create_database("drilled");
    database
        .batch(
            "CREATE TABLE public.orders (id int PRIMARY KEY, note text, day date);
             INSERT INTO public.orders VALUES (1, 'one', '2026-11-01'), (2, NULL, '2026-11-02'), (3, 'three', '2026-11-03');
             CREATE INDEX ON public.orders (day)",
        )
        .await;
    database
}

async fn archive_of(database: &Database) -> Archive {
    let source = settings(&database.conninfo());
    dump_to_memory(&source, &DumpOptions::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_that_passes_restores_compares_asks_and_proves_the_archive() {
    for major in majors() {
        let server = Server::shared(major);
        let database = small(&server).await;
        database
            .batch(&format!(
                "ALTER DATABASE {} SET default_transaction_read_only = on",
                database.name()
            ))
            .await;
        let archive = archive_of(&database).await;
        let options = DrillOptions {
            rto: Some(Duration::from_secs(600)),
            job: Some("nightly".to_owned()),
            checks: vec![
                check("SELECT count(*) FROM orders;", "3"),
                check("SELECT max(day) FROM orders", "2026-11-03"),
                check("SELECT note FROM orders WHERE id = 2", "NULL"),
                check("VALUES (true)", "t"),
                check(
                    "WITH o AS (SELECT 1) SELECT 'a = b' FROM o -- why not",
                    "a = b",
                ),
            ],
            ..options()
        };
        let done = drilled(&archive, &server, &options).await;
        assert_eq!(done.problems, [""; 0], "{done:#?}");
        assert!(done.passed() && done.checks.iter().all(|check| check.passed));
        assert_eq!((done.n_tables, done.n_rows, done.n_compared), (1, 3, 1));
        assert_eq!(
            (done.rto_ms, done.job.as_deref()),
            (Some(600_000), Some("nightly"))
        );
        assert!(done.total_ms >= done.restore_ms && done.restore_ms > 0 && done.n_objects > 2);
        assert!(
            done.server_version.starts_with(&major.to_string()),
            "{}",
            done.server_version
        );
        let phases: Vec<&str> = done
            .phases
            .iter()
            .map(|phase| phase.name.as_str())
            .collect();
        for phase in [
            "scratch database",
            "verify",
            "rows and indexes",
            "check",
            "checks",
        ] {
            assert!(phases.contains(&phase), "{phases:?}");
        }
        assert_gone(&server, &done).await;
        let on_record = recorded(&archive).await;
        // What follows the writing, dropping the database, is on record too.
        assert_eq!(on_record, [done]);
        assert_eq!(stamp(archive.repository()).await, Some(Depth::Full));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_differ_and_a_missed_objective_fail_a_drill() {
    for major in majors() {
        let server = Server::shared(major);
        let archive = archive_of(&small(&server).await).await;
        let options = DrillOptions {
            rto: Some(Duration::from_millis(1)),
            check_timeout: Duration::from_millis(200),
            checks: vec![
                check("SELECT count(*) FROM orders", "4"),
                check("SELECT id FROM orders", "1"),
                check("SELECT id FROM orders WHERE false", "1"),
                check("SELECT id, day FROM orders WHERE id = 1", "1"),
                check("SELECT 1; DROP TABLE orders", "1"),
                check("DELETE FROM orders RETURNING 1", "1"),
                check("SELECT nextval('pg_catalog.pg_class')", "1"),
                check("SELECT id FROM orders FOR UPDATE", "1"),
                check("SELECT pg_sleep(30)", ""),
                check("SELECT pg_terminate_backend(pg_backend_pid())", "t"),
                check("SELECT count(*) FROM orders", "3"),
            ],
            ..options()
        };
        let done = drilled(&archive, &server, &options).await;
        let got: Vec<&str> = done.checks.iter().map(|check| check.got.as_str()).collect();
        assert_eq!(
            got[..4],
            ["3", "(more than one row)", "(no row)", "(2 columns)"]
        );
        for (at, words) in [
            (4, "multiple commands"),
            (5, "syntax error"),
            (6, "pg_class"),
            (7, "read-only transaction"),
            (8, "statement timeout"),
        ] {
            assert!(got[at].contains(words), "{words}: {}", got[at]);
        }
        // The last one passes, on a connection made anew.
        let passed: Vec<bool> = done.checks.iter().map(|check| check.passed).collect();
        assert_eq!(passed.iter().filter(|passed| **passed).count(), 1);
        assert!(passed[10]);
        assert_eq!(done.problems.len(), 11, "{:#?}", done.problems);
        assert!(done.problems[0].contains("longer than the recovery time objective"));
        assert!(done.problems[1].contains("expected \"4\", got \"3\""));
        assert_gone(&server, &done).await;
        assert!(!recorded(&archive).await[0].passed());
        // The rows are proved all the same.
        assert_eq!(stamp(archive.repository()).await, Some(Depth::Full));
        let none = DrillOptions {
            checks: vec![check(" ", "1")],
            ..options
        };
        let target = settings(&server.conninfo("postgres"));
        let error = drill(&archive, &target, &none, Arc::new(Silent))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
    }
}

fn form(sql: &str) -> Value {
    json!({"forms": [{"steps": [{"sql": [sql]}]}]})
}

/// An archive of one table whose rows come back changed, because a trigger changes them, and of whatever `more` adds.
async fn tampered(more: impl FnOnce(&mut HandMade)) -> Archive {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut made = HandMade::new(store).await;
    made.entry("function", "public.f()", "pre_data", &form("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x := 0; RETURN NEW; END'"));
    let table = made.entry("table", "public.t", "pre_data", &json!({"forms": [{"steps": [{"sql": [
        "CREATE TABLE public.t (x int)", "CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f()"]}]}]}));
    let data =
        json!({"data": {"of": "table", "target": "public.t", "table": table}, "needs": [table]});
    let rows = made.entry("table data", "public.t", "data", &data);
    made.rows(rows, &["x"], &["1\n2\n".into()]).await;
    more(&mut made);
    made.finish("tampered").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_differ_and_objects_that_fail_fail_a_drill() {
    for major in majors() {
        let server = Server::shared(major);
        let archive = tampered(|made| {
            made.entry(
                "view",
                "public.v",
                "post_data",
                &form("CREATE VIEW public.v AS SELECT no_such_column"),
            );
        })
        .await;
        let done = drilled(&archive, &server, &options()).await;
        let all = done.problems.join("\n");
        assert!(
            all.contains("view public.v was not restored: column \"no_such_column\""),
            "{all}"
        );
        assert!(
            all.contains("table data public.t differs: archived "),
            "{all}"
        );
        assert_eq!(done.problems.len(), 2);
        assert_gone(&server, &done).await;
        assert_eq!(recorded(&archive).await, [done]);
        assert_eq!(stamp(archive.repository()).await, None);

        let archive = tampered(|made| {
            made.entry(
                "extension",
                "nobody_has_it",
                "pre_data",
                &form("CREATE EXTENSION nobody_has_it"),
            );
        })
        .await;
        let done = drilled(&archive, &server, &options()).await;
        let words = "extension \"nobody_has_it\" is not available on the server";
        assert!(done.problems[0].contains(words), "{done:#?}");
        assert_gone(&server, &done).await;
    }
}

/// A defect of the program, at the first COPY.
struct Defect;

#[async_trait]
impl Interpose for Defect {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        assert!(!statement.starts_with("COPY "), "a defect");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_that_cannot_end_well_is_on_record_and_leaves_nothing() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let archive = archive_of(&small(&server).await).await;
    let here = settings(&server.conninfo("postgres"));
    let defective = here.with_interpose(Arc::new(Defect));
    let done = drill(&archive, &defective, &options(), Arc::new(Silent))
        .await
        .unwrap();
    assert!(!done.passed(), "{done:#?}");
    assert_gone(&server, &done).await;

    let nobody = settings("host=/nowhere port=1 user=postgres dbname=postgres");
    let done = drill(&archive, &nobody, &options(), Arc::new(Silent))
        .await
        .unwrap();
    assert!(
        done.problems[0].starts_with("cannot connect to "),
        "{:?}",
        done.problems
    );
    assert_eq!(done.server, "/nowhere:1");

    // A damaged archive, too.
    let chunk = archive
        .repository()
        .store()
        .list("chunks")
        .await
        .unwrap()
        .pop()
        .unwrap();
    let store = archive.repository().store();
    store.delete(&chunk.key).await.unwrap();
    let done = drilled(&archive, &server, &options()).await;
    assert!(!done.passed());
    assert_eq!(recorded(&archive).await.len(), 3);
    assert_eq!(stamp(archive.repository()).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scratch_database_is_kept_on_request_and_then_nobody_drops_it() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let archive = archive_of(&small(&server).await).await;
    let keep = DrillOptions {
        keep: true,
        ..options()
    };
    let kept = drilled(&archive, &server, &keep).await;
    assert!(kept.passed(), "{kept:#?}");
    let other = drilled(&archive, &server, &options()).await;
    let about_it = |note: &&String| note.contains(&kept.scratch);
    assert_eq!(other.notes.iter().find(about_it), None);
    let client = server.connect("postgres").await;
    assert!(scratches(&server).await.contains(&kept.scratch));
    let drop = format!("DROP DATABASE {}", kept.scratch);
    client.batch_execute(&drop).await.unwrap();
}

/// The same archive as of another cluster: those of a test have one identifier, because they are copies of one template.
async fn from_elsewhere(archive: &Archive) -> Archive {
    let mut manifest = archive.manifest().clone();
    manifest.name = "elsewhere".parse().unwrap();
    "1".clone_into(&mut manifest.source.system_identifier);
    archive.repository().commit(&manifest).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_lacks_roles_and_tablespaces_and_the_drill_says_so() {
    for major in majors() {
        let start = || Server::start_with(major, &[("allow_in_place_tablespaces", "on")]);
        let (home, away) = (start(), start());
        let database = small(&home).await;
        let directory = tempfile::tempdir().unwrap();
        let tablespace = if major.number() >= 15 {
            ""
        } else {
            directory.path().to_str().unwrap()
        };
        database
            .batch("CREATE ROLE \"shop owner\"; CREATE ROLE reader; CREATE ROLE gone")
            .await;
        database.psql(&format!("CREATE TABLESPACE fast LOCATION '{tablespace}'"));
        database
            .batch(
                "CREATE TABLE owned (a int) TABLESPACE fast; INSERT INTO owned VALUES (1); ALTER TABLE owned OWNER TO \"shop owner\";
                 GRANT SELECT ON owned TO reader; ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
                 CREATE POLICY p ON owned TO reader USING (a > 0);
                 ALTER DEFAULT PRIVILEGES FOR ROLE \"shop owner\" GRANT SELECT ON TABLES TO reader;
                 CREATE TABLE left_alone (a int); ALTER TABLE left_alone OWNER TO gone",
            )
            .await;
        database
            .batch(&format!("CREATE SUBSCRIPTION sub_{0} CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)", database.name()))
            .await;
        let archive = archive_of(&database).await;
        let done = drilled(&from_elsewhere(&archive).await, &away, &options()).await;
        assert_eq!(done.problems, [""; 0], "{done:#?}");
        let notes = done.notes.join("\n");
        for words in [
            "lacks its roles \"gone\", \"reader\", \"shop owner\"",
            "went to \"postgres\"",
            "lacks its tablespace \"fast\"",
            "subscriptions were left out (1)",
        ] {
            assert!(notes.contains(words), "{words}: {notes}");
        }
        assert_eq!(done.n_compared, 3);
        assert_gone(&away, &done).await;
        // Nothing came into being beside the scratch database.
        let client = away.connect("postgres").await;
        let sql = "SELECT (SELECT count(*) FROM pg_roles WHERE oid >= 16384) + (SELECT count(*) FROM pg_subscription)";
        assert_eq!(
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
            0
        );
        // At home a role that is missing would be missing on the day it counts.
        database.batch("DROP OWNED BY gone; DROP ROLE gone").await;
        let done = drilled(&archive, &home, &options()).await;
        assert!(
            done.problems[0].contains("role \"gone\" does not exist"),
            "{done:#?}"
        );
        assert_gone(&home, &done).await;
    }
}

/// A folder for a repository and a configuration.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn repo(&self) -> PathBuf {
        self.0.path().join("repo")
    }

    fn pgark(&self, verb: &str) -> Command {
        let mut command = pgark();
        command.arg(verb).arg("-r").arg(self.repo());
        command.stdin(Stdio::null());
        command
    }

    fn drill(&self, server: &Server) -> Command {
        let mut command = self.pgark("drill");
        command.args(["-d", &server.conninfo("postgres"), "-j2"]);
        command
    }

    /// A drill that sleeps in its check, and its scratch database.
    async fn sleeping(&self, server: &Server) -> (Child, String) {
        let before = scratches(server).await;
        let mut command = self.drill(server);
        command.args(["--check", "sleep: SELECT pg_sleep(60) = x"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'FETCH%' AND state = 'active' AND datname = $1";
        let client = server.connect("postgres").await;
        until(async || {
            for name in scratches(server).await {
                let n: i64 = client.query_one(asleep, &[&name]).await.unwrap().get(0);
                if n > 0 && !before.contains(&name) {
                    return Some(name);
                }
            }
            None
        })
        .await
        .map(|name| (child, name))
        .unwrap()
    }
}

/// What `look` finds at last; `None` after half a minute.
async fn until<T>(look: impl AsyncFn() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(30) {
        if let Some(found) = look().await {
            return Some(found);
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    None
}

fn signal(child: &Child, name: &str) {
    output_of(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]));
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_drill_is_cleaned_up_by_the_next_and_a_living_one_is_left_alone() {
    for major in majors() {
        let server = Server::start(major);
        let place = Place::new();
        let database = small(&server).await;
        output_of(place.pgark("dump").args(["-d", &database.conninfo()]));
        let client = server.connect("postgres").await;
        client
            .batch_execute("CREATE DATABASE pgark_drill_mine")
            .await
            .unwrap();

        // A living one is not touched, and one without a mark neither.
        let (mut first, scratch) = place.sleeping(&server).await;
        let beside = json_of(&output_of(place.drill(&server).arg("--json")));
        assert_eq!(beside["passed"], true, "{beside}");
        let notes = beside["notes"].to_string();
        assert!(
            notes.contains("pgark_drill_mine") && !notes.contains(&scratch),
            "{notes}"
        );
        assert!(scratches(&server).await.contains(&scratch));

        // Interrupted, it drops its database itself, and leaves no record.
        signal(&first, "INT");
        assert_eq!(first.wait().unwrap().code(), Some(130));
        let gone = async |name: &str| {
            let left = scratches(&server).await;
            (!left.iter().any(|one| one == name)).then_some(())
        };
        assert!(
            until(async || gone(&scratch).await).await.is_some(),
            "{scratch} stays"
        );

        // Killed, it cannot.
        let (mut second, scratch) = place.sleeping(&server).await;
        signal(&second, "KILL");
        second.wait().unwrap();
        let unlocked = async || {
            let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
            let n: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
            (n == 0).then_some(())
        };
        assert!(
            until(unlocked).await.is_some(),
            "the lock of a killed drill stays"
        );
        assert!(scratches(&server).await.contains(&scratch));
        let next = place.drill(&server).output().unwrap();
        let said =
            String::from_utf8(next.stdout).unwrap() + &String::from_utf8(next.stderr).unwrap();
        assert!(next.status.success(), "{said}");
        let words = format!(
            "dropped the scratch database {scratch} that an earlier drill had left (archive "
        );
        assert!(
            said.contains(&words) && said.contains(&format!("process {} on ", second.id())),
            "{said}"
        );
        assert_eq!(scratches(&server).await, ["pgark_drill_mine"]);
        let shown = json_of(&output_of(place.pgark("show").arg("--json")));
        assert_eq!(shown["drills"].as_array().unwrap().len(), 2, "{shown}");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Four times a year, as a job of the configuration: into a database of its own, integrity verified, results documented.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarterly_drill_goes_into_a_separate_database_is_verified_and_documented() {
    let Some(major) = majors().pop() else { return };
    let server = Server::start(major);
    let shop = server.create_database("shop");
    let place = Place::new();
    let mut fill = pgark();
    fill.args(["exec", "-d", &shop.conninfo(), "-f"])
        .arg(fixture("shop/01-schema.sql"));
    fill.arg("-f").arg(fixture("shop/02-generate.sql"));
    output_of(fill.args(["-c", "CALL shop_admin.generate(30)"]));
    let before = shop.pg_dump(&["--schema-only"]);
    output_of(
        place
            .pgark("dump")
            .args(["-d", &shop.conninfo(), "--name", "quarter"]),
    );
    let config = place.0.path().join("pgark.toml");
    let text = format!(
        r#"
[[repository]]
name = "local"
place = "{repo}"

[[job]]
name = "shop"
source = "{source}"
repository = "local"
[job.drill]
schedule = "0 4 1 1,4,7,10 *"
server = "{server}"
rto = "15min"
[[job.drill.check]]
name = "orders"
sql = "SELECT count(*) > 1000 FROM sales.orders"
expect = "t"
"#,
        repo = place.repo().display(),
        source = shop.conninfo(),
        server = server.conninfo("postgres"),
    );
    std::fs::write(&config, text).unwrap();
    let mut command = pgark();
    command
        .args(["drill", "quarter", "--job", "shop", "--config"])
        .arg(&config);
    let report = output_of(command.args([
        "--check",
        "nobody: SELECT count(*) FROM sales.orders WHERE false = 0",
    ]));
    for words in [
        "drill of quarter passed\n",
        "(objective 15 min 0 s: met)",
        "check     orders: t, as expected",
        "check     nobody: 0, as expected",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    let record = report
        .lines()
        .find_map(|line| line.trim().strip_prefix("record"))
        .unwrap()
        .trim();
    let sealed = std::fs::read_to_string(record).unwrap();
    let kept: Drilled = serde_json::from_str(sealed.lines().next().unwrap()).unwrap();
    assert!(kept.passed() && kept.raw_bytes > 20_000_000, "{kept:#?}");
    assert_eq!(
        (kept.job.as_deref(), kept.rto_ms),
        (Some("shop"), Some(900_000))
    );
    assert!(
        kept.n_compared > 10 && kept.n_compared <= kept.n_tables,
        "{kept:#?}"
    );
    println!("{report}");

    // The database itself is as before, and nothing stays beside it.
    assert_eq!(scratches(&server).await, [""; 0]);
    assert_eq!(shop.pg_dump(&["--schema-only"]), before);

    let listed = json_of(&output_of(place.pgark("list").arg("--json")));
    assert_eq!(listed[0]["drilled"]["passed"], true);
    assert_eq!(listed[0]["verified"], listed[0]["drilled"]["at"]);
    let table = output_of(&mut place.pgark("list"));
    assert!(table.contains("DRILLED"), "{table}");
    let shown = output_of(&mut place.pgark("show"));
    assert!(shown.contains(": passed, restored in "), "{shown}");

    // One that does not pass ends with 16, and the list says so.
    let failed = place
        .drill(&server)
        .args(["--json", "--rto", "1s", "--check", "x: SELECT 1 = 2"])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(16));
    let failed = json_of(&String::from_utf8(failed.stdout).unwrap());
    assert_eq!(failed["passed"], false, "{failed}");
    assert_eq!(failed["checks"][0]["got"], "1");
    let table = output_of(&mut place.pgark("list"));
    assert!(table.contains("failed 20"), "{table}");

    // A record that was changed is noticed.
    let changed = sealed.replace("\"problems\":[]", "\"problems\":[ ]");
    assert_ne!(changed, sealed);
    std::fs::remove_file(record).unwrap();
    std::fs::write(record, changed).unwrap();
    let verified = place.pgark("verify").output().unwrap();
    assert_eq!(verified.status.code(), Some(11));
    let said =
        String::from_utf8(verified.stdout).unwrap() + &String::from_utf8(verified.stderr).unwrap();
    assert!(said.contains("records/drill-"), "{said}");
}

#[test]
fn a_drill_asks_for_a_server_and_a_job_that_has_one() {
    let place = Place::new();
    let config = place.0.path().join("pgark.toml");
    let text = "[[repository]]\nname = \"r\"\nplace = \"repo\"\n[[job]]\nname = \"shop\"\nsource = \"shop\"\nrepository = \"r\"\n";
    std::fs::write(&config, text).unwrap();
    for (arguments, words) in [
        (&["drill"][..], "say with -d on which server"),
        (&["drill", "--job", "shop"], "has no drill"),
        (&["drill", "--job", "other"], "no job \"other\""),
        (
            &["drill", "-d", "x", "--check", "SELECT 1"],
            "NAME: SQL = VALUE",
        ),
        (
            &["drill", "-d", "x", "--check-file", "/nowhere"],
            "checks /nowhere",
        ),
    ] {
        let ended = pgark()
            .args(arguments)
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(words), "{said}");
    }
}
