//! Tests of the test servers themselves: what `support` promises, on each major, so that a failure elsewhere is about pgark.

use std::path::Path;
use std::process::Command;

use crate::support::{
    Database, Major, Server, block_on, majors, matrix, output_of, pgark, servers_script,
};

#[tokio::test]
async fn each_major_starts_with_its_settings_and_leaves_nothing() {
    for major in matrix() {
        let server = Server::start_with(major, &[("work_mem", "5MB")]);
        let (client, connection) =
            tokio_postgres::connect(&server.conninfo("postgres"), tokio_postgres::NoTls)
                .await
                .unwrap();
        tokio::spawn(connection);
        let row = client
            .query_one(
                "SELECT current_setting('server_version_num')::int / 10000, current_setting('work_mem'),
                        current_setting('wal_level'), current_setting('synchronous_commit'), current_setting('fsync')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, i32>(0), i32::from(major.number()));
        let settings: Vec<String> = (1..5).map(|column| row.get(column)).collect();
        assert_eq!(
            settings,
            ["5MB", "logical", "on", "off"],
            "PostgreSQL {major}"
        );
        assert!(
            server.log_text().contains("ready to accept connections"),
            "{}",
            server.log_text()
        );
        let data_dir = server.data_dir();
        assert!(data_dir.join("PG_VERSION").exists());
        drop(server);
        assert!(
            !data_dir.exists(),
            "PostgreSQL {major} left {}",
            data_dir.display()
        );
    }
}

#[tokio::test]
async fn databases_of_one_server_are_independent_and_dropped() {
    for major in majors() {
        let server = Server::shared(major);
        assert_eq!(server.major(), major);
        let one = server.create_database("Inde-pendent");
        let two = server.create_database("Inde-pendent");
        assert_eq!(one.major(), major);
        assert_ne!(one.name(), two.name());
        one.batch("CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 3)")
            .await;
        two.batch("CREATE TABLE t (a text)").await;
        assert_eq!(count_rows(&one).await, 3);
        assert_eq!(two.psql("SELECT count(*) FROM t"), "0\n");

        // An open connection and a replication slot must not keep a database alive on a server that others use.
        one.batch("SELECT pg_create_logical_replication_slot('kept_' || current_database(), 'test_decoding')").await;
        let name = one.name().to_owned();
        drop(one);
        let left = two.psql(&format!(
            "SELECT count(*) FROM pg_database WHERE datname = '{name}'"
        ));
        assert_eq!(left, if server.is_private() { "1\n" } else { "0\n" });
    }
}

async fn count_rows(database: &Database) -> i64 {
    let client = database.connect().await;
    let row = client
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .unwrap();
    row.get(0)
}

#[tokio::test]
async fn contrib_extensions_are_there() {
    for major in majors() {
        let database = Server::shared(major).create_database("contrib");
        for extension in [
            "hstore",
            "pg_trgm",
            "pgcrypto",
            "postgres_fdw",
            "ltree",
            "citext",
            "btree_gist",
        ] {
            database
                .batch(&format!("CREATE EXTENSION {extension}"))
                .await;
        }
    }
}

#[tokio::test]
async fn tcp_asks_for_a_password() {
    for major in majors() {
        let database = Server::shared(major).create_database("tcp");
        let right = database.tcp_conninfo();
        let (client, connection) = tokio_postgres::connect(&right, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client.batch_execute("SELECT 1").await.unwrap();
        let wrong = right.replace("password=pgark", "password=other");
        assert!(
            tokio_postgres::connect(&wrong, tokio_postgres::NoTls)
                .await
                .is_err()
        );
    }
}

#[test]
fn the_oracle_reads_every_major() {
    for major in majors() {
        let server = Server::shared(major);
        let database = server.create_database("oracle");
        let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-{major}.sql"));
        std::fs::write(
            &script,
            "CREATE TABLE kept (a int);\nCOPY kept FROM stdin;\n1\n2\n\\.\n",
        )
        .unwrap();
        database.psql_file(&script);
        let text = database.pg_dump(&["--no-owner"]);
        assert!(
            text.contains("CREATE TABLE public.kept") && text.contains("\n1\n2\n\\.\n"),
            "{text}"
        );
        assert_eq!(
            text,
            database.pg_dump(&["--no-owner"]),
            "PostgreSQL {major}"
        );
        assert!(
            !database
                .pg_dump(&["--format=plain", "--schema-only"])
                .contains("COPY")
        );
    }
}

#[tokio::test]
async fn a_crashed_server_comes_back_where_it_was() {
    for major in majors() {
        let server = Server::start(major);
        let database = server.create_database("crash");
        database
            .batch("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
            .await;
        let client = database.connect().await;
        server.crash();
        assert!(client.batch_execute("SELECT 1").await.is_err());
        server.restart();
        assert_eq!(
            count_rows(&database).await,
            1,
            "PostgreSQL {major} lost a committed row"
        );
    }
}

/// A test that was killed leaves a running server whose owner has gone; the next start must end it.
#[test]
fn a_sweep_ends_servers_without_an_owner() {
    let Some(&major) = majors().first() else {
        return;
    };
    let server = Server::start(major);
    let dir = server.data_dir().parent().unwrap().to_owned();
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let orphan = dir.with_file_name(format!("{}.1.orphan", gone.id()));
    std::fs::rename(&dir, &orphan).unwrap();
    let other = Server::start(major);
    assert!(!orphan.exists(), "{} was not swept", orphan.display());
    servers_script("--sweep");
    block_on(async { other.create_database("alive").batch("SELECT 1").await });
}

#[test]
fn a_major_is_a_number_from_12_to_18() {
    assert_eq!("12".parse(), Ok(Major::V12));
    assert_eq!(" 18 ".parse(), Ok(Major::V18));
    for wrong in ["11", "19", "15.1", "", "x"] {
        assert!(wrong.parse::<Major>().is_err(), "{wrong}");
    }
}

#[test]
fn pgark_runs_in_a_clean_environment() {
    let command = pgark();
    let home = command
        .get_envs()
        .find(|(name, _)| *name == "HOME")
        .and_then(|(_, value)| value)
        .unwrap();
    assert!(Path::new(home).is_dir());
    assert_eq!(
        std::fs::read_dir(home).unwrap().count(),
        0,
        "something wrote into {}",
        home.display()
    );
    output_of(pgark().arg("--version"));
}
