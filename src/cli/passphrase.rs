//! Passphrases from the terminal and from files. What is typed is never shown.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use crate::archive::Passphrase;
use crate::archive::crypt::PASSPHRASE_VARIABLE;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::toc::printable;

/// Asks for the passphrase of the repository at `location`; `None` without a terminal, or if nothing is typed.
pub(crate) fn ask(location: &str) -> Result<Option<Passphrase>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let typed = prompt(&format!("Passphrase of {}: ", printable(location)))?;
    Some(typed)
        .filter(|text| !text.is_empty())
        .map(Passphrase::new)
        .transpose()
}

/// Asks for a new passphrase, and for the same again.
pub(crate) fn ask_twice(location: &str) -> Result<Passphrase> {
    if !io::stdin().is_terminal() {
        return Err(Error::Key {
            what: format!(
                "a new passphrase for {location} is wanted, and there is no terminal to ask on"
            ),
            remedy: format!(
                "give a file: --passphrase-file or {PASSPHRASE_VARIABLE} for a new repository, --new-passphrase-file for another key"
            ),
        });
    }
    let first = prompt(&format!("New passphrase of {}: ", printable(location)))?;
    let first = Passphrase::new(first)?;
    let again = prompt("The same again: ")?;
    if Passphrase::new(again).is_ok_and(|again| again == first) {
        return Ok(first);
    }
    Err(Error::failed(
        "the two passphrases differ",
        "nothing was changed",
        "",
    ))
}

/// Reads a passphrase from a file, whose last newline does not count.
pub(crate) fn of_file(file: &Path) -> Result<Passphrase> {
    Passphrase::read(&Secret::File(file.to_owned()), |_| None)
}

fn prompt(text: &str) -> Result<String> {
    rpassword::prompt_password(text).map_err(|problem| {
        Error::failed(
            "passphrase",
            format_args!("it cannot be asked for: {problem}"),
            format_args!("give --passphrase-file or {PASSPHRASE_VARIABLE}"),
        )
    })
}
