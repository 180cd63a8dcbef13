//! Encrypted repositories as the program's users meet them: made, opened, refused, copied, with the passphrase changed; and opened by
//! hand with the program of docs/format.md.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::compare::{CompareOptions, Side, compare, report};
use crate::support::{Database, Server, block_on, majors, oracle, pgark};

const PASSPHRASE: &str = "correct horse battery staple 4711";
const OTHER: &str = "another one that nobody guesses";

/// Words that stand in the database and must not stand in the repository.
const SECRETS: [&str; 6] = [
    "patients",
    "diagnosis",
    "Influenza",
    "CREATE TABLE",
    "surgeon",
    "chk_secret",
];

const CLINIC: &str = "
    CREATE TABLE patients (id int PRIMARY KEY, diagnosis text, CONSTRAINT chk_secret CHECK (id > 0));
    INSERT INTO patients SELECT i, 'Influenza ' || md5(i::text) FROM generate_series(1, 20000) i;
    CREATE VIEW ill AS SELECT diagnosis FROM patients;
    COMMENT ON TABLE patients IS 'only for the surgeon';
    SELECT lo_from_bytea(4711, convert_to(repeat('Influenza ', 3000), 'UTF8'));";

struct Clinic {
    folder: TempDir,
    database: Database,
}

impl Clinic {
    fn new(server: &Server) -> Clinic {
        let clinic = Clinic {
            folder: tempfile::tempdir().unwrap(),
            database: server.create_database("clinic"),
        };
        clinic.database.psql(CLINIC);
        clinic.file("right", &format!("{PASSPHRASE}\n"));
        clinic.file("other", OTHER);
        clinic
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `pgark ARGUMENTS -r repo`, in the folder, without a passphrase.
    fn pgark(&self, arguments: &[&str]) -> Command {
        let mut command = pgark();
        command.current_dir(self.folder.path()).args(arguments);
        command.args(["-r", "repo"]).stdin(Stdio::null());
        command
    }

    /// The same with the right passphrase.
    fn with_key(&self, arguments: &[&str]) -> Command {
        let mut command = self.pgark(arguments);
        command.args(["--passphrase-file", "right"]);
        command
    }

    /// A new encrypted repository with an archive `name`.
    #[track_caller]
    fn dump(&self, name: &str) {
        let conninfo = self.database.conninfo();
        ends_with(
            0,
            &mut self.with_key(&["dump", "--encrypt", "-d", &conninfo, "--name", name]),
        );
    }

    fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        files_below(&self.path(folder), "")
    }
}

