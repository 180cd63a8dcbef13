//! A message in the forms that channels take. Pure.

use serde_json::{Value, json};

use super::{Message, shown};

/// Slack shows less of longer texts.
const SLACK_CHARS_MAX: usize = 3500;
/// Pings keep the first 100 kB at most; a reader wants the first lines.
const PLAIN_CHARS_MAX: usize = 10_000;

/// `{"text": …}` in Slack's mark-up: the title bold, then the text, where it comes from, and when.
pub(super) fn slack(message: &Message) -> Value {
    let text = format!(
        "*{}*\n{}\n_{}, {}_",
        // An asterisk within would end the bold part.
        escaped(&message.title).replace('*', "\u{2217}"),
        escaped(&cut(&message.text, SLACK_CHARS_MAX)),
        escaped(&message.host),
        shown(message.at),
    );
    json!({ "text": text })
}

/// The three characters that Slack takes for its own: without this a text could mention everybody or show a link as another.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Every field. Fields are only ever added; `version` grows if one changes its meaning.
pub(super) fn json(message: &Message) -> Value {
    json!({
        "version": 1,
        "tool": crate::archive::Manifest::this_tool(),
        "occasion": message.occasions.first(),
        "occasions": message.occasions,
        "job": message.job,
        "title": message.title,
        "text": message.text,
        "fields": message.fields,
        "at": message.at,
        "host": message.host,
    })
}

/// Title, text, host and time as plain text.
pub(super) fn plain(message: &Message) -> String {
    format!(
        "{}\n\n{}\n\n{}, {}\n",
        message.title,
        cut(&message.text, PLAIN_CHARS_MAX),
        message.host,
        shown(message.at)
    )
}

/// The first `n_max` characters, with a mark where the rest went.
fn cut(text: &str, n_max: usize) -> String {
    match text.char_indices().nth(n_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;

    #[test]
    fn slack_sees_no_markup_of_ours_but_our_own() {
        let mut message = message();
        message.title = "job <!channel> & *co*".to_owned();
        message.text = format!("<https://evil|good> {}", "ä".repeat(9000));
        let text = slack(&message)["text"].as_str().unwrap().to_owned();
        assert!(
            text.starts_with(
                "*job &lt;!channel&gt; &amp; \u{2217}co\u{2217}*\n&lt;https://evil|good&gt; ä"
            ),
            "{text}"
        );
        assert!(text.chars().count() < 3700 && text.contains('…'));
        assert!(text.ends_with("_db1, 2026-11-22 02:00:00 UTC_"), "{text}");
    }

    #[test]
    fn json_has_every_field() {
        let value = json(&message());
        assert_eq!(
            value,
            json!({
                "version": 1, "tool": crate::archive::Manifest::this_tool(),
                "occasion": "failure", "occasions": ["failure", "verify"],
                "job": "shop", "title": "pgark: job shop failed", "text": "dump: FAILED: no route\nverify: FAILED: x",
                "fields": {"outcome": "failed"}, "at": "2026-11-22T02:00:00Z", "host": "db1",
            })
        );
    }
}
