//! The repository's folder: whether it can be written, whether its marker is right, whether a dump fits.

use std::path::Path;
use std::sync::Arc;

use super::{Check, chain, size};
use crate::archive::Repository;
use crate::error::Result;
use crate::store::{LocalStore, Room, Store};

/// Looks at the folder; `bytes_to_save` are the source's tables and TOAST, if they are known.
pub(super) async fn look(folder: &Path, bytes_to_save: Option<u64>, checks: &mut Vec<Check>) {
    let room = match Room::look(folder).await {
        Ok(room) => room,
        Err(error) => {
            let remedy = "give another folder with --repo";
            return checks.push(Check::problem("repository", chain(&error), remedy));
        }
    };
    checks.push(writable(&room));
    if room.exists {
        checks.push(match marker(folder).await {
            Ok(check) => check,
            Err(error) => Check::problem(
                "marker",
                chain(&error),
                error
                    .remedy()
                    .unwrap_or("dump into another folder")
                    .to_owned(),
            ),
        });
    }
    if let (Some(free), Some(needed)) = (room.free_bytes, bytes_to_save) {
        checks.push(fits(free, needed));
    }
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

async fn marker(folder: &Path) -> Result<Check> {
    let store: Arc<dyn Store> = Arc::new(LocalStore::open(folder).await?);
    let is_new = store.list("archives").await?.is_empty() && store.list("chunks").await?.is_empty();
    match Repository::open(store).await {
        Err(crate::Error::NotFound { .. }) if is_new => Ok(Check::ok(
            "marker",
            "the folder is no repository yet; a dump makes it one",
        )),
        opened => {
            let n_archives = opened?.archives().await?.len();
            let text = format!("the marker is right; archives: {n_archives}");
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
}
