//! placeholder
use super::{Context, exit::Outcome};
/// Runs SQL
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {}
impl Exec {
    pub(crate) async fn run(&self, _cx: &Context) -> crate::error::Result<Outcome> {
        Ok(Outcome::Done)
    }
}
