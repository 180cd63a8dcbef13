//! The store fails at each call of a small dump in turn, or the program is killed there: older archives stay whole, and the next
//! dump goes on with the chunks that are there.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use pgark::archive::GroupFilter;
use pgark::config::Keep;
use pgark::manage::prune::{PruneOptions, prune};
use pgark::store::LocalStore;

use super::*;
use crate::support::fault_store::{Fault as StoreFault, FaultStore};

/// Tell this test, when it is run as a child, where to die, and of what.
const KILL_AT: &str = "PGARK_TEST_KILL_AT";
const KILL_FROM: &str = "PGARK_TEST_KILL_FROM";
const KILL_REPO: &str = "PGARK_TEST_KILL_REPO";
/// Children at the same time.
const CHILDREN: usize = 3;

/// Calls to the store of a dump that nothing disturbs.
async fn n_calls(case: &Case) -> u64 {
    let store = copy_of(&case.before).await;
    let counting = Arc::new(FaultStore::new(store, StoreFault::Refused, u64::MAX));
    dump_into(&case.source.conninfo(), counting.clone())
        .await
        .unwrap();
    counting.n_calls()
}

/// One dump into a store that fails; true if an archive stands.
async fn run(case: &Case, fault: StoreFault, at: u64, only_once: bool) -> (bool, Outcome) {
    let what = (fault, at, only_once);
    let store = copy_of(&case.before).await;
    let failing = FaultStore::new(store.clone(), fault, at);
    let failing = if only_once {
        failing.only_once()
    } else {
        failing
    };
    let from = case.source.conninfo();
    let dumping = dump_into(&from, Arc::new(failing));
    let outcome = tokio::time::timeout(PATIENCE, dumping).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{what:?}: the dump hangs"));
    let n_archives = store.list("archives").await.unwrap().len();
    assert_whole(store.clone(), &what).await;
    let stands = n_archives == 2;
    match outcome {
        Ok(name) => {
            let repository = Repository::open(store).await.unwrap();
            let archive = repository.read(&name).await.unwrap();
            assert!(stands && is_same(&archive, &case.undisturbed), "{what:?}");
            (stands, Outcome::Whole)
        }
        Err(error) => {
            assert!(is_clear(&error), "{what:?}: {}", told(&error));
            if stands {
                println!("{what:?}: an archive stands behind: {}", told(&error));
            }
            if only_once {
                case.next_one_uses_what_is_there(&store).await;
            }
            (stands, Outcome::Refused)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_to_the_store_fails_a_dump_is_whole_or_an_error() {
    let Some(major) = majors().pop() else { return };
    let case = Case::new(Server::shared(major)).await;
    let n_calls = n_calls(&case).await;
    for only_once in [false, true] {
        for fault in [StoreFault::Refused, StoreFault::AnswerLost] {
            let outcomes: Vec<(bool, Outcome)> = futures::stream::iter(0..n_calls)
                .map(|at| run(&case, fault, at, only_once))
                .buffer_unordered(LANES)
                .collect()
                .await;
            let n = |stands, outcome| {
                let wanted = outcomes.iter().filter(|one| **one == (stands, outcome));
                wanted.count()
            };
            let (n_whole, n_refused) = (n(true, Outcome::Whole), n(false, Outcome::Refused));
            // A store that is gone for good once it has the manifest: nobody can know. What stands is whole.
            let n_unsaid = n(true, Outcome::Refused);
            println!(
                "PostgreSQL {major}, {fault:?}, only once: {only_once}, at each of {n_calls} calls: \
                 {n_whole} whole, {n_refused} errors, {n_unsaid} whole but unsaid"
            );
            assert_eq!(outcomes.len(), n_whole + n_refused + n_unsaid);
            assert!(n_unsaid == 0 || !only_once, "{n_unsaid}");
            assert!(n_refused > 0);
        }
    }
    case.no_session_is_left().await;
}

/// Dumps into a folder until the store has done its n-th call, and dies then. A dump that comes to its end is an ordinary one.
async fn die(at: u64) {
    let variable = |name| std::env::var(name).unwrap();
    let store = LocalStore::open(variable(KILL_REPO)).await.unwrap();
    let store = FaultStore::new(Arc::new(store), StoreFault::Kill, at);
    dump_into(&variable(KILL_FROM), Arc::new(store))
        .await
        .unwrap();
}

/// This very test in a process of its own, which dies; false if it made fewer calls and came to its end.
async fn killed_child(case: &Case, repo: &Path, at: u64) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([
            "--exact",
            "faults::stores::a_program_killed_at_any_call_to_the_store_harms_nothing",
        ])
        .env(KILL_AT, at.to_string())
        .env(KILL_FROM, case.source.conninfo())
        .env(KILL_REPO, repo);
    let output = tokio::task::spawn_blocking(move || child.output().unwrap());
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let (signal, status) = (output.status.signal(), output.status);
    assert!(signal == Some(6) || status.success(), "call {at}: {said}");
    signal.is_some()
}

/// Puts all objects of a store into a folder.
async fn folder_of(store: &MemoryStore) -> (tempfile::TempDir, Arc<LocalStore>) {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalStore::create(folder.path()).await.unwrap();
    for stored in store.list("").await.unwrap() {
        let bytes = store.get(&stored.key).await.unwrap().unwrap();
        local.put_new(&stored.key, bytes).await.unwrap();
    }
    (folder, Arc::new(local))
}

/// What a killed dump left, and what the next one made of it.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    is_killed: bool,
    n_archives: usize,
    n_chunks_found: usize,
    n_chunks_added: usize,
    n_leases: usize,
}

async fn kill_and_go_on(case: &Case, at: u64) -> Left {
    let (folder, store) = folder_of(&case.before).await;
    let is_killed = killed_child(case, folder.path(), at).await;
    assert_whole(store.clone(), &at).await;
    let list = async |prefix| store.list(prefix).await.unwrap();
    let (there, n_archives) = (list("chunks").await, list("archives").await.len() - 1);
    let n_leases = list("leases").await.len();
    let archive = dumped(&case.source.conninfo(), store.clone())
        .await
        .unwrap();
    assert!(is_same(&archive, &case.undisturbed), "call {at}");
    assert_whole(store.clone(), &at).await;
    let after = list("chunks").await;
    let added: Vec<_> = after
        .iter()
        .filter(|chunk| !there.iter().any(|one| one.key == chunk.key))
        .collect();
    let n_bytes: u64 = added.iter().map(|chunk| chunk.n_bytes).sum();
    assert_eq!(
        archive.manifest().totals.new_bytes,
        n_bytes,
        "call {at}: what was there is stored again"
    );
    expire_leases(folder.path(), n_leases, &store).await;
    let n_before = case.before.list("chunks").await.unwrap().len();
    Left {
        is_killed,
        n_archives,
        n_chunks_found: there.len() - n_before,
        n_chunks_added: added.len(),
        n_leases,
    }
}

/// Two hours later the leases of the killed one are in nobody's way.
async fn expire_leases(folder: &Path, n_leases: usize, store: &Arc<LocalStore>) {
    let earlier = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    for stored in store.list("leases").await.unwrap() {
        let file = std::fs::File::options()
            .write(true)
            .open(folder.join(stored.key.as_str()))
            .unwrap();
        file.set_modified(earlier).unwrap();
    }
    let repository = Repository::open(store.clone()).await.unwrap();
    let keep = Keep {
        last: Some(1),
        ..Keep::default()
    };
    let (filter, options) = (GroupFilter::default(), PruneOptions::default());
    let pruned = prune(&repository, &filter, &keep, &options, &Silent)
        .await
        .unwrap();
    let n_expired = pruned.swept.unwrap().n_leases_expired;
    assert_eq!(usize::try_from(n_expired).unwrap(), n_leases);
    assert!(store.list("leases").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_killed_at_any_call_to_the_store_harms_nothing() {
    if let Ok(at) = std::env::var(KILL_AT) {
        return die(at.parse().unwrap()).await;
    }
    let Some(major) = majors().pop() else { return };
    let case = Case::new(Server::shared(major)).await;
    let n_calls = n_calls(&case).await;
    let left: Vec<Left> = futures::stream::iter(0..n_calls)
        .map(|at| kill_and_go_on(&case, at))
        .buffered(CHILDREN)
        .collect()
        .await;
    let n = |of: fn(&Left) -> usize| left.iter().map(of).sum::<usize>();
    println!(
        "PostgreSQL {major}: {} of {n_calls} killed, after each call: {} archives stood, {} leases expired, \
         {} chunks were found again, {} stored anew",
        n(|one| usize::from(one.is_killed)),
        n(|one| one.n_archives),
        n(|one| one.n_leases),
        n(|one| one.n_chunks_found),
        n(|one| one.n_chunks_added),
    );
    let last = left.last().unwrap();
    assert_eq!((last.n_archives, last.n_chunks_added), (1, 0));
    assert!(n(|one| one.n_leases) > 0 && n(|one| one.n_chunks_found) > 0);
    assert!(n(|one| usize::from(one.is_killed)) > 20);
    case.no_session_is_left().await;

    // An archive that was there before is restored from what a kill has left.
    let (folder, store) = folder_of(&case.before).await;
    assert!(killed_child(&case, folder.path(), n_calls / 2).await);
    let repository = Repository::open(store).await.unwrap();
    let name = repository.archives().await.unwrap()[0].name.clone();
    let archive = repository.read(&name).await.unwrap();
    let target = case.server.create_database("older");
    let restored = restore_all(&archive, &settings(&target.conninfo()), 2).await;
    assert!(restored.unwrap().is_complete());
    assert_eq!(
        target.psql("SELECT count(*), min(id) FROM customer"),
        "300|1\n"
    );
}
