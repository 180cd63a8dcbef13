//! The connection service file: named sets of settings (manual 34.17).

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

use super::conninfo::Pair;
use super::environment::Environment;

/// The user's service file, else the system's (manual 34.17).
pub(super) fn read(
    environment: &Environment,
    file: Option<PathBuf>,
    name: &str,
) -> Result<Vec<Pair>> {
    let system_dir = environment.var("PGSYSCONFDIR").map(PathBuf::from);
    let explicit = file.is_some();
    let user_file = file.or_else(|| environment.in_home(".pg_service.conf"));
    let system_files = match system_dir {
        Some(dir) => vec![dir.join("pg_service.conf")],
        None => ["/etc/postgresql-common", "/etc/postgresql"]
            .map(|dir| Path::new(dir).join("pg_service.conf"))
            .to_vec(),
    };
    let mut looked = Vec::new();
    for (path, needed) in user_file
        .map(|path| (path, explicit))
        .into_iter()
        .chain(system_files.into_iter().map(|path| (path, false)))
    {
        looked.push(format!("\"{}\"", path.display()));
        if !environment.files.exists(&path) && !needed {
            continue;
        }
        let text = environment.files.text(&path).map_err(|problem| {
            Error::Usage(format!(
                "service file \"{}\" cannot be read: {problem}",
                path.display()
            ))
        })?;
        if let Some(pairs) = parse(&text, name, &path.display().to_string())? {
            return Ok(pairs);
        }
    }
    Err(Error::Usage(format!(
        "service {name:?} is not defined in {}",
        looked.join(", ")
    )))
}

/// The settings of `[service]` in the file's text; `None` if the file has no such section.
fn parse(text: &str, service: &str, file: &str) -> Result<Option<Vec<Pair>>> {
    let mut found = None;
    let mut inside = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            // The first section of that name counts.
            if inside {
                break;
            }
            inside = section.strip_suffix(']') == Some(service);
            if inside {
                found = Some(Vec::new());
            }
            continue;
        }
        let (true, Some(pairs)) = (inside, &mut found) else {
            continue;
        };
        if line.starts_with("ldap") {
            return Err(Error::Usage(format!(
                "service file {file}, line {number}: LDAP lookups of connection settings are not supported"
            )));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(Error::Usage(format!(
                "service file {file}, line {number}: a setting is written \"keyword=value\""
            )));
        };
        if key.trim() == "service" {
            return Err(Error::Usage(format!(
                "service file {file}, line {number}: a service cannot name another service"
            )));
        }
        pairs.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_section_is_read() {
        let text = "# c\n[a]\nhost=one\n\n[b]\nhost = two\noptions=-c x=y\n[b]\nhost=three\n[c]\nrubbish\n";
        let pairs = parse(text, "b", "f").unwrap().unwrap();
        let expected = [("host", "two"), ("options", "-c x=y")];
        assert_eq!(
            pairs,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert!(parse(text, "d", "f").unwrap().is_none());
        let problem = parse(text, "c", "f").unwrap_err().to_string();
        assert!(problem.contains("line 11"), "{problem}");
    }
}
