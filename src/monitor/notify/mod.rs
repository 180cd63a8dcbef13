//! Tells somebody what happened, by the channels of the configuration. What is told, and when, is the caller's choice.
//!
//! A channel that cannot be reached is said in the result and is no error: what is told about must not fail because of the telling.
//! URLs are secrets: neither a result nor an error shows any part of one.

mod body;
mod http;
mod message;
mod program;

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

pub use message::{Message, host_name};

use crate::config::{Channel, ChannelKind, Occasion};

/// What became of telling one channel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Told {
    /// The channel's name.
    pub channel: String,
    /// What became of it.
    pub outcome: Telling,
}

/// How telling a channel ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// It was told.
    Sent,
    /// It does not want to know of such.
    NotWanted,
    /// It could not be told, for this reason.
    Failed(String),
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Telling::Sent => write!(f, "notify {:?}: told", self.channel),
            Telling::NotWanted => write!(f, "notify {:?}: does not want to know", self.channel),
            Telling::Failed(reason) => write!(f, "notify {:?}: {reason}", self.channel),
        }
    }
}

/// How long a channel is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long one try may take.
    pub try_lasts: Duration,
    /// How often it is tried.
    pub n_tries: u32,
    /// The pause after the first try; each further one is twice as long.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            try_lasts: Duration::from_secs(10),
            n_tries: 3,
            pause: Duration::from_millis(500),
        }
    }
}

/// Tells `message` to each channel that wants one of its occasions, all at once. `lookup` gives an environment variable's value.
pub async fn tell(
    channels: &[&Channel],
    message: &Message,
    lookup: impl Fn(&str) -> Option<String>,
) -> Vec<Told> {
    tell_patiently(channels, message, lookup, Patience::default()).await
}

/// As [`tell`], with another patience.
pub async fn tell_patiently(
    channels: &[&Channel],
    message: &Message,
    lookup: impl Fn(&str) -> Option<String>,
    patience: Patience,
) -> Vec<Told> {
    let tellings = channels.iter().map(|channel| {
        let occasions = wanted(channel, &message.occasions);
        let url = secret_url(channel, &lookup);
        async move {
            let outcome = match (occasions.is_empty(), url) {
                (true, _) => Ok(Telling::NotWanted),
                (_, Err(problem)) => Err(problem),
                (_, Ok(url)) => {
                    let post = Posting { channel, patience };
                    post.message(url, message, &occasions).await
                }
            };
            told(channel, outcome)
        }
    });
    join_all(tellings).await
}

/// Tells those that ping that a run of `job` begins: with the end they measure its duration, and miss an end that never comes.
pub async fn tell_start(
    channels: &[&Channel],
    lookup: impl Fn(&str) -> Option<String>,
) -> Vec<Told> {
    let pings = channels
        .iter()
        .filter(|channel| channel.kind == ChannelKind::Ping && channel.wants(Occasion::Success));
    let tellings = pings.map(|channel| {
        let url = secret_url(channel, &lookup);
        async move {
            // A run does not wait long before it begins.
            let patience = Patience {
                n_tries: 1,
                ..Patience::default()
            };
            let post = Posting { channel, patience };
            told(channel, post.start(url).await)
        }
    });
    join_all(tellings).await
}

fn told(channel: &Channel, outcome: Result<Telling, String>) -> Told {
    Told {
        channel: channel.name.clone(),
        outcome: outcome.unwrap_or_else(Telling::Failed),
    }
}

/// The occasions that the channel wants to know, gravest first as they came.
fn wanted(channel: &Channel, occasions: &[Occasion]) -> Vec<Occasion> {
    let wanted = occasions.iter().copied();
    wanted.filter(|one| channel.wants(*one)).collect()
}

fn secret_url(
    channel: &Channel,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    let url = channel.url.as_ref().map(|secret| secret.read(lookup));
    url.transpose().map_err(|error| error.to_string())
}

/// One channel and how long it is tried.
struct Posting<'a> {
    channel: &'a Channel,
    patience: Patience,
}

impl Posting<'_> {
    async fn message(
        &self,
        url: Option<String>,
        message: &Message,
        occasions: &[Occasion],
    ) -> Result<Telling, String> {
        match (self.channel.kind, url, &self.channel.command) {
            (ChannelKind::Slack, Some(url), _) => {
                let body = http::Body::Json(body::slack(message));
                http::post(&http::parse(&url)?, &body, self.patience).await?;
            }
            (ChannelKind::Json, Some(url), _) => {
                let body = http::Body::Json(body::json(message));
                http::post(&http::parse(&url)?, &body, self.patience).await?;
            }
            (ChannelKind::Ping, Some(url), _) => {
                let url = match ping_word(occasions) {
                    None => http::parse(&url)?,
                    Some(word) => http::below(&url, word)?,
                };
                let body = http::Body::Text(body::plain(message));
                http::post(&url, &body, self.patience).await?;
            }
            (ChannelKind::Exec, _, Some(command)) => {
                program::run(command, message, self.patience.try_lasts).await?;
            }
            _ => return Err("has neither a url nor a command".to_owned()),
        }
        Ok(Telling::Sent)
    }

    async fn start(&self, url: Result<Option<String>, String>) -> Result<Telling, String> {
        let url = url?.ok_or("has no url")?;
        let body = http::Body::Text(String::new());
        http::post(&http::below(&url, "start")?, &body, self.patience).await?;
        Ok(Telling::Sent)
    }
}

/// What stands behind a ping's URL: nothing if all is well again.
fn ping_word(occasions: &[Occasion]) -> Option<&'static str> {
    let good = |one: &Occasion| matches!(one, Occasion::Success | Occasion::Recovery);
    (!occasions.iter().all(good)).then_some("fail")
}

/// The time of a message as it is shown: seconds are enough.
fn shown(at: Timestamp) -> String {
    crate::human::time(at)
}

#[cfg(test)]
mod tests;
