//! The `pgark` program as users meet it: verbs, exit codes, messages, signals, pipes.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Database, Server, block_on, majors, pgark};

const VERBS: [&str; 21] = [
    "dump",
    "list",
    "show",
    "sql",
    "cat",
    "exec",
    "verify",
    "restore",
    "clone",
    "diff",
    "replicate",
    "keys",
    "prune",
    "doctor",
    "drill",
    "run",
    "schedule",
    "config",
    "init",
    "status",
    "report",
];

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// Runs a command that must end with `code`; returns its standard output and standard error.
#[track_caller]
fn ends_with(code: i32, command: &mut Command) -> (String, String) {
    let output = run(command);
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{}\n{}",
        texts[0],
        texts[1]
    );
    let [out, err] = texts;
    (out, err)
}

#[track_caller]
fn json(command: &mut Command) -> Value {
    let (out, _) = ends_with(0, command);
    serde_json::from_str(&out).unwrap()
}

/// A place for archives and files.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `pgark VERB -r <the place's repository>`
    fn pgark(&self, verb: &str) -> Command {
        let mut command = pgark();
        command.arg(verb).arg("-r").arg(self.path("repo"));
        command
    }

    fn on(&self, verb: &str, database: &Database) -> Command {
        let mut command = self.pgark(verb);
        command.args(["-d", &database.conninfo()]);
        command
    }
}

