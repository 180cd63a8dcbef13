//! The program with a repository in a bucket, by a real S3 service.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cut::{Cut, CutProxy};
use crate::support::{Database, S3Server, Server, majors, pgark};

/// `pgark` with the repository `s3://backups/pg`.
fn program(s3: &S3Server, cache: &Path, verb: &str) -> Command {
    let mut command = pgark();
    s3.give(&mut command, "pg");
    command
        .env("XDG_CACHE_HOME", cache)
        .arg(verb)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn ends_with(code: i32, command: &mut Command) -> (String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{out}{err}");
    assert!(!err.contains(S3Server::SECRET), "{err}");
    (out, err)
}

/// A table of some megabytes and a few small ones.
fn filled(server: &Server) -> Database {
    let source = server.create_database("bucket");
    source.psql(
        "CREATE TABLE big AS SELECT i AS id, md5(i::text) || md5((i * 7)::text) AS note FROM generate_series(1, 60000) i;
         ALTER TABLE big ADD PRIMARY KEY (id);
         CREATE TABLE small AS SELECT i AS id FROM generate_series(1, 10) i;",
    );
    source
}

#[test]
fn a_database_goes_into_a_bucket_and_back() {
    let s3 = S3Server::start();
    let cache = tempfile::tempdir().unwrap();
    let run = |verb: &str, more: &[&str]| ends_with(0, program(&s3, cache.path(), verb).args(more));
    for major in majors() {
        let server = Server::shared(major);
        let source = filled(&server);
        let (conninfo, name) = (source.conninfo(), source.name());
        run("dump", &["-d", &conninfo]);
        let (out, _) = run("list", &["--json", "-d", name]);
        let list: Value = serde_json::from_str(&out).unwrap();
        let location = list[0]["location"].as_str().unwrap();
        assert!(
            location.starts_with("s3://backups/pg/archives/"),
            "{location}"
        );
        let archive = list[0]["name"].as_str().unwrap();
        run("verify", &[archive]);
        let target = server.create_database("bucket_target");
        let into = target.conninfo();
        run("restore", &[archive, "-d", &into, "--check", "content"]);
        let contents = "SELECT count(*), sum(hashtext(note)) FROM big";
        assert_eq!(target.psql(contents), source.psql(contents));
        let (script, _) = run("sql", &[archive, "--data"]);
        assert!(script.contains("COPY \"public\".\"big\"") || script.contains("COPY public.big"));
        // What did not change is not sent again.
        let n_chunks = |s3: &S3Server| {
            let puts = s3.puts();
            puts.iter()
                .filter(|put| put.key.starts_with("pg/chunks/"))
                .count()
        };
        let before = n_chunks(&s3);
        run("dump", &["-d", &conninfo]);
        assert!(
            n_chunks(&s3) <= before + 1,
            "{} after {before}",
            n_chunks(&s3)
        );
    }
    let kept: Vec<_> = fs::read_dir(cache.path().join("pgark")).unwrap().collect();
    assert_eq!(kept.len(), 1, "one file of summaries");
    let none = tempfile::tempdir().unwrap();
    ends_with(0, program(&s3, none.path(), "list").arg("--no-cache"));
    assert_eq!(fs::read_dir(none.path()).unwrap().count(), 0);
}

#[test]
fn wrong_keys_buckets_and_endpoints_are_named() {
    let s3 = S3Server::start();
    let cache = tempfile::tempdir().unwrap();
    let (_, err) = ends_with(
        1,
        program(&s3, cache.path(), "list").env("AWS_SECRET_ACCESS_KEY", "a-wrong-secret"),
    );
    for part in [
        "s3://backups/pg",
        "SignatureDoesNotMatch",
        "AWS_SECRET_ACCESS_KEY",
    ] {
        assert!(err.contains(part), "{part:?} in {err}");
    }
    assert!(!err.contains("a-wrong-secret"), "{err}");
    let (_, err) = ends_with(
        10,
        program(&s3, cache.path(), "list").args(["-r", "s3://no-such-bucket/pg"]),
    );
    assert!(err.contains("has no bucket no-such-bucket"), "{err}");
    let (_, err) = ends_with(10, &mut program(&s3, cache.path(), "list"));
    assert!(err.contains("is no repository"), "{err}");
    let (_, err) = ends_with(
        1,
        program(&s3, cache.path(), "list").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    );
    assert!(err.contains("127.0.0.1:1 cannot be reached"), "{err}");
}

#[test]
fn other_clouds_are_said_to_be_untested() {
    let s3 = S3Server::start();
    let cache = tempfile::tempdir().unwrap();
    let mut command = program(&s3, cache.path(), "list");
    command
        .args(["-r", "az://container/pg"])
        .env("AZURE_STORAGE_ACCOUNT_NAME", "account")
        .env(
            "AZURE_STORAGE_ACCOUNT_KEY",
            "bm90LXRoZS1rZXktb2YtYW55Ym9keQ==",
        )
        .env("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1");
    let (_, err) = ends_with(1, &mut command);
    assert!(err.contains("never tested with the real service"), "{err}");
    assert!(
        err.contains("Azure Blob Storage cannot be reached"),
        "{err}"
    );
    assert!(!err.contains("bm90LXRoZS1rZXkt"), "{err}");
}

#[test]
fn the_doctor_looks_at_a_bucket() {
    let s3 = S3Server::start();
    let cache = tempfile::tempdir().unwrap();
    let source = Server::shared(*majors().last().unwrap()).create_database("bucket_doctor");
    let conninfo = source.conninfo();
    let checks = |code: i32, change: &dyn Fn(&mut Command)| {
        let mut command = program(&s3, cache.path(), "doctor");
        command.args(["--json", "-d", &conninfo]);
        change(&mut command);
        let (out, _) = ends_with(code, &mut command);
        let report: Value = serde_json::from_str(&out).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        move |name: &str| {
            let one = checks.iter().find(|one| one["check"] == name);
            one.map(|one| format!("{}: {}", one["level"].as_str().unwrap(), one["found"]))
        }
    };
    let well = checks(0, &|_| {});
    for (check, words) in [
        (
            "repository",
            "ok: \"s3://backups/pg can be listed, written, read and deleted from",
        ),
        ("store_clock", "ok: "),
        ("marker", "ok: \"it is no repository yet"),
    ] {
        let said = well(check).unwrap();
        assert!(said.starts_with(words), "{check}: {said}");
    }
    assert!(well("overwriting").is_none());
    let left = fs::read_dir(s3.folder().join("pg/leases")).unwrap().count();
    assert_eq!(left, 0);
    let wrong = checks(15, &|command| {
        command.env("AWS_SECRET_ACCESS_KEY", "a-wrong-secret");
    });
    assert!(wrong("repository").unwrap().starts_with("problem: "));
}

#[test]
fn a_signal_ends_a_verification_within_two_seconds() {
    let s3 = S3Server::start();
    let cache = tempfile::tempdir().unwrap();
    let source = filled(&Server::shared(*majors().last().unwrap()));
    let mut dump = program(&s3, cache.path(), "dump");
    ends_with(0, dump.args(["-d", &source.conninfo()]));
    s3.delay(Duration::from_secs(5));
    for signal in ["INT", "TERM"] {
        let mut child = program(&s3, cache.path(), "verify")
            .arg("--all")
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        let began = Instant::now();
        let pid = child.id().to_string();
        let killed = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(killed.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_dump_outlives_cut_connections() {
    let s3 = S3Server::start();
    let cache = tempfile::tempdir().unwrap();
    let source = filled(&Server::shared(*majors().last().unwrap()));
    let cuts = [
        Cut::AfterSent(200_000),
        Cut::AfterAnswers(1),
        Cut::AfterSent(3000),
        Cut::AfterAnswers(3),
        Cut::AfterAnswers(0),
    ];
    let proxy = CutProxy::start(s3.address(), &cuts);
    let run = |verb: &str, more: &[&str]| {
        let mut command = program(&s3, cache.path(), verb);
        command.env("AWS_ENDPOINT_URL", proxy.endpoint()).args(more);
        ends_with(0, &mut command)
    };
    run("dump", &["-d", &source.conninfo(), "-j", "2"]);
    assert!(proxy.n_cut() >= 3, "{} connections were cut", proxy.n_cut());
    run("verify", &["--all"]);
}

#[test]
fn memory_is_bounded_while_a_slow_bucket_is_written() {
    let s3 = S3Server::start();
    s3.delay(Duration::from_millis(50));
    let cache = tempfile::tempdir().unwrap();
    let source = Server::shared(*majors().last().unwrap()).create_database("bucket_memory");
    // Each row is another pair of blocks, too far apart for zstd to notice.
    source.psql(
        "CREATE TABLE block AS SELECT j AS id, string_agg(encode(sha512((j * 4 + k)::text::bytea), 'hex'), '') AS text
           FROM generate_series(0, 4095) j, generate_series(0, 15) k GROUP BY j;
         CREATE TABLE big (id bigint, note text);
         ALTER TABLE big ALTER note SET STORAGE plain;
         INSERT INTO big SELECT i, a.text || b.text
           FROM generate_series(1, 50000) i JOIN block a ON a.id = i % 4096 JOIN block b ON b.id = i::bigint * 7919 % 4093;
         DROP TABLE block;",
    );
    let log = cache.path().join("log");
    let mut command = program(&s3, cache.path(), "dump");
    command
        .args(["-d", &source.conninfo(), "-j", "2"])
        .stderr(fs::File::create(&log).unwrap())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(crate::memory::peak_bytes(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{}", fs::read_to_string(&log).unwrap());
    let (out, _) = ends_with(0, program(&s3, cache.path(), "list").arg("--json"));
    let list: Value = serde_json::from_str(&out).unwrap();
    let raw_bytes = list[0]["raw_bytes"].as_u64().unwrap();
    println!("{} MiB raw: at most {} MiB", raw_bytes >> 20, peak >> 20);
    assert!(raw_bytes > 190 << 20, "{raw_bytes}");
    // 64 MiB, and two jobs of four chunks of 12 MiB.
    assert!(peak < 160 << 20, "{} MiB", peak >> 20);
}

/// Makes `n` archives and their stamps by copying one with another name: as many files as as many nights leave.
fn multiply(folder: &Path, n: usize) {
    let only = |inside: &str| {
        let mut files = fs::read_dir(folder.join(inside)).unwrap().flatten();
        let found = files.find(|file| file.file_name().to_string_lossy().contains("model"));
        found.unwrap().path()
    };
    let manifest = sealed_json(&only("archives"));
    for i in 0..n {
        let name = format!("night-{i:05}");
        let mut manifest = manifest.clone();
        manifest["name"] = Value::from(name.as_str());
        let seal = write_sealed(&folder.join(format!("archives/{name}.json")), &manifest);
        let announced = serde_json::json!({
            "name": name, "manifest": seal, "created": manifest["created"], "group": manifest["group"],
        });
        write_sealed(
            &folder.join(format!("records/announced-{name}.json")),
            &announced,
        );
        let verified = serde_json::json!({
            "name": name, "manifest": seal, "depth": "full", "at": "2026-11-23T00:00:00Z",
        });
        let file = format!("records/verified-20261123T000000000Z-{name}.json");
        write_sealed(&folder.join(file), &verified);
    }
}

fn sealed_json(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

/// Writes a document with its seal, and gives the seal.
fn write_sealed(file: &Path, document: &Value) -> String {
    let json = serde_json::to_vec(document).unwrap();
    let seal = pgark::archive::Digest::of(&json).to_string();
    let mut out = fs::File::create(file).unwrap();
    out.write_all(&json).unwrap();
    write!(out, "\n{seal}\n").unwrap();
    seal
}

/// What a list took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: Duration,
    /// Of all its threads. Unlike the wall time it does not depend on what else the machine does.
    cpu: Duration,
}

/// Lists, and gives what it took; the number of archives must be `n`.
fn timed(command: &mut Command, n: usize) -> Took {
    let (started, cpu_before) = (Instant::now(), cpu_of_children());
    let (out, _) = ends_with(0, command.arg("--json"));
    let took = Took {
        wall: started.elapsed(),
        cpu: cpu_of_children().saturating_sub(cpu_before),
    };
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), n);
    assert_eq!(list[0]["verified"].as_str(), Some("2026-11-23T00:00:00Z"));
    took
}

/// The processor time of this process's children that have ended (`cutime` and `cstime`, proc(5), in hundredths of a second).
fn cpu_of_children() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = [13, 14]
        .iter()
        .map(|i| fields[*i].parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn ten_thousand_archives_are_listed_in_two_seconds() {
    const N: usize = 10_000;
    // Thirty thousand small files take long to make on some disks.
    let memory = Path::new("/dev/shm");
    let s3 = S3Server::start_in(memory.is_dir().then_some(memory));
    let cache = tempfile::tempdir().unwrap();
    let folder = s3.folder().join("pg");
    let source = Server::shared(*majors().last().unwrap()).create_database("many");
    source.psql("CREATE TABLE t AS SELECT 1 AS i");
    let conninfo = source.conninfo();
    ends_with(
        0,
        program(&s3, cache.path(), "dump").args(["-d", &conninfo, "--name", "model"]),
    );
    multiply(&folder, N);
    fs::remove_file(folder.join("archives/model.json")).unwrap();
    // The same files are a repository in a folder and one in a bucket.
    let in_folder = timed(program(&s3, cache.path(), "list").arg("-r").arg(&folder), N);
    let (_, before) = s3.n_requests();
    let cold = timed(&mut program(&s3, cache.path(), "list"), N);
    let (_, between) = s3.n_requests();
    let warm = timed(&mut program(&s3, cache.path(), "list"), N);
    let (_, after) = s3.n_requests();
    println!("{N} archives: folder {in_folder:?}; bucket cold {cold:?}, warm {warm:?}");
    println!(
        "reads of objects: cold {}, warm {}",
        between - before,
        after - between
    );
    // This is not an optimised build; two cores share the work.
    assert!(in_folder.cpu < Duration::from_secs(4), "{in_folder:?}");
    assert!(after - between < 5, "a warm list reads the marker only");
    assert!(warm.wall < cold.wall, "{warm:?} after {cold:?}");
}
