//! What goes wrong outside of the program: each case has one clear message with object and remedy, the exit code of
//! `docs/exit-codes.md`, and leaves nothing half done.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Database, Major, Server, majors, output_of, pgark};

fn newest() -> Major {
    *majors().last().unwrap()
}

/// A place for a repository.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Runs the program and demands the exit code and the words.
    fn expect(&self, arguments: &[&str], code: i32, words: &[&str]) {
        expect(&self.repo(), arguments, code, words);
    }

    /// The archives that are there.
    fn manifests(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.repo().join("archives")) else {
            return Vec::new();
        };
        folder
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn expect(repo: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = pgark()
        .args(arguments)
        .arg("--repo")
        .arg(repo)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?}: {word:?} is not in: {said}"
        );
    }
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
}

#[test]
fn a_connection_that_cannot_be_made_names_cause_and_remedy() {
    let server = Server::shared(newest());
    let database = server.create_database("bad_input");
    let place = Place::new();
    let unknown = server.conninfo("no_such_database");
    let words = ["no_such_database", "does not exist", "hint: check the name"];
    place.expect(&["dump", "-d", &unknown], 13, &words);

    let good = database.tcp_conninfo();
    let wrong = good.replace("password=pgark", "password=wrong-secret");
    let words = [
        "password authentication failed",
        "\"postgres\"",
        "PGPASSWORD",
    ];
    place.expect(&["dump", "-d", &wrong], 13, &words);
    let none = good.replace(" password=pgark", "");
    place.expect(&["dump", "-d", &none], 13, &["password"]);

    let (before, after) = good.split_once("port=").unwrap();
    let (_, rest) = after.split_once(' ').unwrap();
    let closed = format!("{before}port=1 {rest}");
    let words = ["port 1", "refused", "check that the server runs"];
    place.expect(&["dump", "-d", &closed], 13, &words);
    assert_eq!(place.manifests(), [""; 0]);

    database.psql("CREATE TABLE t AS SELECT 1 AS id");
    place.expect(&["dump", "-d", &database.conninfo(), "--name", "n"], 0, &[]);
    let words = ["no_such_database", "does not exist", "--create"];
    place.expect(&["restore", "n", "-d", &unknown], 13, &words);
}

#[test]
fn a_table_that_may_not_be_read_is_named_with_the_grant() {
    let server = Server::start(newest());
    let database = server.create_database("bad_input");
    database.psql(
        "CREATE ROLE reader LOGIN;
         CREATE TABLE seen AS SELECT 1 AS id;
         CREATE TABLE secret AS SELECT 1 AS id;
         GRANT SELECT ON seen TO reader;",
    );
    let place = Place::new();
    let reader = database.conninfo().replace("user=postgres", "user=reader");
    let words = [
        "may not read all of it",
        "GRANT SELECT ON TABLE \"public\".\"secret\" TO \"reader\";",
        "--skip-unreadable",
    ];
    place.expect(&["dump", "-d", &reader], 1, &words);
    assert_eq!(place.manifests(), [""; 0]);
    // Leaving it out helps as well as granting it.
    place.expect(
        &["dump", "-d", &reader, "-T", "secret", "--name", "part"],
        0,
        &[],
    );
    database.psql("GRANT SELECT ON secret TO reader");
    place.expect(&["dump", "-d", &reader, "--name", "whole"], 0, &[]);
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::shared(newest());
    let database = server.create_database("bad_input");
    database.psql("CREATE TABLE t AS SELECT 1 AS id");
    let target = database.conninfo();
    let place = Place::new();
    let there = place.repo().display().to_string();
    for verb in [
        &["list"][..],
        &["verify"],
        &["show"],
        &["restore", "-d", &target],
    ] {
        place.expect(verb, 10, &["no folder", &there, "--repo"]);
    }
    place.expect(&["dump", "-d", &target, "--name", "there"], 0, &[]);
    for verb in [
        &["verify", "nope"][..],
        &["show", "nope"],
        &["restore", "nope", "-d", &target],
    ] {
        place.expect(verb, 10, &["no archive \"nope\"", &there, "pgark list"]);
    }
    let file = place.dir.path().join("file");
    fs::write(&file, "text").unwrap();
    expect(&file, &["list"], 1, &["file", "not a directory"]);
    expect(
        &file,
        &["dump", "-d", &target],
        1,
        &["file", "not a directory"],
    );
    assert_eq!(fs::read(&file).unwrap(), b"text");
    let url = Path::new("ftp://bucket/x");
    expect(url, &["list"], 2, &["ftp://", "folder"]);
}

