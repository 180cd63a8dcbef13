//! Against a real server on a socket and real programs.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{Command, Secret};

pub(super) fn message() -> Message {
    Message {
        occasions: vec![Occasion::Failure, Occasion::Verify],
        job: Some("shop".to_owned()),
        title: "pgark: job shop failed".to_owned(),
        text: "dump: FAILED: no route\nverify: FAILED: x".to_owned(),
        fields: [("outcome".to_owned(), "failed".to_owned())].into(),
        at: "2026-11-22T02:00:00Z".parse().unwrap(),
        host: "db1".to_owned(),
    }
}

/// A server that gives the scripted answers one after another, then `200 OK`; with an empty answer it stays silent.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: &'static [&'static str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut answers = answers.iter().copied();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read_request(&mut socket).await;
                seen.lock().unwrap().push(request);
                let answer = answers.next().unwrap_or("200 OK");
                if answer.is_empty() {
                    silent.push(socket);
                    continue;
                }
                let text =
                    format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                socket.write_all(text.as_bytes()).await.unwrap();
            }
        });
        Server { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(socket: &mut tokio::net::TcpStream) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let n = socket.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert_ne!(n, 0, "{text}");
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            return text;
        }
    }
}

fn channel(name: &str, kind: ChannelKind) -> Channel {
    Channel {
        name: name.to_owned(),
        kind,
        url: Some(Secret::Env("URL".to_owned())),
        command: None,
        on: Vec::new(),
    }
}

const QUICK: Patience = Patience {
    try_lasts: Duration::from_millis(400),
    n_tries: 3,
    pause: Duration::from_millis(5),
};

async fn tell_one(channel: &Channel, message: &Message, url: &str) -> Telling {
    let lookup = |_: &str| Some(url.to_owned());
    let mut told = tell_patiently(&[channel], message, lookup, QUICK).await;
    assert_eq!(told.len(), 1);
    let told = told.remove(0);
    let secret = url.split("://").last().unwrap();
    assert!(!told.to_string().contains(secret), "{told}");
    assert!(!told.to_string().contains("T0KEN"), "{told}");
    told.outcome
}

#[tokio::test]
async fn each_kind_of_channel_gets_what_it_takes() {
    let server = Server::start(&[]).await;
    let url = format!("http://{}/hook/T0KEN?create=1", server.address);
    let lookup = |_: &str| Some(url.clone());
    let slack = channel("ops", ChannelKind::Slack);
    let json = channel("bus", ChannelKind::Json);
    let ping = channel("pulse", ChannelKind::Ping);
    assert_eq!(tell_one(&slack, &message(), &url).await, Telling::Sent);
    assert_eq!(tell_one(&json, &message(), &url).await, Telling::Sent);
    tell_start(&[&slack, &ping], lookup).await;
    assert_eq!(tell_one(&ping, &message(), &url).await, Telling::Sent);
    let well = Message {
        occasions: vec![Occasion::Trend, Occasion::Success],
        ..message()
    };
    assert_eq!(tell_one(&ping, &well, &url).await, Telling::Sent);
    let requests = server.requests();
    let begins: Vec<&str> = requests
        .iter()
        .map(|text| text.lines().next().unwrap())
        .collect();
    assert_eq!(
        begins,
        [
            "POST /hook/T0KEN?create=1 HTTP/1.1",
            "POST /hook/T0KEN?create=1 HTTP/1.1",
            "POST /hook/T0KEN/start?create=1 HTTP/1.1",
            "POST /hook/T0KEN/fail?create=1 HTTP/1.1",
            "POST /hook/T0KEN?create=1 HTTP/1.1",
        ]
    );
    let bodies: Vec<&str> = requests
        .iter()
        .map(|text| text.split_once("\r\n\r\n").unwrap().1)
        .collect();
    let value: serde_json::Value = serde_json::from_str(bodies[0]).unwrap();
    assert_eq!(value, body::slack(&message()));
    let value: serde_json::Value = serde_json::from_str(bodies[1]).unwrap();
    assert_eq!(value, body::json(&message()));
    assert_eq!(bodies[2], "");
    assert!(
        bodies[3].starts_with("pgark: job shop failed\n\ndump: FAILED: no route\n"),
        "{}",
        bodies[3]
    );
    assert!(requests[0].contains("content-type: application/json"));
}