fn files_below(folder: &Path, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = format!("{prefix}/{name}");
        if path.is_dir() {
            found.extend(files_below(&path, &name));
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// Runs a command that must end with `code`; gives its standard output and standard error, which never show a passphrase.
#[track_caller]
fn ends_with(code: i32, command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{command:?}\n{out}\n{err}"
    );
    for passphrase in [PASSPHRASE, OTHER] {
        assert!(!out.contains(passphrase) && !err.contains(passphrase));
    }
    (out, err)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn an_encrypted_archive_shows_nothing_restores_whole_and_shares_chunks() {
    for major in majors() {
        let server = Server::shared(major);
        let clinic = Clinic::new(&server);
        clinic.dump("first");
        let chunks = |clinic: &Clinic| clinic.files("repo/chunks").len();
        let n_chunks = chunks(&clinic);
        // Once it is encrypted nobody need say so.
        let conninfo = clinic.database.conninfo();
        let second = ["dump", "-d", &conninfo, "--name", "second", "--json"];
        let (out, _) = ends_with(0, &mut clinic.with_key(&second));
        assert_eq!(json(&out)["new_bytes"], 0);
        assert_eq!(chunks(&clinic), n_chunks, "PostgreSQL {major}");

        let target = server.create_database("clinic_copy");
        let into = [
            "restore",
            "second",
            "-d",
            &target.conninfo(),
            "--check",
            "content",
        ];
        let (out, _) = ends_with(0, &mut clinic.with_key(&into));
        assert!(out.contains("compared and equal"), "{out}");
        let pg_dump = oracle("pg_dump");
        let (left, right) = (clinic.database.conninfo(), target.conninfo());
        let side = |conninfo| Side {
            conninfo,
            pg_dump: &pg_dump,
        };
        let found = block_on(compare(
            &side(&left),
            &side(&right),
            &CompareOptions::default(),
        ));
        assert!(found.is_empty(), "PostgreSQL {major}: {}", report(&found));

        let check = "all patients: SELECT count(*) FROM patients = 20000";
        let drill = ["drill", "second", "-d", &conninfo, "--check", check];
        ends_with(0, &mut clinic.with_key(&drill));
        for (file, bytes) in clinic.files("repo") {
            let decoded = zstd::decode_all(&bytes[..]).unwrap_or_default();
            for secret in SECRETS {
                let shows = |bytes: &[u8]| {
                    bytes
                        .windows(secret.len())
                        .any(|window| window == secret.as_bytes())
                };
                assert!(!shows(&bytes) && !shows(&decoded), "{file}: {secret}");
            }
        }
    }
}

#[test]
fn every_verb_reads_with_the_passphrase_from_a_file_the_environment_or_the_configuration() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    clinic.dump("first");
    let conninfo = clinic.database.conninfo();
    clinic
        .database
        .psql("UPDATE patients SET diagnosis = 'well' WHERE id = 7");
    clinic.dump("second");
    for (arguments, code, expected) in [
        (&["list"][..], 0, "20,0"),
        (&["show", "first"], 0, "patients"),
        (&["sql", "first"], 0, "CREATE TABLE"),
        (&["cat", "public.patients", "first"], 0, "Influenza"),
        (&["diff", "first", "second"], 17, "patients"),
        (&["verify", "--all"], 0, "whole; 1 table"),
        (&["verify", "--against", "second", "-d", &conninfo], 0, ""),
        (&["prune", "--keep-last", "1", "--yes"], 0, "first"),
        (&["report", "-o", "page.html"], 0, "1 archive"),
        (&["doctor", "-d", &conninfo], 0, "the passphrase opens it"),
    ] {
        let (out, _) = ends_with(code, &mut clinic.with_key(arguments));
        assert!(out.contains(expected), "{arguments:?}: {out}");
    }
    let (out, _) = ends_with(
        0,
        clinic.pgark(&["show"]).env("PGARK_PASSPHRASE", PASSPHRASE),
    );
    assert!(out.contains("patients"), "{out}");

    clinic.file(
        "pgark.toml",
        &format!(
            "[[repository]]\nname = \"main\"\nplace = \"repo\"\npassphrase = {{ file = \"right\" }}\n\
             [[repository]]\nname = \"new\"\nplace = \"new\"\npassphrase = {{ env = \"OF_NEW\" }}\n\
             [[repository]]\nname = \"copy\"\nplace = \"copy\"\n\
             [[job]]\nname = \"nightly\"\nsource = '{conninfo}'\nrepository = \"new\"\nverify = \"full\"\nkeep = {{ last = 3 }}\n\
             [[job.replica]]\nrepository = \"copy\"\n"
        ),
    );
    let at = |place: &str, arguments: &[&str]| {
        let mut command = pgark();
        command.current_dir(clinic.folder.path()).args(arguments);
        command.args(["-r", place]).stdin(Stdio::null());
        command
    };
    ends_with(0, &mut at("@main", &["verify", "--all"]));
    // A job makes its repository encrypted, because the configuration has a passphrase for it; its copy opens with the same.
    ends_with(0, at("@new", &["run"]).env("OF_NEW", OTHER));
    let (out, _) = ends_with(
        0,
        at("@copy", &["verify", "--all"]).env("PGARK_PASSPHRASE", OTHER),
    );
    assert!(out.contains("whole; 1 table"), "{out}");
    ends_with(0, at("@new", &["status"]).env("OF_NEW", OTHER));
    for place in ["new", "copy"] {
        assert!(clinic.path(place).join("keys").is_dir(), "{place}");
    }
    // Said before the run that would fail.
    let check = ["config", "check", "--connect"];
    let (out, err) = ends_with(15, at("@main", &check).env("OF_NEW", OTHER));
    let text = format!("{out}{err}");
    assert!(
        text.contains("\"copy\"") && text.contains("no passphrase is given"),
        "{text}"
    );
    let (out, _) = ends_with(15, &mut clinic.pgark(&["doctor", "-d", &conninfo]));
    assert!(
        out.contains("PROBLEM") && out.contains("no passphrase is given"),
        "{out}"
    );
}

#[test]
fn a_wrong_or_missing_passphrase_is_one_message_with_its_own_code_and_changes_nothing() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    clinic.dump("first");
    let conninfo = clinic.database.conninfo();
    let before = clinic.files("repo");
    let target = server.create_database("clinic_empty");
    let into = target.conninfo();
    for arguments in [
        &["show"][..],
        &["list"],
        &["verify"],
        &["verify", "--depth", "bytes"],
        &["dump", "-d", &conninfo],
        &["restore", "first", "-d", &into],
        &["prune", "--keep-last", "1", "--yes"],
        &["replicate", "elsewhere"],
        &["keys", "add", "--new-passphrase-file", "right"],
    ] {
        let mut wrong = clinic.pgark(arguments);
        let (_, err) = ends_with(18, wrong.args(["--passphrase-file", "other"]));
        assert!(
            err.contains("no key slot of repository "),
            "{arguments:?}: {err}"
        );
        assert!(err.contains(" opens with this passphrase"), "{err}");
        let may_do_without = arguments == ["list"] || arguments.contains(&"bytes");
        let missing = &mut clinic.pgark(arguments);
        let (_, err) = ends_with(if may_do_without { 0 } else { 18 }, missing);
        let needs = "is encrypted, and no passphrase is given";
        assert!(
            may_do_without || err.contains(needs),
            "{arguments:?}: {err}"
        );
    }
    let (out, _) = ends_with(18, &mut clinic.pgark(&["show", "--json"]));
    assert_eq!(json(&out)["error"]["exit_code"], 18);
    // What was hashed without the key is on record; nothing else came or went.
    let mut after = clinic.files("repo");
    after.retain(|name, _| !name.starts_with("/records/verified-"));
    assert_eq!(after, before);
    assert_eq!(
        target
            .psql("SELECT count(*) FROM pg_class WHERE relname = 'patients'")
            .trim(),
        "0"
    );
    assert!(!clinic.path("elsewhere").join("pgark.json").exists());

    // What is not encrypted stays so, and is not taken for what is.
    let (_, err) = ends_with(
        0,
        pgark()
            .current_dir(clinic.folder.path())
            .args(["dump", "-d", &conninfo, "-r", "plain"]),
    );
    assert!(!err.contains("encrypt"), "{err}");
    let plain = |arguments: &[&str]| {
        let mut command = pgark();
        command.current_dir(clinic.folder.path()).args(arguments);
        command.args(["-r", "plain"]).stdin(Stdio::null());
        command
    };
    let before = clinic.files("plain");
    let encrypt = [
        "dump",
        "-d",
        &conninfo,
        "--encrypt",
        "--passphrase-file",
        "right",
    ];
    let (_, err) = ends_with(2, &mut plain(&encrypt));
    assert!(err.contains("exists and is not encrypted"), "{err}");
    let (_, err) = ends_with(18, &mut plain(&["show", "--passphrase-file", "right"]));
    assert!(
        err.contains("is not encrypted, although a passphrase is given"),
        "{err}"
    );
    let (_, err) = ends_with(18, &mut clinic.with_key(&["replicate", "plain"]));
    assert!(err.contains("is encrypted, unlike"), "{err}");
    assert_eq!(clinic.files("plain"), before);
    // Without a terminal nobody can be asked.
    let mut asked = pgark();
    asked.current_dir(clinic.folder.path()).stdin(Stdio::null());
    let (_, err) = ends_with(
        18,
        asked.args(["dump", "-d", &conninfo, "--encrypt", "-r", "third"]),
    );
    assert!(err.contains("no terminal to ask on"), "{err}");
    assert!(!clinic.path("third").join("pgark.json").exists());
}

