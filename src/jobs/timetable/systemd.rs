//! A service and a timer of systemd for each job.

use std::fmt::Write as _;
use std::path::Path;

use super::{Paths, Planned, StarterFile, Timetable, calendars, folders_of, secrets_of};
use crate::config::{Config, Secret};

/// The units, and how they are installed.
pub(super) fn timetable(planned: &[Planned<'_>], config: &Config, paths: Paths<'_>) -> Timetable {
    let mut files = Vec::new();
    let mut timers = Vec::new();
    for one in planned {
        let unit = format!("pgark-{}", one.name);
        timers.push(format!("{unit}.timer"));
        files.push(StarterFile {
            name: format!("{unit}.service"),
            text: service(one, config, paths),
        });
        files.push(StarterFile {
            name: format!("{unit}.timer"),
            text: timer(one, config),
        });
    }
    let user = "as root: useradd --system --home-dir /var/lib/pgark --create-home pgark, if there is no such user, and let it own the folders of the repositories";
    Timetable {
        files,
        steps: vec![
            user.to_owned(),
            "cp DIR/pgark-* /etc/systemd/system/ && systemctl daemon-reload".to_owned(),
            format!("systemctl enable --now {}", timers.join(" ")),
            "systemctl list-timers 'pgark-*' shows when they run next, journalctl -u 'pgark-*' what they did".to_owned(),
        ],
    }
}

fn service(one: &Planned<'_>, config: &Config, paths: Paths<'_>) -> String {
    let command = paths.command(one, quoted);
    let folders = folders_of(config, one);
    let writable = lines(
        "ReadWritePaths",
        folders.iter().map(|folder| quoted(folder)),
    );
    let relative = folders
        .iter()
        .any(|folder| !Path::new(folder).is_absolute());
    let relative = if relative {
        "# The repository's place is a relative path: make it an absolute one in the configuration.\n"
    } else {
        ""
    };
    format!(
        "# Made by `pgark schedule --format systemd`.\n\
        [Unit]\n\
        Description=pgark {what}\n\
        Wants=network-online.target\n\
        After=network-online.target\n\
        \n\
        [Service]\n\
        Type=oneshot\n\
        ExecStart={command} --progress none\n\
        # Exit code 3, something was incomplete, counts as a failure, so that it is seen.\n\
        User=pgark\n\
        Nice=10\n\
        IOSchedulingClass=idle\n\
        {secrets}\
        NoNewPrivileges=yes\n\
        PrivateTmp=yes\n\
        ProtectSystem=strict\n\
        ProtectHome=read-only\n\
        ProtectKernelTunables=yes\n\
        ProtectKernelModules=yes\n\
        ProtectControlGroups=yes\n\
        RestrictSUIDSGID=yes\n\
        RestrictRealtime=yes\n\
        RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n\
        LockPersonality=yes\n\
        {relative}{writable}",
        what = one.arguments.join(" "),
        secrets = secrets(one, config),
    )
}

/// Secrets in files are given as credentials: readable by root alone where they lie, and by this service while it runs.
fn secrets(one: &Planned<'_>, config: &Config) -> String {
    let mut text = String::new();
    for secret in secrets_of(config, one) {
        // Writing to a string does not fail.
        let _ = match secret {
            Secret::Env(name) => writeln!(
                text,
                "# The secret in the variable {name}: write {name}=… into this file, with mode 0600 and root as its owner.\nEnvironmentFile=/etc/pgark/{name}.env"
            ),
            Secret::File(path) => {
                let name = path.file_name().map_or_else(
                    || "secret".to_owned(),
                    |name| name.to_string_lossy().into_owned(),
                );
                let path = path.display();
                writeln!(
                    text,
                    "# The file {path} must be readable by the user pgark. If root alone shall read it, uncomment this and name\n# {{ file = \"/run/credentials/pgark-{}.service/{name}\" }} in the configuration:\n# LoadCredential={name}:{path}",
                    one.name
                )
            }
        };
    }
    text
}

fn timer(one: &Planned<'_>, config: &Config) -> String {
    let events = calendars(&one.fields, config.timezone.as_deref());
    let events = lines("OnCalendar", events.into_iter());
    format!(
        "# Made by `pgark schedule --format systemd`: {schedule}\n\
        [Unit]\n\
        Description=When pgark {what} runs\n\
        \n\
        [Timer]\n\
        {events}\
        # A run that was missed while the machine was off is made up for when it is on again.\n\
        Persistent=true\n\
        RandomizedDelaySec=60\n\
        AccuracySec=1s\n\
        \n\
        [Install]\n\
        WantedBy=timers.target\n",
        schedule = one.schedule.as_str(),
        what = one.arguments.join(" "),
    )
}

/// The same setting with each of the values.
fn lines(setting: &str, values: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for value in values {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{setting}={value}");
    }
    text
}

/// A word of a unit file (systemd.syntax(7), systemd.service(5), "Command lines").
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%").replace('$', "$$");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-=:@+,%$".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word;
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
