//! A restore that was interrupted goes on where it ended: whatever broke, and wherever, the database becomes what an undisturbed
//! restore makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, dump, survey};
use pgark::error::Error;
use pgark::manage::diff::{Contents, diff};
use pgark::progress::{Event, Progress, Silent};
use pgark::restore::{RestoreOptions, RestoreReport, restore};
use pgark::store::MemoryStore;

use crate::round_trip::{dump_to_memory, run, settings};
use crate::support::fault_store::{Fault as StoreFault, FaultStore};
use crate::support::faulty::{At, Fault, FaultyProxy};
use crate::support::{Database, Major, Server, majors, pgark};

/// Restores at the same time.
const LANES: usize = 4;
/// A bound against hanging, not a measure.
const PATIENCE: Duration = Duration::from_secs(120);

/// A little of each: rows in several segments, UNLOGGED rows and counters, large objects, what comes after the rows, a trigger that
/// would write if rows came through it, and an event trigger that lets nothing be dropped.
const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO customer SELECT i, 'customer ' || i FROM generate_series(1, 300) i;
CREATE TABLE sale (id bigserial PRIMARY KEY, customer int REFERENCES customer, amount numeric CHECK (amount >= 0));
INSERT INTO sale (customer, amount) SELECT 1 + i % 300, i / 100.0 FROM generate_series(1, 20000) i;
CREATE INDEX sale_by_customer ON sale (customer);
COMMENT ON TABLE sale IS 'what was sold';
GRANT SELECT ON sale TO PUBLIC;
CREATE UNLOGGED TABLE visit (id serial PRIMARY KEY, customer int REFERENCES customer, page text);
ALTER TABLE visit ALTER page SET STORAGE plain;
INSERT INTO visit (customer, page) SELECT 1 + i % 300, repeat(md5(i::text), 20) FROM generate_series(1, 400) i;
CREATE TABLE seen (visit int);
CREATE FUNCTION note_visit() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER note_visit AFTER INSERT ON visit FOR EACH ROW EXECUTE FUNCTION note_visit();
CREATE TABLE measured (day date, value int) PARTITION BY RANGE (day);
CREATE TABLE measured_old PARTITION OF measured FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE measured_new PARTITION OF measured FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
INSERT INTO measured SELECT DATE '2020-01-01' + i, i FROM generate_series(0, 700) i;
CREATE MATERIALIZED VIEW total AS SELECT customer, sum(amount) FROM sale GROUP BY customer;
SELECT lo_from_bytea(4711, decode(repeat('0badcafe', 4000), 'hex'));
CREATE FUNCTION keep() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nothing is dropped here'; END $$;
CREATE EVENT TRIGGER keep ON sql_drop EXECUTE FUNCTION keep();
ALTER EVENT TRIGGER keep ENABLE ALWAYS;
";

fn dump_options() -> DumpOptions {
    DumpOptions {
        jobs: 2,
        cell_bytes: Some(64 << 10),
        ..DumpOptions::default()
    }
}

fn options() -> RestoreOptions {
    RestoreOptions {
        jobs: 2,
        ..RestoreOptions::default()
    }
}

fn going_on() -> RestoreOptions {
    RestoreOptions {
        resume: true,
        ..options()
    }
}

/// A database, its archive, and what the archive says.
struct Case {
    server: Server,
    source: Database,
    archive: Archive,
    contents: Contents,
}

impl Case {
    async fn new(server: Server) -> Case {
        let source = server.create_database("resume");
        source.batch(SHOP).await;
        let archive = dump_to_memory(&settings(&source.conninfo()), &dump_options()).await;
        let archive = archive.unwrap();
        Case {
            contents: Contents::of(&archive).await.unwrap(),
            server,
            source,
            archive,
        }
    }

    async fn restore(
        &self,
        conninfo: &str,
        options: &RestoreOptions,
    ) -> pgark::Result<RestoreReport> {
        // A server that is gone is not waited for.
        let target = settings(conninfo).with_connect_retry(Duration::ZERO);
        let restoring = restore(&self.archive, &target, options, Arc::new(Silent));
        let outcome = tokio::time::timeout(PATIENCE, restoring).await;
        outcome.expect("the restore hangs")
    }

