//! Replacing a database: what it is to its cluster comes along, clients see the old one or the new one, a kill at any step
//! leaves the old one in service and the next run cleans up, and what stands against it is named first.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::support::{Database, Major, Server, majors, pgark};

/// A server of its own and a repository beside it.
struct Place {
    server: Server,
    repository: tempfile::TempDir,
}

/// A table that says which version of the database it is of, and an index that takes time or fails on request.
const SHOP: &str = "
CREATE TABLE version (v text NOT NULL); INSERT INTO version VALUES ('new');
CREATE FUNCTION public.wanted(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN
  PERFORM pg_catalog.pg_sleep(COALESCE(pg_catalog.current_setting('test.seconds', true), '0')::float8);
  IF pg_catalog.current_setting('test.fails', true) = 'yes' THEN RAISE 'no such index today'; END IF;
  RETURN i; END$$;
CREATE TABLE numbers (i int PRIMARY KEY); INSERT INTO numbers SELECT generate_series(1, 1000);
CREATE INDEX slow ON numbers (public.wanted(i)) WHERE i = 1;";

impl Place {
    fn new(major: Major, settings: &[(&str, &str)]) -> Place {
        Place {
            server: Server::start_with(major, settings),
            repository: tempfile::tempdir().unwrap(),
        }
    }

    fn admin(&self) -> Database {
        self.server.database("postgres")
    }

    /// The database `shop` as it was dumped, and changed since.
    fn with_shop(major: Major, settings: &[(&str, &str)]) -> (Place, Database) {
        let place = Place::new(major, settings);
        place
            .admin()
            .psql("CREATE DATABASE shop TEMPLATE template0");
        let shop = place.server.database("shop");
        shop.psql(SHOP);
        ends_with(0, &mut place.verb("dump", &shop));
        shop.psql("UPDATE version SET v = 'old'; INSERT INTO numbers VALUES (0)");
        (place, shop)
    }

    fn verb(&self, verb: &str, database: &Database) -> Command {
        let mut command = pgark();
        command.arg(verb).arg("-r").arg(self.repository.path());
        command.args(["-d", &database.conninfo()]);
        command
    }

    fn replace(&self, database: &Database) -> Command {
        let mut command = self.verb("restore", database);
        command.args(["--replace", "--yes"]);
        command
    }

    /// The names of all databases but those of every cluster.
    fn databases(&self) -> Vec<String> {
        let list = self.admin().psql(
            "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY 1",
        );
        list.lines().map(str::to_owned).collect()
    }
}

fn ends_with(code: i32, command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    said(code, &output)
}

fn said(code: i32, output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

fn version_of(database: &Database) -> String {
    database.psql("SELECT v FROM version").trim_end().to_owned()
}

/// The one name of the list with this in it.
fn only<'a>(names: &'a [String], part: &str) -> &'a str {
    let found: Vec<&String> = names.iter().filter(|name| name.contains(part)).collect();
    assert_eq!(found.len(), 1, "{names:?}");
    found[0]
}

