//! Whole clusters: everything that databases share, and the databases, go from one cluster to a fresh one. `pg_dumpall` and the
//! catalogs that it leaves out must say the same of both.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::pair::{Pair, assert_same};
use crate::support::{Database, Major, Server, majors, matrix, oracle, output_of, pgark};

/// The kinds of the cluster, in an order in which their fixtures can be loaded.
const FIXTURES: [&str; 7] = [
    "role",
    "role_setting",
    "role_membership",
    "parameter",
    "tablespace",
    "database",
    "database_setting",
];

/// Databases with what belongs to them, but for the OIDs and the order of a list of privileges.
const DATABASES: &str = "
SELECT d.datname, pg_get_userbyid(datdba), datconnlimit, datistemplate, datallowconn, t.spcname, pg_encoding_to_char(encoding), datcollate, datctype,
       shobj_description(d.oid, 'pg_database'),
       (SELECT array_agg(a ORDER BY a) FROM unnest(coalesce(datacl, acldefault('d', datdba))::text[]) a)
  FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace ORDER BY 1";

/// Settings of all kinds, those of `ALTER ROLE ALL` too, which `pg_dumpall` loses.
const SETTINGS: &str = "
SELECT d.datname, setrole::regrole, setconfig
  FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase ORDER BY 1, 2";

/// A repository of its own, and `pgark` on it.
struct Place {
    _dir: tempfile::TempDir,
    repo: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        Place { _dir: dir, repo }
    }

    /// Runs `pgark`, which must end with `code`; gives all that it printed.
    #[track_caller]
    fn run(&self, code: i32, arguments: &[&str]) -> String {
        let mut command = pgark();
        let Output {
            status,
            stdout,
            stderr,
        } = command
            .args(arguments)
            .arg("-r")
            .arg(&self.repo)
            .output()
            .unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {said}");
        said
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.run(0, arguments);
        // Warnings may stand behind the document.
        let mut values = serde_json::Deserializer::from_str(&said).into_iter();
        let first = values.next().unwrap();
        first.unwrap_or_else(|error| panic!("{error}: {said}"))
    }
}

/// Everything of the cluster's kinds in one database, which is also in a tablespace of its own.
fn fill(server: &Server) -> Database {
    let database = server.create_database("cluster");
    for kind in FIXTURES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kinds");
        database.psql_file(&folder.join(format!("{kind}.sql")));
    }
    database
}

/// What `pg_dumpall` says of everything that databases share.
fn globals(server: &Server) -> String {
    let mut command = Command::new(oracle("pg_dumpall"));
    command.args(["--globals-only", "--restrict-key=pgark", "-d"]);
    output_of(command.arg(server.conninfo("postgres")))
}

fn asked(server: &Server, query: &str) -> String {
    server.database("postgres").psql(query)
}

