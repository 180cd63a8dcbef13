//! Where a document is written to. A file appears under its name only when it is complete.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::cli::output::Output;
use crate::error::{Error, Result};

/// Who may read the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Only its owner: it holds rows or password hashes.
    Owner,
    /// Whoever the umask leaves.
    Umask,
}

/// Standard output or a file.
pub(crate) enum Target<'a> {
    Stdout(&'a Output),
    File(BufWriter<NamedTempFile>, PathBuf),
}

impl<'a> Target<'a> {
    pub(crate) fn open(
        path: Option<&Path>,
        readers: Readers,
        output: &'a Output,
    ) -> Result<Target<'a>> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Target::Stdout(output));
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mut like = tempfile::Builder::new();
        #[cfg(unix)]
        if readers == Readers::Umask {
            like.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        }
        let file = like.tempfile_in(folder).map_err(|e| unwritable(path, &e))?;
        let file = BufWriter::with_capacity(256 * 1024, file);
        Ok(Target::File(file, path.to_owned()))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Target::Stdout(output) => output.write(bytes),
            Target::File(file, path) => file.write_all(bytes).map_err(|e| unwritable(path, &e)),
        }
    }

    /// True if nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Target::Stdout(output) if output.is_closed())
    }

    pub(crate) fn finish(self) -> Result<()> {
        let (file, path) = match self {
            Target::Stdout(output) => return output.flush(),
            Target::File(file, path) => (file, path),
        };
        let file = file
            .into_inner()
            .map_err(|e| unwritable(&path, e.error()))?;
        file.as_file()
            .sync_all()
            .map_err(|e| unwritable(&path, &e))?;
        let kept = file.persist(&path);
        kept.map(drop).map_err(|e| unwritable(&path, &e.error))
    }
}

fn unwritable(path: &Path, problem: &std::io::Error) -> Error {
    let path = crate::toc::printable(&path.display().to_string());
    Error::failed(
        format_args!("file {path}"),
        problem,
        "write where there is room and permission",
    )
}
