//! Very many small tables: what they cost in round trips, what happens when something goes wrong in the middle of those that
//! are read together, and when their definitions are compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pgark::archive::Repository;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::index::CopyFormat;
use pgark::dump::{DumpOptions, dump};
use pgark::pg::session::Interpose;
use pgark::progress::{Event, Progress};
use pgark::store::MemoryStore;
use tokio::sync::Mutex;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Server, majors};

/// Counts what is sent.
#[derive(Default)]
struct Statements {
    n_all: AtomicUsize,
    n_copies: AtomicUsize,
}

#[async_trait]
impl Interpose for Statements {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        self.n_all.fetch_add(1, Ordering::SeqCst);
        let copies = usize::from(statement.starts_with("COPY "));
        self.n_copies.fetch_add(copies, Ordering::SeqCst);
        Ok(())
    }
}

/// So many tables: with rows, without rows, without columns but with rows, with nothing at all.
fn tables(n_tables: usize) -> String {
    let each = (0..n_tables).map(|i| match i % 4 {
        0 => format!(
            "CREATE TABLE \"T {i}\" (id int PRIMARY KEY, note text); INSERT INTO \"T {i}\" VALUES (1, E'a\\tb'), ({i} + 2, NULL);"
        ),
        1 => format!("CREATE TABLE empty_{i} (id int PRIMARY KEY, note text);"),
        2 => format!("CREATE TABLE bare_{i} (); INSERT INTO bare_{i} DEFAULT VALUES; INSERT INTO bare_{i} DEFAULT VALUES;"),
        _ => format!("CREATE TABLE nothing_{i} ();"),
    });
    each.collect()
}

async fn sent(source: &Database, n_tables: usize) -> (usize, usize) {
    let statements = Arc::new(Statements::default());
    let from = settings(&source.conninfo()).with_interpose(statements.clone());
    let archive = dump_to_memory(&from, &DumpOptions::default())
        .await
        .unwrap();
    let totals = archive.manifest().totals;
    assert_eq!(totals.n_tables, n_tables as u64);
    assert_eq!(totals.n_rows, n_tables as u64, "two for every second table");
    (
        statements.n_all.load(Ordering::SeqCst),
        statements.n_copies.load(Ordering::SeqCst),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_small_tables_cost_a_few_round_trips_more_than_twenty() {
    for major in majors() {
        let server = Server::shared(major);
        let few = server.create_database("few");
        few.batch(&tables(20)).await;
        let many = server.create_database("many");
        many.batch(&tables(300)).await;
        let ((n_few, _), (n_many, n_copies)) = (sent(&few, 20).await, sent(&many, 300).await);
        // Names end a pack now and then: each costs its lock, its rows, and the end of a transaction at most.
        assert!((1..=8).contains(&n_copies), "{n_copies}");
        assert!(n_many <= n_few + 24, "{n_few} and {n_many}");
        let archive = dump_to_memory(&settings(&many.conninfo()), &DumpOptions::default())
            .await
            .unwrap();
        let target = server.create_database("many_again");
        let report = restore_all(&archive, &settings(&target.conninfo()), 2)
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:?}");
    }
}

/// What a row of `m_trap` does while somebody holds the fuse, an advisory lock.
#[derive(Clone, Copy)]
enum Trap {
    /// Ends its reader's backend.
    End,
    /// Is too wide for text, as the server says it.
    TooWide,
}

/// Tables `a_1` to `a_9`, `m_trap` and `z_1` to `z_9`, of a role that does not pass by row security.
async fn trapped(server: &Server, trap: Trap) -> Database {
    let database = server.create_database("trapped");
    let springs = match trap {
        Trap::End => "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60)",
        Trap::TooWide => {
            "RAISE EXCEPTION 'string buffer exceeds maximum allowed length' USING ERRCODE = '54000'"
        }
    };
    let neighbours = ["a", "z"].into_iter().flat_map(|side| {
        (1..10).map(move |i| format!("CREATE TABLE {side}_{i} AS SELECT {i} AS x;"))
    });
    let owner = format!("reader_of_{}", database.name());
    database
        .batch(&format!(
            "CREATE ROLE {owner} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {owner}; SET ROLE {owner};
             CREATE FUNCTION spring() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
               IF EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = 4711
                    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) THEN {springs}; END IF;
               RETURN true; END $$;
             {} CREATE TABLE m_trap AS SELECT generate_series(1, 3) AS x;
             CREATE POLICY trap ON m_trap USING (public.spring());
             ALTER TABLE m_trap ENABLE ROW LEVEL SECURITY; ALTER TABLE m_trap FORCE ROW LEVEL SECURITY",
            neighbours.collect::<String>()
        ))
        .await;
    database
}

