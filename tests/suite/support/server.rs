//! Test servers and databases: servers that one test owns, the servers that a whole run shares, and a database of its own for
//! each test. Starting private servers is the work of `cluster`; the shared ones and the programs are that of `scripts/servers`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Client, NoTls};

use super::cluster::Cluster;
use super::{Major, block_on, oracle, output_of};

/// A running server with the superuser `postgres`. A private one ends when it and all its [`Database`]s are dropped; a shared
/// one outlives the test.
pub(crate) struct Server {
    place: Place,
    cluster: Option<Arc<Cluster>>,
}

/// Where a server listens.
#[derive(Debug, Clone)]
struct Place {
    major: Major,
    socket_dir: PathBuf,
    port: u16,
}

impl Server {
    /// Starts a server of this test alone, with the settings of all test servers (see `settings` in `scripts/servers`).
    pub(crate) fn start(major: Major) -> Self {
        Self::start_with(major, &[])
    }

    /// Starts a server of this test alone with further settings, which win over the usual ones.
    pub(crate) fn start_with(major: Major, settings: &[(&str, &str)]) -> Self {
        Self::of(major, Cluster::start(major, settings))
    }

    /// Starts a hot standby of a private server with settings of its own; it has everything that the server has now.
    pub(crate) fn start_standby(&self, settings: &[(&str, &str)]) -> Self {
        Self::of(self.major(), self.own().start_standby(settings))
    }

    /// Starts the newest major as the client tools' package has it, with pgvector.
    pub(crate) fn start_oracle() -> Self {
        let program = oracle("postgres");
        Self::of(Major::V18, Cluster::start_program(Major::V18, program, &[]))
    }

    fn of(major: Major, cluster: Cluster) -> Self {
        let place = Place {
            major,
            socket_dir: cluster.socket_dir(),
            port: cluster.port(),
        };
        Self {
            place,
            cluster: Some(Arc::new(cluster)),
        }
    }

    /// The server of this major that all tests of a run share, or a private one where there is none (plain `cargo test`).
    /// Databases on it are each test's own; roles, tablespaces and settings are everybody's: for those start a private server.
    pub(crate) fn shared(major: Major) -> Self {
        let Ok(text) = std::env::var(format!("PGARK_TEST_SERVER_{major}")) else {
            return Self::start(major);
        };
        let (socket_dir, port) = text
            .rsplit_once(':')
            .and_then(|(dir, port)| Some((PathBuf::from(dir), port.parse().ok()?)))
            .unwrap_or_else(|| panic!("PGARK_TEST_SERVER_{major}={text} is not DIRECTORY:PORT"));
        Self {
            place: Place {
                major,
                socket_dir,
                port,
            },
            cluster: None,
        }
    }

    pub(crate) fn major(&self) -> Major {
        self.place.major
    }

    /// Whether this test alone uses the server.
    pub(crate) fn is_private(&self) -> bool {
        self.cluster.is_some()
    }

    /// Key-value connection string to a database of the server, through its socket.
    pub(crate) fn conninfo(&self, database: &str) -> String {
        self.place.conninfo(database)
    }

    /// The server's socket file.
    pub(crate) fn socket(&self) -> PathBuf {
        let Place {
            socket_dir, port, ..
        } = &self.place;
        socket_dir.join(format!(".s.PGSQL.{port}"))
    }