#[test]
fn stored_bytes_are_listed_and_verified_without_the_passphrase() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    clinic.dump("first");
    let (out, err) = ends_with(0, &mut clinic.pgark(&["list"]));
    assert!(
        out.contains("first") && out.contains(clinic.database.name()),
        "{out}"
    );
    assert!(err.contains("is encrypted"), "{err}");
    let (out, _) = ends_with(0, &mut clinic.pgark(&["list", "--json"]));
    assert_eq!(json(&out)[0]["sealed"], true);
    let bytes = ["verify", "--all", "--depth", "bytes"];
    let (out, _) = ends_with(0, &mut clinic.pgark(&bytes));
    assert!(out.contains("whole; tables and rows are sealed"), "{out}");
    for file in clinic.files("repo/chunks").into_keys() {
        let path = clinic
            .path("repo/chunks")
            .join(file.trim_start_matches('/'));
        let whole = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(sha256sum(&path), name);
        let mut flipped = whole.clone();
        flipped[whole.len() / 3] ^= 4;
        std::fs::write(&path, flipped).unwrap();
        let (out, _) = ends_with(11, &mut clinic.pgark(&bytes));
        assert!(
            out.contains(name) && out.contains("SHA-256 differs"),
            "{out}"
        );
        std::fs::remove_file(&path).unwrap();
        let (out, _) = ends_with(11, &mut clinic.pgark(&["verify", "--depth", "presence"]));
        assert!(out.contains(name) && out.contains("is missing"), "{out}");
        std::fs::write(&path, whole).unwrap();
    }
    ends_with(0, &mut clinic.pgark(&bytes));
}

fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn a_passphrase_is_changed_by_adding_a_key_and_removing_one() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    clinic.dump("first");
    let data = |clinic: &Clinic| {
        let mut files = clinic.files("repo");
        files.retain(|name, _| !name.starts_with("/keys/"));
        files
    };
    let before = data(&clinic);
    let (out, _) = ends_with(0, &mut clinic.pgark(&["keys", "list", "--json"]));
    let old = json(&out)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(json(&out)[0]["memory_kib"], 65536);
    let (_, err) = ends_with(2, &mut clinic.with_key(&["keys", "remove", &old, "--yes"]));
    assert!(err.contains("the last key slot"), "{err}");
    let add = [
        "keys",
        "add",
        "--new-passphrase-file",
        "other",
        "--label",
        "new",
        "--json",
    ];
    let (out, _) = ends_with(0, &mut clinic.with_key(&add));
    let new = json(&out)["id"].as_str().unwrap().to_owned();
    let (out, _) = ends_with(0, &mut clinic.pgark(&["keys", "list"]));
    assert!(
        out.contains(&old) && out.contains(&new) && out.contains("argon2id, 64"),
        "{out}"
    );
    let (_, err) = ends_with(2, &mut clinic.with_key(&["keys", "remove", &old]));
    assert!(err.contains("say --yes"), "{err}");
    let remove = ["keys", "remove", &old[..8], "--yes", "--json"];
    let (out, _) = ends_with(0, &mut clinic.with_key(&remove));
    assert_eq!(json(&out)["removed"], *old);
    ends_with(18, &mut clinic.with_key(&["show"]));
    let mut opened = clinic.pgark(&["verify", "--all", "--depth", "presence"]);
    ends_with(0, opened.args(["--passphrase-file", "other"]));
    assert_eq!(data(&clinic), before);
}

