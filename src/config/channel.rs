//! Who is told what happened.

use serde::Deserialize;

use super::job::Command;
use super::secret::Secret;

/// A way to tell somebody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How.
    pub kind: ChannelKind,
    /// Where to: a URL is a capability, so it is given like a secret. Not for `exec`.
    pub url: Option<Secret>,
    /// The program and its arguments; the message comes on its standard input. Only for `exec`.
    pub command: Option<Command>,
    /// On which occasions. If it is empty: pings at success and failure, the others on all but success.
    #[serde(default)]
    pub on: Vec<Occasion>,
}

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// A JSON body with `text`, as Slack and those like it take it.
    Slack,
    /// A JSON body with every field.
    Json,
    /// A ping at the beginning, at success and at failure, as healthchecks.io takes it.
    Ping,
    /// A program, such as the system's mailer.
    Exec,
}

/// Why somebody is told.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// A run succeeded.
    Success,
    /// A run failed, or was incomplete.
    Failure,
    /// The first success after a failure.
    Recovery,
    /// Nothing is newer than the recovery point objective.
    Absence,
    /// A size or a number of rows left its trend.
    Trend,
    /// A verification found damage.
    Verify,
    /// A drill failed, took longer than the recovery time objective, or is overdue.
    Drill,
    /// A replica failed or lags.
    Replica,
}

impl Occasion {
    /// All of them.
    pub const ALL: [Occasion; 8] = [
        Occasion::Success,
        Occasion::Failure,
        Occasion::Recovery,
        Occasion::Absence,
        Occasion::Trend,
        Occasion::Verify,
        Occasion::Drill,
        Occasion::Replica,
    ];

    /// As it is written in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Occasion::Success => "success",
            Occasion::Failure => "failure",
            Occasion::Recovery => "recovery",
            Occasion::Absence => "absence",
            Occasion::Trend => "trend",
            Occasion::Verify => "verify",
            Occasion::Drill => "drill",
            Occasion::Replica => "replica",
        }
    }
}

impl Channel {
    /// True if the channel wants to know. Without a list pings want to know how runs end, and the others all but plain successes:
    /// what is pinged notices by itself that nothing comes, and a strange size is no failed run.
    pub fn wants(&self, occasion: Occasion) -> bool {
        if self.on.is_empty() {
            let of_runs = matches!(occasion, Occasion::Success | Occasion::Failure);
            return match self.kind {
                ChannelKind::Ping => of_runs,
                _ => occasion != Occasion::Success,
            };
        }
        self.on.contains(&occasion)
    }

    /// What cannot be meant.
    pub(super) fn problems(&self) -> Vec<String> {
        let about = |problem: &str| format!("notify {:?}: {problem}", self.name);
        match (self.kind, &self.url, &self.command) {
            (ChannelKind::Exec, None, Some(command)) if command.is_sound() => Vec::new(),
            (ChannelKind::Exec, ..) => vec![about(
                "exec needs a command, a list that begins with a program, and no url",
            )],
            (_, Some(_), None) => Vec::new(),
            _ => vec![about(
                "needs a url, as { env = \"NAME\" } or { file = \"PATH\" }, and no command",
            )],
        }
    }
}
