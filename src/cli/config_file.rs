//! Finds and reads the configuration file.

use std::path::{Path, PathBuf};

use super::Context;
use crate::config::{Config, Secret};
use crate::error::{Error, Result};

/// Where a configuration is looked for if none is named.
const PLACES: [&str; 2] = ["pgark.toml", "/etc/pgark/pgark.toml"];

/// The configuration, and the file that it came from.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) config: Config,
    pub(crate) file: PathBuf,
}

/// Reads the file that `--config` names, or the first that is there.
pub(crate) async fn load(cx: &Context) -> Result<Configured> {
    let file = match &cx.common.config {
        Some(file) => file.clone(),
        None => first_there().await.ok_or_else(|| Error::NotFound {
            what: format!(
                "there is no configuration: neither {}",
                PLACES.join(" nor ")
            ),
            remedy: "`pgark init` makes one; another place is named by --config or PGARK_CONFIG"
                .to_owned(),
        })?,
    };
    let mut config = read(&file).await?;
    for place in &mut config.repositories {
        let given = || cx.common.passphrase_file.clone().map(Secret::File);
        place.passphrase = place.passphrase.take().or_else(given);
    }
    Ok(Configured { config, file })
}

async fn first_there() -> Option<PathBuf> {
    for place in PLACES {
        if tokio::fs::try_exists(place).await.unwrap_or(false) {
            return Some(place.into());
        }
    }
    None
}

async fn read(file: &Path) -> Result<Config> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|problem| Error::Usage(format!("configuration {}: {problem}", file.display())))?;
    Config::parse(&text, &file.display().to_string())
}