/// Owner, grants with their grantors, settings, limits, comment come from the old database, not from the archive.
#[test]
fn what_the_database_is_to_its_cluster_comes_along() {
    for major in majors() {
        let place = Place::new(major, &[("allow_in_place_tablespaces", "on")]);
        let admin = place.admin();
        // Nothing of it is cut from the name of the kept one, which ends with 24 bytes of its own.
        let name = "It's a \"shop\", schön";
        admin.psql("CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE other");
        admin.psql("CREATE TABLESPACE elsewhere LOCATION ''");
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        admin.psql(&format!(
            "CREATE DATABASE {quoted} TEMPLATE template0 TABLESPACE elsewhere"
        ));
        let shop = place
            .server
            .database(&format!("'{}'", name.replace('\'', "\\'")));
        shop.psql(SHOP);
        shop.psql(&format!("COMMENT ON DATABASE {quoted} IS 'of the archive'; GRANT CREATE ON DATABASE {quoted} TO other"));
        ends_with(0, &mut place.verb("dump", &shop));
        admin.psql(&format!(
            "ALTER DATABASE {quoted} OWNER TO keeper; REVOKE ALL ON DATABASE {quoted} FROM other;
             COMMENT ON DATABASE {quoted} IS E'two\\nlines';
             ALTER DATABASE {quoted} CONNECTION LIMIT 33; ALTER DATABASE {quoted} SET work_mem = '5MB';
             ALTER ROLE reader IN DATABASE {quoted} SET search_path = 'a b', public;
             REVOKE TEMPORARY ON DATABASE {quoted} FROM PUBLIC; GRANT CONNECT ON DATABASE {quoted} TO reader WITH GRANT OPTION;
             SET SESSION AUTHORIZATION reader; GRANT CONNECT ON DATABASE {quoted} TO other"
        ));
        admin.psql(&format!("ALTER DATABASE {quoted} IS_TEMPLATE true"));
        let before = shop.pg_dump(&["-C"]);
        assert!(
            before.contains("TABLESPACE = elsewhere") && before.contains("CONNECTION LIMIT = 33")
        );
        shop.psql("UPDATE version SET v = 'old'; DROP TABLE numbers");

        let text = ends_with(0, &mut place.replace(&shop));
        assert_eq!(version_of(&shop), "new");
        assert_eq!(shop.pg_dump(&["-C"]), before, "{major}: {text}");
        let names = place.databases();
        assert_eq!(names.len(), 2, "{names:?}");
        let kept = only(&names, "_before_");
        assert!(kept.starts_with(name) && text.contains(kept), "{text}");

        let text = ends_with(0, place.verb("restore", &shop).args(["--undo", "--yes"]));
        assert_eq!(version_of(&shop), "old", "{text}");
        let of_old = shop.pg_dump(&["-C", "--schema-only", "-t", "version"]);
        let as_new = before.lines().filter(|line| {
            line.starts_with("ALTER DATABASE") || line.starts_with("COMMENT ON DATABASE")
        });
        for line in as_new {
            assert!(of_old.contains(line), "{line}");
        }
        // A stranger's databases, whatever they are called.
        admin.psql("CREATE DATABASE x_pgark_new_0000400000000007");
        admin.psql("CREATE DATABASE shop_before_20200101T000000Z");
        admin.psql("COMMENT ON DATABASE shop_before_20200101T000000Z IS 'pgark keeps this database, which was \"shop\" until 2021-01-01T00:00:00Z'");
        let n_before = place.databases().len();
        let text = ends_with(
            0,
            place.verb("restore", &shop).args(["--drop-old", "--yes"]),
        );
        assert!(text.contains("dropped It's a \"shop\""), "{text}");
        assert_eq!(place.databases().len(), n_before - 1);
        let text = ends_with(
            0,
            place.verb("restore", &shop).args(["--drop-old", "--yes"]),
        );
        assert!(text.contains("nothing is kept"), "{text}");
        ends_with(10, place.verb("restore", &shop).args(["--undo", "--yes"]));
        assert_eq!(version_of(&shop), "old");
    }
}

/// What clients that come and go all the time have seen.
#[derive(Debug, Default)]
struct Seen {
    versions: Vec<String>,
    /// Failures by SQLSTATE, and for how long nothing else came.
    failures: BTreeMap<String, u64>,
    outage_max: Duration,
}

async fn come_and_go(conninfo: String, until: Arc<AtomicBool>) -> Seen {
    let mut seen = Seen::default();
    let mut well = Instant::now();
    while !until.load(Ordering::Relaxed) {
        match ask_once(&conninfo).await {
            Ok(version) => {
                well = Instant::now();
                if seen.versions.last() != Some(&version) {
                    seen.versions.push(version);
                }
            }
            Err(error) => {
                seen.outage_max = seen.outage_max.max(well.elapsed());
                let code = error.code().map_or("closed", SqlState::code).to_owned();
                if code == "3D000" {
                    let detail = error
                        .as_db_error()
                        .and_then(|error| error.detail().map(str::to_owned));
                    assert!(
                        detail.is_some_and(|text| text.contains("just been dropped or renamed")),
                        "{error:?}"
                    );
                }
                *seen.failures.entry(code).or_default() += 1;
            }
        }
    }
    seen
}

