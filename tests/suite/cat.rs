//! Rows of one table out of an archive: as they were, as CSV, chosen by value; what is refused, and damage.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pgark::archive::Fingerprint;
use pgark::archive::index::CopyFormat;
use pgark::store::LocalStore;
use serde_json::json;
use tempfile::TempDir;

use crate::archives::HandMade;
use crate::support::{Database, Server, block_on, majors, pgark};

struct Repo(TempDir);

impl Repo {
    fn of(database: &Database) -> Repo {
        let repo = Repo(tempfile::tempdir().unwrap());
        repo.ends_with(0, &["dump", "-d", &database.conninfo(), "--name", "one"]);
        repo
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("repo")
    }

    fn pgark(&self, arguments: &[&str]) -> Command {
        let mut command = pgark();
        command.args(arguments).arg("-r").arg(self.path());
        command
    }

    #[track_caller]
    fn ends_with(&self, code: i32, arguments: &[&str]) -> (Vec<u8>, String) {
        let output = self.pgark(arguments).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{err}");
        (output.stdout, err)
    }

    #[track_caller]
    fn cat(&self, arguments: &[&str]) -> String {
        let (out, _) = self.ends_with(0, &[&["cat"], arguments].concat());
        String::from_utf8(out).unwrap()
    }
}

const SHOP: &str = r#"
    CREATE SCHEMA sales;
    CREATE TABLE sales."Odd ""name""" (id int, "a=b" text, "note, or so" text);
    INSERT INTO sales."Odd ""name""" VALUES (1, 'x=y', NULL), (2, E'tab\t, newline\n, back\\slash "quoted"', ''), (3, NULL, '\N');
    CREATE TABLE sales.orders (id int, day date) PARTITION BY RANGE (day);
    CREATE TABLE sales.orders_2025 PARTITION OF sales.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE sales.orders_2026 (day date, id int);
    ALTER TABLE sales.orders ATTACH PARTITION sales.orders_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO sales.orders VALUES (1, '2025-05-05'), (2, '2026-06-06'), (3, '2026-07-07');
    CREATE TABLE sales.wide (id int, doc text);
    INSERT INTO sales.wide SELECT i, repeat(md5(i::text), 500000) FROM generate_series(1, 1) AS i;
    CREATE TABLE many AS SELECT i, i % 7 AS kind FROM generate_series(1, 50000) AS i;
    CREATE TABLE nothing (id int);
"#;