/// Lets go of the fuse before the trap is read again, and keeps the statements that read rows.
struct Fuse {
    holder: Mutex<Option<tokio_postgres::Client>>,
    copies: Mutex<Vec<String>>,
}

#[async_trait]
impl Interpose for Fuse {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        if !statement.starts_with("COPY ") {
            return Ok(());
        }
        let mut copies = self.copies.lock().await;
        let again = copies.iter().any(|copy| copy.contains("m_trap"));
        if again && statement.contains("m_trap") {
            let holder = self.holder.lock().await.take();
            if let Some(holder) = holder {
                let release = "SELECT pg_advisory_unlock(4711)";
                holder.batch_execute(release).await.unwrap();
            }
        }
        copies.push(statement.to_owned());
        Ok(())
    }
}

/// Dumps with the fuse held at first; the number of tables that each statement read, and the formats of those that were read.
async fn dump_with_trap(server: &Server, trap: Trap) -> (Vec<usize>, Vec<(CopyFormat, u64)>) {
    let database = trapped(server, trap).await;
    let holder = database.connect().await;
    let hold = "SELECT pg_advisory_lock(4711)";
    holder.batch_execute(hold).await.unwrap();
    let fuse = Arc::new(Fuse {
        holder: Mutex::new(Some(holder)),
        copies: Mutex::default(),
    });
    let owner = format!("user=reader_of_{}", database.name());
    let from = settings(&database.conninfo().replace("user=postgres", &owner));
    let options = DumpOptions {
        jobs: 1,
        enable_row_security: true,
        ..DumpOptions::default()
    };
    let archive = dump_to_memory(&from.with_interpose(fuse.clone()), &options)
        .await
        .unwrap();
    let target = server.create_database("untrapped");
    let report = restore_all(&archive, &settings(&target.conninfo()), 2)
        .await
        .unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(
        target.psql("SELECT count(*) FROM m_trap; TABLE a_9; TABLE z_1"),
        "3\n9\n1\n"
    );
    let copies = fuse.copies.lock().await;
    let n_tables = copies.iter().map(|copy| copy.matches("COPY ").count());
    let indexes = archive.table_indexes().await.unwrap();
    let mut read: Vec<_> = indexes.iter().map(|i| (i.format, i.n_rows)).collect();
    read.sort_by_key(|(format, n_rows)| (*format as u8, *n_rows));
    (n_tables.collect(), read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_too_wide_for_text_in_the_middle_of_a_pack_comes_in_binary_and_the_others_once() {
    for major in majors() {
        let server = Server::shared(major);
        let (n_tables, read) = Box::pin(dump_with_trap(&server, Trap::TooWide)).await;
        // All of them, then those behind the trap, then it; those before it are not read again.
        assert_eq!(n_tables, [19, 9, 1], "{major}");
        let mut expected = vec![(CopyFormat::Text, 1); 18];
        expected.push((CopyFormat::Binary, 3));
        assert_eq!(read, expected, "{major}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_in_the_middle_of_a_pack_costs_the_tables_behind_it() {
    for major in majors() {
        let server = Server::shared(major);
        let (n_tables, read) = Box::pin(dump_with_trap(&server, Trap::End)).await;
        assert_eq!(n_tables, [19, 10], "{major}");
        let mut expected = vec![(CopyFormat::Text, 1); 18];
        expected.push((CopyFormat::Text, 3));
        assert_eq!(read, expected, "{major}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_the_middle_of_a_pack_names_its_table() {
    let major = *majors().last().unwrap();
    let database = Server::shared(major).create_database("pack_error");
    let owner = format!("fails_in_{}", database.name());
    database
        .batch(&format!(
            "CREATE ROLE {owner} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {owner}; SET ROLE {owner};
             CREATE TABLE a AS SELECT 1 AS x; CREATE TABLE m AS SELECT 0 AS x; CREATE TABLE z AS SELECT 1 AS x;
             CREATE POLICY p ON m USING (1 / x = 1); ALTER TABLE m ENABLE ROW LEVEL SECURITY; ALTER TABLE m FORCE ROW LEVEL SECURITY"
        ))
        .await;
    let from = database
        .conninfo()
        .replace("user=postgres", &format!("user={owner}"));
    let options = DumpOptions {
        enable_row_security: true,
        ..DumpOptions::default()
    };
    let error = dump_to_memory(&settings(&from), &options)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), Some("22012"));
    assert!(error.to_string().contains("table public.m"), "{error}");
}

/// Changes something before the dump looks at the catalog afresh, once, and counts how often definitions are digested.
struct Meanwhile {
    client: tokio_postgres::Client,
    change: Mutex<Option<&'static str>>,
    n_digests: AtomicUsize,
}

#[async_trait]
impl Interpose for Meanwhile {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        if statement.contains("t.xmin")
            && let Some(change) = self.change.lock().await.take()
        {
            self.client.batch_execute(change).await.unwrap();
        }
        let digests = usize::from(statement.contains("string_agg(digest"));
        self.n_digests.fetch_add(digests, Ordering::SeqCst);
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Warnings(std::sync::Mutex<Vec<String>>);

impl Progress for Warnings {
    fn event(&self, event: Event) {
        if let Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

/// How often definitions were digested, and what the dump warned of.
async fn dump_during(database: &Database, change: Option<&'static str>) -> (usize, Vec<String>) {
    let meanwhile = Arc::new(Meanwhile {
        client: database.connect().await,
        change: Mutex::new(change),
        n_digests: AtomicUsize::new(0),
    });
    let from = settings(&database.conninfo()).with_interpose(meanwhile.clone());
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::open_or_create(store, ChunkSettings::default())
        .await
        .unwrap();
    let warnings = Arc::new(Warnings::default());
    dump(
        &from,
        &repository,
        &DumpOptions::default(),
        warnings.clone(),
    )
    .await
    .unwrap();
    assert!(meanwhile.change.lock().await.is_none());
    let warned = warnings.0.lock().unwrap().clone();
    (meanwhile.n_digests.load(Ordering::SeqCst), warned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_compared_only_where_somebody_wrote() {
    for major in majors() {
        let database = Server::shared(major).create_database("meanwhile");
        database
            .batch(
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE t (id int PRIMARY KEY, n int);
                 INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i",
            )
            .await;
        assert_eq!(dump_during(&database, None).await, (0, vec![]), "{major}");
        // Counted in place: no transaction's number changes.
        let analyze = Some("ANALYZE t");
        assert_eq!(dump_during(&database, analyze).await, (0, vec![]));
        // Another file, the same definition.
        let reindex = Some("REINDEX TABLE t");
        assert_eq!(dump_during(&database, reindex).await, (2, vec![]));
        let function =
            Some("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'");
        let (n_digests, warned) = dump_during(&database, function).await;
        assert_eq!((n_digests, warned.len()), (2, 1), "{warned:?}");
        assert!(
            warned[0].contains("function")
                && warned[0].contains("changed while the catalog was read"),
            "{warned:?}"
        );
    }
}
