//! `pgark doctor`: nothing is found where nothing is wrong, each thing that is wrong is named with its remedy, and little rights do.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Database, Server, majors, oracle, pgark};

/// Runs the doctor with `--json`; demands the exit code and returns the checks.
fn examine(conninfo: &str, repo: &Path, more: &[&str], code: i32) -> Vec<Value> {
    let output = pgark()
        .args(["doctor", "--json", "-d", conninfo, "-r"])
        .arg(repo)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    report["checks"].as_array().unwrap().clone()
}

/// The check with the name, as `level: found`; all of them if there are several.
fn said(checks: &[Value], check: &str) -> String {
    let of_name = checks.iter().filter(|one| one["check"] == check);
    let lines = of_name.map(|one| {
        let remedy = one["remedy"].as_str().unwrap_or_default();
        format!(
            "{}: {} [{remedy}]",
            one["level"].as_str().unwrap(),
            one["found"].as_str().unwrap()
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_said(checks: &[Value], check: &str, words: &[&str]) {
    let said = said(checks, check);
    for word in words {
        assert!(said.contains(word), "{check}: {word:?} is not in {said:?}");
    }
}

fn as_role(database: &Database, role: &str) -> String {
    let conninfo = database.conninfo();
    conninfo.replace("user=postgres", &format!("user={role}"))
}

#[test]
fn a_healthy_database_has_no_problem_and_nothing_is_changed() {
    for major in majors() {
        let database = Server::shared(major).create_database("healthy");
        database.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
        let place = tempfile::tempdir().unwrap();
        let repo = place.path().join("repo");
        let checks = examine(&database.conninfo(), &repo, &[], 0);
        for check in [
            "connection",
            "tls",
            "timeouts",
            "server",
            "clock",
            "standby",
            "checksums",
            "wal",
            "transactions",
            "exclusive",
            "prepared",
            "rights",
            "locks",
            "size",
            "indexes",
            "constraints",
            "collations",
            "repository",
            "room",
        ] {
            assert!(!said(&checks, check).is_empty(), "{check}: {checks:#?}");
        }
        for check in [
            "connection",
            "tls",
            "rights",
            "locks",
            "clock",
            "indexes",
            "collations",
        ] {
            assert_said(&checks, check, &["ok: "]);
        }
        assert_said(&checks, "repository", &["not there yet"]);
        assert!(!repo.exists());
    }
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_named() {
    for major in majors() {
        let small = [
            ("max_connections", "10"),
            ("max_locks_per_transaction", "10"),
            ("max_prepared_transactions", "2"),
            ("superuser_reserved_connections", "1"),
        ];
        let server = Server::start_with(major, &small);
        let database = server.create_database("sick");
        database.psql(
            "CREATE ROLE reader LOGIN; ALTER ROLE reader SET statement_timeout = '5min';
             CREATE TABLE p (i int) PARTITION BY LIST (i);
             CREATE TABLE dup AS SELECT 1 AS i UNION ALL SELECT 1;
             ALTER TABLE dup ADD CONSTRAINT large CHECK (i > 5) NOT VALID",
        );
        // One statement after another, because the small lock table takes no more.
        let parts =
            (0..160).map(|i| format!("CREATE TABLE p{i} PARTITION OF p FOR VALUES IN ({i});"));
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), parts.collect::<String>()).unwrap();
        database.psql_file(script.path());
        let mut psql = std::process::Command::new(oracle("psql"));
        let broken = psql.args(["-Xqd", &database.conninfo(), "-c"]);
        let status = broken.arg("CREATE UNIQUE INDEX CONCURRENTLY broken ON dup (i)");
        assert!(!status.stderr(Stdio::null()).status().unwrap().success());
        database.psql("BEGIN; INSERT INTO dup VALUES (9); PREPARE TRANSACTION 'left over'");
        database.psql("UPDATE pg_collation SET collversion = '0.1' WHERE oid = (SELECT min(oid) FROM pg_collation WHERE collprovider = 'i')");
        let holder = database.connect().await;
        holder
            .batch_execute("BEGIN; LOCK TABLE p7 IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();

        let place = tempfile::tempdir().unwrap();
        let checks = examine(&as_role(&database, "reader"), place.path(), &[], 15);
        assert_said(
            &checks,
            "rights",
            &["problem: ", "without SELECT", "pg_read_all_data"],
        );
        let rights = checks.iter().find(|one| one["check"] == "rights").unwrap();
        assert_eq!(rights["cures"].as_array().unwrap().len(), 161, "{major}");
        let words = [
            "problem: ",
            "162 tables",
            "room for 120 locks",
            "max_locks_per_transaction",
        ];
        assert_said(&checks, "locks", &words);
        assert_said(
            &checks,
            "timeouts",
            &["statement_timeout = 300000 ms", "lift"],
        );
        let words = ["warning: ", "public.p7 held by pid", "--lock-wait-timeout"];
        assert_said(&checks, "exclusive", &words);
        assert_said(
            &checks,
            "prepared",
            &["warning: ", "left over", "ROLLBACK PREPARED"],
        );
        assert_said(
            &checks,
            "indexes",
            &["warning: ", "1 index is not valid", "broken"],
        );
        assert_said(&checks, "constraints", &["ok: ", "large on"]);
        assert_said(&checks, "transactions", &["cannot be seen"]);
        let collations =
            database.psql("SELECT count(*) FROM pg_collation WHERE collprovider = 'i'");
        if collations.trim() != "0" {
            assert_said(&checks, "collations", &["warning: ", "REFRESH VERSION"]);
        }

        // What is not there is a problem, and no failure of the doctor.
        let nowhere = server.conninfo("nowhere");
        let checks = examine(&nowhere, place.path(), &[], 15);
        assert_said(
            &checks,
            "connection",
            &["problem: ", "does not exist", "check the name"],
        );
        assert_said(&checks, "repository", &["ok: "]);
    }
}

#[test]
fn the_repository_is_looked_at() {
    let database = Server::shared(*majors().last().unwrap()).create_database("repository");
    let place = tempfile::tempdir().unwrap();
    let repo = place.path().join("repo");
    let conninfo = database.conninfo();
    let dumped = pgark()
        .args(["dump", "-d", &conninfo, "-r"])
        .arg(&repo)
        .output()
        .unwrap();
    assert!(dumped.status.success());
    let checks = examine(&conninfo, &repo, &[], 0);
    assert_said(&checks, "marker", &["ok: ", "archives: 1"]);
    std::fs::write(repo.join("pgark.json"), "{}\n").unwrap();
    let checks = examine(&conninfo, &repo, &[], 15);
    assert_said(&checks, "marker", &["problem: ", "pgark.json"]);
    // A file where the folder should be.
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let checks = examine(&conninfo, &file, &[], 15);
    assert_said(&checks, "repository", &["problem: ", "cannot be written"]);
}

#[test]
fn the_target_is_looked_at_with_and_without_an_archive() {
    let major = *majors().last().unwrap();
    let (left, right) = (Server::start(major), Server::start(major));
    let (source, target) = (
        left.create_database("source"),
        right.create_database("target"),
    );
    source.psql(
        "CREATE ROLE boss; CREATE EXTENSION hstore; CREATE EXTENSION pageinspect; CREATE TABLE t (i int); ALTER TABLE t OWNER TO boss",
    );
    target.psql("CREATE ROLE plain LOGIN CREATEDB; CREATE EXTENSION hstore VERSION '1.7'");
    target.psql(&format!("ALTER DATABASE {} OWNER TO plain", target.name()));
    let place = tempfile::tempdir().unwrap();
    let (from, to) = (source.conninfo(), as_role(&target, "plain"));
    let checks = examine(&from, place.path(), &["--target", &to], 0);
    assert_said(&checks, "target", &["ok: ", "wal_level"]);
    assert_said(&checks, "extensions", &["warning: ", "hstore", "1.7"]);
    let dumped = pgark()
        .args(["dump", "-d", &from, "-r"])
        .arg(place.path())
        .output()
        .unwrap();
    assert!(dumped.status.success());
    let with_archive = ["--target", &to, "--archive", "latest"];
    let checks = examine(&from, place.path(), &with_archive, 15);
    let words = [
        "problem: role \"boss\" does not exist",
        "--no-owner",
        "warning: extension \"hstore\" is of version 1.7",
        "warning: only a superuser, or whom the provider lets, may create extension \"pageinspect\"",
    ];
    assert_said(&checks, "restore", &words);
    target.psql("CREATE ROLE boss; GRANT boss TO plain; GRANT ALL ON SCHEMA public TO boss, plain");
    let checks = examine(&from, place.path(), &with_archive, 0);
    assert_said(&checks, "restore", &["hstore"]);
}
