//! Jobs that are watched: who is told what by runs and by `pgark status`, when it is told again, and when it is over.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Database, Server, block_on, majors, pgark};

/// Part of each URL and the password: nothing that is shown may have it.
const SECRET: &str = "S3CRET";

/// What stands behind a URL: it records what is posted, and answers as it is told to.
#[derive(Clone)]
struct Listener {
    port: u16,
    heard: Arc<Mutex<Vec<(String, String)>>>,
    answer: Arc<Mutex<&'static str>>,
}

impl Listener {
    fn start() -> Listener {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = Listener {
            port: socket.local_addr().unwrap().port(),
            heard: Arc::default(),
            answer: Arc::new(Mutex::new("200 OK")),
        };
        let of_thread = listener.clone();
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                of_thread.serve(&stream.unwrap());
            }
        });
        listener
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let body = String::from_utf8(body).unwrap();
        self.heard.lock().unwrap().push((path, body));
        let answer = *self.answer.lock().unwrap();
        let text = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn answer(&self, answer: &'static str) {
        *self.answer.lock().unwrap() = answer;
    }

    fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}/{SECRET}", self.port)
    }

    /// What was posted since the last time, by path without the secret.
    fn heard(&self) -> Vec<(String, String)> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        let short =
            |(path, body): (String, String)| (path.replace(&format!("/{SECRET}"), ""), body);
        heard.into_iter().map(short).collect()
    }

    /// The only message that the JSON webhook got since the last time.
    #[track_caller]
    fn told(&self) -> Value {
        let heard = self.heard();
        let told: Vec<&String> = heard
            .iter()
            .filter_map(|(path, body)| (path == "/ops").then_some(body))
            .collect();
        assert_eq!(told.len(), 1, "{heard:?}");
        serde_json::from_str(told[0]).unwrap()
    }
}

/// A configuration with the job `shop` whose channels a listener hears.
struct Watched {
    folder: TempDir,
    listener: Listener,
    database: Database,
}

impl Watched {
    fn start() -> Watched {
        let major = *majors().last().expect("a server is installed");
        let database = Server::shared(major).create_database("watching");
        block_on(database.batch(
            "CREATE TABLE orders AS SELECT i, 'order ' || i AS label FROM generate_series(1, 2000) AS i",
        ));
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener::start();
        std::fs::write(folder.path().join("pulse"), listener.url("pulse")).unwrap();
        Watched {
            folder,
            listener,
            database,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration; `more` follows in the job's table.
    fn configure(&self, source: &str, more: &str) {
        let [main, copy] = ["repo", "copy"].map(|name| self.path(name).display().to_string());
        let text = format!(
            r#"
[[repository]]
name = "main"
place = {main:?}
[[repository]]
name = "copy"
place = {copy:?}
[[notify]]
name = "ops"
kind = "json"
url = {{ env = "OPS_URL" }}
[[notify]]
name = "chat"
kind = "slack"
url = {{ env = "CHAT_URL" }}
[[notify]]
name = "pulse"
kind = "ping"
url = {{ file = {:?} }}
[[job]]
name = "shop"
source = {source:?}
password = {{ env = "SHOP_PASSWORD" }}
repository = "main"
jobs = 1
notify = ["ops", "chat", "pulse"]
{more}"#,
            self.path("pulse").display().to_string()
        );
        std::fs::write(self.path("pgark.toml"), text).unwrap();
    }

    /// All output of a command that must end with `code` and tell no secret.
    #[track_caller]
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let mut command = pgark();
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .env("OPS_URL", self.listener.url("ops"))
            .env("CHAT_URL", self.listener.url("chat"))
            .env("SHOP_PASSWORD", format!("{SECRET}-password"))
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command:?}\n{out}\n{err}"
        );
        let all = format!("{out}{err}");
        let port = format!(":{}", self.listener.port);
        assert!(!all.contains(SECRET) && !all.contains(&port), "{all}");
        all
    }

    /// A look that tells, with the memory in `told.json`.
    #[track_caller]
    fn looks(&self, code: i32) -> String {
        self.ends(code, &["status", "--notify", "--state", "told.json"])
    }

    fn status(&self, code: i32) -> Value {
        serde_json::from_str(&self.ends(code, &["status", "--json"])).unwrap()
    }
}

/// Occasions of the problems in a report.
fn occasions(report: &Value) -> Vec<&str> {
    let problems = report["problems"].as_array().unwrap().iter();
    problems
        .map(|problem| problem["occasion"].as_str().unwrap())
        .collect()
}

fn paths(heard: &[(String, String)]) -> Vec<&str> {
    let mut paths: Vec<&str> = heard.iter().map(|(path, _)| path.as_str()).collect();
    // Channels are told all at once; only the start comes before.
    let n_start = usize::from(paths.first() == Some(&"/pulse/start"));
    paths[n_start..].sort_unstable();
    paths
}

