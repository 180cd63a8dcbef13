//! A throwaway server for one test: started on first use, stopped and removed when dropped.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// A running server, reached through a socket in its own folder.
pub(crate) struct TestServer {
    bin: PathBuf,
    folder: TempDir,
}

impl TestServer {
    /// Starts a server from the programs in `PGARK_TEST_BIN`, or those of Debian's PostgreSQL 15.
    pub(crate) fn start() -> Self {
        let bin = std::env::var_os("PGARK_TEST_BIN").map_or_else(
            || PathBuf::from("/usr/lib/postgresql/15/bin"),
            PathBuf::from,
        );
        let folder = tempfile::Builder::new()
            .prefix("cmp")
            .tempdir_in("/tmp")
            .unwrap();
        let server = Self { bin, folder };
        let data = server.data();
        run(Command::new("chown")
            .arg("postgres")
            .arg(server.folder.path()));
        let options = [
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ];
        run(server.program("initdb").args(options).arg(&data));
        let settings = format!(
            "-c listen_addresses='' -c unix_socket_directories={} -c fsync=off -c full_page_writes=off \
             -c wal_level=logical -c max_connections=50",
            server.folder.path().display()
        );
        let start = ["-w", "-l", "/dev/null", "-o", &settings, "start", "-D"];
        run(server.program("pg_ctl").args(start).arg(&data));
        server
    }

    /// Gives the connection string of `database`.
    pub(crate) fn conninfo(&self, database: &str) -> String {
        format!(
            "host={} user=postgres dbname={database}",
            self.folder.path().display()
        )
    }

    /// Connects to `database` as superuser.
    pub(crate) async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.conninfo(database), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new("runuser");
        command
            .args(["-u", "postgres", "--"])
            .arg(self.bin.join(name));
        command
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["-m", "immediate", "stop", "-D"])
            .arg(self.data());
        stop.stdout(Stdio::null()).status().ok();
    }
}

/// The `pg_dump` of PostgreSQL 18 that serves as a second opinion.
pub(crate) fn pg_dump() -> PathBuf {
    let path =
        std::env::var_os("PGARK_PG_DUMP").expect("PGARK_PG_DUMP names a pg_dump of PostgreSQL 18");
    Path::new(&path).to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
