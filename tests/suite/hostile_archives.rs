//! Archives that somebody made to harm: no script of them runs a program, nothing of them reaches a terminal as anything but text,
//! and one that is not trusted is restored by nobody with rights beyond the database.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use pgark::pg::pin::{DumpPins, pin_dump_session};
use pgark::pg::session::Interpose;
use pgark::store::LocalStore;
use pgark::{DumpOptions, Error, RestoreOptions, Selection};
use serde_json::{Value, json};

use crate::archives::HandMade;
use crate::round_trip::{dump_to_memory, run, settings};
use crate::support::{Database, Server, block_on, majors, oracle, pgark};

/// A repository with archives made by hand.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        Site {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// What a program that was run leaves behind.
    fn mark(&self) -> PathBuf {
        self.dir.path().join("MARK")
    }

    fn touch(&self) -> String {
        format!("\\! touch {}", self.mark().display())
    }

    /// An archive of one table `public.t` with these rows, whose definition is these statements.
    fn archive(&self, name: &str, statements: &[&str], rows: &str) {
        block_on(async {
            let mut made =
                HandMade::new(Arc::new(LocalStore::create(self.repo()).await.unwrap())).await;
            let forms: Value = json!({"forms": [{"steps": [{"sql": statements}]}]});
            let table = made.entry("table", "public.t", "pre_data", &forms);
            let data = json!({"data": {"of": "table", "target": "public.t", "table": table}, "needs": [table]});
            let data = made.entry("table data", "public.t", "data", &data);
            made.rows(data, &["x"], &[rows.to_owned()]).await;
            made.finish(name).await;
        });
    }

    fn pgark(&self, arguments: &[&str]) -> Output {
        let mut command = pgark();
        command.args(arguments).arg("-r").arg(self.repo());
        command.stdin(Stdio::null()).output().unwrap()
    }
}

/// Feeds a script to psql, which goes on after errors.
fn psql(script: &[u8], database: &Database) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let mut psql = Command::new(oracle("psql"));
    psql.args(["-X", "-q", "-d", &database.conninfo(), "-f"]);
    psql.arg(file.path()).stdin(Stdio::null());
    psql.output().unwrap();
}

const TABLE: &str = "CREATE TABLE public.t (x text)";