async fn ask_once(conninfo: &str) -> Result<String, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    let driver = tokio::spawn(connection);
    let row = client
        .query_one("SELECT v FROM version, pg_sleep(0.02)", &[])
        .await;
    drop(client);
    let _ = driver.await;
    row.map(|row| row.get(0))
}

/// A name that is looked up sees the old database or the new one. Who found the old one's and was made to wait for its lock is
/// told once that it "has just been renamed", and gets the new one at the next try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_reconnect_see_the_old_database_or_the_new_one() {
    for major in majors() {
        let (place, shop) = Place::with_shop(major, &[]);
        let until = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..6)
            .map(|_| tokio::spawn(come_and_go(shop.conninfo(), Arc::clone(&until))))
            .collect();
        let mut command = place.replace(&shop);
        command.arg("--json").stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        said(0, &output);
        tokio::time::sleep(Duration::from_millis(300)).await;
        until.store(true, Ordering::Relaxed);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let closed = report["closed_ms"].as_u64().unwrap();
        assert!(closed < 4_000, "{report}");
        let (mut failures, mut outage) = (BTreeMap::<String, u64>::new(), Duration::ZERO);
        for client in clients {
            let seen = client.await.unwrap();
            assert_eq!(seen.versions, ["old", "new"], "{seen:?}");
            assert!(seen.outage_max < Duration::from_secs(3), "{seen:?}");
            outage = outage.max(seen.outage_max);
            for (code, n) in seen.failures {
                assert!(
                    ["57P01", "3D000", "closed"].contains(&code.as_str()),
                    "{code}"
                );
                *failures.entry(code).or_default() += n;
            }
        }
        println!(
            "{major}: closed for {closed} ms; failures of 6 clients: {failures:?}, for {outage:?} at most"
        );
    }
}

/// What is seen of a run, and stopped for.
struct Watch<'a> {
    place: &'a Place,
    child: Child,
}

impl Watch<'_> {
    /// Waits until the query gives a row.
    fn until(&mut self, query: &str) -> String {
        let since = Instant::now();
        let mut last = None;
        loop {
            let text = self.place.admin().psql(query);
            if !text.is_empty() {
                return text.trim_end().to_owned();
            }
            assert!(
                last.is_none() && since.elapsed() < Duration::from_secs(40),
                "{query}: {last:?}"
            );
            // Who has ended may have done it just now.
            last = self.child.try_wait().unwrap();
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn signal(pid: &str, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, pid])
            .status()
            .unwrap()
            .success()
    );
}

/// A session in a database that does not end when it is told to, until it may go on.
struct Stuck {
    child: Child,
    pid: String,
}