    /// Interactions of a restore that nothing disturbs.
    async fn n_interactions(&self) -> usize {
        let target = self.server.create_database("counted");
        let proxy = FaultyProxy::start(&self.server, None);
        let report = self
            .restore(&proxy.conninfo(&target), &options())
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:#?}");
        self.is_as_undisturbed(&target, "undisturbed").await;
        proxy.n_interactions()
    }

    /// Objects, rows, sequence values and large objects are the archive's, and the journal is gone.
    async fn is_as_undisturbed(&self, target: &Database, what: &str) {
        let source = settings(&target.conninfo());
        let live = survey(&source, &self.archive, &dump_options(), Arc::new(Silent)).await;
        let found = diff(&self.contents, &live.unwrap());
        assert!(found.is_empty(), "{what}: {found:#?}");
        let rest = "SELECT count(*), (SELECT count(*) FROM seen), (SELECT count(*) FROM pg_namespace WHERE nspname = 'pgark_restore'),
                    (SELECT evtenabled::text FROM pg_event_trigger) FROM visit";
        assert_eq!(target.psql(rest), "400|0|0|A\n", "{what}");
    }

    /// The definitions that the oracle sees are the same.
    fn oracle_agrees(&self, target: &Database, what: &str) {
        let args = ["--schema-only"];
        assert_eq!(target.pg_dump(&args), self.source.pg_dump(&args), "{what}");
    }

    /// Goes on until all is there; gives how many rows were there before.
    async fn go_on(&self, target: &Database, what: &str) -> u64 {
        let report = self.restore(&target.conninfo(), &going_on()).await;
        let report = report.unwrap_or_else(|error| panic!("{what}: {error:#?}"));
        assert!(
            report.is_complete() && !report.resumable,
            "{what}: {report:#?}"
        );
        assert_eq!(
            report.n_rows,
            300 + 20_000 + 400 + 701 + 8,
            "{what}: rows of all runs count, and pages"
        );
        self.is_as_undisturbed(target, what).await;
        report.resumed.map_or(0, |resumed| resumed.n_rows)
    }
}

fn has_journal(target: &Database) -> bool {
    target.psql("SELECT to_regnamespace('pgark_restore') IS NOT NULL") == "t\n"
}

/// What a fault came to.
#[derive(Debug, Default)]
struct Tally {
    faults: usize,
    unharmed: usize,
    resumed: usize,
    /// How many of the resumed had rows already.
    with_rows: usize,
}

impl Case {
    /// One restore whose way to the server breaks, and what is left to do.
    async fn break_and_go_on(&self, at: At) -> (bool, u64) {
        let target = self.server.create_database("broken");
        let proxy = FaultyProxy::start(&self.server, Some(at));
        let what = format!("PostgreSQL {}, {at:?}", self.server.major());
        let outcome = self.restore(&proxy.conninfo(&target), &options()).await;
        let unharmed = match outcome {
            // The journal may be gone although the answer that says so was lost.
            Ok(report) => report.is_complete() && !(report.resumable && has_journal(&target)),
            Err(error) => {
                let told = format!("{error:?}");
                assert!(!matches!(error, Error::Corrupt { .. }), "{what}: {told}");
                false
            }
        };
        drop(proxy);
        let mut n_rows = 0;
        if unharmed {
            self.is_as_undisturbed(&target, &what).await;
        } else {
            n_rows = self.go_on(&target, &what).await;
        }
        if at.n.is_multiple_of(10) {
            self.oracle_agrees(&target, &what);
        }
        (unharmed, n_rows)
    }

    async fn break_all(&self, faults: impl IntoIterator<Item = At>) -> Tally {
        let mut outcomes = futures::stream::iter(faults)
            .map(|at| self.break_and_go_on(at))
            .buffer_unordered(LANES);
        let mut tally = Tally::default();
        while let Some((unharmed, n_rows)) = outcomes.next().await {
            tally.faults += 1;
            tally.unharmed += usize::from(unharmed);
            tally.resumed += usize::from(!unharmed);
            tally.with_rows += usize::from(n_rows > 0);
        }
        tally
    }
}

