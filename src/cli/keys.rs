//! `pgark keys`: the passphrases that open an encrypted repository. Slots come and go; nothing else of the repository is written.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::output::columns;
use super::{Context, exit::Outcome, human, passphrase, place};
use crate::archive::{KdfCost, KeySlot, ListedSlot, Repository};
use crate::error::{Error, Result};
use crate::toc::printable;

/// Lists, adds and removes the keys of an encrypted repository
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark keys list                              who can open ./backups
  pgark keys add --label 'recovery, in the safe'
                                               asks for a passphrase that opens it, then for the new one
  pgark keys add --passphrase-file old --new-passphrase-file new
  pgark keys remove 5f3a                       the key slot whose id begins so

To change a passphrase, add the new one, then remove the slot of the old one: no archive is written anew. Whoever had a copy of the \
old slot and its passphrase has the repository's key for ever; then only a new repository helps.")]
pub(crate) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    List(ListKeys),
    Add(AddKey),
    Remove(RemoveKey),
}

/// Lists the key slots; no passphrase is needed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark keys list -r /mnt/backups
  pgark keys list --json | jq -r '.[].id'")]
struct ListKeys {}

/// Adds a passphrase that opens the repository
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark keys add --label 'the new one'
  pgark keys add --passphrase-file old --new-passphrase-file new")]
struct AddKey {
    /// Read the new passphrase from this file, whose last newline does not count [default: ask for it]
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// What to call it in lists; anybody who can read the repository can read it
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
}

/// Removes a key slot; never the last one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark keys remove 5f3a
  pgark keys remove 5f3a --yes --passphrase-file new")]
struct RemoveKey {
    /// The slot's id, or a unique beginning of it
    id: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A slot, as `--json` gives it. The fields are API.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    label: Option<&'a str>,
    created: Option<Timestamp>,
    algorithm: Option<&'a str>,
    memory_kib: Option<u32>,
    passes: Option<u32>,
    lanes: Option<u32>,
    problem: Option<&'a str>,
}

impl Keys {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        match &self.what {
            What::List(_) => list(cx).await,
            What::Add(add) => add.run(cx).await,
            What::Remove(remove) => remove.run(cx).await,
        }
    }
}

async fn list(cx: &Context) -> Result<Outcome> {
    let repository = place::open_without_key(cx).await?;
    let slots = repository.key_slots().await?;
    let is_damaged = slots.iter().any(|slot| slot.slot.is_err());
    if cx.common.json {
        let shown: Vec<Shown<'_>> = slots.iter().map(shown).collect();
        cx.output.json(&shown)?;
    } else if !repository.is_encrypted() {
        let location = repository.location();
        cx.output
            .line(format!("{location} is not encrypted, and has no keys"))?;
    } else {
        let rows: Vec<Vec<String>> = slots.iter().map(row).collect();
        let head = ["KEY", "ADDED", "COST", "LABEL"];
        cx.output.line(columns(&head, &rows, &[false; 4]))?;
    }
    Ok(if is_damaged {
        Outcome::Damaged
    } else {
        Outcome::Done
    })
}

fn id_of(listed: &ListedSlot) -> &str {
    listed.key.name().trim_end_matches(".json")
}

fn shown(listed: &ListedSlot) -> Shown<'_> {
    let slot = listed.slot.as_ref().ok();
    Shown {
        id: id_of(listed),
        label: slot.map(|slot| slot.label.as_str()),
        created: slot.map(|slot| slot.created),
        algorithm: slot.map(|slot| slot.kdf.algorithm.as_str()),
        memory_kib: slot.map(|slot| slot.kdf.memory_kib),
        passes: slot.map(|slot| slot.kdf.passes),
        lanes: slot.map(|slot| slot.kdf.lanes),
        problem: listed.slot.as_ref().err().map(String::as_str),
    }
}

fn row(listed: &ListedSlot) -> Vec<String> {
    let id = id_of(listed).to_owned();
    match &listed.slot {
        Err(problem) => vec![
            id,
            "?".to_owned(),
            "?".to_owned(),
            format!("DAMAGED: {problem}"),
        ],
        Ok(slot) => vec![
            id,
            human::time(slot.created),
            cost(slot),
            printable(&slot.label),
        ],
    }
}

/// `argon2id, 64 MiB, passes: 3`
fn cost(slot: &KeySlot) -> String {
    format!(
        "{}, {}, passes: {}",
        printable(&slot.kdf.algorithm),
        human::bytes(u64::from(slot.kdf.memory_kib) << 10),
        slot.kdf.passes,
    )
}

impl AddKey {
    async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open_to_change(cx).await?;
        must_be_encrypted(&repository)?;
        let new = match &self.new_passphrase_file {
            Some(file) => passphrase::of_file(file)?,
            None => passphrase::ask_twice(&repository.location())?,
        };
        let cost = KdfCost::default();
        let slot = repository.add_key_slot(&new, &self.label, cost).await?;
        if cx.common.json {
            let key = slot.key();
            let slot = Ok(slot);
            cx.output.json(&shown(&ListedSlot { key, slot }))?;
        } else {
            let location = repository.location();
            cx.output
                .line(format!("key {} opens {location} from now on", slot.id))?;
        }
        Ok(Outcome::Done)
    }
}

impl RemoveKey {
    async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open_to_change(cx).await?;
        must_be_encrypted(&repository)?;
        if !self.yes {
            confirm(&self.id)?;
        }
        let removed = repository.remove_key_slot(&self.id).await?;
        if cx.common.json {
            cx.output.json(&serde_json::json!({ "removed": removed }))?;
        } else {
            let location = repository.location();
            cx.output
                .line(format!("key {removed} no longer opens {location}"))?;
        }
        Ok(Outcome::Done)
    }
}

fn must_be_encrypted(repository: &Repository) -> Result<()> {
    if repository.is_encrypted() {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "repository {} is not encrypted, and has no keys; `pgark dump --encrypt` makes a new one that is",
        repository.location()
    )))
}

fn confirm(id: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "a key would be removed, and there is no terminal to ask on: say --yes".to_owned(),
        ));
    }
    // There is nobody to tell if this fails.
    let _ = write!(
        io::stderr().lock(),
        "Remove key {}? Its passphrase will open nothing any more. [y/N] ",
        printable(id)
    );
    let _ = io::stderr().flush();
    let mut typed = String::new();
    io::stdin()
        .read_line(&mut typed)
        .map_err(|problem| Error::failed("the question", problem, "say --yes"))?;
    if matches!(typed.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Error::failed("not confirmed", "nothing was changed", ""))
}
