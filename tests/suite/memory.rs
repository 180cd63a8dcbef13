//! How much memory a dump and a restore take at most: under 300 MiB with four connections, whatever the database. The system
//! itself refuses more to the process, and what it says of the peak is checked as well.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Database, Server, majors, pgark};

const LIMIT_BYTES: u64 = 300 << 20;

/// `pgark` in a process that cannot have more private writable memory than the limit (`RLIMIT_DATA`, getrlimit(2)).
fn limited() -> Command {
    let plain = pgark();
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--data={LIMIT_BYTES}"))
        .arg(plain.get_program());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// The peak of the resident memory of a process in bytes, while it lives (`VmHWM`, proc(5)).
pub(crate) fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Runs of the program with one repository.
pub(crate) struct Run {
    dir: tempfile::TempDir,
}

impl Run {
    pub(crate) fn new() -> Run {
        let dir = tempfile::tempdir().unwrap();
        Run { dir }
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    /// Runs to a successful end and gives the peak of resident memory.
    pub(crate) fn peak(&self, arguments: &[&str]) -> u64 {
        let log = self.dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let mut child = limited()
            .args(arguments)
            .args(["-j", "4", "-r"])
            .arg(self.repo())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_bytes(child.id()).unwrap_or_default());
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let said = fs::read_to_string(&log).unwrap();
        assert!(status.success(), "{arguments:?}: {status}: {said}");
        println!("{}: at most {} MiB", arguments[0], peak >> 20);
        assert!(peak < LIMIT_BYTES, "{arguments:?}: {} MiB", peak >> 20);
        peak
    }

    /// Dumps, restores with the counts compared, and gives the target.
    fn there_and_back(server: &Server, source: &Database) -> Database {
        let run = Run::new();
        run.peak(&["dump", "-d", &source.conninfo()]);
        let target = server.create_database("memory_target");
        let into = target.conninfo();
        let from = source.name();
        run.peak(&["restore", "-d", &into, "--from-database", from]);
        target
    }
}

#[test]
fn two_gigabytes_are_dumped_and_restored_in_bounded_memory() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("memory");
    // The blocks come again too far apart for zstd to notice, so that stored chunks are large as well.
    source.psql(
        "CREATE TABLE block AS SELECT j AS id, string_agg(encode(sha512((j * 4 + k)::text::bytea), 'hex'), '') AS text
           FROM generate_series(0, 8191) j, generate_series(0, 3) k GROUP BY j;
         CREATE TABLE big (id bigint, note text);
         ALTER TABLE big ALTER note SET STORAGE plain;
         INSERT INTO big SELECT i, a.text || b.text
           FROM generate_series(1, 1750000) i JOIN block a ON a.id = i % 8192 JOIN block b ON b.id = i::bigint * 7919 % 8191;
         CREATE TABLE small_1 AS SELECT i AS id, md5(i::text) AS note FROM generate_series(1, 300000) i;
         CREATE TABLE small_2 AS SELECT * FROM small_1;
         CREATE TABLE small_3 AS SELECT * FROM small_1;
         CREATE TABLE small_4 AS SELECT * FROM small_1;",
    );
    let n_bytes = source.psql("SELECT pg_database_size(current_database())");
    let n_bytes: u64 = n_bytes.trim().parse().unwrap();
    assert!(n_bytes > 2_000_000_000, "{n_bytes}");
    let target = Run::there_and_back(&server, &source);
    let counts = "SELECT (SELECT count(*) FROM big), (SELECT count(*) FROM small_4)";
    assert_eq!(target.psql(counts), "1750000|300000\n");
}

#[test]
fn rows_of_400_megabytes_are_dumped_and_restored_in_bounded_memory() {
    let server = Server::shared(*majors().last().unwrap());
    let source = server.create_database("memory_wide");
    // Twenty such rows in one table, and three more tables, so that such rows are under way on all connections at once.
    for (number, n_rows) in [(1, 20), (2, 1), (3, 1), (4, 1)] {
        source.psql(&format!(
            "CREATE TABLE wide_{number} AS SELECT i AS id, convert_to(repeat('{number}', 200 * 1024 * 1024), 'UTF8') AS data
               FROM generate_series(1, {n_rows}) i"
        ));
    }
    let target = Run::there_and_back(&server, &source);
    let lengths = "SELECT sum(length(data)) FROM (TABLE wide_1 UNION ALL TABLE wide_2 UNION ALL TABLE wide_3 UNION ALL TABLE wide_4) AS wide";
    assert_eq!(target.psql(lengths), format!("{}\n", 23 * (200_u64 << 20)));
}
