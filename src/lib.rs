//! pgark dumps `PostgreSQL` databases into archives that share their data, proves the archives, and restores them.
//!
//! It needs no program of `PostgreSQL` on the client's side: it reads the catalog itself, streams rows with `COPY` on several
//! connections that share one snapshot, and replays everything in dependency order. Servers from 12 to 18 are served.
//! The program `pgark` is a thin layer over this library.
//!
//! # The pipeline
//!
//! ```text
//! dump     lock ─ catalog ─ snapshot ─ COPY OUT by workers ─ chunks (zstd, named by SHA-256) ─ manifest: the commit
//! verify   marker, records, manifest ─ every stored byte hashed ─ decoded ─ rows counted; no server
//! restore  archive proved ─ target examined ─ definitions ─ COPY IN ─ indexes, keys … ─ counts and contents compared
//! ```
//!
//! A [`Store`] is where bytes lie under keys: a folder ([`LocalStore`]) or memory ([`MemoryStore`]); a [`Repository`] is a store
//! with archives in it, and an [`Archive`] is one saved dump. The format is public and specified in `docs/format.md`; how the
//! parts of the crate depend on each other is in `docs/architecture.md`.
//!
//! # The verbs
//!
//! [`dump()`], [`list()`], [`verify()`] and [`restore()`], and [`doctor()`] before them, each with options whose default does the ordinary thing, and a report;
//! and [`clone_database()`], a dump and a restore at once.
//!
//! ```
//! use std::sync::Arc;
//!
//! use pgark::progress::Silent;
//! use pgark::{
//!     Check, ChunkSettings, ConnSettings, DumpOptions, Environment, GroupFilter, MemoryStore, Repository, RestoreOptions,
//!     VerifyOptions, dump, list, restore, verify,
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(server) = std::env::var("PGARK_DOC_SERVER") else {
//! #     assert_ne!(std::env::var("PGARK_REQUIRE_PG").as_deref(), Ok("1"), "PGARK_DOC_SERVER is not set; scripts/test sets it");
//! #     return Ok(());
//! # };
//! // A database name, `key=value` settings or a URL; what they leave open comes from PG* variables and ~/.pgpass.
//! let at = "postgres://backup@db.example.com/shop";
//! # let at = server.as_str();
//! let source = ConnSettings::resolve(&Environment::of_process(), Some(at), &[])?;
//! # let admin = pgark::pg::connect(&source, "example").await?;
//! # for sql in ["DROP DATABASE IF EXISTS doc_verbs", "DROP DATABASE IF EXISTS doc_verbs_copy", "CREATE DATABASE doc_verbs"] {
//! #     admin.batch("the example", "its databases", sql).await?;
//! # }
//! # let source = source.with_dbname("doc_verbs");
//! # let shop = pgark::pg::connect(&source, "example").await?;
//! # shop.batch("the example", "its rows", "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i").await?;
//! # shop.close().await;
//!
//! let repository = Repository::open_or_create(Arc::new(MemoryStore::new()), ChunkSettings::default()).await?;
//! let dumped = dump(&source, &repository, &DumpOptions::default(), Arc::new(Silent)).await?;
//! println!("{}: {} rows in {} tables", dumped.name, dumped.rows, dumped.tables);
//! # assert_eq!((dumped.tables, dumped.rows), (1, 1000));
//!
//! let archives = list(&repository, &GroupFilter::default()).await?.archives;
//! assert_eq!(archives[0].name, dumped.name);
//!
//! let verified = verify(&repository, None, &VerifyOptions::default(), &Silent).await?;
//! assert!(verified.findings.is_empty());
//!
//! let archive = repository.read(&dumped.name).await?;
//! let target = source.with_dbname("shop_copy");
//! # let target = source.with_dbname("doc_verbs_copy");
//! let options = RestoreOptions { create: true, check: Check::Content, ..RestoreOptions::default() };
//! let restored = restore(&archive, &target, &options, Arc::new(Silent)).await?;
//! assert!(restored.is_complete() && restored.n_rows == dumped.rows);
//! # Ok(())
//! # }
//! ```
//!
//! A folder instead of memory: `LocalStore::create("/var/backups/pg").await?` is a [`Store`] like any other, and whoever implements the
//! trait can keep archives elsewhere. Futures may be dropped: what runs on the server is cancelled, and no half archive stands.
//!
//! # Progress
//!
//! The library prints nothing. What it does it tells to a [`Progress`], from many tasks at once.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use pgark::progress::Event;
//! use pgark::{ChunkSettings, DumpOptions, MemoryStore, Progress, Repository, dump};
//!
//! /// Counts rows and prints warnings.
//! #[derive(Debug, Default)]
//! struct RowCounter {
//!     n_rows: AtomicU64,
//! }
//!
//! impl Progress for RowCounter {
//!     fn event(&self, event: Event) {
//!         match event {
//!             Event::Rows(more) => _ = self.n_rows.fetch_add(more, Ordering::Relaxed),
//!             Event::Warning(text) => eprintln!("warning: {text}"),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(server) = std::env::var("PGARK_DOC_SERVER") else {
//! #     assert_ne!(std::env::var("PGARK_REQUIRE_PG").as_deref(), Ok("1"), "PGARK_DOC_SERVER is not set; scripts/test sets it");
//! #     return Ok(());
//! # };
//! # let source = pgark::ConnSettings::resolve(&pgark::Environment::of_process(), Some(&server), &[])?;
//! # let admin = pgark::pg::connect(&source, "example").await?;
//! # for sql in ["DROP DATABASE IF EXISTS doc_progress", "CREATE DATABASE doc_progress"] {
//! #     admin.batch("the example", "its database", sql).await?;
//! # }
//! # let source = source.with_dbname("doc_progress");
//! # let shop = pgark::pg::connect(&source, "example").await?;
//! # shop.batch("the example", "its rows", "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i").await?;
//! # shop.close().await;
//! # let repository = Repository::open_or_create(Arc::new(MemoryStore::new()), ChunkSettings::default()).await?;
//! let counter = Arc::new(RowCounter::default());
//! let dumped = dump(&source, &repository, &DumpOptions::default(), counter.clone()).await?;
//! assert_eq!(counter.n_rows.load(Ordering::Relaxed), dumped.rows);
//! # Ok(())
//! # }
//! ```
//!
//! # Encryption
//!
//! A repository is encrypted from its first byte or not at all. Whoever opens one without its passphrase can list archives by name and
//! verify stored bytes; everything else is [`Error::Key`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use pgark::{ChunkSettings, MemoryStore, Passphrase, Repository, Store, Unlock};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let unlock = Unlock::with(Passphrase::new("correct horse battery staple".to_owned())?);
//! let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! Repository::open_or_create_with(Arc::clone(&store), ChunkSettings::default(), &unlock).await?;
//!
//! let locked = Repository::open(store).await?;
//! assert!(locked.is_encrypted() && locked.is_locked());
//! let opened = locked.unlock(&unlock).await?;
//! assert!(!opened.is_locked());
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//!
//! One [`Error`], whose variants say what the caller can do about it: connect elsewhere, fetch another copy of a damaged archive,
//! use a newer version. Its message names object and step, [`Error::remedy`] what may help, and `source()` the cause. Damage
//! that [`verify()`] finds, and objects that [`restore()`] could not bring back, are no errors but stand in the reports.

// Tests of the library and of the program share stores and proxies that fail, under the name that both know.
#[cfg(test)]
extern crate self as pgark;

pub mod archive;
pub mod catalog;
#[doc(hidden)] // the program, not the library
pub mod cli;
pub mod clone;
pub mod cluster;
pub mod config;
pub mod doctor;
pub mod drill;
pub mod dump;
pub mod error;
pub mod graph;
pub mod human;
pub mod jobs;
pub mod kinds;
pub mod manage;
pub mod monitor;
pub mod page;
pub mod pg;
pub mod progress;
pub mod replace;
pub mod restore;
pub mod retry;
pub mod selection;
pub mod sql;
pub mod store;
pub mod toc;

pub use archive::chunker::ChunkSettings;
pub use archive::records::Depth;
pub use archive::{Archive, ArchiveName, GroupFilter, Passphrase, Repository, Unlock};
pub use clone::{CloneOptions, CloneReport, clone_database};
pub use cluster::{ClusterDumpOptions, ClusterRestoreOptions, dump_cluster, restore_cluster};
pub use doctor::{DoctorOptions, DoctorReport, doctor};
pub use drill::{DrillOptions, drill};
pub use dump::globals::{GlobalsOptions, dump_globals};
pub use dump::{DumpOptions, DumpReport, dump};
pub use error::{Error, Result};
pub use manage::list::{ArchiveList, ListCache, list, list_with};
pub use manage::prune::{PruneOptions, PruneReport, prune};
pub use manage::replicate::{ReplicateOptions, ReplicateReport, replicate};
pub use manage::verify::{VerifyOptions, VerifyReport, verify};
pub use pg::{ConnSettings, Environment};
pub use progress::Progress;
pub use replace::{ReplaceOptions, ReplaceReport, replace};
pub use restore::{Check, RestoreOptions, RestoreReport, restore};
pub use selection::Selection;
pub use store::{LocalStore, MemoryStore, Store};
