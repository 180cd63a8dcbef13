//! Lines of a crontab.

use std::fmt::Write as _;

use super::{Paths, Planned, StarterFile, Timetable, secrets_of};
use crate::config::{Config, Secret};

/// The file, and how it is installed.
pub(super) fn timetable(planned: &[Planned<'_>], config: &Config, paths: Paths<'_>) -> Timetable {
    let mut text = "# Made by `pgark schedule --format cron`.\n\
        # What fails is said on standard error, which cron mails to MAILTO. What cron misses while the machine is off, it does not make up for:\n\
        # systemd's timers do.\n"
        .to_owned();
    if let Some(zone) = &config.timezone {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "# The hours below are those of {zone}. A cron that does not know CRON_TZ (Debian's) goes by the machine's clock: see `timedatectl`.\nCRON_TZ={zone}"
        );
    }
    for one in planned {
        let variables: Vec<&str> = secrets_of(config, one)
            .into_iter()
            .filter_map(|secret| match secret {
                Secret::Env(name) => Some(name.as_str()),
                Secret::File(_) => None,
            })
            .collect();
        if !variables.is_empty() {
            let _ = writeln!(
                text,
                "# Needs {} in its environment; better name files in the configuration, readable by this user alone.",
                variables.join(", ")
            );
        }
        let command = paths.command(one, quoted);
        let _ = writeln!(
            text,
            "{} {command} --progress none >/dev/null",
            one.fields.plain()
        );
    }
    Timetable {
        files: vec![StarterFile {
            name: "pgark.cron".to_owned(),
            text,
        }],
        steps: vec![
            "as the user who keeps the backups: (crontab -l 2>/dev/null; cat DIR/pgark.cron) | crontab -".to_owned(),
            "crontab -l shows that the lines are there, pgark status whether they run".to_owned(),
        ],
    }
}

/// A word for the shell that cron starts. A percent sign ends the command for cron itself, unless a backslash is before it, also within quotes.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-=:@+,".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    let word = word.replace('\'', "'\\''").replace('%', "'\\%'");
    format!("'{word}'")
}