#[track_caller]
fn assert_same_cluster(what: &str, source: &Server, target: &Server) {
    assert_eq!(globals(source), globals(target), "{what}");
    for query in [DATABASES, SETTINGS] {
        assert_eq!(asked(source, query), asked(target, query), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_every_major_comes_back_the_same() {
    for major in matrix() {
        let (pair, place) = (Pair::start(major), Place::new());
        let database = fill(&pair.source);
        let rows = "SET TRANSACTION READ WRITE; CREATE SCHEMA s; CREATE TABLE s.t AS SELECT i FROM generate_series(1, 50) i;
                    ALTER TABLE s.t OWNER TO pgark_k_plain; GRANT SELECT ON s.t TO pgark_k_reader";
        database.psql(rows);
        asked(&pair.source, "CREATE DATABASE \"pgark_k_ \"\"odd, it's\" OWNER pgark_k_plain TABLESPACE \"pgark_k_ Odd\"
              TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
        asked(&pair.source, "CREATE TABLE of_postgres (id int)");
        let (from, to) = (
            pair.source.conninfo("postgres"),
            pair.target.conninfo("postgres"),
        );
        let dumped = place.json(&["dump", "--all", "-j", "2", "-d", &from, "--json"]);
        assert_eq!(
            dumped["databases"].as_array().unwrap().len(),
            3,
            "{dumped:#}"
        );
        let skipped = dumped["skipped"].to_string();
        assert!(
            skipped.contains("template1: it is as initdb made it"),
            "{skipped}"
        );
        let restored = place.json(&["restore", "--all", "-j", "2", "-d", &to, "--json"]);
        assert_eq!(
            restored["databases"].as_array().unwrap().len(),
            3,
            "{restored:#}"
        );
        assert_same_cluster(&format!("PostgreSQL {major}"), &pair.source, &pair.target);
        if majors().contains(&major) {
            let copy = pair.target.database(database.name());
            assert_same(&format!("{major}"), &database, &copy, &[]).await;
        }
    }
}

/// Only the lines of roles, settings and comments: what every major spells alike.
fn roles(server: &Server) -> Vec<String> {
    let text = globals(server);
    let lines = text.lines().filter(|line| {
        ["CREATE ROLE", "ALTER ROLE", "COMMENT ON ROLE"]
            .iter()
            .any(|verb| line.starts_with(verb))
    });
    lines.map(str::to_owned).collect()
}

/// Who is in which role, with what right to pass it on, whoever granted it.
const MEMBERSHIPS: &str = "
SELECT roleid::regrole, member::regrole, bool_or(admin_option) FROM pg_auth_members WHERE member >= 16384 GROUP BY 1, 2 ORDER BY 1::text, 2::text";

#[test]
fn globals_go_to_older_and_newer_majors_and_losses_are_named() {
    for (source, target, n_lost) in [(18, 15, 4), (12, 18, 0), (18, 13, 6)] {
        let installed = [source, target].map(|number: u16| number.to_string().parse().unwrap());
        let [from, to] = installed;
        if !Major::is_there(from) || !Major::is_there(to) {
            continue;
        }
        let (pair, place) = (Pair::across(from, to), Place::new());
        for kind in &FIXTURES[..5] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/kinds");
            let postgres = pair.source.database("postgres");
            postgres.psql_file(&folder.join(format!("{kind}.sql")));
        }
        let (source, target) = (&pair.source, &pair.target);
        place.run(0, &["dump", "-g", "-d", &source.conninfo("postgres")]);
        let what = format!("{} to {}", source.major(), target.major());
        let report = place.json(&[
            "restore",
            "--globals-only",
            "--alter-existing",
            "-d",
            &target.conninfo("postgres"),
            "--json",
        ]);
        let lost = report["globals"]["lost"].as_array().unwrap();
        assert_eq!(lost.len(), n_lost, "{what}: {lost:#?}");
        assert_eq!(roles(source), roles(target), "{what}");
        assert_eq!(
            asked(source, MEMBERSHIPS),
            asked(target, MEMBERSHIPS),
            "{what}"
        );
    }
}

#[test]
fn the_database_gets_its_properties_only_where_it_is_made() {
    for major in majors() {
        let (server, place) = (Server::start(major), Place::new());
        let source = fill(&server);
        let name = source.name();
        place.run(0, &["dump", "-d", &source.conninfo(), "--name", "whole"]);
        place.run(
            0,
            &["restore", "whole", "-C", "-d", &server.conninfo("made")],
        );
        let plain = server.create_database("plain");
        place.run(0, &["restore", "whole", "-d", &plain.conninfo()]);
        let of = |name: &str| {
            let all = [DATABASES, SETTINGS]
                .map(|query| asked(&server, query))
                .concat();
            let lines = all
                .lines()
                .filter_map(|line| line.strip_prefix(&format!("{name}|")));
            lines.map(str::to_owned).collect::<Vec<String>>()
        };
        let properties = of(name);
        assert_eq!(properties.len(), 3, "{properties:?}");
        assert_eq!(of("made"), properties);
        let plain = of(plain.name());
        assert!(
            plain.len() == 1 && plain[0].starts_with("postgres|-1|f|"),
            "{plain:?}"
        );
        let script = place.run(0, &["sql", "whole"]);
        assert!(!script.contains("ALTER DATABASE"), "{script}");
    }
}

#[test]
fn an_ordinary_user_dumps_globals_without_passwords_and_is_told() {
    for major in majors() {
        let (pair, place) = (Pair::start(major), Place::new());
        fill(&pair.source);
        asked(&pair.source, "CREATE ROLE pgark_k_user LOGIN");
        let from = pair
            .source
            .conninfo("postgres")
            .replace("user=postgres", "user=pgark_k_user");
        let dumped = place.json(&["dump", "--globals-only", "-d", &from, "--json"]);
        let skipped = dumped["skipped"].to_string();
        assert!(
            skipped.contains("passwords of roles: only a superuser"),
            "{skipped}"
        );
        let script = place.run(0, &["sql"]);
        assert!(script.contains("CREATE ROLE \"pgark_k_boss\""), "{script}");
        assert!(
            !script.contains("PASSWORD") && !script.contains("****"),
            "{script}"
        );
        place.run(
            0,
            &["restore", "-g", "-d", &pair.target.conninfo("postgres")],
        );
        let without = |server: &Server| {
            let lines = roles(server).into_iter();
            let line = |line: String| match line.split_once(" PASSWORD '") {
                Some((before, after)) => {
                    format!("{before}{}", after.split_once('\'').unwrap().1)
                }
                None => line,
            };
            lines.map(line).collect::<Vec<String>>()
        };
        assert_eq!(without(&pair.source), without(&pair.target));
    }
}

#[test]
fn what_exists_is_left_and_named_and_altered_on_request() {
    for major in majors() {
        let (pair, place) = (Pair::start(major), Place::new());
        fill(&pair.source);
        let to = pair.target.conninfo("postgres");
        asked(&pair.target, "CREATE ROLE pgark_k_boss NOLOGIN PASSWORD 'another'; ALTER ROLE pgark_k_boss SET work_mem = '1MB';
              CREATE ROLE pgark_k_set; ALTER ROLE pgark_k_set SET work_mem = '1MB'");
        place.run(0, &["dump", "-g", "-d", &pair.source.conninfo("postgres")]);
        let said = place.run(0, &["restore", "-g", "-d", &to]);
        for part in [
            "role pgark_k_boss: ALTER ROLE",
            "PASSWORD ***",
            "role setting pgark_k_set work_mem: ",
            "--alter-existing",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let boss = "SELECT rolcanlogin, rolsuper FROM pg_roles WHERE rolname = 'pgark_k_boss'";
        assert_eq!(asked(&pair.target, boss).trim_end(), "f|f");
        let all = [
            said,
            place.run(0, &["restore", "-g", "--alter-existing", "-d", &to]),
            place.run(0, &["list", "--json"]),
            place.run(0, &["show", "-v"]),
            place.run(0, &["show", "--json"]),
            place.run(0, &["restore", "-g", "-d", &to, "--json"]),
        ]
        .concat();
        assert!(
            !all.contains("SCRAM-SHA-256$") && !all.contains("md5"),
            "{all}"
        );
        asked(&pair.target, "ALTER ROLE pgark_k_boss RESET work_mem");
        // A setting that was there before keeps its place among the others.
        let sorted = |server: &Server| {
            let text = globals(server);
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(sorted(&pair.source), sorted(&pair.target));
        assert!(place.run(0, &["sql"]).contains("PASSWORD 'SCRAM-SHA-256$"));
    }
}

#[test]
fn a_refused_password_is_not_told() {
    let major = majors().pop().expect("one major at least");
    let (pair, place) = (Pair::start(major), Place::new());
    asked(&pair.source, "CREATE ROLE pgark_k_user PASSWORD 'secret'");
    place.run(0, &["dump", "-g", "-d", &pair.source.conninfo("postgres")]);
    asked(
        &pair.target,
        "CREATE ROLE pgark_k_weak CREATEROLE LOGIN; ALTER ROLE pgark_k_weak SET password_encryption = 'md5'",
    );
    let to = pair
        .target
        .conninfo("postgres")
        .replace("user=postgres", "user=pgark_k_weak");
    for more in [&["--json"][..], &[]] {
        let mut arguments = vec!["restore", "-g", "--alter-existing", "-d", &to];
        arguments.extend(more);
        let said = place.run(3, &arguments);
        assert!(
            said.contains("role pgark_k_user") || said.contains("role postgres"),
            "{said}"
        );
        assert!(!said.contains("SCRAM-SHA-256$"), "{said}");
    }
}

#[test]
fn one_database_that_fails_leaves_an_incomplete_set_which_nobody_takes_by_itself() {
    let major = majors().pop().expect("one major at least");
    let (pair, place) = (Pair::start(major), Place::new());
    let (from, to) = (
        pair.source.conninfo("postgres"),
        pair.target.conninfo("postgres"),
    );
    place.run(10, &["restore", "--all", "-d", &to]);
    let broken = pair.source.create_database("broken");
    broken.psql("CREATE TABLE t (id int)");
    let whole = pair.source.create_database("whole");
    place.run(0, &["dump", "--all", "-d", &from, "--name", "first"]);
    let locked = std::thread::scope(|threads| {
        let hold = threads.spawn(|| broken.psql("BEGIN; LOCK t; SELECT pg_sleep(5)"));
        while broken
            .psql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
            .trim()
            == "0"
        {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let arguments = [
            "dump",
            "--all",
            "-d",
            &from,
            "--name",
            "second",
            "--lock-wait-timeout",
            "100ms",
        ];
        let said = place.run(3, &arguments);
        broken.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(5)%' AND pid <> pg_backend_pid()");
        drop(hold.join());
        said
    });
    for part in [
        format!("database {}: ", broken.name()),
        "incomplete, 1 database missing".to_owned(),
    ] {
        assert!(locked.contains(&part), "{part}: {locked}");
    }
    let said = place.run(1, &["restore", "--all", "second", "-d", &to]);
    assert!(
        said.contains("--allow-incomplete") && said.contains(broken.name()),
        "{said}"
    );
    let said = place.run(0, &["restore", "--all", "-d", &to]);
    assert!(
        said.contains("set second is newer") && said.contains("set first is taken"),
        "{said}"
    );
    let databases = asked(&pair.target, "SELECT datname FROM pg_database");
    assert!(databases.contains(broken.name()) && databases.contains(whole.name()));
    // What is in the way is found before anything is changed.
    let said = place.run(
        1,
        &[
            "restore",
            "--all",
            "first",
            "-d",
            &to,
            "--exclude-database",
            "postgres",
        ],
    );
    let exists = format!("database \"{}\" exists already", whole.name());
    assert!(said.contains(&exists), "{said}");
}

#[test]
fn tablespaces_and_archives_that_are_in_the_way_or_gone_are_found_before_anything_is_changed() {
    let major = majors().pop().expect("one major at least");
    let (pair, place) = (Pair::start(major), Place::new());
    let source = pair.source.database("postgres");
    let directory = |name: &str| pair.source.data_dir().join(name).display().to_string();
    for name in ["here", "gone"] {
        let path = directory(name);
        source.psql(&format!(
            "COPY (SELECT 1) TO PROGRAM 'cat >&2; mkdir {path}'"
        ));
        source.psql(&format!(
            "CREATE TABLESPACE pgark_k_{name} LOCATION '{path}'"
        ));
    }
    asked(&pair.source, "CREATE ROLE pgark_k_new");
    let made = pair.source.create_database("made");
    place.run(
        0,
        &[
            "dump",
            "--all",
            "-d",
            &pair.source.conninfo("postgres"),
            "--name",
            "set",
        ],
    );
    source.psql("DROP TABLESPACE pgark_k_gone");
    source.psql(&format!(
        "COPY (SELECT 1) TO PROGRAM 'cat >&2; rmdir {}'",
        directory("gone")
    ));
    let archives: Vec<PathBuf> = std::fs::read_dir(place.repo.join("archives"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let of_made = archives
        .iter()
        .find(|path| path.display().to_string().contains(made.name()));
    std::fs::remove_file(of_made.unwrap()).unwrap();
    let said = place.run(
        1,
        &["restore", "--all", "-d", &pair.target.conninfo("postgres")],
    );
    for part in [
        "tablespace pgark_k_here is in ",
        "empty it, or move it away",
        "tablespace pgark_k_gone is in ",
        "there is no such directory",
        "--exclude-database",
        made.name(),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let roles = asked(
        &pair.target,
        "SELECT count(*) FROM pg_roles WHERE rolname ~ '^pgark_k_'",
    );
    assert_eq!(roles.trim_end(), "0");
}