fn exec(database: &Database) -> Command {
    let mut command = pgark();
    command.args(["exec", "-d", &database.conninfo()]);
    command
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

#[test]
fn every_help_shows_examples() {
    for verb in VERBS {
        let (out, err) = ends_with(0, pgark().args([verb, "--help"]));
        assert!(
            out.contains("Examples:") && out.contains(&format!("pgark {verb}")),
            "{out}"
        );
        assert_eq!(err, "");
    }
    let (out, _) = ends_with(0, pgark().arg("--help"));
    for verb in VERBS {
        assert!(out.contains(&format!("  {verb} ")), "{out}");
    }
    let (out, _) = ends_with(0, pgark().arg("--version"));
    assert!(out.starts_with("pgark "), "{out}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let place = Place::new();
    for line in [
        &["dump", "--level", "20"][..],
        &["frobnicate"],
        &["dump", "-s", "-a"],
        &["exec", "-d", "x"],
        &["restore"],
        &["sql", "--inserts"],
        &["list", "-r", "ftp://bucket/prefix"],
        &["dump", "-d", "postgres://h/x?sslmode=maybe"],
        &["list", "-h", "server"],
    ] {
        let (out, err) = ends_with(2, pgark().args(line).current_dir(place.0.path()));
        assert_eq!(out, "", "{line:?}");
        assert!(!err.is_empty(), "{line:?}");
    }
    let (out, err) = ends_with(2, pgark().args(["dump", "--json", "--nonsense"]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["error"]["exit_code"], 2);
    assert_eq!(err, "");
    let (_, err) = ends_with(2, pgark().args(["list", "-r", "ftp://bucket"]));
    assert!(err.contains("s3://") && err.contains("folder"), "{err}");
}

#[test]
fn what_is_not_there_is_said_with_its_code() {
    let place = Place::new();
    for verb in ["list", "show", "verify", "sql"] {
        let (_, err) = ends_with(10, &mut place.pgark(verb));
        assert!(err.contains("repo"), "{err}");
    }
    let nowhere = "host=/nonexistent port=1 user=x dbname=y";
    let (_, err) = ends_with(13, pgark().args(["exec", "-c", "SELECT 1", "-d", nowhere]));
    assert!(
        err.contains("cannot connect") && err.contains("hint:"),
        "{err}"
    );
    let (_, err) = ends_with(
        1,
        pgark()
            .args(["exec", "-f", "/nonexistent/x.sql", "-d", nowhere])
            .env("PGCONNECT_TIMEOUT", "2"),
    );
    assert!(err.contains("/nonexistent/x.sql"), "{err}");
}

#[test]
fn exec_says_where_a_script_went_wrong() {
    for major in majors() {
        let server = Server::shared(major);
        let database = server.create_database("exec errors");
        let place = Place::new();
        let script = place.file(
            "a.sql",
            "SELECT 1;\n-- ä\nSELECT 'ü',\n  nonsense;\nSELECT 2;\n",
        );
        let (out, err) = ends_with(1, exec(&database).arg("-f").arg(&script));
        assert!(out.contains("(1 row)") && !out.contains('2'), "{out}");
        for part in [
            "a.sql, line 4, column 3",
            "SELECT 'ü', nonsense",
            "SQLSTATE: 42703",
            "nonsense\" does not exist",
        ] {
            assert!(err.contains(part), "{part}\n{err}");
        }
        assert_eq!(err.matches("does not exist").count(), 1, "{err}");

        let (_, err) = ends_with(
            1,
            exec(&database).args([
                "-c",
                "CREATE TABLE t (a int CHECK (a > 0)); INSERT INTO t VALUES (-1)",
            ]),
        );
        assert!(err.contains("DETAIL: Failing row contains (-1)"), "{err}");
        let script = place.file("b.sql", "COPY t FROM stdin;\n1\nx\n\\.\n");
        let (_, err) = ends_with(1, exec(&database).arg("-f").arg(&script));
        assert!(
            err.contains("b.sql, line 1") && err.contains("COPY t, line 2"),
            "{err}"
        );
        let script = place.file("c.sql", "SELECT 1;\n\\connect other\n");
        let (_, err) = ends_with(1, exec(&database).arg("-f").arg(&script));
        assert!(
            err.contains("c.sql, line 2") && err.contains("\\connect"),
            "{err}"
        );
        let script = place.file("d.sql", "COPY t FROM stdin;\n1\n");
        let (_, err) = ends_with(1, exec(&database).arg("-f").arg(&script));
        assert!(err.contains("has no end"), "{err}");
        assert_eq!(database.psql("SELECT count(*) FROM t"), "0\n");

        let (out, _) = ends_with(1, exec(&database).args(["--json", "-c", "SELECT 1/0"]));
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["error"]["sqlstate"], "22012");
        assert_eq!(value["error"]["exit_code"], 1);

        let missing = server.conninfo("no_such_database");
        let (_, err) = ends_with(13, pgark().args(["exec", "-c", "SELECT 1", "-d", &missing]));
        assert!(err.contains("3D000"), "{err}");
        let no_password = database.tcp_conninfo().replace("password=pgark", "");
        let (_, err) = ends_with(
            13,
            pgark().args(["exec", "-c", "SELECT 1", "-d", &no_password]),
        );
        assert!(err.contains("password"), "{err}");
        let wrong = database
            .tcp_conninfo()
            .replace("password=pgark", "password=s3cr3t");
        let (_, err) = ends_with(13, pgark().args(["exec", "-c", "SELECT 1", "-d", &wrong]));
        assert!(!err.contains("s3cr3t"), "{err}");
    }
}

#[test]
fn exec_runs_files_commands_and_standard_input_in_order() {
    for major in majors() {
        let database = Server::shared(major).create_database("exec");
        let place = Place::new();
        let script = place.file(
            "a.sql",
            "COPY t (a) FROM stdin;\n1\n2\n\\.\nINSERT INTO t VALUES (3)",
        );
        let value = json(
            exec(&database)
                .args(["--json", "-c", "CREATE TABLE t (a int, b text)", "-f"])
                .arg(&script)
                .args(["-c", "SELECT a, b FROM t ORDER BY a DESC LIMIT 1"]),
        );
        assert_eq!(value["statements"], 4);
        assert_eq!(value["copied_rows"], 2);
        assert_eq!(
            value["results"][0]["columns"],
            serde_json::json!(["a", "b"])
        );
        assert_eq!(
            value["results"][0]["rows"],
            serde_json::json!([["3", null]])
        );

        let (out, _) = ends_with(0, exec(&database).args(["-c", "COPY t (a) TO STDOUT"]));
        assert_eq!(out, "1\n2\n3\n");
        let (out, err) = ends_with(
            0,
            exec(&database).args([
                "-q",
                "-c",
                "SELECT 1; DO $$BEGIN RAISE NOTICE 'hello; you'; END$$",
            ]),
        );
        assert_eq!(out, "");
        assert!(err.contains("NOTICE:  hello; you"), "{err}");

        ends_with(
            1,
            exec(&database).args(["-1", "-c", "INSERT INTO t VALUES (4)", "-c", "SELECT 1/0"]),
        );
        assert_eq!(database.psql("SELECT max(a) FROM t"), "3\n");
        ends_with(
            0,
            exec(&database).args(["-1", "-c", "INSERT INTO t VALUES (4)", "-c", "SELECT 1"]),
        );
        assert_eq!(database.psql("SELECT max(a) FROM t"), "4\n");

        let input =
            std::fs::File::open(place.file("in.sql", "INSERT INTO t VALUES (5);\n")).unwrap();
        let status = exec(&database)
            .args(["-f", "-"])
            .stdin(input)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(database.psql("SELECT max(a) FROM t"), "5\n");
    }
}

/// The whole way of a database with nearly everything in it. Its roles are the cluster's, hence a server of its own.
#[test]
fn the_shop_goes_everywhere_and_stays_the_same() {
    for major in majors() {
        let server = Server::start(major);
        let place = Place::new();
        let shop = server.create_database("shop");
        ends_with(
            0,
            exec(&shop)
                .arg("-q")
                .arg("-f")
                .arg(fixture("shop/01-schema.sql"))
                .arg("-f")
                .arg(fixture("shop/02-generate.sql"))
                .args(["-c", "CALL shop_admin.generate(1)"]),
        );
        let dumped = shop.pg_dump(&[]);
        let plain = place.file("pg_dump.sql", &dumped);
        let by_pg_dump = server.create_database("by pg_dump");
        ends_with(0, exec(&by_pg_dump).args(["-q", "-f"]).arg(&plain));
        assert!(
            by_pg_dump.pg_dump(&[]) == dumped,
            "PostgreSQL {major}: pg_dump's script"
        );

        let (out, err) = ends_with(0, place.on("dump", &shop).args(["--name", "one"]));
        assert!(
            out.starts_with("one: ") && out.contains(" rows, ") && out.contains(" new) in "),
            "{out}"
        );
        assert_eq!(err, "");
        let planned = json(place.on("dump", &shop).args(["--plan", "--json"]));
        assert!(planned["tables"].as_array().unwrap().len() > 50);
        lists_and_shows(&place, &shop);

        for (name, options) in [
            ("as copy", &["--data"][..]),
            ("as inserts", &["--data", "--inserts"]),
        ] {
            let file = place.path("shop.sql");
            ends_with(0, place.pgark("sql").args(options).arg("-f").arg(&file));
            let target = server.create_database(name);
            ends_with(0, exec(&target).args(["-q", "-1", "-f"]).arg(&file));
            assert!(target.pg_dump(&[]) == dumped, "PostgreSQL {major}: {name}");
        }
        let target = server.create_database("by psql");
        target.psql_file(&place.path("shop.sql"));
        assert!(target.pg_dump(&[]) == dumped, "PostgreSQL {major}: psql");

        let (_, err) = ends_with(10, &mut place.on("restore", &target));
        assert!(
            err.contains(shop.name()) && err.contains("--from-database"),
            "{err}"
        );
        let target = server.create_database("restored");
        let (out, _) = ends_with(
            0,
            place.on("restore", &target).args([
                "--from-database",
                shop.name(),
                "--check",
                "content",
            ]),
        );
        assert!(out.starts_with("one → "), "{out}");
    }
}

fn lists_and_shows(place: &Place, shop: &Database) {
    let listed = json(place.pgark("list").arg("--json"));
    let first = &listed.as_array().unwrap()[0];
    let document = include_str!("../../docs/json.md");
    for field in [
        "name",
        "location",
        "group",
        "scope",
        "created",
        "database",
        "tables",
        "rows",
        "raw_bytes",
        "stored_bytes",
        "new_bytes",
        "verified",
        "drilled",
    ] {
        assert!(first.get(field).is_some(), "{field}: {first}");
        assert!(
            document.contains(&format!("`{field}`")),
            "{field} is not in docs/json.md"
        );
    }
    assert_eq!(first["database"], shop.name());
    assert_eq!(first["verified"], Value::Null);
    let verified = json(place.pgark("verify").arg("--json"));
    assert_eq!(verified["findings"], serde_json::json!([]));
    let listed = json(place.pgark("list").arg("--json"));
    assert!(listed[0]["verified"].is_string());
    let shown = json(place.pgark("show").args(["on", "--json"]));
    assert_eq!(shown["name"], "one");
    assert_eq!(shown["rows"], first["rows"]);
    let (text, _) = ends_with(0, place.pgark("show").arg("-v"));
    assert!(text.contains("sales.orders"), "{text}");
}

#[test]
fn names_cannot_break_out_of_a_script() {
    let evil = "a\n\\! touch pwned\nDROP TABLE kept; --\r\u{1b}[2J";
    for major in majors() {
        let server = Server::shared(major);
        let (source, target) = (
            server.create_database("evil"),
            server.create_database("evil copy"),
        );
        block_on(source.batch(&format!(
            "CREATE TABLE kept (a int); CREATE TABLE \"{evil}\" (\"{evil}\" text DEFAULT '{evil}'); \
             INSERT INTO \"{evil}\" VALUES (E'tab\\t, line\\n, back\\\\slash, \\\\.'), (NULL), ('{evil}'); \
             COMMENT ON TABLE \"{evil}\" IS '{evil}'"
        )));
        let place = Place::new();
        ends_with(0, &mut place.on("dump", &source));
        let file = place.path("evil.sql");
        for options in [&["--data"][..], &["--data", "--inserts"]] {
            ends_with(0, place.pgark("sql").args(options).arg("-f").arg(&file));
            let text = std::fs::read_to_string(&file).unwrap();
            let comments = text.lines().filter(|line| line.starts_with("-- "));
            assert!(
                comments
                    .clone()
                    .any(|line| line.contains("\\n\\\\! touch pwned\\nDROP"))
                    || comments.clone().any(|line| line.contains("touch pwned")),
                "{text}"
            );
            for by_psql in [false, true] {
                block_on(target.batch("DROP SCHEMA public CASCADE; CREATE SCHEMA public"));
                if by_psql {
                    target.psql_file(&file);
                } else {
                    ends_with(0, exec(&target).args(["-q", "-f"]).arg(&file));
                }
                let rows = format!("SELECT * FROM public.\"{evil}\"");
                assert_eq!(target.psql(&rows), source.psql(&rows));
                assert_eq!(target.psql("SELECT count(*) FROM public.kept"), "0\n");
            }
        }
        let (text, _) = ends_with(0, place.pgark("show").arg("-v"));
        assert!(
            !text.contains('\u{1b}') && !text.contains("\nDROP"),
            "{text}"
        );
    }
}

#[test]
fn damage_and_incomplete_restores_have_codes_of_their_own() {
    for major in majors() {
        let server = Server::shared(major);
        let (source, target) = (
            server.create_database("codes"),
            server.create_database("codes copy"),
        );
        // The first row found the table empty; an index that is built later does not.
        block_on(source.batch(
            "CREATE TABLE t (a int); \
             CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN \
             IF EXISTS (SELECT FROM public.t) THEN RAISE ''too late''; END IF; RETURN 1; END'; \
             CREATE INDEX t_f ON t (f(a)); INSERT INTO t VALUES (1)",
        ));
        let place = Place::new();
        ends_with(0, place.on("dump", &source).args(["--name", "codes"]));
        let (out, err) = ends_with(3, place.on("restore", &target).arg("codes"));
        assert!(
            err.contains("failed: index public.t") && out.contains("1 object failed"),
            "{out}{err}"
        );

        let chunks = walk(&place.path("repo/chunks"));
        let mut bytes = std::fs::read(&chunks[0]).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&chunks[0], bytes).unwrap();
        let (out, _) = ends_with(11, &mut place.pgark("verify"));
        assert!(out.contains("DAMAGED") && out.contains("chunks/"), "{out}");
        let (out, _) = ends_with(11, place.pgark("verify").args(["codes", "--json"]));
        let value: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["archives"][0]["whole"], false);
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let Some(&major) = majors().first() else {
        return;
    };
    let database = Server::shared(major).create_database("pipe");
    let line = "SELECT repeat('x', 1000) FROM generate_series(1, 5000)";
    let mut child = exec(&database)
        .args(["-c", line])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn a_signal_ends_the_work_on_the_server_too() {
    for major in majors() {
        let database = Server::shared(major).create_database("signal");
        for signal in ["INT", "TERM"] {
            let mut child = exec(&database)
                .args(["-c", "SELECT pg_sleep(100)"])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%(100)%' \
                           AND pid <> pg_backend_pid() AND state = 'active'";
            let until = |wanted: &str| {
                let began = Instant::now();
                while database.psql(running) != wanted {
                    assert!(
                        began.elapsed() < Duration::from_secs(20),
                        "not {wanted} of {running}"
                    );
                    std::thread::sleep(Duration::from_millis(50));
                }
            };
            until("1\n");
            let began = Instant::now();
            let killed = Command::new("kill")
                .args(["-s", signal, &child.id().to_string()])
                .status()
                .unwrap();
            assert!(killed.success());
            let status = child.wait().unwrap();
            assert!(
                began.elapsed() < Duration::from_secs(2),
                "{:?}",
                began.elapsed()
            );
            assert_eq!(status.code(), Some(130));
            let mut err = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut err)
                .unwrap();
            assert_eq!(err, "cancelled\n");
            until("0\n");
        }
    }
}

#[test]
fn what_does_not_move_is_given_up_loudly_and_leaves_nothing_on_the_server() {
    let database = Server::shared(majors()[0]).create_database("stalled");
    block_on(database.batch("CREATE TABLE t (i int); INSERT INTO t VALUES (1)"));
    let mut holder = exec(&database)
        .args([
            "-c",
            "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)",
        ])
        .spawn()
        .unwrap();
    let locked = "SELECT count(*) > 0 FROM pg_locks WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'";
    becomes(&database, locked, "t");
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let mut dump = pgark();
    dump.args([
        "dump",
        "--stall-timeout",
        "2s",
        "-d",
        &database.conninfo(),
        "-r",
    ]);
    let (_, err) = ends_with(1, dump.arg(folder.path()));
    let took = began.elapsed();
    assert!((2..15).contains(&took.as_secs()), "{took:?}");
    assert!(
        err.contains("nothing has moved for 2.0 s: phase catalog"),
        "{err}"
    );
    assert!(err.contains("pg_locks"), "{err}");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgark dump%'";
    becomes(&database, left, "0");
    Command::new("kill")
        .arg(holder.id().to_string())
        .status()
        .unwrap();
    holder.wait().unwrap();
    let mut dump = pgark();
    dump.args([
        "dump",
        "--stall-timeout",
        "1min",
        "-d",
        &database.conninfo(),
        "-r",
    ]);
    ends_with(0, dump.arg(folder.path()));
}

#[test]
fn an_interrupted_dump_leaves_no_session_no_lease_and_no_archive() {
    let database = Server::shared(majors()[0]).create_database("interrupted");
    block_on(
        database.batch("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100)"),
    );
    for signal in ["INT", "TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let mut dump = pgark();
        dump.args([
            "dump",
            "--where",
            "t=pg_sleep(10) IS NOT NULL",
            "-d",
            &database.conninfo(),
            "-r",
        ]);
        let mut child = dump
            .arg(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%'";
        becomes(&database, running, "1");
        let files =
            |kind: &str| std::fs::read_dir(folder.path().join(kind)).map_or(0, Iterator::count);
        assert_eq!(files("leases"), 1);
        let began = Instant::now();
        let pid = child.id().to_string();
        Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        assert_eq!((files("leases"), files("archives")), (0, 0));
        let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgark%'";
        becomes(&database, left, "0");
    }
}

#[test]
fn an_interrupted_restore_leaves_no_session() {
    let server = Server::shared(majors()[0]);
    let database = server.create_database("to_interrupt");
    // Slow for a restore alone.
    block_on(database.batch(
        "CREATE FUNCTION slow(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_setting('application_name') LIKE 'pgark restore%' THEN PERFORM pg_catalog.pg_sleep(30); END IF;
             RETURN i;
         END $$;
         CREATE TABLE t (i int);
         INSERT INTO t VALUES (1);
         CREATE INDEX t_slow ON t (slow(i))",
    ));
    let folder = tempfile::tempdir().unwrap();
    let program = |verb: &str, database: &Database| {
        let mut command = pgark();
        command
            .args([verb, "-d", &database.conninfo(), "-r"])
            .arg(folder.path());
        command
    };
    ends_with(0, &mut program("dump", &database));
    for signal in ["INT", "TERM"] {
        let target = server.create_database("interrupted");
        let mut restore = program("restore", &target);
        restore.args(["--from-database", database.name()]);
        let mut child = restore.stderr(Stdio::piped()).spawn().unwrap();
        let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        becomes(&target, running, "1");
        let began = Instant::now();
        let pid = child.id().to_string();
        Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgark%'";
        becomes(&target, left, "0");
    }
}

/// Waits until a query has this answer.
fn becomes(database: &Database, question: &str, wanted: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while database.psql(question).trim() != wanted {
        assert!(Instant::now() < until, "{question} is not {wanted}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
