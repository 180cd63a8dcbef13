//! A password, given in every way, is in nothing that the program writes: standard output and error, files, records, what the server is told,
//! and what a panic would print. `jobs`, `watching` and `guide` say the same of secrets of configurations and stores.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pgark::{ConnSettings, Environment};

use crate::support::{Database, Server, majors, pgark};

/// With what must be escaped in URLs, connection strings and password files.
const PASSWORD: &str = "Geh3im/:@w'ord\\%41";
/// The pieces of it that no escaping changes.
const PIECES: [&str; 2] = ["Geh3im", "w'ord"];

fn in_url() -> String {
    let mut text = String::new();
    for byte in PASSWORD.bytes() {
        write!(text, "%{byte:02X}").unwrap();
    }
    text
}

fn quoted() -> String {
    PASSWORD.replace('\\', "\\\\").replace('\'', "\\'")
}

/// Two databases of a user whose password is the secret, and a home.
struct Site {
    source: Database,
    target: Database,
    role: String,
    dir: tempfile::TempDir,
}

/// How the program learns the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Url,
    Settings,
    Variable,
    File,
}

impl Site {
    fn new(server: &Server) -> Site {
        let (source, target) = (
            server.create_database("secret"),
            server.create_database("secret_into"),
        );
        let role = format!("pgark_{}", source.name());
        let password = PASSWORD.replace('\'', "''");
        source.psql(&format!(
            "CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'"
        ));
        source.psql("CREATE TABLE t AS SELECT i, md5(i::text) AS m FROM generate_series(1, 500) AS i; CREATE VIEW v AS SELECT * FROM t");
        let dir = tempfile::tempdir().unwrap();
        for folder in ["home", "work"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Site {
            source,
            target,
            role,
            dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn port(&self) -> String {
        let tcp = self.source.tcp_conninfo();
        tcp.split("port=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    }

    /// The target of `-d` for a database; without the password unless it is given there.
    fn at(&self, database: &str, given: Given) -> String {
        let (role, port) = (&self.role, self.port());
        match given {
            Given::Url => format!("postgres://{role}:{}@127.0.0.1:{port}/{database}", in_url()),
            Given::Settings => format!(
                "host=127.0.0.1 port={port} user={role} dbname={database} password='{}'",
                quoted()
            ),
            Given::Variable | Given::File => {
                format!("host=127.0.0.1 port={port} user={role} dbname={database}")
            }
        }
    }

    fn command(&self, given: Given, arguments: &[&str]) -> Command {
        let mut command = pgark();
        command.args(arguments).arg("-r").arg(self.path("repo"));
        command
            .env("HOME", self.path("home"))
            .current_dir(self.path("work"))
            .stdin(Stdio::null());
        if given == Given::Variable {
            command.env("PGPASSWORD", PASSWORD);
        }
        if given == Given::File {
            let file = self.path("pgpass");
            let escaped = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
            std::fs::write(&file, format!("127.0.0.1:*:*:{}:{escaped}\n", self.role)).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
            command.env("PGPASSFILE", file);
        }
        command
    }

    /// Runs a command that must end with this code, and looks at all that it said.
    fn run(&self, code: i32, given: Given, arguments: &[&str]) {
        for more in ["--verbose", "--json"] {
            let arguments = [arguments, &[more]].concat();
            let Output {
                status,
                stdout,
                stderr,
            } = self.command(given, &arguments).output().unwrap();
            let said = [stdout, stderr].concat();
            let what = format!("{given:?} {arguments:?}");
            assert_eq!(
                status.code(),
                Some(code),
                "{what}: {}",
                String::from_utf8_lossy(&said)
            );
            assert_silent(&said, &what);
            if !arguments.contains(&"--name") {
                continue;
            }
            break;
        }
    }
}

/// Neither the password nor a form of it.
fn assert_silent(said: &[u8], what: &str) {
    let said = String::from_utf8_lossy(said);
    let forms = [PASSWORD.to_owned(), in_url(), quoted()];
    let found = forms
        .iter()
        .map(String::as_str)
        .chain(PIECES)
        .find(|form| said.contains(form));
    assert_eq!(found, None, "{what}: {said}");
}

fn assert_silent_files(folder: &Path) -> usize {
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            n_files += assert_silent_files(&path);
        } else if !path.ends_with("pgpass") {
            assert_silent(&std::fs::read(&path).unwrap(), &path.display().to_string());
            n_files += 1;
        }
    }
    n_files
}

#[test]
fn no_output_and_no_file_has_the_password() {
    let server = Server::shared(*majors().last().unwrap());
    let site = Site::new(&server);
    let (source, target) = (site.source.name(), site.target.name());
    for (i, given) in [Given::Url, Given::Settings, Given::Variable, Given::File]
        .into_iter()
        .enumerate()
    {
        let (from, into) = (site.at(source, given), site.at(target, given));
        let nowhere = site.at("no_such_database", given);
        let name = format!("a{i}");
        site.run(0, given, &["dump", "-d", &from, "--name", &name]);
        site.run(13, given, &["dump", "-d", &nowhere]);
        site.run(
            1,
            given,
            &["exec", "-d", &from, "-c", "SELECT no_such_column"],
        );
        if given == Given::File {
            continue;
        }
        site.run(0, given, &["verify", &name]);
        site.run(
            0,
            given,
            &["restore", &name, "-d", &into, "--clean", "--yes"],
        );
        site.run(0, given, &["doctor", "-d", &from]);
        site.run(0, given, &["verify", &name, "--against", "-d", &from]);
    }
    // Wrong settings around the right password, and a wrong password that is most of it.
    let port = site.port();
    let role = &site.role;
    for (code, at) in [
        (
            13,
            format!("postgres://{role}:{}x@127.0.0.1:{port}/{source}", in_url()),
        ),
        (
            13,
            format!("postgres://{role}:{}@127.0.0.1:1/{source}", in_url()),
        ),
        (
            13,
            format!(
                "postgres://{role}:{}@no.such.host.invalid:{port}/{source}",
                in_url()
            ),
        ),
        (
            2,
            format!(
                "postgres://{role}:{}@127.0.0.1:{port}/{source}?no_such=1",
                in_url()
            ),
        ),
        (
            2,
            format!("postgres://{role}:{}@127.0.0.1:notaport/{source}", in_url()),
        ),
        (
            2,
            format!("host=127.0.0.1 password='{}' no_such=1", quoted()),
        ),
        (2, format!("host=127.0.0.1 password='{}", quoted())),
        (2, format!("password='{}' =", quoted())),
    ] {
        let output = site
            .command(Given::Url, &["dump", "-d", &at, "--verbose"])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{}",
            String::from_utf8_lossy(&said)
        );
        assert_silent(&said, "wrong settings");
    }
    for arguments in [
        &["list"][..],
        &["show", "a0"],
        &["sql", "a0"],
        &["sql", "a0", "--data"],
        &["diff", "a0", "a1"],
        &["report", "-o", "page.html"],
        &["prune", "--keep-last", "1"],
    ] {
        site.run(0, Given::Variable, arguments);
    }
    let n_files = assert_silent_files(site.dir.path());
    assert!(n_files > 8, "{n_files}");
    site.source.psql(&format!("DROP OWNED BY {role}"));
    site.target.psql(&format!(
        "REASSIGN OWNED BY {role} TO postgres; DROP ROLE {role}"
    ));
}

#[test]
fn the_list_of_processes_and_the_server_see_no_password() {
    let server = Server::shared(*majors().last().unwrap());
    let site = Site::new(&server);
    for given in [Given::Variable, Given::File] {
        let at = site.at(site.source.name(), given);
        let mut running = site
            .command(given, &["exec", "-d", &at, "-c", "SELECT pg_sleep(1)"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = PathBuf::from(format!("/proc/{}", running.id()));
        let seen = format!(
            "SELECT query, application_name FROM pg_stat_activity WHERE usename = '{}'",
            site.role
        );
        let begun = Instant::now();
        let activity = loop {
            let activity = site.target.psql(&seen);
            if activity.contains("pg_sleep") || begun.elapsed() > Duration::from_secs(20) {
                break activity;
            }
        };
        assert!(activity.contains("pg_sleep"), "{activity}");
        assert_silent(activity.as_bytes(), "pg_stat_activity");
        for file in ["cmdline", "comm"] {
            assert_silent(&std::fs::read(process.join(file)).unwrap(), file);
        }
        // Nothing is started that could show it.
        let children = process.join(format!("task/{}/children", running.id()));
        assert_eq!(std::fs::read_to_string(children).unwrap_or_default(), "");
        assert!(running.wait().unwrap().success());
    }
    let role = &site.role;
    site.source
        .psql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_panic_would_not_tell_it_either() {
    let at = format!("postgres://u:{}@127.0.0.1:1/d", in_url());
    let settings = ConnSettings::resolve(&Environment::of_process(), Some(&at), &[]).unwrap();
    let environment = Environment::of_process();
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        panic!("{settings:?} {settings:#?} {settings} {environment:?}")
    }));
    let told = told.unwrap_err().downcast::<String>().unwrap();
    assert!(told.contains("127.0.0.1"), "{told}");
    assert_silent(told.as_bytes(), "a panic");
}
