//! Archives of several databases, and parts of them, in one repository: none counts for another, be it for `latest`, for
//! `--keep-last` or for what a restore takes by itself.

use std::path::PathBuf;
use std::process::Output;

use crate::support::{Database, Server, majors, pgark};

/// A repository and the names of its archives.
struct Archives {
    _dir: tempfile::TempDir,
    repo: PathBuf,
}

impl Archives {
    fn new() -> Archives {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        Archives { _dir: dir, repo }
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = pgark()
            .args(arguments)
            .arg("-r")
            .arg(&self.repo)
            .output()
            .unwrap();
        let said = [stdout, stderr].concat();
        (status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn run_well(&self, arguments: &[&str]) -> String {
        let (code, said) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    }

    fn dump(&self, database: &Database, name: &str, more: &[&str]) {
        let source = database.conninfo();
        let mut arguments = vec!["dump", "-d", &source, "--name", name, "-j", "1"];
        arguments.extend(more);
        self.run_well(&arguments);
    }

    /// The names of all archives, oldest first.
    fn names(&self) -> Vec<String> {
        let text = self.run_well(&["list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let names = listed.as_array().unwrap().iter();
        names
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Restores what is chosen by itself and gives the row that tells whose and how new it is.
    fn restored(&self, server: &Server, arguments: &[&str]) -> String {
        let target = server.create_database("groups_target");
        let into = target.conninfo();
        let mut all = vec!["restore", "-d", &into, "-j", "1"];
        all.extend(arguments);
        self.run_well(&all);
        let row = target.psql("SELECT whose, version FROM public.mark");
        row.trim_end().to_owned()
    }
}

fn make(server: &Server, whose: &str) -> Database {
    let database = server.create_database(whose);
    database.psql(&format!(
        "CREATE TABLE mark AS SELECT '{whose}' AS whose, 0 AS version; CREATE TABLE other (id int);"
    ));
    database
}

fn set_version(database: &Database, version: u32) {
    database.psql(&format!("UPDATE mark SET version = {version}"));
}

#[test]
fn databases_of_one_repository_never_mix() {
    let server = Server::shared(*majors().last().unwrap());
    let archives = Archives::new();
    let (left, right) = (make(&server, "left"), make(&server, "right"));
    // Only what was verified rotates, and a dump that rotates verifies.
    archives.dump(&right, "right-0", &["--keep-last", "9"]);
    for version in 1..=4 {
        set_version(&left, version);
        let name = format!("left-{version}");
        archives.dump(&left, &name, &["--keep-last", "2"]);
    }
    assert_eq!(archives.names(), ["right-0", "left-3", "left-4"]);
    set_version(&right, 1);
    archives.dump(&right, "right-1", &["--keep-last", "1"]);
    assert_eq!(archives.names(), ["left-3", "left-4", "right-1"]);

    // The newest of all is of `right`; each database still gets its own.
    for (database, expected) in [(&left, "left|4"), (&right, "right|1")] {
        let chosen = ["--from-database", database.name()];
        assert_eq!(archives.restored(&server, &chosen), expected);
    }
    // `latest` of several databases is a guess; -d names the target, which nothing was dumped from.
    let target = server.create_database("groups_target");
    let (code, said) = archives.run(&["restore", "-d", &target.conninfo()]);
    assert_eq!(code, Some(10), "{said}");
    for word in [left.name(), right.name(), "--from-database"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let (code, said) = archives.run(&["show", "latest"]);
    assert_eq!(code, Some(2), "{said}");
    for word in [left.name(), right.name()] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // After all the removals nothing that is still needed is gone.
    archives.run_well(&["verify", "--all"]);
}

#[test]
fn a_part_of_a_database_never_counts_as_the_whole() {
    let server = Server::shared(*majors().last().unwrap());
    let archives = Archives::new();
    let database = make(&server, "parts");
    let keep_one: &[&str] = &["--keep-last", "1"];
    set_version(&database, 1);
    archives.dump(&database, "whole-1", &["--keep-last", "9"]);
    set_version(&database, 2);
    for (name, choice) in [
        ("table", ["-t", "mark"].as_slice()),
        ("schema", &["-n", "public"]),
        ("definitions", &["--schema-only"]),
        ("rows", &["--data-only"]),
    ] {
        archives.dump(&database, name, &[choice, &["--keep-last", "9"]].concat());
    }
    let chosen = ["--from-database", database.name()];
    assert_eq!(archives.restored(&server, &chosen), "parts|1");

    set_version(&database, 3);
    archives.dump(&database, "whole-3", keep_one);
    let parts = ["table", "schema", "definitions", "rows"];
    assert_eq!(archives.names(), [&parts[..], &["whole-3"]].concat());
    assert_eq!(archives.restored(&server, &chosen), "parts|3");
    // A part is restored when it is named.
    assert_eq!(archives.restored(&server, &["table"]), "parts|2");

    let table_and_one = ["-t", "mark", "--keep-last", "1"];
    archives.dump(&database, "table-2", &table_and_one);
    assert_eq!(archives.names(), ["whole-3", "table-2"]);
    archives.run_well(&["verify", "--all"]);
}

#[test]
fn a_repository_of_parts_only_has_no_whole_archive() {
    let server = Server::shared(*majors().last().unwrap());
    let archives = Archives::new();
    let database = make(&server, "only_parts");
    archives.dump(&database, "table", &["-t", "mark"]);
    let target = server.create_database("groups_target");
    let into = target.conninfo();
    let (code, said) = archives.run(&["restore", "-d", &into, "--from-database", database.name()]);
    assert_eq!(code, Some(10), "{said}");
    assert!(said.contains("partial"), "{said}");
    let tables = target.psql("SELECT relname FROM pg_class WHERE oid >= 16384");
    assert_eq!(tables, "");
}
