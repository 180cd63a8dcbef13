//! How much room there is for a repository's folder, and whether it can be written. Asks the file system, keeps nothing there.

use std::io;
use std::path::{Path, PathBuf};

use super::store_error;
use crate::error::Result;

/// What the file system says of a folder that is there, or is still to be made.
#[derive(Debug)]
pub struct Room {
    /// The folder, or the nearest one above it that exists.
    pub folder: PathBuf,
    /// True if the folder itself exists.
    pub exists: bool,
    /// Bytes that this user may still write; `None` where the system does not tell.
    pub free_bytes: Option<u64>,
    /// Why nothing can be written, if so.
    pub obstacle: Option<io::Error>,
}

impl Room {
    /// Looks at the folder `path`. A file without a name is made and gone again.
    pub async fn look(path: impl Into<PathBuf>) -> Result<Room> {
        let path = path.into();
        let place = path.display().to_string();
        let looked = tokio::task::spawn_blocking(move || look_now(&path)).await;
        let looked = looked.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        looked.map_err(store_error(place, "look at"))
    }
}

fn look_now(path: &Path) -> io::Result<Room> {
    let path = std::path::absolute(path)?;
    let mut above = path.ancestors();
    let folder = above
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    Ok(Room {
        exists: folder == path,
        free_bytes: free_bytes(folder)?,
        obstacle: tempfile::tempfile_in(folder).err(),
        folder: folder.to_owned(),
    })
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> io::Result<Option<u64>> {
    let room = rustix::fs::statvfs(folder)?;
    Ok(Some(room.f_bavail.saturating_mul(room.f_frsize)))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_is_not_there_yet_has_the_room_of_the_one_above() {
        let dir = tempfile::tempdir().unwrap();
        let there = Room::look(dir.path()).await.unwrap();
        assert!(there.exists && there.obstacle.is_none());
        let missing = Room::look(dir.path().join("a/b")).await.unwrap();
        assert!(!missing.exists && missing.folder == dir.path());
        assert!(missing.free_bytes.unwrap() > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
