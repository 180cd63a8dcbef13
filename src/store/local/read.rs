//! Reading a repository's files, in which there may be anything.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

use crate::store::OBJECT_BYTES_MAX;

/// Looks before it opens: a pipe that somebody put there would never open, and a device may never end.
fn open_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("is no ordinary file"))
    }
}

/// The file's bytes; its size if that is more than an object may have.
pub(super) fn read_bounded(path: &Path) -> io::Result<Result<Bytes, u64>> {
    let file = open_file(path)?;
    let n_bytes = file.metadata()?.len();
    if n_bytes > OBJECT_BYTES_MAX {
        return Ok(Err(n_bytes));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(n_bytes).unwrap_or(0));
    // It may grow meanwhile.
    file.take(OBJECT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let n_bytes = bytes.len() as u64;
    Ok(if n_bytes > OBJECT_BYTES_MAX {
        Err(n_bytes)
    } else {
        Ok(bytes.into())
    })
}

/// The bytes of a range, cut off at the file's end.
pub(super) fn read_range(path: &Path, range: &Range<u64>) -> io::Result<Bytes> {
    let mut file = open_file(path)?;
    let end = range.end.min(file.metadata()?.len());
    let n_bytes = end.saturating_sub(range.start);
    let mut bytes = Vec::with_capacity(usize::try_from(n_bytes).unwrap_or(0));
    file.seek(SeekFrom::Start(range.start.min(end)))?;
    file.take(n_bytes).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
