//! What an interrupted verification had found right, so that the next one need not read it again: a file on this machine, a line
//! for each segment or chunk. It is believed for some days only; a line that is not whole counts as none.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::archive::digest::Digest;
use crate::archive::fingerprint::Fingerprint;
use crate::archive::records::Depth;
use crate::archive::repository::Repository;

/// What was read longer ago is read again.
const BELIEVED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What is over sooner is not worth a file.
const WORTH_IT: Duration = Duration::from_secs(10);

/// Where the journal of a repository is kept.
#[derive(Debug, Clone)]
pub struct VerifyJournal {
    folder: PathBuf,
    resumes: bool,
    after: Duration,
}

impl VerifyJournal {
    /// Journals in `folder`, which is made when a verification lasts longer than ten seconds. With `resumes` what an interrupted verification of the same
    /// repository and depth found is believed, else it is forgotten.
    pub fn in_folder(folder: impl Into<PathBuf>, resumes: bool) -> VerifyJournal {
        VerifyJournal {
            folder: folder.into(),
            resumes,
            after: WORTH_IT,
        }
    }

    /// The same, written from the first moment.
    #[cfg(test)]
    pub(super) fn at_once(self) -> VerifyJournal {
        VerifyJournal {
            after: Duration::ZERO,
            ..self
        }
    }

    fn file(&self, repository: &Repository) -> PathBuf {
        // Two places may hold the same repository, one of them damaged.
        let text = format!(
            "{} {}",
            repository.marker().repository,
            repository.location()
        );
        let name = Digest::of(text.as_bytes()).to_string();
        self.folder.join(format!("verify-{}", &name[..16]))
    }

    /// Opens the journal; what was found before comes with it. A folder that cannot be written costs the journal only.
    pub(super) fn open(&self, repository: &Repository, depth: Depth) -> (Journal, Known) {
        let path = self.file(repository);
        let known = if self.resumes {
            load(&path, depth, Timestamp::now()).unwrap_or_default()
        } else {
            Known::default()
        };
        let journal = Journal(Some(Pending {
            path,
            depth,
            goes_on: !known.is_empty(),
            due: Instant::now() + self.after,
            held: String::new(),
            file: None,
        }));
        (journal, known)
    }
}

/// What was found right before.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Segments by identity, with what their rows are.
    pub(super) read: HashMap<Digest, Fingerprint>,
    /// Chunks whose stored bytes are right.
    pub(super) proved: HashSet<Digest>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.proved.is_empty()
    }
}

fn head(depth: Depth) -> String {
    format!("pgark verify 1 {depth:?}")
}

fn load(path: &Path, depth: Depth, now: Timestamp) -> Option<Known> {
    let changed = Timestamp::try_from(fs::metadata(path).ok()?.modified().ok()?).ok()?;
    if now.duration_since(changed) > BELIEVED {
        return None;
    }
    let mut lines = BufReader::new(File::open(path).ok()?).split(b'\n');
    let first = lines.next()?.ok()?;
    if first != head(depth).as_bytes() {
        return None;
    }
    let mut known = Known::default();
    for line in lines {
        let line = String::from_utf8(line.ok()?).unwrap_or_default();
        // The last line may be cut off, and even then look whole: it ends with a word.
        let Some(line) = line.strip_suffix(" ok") else {
            continue;
        };
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["segment", digest, n_rows, hex] => {
                let fingerprint = n_rows.parse().ok().and_then(|n| Fingerprint::parse(hex, n));
                if let (Ok(digest), Some(fingerprint)) = (digest.parse(), fingerprint) {
                    known.read.insert(digest, fingerprint);
                }
            }
            ["chunk", digest] => known.proved.extend(digest.parse::<Digest>()),
            _ => {}
        }
    }
    Some(known)
}

/// A file to add to, or a new one: never one that another verification is writing.
fn begin(path: &Path, depth: Depth, goes_on: bool) -> std::io::Result<File> {
    if goes_on {
        return OpenOptions::new().append(true).open(path);
    }
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    writeln!(file, "{}", head(depth))?;
    Ok(file)
}

/// A journal that is being written; `None` if nothing is noted.
#[derive(Debug)]
pub(super) struct Journal(Option<Pending>);

#[derive(Debug)]
struct Pending {
    path: PathBuf,
    depth: Depth,
    /// True if lines are added to what was found before.
    goes_on: bool,
    /// When the file is made.
    due: Instant,
    /// Lines from before that.
    held: String,
    file: Option<File>,
}

impl Journal {
    /// Nothing is noted.
    pub(super) fn none() -> Journal {
        Journal(None)
    }

    /// Notes segments that were read whole.
    pub(super) fn segments<'a>(&mut self, read: impl Iterator<Item = (&'a Digest, Fingerprint)>) {
        let lines = read.map(|(digest, read)| {
            format!("segment {digest} {} {} ok\n", read.n_rows(), read.hex())
        });
        self.write(&lines.collect::<String>());
    }

    /// Notes a chunk whose stored bytes are right.
    pub(super) fn chunk(&mut self, chunk: &Digest) {
        self.write(&format!("chunk {chunk} ok\n"));
    }

    fn write(&mut self, lines: &str) {
        if let Some(pending) = &mut self.0
            && pending.write(lines).is_err()
        {
            self.0 = None;
        }
    }

    /// The verification went to its end: there is nothing to resume.
    pub(super) fn finish(self) {
        if let Some(pending) = self.0 {
            // One that stays is believed for some days only.
            let _ = fs::remove_file(&pending.path);
        }
    }
}

impl Pending {
    fn write(&mut self, lines: &str) -> std::io::Result<()> {
        if self.file.is_none() && Instant::now() < self.due {
            self.held.push_str(lines);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(begin(&self.path, self.depth, self.goes_on)?),
        };
        // What is in the system's hands outlives a kill of this program.
        file.write_all(std::mem::take(&mut self.held).as_bytes())?;
        file.write_all(lines.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_off_counts_as_none_and_old_ones_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verify-x");
        let mut journal = Journal(Some(Pending {
            path: path.clone(),
            depth: Depth::Full,
            goes_on: false,
            due: Instant::now(),
            held: String::new(),
            file: None,
        }));
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let rows = Fingerprint::parse(&"1".repeat(32), 3).unwrap();
        journal.segments([(&one, rows)].into_iter());
        journal.chunk(&two);
        let whole = fs::read(&path).unwrap();
        let now = Timestamp::now();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let known = load(&path, Depth::Full, now).unwrap_or_default();
            assert!(known.read.get(&one).is_none_or(|read| *read == rows));
            let lines = whole[..cut].split(|byte| *byte == b'\n').count();
            assert!(
                known.read.len() + known.proved.len() < lines.max(1),
                "{cut}"
            );
            assert!(cut < whole.len() || (known.read.len(), known.proved.len()) == (1, 1));
        }
        assert!(load(&path, Depth::Bytes, now).is_none());
        let later = now + BELIEVED + SignedDuration::from_secs(5);
        assert!(load(&path, Depth::Full, later).is_none());
    }
}