    /// The server's address by TCP, where it asks for a password by SCRAM.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.port).into()
    }

    /// A connection to any database of the server as superuser.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        self.place.connect(database).await
    }

    /// What a private server has logged so far.
    pub(crate) fn log_text(&self) -> String {
        self.own().log_text()
    }

    /// The data directory of a private server.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.own().data_dir()
    }

    /// Ends a private server as a crash would; its connections break and it takes no more until [`Server::restart`].
    pub(crate) fn crash(&self) {
        self.own().crash();
    }

    /// Crashes a private server if it still runs, and starts it again on the same data, socket and port.
    pub(crate) fn restart(&self) {
        self.own().restart();
    }

    fn own(&self) -> &Cluster {
        self.cluster
            .as_ref()
            .expect("only a private server is one test's to look into and to end")
    }

    /// A database that is there already, and that nobody drops.
    pub(crate) fn database(&self, name: &str) -> Database {
        assert!(
            self.is_private(),
            "databases of a shared server belong to whoever made them"
        );
        Database {
            place: self.place.clone(),
            name: name.to_owned(),
            cluster: self.cluster.clone(),
        }
    }

    /// Makes an empty database from `template0`, named after the hint and unique on the server. On a shared server it is
    /// dropped with the value.
    pub(crate) fn create_database(&self, hint: &str) -> Database {
        self.create_database_with(hint, "")
    }

    /// The same with more options of `CREATE DATABASE`.
    pub(crate) fn create_database_with(&self, hint: &str, options: &str) -> Database {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let hint: String = hint
            .chars()
            .map(|char| {
                if char.is_ascii_alphanumeric() {
                    char.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .take(30)
            .collect();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{hint}_{}_{serial}", std::process::id());
        block_on(self.place.batch(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0 {options}"),
        ));
        Database {
            place: self.place.clone(),
            name,
            cluster: self.cluster.clone(),
        }
    }
}

impl Place {
    fn conninfo(&self, database: &str) -> String {
        let Self {
            socket_dir, port, ..
        } = self;
        format!(
            "host={} port={port} user=postgres dbname={database}",
            socket_dir.display()
        )
    }

    /// A connection to a database that is not one of ours, such as `postgres`.
    async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.conninfo(database), NoTls)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {database} on {self:?}: {error:?}"));
        // An error of the connection reaches the test through the client as well.
        tokio::spawn(connection);
        client
    }

    async fn batch(&self, database: &str, sql: &str) {
        let client = self.connect(database).await;
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{database} on {self:?}: {error:?}\n{sql}"));
    }

    /// Drops a database whoever is connected to it or has a replication slot in it.
    async fn drop_database(&self, name: &str) -> Result<(), tokio_postgres::Error> {
        let (client, connection) =
            tokio_postgres::connect(&self.conninfo("postgres"), NoTls).await?;
        tokio::spawn(connection);
        let slots = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = '{name}';
             SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots
              WHERE database = '{name}' AND NOT active"
        );
        client.batch_execute(&slots).await?;
        let force = if self.major >= Major::V13 {
            " WITH (FORCE)"
        } else {
            ""
        };
        client
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name}{force}"))
            .await
    }
}

/// A database of one test.
pub(crate) struct Database {
    place: Place,
    name: String,
    cluster: Option<Arc<Cluster>>,
}

impl Database {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn major(&self) -> Major {
        self.place.major
    }

    /// Key-value connection string through the server's socket, where `postgres` is trusted.
    pub(crate) fn conninfo(&self) -> String {
        self.place.conninfo(&self.name)
    }

    /// Key-value connection string over TCP, where the server asks for a password by SCRAM.
    pub(crate) fn tcp_conninfo(&self) -> String {
        let Self {
            place: Place { port, .. },
            name,
            ..
        } = self;
        format!("host=127.0.0.1 port={port} user=postgres password=pgark dbname={name}")
    }

    /// Opens a connection, driven by a task of the caller's runtime.
    pub(crate) async fn connect(&self) -> Client {
        self.place.connect(&self.name).await
    }

    /// Runs statements, as one transaction unless they say otherwise, on a connection of their own.
    pub(crate) async fn batch(&self, sql: &str) {
        self.place.batch(&self.name, sql).await;
    }

    /// Runs SQL with psql, as one transaction unless it says otherwise; returns unaligned rows without headers.
    pub(crate) fn psql(&self, sql: &str) -> String {
        output_of(self.psql_command().args(["-c", sql]))
    }

    /// Runs a script with psql, each statement by itself, COPY blocks and backslash commands included; stops at an error.
    pub(crate) fn psql_file(&self, path: &Path) -> String {
        output_of(self.psql_command().arg("-f").arg(path))
    }

    fn psql_command(&self) -> Command {
        let mut command = Command::new(oracle("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", &self.conninfo()]);
        command
    }

    /// Returns what the newest major's `pg_dump` says of this database. The text of two runs on equal databases is equal:
    /// the key it would choose at random is fixed in the plain format.
    pub(crate) fn pg_dump(&self, args: &[&str]) -> String {
        let mut command = Command::new(oracle("pg_dump"));
        if !args
            .iter()
            .any(|arg| arg.starts_with("-F") || arg.starts_with("--format"))
        {
            command.arg("--restrict-key=pgark");
        }
        output_of(command.args(args).args(["-d", &self.conninfo()]))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.cluster.is_some() {
            return;
        }
        if let Err(error) = block_on(self.place.drop_database(&self.name)) {
            eprintln!(
                "database {} stays until its server ends: {error:?}",
                self.name
            );
        }
    }
}