#[test]
fn two_processes_that_make_a_repository_at_once_end_with_one_key() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    let conninfo = clinic.database.conninfo();
    let start = |name: &str| {
        clinic
            .with_key(&["dump", "--encrypt", "-d", &conninfo, "--name", name])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [start("one"), start("two")];
    for process in both {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", process.id()));
        let shown = String::from_utf8_lossy(&arguments.unwrap_or_default()).into_owned();
        assert!(!shown.contains(PASSPHRASE), "{shown}");
        let output = process.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{err}");
    }
    assert_eq!(clinic.files("repo/keys").len(), 1);
    let (out, _) = ends_with(0, &mut clinic.with_key(&["verify", "--all"]));
    assert!(
        out.contains("one: whole") && out.contains("two: whole"),
        "{out}"
    );
}

#[test]
fn a_copy_is_healed_and_restored_with_the_passphrase_of_its_source() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    clinic.dump("first");
    ends_with(0, &mut clinic.with_key(&["replicate", "copy"]));
    let own = clinic.files("repo");
    let mut copied = clinic.files("copy");
    let is_data = |name: &str| !name.starts_with("/records/verified-");
    copied.retain(|name, _| is_data(name));
    assert_eq!(copied, own);
    let chunk = clinic.files("repo/chunks").into_keys().next().unwrap();
    let chunk = clinic
        .path("repo/chunks")
        .join(chunk.trim_start_matches('/'));
    std::fs::write(&chunk, "damaged").unwrap();
    let manifest = clinic.path("repo/archives/first.json");
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&manifest, "damaged").unwrap();
    let heal = [
        "verify", "--all", "--depth", "bytes", "--heal", "--from", "copy",
    ];
    ends_with(0, &mut clinic.with_key(&heal));
    ends_with(0, &mut clinic.with_key(&["verify", "--all"]));

    // A repository of another key is no place for copies.
    let conninfo = clinic.database.conninfo();
    let mut others = pgark();
    others.current_dir(clinic.folder.path());
    others.args([
        "dump",
        "-d",
        &conninfo,
        "-r",
        "others",
        "--passphrase-file",
        "other",
    ]);
    ends_with(0, &mut others);
    let before = clinic.files("others");
    let (_, err) = ends_with(18, &mut clinic.with_key(&["replicate", "others"]));
    assert!(err.contains("is encrypted with another key than"), "{err}");
    assert_eq!(clinic.files("others"), before);
}

/// Runs the program with a terminal of its own, types an answer at each question, and gives exit code and all that was shown.
fn typed(command: &Command, answers: &[&str]) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let side = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap();
    // Questions are asked on the controlling terminal.
    let mut child = Command::new("/usr/bin/setsid")
        .args(["--ctty", "--wait"])
        .arg(command.get_program())
        .args(command.get_args())
        .args(["--progress", "none"])
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(side.try_clone().unwrap())
        .stdout(side.try_clone().unwrap())
        .stderr(side)
        .spawn()
        .unwrap();
    let mut terminal = std::fs::File::from(terminal);
    let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
    let (mut answers, mut n_seen) = (answers.iter(), 0);
    // An error is how a terminal tells that nobody is on the other side any more.
    while let Ok(n) = terminal.read(&mut buffer) {
        if n == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..n]);
        if shown[n_seen..].ends_with(b": ")
            && let Some(answer) = answers.next()
        {
            n_seen = shown.len();
            wait_until_hidden(path.to_str().unwrap());
            terminal
                .write_all(format!("{answer}\n").as_bytes())
                .unwrap();
        }
    }
    let code = child.wait().unwrap().code();
    assert_eq!(answers.next(), None, "{}", String::from_utf8_lossy(&shown));
    (code, String::from_utf8_lossy(&shown).replace('\r', ""))
}

