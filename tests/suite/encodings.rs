//! Encodings: databases without one, whose text is bytes; databases in another than UTF-8; rows that the target's cannot
//! hold; and settings of databases and roles that must not show in what is saved.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use pgark::archive::Archive;
use pgark::dump::DumpOptions;
use pgark::error::Error;
use pgark::progress::Silent;
use pgark::restore::{Check, RestoreOptions, RestoreReport, restore};
use pgark::selection::{Omit, Selection};
use pgark::toc::Stage;

use crate::round_trip::{dump_to_memory, settings};
use crate::support::pair::assert_whole;
use crate::support::{Database, Server, majors, oracle, pgark};

const WITHOUT: &str = "ENCODING 'SQL_ASCII' LOCALE 'C'";

/// The fixture's bytes.
fn fixture() -> Vec<u8> {
    let text = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/sql_ascii.sql"
    ));
    with_bytes(&text.unwrap())
}

fn with_bytes(text: &[u8]) -> Vec<u8> {
    let bytes = text
        .iter()
        .map(|byte| if *byte == b'@' { 0xE9 } else { *byte });
    bytes.collect()
}

fn run_bytes(database: &Database, script: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    database.psql_file(file.path());
}

/// What `pg_dump` says, in the database's own bytes.
fn raw_dump(database: &Database) -> Vec<u8> {
    let mut command = Command::new(oracle("pg_dump"));
    command.args(["--restrict-key=pgark", "-d", &database.conninfo()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn assert_same_bytes(source: &Database, target: &Database) {
    let (left, right) = (raw_dump(source), raw_dump(target));
    let lines = |text: &[u8]| -> Vec<String> {
        text.split(|byte| *byte == b'\n')
            .map(|line| line.escape_ascii().to_string())
            .collect()
    };
    // The lines first, because their difference can be read.
    assert_eq!(lines(&left), lines(&right));
    assert_eq!(left, right);
}

fn options() -> RestoreOptions {
    RestoreOptions {
        jobs: 3,
        check: Check::Content,
        ..RestoreOptions::default()
    }
}

async fn restored(
    archive: &Archive,
    target: &Database,
    options: &RestoreOptions,
) -> pgark::Result<RestoreReport> {
    restore(
        archive,
        &settings(&target.conninfo()),
        options,
        Arc::new(Silent),
    )
    .await
}

async fn dumped(source: &Database) -> Archive {
    let options = DumpOptions {
        jobs: 3,
        ..DumpOptions::default()
    };
    let archive = dump_to_memory(&settings(&source.conninfo()), &options).await;
    archive.unwrap_or_else(|error| panic!("dump of {}: {error:#?}", source.conninfo()))
}

/// A cluster with a role and a database that have the byte E9 in every name.
fn with_fixture(server: &Server) -> Database {
    let source = server.create_database_with("bytes", WITHOUT);
    run_bytes(&source, &with_bytes(b"CREATE ROLE \"r@\";"));
    run_bytes(&source, &fixture());
    source
}

fn findings(outcome: pgark::Result<RestoreReport>) -> Vec<String> {
    match outcome {
        Err(Error::Refused { findings, .. }) => findings,
        other => panic!("not refused: {other:#?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_without_an_encoding_come_back_in_every_name_text_and_row() {
    for major in majors() {
        let servers = [Server::start(major), Server::start(major)];
        let source = with_fixture(&servers[0]);
        let archive = dumped(&source).await;
        assert_eq!(archive.manifest().features, ["escaped_bytes"]);
        let target = servers[1].create_database_with("bytes", WITHOUT);
        run_bytes(&target, &with_bytes(b"CREATE ROLE \"r@\";"));
        let report = restored(&archive, &target, &options()).await.unwrap();
        assert_whole("bytes", &report);
        assert_same_bytes(&source, &target);
        // Names and values as the server has them, whatever a program makes of them.
        let hex = "SELECT pg_catalog.encode(pg_catalog.convert_to(x, 'SQL_ASCII'), 'hex') FROM
            (SELECT relname::text FROM pg_class WHERE oid >= 16384 AND relname !~ '^pg_toast' UNION ALL SELECT enumlabel FROM pg_enum
             UNION ALL SELECT prosrc FROM pg_proc WHERE oid >= 16384 UNION ALL SELECT description FROM pg_description WHERE objoid >= 16384 OR objoid = 4711
             UNION ALL SELECT rolname FROM pg_roles WHERE oid >= 16384) AS names(x) ORDER BY 1";
        let (left, right) = (source.psql(hex), target.psql(hex));
        assert!(left.contains("e9"), "{left}");
        assert_eq!(left, right);
        let lo = "SELECT pg_catalog.encode(pg_catalog.lo_get(4711), 'hex')";
        assert_eq!(target.psql(lo).trim(), "ffe9c3a900");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_without_an_encoding_go_through_a_script_too() {
    for major in majors() {
        let server = Server::start(major);
        let source = with_fixture(&server);
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repo");
        run_pgark(&repository, &["dump", "-d", &source.conninfo()]);
        let shown = run_pgark(&repository, &["show"]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("s\\xE9.t\\xE9"), "{shown}");
        let json = run_pgark(&repository, &["show", "--json"]);
        let json = String::from_utf8(json.stdout).unwrap();
        assert!(json.contains(r#""s\\xE9.t\\xE9""#), "{json}");
        for inserts in [&[][..], &["--inserts"]] {
            let file = folder.path().join("script.sql");
            let file = file.to_str().unwrap();
            run_pgark(
                &repository,
                &[&["sql", "--data", "-f", file], inserts].concat(),
            );
            let by_psql = server.create_database_with("psql", WITHOUT);
            by_psql.psql_file(Path::new(file));
            assert_same_bytes(&source, &by_psql);
            let by_exec = server.create_database_with("exec", WITHOUT);
            run_pgark(
                &repository,
                &["exec", "-q", "-d", &by_exec.conninfo(), "-f", file],
            );
            assert_same_bytes(&source, &by_exec);
        }
    }
}

fn run_pgark(repository: &Path, args: &[&str]) -> Output {
    let output = pgark()
        .env("PGARK_REPO", repository)
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_become_characters_only_when_it_is_said_what_they_are() {
    for major in majors() {
        let server = Server::start(major);
        let source = with_fixture(&server);
        let archive = dumped(&source).await;
        let utf8 = server.create_database_with("utf8", "ENCODING 'UTF8' LOCALE 'C'");
        let undeclared = findings(restored(&archive, &utf8, &options()).await);
        let [finding] = undeclared.as_slice() else {
            panic!("{undeclared:#?}")
        };
        for text in [
            "41 objects hold bytes",
            "schema s\\xE9, ",
            "--text-encoding",
        ] {
            assert!(finding.contains(text), "{text} is not in {finding}");
        }
        let declare = |encoding: &str| RestoreOptions {
            text_encoding: Some(encoding.to_owned()),
            ..options()
        };
        let wrong = findings(restored(&archive, &utf8, &declare("EUC_JP")).await);
        assert!(
            wrong
                .iter()
                .any(|one| one.contains("bytes that are no EUC_JP")),
            "{wrong:?}"
        );
        let no_role = findings(restored(&archive, &utf8, &declare("latin1")).await);
        assert!(
            no_role[0].contains("role \"ré\" does not exist"),
            "{no_role:?}"
        );
        for bad in ["SJIS", "SQL_ASCII", "nonsense"] {
            let refused = restored(&archive, &utf8, &declare(bad)).await;
            assert!(
                matches!(refused, Err(Error::Usage(_))),
                "{bad}: {refused:?}"
            );
        }
        let without = server.create_database_with("without", WITHOUT);
        let useless = findings(restored(&archive, &without, &declare("LATIN1")).await);
        assert!(
            useless
                .iter()
                .any(|one| one.contains("leave --text-encoding out")),
            "{useless:?}"
        );

        utf8.psql("CREATE ROLE \"ré\"");
        let report = restored(&archive, &utf8, &declare("latin1")).await.unwrap();
        assert_whole("declared", &report);
        let names = utf8.psql(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'sé' AND relkind = 'r' ORDER BY 1",
        );
        assert_eq!(names, "fké\nidentityé\npart1é\nté\n");
        let value = utf8.psql("SELECT \"vé\" FROM \"sé\".\"té\" WHERE \"eé\" = 'plain'");
        assert_eq!(value, "valid Ã© and ô\u{8f}¿© and \u{80}ÿ\n");
        assert!(utf8.psql("SELECT \"sé\".\"fé\"()").contains("bodyéaé"));
        // And on into an encoding of one byte, where the bytes are the source's again.
        let latin1 = server.create_database_with("latin1", "ENCODING 'LATIN1' LOCALE 'C'");
        let report = restored(&archive, &latin1, &declare("LATIN1"))
            .await
            .unwrap();
        assert_whole("declared", &report);
        let md5 = with_bytes(
            b"SELECT md5(string_agg(convert_to(x, getdatabaseencoding())::text, ',' ORDER BY x COLLATE \"C\"))
              FROM (SELECT \"v@\" FROM \"s@\".\"t@\") AS t(x)",
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), md5).unwrap();
        assert_eq!(latin1.psql_file(file.path()), source.psql_file(file.path()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_another_databases_encoding_is_named_before_the_first_change() {
    for major in majors() {
        let server = Server::start(major);
        let other = server.create_database_with("other", WITHOUT);
        run_bytes(&other, &with_bytes(b"CREATE ROLE \"r@\";"));
        let source = server.create_database_with("source", "ENCODING 'UTF8'");
        source.psql(
            "CREATE TABLE t AS SELECT 1 AS i;
             UPDATE pg_class SET relowner = (SELECT max(oid) FROM pg_roles) WHERE relname = 't'",
        );
        let archive = dumped(&source).await;
        let target = server.create_database_with("target", "ENCODING 'UTF8'");
        let found = findings(restored(&archive, &target, &options()).await);
        assert!(
            found[0].contains("table public.t (r\\xE9)") && found[0].contains("--no-owner"),
            "{found:?}"
        );
        let no_owner = RestoreOptions {
            selection: Selection::default().without([Omit::Owners, Omit::Privileges]),
            ..options()
        };
        let report = restored(&archive, &target, &no_owner).await.unwrap();
        assert_whole("no owner", &report);
        // A cluster whose names have any bytes can give them to a database that takes them.
        let bytes = server.create_database_with("target", WITHOUT);
        let report = restored(&archive, &bytes, &options()).await.unwrap();
        assert_whole("bytes", &report);
        let owner =
            "SELECT pg_catalog.encode(pg_catalog.convert_to(rolname::text, 'SQL_ASCII'), 'hex')
                     FROM pg_roles r JOIN pg_class c ON c.relowner = r.oid WHERE c.relname = 't'";
        assert_eq!(bytes.psql(owner).trim(), "72e9");
    }
}

/// Text that the encoding has, in names and rows; read as UTF-8 by whoever asks.
fn text_of(encoding: &str) -> &'static str {
    match encoding {
        "EUC_JP" => "日本語",
        "WIN1252" => "café €",
        _ => "café ÿ",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_in_other_encodings_go_to_utf8_and_back() {
    for major in majors() {
        let server = Server::shared(major);
        for encoding in ["LATIN1", "WIN1252", "EUC_JP"] {
            let own = format!("ENCODING '{encoding}' LOCALE 'C'");
            let source = server.create_database_with("own", &own);
            let x = text_of(encoding);
            let script = format!(
                "SET client_encoding = 'UTF8';
                 CREATE SCHEMA \"s {x}\";
                 CREATE TABLE \"s {x}\".\"t {x}\" (id serial PRIMARY KEY, \"c {x}\" text DEFAULT 'd {x}' CHECK (\"c {x}\" <> 'no {x}'));
                 COMMENT ON TABLE \"s {x}\".\"t {x}\" IS 'comment {x}';
                 INSERT INTO \"s {x}\".\"t {x}\" (\"c {x}\") SELECT 'row {x} \\ ' || i FROM generate_series(1, 500) i;
                 CREATE FUNCTION \"s {x}\".f() RETURNS text LANGUAGE sql AS $$ SELECT 'body {x}' $$;
                 CREATE TABLE public.plain AS SELECT 'x {x}' AS x;"
            );
            run_bytes(&source, script.as_bytes());
            let archive = dumped(&source).await;
            assert_eq!(archive.manifest().source.encoding, encoding);
            assert!(archive.manifest().features.is_empty(), "{encoding}");
            let utf8 = server.create_database_with("utf8", "ENCODING 'UTF8' LOCALE 'C'");
            let report = restored(&archive, &utf8, &options()).await.unwrap();
            assert_whole(encoding, &report);
            let dump = |database: &Database| database.pg_dump(&["-E", "UTF8"]);
            assert!(dump(&utf8).contains(&format!("row {x} \\\\ 500")));
            assert_eq!(dump(&source), dump(&utf8), "{encoding}");
            let back = server.create_database_with("back", &own);
            let report = restored(&dumped(&utf8).await, &back, &options())
                .await
                .unwrap();
            assert_whole(encoding, &report);
            assert_eq!(raw_dump(&source), raw_dump(&back), "{encoding}");

            // The scripts of one will do.
            if encoding != "EUC_JP" {
                continue;
            }
            let folder = tempfile::tempdir().unwrap();
            let repository = folder.path().join("repo");
            run_pgark(&repository, &["dump", "-d", &source.conninfo()]);
            for inserts in [&[][..], &["--inserts"]] {
                let file = folder.path().join("script.sql");
                let file = file.to_str().unwrap();
                run_pgark(
                    &repository,
                    &[&["sql", "--data", "-f", file], inserts].concat(),
                );
                let target = server.create_database_with("script", "ENCODING 'UTF8' LOCALE 'C'");
                target.psql_file(Path::new(file));
                assert_eq!(dump(&source), dump(&target), "{encoding} {inserts:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_encoding_cannot_hold_are_left_out_by_name() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database_with("source", "ENCODING 'UTF8' LOCALE 'C'");
        source.psql(
            "CREATE TABLE many (id int PRIMARY KEY, x text);
             INSERT INTO many SELECT i, CASE WHEN i % 500 = 7 THEN E'€\\t' || i ELSE repeat('ä', 400) || i END FROM generate_series(1, 6000) i;
             CREATE TABLE wide (id int, x text);
             INSERT INTO wide VALUES (1, repeat('ä', 9000000)), (2, repeat('ä', 9000000) || '€'), (3, 'fine'), (4, '日本');
             CREATE TABLE small (x text PRIMARY KEY);
             INSERT INTO small VALUES ('a'), ('€ first'), ('b');
             CREATE TABLE refers (id int REFERENCES many);
             INSERT INTO refers VALUES (1);
             COMMENT ON TABLE small IS 'for €';
             CREATE TABLE \"€\" (i int);
             COMMENT ON INDEX small_pkey IS '€ too'",
        );
        let target = server.create_database_with("target", "ENCODING 'LATIN1' LOCALE 'C'");
        let archive = dumped(&source).await;
        let report = restored(&archive, &target, &options()).await.unwrap();
        assert!(!report.is_complete());
        let left: Vec<(&str, u64)> = report
            .left_out
            .iter()
            .map(|table| (&*table.object, table.n_rows))
            .collect();
        let expected = [
            ("table data public.many", 12),
            ("table data public.small", 1),
            ("table data public.wide", 2),
        ];
        assert_eq!(left, expected);
        let many = &report.left_out[0].rows;
        assert_eq!(
            (many[1].segment, many[1].line, &*many[1].begins),
            (0, 507, "507")
        );
        assert!(many[1].message.contains("0xe2 0x82 0xac"), "{many:?}");
        assert_eq!(report.left_out[1].rows[0].begins, "€ first");
        assert_eq!(
            target.psql("SELECT count(*), count(*) FILTER (WHERE id % 500 = 7) FROM many"),
            "5988|0\n"
        );
        assert_eq!(
            target.psql("SELECT id, length(x) FROM wide ORDER BY id"),
            "1|9000000\n3|4\n"
        );
        assert_eq!(target.psql("SELECT x FROM small ORDER BY x"), "a\nb\n");
        assert_eq!(target.psql("SELECT count(*) FROM refers"), "1\n");
        let failed: Vec<&str> = report.failed.iter().map(|one| &*one.object).collect();
        let mut expected = vec![
            "comment of table public.small",
            "table public.€",
            "comment of constraint public.small small_pkey",
        ];
        let mut sorted = failed.clone();
        sorted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(sorted, expected, "{:#?}", report.failed);
        assert_eq!(report.skipped.len(), 1, "{:?}", report.skipped);
    }
}

/// Settings of a database that would change what is read or how text is understood.
fn make_hostile(database: &Database) {
    let name = database.name();
    let settings = [
        "datestyle = 'German, DMY'",
        "intervalstyle = 'sql_standard'",
        "timezone = 'Asia/Kathmandu'",
        "extra_float_digits = -15",
        "bytea_output = 'escape'",
        "xmlbinary = 'hex'",
        "xmloption = 'document'",
        "lc_monetary = 'C.UTF-8'",
        "standard_conforming_strings = off",
        "escape_string_warning = off",
        "backslash_quote = off",
        "client_encoding = 'LATIN1'",
        "quote_all_identifiers = on",
        "array_nulls = off",
        "transform_null_equals = on",
        "check_function_bodies = on",
        "row_security = off",
        "default_transaction_read_only = on",
        "statement_timeout = '1s'",
    ];
    let changes = settings.map(|setting| {
        let of_role = setting.starts_with("datestyle") || setting.starts_with("bytea");
        let target = if of_role {
            format!("ROLE postgres IN DATABASE {name}")
        } else {
            format!("DATABASE {name}")
        };
        format!("ALTER {target} SET {setting}")
    });
    database.psql(&changes.join(";"));
}

/// All rows in a form that no setting reaches.
fn rows_of(database: &Database) -> String {
    let query = "SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET extra_float_digits = 3;
                 SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET client_encoding = 'UTF8'; SET array_nulls = on;
                 SELECT pg_catalog.to_jsonb(t)::text || xmlserialize(CONTENT t.fragment AS text) FROM t ORDER BY id";
    database.psql(query)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_of_a_database_or_role_shows_in_what_comes_back() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database_with("hostile", "ENCODING 'UTF8' LOCALE 'C'");
        source.psql(
            "CREATE TABLE t (id int PRIMARY KEY, day date, moment timestamptz, local timestamp, span interval, f8 float8, f4 float4,
                bytes bytea, cost money DEFAULT '1234.56', document xml, fragment xml, texts text[], at tstzrange,
                never int CHECK (never = NULL), note text DEFAULT 'a\\b''c', pattern text CHECK (pattern ~ '^\\w\\\\?$'), due date DEFAULT '2000-02-03');
             SET timezone = 'UTC';
             INSERT INTO t VALUES (1, '0044-03-15 BC', '2000-01-02 03:04:05.678901+00', '1999-12-31 23:59:60', '-1 year 2 mons -3 days 04:05:06',
                0.1::float8 + 0.2::float8, 1.1, '\\x00ff275c', '-12.34', '<?xml version=\"1.0\"?><!DOCTYPE a><a>é</a>', 'text<b/>more',
                ARRAY['NULL', NULL, 'a\\b', E'\\t'], '[2000-01-01, 2001-01-01)', NULL, DEFAULT, 'x\\', DEFAULT);
             INSERT INTO t (id, f8) VALUES (2, 'NaN'), (3, '-0'), (4, 5e-324), (5, '-Infinity');
             CREATE FUNCTION body() RETURNS text LANGUAGE sql AS 'SELECT ''it''''s \\\\n''::text';
             CREATE VIEW v AS SELECT id, '1 day'::interval AS i, '2000-01-01'::date AS d, 'a\\b'::text AS b FROM t",
        );
        let plain = source.pg_dump(&[]);
        let before = rows_of(&source);
        make_hostile(&source);
        let archive = dumped(&source).await;
        let target = server.create_database_with("hostile", "ENCODING 'UTF8' LOCALE 'C'");
        make_hostile(&target);
        let report = restored(&archive, &target, &options()).await.unwrap();
        assert_whole("hostile", &report);
        assert_eq!(before, rows_of(&target));
        for database in [&source, &target] {
            let name = database.name();
            database.psql(&format!(
                "BEGIN READ WRITE; ALTER DATABASE {name} RESET ALL; ALTER ROLE postgres IN DATABASE {name} RESET ALL; COMMIT"
            ));
        }
        assert_eq!(plain, target.pg_dump(&[]));
        // What was saved is what a database without such settings gives.
        let quiet = dumped(&source).await;
        let fingerprints = async |archive: &Archive| {
            let indexes = archive.table_indexes().await.unwrap();
            indexes
                .into_iter()
                .map(|index| index.fingerprint)
                .collect::<Vec<_>>()
        };
        assert_eq!(fingerprints(&archive).await, fingerprints(&quiet).await);
        // But for the settings themselves, which belong to the database.
        let entries = async |archive: &Archive| {
            let mut entries = archive.entries().await.unwrap();
            entries.retain(|entry| entry.stage != Stage::Database);
            entries
        };
        assert_eq!(entries(&archive).await, entries(&quiet).await);
    }
}