#[tokio::test]
async fn only_wanted_occasions_are_told() {
    let server = Server::start(&[]).await;
    let url = format!("http://{}/", server.address);
    let mut picky = channel("ops", ChannelKind::Slack);
    picky.on = vec![Occasion::Absence];
    assert_eq!(tell_one(&picky, &message(), &url).await, Telling::NotWanted);
    let well = Message {
        occasions: vec![Occasion::Success],
        ..message()
    };
    let chatty = channel("all", ChannelKind::Json);
    assert_eq!(tell_one(&chatty, &well, &url).await, Telling::NotWanted);
    assert_eq!(server.requests(), Vec::<String>::new());
    let strange = Message {
        occasions: vec![Occasion::Trend, Occasion::Success],
        ..message()
    };
    assert_eq!(tell_one(&chatty, &strange, &url).await, Telling::Sent);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_and_a_lasting_one_named() {
    let server = Server::start(&[
        "500 Oops",
        "200 OK",
        "404 Gone",
        "500 A",
        "503 B",
        "500 C",
        "302 Found",
    ])
    .await;
    let url = format!("http://{}/T0KEN", server.address);
    let slack = channel("ops", ChannelKind::Slack);
    assert_eq!(tell_one(&slack, &message(), &url).await, Telling::Sent);
    assert_eq!(server.requests().len(), 2);
    for (reason, n_requests) in [
        ("the service answered 404 Not Found", 3),
        ("the service answered 500 Internal Server Error, 3 times", 6),
        (
            "the service answered 302 Found; give the URL that it leads to",
            7,
        ),
    ] {
        assert_eq!(
            tell_one(&slack, &message(), &url).await,
            Telling::Failed(reason.to_owned())
        );
        assert_eq!(server.requests().len(), n_requests);
    }
}

#[tokio::test]
async fn a_silent_or_absent_service_holds_nobody_up() {
    let server = Server::start(&["", "", ""]).await;
    let json = channel("bus", ChannelKind::Json);
    let url = format!("http://{}/T0KEN", server.address);
    let begun = std::time::Instant::now();
    assert_eq!(
        tell_one(&json, &message(), &url).await,
        Telling::Failed("no answer in time, 3 times".to_owned())
    );
    assert!(begun.elapsed() < Duration::from_secs(3));
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/T0KEN", listener.local_addr().unwrap())
    };
    let Telling::Failed(reason) = tell_one(&json, &message(), &nobody).await else {
        panic!("told to nobody");
    };
    assert!(
        reason.starts_with("cannot connect: Connection refused"),
        "{reason}"
    );
    for (url, expected) in [
        ("T0KEN", "its url does not begin with"),
        ("ftp://h/T0KEN", "its url does not begin with"),
        ("http://nowhere.invalid/T0KEN", "cannot connect: "),
    ] {
        let Telling::Failed(reason) = tell_one(&json, &message(), url).await else {
            panic!("{url}");
        };
        assert!(reason.starts_with(expected), "{reason}");
    }
    let told = tell(&[&json], &message(), |_| None).await;
    assert_eq!(
        told[0].to_string(),
        "notify \"bus\": environment variable URL: is not set"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shaken = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await.is_ok()
    });
    let url = format!("https://localhost:{port}/T0KEN");
    let once = Patience {
        n_tries: 1,
        try_lasts: Duration::from_secs(5),
        ..QUICK
    };
    let json = channel("bus", ChannelKind::Json);
    let told = tell_patiently(&[&json], &message(), |_| Some(url.clone()), once).await;
    let Telling::Failed(reason) = &told[0].outcome else {
        panic!("{told:?}");
    };
    assert!(
        reason.contains("certificate") && !reason.contains("T0KEN"),
        "{reason}"
    );
    assert!(!shaken.await.unwrap());
}

fn script(dir: &std::path::Path, text: &str) -> Channel {
    let path = dir.join("mailer");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = vec![
        path.display().to_string(),
        "a b; $HOME".to_owned(),
        dir.display().to_string(),
    ];
    Channel {
        url: None,
        command: Some(Command(command)),
        ..channel("mail", ChannelKind::Exec)
    }
}

#[tokio::test]
async fn a_program_gets_the_message_and_its_end_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mail = script(
        dir.path(),
        r#"{ echo "$1|$PGARK_SUBJECT|$PGARK_OCCASION|$PGARK_OCCASIONS|$PGARK_JOB|$PGARK_OUTCOME|$PGARK_HOST"; cat; } > "$2/got""#,
    );
    let mut told = message();
    told.title = "it's \"$(touch x)\" `y`".to_owned();
    assert_eq!(tell_one(&mail, &told, "x://unused").await, Telling::Sent);
    let got = std::fs::read_to_string(dir.path().join("got")).unwrap();
    assert!(
        got.starts_with("a b; $HOME|it's \"$(touch x)\" `y`|failure|failure verify|shop|failed|db1\nit's \"$(touch x)\" `y`\n\ndump: FAILED"),
        "{got}"
    );

    let mail = script(
        dir.path(),
        "echo 'no such user: password=hunter2' >&2; exit 67",
    );
    let Telling::Failed(reason) = tell_one(&mail, &told, "x://unused").await else {
        panic!("a failed mailer passes for success");
    };
    assert!(
        reason.ends_with("mailer ended with exit code 67: no such user: password=***"),
        "{reason}"
    );

    let mail = script(dir.path(), "sleep 2 & exit 0");
    assert_eq!(tell_one(&mail, &told, "x://unused").await, Telling::Sent);

    let mail = script(dir.path(), "exec sleep 60");
    let begun = std::time::Instant::now();
    let Telling::Failed(reason) = tell_one(&mail, &told, "x://unused").await else {
        panic!("a hanging mailer passes for success");
    };
    assert!(reason.contains("did not end within 0.4 s"), "{reason}");
    assert!(begun.elapsed() < Duration::from_secs(5));

    let absent = Channel {
        command: Some(Command(vec!["/nowhere/mailer".to_owned()])),
        ..mail
    };
    let Telling::Failed(reason) = tell_one(&absent, &told, "x://unused").await else {
        panic!("an absent mailer passes for success");
    };
    assert!(
        reason.starts_with("/nowhere/mailer does not start: "),
        "{reason}"
    );
}
