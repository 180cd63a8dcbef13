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