fn body<'a>(heard: &'a [(String, String)], path: &str) -> &'a str {
    let (_, body) = heard.iter().find(|(one, _)| one == path).unwrap();
    body
}

#[test]
fn a_failed_backup_alerts_and_the_next_success_tells_of_recovery() {
    let site = Watched::start();
    let good = site.database.conninfo();
    site.configure("host=127.0.0.1 port=1 user=postgres dbname=shop", "");
    site.ends(13, &["run"]);
    let heard = site.listener.heard();
    assert_eq!(
        paths(&heard),
        ["/pulse/start", "/chat", "/ops", "/pulse/fail"]
    );
    let told: Value = serde_json::from_str(body(&heard, "/ops")).unwrap();
    assert_eq!(told["occasions"], serde_json::json!(["failure"]));
    assert_eq!(told["title"], "pgark: job shop failed");
    assert_eq!(told["fields"]["outcome"], "failed");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("dump: FAILED: cannot connect"), "{text}");
    let chat: Value = serde_json::from_str(body(&heard, "/chat")).unwrap();
    let chat = chat["text"].as_str().unwrap();
    assert!(chat.starts_with("*pgark: job shop failed*\n"), "{chat}");
    for (_, body) in &heard {
        assert!(!body.contains(SECRET), "{body}");
    }
    // What the run told is a problem, and is not told again.
    let said = site.looks(15);
    assert!(said.contains("shop: the run of "), "{said}");
    assert!(said.contains("`pgark run shop` tries again"), "{said}");
    let told = site.listener.told();
    assert_eq!(told["occasions"], serde_json::json!(["absence"]));
    site.listener.heard();

    site.configure(&good, "");
    site.ends(0, &["run"]);
    let heard = site.listener.heard();
    assert_eq!(paths(&heard), ["/pulse/start", "/chat", "/ops", "/pulse"]);
    let told: Value = serde_json::from_str(body(&heard, "/ops")).unwrap();
    assert_eq!(told["occasion"], "recovery");
    assert_eq!(told["title"], "pgark: job shop succeeds again");
    let said = site.ends(0, &["status"]);
    assert!(said.starts_with("all is well\n\nshop: ok\n"), "{said}");
    // A plain success is told to nobody but those who count on it.
    site.ends(0, &["run"]);
    assert_eq!(paths(&site.listener.heard()), ["/pulse/start", "/pulse"]);

    // A run that nobody could be told of is told by the next look that reaches somebody.
    site.listener.answer("404 Not Found");
    site.configure("host=127.0.0.1 port=1 user=postgres dbname=shop", "");
    site.ends(13, &["run"]);
    site.listener.heard();
    let said = site.looks(15);
    assert!(
        said.contains("warning: notify \"ops\": the service answered 404"),
        "{said}"
    );
    site.listener.heard();
    site.listener.answer("200 OK");
    site.looks(15);
    let told = site.listener.heard();
    let failure = told.iter().find(|(_, body)| body.contains("\"failure\""));
    let (_, failure) = failure.unwrap_or_else(|| panic!("{told:?}"));
    assert!(failure.contains("the run of "), "{failure}");
}