impl Stuck {
    fn in_database(place: &Place, database: &Database) -> Stuck {
        let child = Command::new(crate::support::oracle("psql"))
            .args([
                "-XAtq",
                "-d",
                &database.conninfo(),
                "-c",
                "SELECT pg_sleep(60) AS stuck",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let query = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60) AS stuck'";
        let since = Instant::now();
        let pid = loop {
            let pid = place.admin().psql(query);
            if !pid.is_empty() {
                break pid.trim_end().to_owned();
            }
            assert!(since.elapsed() < Duration::from_secs(10));
        };
        signal(&pid, "-STOP");
        Stuck { child, pid }
    }

    fn let_go(mut self) {
        signal(&self.pid, "-CONT");
        self.child.wait().unwrap();
    }
}

/// Asks for a database in which an index is being made, and which is not the one that the last run has left.
fn sleeping(left: &str) -> String {
    format!(
        "SELECT datname FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname LIKE 'shop\\_pgark%' AND datname <> '{left}' LIMIT 1"
    )
}

const SCRATCH: &str = "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_pgark\\_new\\_%'";

/// After each step the program is killed: nothing is lost, nobody is locked out, and the next run drops what the last one left.
#[test]
fn a_kill_after_any_step_leaves_the_old_database_in_service() {
    for major in majors() {
        let (place, shop) = Place::with_shop(major, &[]);
        let start = |seconds: &str| {
            let mut command = place.replace(&shop);
            command.env("PGOPTIONS", format!("-c test.seconds={seconds}"));
            let child = command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            Watch {
                place: &place,
                child: child.spawn().unwrap(),
            }
        };
        let is_old = || {
            assert_eq!(version_of(&shop), "old");
            assert_eq!(
                shop.psql("SELECT datallowconn FROM pg_database WHERE datname = 'shop'"),
                "t\n"
            );
            assert!(place.databases().len() <= 2, "{:?}", place.databases());
        };

        // The database beside it was made.
        let mut run = start("20");
        let first = run.until(SCRATCH);
        run.kill();
        is_old();

        // Rows are in, an index is being made. The server goes on with it, and the next run drops the database all the same.
        let mut run = start("20");
        let second = run.until(&sleeping(&first));
        assert!(
            !place.databases().contains(&first),
            "what the first run left is gone"
        );
        // A run in progress is left alone, and nobody begins a second one.
        let text = ends_with(14, &mut place.replace(&shop));
        assert!(
            text.contains("another replacement of database \"shop\" is going on"),
            "{text}"
        );
        assert_eq!(place.databases().len(), 2);
        run.kill();
        is_old();

        // The old database is about to get its other name; a session does not give way.
        // It may not be stuck before what the last run left is dropped: DROP DATABASE waits for every process of the server.
        let mut run = start("1");
        let third = run.until(&sleeping(&second));
        let stuck = Stuck::in_database(&place, &shop);
        run.until("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE \"shop\" RENAME%' AND state = 'active'");
        run.kill();
        stuck.let_go();
        is_old();

        // It has got it, and the other one has not yet got its own.
        let mut run = start("1");
        let scratch = run.until(&sleeping(&third));
        let beside = place.server.database(&scratch);
        let stuck = Stuck::in_database(&place, &beside);
        run.until("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE \"shop\\_pgark\\_new%' AND query LIKE '%RENAME TO \"shop\"' AND state = 'active'");
        run.kill();
        stuck.let_go();
        is_old();

        // All is done.
        let mut run = start("0");
        run.until("SELECT 1 FROM pg_database WHERE datname LIKE 'shop\\_before\\_%'");
        run.kill();
        assert_eq!(version_of(&shop), "new");
        let names = place.databases();
        assert_eq!(names.len(), 2, "{names:?}");
        let kept = only(&names, "shop_before_").to_owned();
        assert_eq!(version_of(&place.server.database(&kept)), "old");

        ends_with(0, &mut place.replace(&shop));
        let names = place.databases();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(
            names.contains(&kept) && !names.iter().any(|name| name.contains("_new_")),
            "{names:?}"
        );
    }
}

#[test]
fn a_failed_restore_leaves_the_old_database_untouched() {
    for major in majors() {
        let (place, shop) = Place::with_shop(major, &[]);
        let before = shop.pg_dump(&["-C"]);
        let mut fails = place.replace(&shop);
        let text = ends_with(1, fails.env("PGOPTIONS", "-c test.fails=yes"));
        assert!(
            text.contains("failed: index public.numbers slow: no such index today"),
            "{text}"
        );
        assert!(
            text.contains("database shop is as it was, and in service"),
            "{text}"
        );
        assert_eq!(shop.pg_dump(&["-C"]), before);
        assert_eq!(place.databases(), ["shop"]);
        let output = fails.arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["kept"], Value::Null);
        assert_eq!(
            report["restored"]["failed"][0]["object"],
            "index public.numbers slow"
        );
        // Who is interrupted leaves the old one as well.
        let mut run = place.replace(&shop);
        run.env("PGOPTIONS", "-c test.seconds=20")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut watch = Watch {
            place: &place,
            child: run.spawn().unwrap(),
        };
        watch.until(&sleeping(""));
        signal(&watch.child.id().to_string(), "-INT");
        assert_eq!(watch.child.wait().unwrap().code(), Some(130));
        assert_eq!(shop.pg_dump(&["-C"]), before);
        // What there was no time to drop goes with the next one.
        ends_with(0, &mut place.replace(&shop));
        let names = place.databases();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[1].contains("_before_"), "{names:?}");
    }
}

