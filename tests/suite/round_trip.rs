//! A dump into memory and a restore from it, as the tests of whole databases make them.

use std::sync::Arc;
use std::time::Duration;

use pgark::archive::chunker::ChunkSettings;
use pgark::archive::{Archive, Repository};
use pgark::dump::{DumpOptions, dump};
use pgark::pg::{ConnSettings, Environment};
use pgark::progress::Silent;
use pgark::restore::{Check, RestoreOptions, RestoreReport, restore};
use pgark::store::MemoryStore;

use crate::support::Database;

/// Connection settings as a user gives them, but for tests that end servers: nobody waits long for one.
pub(crate) fn settings(conninfo: &str) -> ConnSettings {
    ConnSettings::resolve(&Environment::of_process(), Some(conninfo), &[])
        .unwrap()
        .with_connect_retry(Duration::from_secs(2))
}

/// Dumps into a repository of its own.
pub(crate) async fn dump_to_memory(
    source: &ConnSettings,
    options: &DumpOptions,
) -> pgark::Result<Archive> {
    let store = Arc::new(MemoryStore::new());
    let repository = Repository::open_or_create(store, ChunkSettings::default()).await?;
    let report = dump(source, &repository, options, Arc::new(Silent)).await?;
    repository.read(&report.name).await
}

/// Restores with the comparison of content.
pub(crate) async fn restore_all(
    archive: &Archive,
    target: &ConnSettings,
    jobs: usize,
) -> pgark::Result<RestoreReport> {
    let options = RestoreOptions {
        jobs,
        check: Check::Content,
        ..RestoreOptions::default()
    };
    restore(archive, target, &options, Arc::new(Silent)).await
}

/// An archive of the whole database.
pub(crate) async fn archive_of(database: &Database) -> Archive {
    dump_to_memory(&settings(&database.conninfo()), &DumpOptions::default())
        .await
        .unwrap()
}

/// Restores into a database as the options say.
pub(crate) async fn run(
    archive: &Archive,
    database: &Database,
    options: &RestoreOptions,
) -> pgark::Result<RestoreReport> {
    let target = settings(&database.conninfo());
    restore(archive, &target, options, Arc::new(Silent)).await
}

/// Two connections, and the comparison of content.
pub(crate) fn options() -> RestoreOptions {
    RestoreOptions {
        jobs: 2,
        check: Check::Content,
        ..RestoreOptions::default()
    }
}
