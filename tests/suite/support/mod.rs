//! What all integration tests share: which servers to run on, the `pgark` program, and running async code to its end in a
//! place that is not async. Servers and databases are in `server` and `cluster`; where programs are installed is known to `scripts/servers` alone.

mod cluster;
pub(crate) mod compare;
pub(crate) mod cut;
pub(crate) mod fault_store;
pub(crate) mod faulty;
pub(crate) mod pair;
mod proxy;
pub(crate) mod s3;
mod server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

pub(crate) use pgark::config::{Place, Secret};
pub(crate) use s3::S3Server;
pub(crate) use server::{Database, Server};

/// A major version of PostgreSQL that we serve, 12 to 18.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Major(u16);

impl Major {
    pub(crate) const V12: Self = Self(12);
    pub(crate) const V13: Self = Self(13);
    pub(crate) const V18: Self = Self(18);

    /// The version number as people write it: 15.
    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// Where this major's programs and template cluster are in the cache.
    fn home(self) -> PathBuf {
        cache().join(self.to_string())
    }

    fn is_installed(self) -> bool {
        self.home().join("ready").exists()
    }

    /// Whether servers of this major can be started; says so where they cannot, or fails the test when `PGARK_REQUIRE_PG=1`.
    pub(crate) fn is_there(self) -> bool {
        let required = std::env::var("PGARK_REQUIRE_PG").is_ok_and(|value| value == "1");
        let remedy = format!("PostgreSQL {self} is not installed; run scripts/servers {self}");
        assert!(!required || self.is_installed(), "{remedy}");
        if !self.is_installed() {
            println!("left out: {remedy}");
        }
        self.is_installed()
    }
}

impl fmt::Display for Major {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl std::str::FromStr for Major {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let served = Self::V12.0..=Self::V18.0;
        match text.trim().parse() {
            Ok(number) if served.contains(&number) => Ok(Self(number)),
            _ => Err(format!("{text:?} is no major version from 12 to 18")),
        }
    }
}

/// The majors to test on, oldest first: those of `PGARK_TEST_VERSIONS` (default `15,18`) that are installed. One that is not
/// is left out with a printed line, or fails the test when `PGARK_REQUIRE_PG=1`.
pub(crate) fn majors() -> Vec<Major> {
    installed("PGARK_TEST_VERSIONS")
}

/// The majors for what differs from each to the next, such as the catalogs: those of `PGARK_MATRIX_VERSIONS`, which
/// `scripts/test` sets to all seven; else as [`majors`].
pub(crate) fn matrix() -> Vec<Major> {
    let name = "PGARK_MATRIX_VERSIONS";
    installed(if std::env::var_os(name).is_some() {
        name
    } else {
        "PGARK_TEST_VERSIONS"
    })
}

fn installed(variable: &str) -> Vec<Major> {
    let wanted = std::env::var(variable).unwrap_or_else(|_| "15,18".to_owned());
    let mut majors = Vec::new();
    for word in wanted.split([',', ' ']).filter(|word| !word.is_empty()) {
        let major: Major = word
            .parse()
            .unwrap_or_else(|problem| panic!("{variable}: {problem}"));
        if major.is_there() {
            majors.push(major);
        }
    }
    majors.sort_unstable();
    majors.dedup();
    majors
}

/// A command that runs `pgark` as a user with an empty home would: no `PG*` and no `PGARK_*` variables, English messages, UTC.
pub(crate) fn pgark() -> Command {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    std::fs::create_dir_all(&home).expect("cargo's directory for test files can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgark"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["PG", "XDG_", "LC_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
        .env("HOME", home)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .env_remove("NO_COLOR")
        .env_remove("LANGUAGE");
    command
}

/// Runs a future to its end on a thread and runtime of its own, so that it may be called from async tests and from `Drop`.
pub(crate) fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime needs only memory and file handles")
            .block_on(work)
    };
    std::thread::scope(|threads| threads.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A program of the newest major's client tools, which only tests use (`pg_dump`, `psql`, `pg_restore`).
pub(crate) fn oracle(program: &str) -> PathBuf {
    let path = cache().join("oracle/bin").join(program);
    assert!(
        path.exists(),
        "{} is missing; run scripts/servers",
        path.display()
    );
    path
}

/// The cache directory, as `scripts/servers` decides it.
fn cache() -> &'static Path {
    static CACHE: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("PGARK_PG_CACHE") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(servers_script("--where").trim_end()),
    });
    &CACHE
}

/// Runs `scripts/servers` with one option and returns what it prints.
pub(crate) fn servers_script(option: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers");
    output_of(Command::new(script).arg(option))
}

/// Runs a program that must succeed and returns its standard output, which must be UTF-8.
pub(crate) fn output_of(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("tests ask only for output in UTF-8")
}
