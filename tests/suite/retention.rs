//! Rotation and prune from the command line, against a real server.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::support::{Server, majors, pgark};

/// A repository.
struct Archives {
    _dir: tempfile::TempDir,
    repo: PathBuf,
}

impl Archives {
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = pgark();
        let command = command.args(arguments).arg("-r").arg(&self.repo);
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let said = [stdout, stderr].concat();
        (status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, said) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let listed = self.json(&["list"]);
        let names = listed.as_array().unwrap().iter();
        names
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn of_twelve_dumps_the_ten_newest_are_kept_and_prune_says_why() {
    let server = Server::shared(*majors().last().unwrap());
    let database = server.create_database("rotation");
    database.psql("CREATE TABLE t AS SELECT i, md5(i::text) FROM generate_series(1, 100) AS i");
    let dir = tempfile::tempdir().unwrap();
    let archives = Archives {
        repo: dir.path().join("repo"),
        _dir: dir,
    };
    let source = database.conninfo();
    let mut last = Value::Null;
    for n in 1..=12 {
        database.psql(&format!("UPDATE t SET md5 = '{n}' WHERE i = {n}"));
        let (name, tag) = (format!("d{n:02}"), format!("number={n}"));
        let dump = [
            "dump", "-d", &source, "-j", "1", "--name", &name, "--tag", &tag,
        ];
        last = archives.json(&[&dump[..], &["--keep-last", "10"]].concat());
    }
    let expected: Vec<String> = (3..=12).map(|n| format!("d{n:02}")).collect();
    assert_eq!(archives.names(), expected);
    assert_eq!(last["removed"], serde_json::json!(["d02"]));
    assert_eq!(
        last["rotation"]["archives"][0]["reasons"][0],
        "not kept by last 10"
    );
    let listed = archives.json(&["list"]);
    assert_eq!(listed[9]["tags"]["number"], "12");
    assert!(listed[9]["verified"].is_string());

    // Without --yes nothing goes, and each archive has its reason.
    let rules = [
        "prune",
        "--keep-last",
        "2",
        "--keep-tag",
        "number=5",
        "--timezone",
        "UTC",
    ];
    let (code, said) = archives.run(&rules);
    assert_eq!(code, Some(0), "{said}");
    for text in [
        "tag number=5",
        "last 2",
        "7 archives would be removed",
        "--yes does it",
    ] {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert_eq!(archives.names(), expected);
    // What was written less than two seconds ago might be of a dump that has just begun.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let did = archives.json(&[&rules[..], &["--yes", "--grace", "0"]].concat());
    assert!(
        did["swept"]["moved"]["n_chunks"].as_u64().unwrap() > 0,
        "{did}"
    );
    assert_eq!(archives.names(), ["d05", "d11", "d12"]);
    let did = archives.json(&["prune", "--yes", "--grace", "0"]);
    assert!(
        did["swept"]["deleted"]["n_chunks"].as_u64().unwrap() > 0,
        "{did}"
    );
    let verified = archives.json(&["verify", "--all"]);
    assert_eq!(verified["unreferenced"]["n_chunks"], 0);
    for (wrong, code) in [
        (vec!["prune", "--keep-daily", "0"], Some(2)),
        (vec!["prune", "d05", "--keep-last", "1"], Some(2)),
        (vec!["prune", "--keep-within", "soon"], Some(2)),
        (vec!["prune", "nothing", "--yes"], Some(10)),
    ] {
        assert_eq!(archives.run(&wrong).0, code, "{wrong:?}");
    }
    assert_eq!(archives.run(&["prune", "d05", "--yes"]).0, Some(0));
    assert_eq!(archives.names(), ["d11", "d12"]);
}