#[test]
fn no_script_makes_psql_run_a_program() {
    let database = Server::shared(*majors().last().unwrap()).create_database("script");
    let site = Site::new();
    let touch = site.touch();
    let hostile = [
        format!("{TABLE}\n{touch}"),
        format!("{TABLE}; {touch}"),
        format!("{TABLE} {touch}\n"),
        format!(
            "COMMENT ON TABLE public.t IS 'it''s' \\g |touch {}",
            site.mark().display()
        ),
        format!("COPY public.t FROM stdin;\n1\n\\.\n{touch}"),
        format!("SELECT 'open\n{touch}"),
        format!("\\unrestrict x\n{touch}"),
    ];
    for (i, statement) in hostile.iter().enumerate() {
        let name = format!("statement-{i}");
        site.archive(&name, &[TABLE, statement], "1\n");
        let output = site.pgark(&["sql", &name, "--data"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{statement}: {said}");
        assert!(said.contains("is no SQL for a script"), "{said}");
        psql(&output.stdout, &database);
        assert!(!site.mark().exists(), "{statement}");
    }
    // Rows that end the rows.
    for (i, rows) in [
        format!("1\n\\.\n{touch}\n"),
        format!("\\.\r\n{touch}\n"),
        format!("\\.\n{touch}\n"),
    ]
    .iter()
    .enumerate()
    {
        let name = format!("rows-{i}");
        site.archive(&name, &[TABLE], rows);
        let output = site.pgark(&["sql", &name, "--data"]);
        assert_eq!(output.status.code(), Some(11), "{rows:?}: {output:?}");
        psql(&output.stdout, &database);
        let inserts = site.pgark(&["sql", &name, "--data", "--inserts"]);
        psql(&inserts.stdout, &database);
        assert!(!site.mark().exists(), "{rows:?}");
    }
}

#[test]
fn what_only_psql_would_take_for_a_command_is_stopped_by_psql() {
    let database = Server::shared(*majors().last().unwrap()).create_database("restrict");
    let site = Site::new();
    // With the setting off the backslash takes the quote with it, and the rest is no text any more.
    let off = "SET standard_conforming_strings = off";
    let text = format!("SELECT '\\'' {}'", site.touch().replace("MARK", "MARK #"));
    site.archive("setting", &[TABLE, off, &text], "1\n");
    let output = site.pgark(&["sql", "setting"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let script = String::from_utf8(output.stdout).unwrap();
    let key = script
        .lines()
        .next()
        .unwrap()
        .strip_prefix("\\restrict ")
        .unwrap();
    assert!(
        key.len() == 32 && script.contains(&format!("\n\\unrestrict {key}\n")),
        "{script}"
    );
    psql(script.as_bytes(), &database);
    assert!(!site.mark().exists());
    // The test bites: without the line psql obeys.
    let open = site.pgark(&["sql", "setting", "--no-restrict"]).stdout;
    assert!(!open.starts_with(b"\\restrict"));
    psql(&open, &database);
    assert!(site.mark().exists());
    let other = site.pgark(&["sql", "setting"]).stdout;
    assert_ne!(
        String::from_utf8(other).unwrap().lines().next(),
        script.lines().next()
    );
}

#[test]
fn what_looks_like_commands_in_names_comments_and_rows_comes_through_as_it_is() {
    let server = Server::shared(*majors().last().unwrap());
    let (source, target) = (
        server.create_database("names"),
        server.create_database("names_back"),
    );
    let site = Site::new();
    let mark = site.mark().display().to_string();
    source.psql(&format!(
        "CREATE TABLE \"t\n\\! touch {mark}\n--\" (\"c'\\\" text);
         COMMENT ON TABLE \"t\n\\! touch {mark}\n--\" IS E'*/ $$ \\\\\\n\\\\! touch {mark}\\n\\\\.\\n';
         INSERT INTO \"t\n\\! touch {mark}\n--\" VALUES (E'\\\\.'), (E'\\\\! touch {mark}'), (E'a\\n\\\\.\\n\\\\! touch {mark}');
         CREATE FUNCTION f() RETURNS text LANGUAGE sql AS E'SELECT $x$\\n\\\\! touch {mark}\\n$x$::text';"
    ));
    let dumped = site.pgark(&["dump", "-d", &source.conninfo(), "--name", "n"]);
    assert!(dumped.status.success(), "{dumped:?}");
    for form in [&["--data"][..], &["--data", "--inserts"]] {
        target.psql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        let output = site.pgark(&[&["sql", "n", "-O", "-x"], form].concat());
        assert!(output.status.success(), "{output:?}");
        psql(&output.stdout, &target);
        let rows = format!(
            "SELECT string_agg(\"c'\\\", '|' ORDER BY 1), obj_description('\"t\n\\! touch {mark}\n--\"'::regclass), f() FROM \"t\n\\! touch {mark}\n--\""
        );
        assert_eq!(target.psql(&rows), source.psql(&rows), "{form:?}");
        assert!(!site.mark().exists(), "{form:?}");
    }
}

/// Moves the cursor, sets the window's title, clears, turns the direction; two of them as one character each.
const ESCAPES: &str = "\u{1b}]0;pwned\u{7}\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\rx";

fn assert_only_text(said: &[u8], what: &str) {
    let said = String::from_utf8_lossy(said);
    let is_bad = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}')
    };
    let bad = said.chars().find(|c| is_bad(*c));
    assert_eq!(bad, None, "{what}: {said:?}");
}

#[test]
fn nothing_reaches_a_terminal_but_text() {
    let database = Server::shared(*majors().last().unwrap()).create_database("terminal");
    let site = Site::new();
    block_on(async {
        for name in ["one", "two"] {
            let store = LocalStore::create(site.repo()).await.unwrap();
            let mut made = HandMade::new(Arc::new(store)).await;
            let forms = json!({"forms": [{"lost": ESCAPES, "steps": [{"sql": [format!("CREATE {ESCAPES}")]}]}],
                "after": [{"part": "comment", "sql": format!("COMMENT {ESCAPES}")}],
                "owner": {"role": ESCAPES, "target": format!("TABLE {ESCAPES}")}, "tablespace": ESCAPES});
            let table = made.named(&format!("table {ESCAPES}"), ESCAPES, "pre_data", &forms);
            let data = json!({"data": {"of": "table", "target": format!("\"{ESCAPES}\""), "table": table}, "needs": [table]});
            let data = made.named("table data", ESCAPES, "data", &data);
            let rows = format!("{name}{}\n", ESCAPES.replace('\r', ""));
            made.rows(data, &[ESCAPES], &[rows]).await;
            made.finish(name).await;
        }
    });
    let into = database.conninfo();
    let page = site.dir.path().join("page.html").display().to_string();
    for arguments in [
        &["list"][..],
        &["show", "one"],
        &["show", "one", "--list"],
        &["diff", "one", "two"],
        &["verify", "--all"],
        &["restore", "one", "-d", &into],
        &["restore", "one", "-d", &into, "-O", "--no-tablespaces"],
        &["cat", "one", ESCAPES],
        &["show", ESCAPES],
        &["sql", "one", "-f", &format!("{page}{}", &ESCAPES[1..5])],
        &["doctor", "-d", &into],
        &["report", "-o", &page],
        &[
            "exec",
            "-d",
            &into,
            "-c",
            "DO $$ BEGIN RAISE WARNING E'\\x1b[2J\\u009b'; RAISE EXCEPTION E'\\x1b[2J\\u202e' USING DETAIL = E'\\x07', HINT = E'\\x1b'; END $$",
        ],
    ] {
        for json in [&[][..], &["--json"]] {
            let arguments = [arguments, json].concat();
            let output = site.pgark(&arguments);
            let what = format!("{arguments:?}");
            let is_silent = output.stdout.is_empty() && output.stderr.is_empty();
            assert!(!is_silent || arguments[0] == "sql", "{what}");
            assert_only_text(&output.stderr, &what);
            assert_only_text(&output.stdout, &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_not_trusted_runs_with_no_rights_beyond_the_database() {
    for major in majors() {
        let server = Server::shared(major);
        let (source, target) = (
            server.create_database("untrusted"),
            server.create_database("untrusted_into"),
        );
        source.psql("CREATE TABLE t (a int); INSERT INTO t SELECT i % 3 FROM generate_series(1, 3000) i; ANALYZE t;
                     CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE)");
        let role = format!("pgark_untrusted_{}", target.name());
        target.psql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'pgark'; ALTER DATABASE {0} OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}", target.name()
        ));
        let selection = Selection {
            statistics: true,
            ..Selection::default()
        };
        let dumped = DumpOptions {
            selection,
            ..DumpOptions::default()
        };
        let archive = dump_to_memory(&settings(&source.conninfo()), &dumped)
            .await
            .unwrap();
        let entries = archive.entries().await.unwrap();
        let labels: Vec<&str> = entries.iter().map(|entry| entry.label.as_str()).collect();
        assert!(
            labels.contains(&"planner statistics") && labels.contains(&"subscription"),
            "{labels:?}"
        );

        let mut options = RestoreOptions {
            untrusted: true,
            ..RestoreOptions::default()
        };
        options
            .selection
            .omit
            .insert(pgark::selection::Omit::Owners);
        let refused = run(&archive, &target, &options).await.unwrap_err();
        assert!(matches!(&refused, Error::Refused { .. }), "{refused}");
        assert!(
            refused.to_string().contains("is a superuser")
                || format!("{refused:?}").contains("is a superuser")
        );
        // Taking on a lesser role is no remedy: the archive could leave it again.
        let lesser = RestoreOptions {
            role: Some(role.clone()),
            ..options.clone()
        };
        let refused = run(&archive, &target, &lesser).await.unwrap_err();
        assert!(
            format!("{refused:?}").contains("is a superuser"),
            "{refused:?}"
        );
        assert_eq!(
            target.psql("SELECT count(*) FROM pg_class WHERE relname = 't'"),
            "0\n"
        );

        let owner = target
            .tcp_conninfo()
            .replace("user=postgres", &format!("user={role}"));
        let report = pgark::restore(
            &archive,
            &settings(&owner),
            &options,
            Arc::new(pgark::progress::Silent),
        )
        .await
        .unwrap();
        assert!(report.is_complete(), "{report:#?}");
        assert_eq!(target.psql("SELECT count(*), (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()) FROM t"), "3000|0\n");
        // Collected here, not brought.
        assert_eq!(
            target.psql("SELECT count(*) FROM pg_stats WHERE tablename = 't'"),
            "1\n"
        );
        assert!(
            !report
                .warnings
                .iter()
                .any(|text| text.contains("statistics")),
            "{:?}",
            report.warnings
        );

        target.psql(&format!(
            "DROP TABLE t; GRANT pg_execute_server_program TO {role}"
        ));
        let refused = pgark::restore(
            &archive,
            &settings(&owner),
            &options,
            Arc::new(pgark::progress::Silent),
        )
        .await
        .unwrap_err();
        assert!(
            format!("{refused:?}").contains("is a member of pg_execute_server_program"),
            "{refused:?}"
        );
        source.psql("DROP SUBSCRIPTION s");
        target.psql(&format!(
            "REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}"
        ));
    }
}

/// A view in the place of a table, whose function must not run.
const TRAP: &str = "
CREATE FUNCTION trap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'THE TRAP RAN'; END $$;
CREATE VIEW swapped AS SELECT trap() AS id;";

#[tokio::test]
async fn a_dump_session_reads_no_view_of_anybody() {
    for major in majors() {
        let database = Server::shared(major).create_database("views");
        database.psql(TRAP);
        let session = pgark::pg::connect(&settings(&database.conninfo()), "test")
            .await
            .unwrap();
        let pins = pin_dump_session(session.version(), &DumpPins::default());
        session.pin(&pins).await.unwrap();
        let read = session
            .simple("the test", "reading", "SELECT id FROM public.swapped")
            .await;
        let told = format!("{:?}", read.unwrap_err());
        assert!(
            told.contains("non-system view") && !told.contains("THE TRAP RAN"),
            "{major}: {told}"
        );
        // What the dump itself asks is of the system.
        session
            .simple(
                "the test",
                "reading",
                "SELECT count(*) FROM pg_catalog.pg_tables",
            )
            .await
            .unwrap();
        session.close().await;
    }
}

/// Puts the view in the table's place before the first lock.
struct Swap {
    client: tokio_postgres::Client,
    done: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl Interpose for Swap {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        if statement.starts_with("LOCK TABLE") && !self.done.swap(true, SeqCst) {
            let swap =
                "ALTER TABLE swapped RENAME TO away; CREATE VIEW swapped AS SELECT trap() AS id";
            self.client.batch_execute(swap).await.unwrap();
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_view_that_takes_a_tables_place_during_a_dump_is_not_run() {
    for major in majors() {
        let database = Server::shared(major).create_database("swapped");
        database.psql("CREATE TABLE swapped AS SELECT 1 AS id; CREATE FUNCTION trap() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'THE TRAP RAN'; END $$");
        let swap = Arc::new(Swap {
            client: database.connect().await,
            done: false.into(),
        });
        let from =
            settings(&database.conninfo()).with_interpose(Arc::clone(&swap) as Arc<dyn Interpose>);
        let archive = dump_to_memory(&from, &DumpOptions::default()).await;
        assert!(swap.done.load(std::sync::atomic::Ordering::SeqCst));
        // The dump begins anew and finds a view, whose definition it saves and whose rows it does not read.
        let entries = archive.unwrap().entries().await.unwrap();
        let of_view: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.name.name == "swapped")
            .map(|entry| entry.label.as_str())
            .collect();
        assert_eq!(of_view, ["view"], "{major}");
    }
}
