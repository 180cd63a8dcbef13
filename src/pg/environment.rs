//! What connection settings may come from besides the command line: variables, the user, files. Injected, so that resolving is pure.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the small files that settings come from.
pub trait Files: Send + Sync {
    /// The file's text; bytes that are not UTF-8 are replaced.
    fn text(&self, path: &Path) -> io::Result<String>;
    /// True if group or others may access the file.
    fn is_shared(&self, path: &Path) -> bool;
    /// True if something, also a socket, is there.
    fn exists(&self, path: &Path) -> bool;
}

/// Variables, user and files of a process, or of a test.
#[derive(Clone)]
pub struct Environment {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// The operating system's name of the user: the default database user.
    pub user: Option<String>,
    /// The file system.
    pub files: Arc<dyn Files>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = std::env::home_dir().filter(|path| !path.as_os_str().is_empty());
        let user = effective_user().or_else(|| {
            let named = |name: &str| vars.get(name).filter(|value| !value.is_empty()).cloned();
            named("USER").or_else(|| named("LOGNAME"))
        });
        Environment {
            vars,
            home,
            user,
            files: Arc::new(Disk),
        }
    }

    /// A variable's value; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.var(name).map(str::to_owned)
    }

    /// A variable's value; an empty one counts as unset, as in libpq.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A path below the home directory.
    pub(super) fn in_home(&self, name: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(name))
    }
}

impl fmt::Debug for Environment {
    /// Leaves out the variables: one of them may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("home", &self.home)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The real file system.
#[derive(Debug, Clone, Copy)]
struct Disk;

impl Files for Disk {
    fn text(&self, path: &Path) -> io::Result<String> {
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn is_shared(&self, path: &Path) -> bool {
        std::fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// The name of the effective user as libpq takes it: `$USER` stays that of the caller under `runuser` and some `sudo`.
fn effective_user() -> Option<String> {
    let uid = std::fs::metadata("/proc/self").ok()?.uid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
pub(super) mod fake {
    //! An environment made of literals.

    use super::{Environment, Files};
    use std::collections::{BTreeMap, BTreeSet};
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    #[derive(Default)]
    struct Table {
        texts: BTreeMap<PathBuf, String>,
        shared: BTreeSet<PathBuf>,
    }

    impl Files for Table {
        fn text(&self, path: &Path) -> io::Result<String> {
            let text = self.texts.get(path).cloned();
            text.ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        fn is_shared(&self, path: &Path) -> bool {
            self.shared.contains(path)
        }
        fn exists(&self, path: &Path) -> bool {
            self.texts.contains_key(path)
        }
    }

    /// User `me` with home `/home/me`; a file whose path ends with `!` is readable by others.
    pub(crate) fn environment(vars: &[(&str, &str)], files: &[(&str, &str)]) -> Environment {
        let mut table = Table::default();
        for (path, text) in files {
            let name = PathBuf::from(path.trim_end_matches('!'));
            if path.ends_with('!') {
                table.shared.insert(name.clone());
            }
            table.texts.insert(name, (*text).to_owned());
        }
        Environment {
            vars: vars
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            home: Some(PathBuf::from("/home/me")),
            user: Some("me".to_owned()),
            files: Arc::new(table),
        }
    }
}
