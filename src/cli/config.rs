//! `pgark config check`: what is wrong with the configuration, as far as its text says, and with --connect as far as files, stores and
//! servers say.

use jiff::Timestamp;
use serde::Serialize;

use super::config_file::{self, Configured};
use super::{Context, exit::Outcome, place, run, secrets};
use crate::archive::{Repository, Unlock};
use crate::config::{Config, Place, Secret};
use crate::error::{Error, Result};
use crate::jobs::source_of;
use crate::jobs::words::{self, JobPlan};
use crate::pg::{Environment, connect};
use crate::store::{At, Opening};

/// Looks at the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark config check                what the jobs do, in words; exit code 2 if the file is wrong
  pgark config check --connect      also that secrets, repositories and databases are there; exit code 15 if not")]
pub(crate) struct ConfigVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Check(Check),
}

/// Reads the configuration and says what its jobs do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark config check
  pgark --config /etc/pgark/pgark.toml config check --connect")]
struct Check {
    /// Also read the secrets, open the repositories, and connect to the databases
    #[arg(long)]
    connect: bool,
}

/// What `--json` gives.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    file: String,
    timezone: Option<&'a str>,
    repositories: Vec<&'a str>,
    jobs: Vec<JobPlan>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    about: String,
    #[serde(rename = "problem")]
    text: String,
    hint: Option<String>,
}

impl Problem {
    fn new(about: String, error: &Error) -> Problem {
        let text = crate::jobs::told(error);
        Problem {
            about,
            text,
            hint: error.remedy().map(str::to_owned),
        }
    }
}

impl ConfigVerb {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let What::Check(check) = &self.what;
        let configured = config_file::load(cx).await?;
        let problems = if check.connect {
            look(&configured.config, cx).await
        } else {
            Vec::new()
        };
        print(&configured, check.connect, &problems, cx)?;
        if cx.common.json {
            print_json(&configured, &problems, cx)?;
        }
        Ok(if problems.is_empty() {
            Outcome::Done
        } else {
            Outcome::Problems
        })
    }
}

fn plans(configured: &Configured) -> Vec<JobPlan> {
    let config = &configured.config;
    let now = Timestamp::now();
    let jobs = config.jobs.iter();
    jobs.map(|job| words::plan(config, job, now)).collect()
}

fn print(
    configured: &Configured,
    connected: bool,
    problems: &[Problem],
    cx: &Context,
) -> Result<()> {
    if cx.common.json {
        return Ok(());
    }
    for plan in plans(configured) {
        run::print_plan(&plan, configured, cx)?;
    }
    for problem in problems {
        let text = secrets::hidden(&problem.text);
        cx.output
            .line(format!("problem: {}: {text}", problem.about))?;
        if let Some(hint) = &problem.hint {
            cx.output.line(format!("  hint: {hint}"))?;
        }
    }
    let file = configured.file.display();
    let summary = match (connected, problems.len()) {
        (false, _) => format!("{file} is right; --connect looks whether what it names is there"),
        (true, 0) => format!("{file} is right, and what it names is there"),
        (true, n) => format!("{file} is right, but {n} of the things that it names fail"),
    };
    cx.output.line(summary)
}

fn print_json(configured: &Configured, problems: &[Problem], cx: &Context) -> Result<()> {
    let config = &configured.config;
    let checked = Checked {
        file: configured.file.display().to_string(),
        timezone: config.timezone.as_deref(),
        repositories: config
            .repositories
            .iter()
            .map(|one| one.name.as_str())
            .collect(),
        jobs: plans(configured),
        problems: problems
            .iter()
            .map(|one| Problem {
                about: one.about.clone(),
                text: secrets::hidden(&one.text).into_owned(),
                hint: one.hint.clone(),
            })
            .collect(),
    };
    cx.output.json(&checked)
}

/// What fails of all that the configuration names.
async fn look(config: &Config, cx: &Context) -> Vec<Problem> {
    let environment = Environment::of_process();
    let mut problems = Vec::new();
    for (about, secret) in secrets_of(config) {
        if let Err(error) = secret.read(|name| environment.vars.get(name).cloned()) {
            problems.push(Problem::new(about, &error));
        }
    }
    for place in &config.repositories {
        if let Err(error) = open(place, &environment, cx).await {
            let about = format!("repository {:?}", place.name);
            problems.push(Problem::new(about, &error));
        }
    }
    for job in &config.jobs {
        let tried = async {
            let settings = source_of(job, &environment)?;
            let session = connect(&settings, "config check").await?;
            session.close().await;
            Ok(())
        };
        if let Err(error) = tried.await {
            problems.push(Problem::new(format!("job {:?}: source", job.name), &error));
        }
    }
    problems
}

/// A place at which the first run will make a repository is right as well; nothing is made by looking.
async fn open(place: &Place, environment: &Environment, cx: &Context) -> Result<()> {
    let opened = async {
        let store = place::opened(place, Opening::Existing, cx).await?;
        let unlock = Unlock::of(place, |name| environment.variable(name))?;
        let repository = Repository::open(store).await?.unlock(&unlock).await?;
        repository.require_key()
    };
    match opened.await {
        Ok(()) => Ok(()),
        Err(Error::NotFound { .. }) => match At::parse(&place.place)? {
            At::Folder(folder) => may_be_made(&folder).await,
            At::S3 | At::Untested(_) => Ok(()),
        },
        Err(error) => Err(error),
    }
}

/// True if the nearest folder above that is there is one.
async fn may_be_made(folder: &std::path::Path) -> Result<()> {
    for above in folder.ancestors() {
        let above = if above.as_os_str().is_empty() {
            std::path::Path::new(".")
        } else {
            above
        };
        let Ok(there) = tokio::fs::metadata(above).await else {
            continue;
        };
        if there.is_dir() && !there.permissions().readonly() {
            return Ok(());
        }
        break;
    }
    Err(Error::failed(
        folder.display(),
        "there is no such folder, and it cannot be made",
        "make it, or change the repository's place",
    ))
}

/// All secrets, with what each is for.
fn secrets_of(config: &Config) -> Vec<(String, &Secret)> {
    let mut all: Vec<(String, &Option<Secret>)> = Vec::new();
    for place in &config.repositories {
        for (setting, secret) in [
            ("access_key_id", &place.access_key_id),
            ("secret_access_key", &place.secret_access_key),
            ("session_token", &place.session_token),
            ("service_account_key", &place.service_account_key),
            ("passphrase", &place.passphrase),
        ] {
            all.push((format!("repository {:?}: {setting}", place.name), secret));
        }
    }
    for channel in &config.channels {
        all.push((format!("notify {:?}: url", channel.name), &channel.url));
    }
    for job in &config.jobs {
        all.push((format!("job {:?}: password", job.name), &job.password));
        if let Some(drill) = &job.drill {
            let about = format!("job {:?}: drill: password", job.name);
            all.push((about, &drill.password));
        }
    }
    let given = all.into_iter();
    given
        .filter_map(|(about, secret)| Some((about, secret.as_ref()?)))
        .collect()
}
