//! What is whole of a damaged archive comes back, row for row, and every range that is lost is named with its number of rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use pgark::archive::chunker::ChunkSettings;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, dump};
use pgark::error::Error;
use pgark::progress::Silent;
use pgark::restore::{Check, RestoreOptions, RestoreReport};
use pgark::store::{Key, MemoryStore, Store};
use pgark::toc::DataOf;

use crate::round_trip::{run, settings};
use crate::support::{Database, Server, majors, pgark};

const TABLES: &str = "
    CREATE TABLE narrow (id int PRIMARY KEY, note text);
    INSERT INTO narrow SELECT i, md5(i::text) FROM generate_series(1, 30000) i;
    CREATE TABLE wide (id int PRIMARY KEY, doc text);
    INSERT INTO wide SELECT i, (SELECT string_agg(md5(i || '-' || j), '') FROM generate_series(1, 6000) j)
      FROM generate_series(1, 12) i;
    CREATE TABLE small (a int);
    INSERT INTO small VALUES (1), (2);
    CREATE VIEW names AS SELECT note FROM narrow;
    SELECT lo_from_bytea(4711, (SELECT string_agg(decode(md5(i::text), 'hex'), '') FROM generate_series(1, 20000) i));";

/// A store with chunks of at most 64 KiB.
async fn archive_of(database: &Database) -> (Arc<MemoryStore>, Archive) {
    let store = Arc::new(MemoryStore::new());
    let small = ChunkSettings {
        bytes_min: 8 << 10,
        bytes_max: 64 << 10,
        cut_bits: 14,
    };
    let opened = Repository::open_or_create(Arc::clone(&store) as Arc<dyn Store>, small);
    let repository = opened.await.unwrap();
    let options = DumpOptions {
        cell_bytes: Some(512 << 10),
        ..DumpOptions::default()
    };
    let source = settings(&database.conninfo());
    let report = dump(&source, &repository, &options, Arc::new(Silent)).await;
    let archive = repository.read(&report.unwrap().name).await.unwrap();
    (store, archive)
}

/// The chunks of a table, in its order.
async fn chunks_of(archive: &Archive, table: &str) -> Vec<Key> {
    let entries = archive.entries().await.unwrap();
    let is_it = |one: &&pgark::toc::Entry| match &one.data {
        Some(DataOf::Table { .. }) => one.name.name == table,
        Some(DataOf::LargeObjects) => table.is_empty(),
        None => false,
    };
    let entry = entries.iter().find(is_it).unwrap().id;
    let indexes = archive.table_indexes().await.unwrap();
    let index = indexes.iter().find(|index| index.entry == entry).unwrap();
    let pieces = index.segments.iter().flat_map(|segment| &segment.pieces);
    pieces.map(|piece| piece.chunk_ref().key()).collect()
}

async fn garble(store: &MemoryStore, key: &Key) {
    let bytes = store.get(key).await.unwrap().unwrap();
    let mut garbled = bytes.to_vec();
    let middle = garbled.len() / 2;
    garbled[middle] ^= 0x10;
    store.delete(key).await.unwrap();
    store.put_new(key, garbled.into()).await.unwrap();
}

fn rows(database: &Database, table: &str) -> BTreeSet<String> {
    let text = database.psql(&format!("COPY {table} TO STDOUT"));
    text.lines().map(str::to_owned).collect()
}

