//! `pgark init`: a configuration, by asking a few questions on a terminal, or an example with every setting.

mod answers;
mod dialogue;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use super::{Context, exit::Outcome};
use crate::config::Config;
use crate::error::{Error, Result};
use dialogue::Dialogue;

/// Every setting, with what it means.
const EXAMPLE: &str = include_str!("example.toml");

/// Makes a configuration: asks a few questions, or prints an annotated example
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark init                       asks what is saved, where to, when and how long, and writes pgark.toml
  pgark --config /etc/pgark/pgark.toml init
                                   the same elsewhere
  pgark init --example             prints every setting, with comments
  pgark init --example > pgark.toml

A file that is there is not overwritten without a question. No password is asked for: the answers say where it lies.")]
pub(crate) struct Init {
    /// Print an example with every setting, and ask nothing
    #[arg(long)]
    example: bool,
}

impl Init {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        if self.example {
            cx.output.write(EXAMPLE.as_bytes())?;
            return Ok(Outcome::Done);
        }
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if !is_terminal || cx.common.json {
            return Err(Error::Usage(
                "init asks questions, and needs a terminal for them; `pgark init --example` prints an example to start from"
                    .to_owned(),
            ));
        }
        let file = cx.common.config.clone();
        let file = file.unwrap_or_else(|| PathBuf::from("pgark.toml"));
        // Answers are awaited on a thread of their own, so that a signal ends the program meanwhile.
        let asked = tokio::task::spawn_blocking({
            let file = file.clone();
            move || ask(&file)
        });
        let asked = asked
            .await
            .map_err(|e| Error::failed("the questions", e, "try again"))??;
        let Some(text) = asked else {
            cx.output
                .line(format!("{} stays as it is", file.display()))?;
            return Ok(Outcome::Done);
        };
        Config::parse(&text, &file.display().to_string())?;
        write(&file, &text).await?;
        cx.output.line(format!("wrote {}", file.display()))?;
        let named = match &cx.common.config {
            Some(file) => format!(" --config {}", file.display()),
            None => String::new(),
        };
        for (command, why) in [
            ("config check --connect", "proves that all of it is there"),
            ("run", "makes the first archive"),
            ("schedule", "prints what starts it at its times"),
        ] {
            cx.output.line(format!("  pgark{named} {command}: {why}"))?;
        }
        Ok(Outcome::Done)
    }
}

/// The file's text; `None` if what is there shall stay.
#[allow(
    clippy::disallowed_methods,
    reason = "on a thread of its own, and nothing else is being done"
)]
fn ask(file: &Path) -> Result<Option<String>> {
    let mut dialogue = Dialogue::on_terminal();
    if file.exists() {
        let question = format!(
            "{} is there already. Overwrite it? (yes or no)",
            file.display()
        );
        if !dialogue.yes(&question)? {
            return Ok(None);
        }
    }
    answers::ask(&mut dialogue).map(|answers| Some(answers.text()))
}

/// Writes beside the file and renames, so that it is there whole or not at all.
async fn write(file: &Path, text: &str) -> Result<()> {
    let failed = |problem: std::io::Error| {
        Error::failed(
            file.display(),
            format_args!("cannot be written: {problem}"),
            "give another place with --config",
        )
    };
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    tokio::fs::write(&beside, text).await.map_err(failed)?;
    tokio::fs::rename(&beside, file).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The settings of a table, as the reader names them when it meets one that it does not know.
    fn settings(before: &str) -> BTreeSet<String> {
        let text = format!("{before}\nzzz = 1\n");
        let error = Config::parse(&text, "x").unwrap_err().to_string();
        let (_, listed) = error
            .split_once("expected one of ")
            .or_else(|| error.split_once("expected "))
            .unwrap_or_else(|| panic!("{before}: {error}"));
        let names = listed.split('`').skip(1).step_by(2);
        names.map(str::to_owned).collect()
    }

    /// The settings that the example gives at `path`, in any of the tables there.
    fn given(value: &toml::Value, path: &[&str]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        match (value, path) {
            (toml::Value::Array(all), _) => {
                names.extend(all.iter().flat_map(|one| given(one, path)));
            }
            (toml::Value::Table(table), []) => names.extend(table.keys().cloned()),
            (toml::Value::Table(table), [first, rest @ ..]) => {
                names.extend(
                    table
                        .get(*first)
                        .into_iter()
                        .flat_map(|one| given(one, rest)),
                );
            }
            _ => {}
        }
        names
    }

    #[test]
    fn the_example_is_right_and_has_every_setting() {
        Config::parse(EXAMPLE, "example.toml").unwrap();
        let example: toml::Value = toml::from_str(EXAMPLE).unwrap();
        let job = "[[job]]\nname = \"x\"\nsource = \"x\"\nrepository = \"x\"\n";
        let places: [(&[&str], String); 12] = [
            (&[], String::new()),
            (&["repository"], "[[repository]]".to_owned()),
            (
                &["repository", "object_lock"],
                "[[repository]]\n[repository.object_lock]".to_owned(),
            ),
            (&["notify"], "[[notify]]".to_owned()),
            (&["job"], job.to_owned()),
            (&["job", "select"], format!("{job}[job.select]")),
            (&["job", "keep"], format!("{job}[job.keep]")),
            (&["job", "hooks"], format!("{job}[job.hooks]")),
            (&["job", "trend"], format!("{job}[job.trend]")),
            (&["job", "replica"], format!("{job}[[job.replica]]")),
            (&["job", "drill"], format!("{job}[job.drill]")),
            (
                &["job", "drill", "check"],
                format!("{job}[job.drill]\n[[job.drill.check]]"),
            ),
        ];
        for (path, before) in places {
            let expected = settings(&before);
            assert!(expected.len() > 1, "{path:?}: {expected:?}");
            let given = given(&example, path);
            let missing: Vec<&String> = expected.difference(&given).collect();
            assert!(
                missing.is_empty(),
                "{path:?}: the example lacks {missing:?}"
            );
        }
    }

    #[test]
    fn every_setting_of_the_example_has_a_comment_above_or_in_its_group() {
        let mut commented = false;
        for line in EXAMPLE.lines().map(str::trim) {
            commented = (commented && !line.is_empty()) || line.starts_with('#');
            // What these are is said by the first of their kind.
            let known = ["name = ", "place = ", "kind = ", "url = ", "[["];
            let speaks = line.is_empty() || known.iter().any(|word| line.starts_with(word));
            assert!(commented || speaks, "{line:?} has no comment");
        }
    }
}