/// A question is shown a moment before what is typed is hidden; people take longer than that.
fn wait_until_hidden(terminal: &str) {
    for _ in 0..1000 {
        let state = Command::new("stty")
            .args(["-a", "-F", terminal])
            .output()
            .unwrap();
        if String::from_utf8_lossy(&state.stdout).contains("-echo ") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("what is typed is not hidden");
}

#[test]
fn on_a_terminal_the_passphrase_is_asked_for_where_it_is_needed_and_never_shown() {
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    let conninfo = clinic.database.conninfo();
    let dump = ["dump", "-d", &conninfo, "--name", "first", "--encrypt"];
    let (code, shown) = typed(&clinic.pgark(&dump), &[PASSPHRASE, OTHER]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("the two passphrases differ"), "{shown}");
    assert!(!clinic.path("repo/pgark.json").exists());
    for (arguments, answers, expected) in [
        (&dump[..], &[PASSPHRASE, PASSPHRASE][..], "The same again: "),
        (&["show"], &[PASSPHRASE], "patients"),
        (&["keys", "add"], &[PASSPHRASE, OTHER, OTHER], "from now on"),
        (&["verify", "--all"], &[OTHER], "whole; 1 table"),
        (&["keys", "list"], &[], "argon2id"),
        // Nothing typed: what can be done without.
        (&["list"], &[""], "is encrypted"),
    ] {
        let (code, shown) = typed(&clinic.pgark(arguments), answers);
        assert_eq!(code, Some(0), "{arguments:?}: {shown}");
        assert!(shown.contains(expected), "{arguments:?}: {shown}");
        assert!(
            !shown.contains(PASSPHRASE) && !shown.contains(OTHER),
            "{shown}"
        );
    }
    let (code, shown) = typed(&clinic.pgark(&["show"]), &["wrong"]);
    assert_eq!(code, Some(18), "{shown}");
}

#[test]
fn the_document_opens_sealed_bytes_by_hand() {
    let has_library = Command::new("python3")
        .args([
            "-c",
            "from cryptography.hazmat.primitives.kdf.argon2 import Argon2id",
        ])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_library {
        println!("left out: python3 with cryptography 44 or later is not here");
        return;
    }
    let major = *majors().last().unwrap();
    let server = Server::shared(major);
    let clinic = Clinic::new(&server);
    clinic.dump("first");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/format.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, rest) = document.split_once("```python\n").unwrap();
    let (program, _) = rest.split_once("```").unwrap();
    clinic.file("open.py", program);
    let open = |what: &str, name: &str, passphrase: &str| {
        Command::new("python3")
            .current_dir(clinic.folder.path())
            .args(["open.py", "repo", what, name])
            .env("PGARK_PASSPHRASE", passphrase)
            .output()
            .unwrap()
    };
    let opened = |what: &str, name: &str| {
        let output = open(what, name, PASSPHRASE);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{err}");
        output.stdout
    };
    assert!(!open("manifest", "first", OTHER).status.success());
    let manifest: Value = serde_json::from_slice(&opened("manifest", "first")).unwrap();
    assert_eq!(manifest["name"], "first");
    let lines = |stream: &str| {
        let chunks = manifest[stream].as_array().unwrap();
        let frames = chunks
            .iter()
            .map(|chunk| opened("chunk", chunk["chunk"].as_str().unwrap()));
        let raw: Vec<u8> = frames
            .flat_map(|frame| zstd_of_the_system(&frame))
            .collect();
        String::from_utf8(raw).unwrap()
    };
    assert!(lines("toc").contains("patients"));
    let index: Value = serde_json::from_str(lines("data_index").lines().next().unwrap()).unwrap();
    let piece = &index["segments"][0]["pieces"][0];
    let rows = zstd_of_the_system(&opened("chunk", piece["chunk"].as_str().unwrap()));
    assert!(String::from_utf8_lossy(&rows).contains("Influenza"));
}

/// `zstd -dc`, as a reader of the document has it.
fn zstd_of_the_system(frame: &[u8]) -> Vec<u8> {
    let mut process = Command::new("zstd")
        .arg("-dcq")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, frame) = (process.stdin.take().unwrap(), frame.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&frame).unwrap());
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}