#[test]
fn a_size_that_leaves_its_trend_is_told() {
    let site = Watched::start();
    site.configure(&site.database.conninfo(), "");
    for _ in 0..4 {
        site.ends(0, &["run"]);
    }
    site.ends(0, &["status"]);
    site.listener.heard();
    block_on(site.database.batch("DELETE FROM orders WHERE i > 100"));
    site.ends(0, &["run"]);
    let told = site.listener.told();
    assert_eq!(told["occasions"], serde_json::json!(["trend", "success"]));
    let text = told["text"].as_str().unwrap();
    for part in [
        ": 100 rows, 95 % fewer than the 2,000 that the last 4 archives had in the median",
        ": table public.orders has 100 rows, 95 % fewer than the 2,000 before",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let report = site.status(15);
    assert_eq!(occasions(&report), ["trend", "trend", "trend"]);
    let about: Vec<&Value> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| &problem["about"])
        .collect();
    assert_eq!(about, ["rows", "raw bytes", "table public.orders"]);
    // The run told it.
    site.looks(15);
    assert_eq!(site.listener.heard(), []);
    // Without the configuration the repository tells as much; a quick look leaves out the tables.
    let bare = tempfile::tempdir().unwrap();
    let repository = site.path("repo").display().to_string();
    let mut command = pgark();
    command
        .current_dir(bare.path())
        .args(["status", "-r", &repository, "--quick", "--json"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(15), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(occasions(&report), ["trend", "trend"]);
}

#[test]
fn nothing_newer_than_the_objective_is_told_once_a_day_and_when_it_ends() {
    let site = Watched::start();
    site.configure(&site.database.conninfo(), "rpo = \"1s\"");
    site.ends(0, &["run"]);
    site.listener.heard();
    std::thread::sleep(Duration::from_millis(1100));
    // What reaches nobody is due again.
    site.listener.answer("404 Not Found");
    site.looks(15);
    assert_eq!(paths(&site.listener.heard()), ["/chat", "/ops"]);
    assert!(!site.path("told.json").exists());
    site.listener.answer("200 OK");
    let said = site.looks(15);
    assert!(said.contains("it must never be older than 1.0 s"), "{said}");
    let told = site.listener.told();
    assert_eq!(told["occasions"], serde_json::json!(["absence"]));
    assert_eq!(told["title"], "pgark: job shop: a backup is missing");
    site.looks(15);
    assert_eq!(site.listener.heard(), []);

    // A day later it is told again.
    let memory = std::fs::read_to_string(site.path("told.json")).unwrap();
    let mut memory: Value = serde_json::from_str(&memory).unwrap();
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(25);
    let lasting = &mut memory["told"]["shop absence"];
    lasting["since"] = yesterday.to_string().into();
    lasting["told"] = yesterday.to_string().into();
    std::fs::write(site.path("told.json"), memory.to_string()).unwrap();
    site.looks(15);
    let told = site.listener.told();
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("(since 20"), "{text}");

    site.configure(&site.database.conninfo(), "rpo = \"1d\"");
    site.ends(0, &["run"]);
    assert_eq!(paths(&site.listener.heard()), ["/pulse/start", "/pulse"]);
    site.looks(0);
    let told = site.listener.told();
    assert_eq!(told["occasions"], serde_json::json!(["recovery"]));
    let text = told["text"].as_str().unwrap();
    assert!(text.starts_with("Over after 1 d 1 h: the newest"), "{text}");
    site.looks(0);
    assert_eq!(site.listener.heard(), []);
}

#[test]
fn an_overdue_drill_and_a_lagging_replica_are_problems() {
    let site = Watched::start();
    let server = site.database.conninfo();
    let more = |objective: &str| {
        format!(
            "[[job.replica]]\nrepository = \"copy\"\nrpo = {objective:?}\n[job.drill]\nserver = {server:?}\nevery = {objective:?}\n"
        )
    };
    site.configure(&server, &more("1d"));
    site.ends(0, &["run"]);
    let never = site.status(15);
    assert_eq!(occasions(&never), ["drill"]);
    assert_eq!(never["problems"][0]["about"], "overdue");
    site.ends(0, &["drill", "--job", "shop"]);
    let well = site.status(0);
    assert_eq!(well["jobs"][0]["drill"]["last"]["passed"], true);
    assert_eq!(well["jobs"][0]["replicas"][0]["lag_ms"], 0);

    site.configure(&server, &more("1s"));
    std::thread::sleep(Duration::from_millis(1100));
    site.listener.heard();
    let said = site.ends(
        15,
        &[
            "status",
            "--notify",
            "--state",
            "told",
            "--prometheus",
            "m.prom",
        ],
    );
    for part in [
        "shop: the last drill that passed is ",
        "shop: the newest copy in copy is ",
        "`pgark drill --job shop` tries a restore now",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let told = site.listener.told();
    assert_eq!(told["occasions"], serde_json::json!(["drill", "replica"]));
    assert_eq!(told["title"], "pgark: job shop: 2 problems");
    let numbers = std::fs::read_to_string(site.path("m.prom")).unwrap();
    for line in [
        "pgark_problems{pgark_job=\"shop\",occasion=\"drill\"} 1.0\n",
        "pgark_problems{pgark_job=\"shop\",occasion=\"replica\"} 1.0\n",
        "pgark_problems{pgark_job=\"shop\",occasion=\"failure\"} 0.0\n",
        "pgark_last_drill_passed{pgark_job=\"shop\"} 1.0\n",
    ] {
        assert!(numbers.contains(line), "{line} in {numbers}");
    }
    // A replica that cannot be read is a problem, and the rest is shown all the same.
    std::fs::rename(site.path("copy"), site.path("away")).unwrap();
    std::fs::write(site.path("copy"), "").unwrap();
    let report = site.status(15);
    assert_eq!(occasions(&report), ["drill", "replica"]);
    assert_eq!(report["jobs"][0]["replicas"][0]["readable"], false);
}

#[test]
fn where_there_is_nothing_to_look_at_status_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (&["status"][..], 10, "pgark init"),
        (&["status", "-r", "nowhere"], 10, "nowhere"),
        (&["status", "--notify"], 10, "pgark init"),
        (&["status", "--state", "file"], 2, "--notify"),
    ] {
        let mut command = pgark();
        command.current_dir(folder.path()).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}
