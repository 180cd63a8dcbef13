//! `pgark completions`: a shell's completions, made from the command line's own definition.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Context, exit::Outcome};
use crate::error::Result;

/// Writes completions for a shell
#[derive(Debug, clap::Args)]
#[command(
    hide = true,
    after_help = "\
Examples:
  pgark completions bash > /usr/share/bash-completion/completions/pgark
  pgark completions zsh > /usr/share/zsh/site-functions/_pgark
  pgark completions fish > /usr/share/fish/vendor_completions.d/pgark.fish"
)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, cx: &Context) -> Result<Outcome> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pgark", &mut text);
        cx.output.write(&text)?;
        Ok(Outcome::Done)
    }
}
