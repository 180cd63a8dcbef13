//! What `exec` runs: files and commands in the order in which they stand on the command line.

use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::error::{Error, Result};
use crate::toc::printable;

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Command(String),
    File(PathBuf),
    Stdin,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Command(_) => f.write_str("command"),
            Source::File(path) => f.write_str(&printable(&path.display().to_string())),
            Source::Stdin => f.write_str("standard input"),
        }
    }
}

/// The scripts in order. Derived arguments would lose the order between `-c` and `-f`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// The scripts, if there is one, and standard input at most once.
    fn check(&self) -> Result<&[Source]> {
        let n_stdin = self
            .0
            .iter()
            .filter(|source| **source == Source::Stdin)
            .count();
        match (self.0.len(), n_stdin) {
            (0, _) => Err(Error::Usage(
                "nothing to run: give a file with -f (- is standard input), or SQL with -c"
                    .to_owned(),
            )),
            (_, 2..) => Err(Error::Usage(
                "standard input can be read only once".to_owned(),
            )),
            _ => Ok(&self.0),
        }
    }

    /// All files are looked for before the first statement runs.
    pub(super) async fn find(&self) -> Result<&[Source]> {
        for source in self.check()? {
            if let Source::File(path) = source {
                let found = tokio::fs::metadata(path).await;
                found.map_err(|e| source.unreadable(&e))?;
            }
        }
        Ok(&self.0)
    }
}

impl Args for Sources {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new("file")
                    .short('f')
                    .long("file")
                    .value_name("FILE")
                    .value_parser(clap::value_parser!(PathBuf))
                    .action(ArgAction::Append)
                    .help(
                        "Run this script; - is standard input. May be repeated, also mixed with -c",
                    ),
            )
            .arg(
                Arg::new("command")
                    .short('c')
                    .long("command")
                    .value_name("SQL")
                    .action(ArgAction::Append)
                    .help("Run these statements"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sources {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let places = |id| matches.indices_of(id).into_iter().flatten();
        let files = matches.get_many::<PathBuf>("file").into_iter().flatten();
        let files = files.map(|path| match path.to_str() {
            Some("-") => Source::Stdin,
            _ => Source::File(path.clone()),
        });
        let commands = matches.get_many::<String>("command").into_iter().flatten();
        let commands = commands.map(|text| Source::Command(text.clone()));
        let mut all: Vec<(usize, Source)> = places("file").zip(files).collect();
        all.extend(places("command").zip(commands));
        all.sort_by_key(|(place, _)| *place);
        Ok(Sources(all.into_iter().map(|(_, source)| source).collect()))
    }

    fn update_from_arg_matches(
        &mut self,
        matches: &ArgMatches,
    ) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_keep_their_order() {
        let command = Sources::augment_args(Command::new("exec"));
        let line = ["exec", "-c", "a", "-f", "b.sql", "--command=c", "-f-"];
        let matches = command.try_get_matches_from(line).unwrap();
        let sources = Sources::from_arg_matches(&matches).unwrap();
        let expected = [
            Source::Command("a".into()),
            Source::File("b.sql".into()),
            Source::Command("c".into()),
            Source::Stdin,
        ];
        assert_eq!(sources.check().unwrap(), expected);
        assert!(Sources::default().check().is_err());
        assert!(Sources(vec![Source::Stdin, Source::Stdin]).check().is_err());
    }
}
