//! What comes after the rows of very many small tables: how few statements it takes when all goes well, and that what goes wrong in
//! the middle is named while its neighbours come.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pgark::dump::DumpOptions;
use pgark::pg::session::Interpose;
use pgark::restore::RestoreOptions;

use crate::round_trip::{dump_to_memory, restore_all, run, settings};
use crate::support::{Database, Server, majors};

/// Counts commits.
#[derive(Default)]
struct Commits(AtomicUsize);

#[async_trait]
impl Interpose for Commits {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        let commits = usize::from(statement.ends_with("COMMIT"));
        self.0.fetch_add(commits, Ordering::SeqCst);
        Ok(())
    }
}

/// Tables with a key, an index and a foreign key each; the index of every 20th goes by a function that a setting makes fail.
async fn many_tables(server: &Server, n_tables: usize) -> Database {
    let database = server.create_database("many_small");
    let function = "CREATE FUNCTION sometimes(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
        IF current_setting('pgark_test.fails', true) = 'on' THEN RAISE EXCEPTION 'as told'; END IF; RETURN i; END $$;";
    let each = (0..n_tables).map(|i| {
        let other = i.saturating_sub(1);
        let key = if i % 20 == 7 { "sometimes(a)" } else { "a" };
        format!(
            "CREATE TABLE t{i} (id int PRIMARY KEY, a int REFERENCES t{other}); \
             INSERT INTO t{i} VALUES (1, 1), (2, 1); CREATE INDEX i{i} ON t{i} ({key});"
        )
    });
    let all: String = [function.to_owned()].into_iter().chain(each).collect();
    database.batch(&all).await;
    database
}

const N_INDEXES: &str = "SELECT count(*) FROM pg_index WHERE indrelid >= 16384 AND indrelid::regclass::text ~ '^t[0-9]+$'";
const N_FOREIGN_KEYS: &str =
    "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_indexes_of_small_tables_share_transactions() {
    for major in majors() {
        let server = Server::shared(major);
        let source = many_tables(&server, 200).await;
        let archive = dump_to_memory(&settings(&source.conninfo()), &DumpOptions::default())
            .await
            .unwrap();
        let target = server.create_database("many_small_again");
        let commits = Arc::new(Commits::default());
        let to = settings(&target.conninfo()).with_interpose(commits.clone());
        let report = restore_all(&archive, &to, 2).await.unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(report.n_rows, 400);
        for question in [N_INDEXES, N_FOREIGN_KEYS] {
            assert_eq!(target.psql(question), source.psql(question), "{major}");
        }
        // 200 tables, keys, indexes, foreign keys and ANALYZEs each.
        let n_commits = commits.0.load(Ordering::SeqCst);
        assert!((1..150).contains(&n_commits), "{n_commits}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_fails_among_small_ones_is_named_and_the_others_come() {
    let server = Server::shared(majors()[0]);
    let source = many_tables(&server, 60).await;
    let archive = dump_to_memory(&settings(&source.conninfo()), &DumpOptions::default())
        .await
        .unwrap();
    let target = server.create_database("many_small_failing");
    let name = target.name();
    target.psql(&format!(
        "ALTER DATABASE \"{name}\" SET pgark_test.fails = 'on'"
    ));
    let report = restore_all(&archive, &settings(&target.conninfo()), 2)
        .await
        .unwrap();
    let mut failed: Vec<&str> = report
        .failed
        .iter()
        .map(|failure| failure.object.as_str())
        .collect();
    failed.sort_unstable();
    assert_eq!(
        failed,
        [
            "index public.t27 i27",
            "index public.t47 i47",
            "index public.t7 i7"
        ],
        "{report:?}"
    );
    assert!(report.skipped.is_empty(), "{report:?}");
    assert_eq!(target.psql(N_INDEXES).trim(), "117");
    assert_eq!(target.psql(N_FOREIGN_KEYS).trim(), "60");
    assert_eq!(report.n_rows, 120);
}

/// A table too large to be built together with others, whose index notes the settings it is built under.
async fn noting_table(server: &Server) -> Database {
    let database = server.create_database("noting");
    database
        .batch(
            "CREATE SEQUENCE memory MINVALUE 0; CREATE SEQUENCE parallel MINVALUE 0; \
             CREATE FUNCTION noting(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
               PERFORM setval('public.memory', setting::bigint) FROM pg_settings WHERE name = 'maintenance_work_mem'; \
               PERFORM setval('public.parallel', setting::bigint) FROM pg_settings \
                 WHERE name = 'max_parallel_maintenance_workers'; \
               RETURN i; END $$; \
             CREATE TABLE t (i int, pad text); \
             INSERT INTO t SELECT i, repeat('x', 5000) FROM generate_series(1, 300) i; \
             CREATE INDEX t_i ON t (noting(i));",
        )
        .await;
    database
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_built_alone_has_the_memory_of_all_connections() {
    let server = Server::shared(majors()[0]);
    let source = noting_table(&server).await;
    let seen = |database: &Database, of: &str| -> u64 {
        let answer = database.psql(&format!("SELECT last_value FROM {of}"));
        answer.trim().parse().unwrap()
    };
    let (own_kib, own_workers) = (seen(&source, "memory"), seen(&source, "parallel"));
    let archive = dump_to_memory(&settings(&source.conninfo()), &DumpOptions::default())
        .await
        .unwrap();

    let target = server.create_database("noting_again");
    let options = RestoreOptions {
        jobs: 4,
        // It would call the function as well.
        analyze: false,
        ..RestoreOptions::default()
    };
    let report = run(&archive, &target, &options).await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(seen(&target, "memory"), 4 * own_kib);

    let target = server.create_database("noting_told");
    let options = RestoreOptions {
        index_memory_mib: Some(256),
        index_workers: Some(u32::try_from(own_workers).unwrap() + 1),
        ..options
    };
    let report = run(&archive, &target, &options).await.unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(seen(&target, "memory"), 256 << 10);
    assert_eq!(seen(&target, "parallel"), own_workers + 1);
}
