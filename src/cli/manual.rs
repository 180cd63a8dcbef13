//! `pgark man`: the manual pages, made from the command line's own definition.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use roff::{Roff, roman};

use super::target::{Readers, Target};
use super::{Cli, Context, exit::Outcome, human};
use crate::error::{Error, Result};

/// Writes the manual pages, one for each verb
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  pgark man                          the page of pgark itself, on standard output
  pgark man /usr/local/share/man/man1"
)]
pub(crate) struct Man {
    /// The folder to write them to; it is made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, cx: &Context) -> Result<Outcome> {
        let mut pgark = Cli::command();
        // Only now the verbs know the options that all of them share.
        pgark.build();
        let Some(folder) = &self.folder else {
            cx.output.write(&page(&pgark, "pgark")?)?;
            return Ok(Outcome::Done);
        };
        let unwritable = |problem| {
            let remedy = "give a folder where files may be written";
            Error::failed(format_args!("folder {}", folder.display()), problem, remedy)
        };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let mut n_pages = 1;
        write(folder, "pgark", &pgark, cx)?;
        for verb in pgark.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            write(folder, &format!("pgark-{}", verb.get_name()), verb, cx)?;
            n_pages += 1;
        }
        cx.output.line(format!(
            "{} in {}",
            human::things(n_pages, "page"),
            folder.display()
        ))?;
        Ok(Outcome::Done)
    }
}

fn write(folder: &Path, name: &str, command: &clap::Command, cx: &Context) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    let mut target = Target::open(Some(&path), Readers::Umask, &cx.output)?;
    target.write(&page(command, name)?)?;
    target.finish()
}

/// The page of `command`. What stands after its options is laid out here, so that examples keep their lines.
fn page(command: &clap::Command, name: &str) -> Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let man = clap_mangen::Man::new(command.clone())
        .title(name)
        .source(format!("pgark {version}"))
        .manual("pgark");
    let mut text = Vec::new();
    man.render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| {
            if command.has_subcommands() {
                man.render_subcommands_section(&mut text)?;
            }
            after(command, name).to_writer(&mut text)
        })
        .map_err(|e| Error::failed(format_args!("manual page {name}"), e, "try again"))?;
    Ok(text)
}

/// Examples with their lines kept, paragraphs filled, and where to read on.
fn after(command: &clap::Command, name: &str) -> Roff {
    let mut roff = Roff::new();
    let text = command.get_after_help().map(ToString::to_string);
    let mut is_literal = false;
    for line in text.unwrap_or_default().lines() {
        let literal = line.starts_with("  ");
        if literal != is_literal {
            roff.control(if literal { "nf" } else { "fi" }, []);
            is_literal = literal;
        }
        match line {
            "Examples:" => roff.control("SH", ["EXAMPLES"]),
            "" => roff.control("PP", []),
            line => roff.text([roman(line)]),
        };
    }
    if is_literal {
        roff.control("fi", []);
    }
    let other = if name == "pgark" {
        "Each verb has a page of its own, such as pgark-dump(1); exit codes and file formats are in the documentation of the project."
    } else {
        "pgark(1)"
    };
    roff.control("SH", ["SEE ALSO"]).text([roman(other)]);
    roff
}
