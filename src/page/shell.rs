//! The document around the parts: head, policy, style, script, header and footer; and how times are shown everywhere in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::group;
use super::html::{Html, put};
use super::overview;
use super::problems::{Problem, Weight};
use super::{GROUPS_IN_DETAIL, PageData};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The page as one HTML document: style, script and pictures are in it, and its policy forbids to load anything else.
pub fn render(page: &PageData) -> String {
    let problems = page.problems();
    let mut to = Html::default();
    head(page, &mut to);
    header(page, &problems, &mut to);
    to.markup("<main>\n");
    overview::problems(page, &problems, &mut to);
    overview::figures(page, &mut to);
    overview::groups(page, &problems, &mut to);
    for (number, data) in page.groups.iter().enumerate().take(GROUPS_IN_DETAIL) {
        group::section(page, number, data, &problems, &mut to);
    }
    overview::other_drills(page, &mut to);
    to.markup("</main>\n");
    put!(
        to,
        "<footer><p>Made by ",
        { &page.tool },
        " from what is in the repository. Days and times are those of ",
        { zone_name(&page.zone) },
        ". Sizes are of rows as PostgreSQL writes them; <em>stored</em> is after compression and with what archives share counted once, as far as the archives that are there tell.</p></footer>\n"
    );
    put!(to, "<script>");
    to.markup(SCRIPT);
    to.markup("</script>\n</body>\n</html>\n");
    to.finish()
}

fn head(page: &PageData, to: &mut Html) {
    to.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put!(
        to,
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-",
        { hash(STYLE) },
        "'; script-src 'sha256-",
        { hash(SCRIPT) },
        "'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
    );
    to.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n");
    to.markup("<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"robots\" content=\"noindex\">\n<link rel=\"icon\" href=\"data:,\">\n");
    put!(
        to,
        "<title>Backups in ",
        { &page.location },
        "</title>\n<style>"
    );
    to.markup(STYLE);
    to.markup("</style>\n</head>\n<body>\n");
}

/// As a policy names what it allows.
fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

fn header(page: &PageData, problems: &[Problem], to: &mut Html) {
    put!(
        to,
        "<header><div><h1>Backups</h1><p class=\"place\">",
        { &page.location },
        "</p><p class=\"made\">As of "
    );
    time(page.now, page, to);
    put!(
        to,
        " (",
        { zone_name(&page.zone) },
        ") <span id=\"age\" hidden></span></p></div>"
    );
    let alarms = problems
        .iter()
        .filter(|one| one.weight == Weight::Alarm)
        .count();
    match (alarms, problems.len()) {
        (0, 0) => to.markup("<p class=\"verdict good\">All is well</p>"),
        (0, 1) => to.markup("<p class=\"verdict notice\">1 notice</p>"),
        (0, n) => put!(to, "<p class=\"verdict notice\">", { n }, " notices</p>"),
        (1, _) => to.markup("<p class=\"verdict alarm\">1 alarm</p>"),
        (n, _) => put!(to, "<p class=\"verdict alarm\">", { n }, " alarms</p>"),
    }
    to.markup("</header>\n");
}

/// A moment as an element that programs can read too.
pub(super) fn time(at: Timestamp, page: &PageData, to: &mut Html) {
    put!(
        to,
        "<time datetime=\"",
        { at },
        "\">",
        { moment(at, &page.zone) },
        "</time>"
    );
}

/// `2026-11-22 02:00`
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

/// `22 Nov 2026`
pub(super) fn date(at: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    at.strftime("%-d %b %Y").to_string()
}

/// The day in the zone.
pub(super) fn day_of(at: Timestamp, zone: &TimeZone) -> Date {
    at.to_zoned(zone.clone()).date()
}

/// The zone as people name it.
fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => zone
            .to_fixed_offset()
            .map_or_else(|_| "the machine's zone".to_owned(), |by| format!("UTC{by}")),
    }
}