#[test]
fn what_hangs_on_the_old_database_is_named_first() {
    for major in majors() {
        let settings = [("max_prepared_transactions", "5"), ("wal_level", "logical")];
        let (place, shop) = Place::with_shop(major, &settings);
        // The making of a slot waits for transactions that are prepared.
        shop.psql("CREATE PUBLICATION all_of_it FOR ALL TABLES");
        shop.psql("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')");
        shop.psql("CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false, slot_name = NONE)");
        shop.psql("UPDATE pg_subscription SET subenabled = true, subslotname = 'sub'");
        shop.psql(
            "BEGIN; INSERT INTO version VALUES ('prepared'); PREPARE TRANSACTION 'of two phases'",
        );
        let text = ends_with(1, &mut place.replace(&shop));
        for part in [
            "transaction of two phases is prepared in the database",
            "subscription \"sub\" is enabled",
            "before anything was changed",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(place.databases(), ["shop"]);
        shop.psql("ROLLBACK PREPARED 'of two phases'");
        shop.psql("ALTER SUBSCRIPTION sub DISABLE");
        let text = ends_with(0, &mut place.replace(&shop));
        for part in [
            "logical replication slot \"feed\" stays with the old database",
            "publications that may feed those slots: all_of_it",
            "subscription \"sub\" and its slot on the publisher stay with the old database",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(version_of(&shop), "new");
        let text = ends_with(
            1,
            place.verb("restore", &shop).args(["--drop-old", "--yes"]),
        );
        assert!(
            text.contains("has subscriptions, whose slots would stay"),
            "{text}"
        );
        let kept = only(&place.databases(), "_before_").to_owned();
        let kept = place.server.database(&kept);
        kept.psql("ALTER SUBSCRIPTION sub SET (slot_name = NONE)");
        kept.psql("DROP SUBSCRIPTION sub");
        ends_with(
            0,
            place.verb("restore", &shop).args(["--drop-old", "--yes"]),
        );
        assert_eq!(place.databases(), ["shop"]);
    }
}

#[test]
fn less_than_a_database_never_replaces_one() {
    for major in majors() {
        let (place, shop) = Place::with_shop(major, &[]);
        ends_with(
            0,
            place
                .verb("dump", &shop)
                .args(["-t", "numbers", "--name", "part"]),
        );
        let text = ends_with(2, place.replace(&shop).arg("part"));
        assert!(
            text.contains("archive part is partial, and only a whole one may replace a database"),
            "{text}"
        );
        for part in [
            &["-t", "numbers"][..],
            &["--schema-only"],
            &["--no-policies"],
            &["--create"],
            &["--clean"],
        ] {
            ends_with(2, place.replace(&shop).args(part));
        }
        ends_with(
            1,
            place.verb("restore", &place.server.database("gone")).args([
                "--replace",
                "--yes",
                "--from-database",
                "shop",
            ]),
        );
        assert_eq!(version_of(&shop), "old");
        assert_eq!(place.databases(), ["shop"]);
    }
}

/// Without a superuser: the owner, who may make databases, and end the sessions of others.
#[test]
fn an_ordinary_owner_replaces_his_database() {
    for major in majors() {
        let place = Place::new(major, &[]);
        let admin = place.admin();
        admin.psql("CREATE ROLE anna LOGIN; CREATE ROLE visitor LOGIN");
        admin.psql("CREATE DATABASE shop OWNER anna TEMPLATE template0");
        let as_role = |role: &str| {
            place
                .server
                .conninfo("shop")
                .replace("user=postgres", &format!("user={role}"))
        };
        let shop = place.server.database("shop");
        shop.psql(&format!(
            "SET SESSION AUTHORIZATION anna; CREATE SCHEMA s; SET search_path = s; {}",
            SHOP.replace("public.", "s.")
        ));
        ends_with(0, &mut place.verb("dump", &shop));
        let replace = || {
            let mut command = pgark();
            command
                .args(["restore", "--replace", "--yes", "-r"])
                .arg(place.repository.path())
                .args(["-d", &as_role("anna")]);
            command
        };
        let visit = Command::new(crate::support::oracle("psql"))
            .args(["-XAtqc", "SELECT pg_sleep(60)", "-d", &as_role("visitor")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut visit = visit.unwrap();
        let since = Instant::now();
        while admin
            .psql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'")
            .is_empty()
        {
            assert!(since.elapsed() < Duration::from_secs(10));
        }
        let text = ends_with(1, &mut replace());
        for part in [
            "ALTER ROLE \"anna\" CREATEDB",
            "of visitor (psql) is connected to the database, and the connecting user may not end it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        admin.psql("ALTER ROLE anna CREATEDB; GRANT pg_signal_backend TO anna");
        let text = ends_with(0, &mut replace());
        assert!(text.contains("shop is now what archive"), "{text}");
        visit.wait().unwrap();
        let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname LIKE 'shop%'";
        assert_eq!(admin.psql(owner), "anna\nanna\n");
    }
}

/// Runs the program on a terminal, types one line where it asks, and gives exit code and all that it showed.
fn typed(command: &mut Command, line: &str) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let side = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path.to_str().unwrap())
        .unwrap();
    let mut child = command
        .args(["--progress", "none"])
        .stdin(side.try_clone().unwrap())
        .stdout(side.try_clone().unwrap())
        .stderr(side)
        .spawn()
        .unwrap();
    // The command keeps its own handles of the other side, which would keep the terminal open.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut terminal = std::fs::File::from(terminal);
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    let mut is_answered = false;
    // An error is how a terminal tells that nobody is on the other side any more.
    while let Ok(n) = terminal.read(&mut buffer) {
        if n == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..n]);
        if !is_answered && String::from_utf8_lossy(&shown).contains("to go on: ") {
            terminal.write_all(format!("{line}\n").as_bytes()).unwrap();
            is_answered = true;
        }
    }
    let code = child.wait().unwrap().code();
    (code, String::from_utf8_lossy(&shown).replace('\r', ""))
}

#[test]
fn the_name_is_asked_for_before_anything_is_lost() {
    for major in majors() {
        let (place, shop) = Place::with_shop(major, &[]);
        let restore = |arguments: &[&str]| {
            let mut command = place.verb("restore", &shop);
            command.args(arguments);
            command
        };
        for way in ["--replace", "--clean"] {
            let text = ends_with(2, &mut restore(&[way]));
            assert!(text.contains("no terminal to ask on: say --yes"), "{text}");
            for wrong in ["shp", "", "yes"] {
                let (code, text) = typed(&mut restore(&[way]), wrong);
                assert_eq!(code, Some(1), "{text}");
                assert!(
                    text.contains("is not the database's name: nothing was changed"),
                    "{text}"
                );
                for part in [
                    "  database     shop\n",
                    "connections  0 of others",
                    "  archive      shop-",
                    "rows         1,002 there (counted), 1,001 in the archive: 1 fewer",
                    "public.numbers: 1,001 there, 1,000 in the archive",
                ] {
                    assert!(text.contains(part), "{part}: {text}");
                }
            }
        }
        assert_eq!(
            (version_of(&shop), place.databases().len()),
            ("old".to_owned(), 1)
        );
        let (code, text) = typed(&mut restore(&["--replace"]), "shop");
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(version_of(&shop), "new");
        let (code, text) = typed(&mut restore(&["--drop-old"]), "nothing");
        assert_eq!((code, place.databases().len()), (Some(1), 2), "{text}");
        assert!(text.contains("shop_before_"), "{text}");
        let (code, _) = typed(&mut restore(&["--drop-old"]), "shop");
        assert_eq!((code, place.databases().len()), (Some(0), 1));
        // Over nothing nothing is asked.
        place
            .admin()
            .psql("CREATE DATABASE empty TEMPLATE template0");
        let empty = place.server.database("empty");
        ends_with(
            0,
            place
                .verb("restore", &empty)
                .args(["--clean", "--from-database", "shop"]),
        );
    }
}
