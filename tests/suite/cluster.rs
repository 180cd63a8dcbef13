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

/// Settings of all kinds, those of `ALTER ROLE ALL` too, which pg_dumpall loses.
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
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
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

/// What pg_dumpall says of everything that databases share.
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
