//! Which connections are tried again, by what is told of each try, and which are refused at once.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgark::pg::{ConnSettings, Environment, Session, connect};
use pgark::progress::{Event, Progress};
use pgark::{Error, Result};

use crate::support::faulty::{At, Fault, FaultyProxy};
use crate::support::{Server, majors, pgark};

/// Keeps what is told.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Event>>);

impl Progress for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    /// Problems of the tries that were followed by another one.
    fn problems(&self) -> Vec<String> {
        let heard = self.0.lock().unwrap();
        let problems = heard.iter().map(|event| match event {
            Event::Retry { problem, .. } => problem.clone(),
            other => panic!("{other:?}"),
        });
        problems.collect()
    }
}

fn settings(conninfo: &str) -> (ConnSettings, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let settings = ConnSettings::resolve(&Environment::of_process(), Some(conninfo), &[]).unwrap();
    (settings.telling(heard.clone()), heard)
}

/// The problem of a connection that must fail.
fn problem(outcome: Result<Session>) -> String {
    match outcome {
        Err(Error::Connect { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_pass_is_refused_at_once() {
    for major in majors() {
        let database = Server::shared(major).create_database("retrying");
        let good = database.tcp_conninfo();
        let wrong = good.replace("password=pgark", "password=wrong");
        let unknown = good.replace(database.name(), "no_such_database");
        let (nowhere, rest) = good.split_once("port=").unwrap();
        let nobody = format!("{nowhere}port=1 {}", rest.split_once(' ').unwrap().1);
        for (conninfo, word) in [
            (&wrong, "password authentication failed"),
            (&unknown, "does not exist"),
        ] {
            let (settings, heard) = settings(conninfo);
            let settings = settings.with_connect_retry(MINUTE);
            let problem = problem(connect(&settings, "test").await);
            assert!(problem.contains(word), "{problem}");
            assert_eq!(heard.problems(), [""; 0]);
        }
        // A wrong port, or a server that was never there.
        let (settings, heard) = settings(&nobody);
        let refused = problem(connect(&settings, "test").await);
        assert!(refused.contains("refused"), "{refused}");
        assert_eq!(heard.problems(), [""; 0]);
        // The user may ask for patience.
        let settings = settings.with_connect_retry(Duration::from_millis(400));
        let refused = problem(connect(&settings, "test").await);
        assert!(refused.contains("tried "), "{refused}");
        assert!(!heard.problems().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_and_one_that_comes_back_are_waited_for() {
    let Some(major) = majors().pop() else { return };
    let few = [
        ("max_connections", "4"),
        ("max_wal_senders", "0"),
        ("superuser_reserved_connections", "0"),
    ];
    let server = Arc::new(Server::start_with(major, &few));
    let (settings, heard) = settings(&server.conninfo("postgres"));
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connect(&settings, "test").await.unwrap());
    }
    let next = {
        let settings = settings.clone();
        tokio::spawn(async move { connect(&settings, "test").await })
    };
    while heard.problems().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    held.clear();
    next.await.unwrap().unwrap().close().await;
    let problems = heard.problems();
    let is_full = |problem: &String| problem.contains("too many");
    assert!(problems.iter().all(is_full), "{problems:?}");

    // It was reached before, so the way to it is right: what is not there may come back.
    server.crash();
    let next = {
        let settings = settings.clone();
        tokio::spawn(async move { connect(&settings, "test").await })
    };
    while heard.problems().len() == problems.len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let restarted = Arc::clone(&server);
    tokio::task::spawn_blocking(move || restarted.restart())
        .await
        .unwrap();
    next.await.unwrap().unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_work_that_must_be_in_one_life_of_the_server_is_not_connected_to_the_next() {
    for major in majors() {
        let server = Server::start(major);
        let (settings, _) = settings(&server.conninfo("postgres"));
        let work = settings.for_one_life();
        for _ in 0..3 {
            connect(&work, "test").await.unwrap().close().await;
        }
        // A backend that is killed takes all others with it; the postmaster stays and recovers.
        let victim = connect(&work, "test").await.unwrap();
        let pid = victim.backend_pid().to_string();
        let killed = Command::new("kill").args(["-KILL", &pid]).status().unwrap();
        assert!(killed.success());
        while !victim.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let refused = problem(connect(&work, "test").await);
        assert!(refused.contains("has crashed"), "{refused}");
        let another = settings.for_one_life();
        connect(&another, "test").await.unwrap().close().await;
        server.restart();
        let refused = problem(connect(&another, "test").await);
        assert!(refused.contains("was restarted"), "{refused}");
        connect(&settings, "test").await.unwrap().close().await;
    }
}

#[test]
fn the_program_shows_each_further_try_when_asked() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let database = server.create_database("retrying");
    let at = At {
        n: 0,
        fault: Fault::CutBefore,
        and_gone: false,
    };
    for (more, is_shown) in [(&["-v"][..], true), (&[], false)] {
        let proxy = FaultyProxy::start(&server, Some(at));
        let output = pgark()
            .args(["exec", "-c", "SELECT 1", "--connect-retry", "10s", "-d"])
            .arg(proxy.conninfo(&database))
            .args(more)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{err}");
        assert_eq!(proxy.n_faults(), 1);
        let told = err.contains("connecting to host") && err.contains("1 try failed, the next in");
        assert_eq!(told, is_shown, "{err}");
    }
}
