//! Jobs as their users meet them: runs from hook to record, what a failure keeps from happening, runs that exclude each other, and the
//! verbs that make, check and schedule a configuration.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Database, Server, majors, pgark};

/// A configuration, and the repositories that it names.
struct Site(TempDir);

impl Site {
    /// A site with one job `shop` of `database`; `more` follows in its table.
    fn with_job(database: &Database, more: &str) -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        site.configure(&format!("{}{more}", job("shop", &database.conninfo())));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, jobs: &str) {
        let repository = self.path("repo").display().to_string();
        let text = format!(
            "timezone = \"Europe/Berlin\"\n[[repository]]\nname = \"main\"\nplace = {repository:?}\n[[repository]]\nname = \"copy\"\nplace = {:?}\n{jobs}",
            self.path("copy").display().to_string()
        );
        std::fs::write(self.path("pgark.toml"), text).unwrap();
    }

    fn pgark(&self, arguments: &[&str]) -> Command {
        let mut command = pgark();
        command
            .current_dir(self.0.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Standard output of a command that must end with `code`.
    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        ended(code, &mut self.pgark(arguments))
    }

    /// The names of the archives in a repository, oldest first.
    fn archives(&self, repository: &str) -> Vec<String> {
        let place = format!("@{repository}");
        let text = self.ends(0, &["list", "--json", "-r", &place]);
        let listed: Value = serde_json::from_str(&text).unwrap();
        let names = listed.as_array().unwrap().iter();
        names
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The records of runs in the job's repository, oldest first.
    fn records(&self) -> Vec<Value> {
        let Ok(folder) = std::fs::read_dir(self.path("repo/records")) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let runs = paths.iter().filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("run-")
        });
        runs.map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            serde_json::from_str(text.lines().next().unwrap()).unwrap()
        })
        .collect()
    }

    fn locks(&self) -> usize {
        let folder = std::fs::read_dir(self.path("repo/locks"));
        folder.map_or(0, Iterator::count)
    }

    /// Starts a run whose hook says that it is there, and waits for it.
    fn begin_slow_run(&self) -> Child {
        let child = self
            .pgark(&["run", "shop"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the hook", || self.path("here").exists());
        child
    }
}

/// The beginning of a job.
fn job(name: &str, source: &str) -> String {
    format!("[[job]]\nname = {name:?}\nsource = {source:?}\nrepository = \"main\"\njobs = 1\n")
}

/// A hook that says that it is there, and waits until it may go on.
fn slow_hook(site: &Path) -> String {
    let wait = "echo $$ > here; while [ ! -e go ]; do sleep 0.05; done";
    let text = format!("cd '{}'; {wait}", site.display());
    format!("hooks = {{ before = [[\"/bin/sh\", \"-c\", {text:?}]] }}\n")
}

#[track_caller]
fn ended(code: i32, command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(status.code(), Some(code), "{command:?}\n{out}\n{err}");
    format!("{out}{err}")
}

#[track_caller]
fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn shop(major: crate::support::Major) -> Database {
    let database = Server::shared(major).create_database("jobs");
    crate::support::block_on(
        database.batch("CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i"),
    );
    database
}

/// Step names with their outcomes, as `dump succeeded`.
fn steps(record: &Value) -> Vec<String> {
    let steps = record["steps"].as_array().unwrap().iter();
    steps
        .map(|step| {
            format!(
                "{} {}",
                step["step"].as_str().unwrap(),
                step["outcome"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn daily_full_backups_at_two_with_the_ten_newest_kept() {
    for major in majors() {
        let database = shop(major);
        let site = Site::with_job(
            &database,
            "schedule = \"0 2 * * *\"\nverify = \"full\"\nkeep = { last = 10 }\n[[job.replica]]\nrepository = \"copy\"\nkeep = { last = 3 }\n",
        );
        let said = site.ends(0, &["run"]);
        for part in [
            "job shop: succeeded",
            "1 table, 1,000 rows",
            "verify: ",
            "decoded and counted",
            "prune: 1 archive kept, 0 removed",
            "replicate copy: 1 archive copied",
            "/repo/archives/",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        let mut made = site.archives("main");
        for _ in 0..11 {
            let text = site.ends(0, &["run", "shop", "--json"]);
            let report: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(report["exit_code"], 0);
            let job = &report["jobs"][0];
            made.push(job["archives"][0]["name"].as_str().unwrap().to_owned());
            assert!(job["archives"][0]["stored_bytes"].as_u64().unwrap() > 0);
        }
        assert_eq!(made.len(), 12);
        assert_eq!(site.archives("main"), made[2..], "the ten newest");
        assert_eq!(site.archives("copy"), made[9..], "the three newest");
        let records = site.records();
        assert_eq!(records.len(), 12);
        let whole = [
            "dump succeeded",
            "verify succeeded",
            "prune succeeded",
            "replicate copy succeeded",
        ];
        assert_eq!(steps(&records[11]), whole);
        let text = site.ends(0, &["schedule", "--json"]);
        let planned: Value = serde_json::from_str(&text).unwrap();
        for time in planned["scheduled"][0]["next"].as_array().unwrap() {
            let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
            let berlin = time.in_tz("Europe/Berlin").unwrap();
            assert_eq!((berlin.hour(), berlin.minute()), (2, 0));
        }
        assert_eq!(site.locks(), 0);
    }
}

#[test]
fn a_hook_that_fails_before_keeps_the_dump_from_beginning() {
    let major = majors()[0];
    let database = shop(major);
    let site = Site::with_job(&database, "");
    let note = format!(
        "echo \"$PGARK_JOB/$PGARK_OUTCOME/$PGARK_ARCHIVE\" > '{}'",
        site.path("after").display()
    );
    site.configure(&format!(
        "{}keep = {{ last = 1 }}\nhooks = {{ before = [[\"/bin/sh\", \"-c\", \"echo no paper >&2; exit 4\"]], after = [[\"/bin/sh\", \"-c\", {note:?}]] }}\n",
        job("shop", &database.conninfo())
    ));
    let said = site.ends(1, &["run"]);
    for part in [
        "hook before: FAILED",
        "no paper",
        "dump: skipped: a hook before it failed",
        "prune: skipped",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(
        std::fs::read_to_string(site.path("after")).unwrap(),
        "shop/failed/\n"
    );
    let records = site.records();
    assert_eq!(
        steps(&records[0]),
        ["hook before failed", "hook after succeeded"]
    );
    assert_eq!(records[0]["outcome"], "failed");
    // One that fails afterwards takes nothing back.
    site.configure(&format!(
        "{}hooks = {{ after = [[\"/bin/false\"], [\"/bin/sh\", \"-c\", {note:?}]] }}\n",
        job("shop", &database.conninfo())
    ));
    let said = site.ends(3, &["run"]);
    assert!(said.contains("job shop: INCOMPLETE"), "{said}");
    let archive = &site.archives("main")[0];
    let noted = std::fs::read_to_string(site.path("after")).unwrap();
    assert_eq!(noted, format!("shop/incomplete/{archive}\n"));
}

#[test]
fn a_dump_that_fails_removes_nothing_and_stops_no_other_job() {
    let database = shop(majors()[0]);
    let site = Site::with_job(&database, "");
    site.ends(0, &["run"]);
    let before = site.archives("main");
    let source = database.tcp_conninfo().replace(" password=pgark", "");
    assert!(!source.contains("password"), "{source}");
    let keep = "password = { env = \"SHOP_SECRET\" }\nkeep = { last = 1 }\n[[job.replica]]\nrepository = \"copy\"\n";
    let site_jobs = [
        format!("{}{keep}", job("shop", &source)),
        job("other", &database.conninfo()),
    ];
    site.configure(&site_jobs.concat());
    let run = || {
        let mut command = site.pgark(&["run"]);
        command.env("SHOP_SECRET", "hunter2-wrong");
        command
    };
    let said = ended(13, &mut run());
    for part in [
        "job shop: FAILED",
        "prune: skipped: the dump failed",
        "replicate copy: skipped",
        "job other: succeeded",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(
        site.archives("main")[..1],
        before,
        "the older archive stays"
    );
    assert!(!site.path("copy/archives").exists());
    let records = site.records();
    let failed = records
        .iter()
        .find(|one| one["outcome"] == "failed")
        .unwrap();
    assert_eq!(steps(failed), ["dump failed"]);
    assert!(!failed.to_string().contains("hunter2"));
    // With the right password a run copies also what earlier ones did not.
    let said = ended(0, run().env("SHOP_SECRET", "pgark"));
    assert!(said.contains("1 archive kept, 1 removed"), "{said}");
    // A variable that is not set is a failure with a remedy.
    let said = site.ends(1, &["run", "shop"]);
    assert!(
        said.contains("environment variable SHOP_SECRET: is not set"),
        "{said}"
    );
}

#[test]
fn a_replica_that_fails_leaves_the_run_incomplete() {
    let database = shop(majors()[0]);
    let site = Site::with_job(&database, "[[job.replica]]\nrepository = \"copy\"\n");
    std::fs::write(site.path("copy"), "a file where a folder should be").unwrap();
    let said = site.ends(3, &["run"]);
    assert!(said.contains("replicate copy: FAILED"), "{said}");
    assert_eq!(site.archives("main").len(), 1);
    assert_eq!(site.records()[0]["outcome"], "incomplete");
    std::fs::remove_file(site.path("copy")).unwrap();
    let said = site.ends(0, &["run"]);
    assert!(said.contains("2 archives copied"), "{said}");
}

#[test]
fn two_runs_of_a_job_exclude_each_other() {
    let database = shop(majors()[0]);
    let site = Site::with_job(&database, "");
    site.configure(&format!(
        "{}{}{}",
        job("shop", &database.conninfo()),
        slow_hook(site.0.path()),
        job("other", &database.conninfo())
    ));
    let slow = site.begin_slow_run();
    let said = site.ends(14, &["run", "shop"]);
    let holder = format!("is being run by process {}", slow.id());
    assert!(said.contains(&holder) && said.contains("since"), "{said}");
    site.ends(0, &["run", "other"]);
    std::fs::write(site.path("go"), "").unwrap();
    let Output { status, stdout, .. } = slow.wait_with_output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stdout));
    assert_eq!(site.records().len(), 2, "the refused run was none");
    assert_eq!(site.locks(), 0);
    site.ends(0, &["run", "shop"]);
}

#[test]
fn a_killed_run_does_not_block_the_next() {
    let database = shop(majors()[0]);
    let site = Site::with_job(&database, "");
    site.configure(&format!(
        "{}{}",
        job("shop", &database.conninfo()),
        slow_hook(site.0.path())
    ));
    let mut killed = site.begin_slow_run();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(site.locks(), 1, "nobody released it");
    std::fs::write(site.path("go"), "").unwrap();
    site.ends(0, &["run", "shop"]);
    assert_eq!(site.locks(), 0);
}

#[test]
fn an_interrupted_run_releases_its_lock_and_ends_its_hook() {
    let database = shop(majors()[0]);
    let site = Site::with_job(&database, "");
    site.configure(&format!(
        "{}{}",
        job("shop", &database.conninfo()),
        slow_hook(site.0.path())
    ));
    let mut run = site.begin_slow_run();
    let hook = std::fs::read_to_string(site.path("here")).unwrap();
    let interrupted = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(site.locks(), 0);
    let records = site.records();
    assert_eq!(records[0]["outcome"], "failed");
    assert_eq!(records[0]["steps"][0]["message"], "it was interrupted");
    let stat = format!("/proc/{}/stat", hook.trim());
    wait_for("the hook's end", || {
        let state = std::fs::read_to_string(&stat).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}

#[test]
fn all_databases_are_one_run() {
    let server = Server::start(majors()[0]);
    let site = Site(tempfile::tempdir().unwrap());
    site.configure(&format!(
        "{}all_databases = true\nkeep = {{ last = 1 }}\n",
        job("everything", &server.conninfo("postgres"))
    ));
    site.ends(0, &["run"]);
    let text = site.ends(0, &["run", "--json"]);
    let report: Value = serde_json::from_str(&text).unwrap();
    let made: Vec<&str> = report["jobs"][0]["archives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let mut standing = site.archives("main");
    standing.sort();
    let mut expected = made.clone();
    expected.sort_unstable();
    assert_eq!(standing, expected, "of the first set nothing is left");
}

#[test]
fn a_dry_run_and_a_check_say_what_a_job_does() {
    let database = shop(majors()[0]);
    let more = "schedule = \"0 2 * * *\"\npassword = { file = \"secret\" }\nkeep = { last = 10, min = 3 }\nhooks = { before = [[\"/bin/echo\", \"a b\"]] }\n[[job.replica]]\nrepository = \"copy\"\nonly = { monthly = 1 }\n";
    let site = Site::with_job(&database, more);
    for arguments in [&["run", "--dry-run"][..], &["config", "check"]] {
        let said = site.ends(0, arguments);
        for part in [
            "job shop",
            "hook before: /bin/echo \"a b\"",
            "dump: all of host=",
            "verify: hash every stored byte",
            "prune: remove archives of this job that no rule keeps: last 10, never fewer than 3",
            "replicate copy: copy to copy (",
            "monthly 1",
            "02:00 CE",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
    assert!(!site.path("repo").exists());
    let said = site.ends(15, &["config", "check", "--connect"]);
    assert!(
        said.contains("problem: job \"shop\": password: file secret"),
        "{said}"
    );
    std::fs::write(site.path("secret"), "x\n").unwrap();
    site.ends(0, &["config", "check", "--connect"]);
    assert!(!site.path("repo").exists(), "a check makes nothing");
    site.configure(&job("shop", "host=/no/such/place dbname=shop"));
    let text = site.ends(15, &["config", "check", "--connect", "--json"]);
    let checked: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(checked["problems"][0]["about"], "job \"shop\": source");
    site.configure("[[job]]\nname = \"shop\"\nsource = \"shop\"\nrepository = \"nowhere\"\n");
    let said = site.ends(2, &["config", "check"]);
    assert!(
        said.contains("there is no repository \"nowhere\""),
        "{said}"
    );
    let said = site.ends(2, &["run"]);
    assert!(
        said.contains("there is no repository \"nowhere\""),
        "{said}"
    );
    site.configure(&job("shop", "shop"));
    let said = site.ends(2, &["run", "shopp"]);
    assert!(said.contains("no job \"shopp\"; it has shop"), "{said}");
    std::fs::remove_file(site.path("pgark.toml")).unwrap();
    let said = site.ends(10, &["run"]);
    assert!(said.contains("pgark init"), "{said}");
}

#[test]
fn a_schedule_is_printed_or_written_as_files() {
    let site = Site(tempfile::tempdir().unwrap());
    let drill = "schedule = \"0 2 * * *\"\n[job.drill]\nschedule = \"0 4 1 */3 *\"\n";
    site.configure(&format!("{}{drill}", job("shop", "shop")));
    let said = site.ends(0, &["schedule"]);
    let cron = said
        .lines()
        .find(|line| line.starts_with("0 2 * * * "))
        .unwrap();
    assert!(
        cron.contains("pgark --config /") && cron.contains("pgark.toml run shop"),
        "{cron}"
    );
    assert!(
        said.contains("0 4 1 1,4,7,10 * ") && said.contains("drill --job shop"),
        "{said}"
    );
    assert!(
        said.contains("next runs:") && said.contains("crontab"),
        "{said}"
    );
    let said = site.ends(0, &["schedule", "--format", "systemd", "--output", "units"]);
    for name in [
        "pgark-shop.service",
        "pgark-shop.timer",
        "pgark-shop-drill.service",
        "pgark-shop-drill.timer",
    ] {
        assert!(
            site.path("units").join(name).exists() && said.contains(name),
            "{name}: {said}"
        );
    }
    let timer = std::fs::read_to_string(site.path("units/pgark-shop.timer")).unwrap();
    assert!(
        timer.contains("OnCalendar=*-*-* 02:00:00 Europe/Berlin\n")
            && timer.contains("Persistent=true")
    );
    let said = site.ends(0, &["schedule", "--format", "kubernetes"]);
    assert!(
        said.contains("kind: CronJob") && said.contains("concurrencyPolicy: Forbid"),
        "{said}"
    );
    site.configure(&format!(
        "{}schedule = \"0 2 L * *\"\n",
        job("shop", "shop")
    ));
    let said = site.ends(2, &["schedule"]);
    assert!(
        said.contains("job \"shop\": schedule: \"0 2 L * *\""),
        "{said}"
    );
    site.configure(&job("shop", "shop"));
    let said = site.ends(2, &["schedule"]);
    assert!(said.contains("no job has a schedule"), "{said}");
}

/// Answers questions on a pseudo terminal: each answer waits for a question. Prints all that was shown; ends with the program's code.
const TERMINAL: &str = r#"
import os, pty, sys
answers = sys.argv[1].split("|")
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown = b""
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    shown += piece
    if shown.endswith(b": ") and answers:
        answer = answers.pop(0)
        os.write(terminal, answer.encode() + b"\n")
        shown += b"\n"
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

fn on_terminal(site: &Site, answers: &str, code: i32) -> String {
    let mut command = Command::new("python3");
    let program = env!("CARGO_BIN_EXE_pgark");
    command
        .current_dir(site.0.path())
        .args(["-c", TERMINAL, answers, program, "init"])
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    ended(code, &mut command)
}

#[test]
fn init_asks_and_writes_a_file_that_runs() {
    let database = shop(majors()[0]);
    let site = Site(tempfile::tempdir().unwrap());
    let source = database.conninfo();
    let answers = format!(
        "|{source}||{}|2am|03:30|Europe/Berlin|0|7|none",
        site.path("repo").display()
    );
    let said = on_terminal(&site, &answers, 0);
    for part in [
        "there must be one",
        "is no time of day",
        "a number from 1",
        "wrote pgark.toml",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let text = std::fs::read_to_string(site.path("pgark.toml")).unwrap();
    for part in [
        "timezone = \"Europe/Berlin\"",
        "schedule = \"30 3 * * *\"",
        "keep = { last = 7 }",
        "rpo = \"26h\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    site.ends(0, &["config", "check", "--connect"]);
    site.ends(0, &["run"]);
    // What is there is only overwritten when that is wanted.
    let said = on_terminal(&site, "perhaps|no", 0);
    assert!(
        said.contains("answer yes or no") && said.contains("stays as it is"),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(site.path("pgark.toml")).unwrap(),
        text
    );
    let said = on_terminal(&site, "yes|other||/b||UTC|3|ops@example.com", 0);
    assert!(said.contains("wrote pgark.toml"), "{said}");
    assert_ne!(
        std::fs::read_to_string(site.path("pgark.toml")).unwrap(),
        text
    );
}

#[test]
fn init_without_a_terminal_says_what_to_do() {
    let site = Site(tempfile::tempdir().unwrap());
    let said = site.ends(2, &["init"]);
    assert!(said.contains("pgark init --example"), "{said}");
    let example = site.ends(0, &["init", "--example"]);
    std::fs::write(site.path("pgark.toml"), &example).unwrap();
    let said = site.ends(0, &["config", "check"]);
    assert!(said.contains("pgark.toml is right"), "{said}");
    assert!(said.contains("notify: tell ops, alive, mail"), "{said}");
}
