//! What is asked, and the configuration that the answers make.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::dialogue::Dialogue;
use crate::config::{Config, Schedule};
use crate::error::Result;
use crate::pg::{ConnSettings, Environment};
use crate::store::At;

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answers {
    source: String,
    password_file: Option<String>,
    name: String,
    place: String,
    schedule: String,
    zone: Option<String>,
    keep: u32,
    told: Option<Told>,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Mail(String),
    /// The variable with a webhook's URL.
    Webhook(String),
}

/// Asks all questions.
pub(super) fn ask(dialogue: &mut Dialogue) -> Result<Answers> {
    dialogue.say("A few questions; an empty answer takes what is in brackets.")?;
    let source = dialogue.ask(
        "Which database is saved: a name, a URL or key=value settings, without a password",
        "",
        read_source,
    )?;
    let password_file = dialogue.ask(
        "A file with its password, if ~/.pgpass does not have it or none is wanted",
        "none",
        |answer| match answer {
            "none" => Ok(None),
            file if Path::new(file).is_absolute() => Ok(Some(file.to_owned())),
            _ => Err("give the whole path, from /, or none".to_owned()),
        },
    )?;
    let place = dialogue.ask(
        "Where are archives kept: a folder, or s3://BUCKET/PREFIX",
        "/var/backups/pgark",
        read_place,
    )?;
    let schedule = dialogue.ask(
        "When is it saved: a time of day such as 02:00, or five cron fields",
        "02:00",
        read_schedule,
    )?;
    let zone = dialogue.ask(
        "In which time zone is that",
        TimeZone::system().iana_name().unwrap_or("UTC"),
        |answer| match TimeZone::get(answer) {
            Ok(_) => Ok(Some(answer.to_owned())),
            Err(_) => Err(format!(
                "{answer:?} is no time zone; write it like Europe/Berlin"
            )),
        },
    )?;
    let keep = dialogue.ask("How many archives are kept", "10", |answer| {
        let number = answer.parse().ok().filter(|n| (1..=10_000).contains(n));
        number.ok_or_else(|| "a number from 1 to 10000".to_owned())
    })?;
    let told = dialogue.ask(
        "Who is told of failures: a mail address, the NAME of a variable that holds a webhook's URL, or none",
        "none",
        read_told,
    )?;
    Ok(Answers {
        name: name_of(&source),
        source,
        password_file,
        place,
        schedule,
        zone,
        keep,
        told,
    })
}

fn read_source(answer: &str) -> Result<String, String> {
    if answer.is_empty() {
        return Err("there must be one".to_owned());
    }
    let text = format!(
        "[[repository]]\nname = \"x\"\nplace = \"x\"\n[[job]]\nname = \"x\"\nrepository = \"x\"\nsource = {}\n",
        quoted(answer)
    );
    if Config::parse(&text, "").is_err() {
        return Err("leave the password out: the next question asks where it lies".to_owned());
    }
    let environment = Environment::of_process();
    ConnSettings::resolve(&environment, Some(answer), &[])
        .map(|_| answer.to_owned())
        .map_err(|problem| problem.to_string())
}

fn read_place(answer: &str) -> Result<String, String> {
    match answer.split_once("://") {
        Some(("s3" | "gs" | "az", rest)) if !rest.is_empty() => Ok(answer.to_owned()),
        Some(_) => At::parse(answer)
            .map(|_| answer.to_owned())
            .map_err(|e| e.to_string()),
        // A job runs in another folder than this.
        None => std::path::absolute(PathBuf::from(answer))
            .map(|path| path.display().to_string())
            .map_err(|problem| problem.to_string()),
    }
}

/// `02:00` or five fields.
fn read_schedule(answer: &str) -> Result<String, String> {
    let of_day = answer.split_once(':').and_then(|(hour, minute)| {
        let hour: u8 = hour.parse().ok().filter(|hour| *hour < 24)?;
        let minute: u8 = minute.parse().ok().filter(|minute| *minute < 60)?;
        Some(format!("{minute} {hour} * * *"))
    });
    if let Some(fields) = of_day {
        return Ok(fields);
    }
    if !answer.contains(' ') {
        return Err(format!("{answer:?} is no time of day; write it like 02:00"));
    }
    Schedule::parse(answer).map(|schedule| schedule.as_str().to_owned())
}

