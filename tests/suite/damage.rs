//! Damage to each file of an archive, by the program: `verify` finds it and says what was in the file, `restore` refuses
//! before it changes anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::{Database, Server, majors, pgark};

const SHOP: &str = "
    CREATE SCHEMA s;
    CREATE TABLE s.customers (id int PRIMARY KEY, name text);
    INSERT INTO s.customers SELECT i, 'customer ' || i FROM generate_series(1, 2000) i;
    CREATE TABLE s.orders (id int PRIMARY KEY, customer int REFERENCES s.customers, note text);
    INSERT INTO s.orders SELECT i, i % 2000 + 1, string_agg(md5((i * 31 + j)::text), ' ')
      FROM generate_series(1, 60000) i, generate_series(1, 4) j GROUP BY i;
    CREATE VIEW s.names AS SELECT name FROM s.customers;";

/// What may become of a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit of the byte at this place is another.
    Flip(usize),
    /// The last byte is gone.
    Cut,
    /// The file is gone.
    Delete,
}

impl Damage {
    fn all(bytes: &[u8]) -> Vec<Damage> {
        let last = bytes.len() - 1;
        let mut places = vec![0, last / 4, last / 2, last / 4 * 3, last];
        places.dedup();
        let flips = places.into_iter().map(Damage::Flip);
        flips.chain([Damage::Cut, Damage::Delete]).collect()
    }

    fn apply(self, path: &Path, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        match self {
            Damage::Flip(place) => bytes[place] ^= 0b100,
            Damage::Cut => {
                bytes.pop();
            }
            Damage::Delete => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What a file is to its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Without it there is no archive that could be chosen.
    Manifest,
    /// Holds part of what is restored.
    Chunk,
    /// Tells of the repository or the archive; an archive can be restored without it, with a warning.
    Record,
}

impl Role {
    fn of(key: &str) -> Role {
        match key.split('/').next() {
            Some("archives") => Role::Manifest,
            Some("chunks") => Role::Chunk,
            _ => Role::Record,
        }
    }

    /// One of these stands in the finding: what was in the file.
    fn contents(self) -> &'static [&'static str] {
        match self {
            Role::Manifest => &["the whole archive"],
            Role::Chunk => &["s.customers", "s.orders", "TOC", "data index"],
            Role::Record => &["announcement", "repository's id"],
        }
    }
}

/// The files below a folder, as keys.
fn files(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, keys: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, keys);
            } else {
                let key = path.strip_prefix(root).unwrap();
                keys.push(key.to_str().unwrap().to_owned());
            }
        }
    }
    let mut keys = Vec::new();
    walk(folder, folder, &mut keys);
    keys.sort_unstable();
    keys
}

fn run(repo: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = pgark()
        .args(arguments)
        .arg("-r")
        .arg(repo)
        .output()
        .unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Objects that a restore would have made.
fn objects(database: &Database) -> String {
    database.psql("SELECT nspname FROM pg_namespace WHERE nspname = 's' UNION ALL SELECT relname FROM pg_class WHERE oid >= 16384")
}

struct Case<'a> {
    repo: &'a Path,
    key: &'a str,
    damage: Damage,
}

impl Case<'_> {
    fn path(&self) -> PathBuf {
        self.repo.join(self.key)
    }

    fn check_verify(&self) {
        let (key, damage) = (self.key, self.damage);
        let role = Role::of(key);
        let (code, said) = run(self.repo, &["verify", "--all"]);
        assert_eq!(code, Some(11), "{key}: {damage:?}: {said}");
        assert!(said.contains(key), "{key}: {damage:?}: {said}");
        let named = role.contents().iter().any(|what| said.contains(what));
        // A manifest that is gone is told of by its announcement.
        let is_gone = role == Role::Manifest && matches!(damage, Damage::Delete);
        assert!(named || is_gone, "{key}: {damage:?}: {said}");
    }

    fn check_restore(&self, target: &Database) {
        let (key, damage) = (self.key, self.damage);
        let into = target.conninfo();
        let arguments = ["restore", "shop", "-d", &into, "-j", "2"];
        let (code, said) = run(self.repo, &arguments);
        let expected = match damage {
            Damage::Delete if Role::of(key) == Role::Manifest => 10,
            _ => 11,
        };
        assert_eq!(code, Some(expected), "{key}: {damage:?}: {said}");
        assert_eq!(objects(target), "", "{key}: {damage:?}: {said}");
    }
}

#[test]
fn damage_of_any_file_is_found_and_never_restored() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let source = server.create_database("damage_source");
    source.psql(SHOP);
    let target = server.create_database("damage_target");
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    let (code, said) = run(
        &repo,
        &[
            "dump",
            "-d",
            &source.conninfo(),
            "--name",
            "shop",
            "-j",
            "2",
        ],
    );
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&repo, &["verify", "--all", "--depth", "presence"]);
    assert_eq!(code, Some(0), "{said}");

    let keys = files(&repo);
    let of_role = |role| keys.iter().filter(|key| Role::of(key) == role).count();
    assert_eq!(of_role(Role::Manifest), 1, "{keys:?}");
    assert!(of_role(Role::Chunk) >= 3, "{keys:?}");
    assert!(of_role(Role::Record) >= 2, "{keys:?}");
    let (mut n_verified, mut n_restored) = (0, 0);
    for key in &keys {
        let path = repo.join(key);
        let bytes = fs::read(&path).unwrap();
        for damage in Damage::all(&bytes) {
            let case = Case {
                repo: &repo,
                key,
                damage,
            };
            damage.apply(&case.path(), &bytes);
            case.check_verify();
            n_verified += 1;
            if Role::of(key) != Role::Record {
                case.check_restore(&target);
                n_restored += 1;
            }
            fs::write(&path, &bytes).unwrap();
        }
    }
    println!(
        "{} files, {n_verified} damages found by verify, {n_restored} restores refused",
        keys.len()
    );
    // Nothing of all that was remembered wrongly: the healed repository is whole and restores.
    let (code, said) = run(&repo, &["verify", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&repo, &["restore", "shop", "-d", &target.conninfo()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(target.psql("SELECT count(*) FROM s.orders"), "60000\n");
}
