//! `docs/guide.md` as a reader would type it: every command, in order, with nothing but `pgark` and a shell, against a real server and a
//! real S3 service.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use crate::support::{S3Server, Server, majors};

/// What the guide takes for granted besides `pgark`.
const TOOLS: [&str; 2] = ["bash", "cat"];

const SHOP: &str = "\
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL UNIQUE);\
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, note text);\
    CREATE INDEX ON orders (customer);\
    INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 100) AS i;\
    INSERT INTO orders SELECT i, 1 + i % 100, 'note ' || i FROM generate_series(1, 2000) AS i;";

/// A block of the guide's commands.
#[derive(Debug)]
struct Block {
    text: String,
    /// True if the reader fills it in.
    is_yours: bool,
}

fn blocks() -> Vec<Block> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in guide.lines() {
        match line.strip_prefix("```") {
            Some("") => inside = false,
            Some(kind) => {
                let is_yours = kind == "sh yours";
                assert!(is_yours || kind == "sh", "a block of {kind:?} is not run");
                let text = String::new();
                blocks.push(Block { text, is_yours });
                inside = true;
            }
            None if inside => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// The reader's own values in a block that he fills in: every variable that the guide exports must have one.
fn filled_in(block: &Block, values: &BTreeMap<&str, String>) -> String {
    let name = regex::Regex::new(r"(?:^|\s)([A-Z_]+)=").unwrap();
    let mut lines = Vec::new();
    for line in block.text.lines() {
        let line = line
            .strip_prefix("export ")
            .expect("only exports are the reader's");
        for found in name.captures_iter(line) {
            let name = found.get(1).unwrap().as_str();
            let value = values.get(name).unwrap_or_else(|| panic!("{name} is new"));
            lines.push(format!("export {name}='{value}'\n"));
        }
    }
    lines.concat()
}

/// A chat that writes down what it is told.
fn chat() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut n_bytes = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                let header = line.to_ascii_lowercase();
                if let Some(length) = header.strip_prefix("content-length:") {
                    n_bytes = length.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; n_bytes];
            reader.read_exact(&mut body).unwrap();
            heard.lock().unwrap().push(String::from_utf8(body).unwrap());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
        }
    });
    (url, told)
}

fn server_values(server: &Server) -> BTreeMap<&'static str, String> {
    let conninfo = server.database("postgres").tcp_conninfo();
    let value = |key: &str| {
        let word = conninfo.split(' ').find_map(|word| word.strip_prefix(key));
        word.unwrap_or_else(|| panic!("{key} in {conninfo}"))
            .to_owned()
    };
    BTreeMap::from([
        ("PGHOST", value("host=")),
        ("PGPORT", value("port=")),
        ("PGUSER", value("user=")),
        ("PGPASSWORD", value("password=")),
    ])
}

/// Runs the script where there is nothing but the program, a shell and `cat`.
fn run(script: &str) -> Output {
    let machine = tempfile::tempdir().unwrap();
    let programs = machine.path().join("bin");
    std::fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_pgark"), programs.join("pgark")).unwrap();
    for tool in TOOLS {
        let there = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
        let tool_there = there.iter().find(|path| path.exists()).unwrap();
        symlink(tool_there, programs.join(tool)).unwrap();
    }
    let home = machine.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let output = Command::new("/bin/bash")
        .args(["-euo", "pipefail", "-c", script])
        .env_clear()
        .env("PATH", &programs)
        .env("HOME", &home)
        .current_dir(&home)
        .output()
        .unwrap();
    let page = std::fs::read_to_string(home.join("backups.html")).unwrap_or_default();
    let numbers = std::fs::read_to_string(home.join("pgark.prom")).unwrap_or_default();
    if output.status.success() {
        assert!(page.contains("shop"), "{page:.200}");
        assert!(numbers.contains("pgark_"), "{numbers}");
    }
    output
}

#[test]
fn every_command_of_the_guide_runs_on_a_fresh_machine() {
    let Some(major) = majors().pop() else { return };
    let (server, lost) = (Server::start(major), Server::start(major));
    server.database("postgres").psql("CREATE DATABASE shop");
    server.database("shop").psql(SHOP);
    let (s3, (url, told)) = (S3Server::start(), chat());
    let mut values = server_values(&server);
    values.extend([
        ("PGDATABASE", "shop".to_owned()),
        ("AWS_ACCESS_KEY_ID", S3Server::KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", S3Server::SECRET.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", s3.endpoint()),
        ("CLOUD", S3Server::url("cloud")),
        ("COLD", S3Server::url("cold")),
        ("OPS_WEBHOOK", url),
    ]);
    let mut servers = [
        values.clone(),
        values.into_iter().chain(server_values(&lost)).collect(),
    ]
    .into_iter();
    let mut script = String::new();
    for block in blocks() {
        if block.is_yours {
            script.push_str(&filled_in(&block, &servers.next().expect("two servers")));
        } else {
            script.push_str(&block.text);
        }
    }
    let output = run(&script);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    // Nothing went wrong, so nobody was told of a failure.
    for message in &*told.lock().unwrap() {
        assert!(!message.contains("fail"), "{message}");
    }
    for secret in [S3Server::SECRET, "PGPASSWORD", "/hook"] {
        assert!(
            !out.contains(secret) && !err.contains(secret),
            "{secret}: {out}\n{err}"
        );
    }
    // The database on the new server is the one that was replaced: all orders are back.
    assert_eq!(
        lost.database("shop")
            .psql("SELECT count(*) FROM orders")
            .trim(),
        "2000"
    );
    assert_eq!(
        server
            .database("shop")
            .psql("SELECT count(*) FROM orders")
            .trim(),
        "2000"
    );
    let copies = s3.folder();
    for place in ["cloud", "cold"] {
        let archives = std::fs::read_dir(copies.join(place).join("archives")).unwrap();
        assert_eq!(archives.count(), 1, "{place}");
    }
}
