//! `pgark status`: whether all jobs are well, for people, for programs, for Prometheus, and told to whom it concerns.

mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::config_file::{self, Configured};
use super::output::diagnostic;
use super::{Context, exit::Outcome, place, run};
use crate::archive::Repository;
use crate::error::{Error, Result};
use crate::monitor::alerts::Memory;
use crate::monitor::status::{Opened, StatusOptions, StatusReport};
use crate::monitor::{Clock, metrics, notify, small_file, status};

/// The default of `--repo`: with another one the repository is meant, not the configuration's jobs.
const NO_REPO_GIVEN: &str = "./backups";

/// Shows whether all jobs are well: ages, runs, drills and copies against what was promised
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark status                      the jobs of the configuration, problems first
  pgark status shop --json          one job, for programs
  pgark status -r /mnt/backups      the groups of a repository, without a configuration
  pgark status --prometheus /var/lib/node_exporter/textfile/pgark.prom
                                    also the numbers for the node exporter's textfile collector
  pgark status --notify             also tells the jobs' channels of what no run tells: nothing newer than the RPO,
                                    missed runs, overdue drills, copies that lag, strange sizes; for cron or a timer

With --notify a problem is told once, again each day while it lasts, and when it is over. Ends with 0 if all is well and \
with 15 if there is a problem.")]
pub(crate) struct Status {
    /// Jobs [default: all]
    #[arg(value_name = "JOB")]
    jobs: Vec<String>,
    /// Leave out the comparison of tables, which reads two archives' lists of tables for each job
    #[arg(long)]
    quick: bool,
    /// Also write the numbers to this file for Prometheus, whole or not at all
    #[arg(long, value_name = "FILE")]
    prometheus: Option<PathBuf>,
    /// Also tell the jobs' channels what no run tells
    #[arg(long)]
    notify: bool,
    /// Where to note what was told already [default: in systemd's state directory, else in ~/.local/state/pgark]
    #[arg(long, value_name = "FILE", requires = "notify")]
    state: Option<PathBuf>,
}

impl Status {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let configured = self.configured(cx).await?;
        let options = StatusOptions {
            tables: !self.quick,
        };
        let report = match &configured {
            Some(configured) => self.of_jobs(configured, options, cx).await?,
            None => of_repository(cx, options).await?,
        };
        if cx.common.json {
            cx.output.json(&report)?;
        } else {
            cx.output.line(text::shown(&report))?;
        }
        if let Some(file) = &self.prometheus {
            small_file::replace(file, metrics::text(&report), 0o644).await?;
        }
        if let Some(configured) = configured.as_ref().filter(|_| self.notify) {
            self.tell(&report, configured).await?;
        }
        Ok(if report.is_well() {
            Outcome::Done
        } else {
            Outcome::Problems
        })
    }

    /// The configuration, unless a repository is asked for, or there is no configuration and nothing that needs one.
    async fn configured(&self, cx: &Context) -> Result<Option<Configured>> {
        let needed = cx.common.config.is_some() || !self.jobs.is_empty() || self.notify;
        if !needed && cx.common.repo != NO_REPO_GIVEN {
            return Ok(None);
        }
        match config_file::load(cx).await {
            Err(Error::NotFound { .. }) if !needed && is_there(NO_REPO_GIVEN).await => Ok(None),
            other => other.map(Some),
        }
    }

    async fn of_jobs(
        &self,
        configured: &Configured,
        options: StatusOptions,
        cx: &Context,
    ) -> Result<StatusReport> {
        let config = &configured.config;
        let jobs = run::chosen(configured, &self.jobs)?;
        let named = jobs.iter().flat_map(|job| {
            let replicas = job.replicas.iter().map(|replica| &replica.repository);
            replicas.chain([&job.repository])
        });
        let mut opened = Opened::new();
        for name in named.collect::<BTreeSet<_>>() {
            if let Some(place) = config.repository(name) {
                opened.insert(name.clone(), open(place, cx).await);
            }
        }
        let clock = Clock {
            now: Timestamp::now(),
            zone: config.zone(),
        };
        Ok(status(&jobs, &opened, &clock, options).await)
    }

    async fn tell(&self, report: &StatusReport, configured: &Configured) -> Result<()> {
        let variable = |name: &str| std::env::var(name).ok();
        let file = match &self.state {
            Some(file) => file.clone(),
            None => default_state(&configured.file, variable).await?,
        };
        let mut memory = remembered(&file).await;
        let before = memory.clone();
        let host = notify::host_name(variable).await;
        let told = memory
            .tell(report, &configured.config, &host, variable)
            .await;
        for told in &told {
            if matches!(told.outcome, notify::Telling::Failed(_)) {
                diagnostic(format!("warning: {told}"));
            }
        }
        if memory != before {
            let text = serde_json::to_string_pretty(&memory)
                .map_err(|e| Error::failed("what was told", e, "report it"))?;
            small_file::replace(&file, text, 0o600).await?;
        }
        Ok(())
    }
}