async fn salvage(archive: &Archive, target: &Database) -> RestoreReport {
    let options = RestoreOptions {
        jobs: 2,
        salvage: true,
        check: Check::Content,
        ..RestoreOptions::default()
    };
    run(archive, target, &options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_whole_comes_back_row_for_row_and_what_is_lost_is_named() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("salvage");
        source.batch(TABLES).await;
        let (store, archive) = archive_of(&source).await;
        let narrow = chunks_of(&archive, "narrow").await;
        assert!(narrow.len() >= 10, "{}", narrow.len());
        garble(&store, &narrow[3]).await;
        store.delete(&narrow[7]).await.unwrap();

        let target = server.create_database("salvage_refused");
        let plain = run(&archive, &target, &RestoreOptions::default()).await;
        assert!(matches!(plain, Err(Error::Corrupt { .. })), "{plain:?}");

        let target = server.create_database("salvaged");
        let report = salvage(&archive, &target).await;
        assert!(!report.is_complete(), "what is lost is never forgotten");
        assert!(
            report.failed.is_empty() && report.skipped.is_empty(),
            "{report:?}"
        );
        let checked = report.checked.unwrap();
        assert!(
            checked.different.is_empty() && checked.not_compared.is_empty(),
            "{checked:?}"
        );
        let (before, after) = (rows(&source, "narrow"), rows(&target, "narrow"));
        assert!(after.is_subset(&before), "no row is made of parts of two");
        let n_lost: u64 = report.lost_rows.iter().map(|lost| lost.n_rows).sum();
        assert_eq!(after.len() as u64 + n_lost, before.len() as u64);
        assert!(n_lost > 100 && after.len() > 20_000, "{n_lost}");
        let named: BTreeSet<&str> = report
            .lost_rows
            .iter()
            .flat_map(|lost| &lost.chunks)
            .filter_map(|chunk| chunk.split(": ").next())
            .collect();
        assert_eq!(named, [&narrow[3], &narrow[7]].map(Key::as_str).into());
        for lost in &report.lost_rows {
            assert_eq!(lost.object, "table data public.narrow");
            assert!(lost.range.contains("block"), "{lost:?}");
            assert!(lost.n_kept > 0);
        }
        assert_eq!(rows(&target, "wide"), rows(&source, "wide"));
        assert_eq!(
            target.psql("SELECT count(*) FROM names"),
            format!("{}\n", after.len())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_run_through_several_chunks_are_lost_whole_or_come_whole() {
    let server = Server::shared(majors()[0]);
    let source = server.create_database("salvage_wide");
    source.batch(TABLES).await;
    let (store, archive) = archive_of(&source).await;
    let wide = chunks_of(&archive, "wide").await;
    assert!(
        wide.len() > 24,
        "each row has more than two chunks: {}",
        wide.len()
    );
    for at in [0, wide.len() / 2, wide.len() - 1] {
        let whole = store.get(&wide[at]).await.unwrap().unwrap();
        garble(&store, &wide[at]).await;
        let target = server.create_database("salvaged_wide");
        let report = salvage(&archive, &target).await;
        let (before, after) = (rows(&source, "wide"), rows(&target, "wide"));
        assert!(after.is_subset(&before), "{at}");
        let n_lost: u64 = report.lost_rows.iter().map(|lost| lost.n_rows).sum();
        assert!((1..=3).contains(&n_lost), "{at}: {:?}", report.lost_rows);
        assert_eq!(after.len() as u64 + n_lost, 12, "{at}");
        store.delete(&wide[at]).await.unwrap();
        store.put_new(&wide[at], whole).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_large_objects_and_whole_small_tables_may_be_lost_too() {
    let server = Server::shared(majors()[0]);
    let source = server.create_database("salvage_pages");
    source.batch(TABLES).await;
    let (store, archive) = archive_of(&source).await;
    let pages = chunks_of(&archive, "").await;
    garble(&store, &pages[2]).await;
    for chunk in chunks_of(&archive, "small").await {
        garble(&store, &chunk).await;
    }
    let target = server.create_database("salvaged_pages");
    let report = salvage(&archive, &target).await;
    assert!(report.failed.is_empty(), "{report:?}");
    let lost: Vec<(&str, u64)> = report
        .lost_rows
        .iter()
        .map(|lost| (lost.object.as_str(), lost.n_rows))
        .collect();
    assert!(lost.contains(&("table data public.small", 2)), "{lost:?}");
    assert!(lost.len() == 2, "{lost:?}");
    assert_eq!(target.psql("SELECT count(*) FROM small").trim(), "0");
    // The bytes that were not lost stand where they were.
    let pages = |database: &Database| {
        let text = database
            .psql("SELECT pageno, md5(data) FROM pg_largeobject WHERE loid = 4711 ORDER BY pageno");
        text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (before, after) = (pages(&source), pages(&target));
    let kept = after.intersection(&before).count();
    assert!(
        kept > before.len() / 2 && kept < before.len(),
        "{kept} of {}",
        before.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_salvaged_where_the_lists_themselves_are_damaged() {
    let server = Server::shared(majors()[0]);
    let source = server.create_database("salvage_lists");
    source.batch(TABLES).await;
    let (store, archive) = archive_of(&source).await;
    for chunk in [
        &archive.manifest().toc[0],
        &archive.manifest().data_index[0],
    ] {
        let whole = store.get(&chunk.key()).await.unwrap().unwrap();
        store.delete(&chunk.key()).await.unwrap();
        store
            .put_new(&chunk.key(), Bytes::from_static(b"x"))
            .await
            .unwrap();
        let target = server.create_database("salvaged_lists");
        let options = RestoreOptions {
            salvage: true,
            ..RestoreOptions::default()
        };
        let refused = run(&archive, &target, &options).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
        assert_eq!(
            target
                .psql("SELECT count(*) FROM pg_class WHERE relname = 'narrow'")
                .trim(),
            "0"
        );
        store.delete(&chunk.key()).await.unwrap();
        store.put_new(&chunk.key(), whole).await.unwrap();
    }
}

#[test]
fn the_program_names_what_is_lost_and_ends_with_its_code() {
    let server = Server::shared(majors()[0]);
    let source = server.create_database("salvage_program");
    crate::support::block_on(source.batch(TABLES));
    let target = server.create_database("salvaged_program");
    let folder = tempfile::tempdir().unwrap();
    let run = |code: i32, arguments: &[&str]| -> String {
        let output = pgark()
            .args(arguments)
            .arg("-r")
            .arg(folder.path())
            .output()
            .unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {texts:?}");
        texts.concat()
    };
    run(
        0,
        &[
            "dump",
            "-d",
            &source.conninfo(),
            "--name",
            "one",
            "-t",
            "narrow",
        ],
    );
    let mut chunks: Vec<_> = files(&folder.path().join("chunks"));
    chunks.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    std::fs::write(chunks.last().unwrap(), "garbage").unwrap();
    let text = run(11, &["restore", "one", "-d", &target.conninfo()]);
    assert!(
        text.contains("--salvage"),
        "the refusal says what helps: {text}"
    );
    let text = run(
        3,
        &["restore", "one", "-d", &target.conninfo(), "--salvage"],
    );
    assert!(text.contains("lost: table data public.narrow, "), "{text}");
    assert!(
        text.contains("30,000 of 30000 rows") || text.contains("rows lost"),
        "{text}"
    );
    run(
        2,
        &[
            "restore",
            "one",
            "-d",
            &target.conninfo(),
            "--salvage",
            "--replace",
        ],
    );
}

/// Every file below a folder.
pub(crate) fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
