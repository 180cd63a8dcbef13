//! Connections to real servers: how they are refused, encrypted and verified, and what runs over them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pgark::pg::connect::{connect, wants_password};
use pgark::pg::pin::{DumpPins, RestorePins, pin_dump_session, pin_restore_session};
use pgark::pg::pooler::require_own_backend;
use pgark::pg::session::Interpose;
use pgark::pg::{
    ConnSettings, CopyOut, CopySink, Environment, Session, SnapshotOwner, SnapshotReader,
};
use pgark::{Error, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use crate::support::{Database, Major, Server, majors};

/// An environment of this test alone.
fn environment(vars: &[(&str, &str)], home: Option<PathBuf>) -> Environment {
    let vars: BTreeMap<String, String> = vars
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Environment {
        vars,
        home,
        user: Some("nobody".to_owned()),
        ..Environment::of_process()
    }
}

fn settings(target: &str) -> ConnSettings {
    ConnSettings::resolve(&environment(&[], None), Some(target), &[])
        .unwrap()
        .with_connect_retry(Duration::from_millis(300))
}

async fn session(database: &Database) -> Session {
    connect(&settings(&database.conninfo()), "test")
        .await
        .unwrap()
}

/// Connects, which must fail; returns the problem and the remedy.
async fn refused(settings: &ConnSettings) -> (String, String) {
    match connect(settings, "test").await {
        Err(Error::Connect {
            problem, remedy, ..
        }) => (problem, remedy),
        other => panic!("{other:?}"),
    }
}

async fn value(session: &Session, sql: &str) -> String {
    let messages = session.simple("the test", "asking", sql).await.unwrap();
    messages
        .iter()
        .find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .unwrap_or_default()
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tally {
    n_begun: u64,
    n_ended: u64,
    n_rows: u64,
    n_bytes: u64,
    longest_fragment: usize,
}

#[derive(Default, Clone)]
struct Counter(Arc<Mutex<Tally>>);

impl Counter {
    fn tally(&self) -> Tally {
        self.0.lock().unwrap().clone()
    }
}

impl CopySink for Counter {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    fn begin(&mut self, _: bool) {
        self.0.lock().unwrap().n_begun += 1;
    }
    fn data(&mut self, fragment: &[u8], ends_message: bool) {
        let mut tally = self.0.lock().unwrap();
        tally.n_bytes += fragment.len() as u64;
        tally.n_rows += u64::from(ends_message);
        tally.longest_fragment = tally.longest_fragment.max(fragment.len());
    }
    fn end(&mut self) {
        self.0.lock().unwrap().n_ended += 1;
    }
}

/// Takes nothing, ever.
struct Closed;

impl CopySink for Closed {
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
    fn begin(&mut self, _: bool) {}
    fn data(&mut self, _: &[u8], _: bool) {}
    fn end(&mut self) {}
}

async fn count(session: &Session, sql: &str) -> Result<(Tally, u64)> {
    let counter = Counter::default();
    let (_, n_rows) = session
        .copy_out("the test", "COPY OUT", sql, Box::new(counter.clone()))
        .await;
    Ok((counter.tally(), n_rows?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_session_knows_its_server() {
    for major in majors() {
        let database = Server::shared(major).create_database("session");
        let session = session(&database).await;
        assert_eq!(session.version().major(), u32::from(major.number()));
        assert!(!session.is_pooled() && !session.in_recovery());
        assert_eq!(session.server_encoding(), "UTF8");
        assert_eq!(
            value(&session, "SELECT pg_backend_pid()").await,
            session.backend_pid().to_string()
        );
        assert_eq!(value(&session, "SHOW application_name").await, "pgark test");
        let rows = session
            .query("adding", "SELECT $1 + 1", &[(&41_i32, Type::INT4)])
            .await
            .unwrap();
        assert_eq!(rows[0].get::<_, i32>(0), 42);
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_out_gives_every_byte_and_the_count_of_the_tag() {
    for major in majors() {
        let database = Server::shared(major).create_database("copy");
        for target in [database.conninfo(), database.tcp_conninfo()] {
            let session = connect(&settings(&target), "test").await.unwrap();
            let (tally, n_rows) = count(
                &session,
                "COPY (SELECT i, repeat('x', i % 50) FROM generate_series(1, 200000) i) TO STDOUT",
            )
            .await
            .unwrap();
            assert_eq!((tally.n_rows, n_rows), (200_000, 200_000));
            assert_eq!((tally.n_begun, tally.n_ended), (1, 1));
            // Rows wider than any buffer, of which only fragments are ever held.
            let wide = 30 * 1024 * 1024;
            let (tally, n_rows) = count(
                &session,
                &format!("COPY (SELECT repeat('w', {wide}) FROM generate_series(1, 3)) TO STDOUT"),
            )
            .await
            .unwrap();
            assert_eq!((tally.n_rows, n_rows), (3, 3));
            assert_eq!(tally.n_bytes, 3 * (wide + 1));
            assert!(tally.longest_fragment <= 256 * 1024);
            // Several COPYs in one string, and an ordinary result between.
            let (tally, n_rows) = count(
                &session,
                "COPY (SELECT 1) TO STDOUT; COPY (SELECT 1 WHERE false) TO STDOUT; COPY (VALUES (1), (2)) TO STDOUT (FORMAT binary)",
            )
            .await
            .unwrap();
            assert_eq!((tally.n_begun, tally.n_ended, n_rows), (3, 3, 3));
            assert_eq!(value(&session, "SELECT 'still here'").await, "still here");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_the_middle_of_copy_out_is_the_servers() {
    for major in majors() {
        let database = Server::shared(major).create_database("copyerror");
        let session = session(&database).await;
        let error = count(
            &session,
            "COPY (SELECT 1 / (100000 - i) FROM generate_series(1, 200000) i) TO STDOUT",
        )
        .await
        .unwrap_err();
        assert_eq!(error.sqlstate(), Some("22012"));
        let (tally, n_rows) = count(&session, "COPY (SELECT 1) TO STDOUT").await.unwrap();
        assert_eq!((tally.n_rows, n_rows), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_copies_in_one_round_trip_give_their_counts_up_to_the_one_that_fails() {
    for major in majors() {
        let database = Server::shared(major).create_database("copies");
        let session = session(&database).await;
        let copies = |selects: &[&str]| -> Vec<CopyOut> {
            let copy = |(i, select): (usize, &&str)| CopyOut {
                object: format!("number {i}"),
                sql: format!("COPY ({select}) TO STDOUT"),
            };
            selects.iter().enumerate().map(copy).collect()
        };
        let read = async |selects: &[&str]| {
            let counter = Counter::default();
            let (_, n_rows, outcome) = session
                .copy_out_all(&copies(selects), "COPY OUT", Box::new(counter.clone()))
                .await;
            (counter.tally(), n_rows, outcome)
        };
        let three = "SELECT generate_series(1, 3)";
        let (tally, n_rows, outcome) =
            read(&[three, "SELECT 1 WHERE false", "SELECT", three]).await;
        outcome.unwrap();
        assert_eq!(n_rows, [3, 0, 1, 3]);
        assert_eq!((tally.n_begun, tally.n_ended, tally.n_rows), (4, 4, 7));
        let fails = "SELECT 1 / (3 - i) FROM generate_series(1, 5) i";
        let (tally, n_rows, outcome) = read(&[three, fails, three]).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.sqlstate(), Some("22012"));
        assert!(error.to_string().contains("number 1"), "{error}");
        assert_eq!(n_rows, [3]);
        assert_eq!((tally.n_begun, tally.n_ended, tally.n_rows), (2, 1, 5));
        // A text that is two statements would shift the counts.
        let (_, _, outcome) = read(&["SELECT 1) TO STDOUT; COPY (SELECT 2"]).await;
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("2 tags came for 1 statements"), "{error}");
        assert_eq!(value(&session, "SELECT 'still here'").await, "still here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_copy_out_is_cancelled_and_the_session_lives_on() {
    for major in majors() {
        let database = Server::shared(major).create_database("copydrop");
        let session = session(&database).await;
        let endless = "COPY (SELECT generate_series(1, 100000000), repeat('x', 100)) TO STDOUT";
        for full in [true, false] {
            let sink: Box<dyn CopySink> = if full {
                Box::new(Closed)
            } else {
                Box::new(Counter::default())
            };
            let copy = session.copy_out("the test", "COPY OUT", endless, sink);
            let outcome = tokio::time::timeout(Duration::from_millis(300), copy).await;
            assert!(outcome.is_err());
            let began = Instant::now();
            session.cancel().await.unwrap();
            let (tally, n_rows) = count(&session, "COPY (VALUES (1), (2)) TO STDOUT")
                .await
                .unwrap();
            assert_eq!((tally.n_rows, n_rows), (2, 2));
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{:?}",
                began.elapsed()
            );
        }
        // Dropped without a cancel: the socket is closed, so the backend ends too.
        let pid = session.backend_pid();
        let copy = session.copy_out("the test", "COPY OUT", endless, Box::new(Closed));
        let _ = tokio::time::timeout(Duration::from_millis(300), copy).await;
        drop(session);
        let other = self::session(&database).await;
        let left = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
        let patience = Instant::now() + Duration::from_secs(20);
        while value(&other, &left).await != "0" {
            assert!(Instant::now() < patience, "the backend runs on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_in_counts_rows_and_stops_early_at_an_error() {
    for major in majors() {
        let database = Server::shared(major).create_database("copyin");
        let session = session(&database).await;
        session
            .batch("the test", "making a table", "CREATE TABLE t (i integer)")
            .await
            .unwrap();
        let mut copy = session
            .copy_in("table t", "COPY IN", "COPY t FROM STDIN")
            .await
            .unwrap();
        copy.send(Bytes::from_static(b"1\n2")).await.unwrap();
        copy.send(Bytes::from_static(b"2\n3\n")).await.unwrap();
        assert_eq!(copy.finish().await.unwrap(), 3);

        let mut copy = session
            .copy_in("table t", "COPY IN", "COPY t FROM STDIN")
            .await
            .unwrap();
        let piece = Bytes::from(b"no number\n".repeat(50_000));
        let patience = Instant::now() + Duration::from_secs(20);
        let error = loop {
            assert!(Instant::now() < patience, "fed on after the error");
            if let Err(error) = copy.send(piece.clone()).await {
                break error;
            }
        };
        drop(copy);
        assert_eq!(error.sqlstate(), Some("22P02"));
        assert_eq!(error.to_string(), "table t: COPY IN failed");

        let mut copy = session
            .copy_in("table t", "COPY IN", "COPY t FROM STDIN")
            .await
            .unwrap();
        copy.send(Bytes::from_static(b"4\n")).await.unwrap();
        drop(copy);
        assert_eq!(value(&session, "SELECT count(*) FROM t").await, "3");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_cause_and_the_remedy() {
    for major in majors() {
        let database = Server::shared(major).create_database("refusals");
        let tcp = database.tcp_conninfo();
        let (problem, remedy) =
            refused(&settings(&tcp.replace("password=pgark", "password=no"))).await;
        assert!(
            problem.contains("password authentication failed"),
            "{problem}"
        );
        assert!(remedy.contains("~/.pgpass"), "{remedy}");

        let none = settings(&tcp.replace("password=pgark", ""));
        let error = connect(&none, "test").await.unwrap_err();
        assert!(wants_password(&error), "{error:?}");
        let session = connect(&none.with_password("pgark"), "test").await.unwrap();
        session.close().await;

        let missing = settings(&database.conninfo()).with_dbname("no such database");
        let (problem, remedy) = refused(&missing).await;
        assert!(problem.contains("no such database"), "{problem}");
        assert!(remedy.contains("--create"), "{remedy}");

        let (problem, _) = refused(&settings("host=/nowhere user=postgres")).await;
        assert!(problem.contains("no such socket"), "{problem}");
        let (problem, _) = refused(&settings("host=127.0.0.1 port=1 user=postgres")).await;
        assert!(problem.contains("refused"), "{problem}");
        let (problem, _) = refused(&settings("host=nowhere.invalid user=postgres")).await;
        assert!(problem.contains("cannot be resolved"), "{problem}");
        let (problem, _) = refused(&settings(&format!("{tcp} sslmode=require"))).await;
        assert!(problem.contains("does not offer TLS"), "{problem}");
        let (problem, _) = refused(&settings(&format!("{tcp} target_session_attrs=standby"))).await;
        assert!(problem.contains("standby"), "{problem}");
        let prefer = settings(&format!("{tcp} target_session_attrs=prefer-standby"));
        connect(&prefer, "test").await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for sslmode in ["disable", "require"] {
        let target =
            format!("host=127.0.0.1 port={port} user=u connect_timeout=2 sslmode={sslmode}");
        let began = Instant::now();
        let (problem, _) = refused(&settings(&target)).await;
        assert!(problem.contains("within 2 s"), "{problem}");
        assert!(began.elapsed() < Duration::from_secs(4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_hosts_are_passed_over_but_not_after_a_wrong_password() {
    for major in majors() {
        let database = Server::shared(major).create_database("hosts");
        let tcp = database.tcp_conninfo();
        let several = tcp.replace(
            "host=127.0.0.1 port=",
            "host=127.0.0.1,/nowhere,127.0.0.1 port=1,1,",
        );
        let session = connect(&settings(&several), "test").await.unwrap();
        session.close().await;
        // The right server comes second, and would take the user.
        let wrong = tcp
            .replace("password=pgark", "password=no")
            .replace("host=127.0.0.1", "host=127.0.0.1,nowhere.invalid");
        let (problem, _) = refused(&settings(&wrong)).await;
        assert!(
            problem.contains("password") && !problem.contains("nowhere"),
            "{problem}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn password_and_service_files_are_used() {
    for major in majors() {
        let database = Server::shared(major).create_database("files");
        let home = tempfile::tempdir().unwrap();
        let passfile = home.path().join(".pgpass");
        fs::write(
            &passfile,
            format!("127.0.0.1:*:{}:postgres:pgark\n", database.name()),
        )
        .unwrap();
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o600)).unwrap();
        let tcp = database.tcp_conninfo().replace("password=pgark ", "");
        let lines = tcp.replace(' ', "\n");
        fs::write(
            home.path().join(".pg_service.conf"),
            format!("[mine]\n{lines}\n"),
        )
        .unwrap();
        let environment = environment(&[("PGSERVICE", "mine")], Some(home.path().to_owned()));
        let resolved = ConnSettings::resolve(&environment, None, &[]).unwrap();
        let session = connect(&resolved, "test").await.unwrap();
        assert_eq!(
            value(&session, "SELECT current_database()").await,
            database.name()
        );
        session.close().await;
        fs::set_permissions(&passfile, fs::Permissions::from_mode(0o644)).unwrap();
        let resolved = ConnSettings::resolve(&environment, None, &[]).unwrap();
        assert_eq!(resolved.warnings().len(), 1);
        assert!(wants_password(
            &connect(&resolved, "test").await.unwrap_err()
        ));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_sessions_have_the_same_settings_on_every_server() {
    for major in majors() {
        let database = Server::shared(major).create_database("pins");
        database
            .batch(&format!(
                "ALTER DATABASE {0} SET timezone = 'Asia/Tokyo'; ALTER DATABASE {0} SET datestyle = 'German';
                 ALTER DATABASE {0} SET statement_timeout = '1h'; ALTER DATABASE {0} SET bytea_output = 'escape';
                 ALTER DATABASE {0} SET default_transaction_read_only = on; ALTER DATABASE {0} SET extra_float_digits = -3",
                database.name()
            ))
            .await;
        let session = session(&database).await;
        let pins = DumpPins::default();
        session
            .pin(&pin_dump_session(session.version(), &pins))
            .await
            .unwrap();
        let row = "SELECT timestamptz '2000-01-01 00:00+00' || ' ' || bytea '\\x00' || ' ' || float8 '0.1'";
        assert_eq!(
            value(&session, row).await,
            "2000-01-01 00:00:00+00 \\x00 0.1"
        );
        assert_eq!(value(&session, "SHOW statement_timeout").await, "0");
        assert_eq!(value(&session, "SHOW search_path").await, "");
        let pins = RestorePins {
            encoding: Some("LATIN1"),
            ..RestorePins::default()
        };
        session
            .pin(&pin_restore_session(session.version(), &pins))
            .await
            .unwrap();
        assert_eq!(value(&session, "SHOW client_encoding").await, "LATIN1");
        session
            .batch("the test", "writing", "CREATE TABLE public.t ()")
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_the_owners_snapshot() {
    for major in majors() {
        let database = Server::shared(major).create_database("snapshot");
        database.batch("CREATE TABLE t AS SELECT 1 AS i").await;
        for deferrable in [false, true] {
            let owner = SnapshotOwner::begin(session(&database).await, deferrable)
                .await
                .unwrap();
            let before = value(&session(&database).await, "SELECT count(*) FROM t").await;
            let id = owner.export().await.unwrap();
            database.batch("INSERT INTO t VALUES (2)").await;
            let reader = SnapshotReader::import(session(&database).await, &id)
                .await
                .unwrap();
            assert_eq!(
                value(reader.session(), "SELECT count(*) FROM t").await,
                before
            );
            reader.end().await;
            owner.end().await;
            let session = session(&database).await;
            assert_ne!(value(&session, "SELECT count(*) FROM t").await, before);
            assert!(SnapshotReader::import(session, &id).await.is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_and_the_reason_of_a_broken_connection_are_kept() {
    for major in majors() {
        let database = Server::shared(major).create_database("notices");
        let session = session(&database).await;
        let noisy = "DO $$ BEGIN FOR i IN 1..250 LOOP RAISE WARNING 'w%', i USING HINT = 'h'; END LOOP; END $$";
        session
            .batch("the test", "being noisy", noisy)
            .await
            .unwrap();
        let notices = session.take_notices();
        assert_eq!(notices.len(), 201);
        assert_eq!(
            (notices[0].message.as_str(), notices[0].hint.as_str()),
            ("w1", "h")
        );
        assert_eq!(notices[0].severity, "WARNING");
        assert!(notices[200].message.starts_with("50 more"));
        assert!(session.take_notices().is_empty());

        let killer = self::session(&database).await;
        let sleeper = session.simple("the test", "sleeping", "SELECT pg_sleep(60)");
        let kill = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let sql = format!("SELECT pg_terminate_backend({})", session.backend_pid());
            value(&killer, &sql).await
        };
        let (outcome, _) = tokio::join!(sleeper, kill);
        assert_eq!(outcome.unwrap_err().sqlstate(), Some("57P01"));
        session.close().await;
    }
}

struct FailAt {
    word: &'static str,
}

#[async_trait::async_trait]
impl Interpose for FailAt {
    async fn before(&self, statement: &str) -> Result<()> {
        if statement.contains(self.word) {
            return Err(Error::failed("the test", "refused by the test", ""));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_can_be_interposed() {
    for major in majors() {
        let database = Server::shared(major).create_database("interpose");
        let word = "boom";
        let settings = settings(&database.conninfo()).with_interpose(Arc::new(FailAt { word }));
        let session = connect(&settings, "test").await.unwrap();
        let sql = "SELECT 'boom'";
        assert!(session.batch("t", "s", sql).await.is_err());
        assert!(session.simple("t", "s", sql).await.is_err());
        assert!(session.query("s", sql, &[]).await.is_err());
        assert!(session.copy_in("t", "s", sql).await.is_err());
        assert!(count(&session, sql).await.is_err());
        assert_eq!(value(&session, "SELECT 1").await, "1");
    }
}

/// An authority and what it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Certificate and key as PEM.
    pub(crate) fn sign(&self, params: &mut CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        params.serial_number = Some(SerialNumber::from(7));
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

pub(crate) fn leaf(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

/// A file of the server in its data directory, readable by it alone.
fn give(server: &Server, name: &str, text: &str) {
    let owner = fs::metadata(server.data_dir()).unwrap();
    let path = server.data_dir().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let _ = chown(&path, Some(owner.uid()), Some(owner.gid()));
}

pub(crate) async fn use_certificate(server: &Server, (cert, key): &(String, String)) {
    give(server, "server.crt", cert);
    give(server, "server.key", key);
    let session = connect(&settings(&server.conninfo("postgres")), "test")
        .await
        .unwrap();
    session
        .batch("the server", "ssl", "ALTER SYSTEM SET ssl = on")
        .await
        .unwrap();
    session
        .batch("the server", "reload", "SELECT pg_reload_conf()")
        .await
        .unwrap();
    session.close().await;
    // Backends that start from now on have the new file.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn is_encrypted(target: &str) -> std::result::Result<bool, String> {
    match connect(&settings(target), "test").await {
        Ok(session) => {
            let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let encrypted = value(&session, sql).await == "t";
            session.close().await;
            Ok(encrypted)
        }
        Err(Error::Connect { problem, .. }) => Err(problem),
        Err(other) => panic!("{other:?}"),
    }
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_judged_as_sslmode_asks() {
    for major in majors() {
        let server = Server::start(major);
        let database = server.create_database("tls");
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Authority::new(), Authority::new());
        let ca = file(dir.path(), "ca.crt", &ours.pem);
        let wrong_ca = file(dir.path(), "wrong.crt", &theirs.pem);
        let tcp = database.tcp_conninfo().replace("host=", "hostaddr=");

        // The server has no TLS yet: prefer and allow go without.
        for mode in ["disable", "allow", "prefer"] {
            assert_eq!(
                is_encrypted(&format!("{tcp} sslmode={mode}")).await,
                Ok(false),
                "{mode}"
            );
        }
        use_certificate(&server, &ours.sign(&mut leaf("db.example"))).await;
        let named = format!("{tcp} host=db.example");
        let full = format!("{named} sslmode=verify-full sslrootcert={ca}");
        assert_eq!(is_encrypted(&full).await, Ok(true));
        // SCRAM bound to the certificate: the password is really exchanged over this TLS session.
        assert_eq!(
            is_encrypted(&format!("{full} channel_binding=require")).await,
            Ok(true)
        );
        for mode in ["prefer", "require"] {
            assert_eq!(
                is_encrypted(&format!("{named} sslmode={mode}")).await,
                Ok(true),
                "{mode}"
            );
        }
        assert_eq!(
            is_encrypted(&format!("{named} sslmode=allow")).await,
            Ok(false)
        );
        for (target, word) in [
            (
                format!("{named} sslmode=verify-full sslrootcert={wrong_ca}"),
                "no trusted authority",
            ),
            (
                format!("{named} sslmode=verify-ca sslrootcert={wrong_ca}"),
                "no trusted authority",
            ),
            // A root certificate makes require verify-ca.
            (
                format!("{named} sslmode=require sslrootcert={wrong_ca}"),
                "no trusted authority",
            ),
            (
                format!("{tcp} host=other.example sslmode=verify-full sslrootcert={ca}"),
                "another host",
            ),
            (
                format!("{named} sslmode=verify-full sslrootcert=/nowhere"),
                "does not exist",
            ),
            (
                format!("{named} sslmode=verify-full"),
                "no root certificate",
            ),
            (
                format!("{named} sslmode=disable channel_binding=require"),
                "channel_binding=require",
            ),
        ] {
            let problem = is_encrypted(&target).await.unwrap_err();
            assert!(problem.contains(word), "{target}: {problem}");
        }
        let other = format!("{tcp} host=other.example sslmode=verify-ca sslrootcert={ca}");
        assert_eq!(is_encrypted(&other).await, Ok(true));
        let direct = is_encrypted(&format!("{full} sslnegotiation=direct")).await;
        assert_eq!(direct.is_ok(), major.number() >= 17, "{direct:?}");

        let session = connect(&settings(&full), "test").await.unwrap();
        let (tally, n_rows) = count(&session, "COPY (SELECT repeat('w', 30000000)) TO STDOUT")
            .await
            .unwrap();
        assert_eq!((tally.n_rows, n_rows, tally.n_bytes), (1, 1, 30_000_001));
        let sleeper = session.simple("the test", "sleeping", "SELECT pg_sleep(60)");
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            session.canceller().cancel().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(sleeper, cancel);
        assert_eq!(outcome.unwrap_err().sqlstate(), Some("57014"));

        let mut expired = leaf("db.example");
        expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
        expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
        use_certificate(&server, &ours.sign(&mut expired)).await;
        let problem = is_encrypted(&full).await.unwrap_err();
        assert!(problem.contains("expired"), "{problem}");
        assert_eq!(
            is_encrypted(&format!("{named} sslmode=require")).await,
            Ok(true)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_in_the_root_file_is_trusted() {
    for major in majors() {
        let server = Server::start(major);
        let database = server.create_database("selfsigned");
        let dir = tempfile::tempdir().unwrap();
        let named = database.tcp_conninfo().replace("host=", "hostaddr=") + " host=db.example";
        // As `openssl req -x509` makes it: its own authority.
        for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::NoCa] {
            let mut params = leaf("db.example");
            params.is_ca = is_ca;
            let key = KeyPair::generate().unwrap();
            let pem = params.self_signed(&key).unwrap().pem();
            use_certificate(&server, &(pem.clone(), key.serialize_pem())).await;
            let root = file(dir.path(), "root.crt", &pem);
            let full = format!("{named} sslmode=verify-full sslrootcert={root}");
            assert_eq!(is_encrypted(&full).await, Ok(true));
            let other = full.replace("host=db.example", "host=other.example");
            assert!(is_encrypted(&other).await.is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_and_rules_that_demand_tls_are_met() {
    for major in majors() {
        let server = Server::start(major);
        let database = server.create_database("clientcert");
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        give(&server, "ca.crt", &authority.pem);
        database
            .batch("CREATE ROLE carl LOGIN; CREATE ROLE tess LOGIN; CREATE ROLE pat LOGIN")
            .await;
        database
            .batch("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'")
            .await;
        let rules = fs::read_to_string(server.data_dir().join("pg_hba.conf")).unwrap();
        let more = "hostssl all carl all cert\nhostssl all tess all trust\nhostnossl all pat all trust\nhost all carl,tess,pat all reject\n";
        give(&server, "pg_hba.conf", &format!("{more}{rules}"));
        use_certificate(&server, &authority.sign(&mut leaf("db.example"))).await;
        let mut client = CertificateParams::new(Vec::new()).unwrap();
        client
            .distinguished_name
            .push(rcgen::DnType::CommonName, "carl");
        let (cert, key) = authority.sign(&mut client);
        let (cert, key) = (
            file(dir.path(), "c.crt", &cert),
            file(dir.path(), "c.key", &key),
        );
        let tcp = database.tcp_conninfo();
        let of = |user: &str| tcp.replace("user=postgres password=pgark", &format!("user={user}"));
        let carl = format!("{} sslcert={cert} sslkey={key}", of("carl"));
        assert_eq!(is_encrypted(&carl).await, Ok(true));
        assert!(is_encrypted(&of("carl")).await.is_err());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let problem = is_encrypted(&carl).await.unwrap_err();
        assert!(problem.contains("may be read by"), "{problem}");
        // The second attempts of allow and prefer.
        assert_eq!(
            is_encrypted(&format!("{} sslmode=allow", of("tess"))).await,
            Ok(true)
        );
        assert_eq!(
            is_encrypted(&format!("{} sslmode=prefer", of("pat"))).await,
            Ok(false)
        );
        let problem = is_encrypted(&format!("{} sslmode=require", of("pat")))
            .await
            .unwrap_err();
        assert!(problem.contains("pg_hba.conf"), "{problem}");
        let problem = is_encrypted(&format!("{} sslmode=disable", of("tess")))
            .await
            .unwrap_err();
        assert!(problem.contains("pg_hba.conf"), "{problem}");
    }
}

/// A running pooler, ended on drop.
struct Pooler {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Pooler {
    /// `None` if it is not installed.
    async fn start(server: &Server, database: &Database, mode: &str) -> Option<Self> {
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let dir = tempfile::tempdir().unwrap();
        let tcp = database.tcp_conninfo();
        let config = format!(
            "[databases]\n* = {}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n",
            tcp.replace(&format!(" dbname={}", database.name()), "")
        );
        let path = dir.path().join("pgbouncer.ini");
        fs::write(&path, config).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let owner = fs::metadata(server.data_dir()).unwrap();
        let mut command = Command::new(program);
        command
            .arg("-q")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if fs::metadata("/proc/self").unwrap().uid() != owner.uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let child = command.spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            assert!(Instant::now() < patience, "PgBouncer does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Pooler {
            child,
            port,
            _dir: dir,
        })
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_pooler_is_recognised_and_a_session_pooler_served() {
    let Some(major) = majors().into_iter().next_back() else {
        return;
    };
    let server = Server::start(major);
    let database = server.create_database("pooler");
    for (mode, is_fit) in [
        ("transaction", false),
        ("statement", false),
        ("session", true),
    ] {
        let Some(pooler) = Pooler::start(&server, &database, mode).await else {
            println!("left out: PgBouncer is not installed");
            return;
        };
        let target = format!(
            "host=127.0.0.1 port={} user=postgres dbname={}",
            pooler.port,
            database.name()
        );
        let settings = settings(&target);
        let session = connect(&settings, "test").await.unwrap();
        assert!(session.is_pooled());
        match require_own_backend(&session, &settings).await {
            Ok(()) => assert!(is_fit, "{mode}"),
            Err(Error::Connect {
                problem, remedy, ..
            }) => {
                assert!(!is_fit, "{mode}: {problem}");
                assert!(problem.contains("PgBouncer"), "{problem}");
                assert!(remedy.contains("listens on port"), "{remedy}");
            }
            Err(other) => panic!("{mode}: {other:?}"),
        }
        session.close().await;
        let options = self::settings(&format!("{target} options='-c jit=off'"));
        let (problem, _) = refused(&options).await;
        assert!(problem.contains("PgBouncer"), "{problem}");
    }
    let direct = settings(&database.conninfo());
    let session = connect(&direct, "test").await.unwrap();
    require_own_backend(&session, &direct).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_and_a_crash_are_named() {
    let Some(major) = majors().into_iter().next() else {
        return;
    };
    let server = Server::start_with(
        Major::clone(&major),
        &[
            ("max_connections", "5"),
            ("max_wal_senders", "0"),
            ("superuser_reserved_connections", "0"),
        ],
    );
    let target = settings(&server.conninfo("postgres"));
    let mut held = Vec::new();
    let (problem, remedy) = loop {
        match connect(&target, "test").await {
            Ok(session) => held.push(session),
            Err(Error::Connect {
                problem, remedy, ..
            }) => break (problem, remedy),
            Err(other) => panic!("{other:?}"),
        }
        assert!(held.len() < 10);
    };
    assert!(problem.contains("too many"), "{problem}");
    assert!(remedy.contains("-j"), "{remedy}");
    server.crash();
    let (problem, _) = refused(&target).await;
    assert!(
        problem.contains("no such socket") || problem.contains("refused"),
        "{problem}"
    );
}
