//! Copies in other repositories, made by the program: a restore from one, several targets, what is named when one fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Server, majors, pgark};

/// A source with one archive of a database, and room for targets.
struct Places(TempDir);

impl Places {
    fn new() -> Places {
        Places(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `pgark …` on the repository `name`; gives code, standard output and standard error.
    #[track_caller]
    fn ends_with(&self, code: i32, name: &str, arguments: &[&str]) -> (String, String) {
        let mut command: Command = pgark();
        command.args(arguments).arg("-r").arg(self.path(name));
        let output = command.output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command:?}\n{out}\n{err}"
        );
        (out, err)
    }
}

/// The files below a folder, with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_copy_restores_without_its_source() {
    for major in majors() {
        let server = Server::shared(major);
        let places = Places::new();
        let source = server.create_database("copied");
        source.psql(
            "CREATE TABLE t (id int PRIMARY KEY, note text); \
             INSERT INTO t SELECT i, repeat('x', i) FROM generate_series(1, 500) AS i",
        );
        let dump = ["dump", "-d", &source.conninfo(), "--name"];
        places.ends_with(0, "source", &[&dump[..], &["first"]].concat());
        let target = places.text("target");
        let (out, _) = places.ends_with(0, "source", &["replicate", &target]);
        assert!(
            out.contains("first copied") && out.contains("1 copied") && out.contains("up to date"),
            "{out}"
        );
        source.psql("UPDATE t SET note = 'changed' WHERE id = 7");
        places.ends_with(0, "source", &[&dump[..], &["second"]].concat());
        let (out, _) = places.ends_with(0, "source", &["replicate", &target, "--json"]);
        let reached: Value = serde_json::from_str(&out).unwrap();
        let report = &reached[0]["report"];
        assert_eq!(report["archives"][0]["state"], "present");
        assert_eq!(report["archives"][1]["state"], "copied");
        assert_eq!(report["groups"][0]["lag_ms"], 0);
        for folder in ["archives", "chunks"] {
            assert_eq!(
                files(&places.path("source").join(folder)),
                files(&places.path("target").join(folder))
            );
        }

        std::fs::remove_dir_all(places.path("source")).unwrap();
        places.ends_with(0, "target", &["verify", "--all"]);
        let restored = server.create_database("from_copy");
        let restore = [
            "restore",
            "second",
            "-d",
            &restored.conninfo(),
            "--check",
            "content",
        ];
        places.ends_with(0, "target", &restore);
        let sum = "SELECT count(*), sum(length(note)), (SELECT note FROM t WHERE id = 7) FROM t";
        assert_eq!(restored.psql(sum), source.psql(sum));
    }
}

#[test]
fn a_target_that_fails_does_not_stop_the_others() {
    let server = Server::shared(*majors().last().unwrap());
    let places = Places::new();
    let source = server.create_database("targets");
    source.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 100) AS i");
    let conninfo = source.conninfo();
    for name in ["first", "second"] {
        places.ends_with(0, "source", &["dump", "-d", &conninfo, "--name", name]);
    }
    // A file is no folder, and a folder with chunks and no marker is no repository.
    std::fs::write(places.path("file"), "x").unwrap();
    let (file, good, other) = (
        places.text("file"),
        places.text("good"),
        places.text("other"),
    );
    let (out, err) = places.ends_with(3, "source", &["replicate", &file, &good]);
    assert!(out.contains(&format!("{good}: 2 copied")), "{out}");
    assert!(err.contains(&format!("{file}: failed: ")), "{err}");
    places.ends_with(0, "good", &["verify", "--all"]);

    // The second target has another archive under the name of one of them.
    places.ends_with(0, "other", &["dump", "-d", &conninfo, "--name", "first"]);
    let (out, err) = places.ends_with(3, "source", &["replicate", &good, &other]);
    assert!(
        out.contains(&format!("{good}: 0 copied, 2 there already")),
        "{out}"
    );
    assert!(
        out.contains(&format!("{other}: 1 copied, 1 failed")),
        "{out}"
    );
    assert!(err.contains("another archive under this name"), "{err}");

    let (out, _) = places.ends_with(1, "source", &["replicate", &file, &file, "--json"]);
    let reached: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(reached.as_array().unwrap().len(), 2);
    assert_eq!(reached[0]["report"], Value::Null);
    assert!(reached[0]["error"]["message"].is_string());

    places.ends_with(2, "source", &["replicate"]);
    places.ends_with(2, "source", &["replicate", "s5://nowhere"]);
    places.ends_with(2, "source", &["replicate", &places.text("source")]);
    places.ends_with(10, "source", &["replicate", &good, "--archive", "third"]);
    let (out, _) = places.ends_with(
        0,
        "source",
        &["replicate", &places.text("last"), "--only-last", "1"],
    );
    assert!(
        out.contains("second copied") && !out.contains("first copied"),
        "{out}"
    );
}

#[test]
fn damage_at_the_source_is_named_and_the_other_archives_are_copied() {
    let server = Server::shared(*majors().last().unwrap());
    let places = Places::new();
    let source = server.create_database("damaged_source");
    source.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 100) AS i");
    let dump = ["dump", "-d", &source.conninfo(), "--name"];
    places.ends_with(0, "source", &[&dump[..], &["first"]].concat());
    let before = files(&places.path("source/chunks"));
    source.psql("UPDATE t SET i = -i");
    places.ends_with(0, "source", &[&dump[..], &["second"]].concat());
    let after = files(&places.path("source/chunks"));
    let new = after.iter().find(|file| !before.contains(file));
    let chunk = &new.unwrap().0;
    let path = places.path("source/chunks").join(&chunk[..2]).join(chunk);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let target = places.text("target");
    let (out, err) = places.ends_with(3, "source", &["replicate", &target]);
    assert!(out.contains("1 copied, 1 failed"), "{out}");
    assert!(err.contains(chunk.as_str()), "{err}");
    places.ends_with(0, "target", &["verify", "--all"]);
    let (out, _) = places.ends_with(0, "target", &["list", "--json"]);
    assert!(
        out.contains("\"first\"") && !out.contains("\"second\""),
        "{out}"
    );
}
