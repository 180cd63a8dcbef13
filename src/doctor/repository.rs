//! The repository: whether it can be written, whether its marker is right, whether a dump fits into a folder, and whether a
//! bucket keeps what is asked of a store.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Check, chain, size};
use crate::archive::lease::{LeaseKind, LeaseTerms};
use crate::archive::marker::random_id;
use crate::archive::sealed;
use crate::archive::{Repository, Unlock};
use crate::config::Place;
use crate::error::{Error, Result};
use crate::pg::Environment;
use crate::progress::Silent;
use crate::store::{self, At, Key, LocalStore, Opening, Put, Room, Store};

/// Services refuse requests of a clock that is a quarter of an hour wrong; leases get shorter long before.
const CLOCK_OFF_MS: u64 = 60_000;

/// Looks at the place; `bytes_to_save` are the source's tables and TOAST, if they are known.
pub(super) async fn look(
    place: &Place,
    environment: &Environment,
    bytes_to_save: Option<u64>,
    checks: &mut Vec<Check>,
) {
    match At::parse(&place.place) {
        Ok(At::Folder(folder)) => {
            look_at_folder(&folder, (place, environment), bytes_to_save, checks).await;
        }
        Ok(At::S3 | At::Untested(_)) => look_at_bucket(place, environment, checks).await,
        Err(error) => checks.push(failed("repository", &error)),
    }
}

fn failed(check: &'static str, error: &Error) -> Check {
    let remedy = error
        .remedy()
        .unwrap_or("give another place with --repo")
        .to_owned();
    Check::problem(check, chain(error), remedy)
}

async fn look_at_folder(
    folder: &Path,
    of: (&Place, &Environment),
    bytes_to_save: Option<u64>,
    checks: &mut Vec<Check>,
) {
    let room = match Room::look(folder).await {
        Ok(room) => room,
        Err(error) => return checks.push(failed("repository", &error)),
    };
    checks.push(writable(&room));
    if room.exists {
        let looked = async {
            let store: Arc<dyn Store> = Arc::new(LocalStore::open(folder).await?);
            marker(store, of).await
        };
        checks.push(
            looked
                .await
                .unwrap_or_else(|error| failed("marker", &error)),
        );
    }
    if let (Some(free), Some(needed)) = (room.free_bytes, bytes_to_save) {
        checks.push(fits(free, needed));
    }
}

async fn look_at_bucket(place: &Place, environment: &Environment, checks: &mut Vec<Check>) {
    let variable = |name: &str| environment.variable(name);
    let store = match store::open(place, Opening::Existing, &variable, Arc::new(Silent)).await {
        Ok(store) => store,
        Err(error) => return checks.push(failed("repository", &error)),
    };
    match probe(&store).await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(failed("repository", &error)),
    }
    let marker = marker(store, (place, environment)).await;
    checks.push(marker.unwrap_or_else(|error| failed("marker", &error)));
}

/// Writes a lease of a minute that protects nothing, reads it, tries to write it again, and removes it.
async fn probe(store: &Arc<dyn Store>) -> Result<Vec<Check>> {
    let id = random_id();
    let key = Key::new(format!("leases/{id}.json"));
    let terms = LeaseTerms {
        id,
        kind: LeaseKind::default(),
        purpose: "a look of the doctor".to_owned(),
        archives: Vec::new(),
        lasts_ms: 60_000,
        since_ms: None,
    };
    let (bytes, _) = sealed::seal(&terms);
    let before = Timestamp::now();
    store.put_new(&key, bytes.clone()).await?;
    let after = Timestamp::now();
    let looked = async {
        let written = store.head(&key).await?;
        let again = store.put_new(&key, bytes.clone()).await?;
        Ok::<_, Error>((store.get(&key).await?, written, again))
    };
    let looked = looked.await;
    store.delete(&key).await?;
    let (read, written, again) = looked?;
    let location = store.location();
    let mut checks = vec![if read.as_ref() == Some(&bytes) {
        let text = format!("{location} can be listed, written, read and deleted from");
        Check::ok("repository", text)
    } else {
        let text = format!("{location} does not give back what was written there");
        Check::problem("repository", text, "give another place with --repo")
    }];
    if again == Put::Stored {
        checks.push(Check::problem(
            "overwriting",
            format!("{location} overwrites what is there although it was asked not to"),
            "use a service with conditional writes (If-None-Match): without them two dumps may destroy each other's archives",
        ));
    }
    let written_ms = written.map(|stored| stored.written_ms);
    checks.extend(written_ms.map(|at| clock(at, before.as_millisecond()..after.as_millisecond())));
    Ok(checks)
}

