//! What a lease is good for at the very end of a dump.

use futures::FutureExt as _;

use super::*;
use crate::archive::fixture;
use crate::archive::lease::LeaseKind;
use crate::store::Store;
use crate::store::hooked::HookedStore;
use std::sync::Arc;

/// A dump stalls right before its manifest for so long that its lease is swept away: the archive must not stand, because the
/// one who swept may not have seen it.
#[tokio::test]
async fn an_archive_whose_lease_was_swept_away_does_not_stand() {
    let store = Arc::new(HookedStore::new(0, false));
    let repository = fixture::repository(Arc::clone(&store) as Arc<dyn Store>).await;
    let lease = Lease::take(&repository, LeaseKind::Dump, "dump of shop", Vec::new()).await;
    let lease = lease.unwrap();
    let template = fixture::manifest(&repository, "new");
    let (chunks, sweeper) = (repository.chunks(1), Arc::clone(&store));
    let sweep = async move {
        for seen in sweeper.list("leases").await.unwrap() {
            sweeper.delete(&seen.key).await.unwrap();
        }
    };
    store.before_put("archives/", move || sweep.boxed());
    let place = ArchivePlace {
        repository: &repository,
        chunks: &chunks,
        settings: repository.marker().chunks,
        lease: &lease,
        name: Naming::Chosen(template.name.clone()),
        created: template.created,
        group: template.group,
    };
    let contents = Contents {
        entries: Vec::new(),
        n_tables: 0,
        indexes: Vec::new(),
        chunks: HashMap::new(),
        source: template.source,
        selection: Vec::new(),
        skipped: Vec::new(),
        set: None,
        tags: BTreeMap::new(),
    };
    let error = commit(place, contents).await.unwrap_err();
    assert!(error.to_string().contains("swept away"), "{error}");
    assert!(repository.archives().await.unwrap().is_empty());
    // Its end is on record, so nobody misses it.
    let removed = store.list("records").await.unwrap();
    let names: Vec<&str> = removed.iter().map(|one| one.key.name()).collect();
    assert_eq!(names, ["announced-new.json", "removed-new.json"]);
}