fn read_told(answer: &str) -> Result<Option<Told>, String> {
    let is_variable = |text: &str| {
        let mut bytes = text.bytes();
        bytes
            .next()
            .is_some_and(|b| b.is_ascii_uppercase() || b == b'_')
            && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    match answer {
        "none" => Ok(None),
        mail if mail.contains('@') && !mail.contains([' ', '/']) && !mail.starts_with('-') => {
            Ok(Some(Told::Mail(mail.to_owned())))
        }
        name if is_variable(name) => Ok(Some(Told::Webhook(name.to_owned()))),
        _ if answer.contains("://") => Err(
            "who knows that URL may post there, so it does not stand in the file: put it into a variable and give its name, such as SLACK_URL"
                .to_owned(),
        ),
        _ => Err("a mail address, a variable's name in capitals, or none".to_owned()),
    }
}

/// The job's name: the database's, if it can be one.
fn name_of(source: &str) -> String {
    let environment = Environment::of_process();
    let settings = ConnSettings::resolve(&environment, Some(source), &[]);
    let database = settings.map(|settings| settings.dbname().to_owned());
    let safe: String = database
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    let safe = safe.trim_matches('-');
    if safe.is_empty() {
        "nightly".to_owned()
    } else {
        safe.to_owned()
    }
}

impl Answers {
    /// The configuration.
    pub(super) fn text(&self) -> String {
        let mut text = "# Written by `pgark init`. `pgark init --example` shows every setting that there is.\n\n".to_owned();
        // Writing to a string does not fail.
        if let Some(zone) = &self.zone {
            let _ = writeln!(text, "timezone = {}\n", quoted(zone));
        }
        let _ = writeln!(
            text,
            "[[repository]]\nname = \"main\"\nplace = {}\n",
            quoted(&self.place)
        );
        if self.place.starts_with("s3://") {
            text.push_str("# Keys and region come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.\n\n");
        }
        match &self.told {
            None => {}
            Some(Told::Mail(address)) => {
                let _ = writeln!(
                    text,
                    "[[notify]]\nname = \"mail\"\nkind = \"exec\"\ncommand = [\"mail\", \"-s\", \"pgark\", {}]\n",
                    quoted(address)
                );
            }
            Some(Told::Webhook(variable)) => {
                let _ = writeln!(
                    text,
                    "[[notify]]\nname = \"webhook\"\nkind = \"slack\"\nurl = {{ env = {} }}\n",
                    quoted(variable)
                );
            }
        }
        let _ = writeln!(
            text,
            "[[job]]\nname = {}\nsource = {}",
            quoted(&self.name),
            quoted(&self.source)
        );
        if let Some(file) = &self.password_file {
            let _ = writeln!(text, "password = {{ file = {} }}", quoted(file));
        }
        let _ = write!(
            text,
            "repository = \"main\"\n\
            # Minute, hour, day of month, month, day of week.\n\
            schedule = {}\n\
            # An alert when the newest archive is older.\n\
            {}\
            # Each new archive is read back whole before older ones may go.\n\
            verify = \"full\"\n\
            keep = {{ last = {} }}\n",
            quoted(&self.schedule),
            self.rpo(),
            self.keep
        );
        match &self.told {
            None => {}
            Some(Told::Mail(_)) => text.push_str("notify = [\"mail\"]\n"),
            Some(Told::Webhook(_)) => text.push_str("notify = [\"webhook\"]\n"),
        }
        text
    }

    /// A daily run has two hours beyond its day; of other schedules only their maker knows.
    fn rpo(&self) -> &'static str {
        if self.schedule.ends_with(" * * *") && !self.schedule.contains(['/', ',', '-']) {
            "rpo = \"26h\"\n"
        } else {
            "# rpo = \"26h\"\n"
        }
    }
}

/// A TOML string: its basic form is JSON's but for DEL.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_make_a_configuration_that_is_right() {
        let mut dialogue = Dialogue::of(
            "\nhost=db dbname=shop password=x\nhost=db dbname='my shop' user=b\npw\n/run/pw\nftp://x\n/var/b \"q\"\n25:00\n2am\n03:30\nEurope/Nowhere\nEurope/Berlin\n0\nten\n12\nhttps://hooks\nSLACK_URL\n",
        );
        let text = ask(&mut dialogue).unwrap().text();
        let config = Config::parse(&text, "x").unwrap();
        let job = &config.jobs[0];
        assert_eq!(job.name, "my-shop");
        assert_eq!(job.source, "host=db dbname='my shop' user=b");
        assert_eq!(job.schedule.as_deref(), Some("30 3 * * *"));
        assert_eq!(job.keep.last, Some(12));
        assert_eq!(config.timezone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(config.repositories[0].place, "/var/b \"q\"");
        assert_eq!(job.notify, ["webhook"]);
        assert!(!text.contains("password=x") && !text.contains("hooks\n"));
    }

    #[test]
    fn who_hangs_up_is_not_asked_for_ever() {
        let ended = ask(&mut Dialogue::of("shop\n"));
        assert!(matches!(ended, Err(crate::Error::Cancelled)));
    }
}