#[test]
fn what_cannot_be_meant_is_refused_as_usage() {
    let server = Server::shared(newest());
    let database = server.create_database("bad_input");
    database.psql("CREATE TABLE t AS SELECT 1 AS id");
    let target = database.conninfo();
    let place = Place::new();
    for (arguments, words) in [
        (&["frobnicate"][..], &["frobnicate", "--help"][..]),
        (&[], &["Usage"]),
        (&["dump", "--frobnicate"], &["--frobnicate"]),
        (&["dump", "-j", "0"], &["--jobs", "1..=1024"]),
        (
            &["dump", "--schema-only", "--data-only"],
            &["--schema-only", "--data-only"],
        ),
        (&["dump", "--name", "../x"], &["../x", "letters"]),
        (&["dump", "--keep-last", "0"], &["--keep-last"]),
        (
            &["dump", "-d", &target, "-t", "nothing_*"],
            &["nothing_*", "no table matches"],
        ),
        (
            &["dump", "-d", &target, "-t", "a.b.c.d"],
            &["a.b.c.d", "too many dotted names"],
        ),
        (
            &["dump", "-d", &target, "-t", "\"open"],
            &["double quote is not closed"],
        ),
        (&["dump", "-d", "port=eighty"], &["eighty"]),
        (&["dump", "-d", "nonsense=1"], &["nonsense"]),
    ] {
        place.expect(arguments, 2, words);
    }
    assert_eq!(place.manifests(), [""; 0]);
    place.expect(&["dump", "-d", &target, "--name", "one"], 0, &[]);
    let words = ["one", "taken", "--name"];
    place.expect(&["dump", "-d", &target, "--name", "one"], 2, &words);
    place.expect(&["restore", "one"], 2, &["-d"]);
    let into = server.create_database("bad_input");
    let words = ["no table in the archive", "nothing"];
    place.expect(
        &["restore", "one", "-d", &into.conninfo(), "-t", "nothing"],
        2,
        &words,
    );
}

#[test]
fn a_target_that_is_not_empty_stays_as_it_is() {
    let server = Server::shared(newest());
    let source = server.create_database("bad_input");
    source.psql("CREATE TABLE t AS SELECT 1 AS id; CREATE TABLE u AS SELECT 1 AS id");
    let place = Place::new();
    place.expect(&["dump", "-d", &source.conninfo(), "--name", "n"], 0, &[]);
    let target = server.create_database("bad_input");
    target.psql("CREATE TABLE t AS SELECT 7 AS mine");
    let words = [
        "not empty",
        "public.t",
        "before anything was changed",
        "--create",
    ];
    place.expect(&["restore", "n", "-d", &target.conninfo()], 1, &words);
    assert_eq!(
        target.psql("SELECT mine, to_regclass('u') IS NULL FROM t"),
        "7|t\n"
    );
    // With --create the database must not be there.
    let words = [target.name(), "exists"];
    place.expect(&["restore", "n", "-C", "-d", &target.conninfo()], 1, &words);
    assert_eq!(target.psql("SELECT mine FROM t"), "7\n");
}

/// A small file system of its own.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn new(size: &str) -> Disk {
        Disk::with(&format!("size={size}"))
    }

    fn with(option: &str) -> Disk {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", option, "pgark-test"];
        output_of(Command::new("mount").args(mount).arg(dir.path()));
        Disk { dir }
    }

    fn grow(&self, size: &str) {
        let option = format!("remount,size={size}");
        output_of(
            Command::new("mount")
                .args(["-o", &option])
                .arg(self.dir.path()),
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
    }
}

#[test]
fn a_full_disk_leaves_no_archive_and_no_half_file() {
    if output_of(Command::new("id").arg("-u")).trim() != "0" {
        println!("left out: only root may mount a small file system");
        return;
    }
    let server = Server::shared(newest());
    let database = server.create_database("bad_input");
    database.psql(
        "CREATE TABLE filler AS SELECT i AS id, encode(sha512(i::text::bytea), 'hex') AS note
           FROM generate_series(1, 200000) i",
    );
    let disk = Disk::new("8m");
    let repo = disk.dir.path().join("repo");
    let from = database.conninfo();
    let dump = ["dump", "-d", &from, "--name", "n", "-j", "2"];
    let words = [
        "No space left on device",
        "free some space",
        repo.to_str().unwrap(),
    ];
    expect(&repo, &dump, 1, &words);
    for folder in ["archives", ".unfinished"] {
        let n_files = fs::read_dir(repo.join(folder)).map_or(0, Iterator::count);
        assert_eq!(n_files, 0, "{folder}");
    }
    expect(&repo, &["list"], 0, &["no archives"]);
    disk.grow("64m");
    expect(&repo, &dump, 0, &[]);
    expect(&repo, &["verify", "--all"], 0, &["whole"]);
}

