//! Small files that others read while they are replaced: whole before or whole after, never in between.

use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// Puts `text` in place of what is at `path`, with the permissions `mode`. The folder must be there.
pub async fn replace(path: &Path, text: String, mode: u32) -> Result<()> {
    let there = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write(&there, &text, mode)).await;
    let written = written.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    written.map_err(|problem| {
        Error::failed(
            format_args!("file {}", path.display()),
            format_args!("cannot be written: {problem}"),
            "give a file in a folder that is there and may be written to",
        )
    })
}

/// The temporary file's name begins with a dot and has no extension, so that nobody takes it for the file itself.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".pgark-")
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    let permissions = std::fs::Permissions::from_mode(mode);
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_is_replaced_whole_with_its_permissions_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgark.prom");
        for (text, mode) in [("first, and longer", 0o600), ("second", 0o644), ("", 0o600)] {
            // Who has the old one open goes on reading it.
            let old = std::fs::File::open(&path).ok();
            let before = std::fs::read_to_string(&path).ok();
            replace(&path, text.to_owned(), mode).await.unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let found = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode);
            let still = old.map(|file| std::io::read_to_string(file).unwrap());
            assert_eq!(still, before);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_replaced_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("none/pgark.prom");
        let problem = replace(&nowhere, "x".to_owned(), 0o644).await.unwrap_err();
        assert!(problem.to_string().contains("none/pgark.prom"), "{problem}");
        // A folder of that name is not replaced, and what was written for it is taken away.
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("kept"), "y").unwrap();
        assert!(replace(&taken, "x".to_owned(), 0o644).await.is_err());
        assert_eq!(std::fs::read_to_string(taken.join("kept")).unwrap(), "y");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