/// Judges the store's time of a put that was made within `ours`.
fn clock(written_ms: i64, ours: std::ops::Range<i64>) -> Check {
    let nearest = written_ms.clamp(ours.start, ours.end);
    let off_ms = written_ms.abs_diff(nearest);
    let text = format!(
        "the store's clock and this machine's differ by {} s",
        off_ms / 1000
    );
    if off_ms < CLOCK_OFF_MS {
        return Check::ok("store_clock", text);
    }
    let remedy =
        "set this machine's clock right, best by NTP: services refuse requests of a wrong one";
    Check::warning("store_clock", text, remedy)
}

fn writable(room: &Room) -> Check {
    let folder = room.folder.display();
    if let Some(obstacle) = &room.obstacle {
        let text = format!("{folder} cannot be written: {obstacle}");
        let remedy = "let this user write there, or give another folder with --repo";
        return Check::problem("repository", text, remedy);
    }
    Check::ok(
        "repository",
        if room.exists {
            format!("{folder} can be written")
        } else {
            format!("it is not there yet; a dump makes it below {folder}, which can be written")
        },
    )
}

/// Also whether it opens: a job that cannot ask anybody fails otherwise.
async fn marker(store: Arc<dyn Store>, of: (&Place, &Environment)) -> Result<Check> {
    let (place, environment) = of;
    let unlock = Unlock::of(place, |name| environment.variable(name))?;
    let is_new = store.list("archives").await?.is_empty() && store.list("chunks").await?.is_empty();
    match Repository::open(store).await {
        Err(Error::NotFound { .. }) if is_new => Ok(Check::ok(
            "marker",
            "it is no repository yet; a dump makes it one",
        )),
        opened => {
            let repository = opened?.unlock(&unlock).await?;
            repository.require_key()?;
            let n_archives = repository.archives().await?.len();
            let sealed = if repository.is_encrypted() {
                ", and the passphrase opens it"
            } else {
                ""
            };
            let text = format!("the marker is right{sealed}; archives: {n_archives}");
            Ok(Check::ok("marker", text))
        }
    }
}

/// Rows as compressed text take about as much as half their pages, seldom all of them, often a fifth.
fn fits(free: u64, needed: u64) -> Check {
    let text = format!(
        "{} are free, and tables and TOAST are {} before compression",
        size(free),
        size(needed)
    );
    let remedy = "free some space, or give a folder on a larger disk; rows that did not change since the last dump take none";
    if free >= needed {
        Check::ok("room", text)
    } else if free >= needed / 5 {
        Check::warning("room", text, remedy)
    } else {
        Check::problem("room", text, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn room_is_judged_by_what_compression_may_leave() {
        for (free, level) in [(100, Level::Ok), (50, Level::Warning), (19, Level::Problem)] {
            assert_eq!(fits(free, 100).level, level);
        }
    }

    #[test]
    fn a_clock_may_lie_within_the_put() {
        assert_eq!(clock(1500, 1000..2000).level, Level::Ok);
        assert_eq!(clock(0, 30_000..31_000).level, Level::Ok);
        let wrong = clock(0, 600_000..601_000);
        assert!(wrong.level == Level::Warning && wrong.found.contains("600 s"));
    }
}