/// Half of the majors break before a request is heard, the others when it has been done.
fn fault_of(major: Major) -> Fault {
    if major.number().is_multiple_of(2) {
        Fault::CutBefore
    } else {
        Fault::CutAfter
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_interaction_is_the_last_a_restore_goes_on_from_there() {
    for major in majors() {
        let case = Case::new(Server::shared(major)).await;
        let n_interactions = case.n_interactions().await;
        let fault = fault_of(major);
        let at = |n| At {
            n,
            fault,
            and_gone: true,
        };
        let tally = case.break_all((0..n_interactions).map(at)).await;
        println!(
            "PostgreSQL {major}, the server is gone ({fault:?}) at each of {n_interactions} interactions: {tally:?}"
        );
        assert!(
            tally.resumed > n_interactions / 2 && tally.with_rows > 10,
            "{tally:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_costs_nothing_or_is_gone_on_from() {
    for major in majors() {
        let case = Case::new(Server::shared(major)).await;
        let n_interactions = case.n_interactions().await;
        let fault = fault_of(major);
        let at = |n| At {
            n,
            fault,
            and_gone: false,
        };
        let tally = case.break_all((0..n_interactions).step_by(2).map(at)).await;
        println!(
            "PostgreSQL {major}, one connection is cut ({fault:?}) at every other of {n_interactions} interactions: {tally:?}"
        );
        assert!(tally.unharmed > 10, "{tally:?}");
    }
}

/// A restore whose store fails; then one with the store as it should be.
async fn with_a_failing_store(
    case: &Case,
    store: &Arc<MemoryStore>,
    at: u64,
    only_once: bool,
) -> bool {
    let what = format!("call {at}, {only_once}");
    let failing = FaultStore::new(store.clone(), StoreFault::Refused, at);
    let failing = if only_once {
        failing.only_once()
    } else {
        failing
    };
    let target = case.server.create_database("store");
    let restoring = async {
        let repository = Repository::open_for_reading(Arc::new(failing)).await?;
        let archive = repository.read(case.archive.name()).await?;
        run(&archive, &target, &options()).await
    };
    let outcome = tokio::time::timeout(PATIENCE, restoring)
        .await
        .expect("the restore hangs");
    if outcome.is_ok_and(|report| report.is_complete()) {
        case.is_as_undisturbed(&target, &what).await;
        return true;
    }
    case.go_on(&target, &what).await;
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_to_the_store_fails_a_restore_goes_on_from_there() {
    let Some(major) = majors().pop() else { return };
    let mut case = Case::new(Server::shared(major)).await;
    let store = Arc::new(MemoryStore::new());
    let opened = Repository::open_or_create(store.clone(), ChunkSettings::default());
    let source = settings(&case.source.conninfo());
    let report = dump(
        &source,
        &opened.await.unwrap(),
        &dump_options(),
        Arc::new(Silent),
    )
    .await;
    let counting = Arc::new(FaultStore::new(
        store.clone(),
        StoreFault::Refused,
        u64::MAX,
    ));
    let repository = Repository::open_for_reading(counting.clone())
        .await
        .unwrap();
    case.archive = repository.read(&report.unwrap().name).await.unwrap();
    let target = case.server.create_database("counted");
    run(&case.archive, &target, &options()).await.unwrap();
    let n_calls = counting.n_calls();
    let cases = (0..n_calls).flat_map(|at| [(at, false), (at, true)]);
    let outcomes: Vec<bool> = futures::stream::iter(cases)
        .map(|(at, only_once)| with_a_failing_store(&case, &store, at, only_once))
        .buffer_unordered(LANES)
        .collect()
        .await;
    let n_unharmed = outcomes.iter().filter(|unharmed| **unharmed).count();
    println!(
        "{n_calls} calls to the store, failing once or from then on: {n_unharmed} unharmed of {}",
        outcomes.len()
    );
    assert!(n_calls > 10 && outcomes.len() - n_unharmed > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbled_answers_end_in_an_error_and_are_gone_on_from() {
    let Some(major) = majors().pop() else { return };
    let case = Case::new(Server::shared(major)).await;
    let n_interactions = case.n_interactions().await;
    let at = |n| At {
        n,
        fault: Fault::Garble(0),
        and_gone: false,
    };
    let tally = case.break_all((0..n_interactions).step_by(7).map(at)).await;
    println!("PostgreSQL {major}, every seventh answer is garbled: {tally:?}");
    assert!(tally.resumed > 0, "{tally:?}");
}

/// Counts what happens, and tells when enough has.
#[derive(Debug)]
struct Until {
    n_left: AtomicUsize,
    enough: tokio::sync::Notify,
}

impl Progress for Until {
    fn event(&self, event: Event) {
        if matches!(event, Event::Task(_) | Event::Rows(_))
            && self.n_left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            self.enough.notify_one();
        }
    }
}

impl Case {
    /// A restore that is given up after some of its tasks.
    async fn give_up(&self, target: &Database, n_tasks: usize) {
        let until = Arc::new(Until {
            n_left: AtomicUsize::new(n_tasks),
            enough: tokio::sync::Notify::new(),
        });
        let to = settings(&target.conninfo());
        let options = options();
        tokio::select! {
            report = restore(&self.archive, &to, &options, until.clone()) => panic!("{n_tasks}: {report:?}"),
            () = until.enough.notified() => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_takes_unlogged_rows_and_they_come_again_but_no_other() {
    for major in majors() {
        let case = Case::new(Server::start(major)).await;
        let mut n_with_rows = 0;
        for n_tasks in [1, 3, 5, 7, 9, 11] {
            let target = case.server.create_database("crashed");
            case.give_up(&target, n_tasks).await;
            case.server.crash();
            case.server.restart();
            let n_rows = case
                .go_on(&target, &format!("{major}, {n_tasks} tasks"))
                .await;
            n_with_rows += usize::from(n_rows > 0);
        }
        assert!(n_with_rows >= 3, "{major}: {n_with_rows}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_has_not_ended_is_named_and_only_its_own_kind_goes_on() {
    let Some(major) = majors().pop() else { return };
    let case = Case::new(Server::shared(major)).await;
    let target = case.server.create_database("named");
    case.give_up(&target, 5).await;

    let refused = |outcome: pgark::Result<RestoreReport>| match outcome {
        Err(Error::Refused { findings, .. }) => findings.join("\n"),
        other => panic!("{other:?}"),
    };
    let plain = refused(run(&case.archive, &target, &options()).await);
    assert!(
        plain.contains("has not ended here; --resume goes on with it"),
        "{plain}"
    );
    assert!(plain.contains(case.archive.name().as_str()), "{plain}");
    let other = RestoreOptions {
        map_roles: vec![("postgres".into(), "postgres".into())],
        ..going_on()
    };
    let found = refused(run(&case.archive, &target, &other).await);
    assert!(found.contains("other options: --map-role"), "{found}");
    let again = dump_to_memory(&settings(&case.source.conninfo()), &dump_options())
        .await
        .unwrap();
    let found = refused(run(&again, &target, &going_on()).await);
    assert!(found.contains("it was a restore of archive"), "{found}");
    let in_one = RestoreOptions {
        single_transaction: true,
        ..going_on()
    };
    assert!(matches!(
        run(&case.archive, &target, &in_one).await,
        Err(Error::Usage(_))
    ));

    let archive = dump_to_memory(&settings(&target.conninfo()), &dump_options())
        .await
        .unwrap();
    let entries = archive.entries().await.unwrap();
    let in_journal = |entry: &&pgark::toc::Entry| {
        entry.name.schema.as_deref() == Some("pgark_restore") || entry.name.name == "pgark_restore"
    };
    assert_eq!(
        entries.iter().find(in_journal),
        None,
        "no dump has the journal"
    );

    // More connections than before, and another check, change nothing of what is done.
    let faster = RestoreOptions {
        jobs: 4,
        ..going_on()
    };
    let report = run(&case.archive, &target, &faster).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    case.is_as_undisturbed(&target, "after refusals").await;
    let ended = refused(run(&case.archive, &target, &going_on()).await);
    assert!(
        ended.contains("has no journal of a restore to go on with"),
        "{ended}"
    );
}

/// Keeps the warnings.
#[derive(Debug, Default)]
struct Warnings(std::sync::Mutex<Vec<String>>);

impl Progress for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_still_at_work_is_waited_for_and_named() {
    let Some(major) = majors().pop() else { return };
    let case = Case::new(Server::shared(major)).await;
    let target = case.server.create_database("busy");
    case.give_up(&target, 5).await;
    // As the connections of a restore do.
    let busy = target.connect().await;
    let lock = "SELECT pg_advisory_lock_shared(x'706761726b0002'::bigint), pg_backend_pid()";
    let pid: i32 = busy.query_one(lock, &[]).await.unwrap().get(1);
    let told = Arc::new(Warnings::default());
    let (to, archive, hears) = (
        settings(&target.conninfo()),
        case.archive.clone(),
        told.clone(),
    );
    let waiting = tokio::spawn(async move { restore(&archive, &to, &going_on(), hears).await });
    let named = |text: &String| text.contains(&format!("{pid} (SELECT pg_advisory_lock_shared"));
    for _ in 0..600 {
        if told.0.lock().unwrap().iter().any(named) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(told.0.lock().unwrap().iter().any(named), "{told:?}");
    assert!(!waiting.is_finished());
    busy.batch_execute("DROP SCHEMA pgark_restore CASCADE")
        .await
        .unwrap();
    drop(busy);
    match waiting.await.unwrap() {
        Err(Error::Refused { findings, .. }) => {
            let all = findings.join("\n");
            assert!(
                all.contains("was still at work, and has ended now"),
                "{all}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_tried_again_when_its_cause_is_mended() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("mended_source");
        source
            .batch(
                "CREATE TABLE good (a int); INSERT INTO good SELECT generate_series(1, 1000);
                 CREATE TABLE odd (a int); INSERT INTO odd VALUES (1), (2);
                 CREATE INDEX odd_a ON odd (a);",
            )
            .await;
        let archive = dump_to_memory(&settings(&source.conninfo()), &dump_options())
            .await
            .unwrap();
        let target = server.create_database("mended");
        target
            .batch(
                "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS
                   $$ BEGIN IF current_query() LIKE '%odd_a%' THEN RAISE 'not now'; END IF; END $$;
                 CREATE EVENT TRIGGER no ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION no();",
            )
            .await;
        let some = RestoreOptions {
            selection: pgark::selection::Selection {
                tables: vec!["good".into(), "odd".into()],
                ..Default::default()
            },
            ..options()
        };
        let report = run(&archive, &target, &some).await.unwrap();
        assert_eq!(report.failed.len(), 1, "{report:#?}");
        assert!(report.resumable && !report.is_complete());
        // It has ended, so that another restore is judged by what is there.
        match run(&archive, &target, &some).await {
            Err(Error::Refused { findings, .. }) => {
                assert!(
                    findings
                        .iter()
                        .all(|found| found.contains("the name is taken")),
                    "{findings:?}"
                );
            }
            other => panic!("{other:?}"),
        }
        let again = RestoreOptions {
            resume: true,
            ..some
        };
        let report = run(&archive, &target, &again).await.unwrap();
        assert!(report.resumable && report.failed.len() == 1, "{report:#?}");
        target.batch("DROP EVENT TRIGGER no").await;
        let report = run(&archive, &target, &again).await.unwrap();
        assert!(report.is_complete() && !report.resumable, "{report:#?}");
        assert_eq!(
            (report.n_rows, report.resumed.unwrap().n_rows),
            (1002, 1002)
        );
        assert_eq!(
            target.psql("SELECT count(*), (SELECT count(*) FROM odd), to_regclass('odd_a') IS NOT NULL, to_regnamespace('pgark_restore') IS NULL FROM good"),
            "1000|2|t|t\n"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_with_new_names_and_a_database_of_its_own_are_gone_on_with() {
    let Some(major) = majors().pop() else { return };
    let server = Server::start(major);
    let source = server.create_database("renamed_source");
    source
        .batch(
            "CREATE SCHEMA sales; CREATE TABLE sales.orders (id int PRIMARY KEY); INSERT INTO sales.orders SELECT generate_series(1, 50);
             CREATE TABLE public.plain (a int); INSERT INTO public.plain VALUES (1);
             CREATE UNLOGGED TABLE sales.visit (a int); INSERT INTO sales.visit VALUES (1);",
        )
        .await;
    let archive = dump_to_memory(&settings(&source.conninfo()), &dump_options())
        .await
        .unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let options = RestoreOptions {
        map_schemas: vec![pair("sales", "old_sales"), pair("public", "old_public")],
        create: true,
        ..options()
    };
    let count = server.create_database("renamed_count");
    let proxy = FaultyProxy::start(&server, None);
    let named = |proxy: &FaultyProxy, name: &str| {
        let text = proxy.conninfo(&count);
        settings(&text.replace(count.name(), name))
    };
    let name = |n: usize| format!("{}_{n}", count.name());
    restore(
        &archive,
        &named(&proxy, &name(9999)),
        &options,
        Arc::new(Silent),
    )
    .await
    .unwrap();
    let n_interactions = proxy.n_interactions();
    drop(proxy);
    let going_on = RestoreOptions {
        resume: true,
        ..options.clone()
    };
    let mut n_resumed = 0;
    for n in (0..n_interactions).step_by(3) {
        let fault = At {
            n,
            fault: Fault::CutAfter,
            and_gone: true,
        };
        let proxy = FaultyProxy::start(&server, Some(fault));
        let outcome = restore(
            &archive,
            &named(&proxy, &name(n)),
            &options,
            Arc::new(Silent),
        )
        .await;
        drop(proxy);
        let direct = settings(&count.conninfo().replace(count.name(), &name(n)));
        if !outcome.is_ok_and(|report| report.is_complete()) {
            let report = restore(&archive, &direct, &going_on, Arc::new(Silent)).await;
            let report = report.unwrap_or_else(|error| panic!("{n}: {error:#?}"));
            assert!(report.is_complete(), "{n}: {report:#?}");
            n_resumed += usize::from(report.resumed.is_some());
        }
        let made = server.database(&name(n));
        assert_eq!(
            made.psql("SELECT count(*), (SELECT count(*) FROM old_public.plain), (SELECT count(*) FROM old_sales.visit),
                         (SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_|information'),
                         has_schema_privilege('pg_monitor', 'public', 'USAGE') FROM old_sales.orders"),
            "50|1|1|old_public,old_sales,public|t\n",
            "{n}"
        );
    }
    println!("of {n_interactions} interactions, every third: {n_resumed} resumed");
    assert!(n_resumed > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_killed_at_any_moment_is_gone_on_with_by_another() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let source = server.create_database("killed_source");
    source.batch(SHOP).await;
    let repo = tempfile::tempdir().unwrap();
    let repo = repo.path().to_str().unwrap();
    let dumped = pgark()
        .args(["dump", "-r", repo, "-j2", "-d", &source.conninfo()])
        .output()
        .unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    let command = |to: &str, more: &[&str]| {
        let mut command = pgark();
        command
            .args([
                "restore",
                "-r",
                repo,
                "-j2",
                "--from-database",
                source.name(),
                "-d",
                to,
            ])
            .args(more);
        command
    };
    let counted = server.create_database("killed_count");
    let proxy = FaultyProxy::start(&server, None);
    let whole = command(&proxy.conninfo(&counted), &[]).output().unwrap();
    assert!(whole.status.success(), "{whole:?}");
    let n_interactions = proxy.n_interactions();
    let mut n_killed = 0;
    for n in (1..n_interactions).step_by(9) {
        let target = server.create_database("killed");
        let at = At {
            n,
            fault: Fault::Stall,
            and_gone: false,
        };
        let proxy = FaultyProxy::start(&server, Some(at));
        let mut running = command(&proxy.conninfo(&target), &[]).spawn().unwrap();
        while proxy.n_faults() == 0 && running.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // SIGKILL.
        running.kill().unwrap();
        n_killed += usize::from(!running.wait().unwrap().success());
        drop(proxy);
        let again = command(&target.conninfo(), &["--resume", "--check", "content"])
            .output()
            .unwrap();
        assert!(again.status.success(), "{n}: {again:?}");
        assert_eq!(target.pg_dump(&[]), counted.pg_dump(&[]), "{n}");
    }
    println!("killed at {n_killed} of {n_interactions} interactions");
    assert!(n_killed > 5);
}
