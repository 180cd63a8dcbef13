//! placeholder
use super::{Context, exit::Outcome};
/// Writes an archive as a plain SQL script
#[derive(Debug, clap::Args)]
pub(crate) struct SqlScript {}
impl SqlScript {
    pub(crate) async fn run(&self, _cx: &Context) -> crate::error::Result<Outcome> {
        Ok(Outcome::Done)
    }
}