#[test]
fn rows_come_out_exactly_and_go_back_in() {
    for major in majors() {
        let server = Server::shared(major);
        let database = server.create_database("cat");
        database.psql(SHOP);
        let repo = Repo::of(&database);
        let odd = r#"sales."Odd ""name""""#;
        let text = repo.cat(&[odd]);
        assert_eq!(
            text,
            "1\tx=y\t\\N\n2\ttab\\t, newline\\n, back\\\\slash \"quoted\"\t\n3\t\\N\t\\\\N\n"
        );
        assert_eq!(
            repo.cat(&[odd, "--csv", "--header"]),
            "id,a=b,\"note, or so\"\n1,x=y,\n2,\"tab\t, newline\n, back\\slash \"\"quoted\"\"\",\"\"\n3,,\\N\n"
        );
        assert!(
            repo.cat(&[odd, "one", "--header"])
                .starts_with("id\ta=b\tnote, or so\n1\t")
        );
        assert_eq!(repo.cat(&[odd, "--match", r#""a=b"=x=y"#]), "1\tx=y\t\\N\n");
        assert_eq!(
            repo.cat(&[odd, "--null", "note, or so", "--match", "id=1", "--csv"]),
            "1,x=y,\n"
        );
        assert_eq!(repo.cat(&["nothing"]), "");

        // Partitions, of which one has its columns in another order.
        assert_eq!(
            repo.cat(&["sales.orders", "--from-database", database.name()]),
            "1\t2025-05-05\n2\t2026-06-06\n3\t2026-07-07\n"
        );
        assert_eq!(repo.cat(&["orders_2026"]), "2026-06-06\t2\n2026-07-07\t3\n");
        assert_eq!(
            repo.cat(&["sales.orders", "--match", "id=3"]),
            "3\t2026-07-07\n"
        );
        assert_eq!(
            repo.cat(&["many", "--match", "kind=3", "--limit", "2"]),
            "3\t3\n10\t3\n"
        );
        assert_eq!(repo.cat(&["many", "--limit", "3"]), "1\t1\n2\t2\n3\t3\n");
        assert_eq!(repo.cat(&["many", "--limit", "0"]), "");

        for table in [odd, "sales.orders", "sales.wide", "many"] {
            let sum = format!(
                "SELECT count(*), sum(('x' || substr(md5(t::text), 1, 8))::bit(32)::bigint) FROM {table} AS t"
            );
            let before = database.psql(&sum);
            let (block, _) = repo.ends_with(0, &["cat", table, "--copy"]);
            database.psql(&format!("TRUNCATE {table}"));
            let mut exec = pgark();
            exec.args(["exec", "-d", &database.conninfo(), "-f", "-"]);
            let mut running = exec
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            running.stdin.take().unwrap().write_all(&block).unwrap();
            assert!(running.wait().unwrap().success(), "{table}");
            assert_eq!(database.psql(&sum), before, "{table}");
        }
    }
}

#[test]
fn what_no_table_is_meant_by_is_named_and_a_closed_pipe_is_no_error() {
    let server = Server::shared(*majors().last().unwrap());
    let database = server.create_database("cat_names");
    database.psql(SHOP);
    let repo = Repo::of(&database);
    for (code, arguments, problem) in [
        (2, &["manny"][..], "near it: public.many"),
        (2, &["sales.*"], "means 5 tables"),
        (2, &["other.sales.orders"], "names another database"),
        (2, &["many", "--match", "size=3"], "it has i, kind"),
        (2, &["many", "--match", "size"], "is not COLUMN=VALUE"),
        (2, &["many", "--binary"], "are text"),
        (10, &["many", "two"], "no archive"),
    ] {
        let (_, err) = repo.ends_with(code, &[&["cat"], arguments].concat());
        assert!(err.contains(problem), "{arguments:?}: {err}");
    }

    let mut running = repo
        .pgark(&["cat", "sales.wide"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(running.stdout.take().unwrap());
    assert_eq!(out.split(b'\t').next().unwrap().unwrap(), b"1");
    assert_eq!(running.wait().unwrap().code(), Some(0));

    let chunks = walk(&repo.path().join("chunks"));
    let largest = chunks
        .iter()
        .max_by_key(|path| std::fs::metadata(path).unwrap().len());
    let largest = largest.unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(largest).unwrap();
    std::fs::write(largest, bytes).unwrap();
    let codes: Vec<Option<i32>> = ["sales.wide", "many"]
        .map(|table| {
            repo.pgark(&["cat", table])
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .code()
        })
        .to_vec();
    assert!(
        codes.contains(&Some(11)) && codes.contains(&Some(0)),
        "{codes:?}"
    );
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn binary_rows_come_as_a_stream_of_binary_copy_and_only_on_request() {
    let repo = Repo(tempfile::tempdir().unwrap());
    let path = repo.path();
    let tuple = [0, 1, 0, 0, 0, 4, 0, 0, 0, 7].to_vec();
    let stored = tuple.clone();
    block_on(async move {
        let store = LocalStore::create(&path).await.unwrap();
        let mut made = HandMade::new(Arc::new(store)).await;
        let table = made.entry("table", "public.b", "pre_data", &json!({}));
        let data = json!({"needs": [table], "data": {"of": "table", "target": "\"public\".\"b\"", "table": table}});
        let entry = made.entry("table data", "public.b", "data", &data);
        let mut fingerprint = Fingerprint::default();
        fingerprint.add_row(&stored[2..]);
        let parts = vec![(stored, 1)];
        made.index(entry, &["id"], CopyFormat::Binary, parts, fingerprint)
            .await;
        made.finish("made").await;
    });
    let (_, err) = repo.ends_with(2, &["cat", "b"]);
    assert!(err.contains("say --binary"), "{err}");
    let (out, _) = repo.ends_with(0, &["cat", "b", "--binary"]);
    let expected = [
        &b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..],
        &tuple,
        b"\xff\xff",
    ]
    .concat();
    assert_eq!(out, expected);
}