#[test]
fn a_full_disk_of_the_server_ends_a_restore_with_the_name_of_what_did_not_fit() {
    if output_of(Command::new("id").arg("-u")).trim() != "0" {
        println!("left out: only root may mount a small file system");
        return;
    }
    let server = Server::start(newest());
    let source = server.create_database("bad_input");
    source.psql(
        "CREATE TABLE before AS SELECT 1 AS id;
         CREATE TABLE filler AS SELECT i AS id, encode(sha512(i::text::bytea), 'hex') AS note
           FROM generate_series(1, 300000) i;
         CREATE INDEX filler_id ON filler (id);",
    );
    let place = Place::new();
    place.expect(&["dump", "-d", &source.conninfo(), "--name", "n"], 0, &[]);
    let owner = fs::metadata(server.data_dir()).unwrap();
    let disk = Disk::with(&format!(
        "size=32m,mode=700,uid={},gid={}",
        owner.uid(),
        owner.gid()
    ));
    let server_wide = server.database("postgres");
    server_wide.psql(&format!(
        "CREATE TABLESPACE small LOCATION '{}'",
        disk.dir.path().display()
    ));
    let make = "CREATE DATABASE full_disk TEMPLATE template0 TABLESPACE small";
    server_wide.psql(make);
    let target = server.database("full_disk");
    let into = target.conninfo();
    let words = [
        "failed: table data public.filler",
        "No space left on device",
        "skipped: index public.filler filler_id",
    ];
    place.expect(&["restore", "n", "-d", &into, "-j", "2"], 3, &words);
    // What fitted is there, and the program has not called it whole.
    assert_eq!(target.psql("SELECT count(*) FROM before"), "1\n");
    disk.grow("256m");
    server_wide.psql("DROP DATABASE full_disk");
    server_wide.psql(make);
    place.expect(&["restore", "n", "-d", &into, "-j", "2"], 0, &[]);
    assert_eq!(target.psql("SELECT count(*) FROM filler"), "300000\n");
    server.crash();
}

/// Waits until the server runs COPY in a database, while the program lives.
fn wait_for_copy(database: &Database, child: &mut Child) {
    let patience = Instant::now() + Duration::from_secs(60);
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND state = 'active' AND query LIKE 'COPY %big%'",
        database.name()
    );
    while database.psql(&sql) == "0\n" {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(Instant::now() < patience, "no COPY was seen");
    }
}

/// Runs the program, ends the server in the middle of COPY, and gives what was said.
fn lose_server(server: &Server, database: &Database, repo: &Path, arguments: &[&str]) -> String {
    let mut child = pgark()
        .args(arguments)
        .args(["-j", "2", "--connect-retry", "2s", "--repo"])
        .arg(repo)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_copy(database, &mut child);
    server.crash();
    let crashed = Instant::now();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let waited = crashed.elapsed();
    assert!(waited < Duration::from_secs(30), "{waited:?}: {said}");
    let code = output.status.code();
    println!("{}: {code:?} after {waited:?}: {said}", arguments[0]);
    assert!(matches!(code, Some(1 | 13)), "{code:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn a_server_that_goes_away_ends_the_work_at_once() {
    let server = Server::start(newest());
    let source = server.create_database("bad_input");
    source.psql(
        "CREATE TABLE big AS SELECT i AS id, repeat(md5(i::text), 8) AS note
           FROM generate_series(1, 2000000) i",
    );
    let from = source.conninfo();
    let place = Place::new();
    let dump = ["dump", "-d", &from, "--name", "n"];
    let said = lose_server(&server, &source, &place.repo(), &dump);
    assert!(said.contains("big") || said.contains("connect"), "{said}");
    assert_eq!(place.manifests(), [""; 0]);
    server.restart();
    place.expect(&dump, 0, &[]);
    place.expect(&["verify", "--all"], 0, &["whole"]);

    let target = server.create_database("bad_input");
    let into = target.conninfo();
    let restore = ["restore", "n", "-d", &into];
    let said = lose_server(&server, &target, &place.repo(), &restore);
    assert!(said.contains("big") || said.contains("connect"), "{said}");
    server.restart();
    // Another database takes it whole.
    let other = server.create_database("bad_input");
    place.expect(&["restore", "n", "-d", &other.conninfo()], 0, &[]);
    assert_eq!(other.psql("SELECT count(*) FROM big"), "2000000\n");
}
