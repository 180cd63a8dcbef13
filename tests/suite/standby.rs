//! Dumps of a hot standby: of one moment while the primary writes, without what a standby does not have, and a clear end when
//! the standby gives the snapshot up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pgark::Error;
use pgark::archive::Repository;
use pgark::archive::chunker::ChunkSettings;
use pgark::dump::{DumpOptions, dump};
use pgark::pg::session::Interpose;
use pgark::progress::Silent;
use pgark::store::MemoryStore;

use crate::consistency::{SCHEMA, Writers, broken, calls, options};
use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::{Database, Server, majors};

/// How long the standby may take to replay what was just written.
const PATIENCE: Duration = Duration::from_secs(60);

const UNLOGGED: &str = "
CREATE UNLOGGED TABLE fleeting (id serial, note text DEFAULT 'gone');
INSERT INTO fleeting DEFAULT VALUES;
CREATE TABLE lasting (id serial);
INSERT INTO lasting DEFAULT VALUES;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_a_standby_is_of_one_moment_and_says_what_a_standby_does_not_have() {
    // Unlogged sequences came with 15.
    for major in majors().into_iter().filter(|major| major.number() >= 15) {
        let primary = Server::start(major);
        let source = primary.create_database("moving");
        source.batch(SCHEMA).await;
        source.batch(UNLOGGED).await;
        let standby = primary.start_standby(&[("hot_standby_feedback", "on")]);
        let from = settings(&standby.conninfo(source.name()));
        let writers = Writers::start(&source).await;
        let before = calls(&source);
        let archive = dump_to_memory(&from, &options(false)).await.unwrap();
        assert!(calls(&source) > before, "nothing was written meanwhile");
        writers.stop().await;

        let skipped: Vec<&str> = archive
            .manifest()
            .skipped
            .iter()
            .map(|skipped| &*skipped.what)
            .collect();
        let expected = [
            r#"value of "public"."fleeting_id_seq""#,
            r#"rows of "public"."fleeting""#,
        ];
        assert_eq!(skipped, expected);
        let target = primary.create_database("restored");
        let report = restore_all(&archive, &settings(&target.conninfo()), 4)
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(broken(&target), None, "PostgreSQL {major}");
        let unlogged = target.psql(
            "SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind IN ('r', 'S') ORDER BY 1;
             SELECT count(*) FROM fleeting; SELECT last_value, is_called FROM lasting_id_seq",
        );
        assert_eq!(unlogged, "fleeting\nfleeting_id_seq\n0\n1|t\n");

        let serializable = DumpOptions {
            serializable_deferrable: true,
            ..options(false)
        };
        let error = dump_to_memory(&from, &serializable).await.unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error:?}");
        assert!(
            error.to_string().contains("the server is a hot standby"),
            "{error}"
        );
    }
}

/// Before the first rows are read, removes rows on the primary and waits until the standby has replayed that.
struct Vacuum {
    primary: String,
    standby: String,
    /// Go on until the standby has given a snapshot up.
    until_conflict: bool,
    done: AtomicBool,
}

async fn connect(conninfo: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(conninfo, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

async fn has_conflict(standby: &tokio_postgres::Client) -> bool {
    let query = "SELECT confl_snapshot > 0 FROM pg_stat_database_conflicts WHERE datname = current_database()";
    standby.query_one(query, &[]).await.unwrap().get(0)
}

#[async_trait]
impl Interpose for Vacuum {
    async fn before(&self, statement: &str) -> pgark::Result<()> {
        if !statement.starts_with("COPY ") || self.done.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let (primary, standby) = (connect(&self.primary).await, connect(&self.standby).await);
        primary
            .batch_execute("DELETE FROM orders WHERE id % 2 = 0")
            .await
            .unwrap();
        primary.batch_execute("VACUUM orders").await.unwrap();
        let position = "SELECT pg_current_wal_lsn()::text";
        let position: String = primary.query_one(position, &[]).await.unwrap().get(0);
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        let patience = Instant::now() + PATIENCE;
        while !standby
            .query_one(&replayed, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            assert!(Instant::now() < patience, "the standby does not replay");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Somebody else's snapshot may keep the removed rows for a moment.
        while self.until_conflict && !has_conflict(&standby).await {
            assert!(Instant::now() < patience, "nothing conflicts");
            primary.batch_execute("VACUUM orders").await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

/// Dumps the standby while the primary removes rows that the dump's snapshot sees.
async fn dump_against_vacuum(
    source: &Database,
    standby: &Server,
    until_conflict: bool,
) -> (Repository, pgark::Result<u64>) {
    let vacuum = Vacuum {
        primary: source.conninfo(),
        standby: standby.conninfo(source.name()),
        until_conflict,
        done: AtomicBool::new(false),
    };
    let from = settings(&vacuum.standby).with_interpose(Arc::new(vacuum));
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::open_or_create(store, ChunkSettings::default())
        .await
        .unwrap();
    let outcome = dump(&from, &repository, &options(false), Arc::new(Silent)).await;
    (repository, outcome.map(|report| report.rows))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_with_replay_names_the_settings_and_leaves_no_archive() {
    for major in majors() {
        // An autovacuum worker's snapshot would keep the removed rows.
        let primary = Server::start_with(major, &[("autovacuum", "off")]);
        let source = primary.create_database("conflict");
        source.batch(SCHEMA).await;
        let standby = primary.start_standby(&[
            ("max_standby_streaming_delay", "0"),
            ("hot_standby_feedback", "off"),
        ]);
        let (repository, outcome) = dump_against_vacuum(&source, &standby, true).await;
        let error = outcome.unwrap_err();
        let remedy = error.remedy().unwrap_or_default();
        for setting in ["hot_standby_feedback", "max_standby_streaming_delay"] {
            assert!(remedy.contains(setting), "{error:?}");
        }
        assert_eq!(repository.archives().await.unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_standbys_feedback_the_primary_keeps_what_the_dump_sees() {
    for major in majors() {
        let primary = Server::start(major);
        let source = primary.create_database("kept");
        source.batch(SCHEMA).await;
        let settings = [
            ("max_standby_streaming_delay", "0"),
            ("hot_standby_feedback", "on"),
            ("wal_receiver_status_interval", "1s"),
        ];
        let standby = primary.start_standby(&settings);
        // The primary learns of a snapshot with the next message of the standby; until then only luck keeps its rows.
        let holder = connect(&standby.conninfo(source.name())).await;
        holder
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orders")
            .await
            .unwrap();
        let known = "SELECT count(*) FROM pg_stat_replication WHERE backend_xmin IS NOT NULL";
        while source.psql(known) != "1\n" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (repository, outcome) = dump_against_vacuum(&source, &standby, false).await;
        assert_eq!(outcome.unwrap(), 24_000);
        assert_eq!(repository.archives().await.unwrap().len(), 1);
    }
}