async fn is_there(path: &str) -> bool {
    tokio::fs::try_exists(path).await.unwrap_or(false)
}

async fn open(place: &crate::config::Place, cx: &Context) -> Result<Repository> {
    place::for_reading(place, cx).await
}

async fn of_repository(cx: &Context, options: StatusOptions) -> Result<StatusReport> {
    let repository = place::open(cx).await?;
    let clock = Clock {
        now: Timestamp::now(),
        zone: jiff::tz::TimeZone::system(),
    };
    crate::monitor::status::status_of_repository(&repository, &clock, options).await
}

/// What was told already; a file that cannot be read counts as none: telling twice is better than never.
async fn remembered(file: &Path) -> Memory {
    let text = match tokio::fs::read_to_string(file).await {
        Ok(text) => text,
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => return Memory::default(),
        Err(problem) => {
            diagnostic(format!("warning: {}: {problem}", file.display()));
            return Memory::default();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|problem| {
        diagnostic(format!("warning: {}: {problem}", file.display()));
        Memory::default()
    })
}

/// A file for each configuration, so that two of them do not end each other's problems. Makes the folder.
async fn default_state(
    config: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<PathBuf> {
    let config = tokio::fs::canonicalize(config)
        .await
        .unwrap_or_else(|_| config.to_owned());
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    // systemd gives several folders with colons between them.
    let systemds = set("STATE_DIRECTORY").map(|list| list.split(':').next().map(PathBuf::from));
    let folder = systemds
        .flatten()
        .or_else(|| set("XDG_STATE_HOME").map(|home| Path::new(&home).join("pgark")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state/pgark")));
    let folder = folder.ok_or_else(|| {
        Error::Usage("there is no home directory: name a file with --state".to_owned())
    })?;
    tokio::fs::create_dir_all(&folder)
        .await
        .map_err(|problem| {
            Error::failed(
                format_args!("folder {}", folder.display()),
                format_args!("cannot be made: {problem}"),
                "name a file that can be written with --state",
            )
        })?;
    let digest = Sha256::digest(config.as_os_str().as_encoded_bytes());
    let first = digest.first_chunk().expect("SHA-256 has 32 bytes");
    let short = u64::from_be_bytes(*first);
    Ok(folder.join(format!("status-{short:016x}.json")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_configuration_has_a_memory_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["one.toml", "two.toml"] {
            std::fs::write(path(name), "").unwrap();
        }
        let only = |set: &'static str, value: PathBuf| {
            move |name: &str| (name == set).then(|| value.to_str().unwrap().to_owned())
        };
        let xdg = only("XDG_STATE_HOME", path("state"));
        let one = default_state(&path("one.toml"), &xdg).await.unwrap();
        let two = default_state(&path("two.toml"), &xdg).await.unwrap();
        assert_ne!(one, two);
        assert_eq!(one.parent().unwrap(), path("state/pgark"));
        assert!(one.parent().unwrap().is_dir());
        let name = one.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("status-") && name.len() == "status-.json".len() + 16);
        // The same file by another way.
        let around = path("state/../one.toml");
        assert_eq!(default_state(&around, &xdg).await.unwrap(), one);
        // systemd's folder goes first, and is the first of several.
        let both = |name: &str| match name {
            "STATE_DIRECTORY" => Some(format!("{}:/other", path("systemd").display())),
            other => xdg(other),
        };
        let there = default_state(&path("one.toml"), both).await.unwrap();
        assert_eq!(there, path("systemd").join(name));
        let empty = |name: &str| Some(String::new()).filter(|_| name == "STATE_DIRECTORY");
        let fallen_back = |name: &str| empty(name).or_else(|| xdg(name));
        assert_eq!(
            default_state(&path("one.toml"), fallen_back).await.unwrap(),
            one
        );
        // A folder that cannot be made is named with what to do.
        let blocked = only("XDG_STATE_HOME", path("one.toml"));
        let problem = default_state(&path("one.toml"), blocked).await.unwrap_err();
        assert!(problem.to_string().contains("cannot be made"), "{problem}");
    }

    #[tokio::test]
    async fn a_memory_that_cannot_be_read_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told.json");
        assert_eq!(remembered(&file).await, Memory::default());
        std::fs::write(&file, "{\"told\": 5").unwrap();
        assert_eq!(remembered(&file).await, Memory::default());
        let known = r#"{"told": {"shop absence": {"job": "shop", "occasion": "absence", "text": "x",
            "since": "2026-11-22T02:00:00Z", "told": "2026-11-22T02:00:00Z"}}}"#;
        std::fs::write(&file, known).unwrap();
        assert_eq!(remembered(&file).await.told.len(), 1);
    }
}
