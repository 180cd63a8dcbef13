//! All that is known of one group: trends, what its archives take, tables, drills, runs, the calendar, the list.

use jiff::civil::Date;
use std::collections::BTreeMap;

use super::calendar::calendar;
use super::chart::{Chart, Line, Unit, bar};
use super::drills::{drill_table, runs};
use super::html::{Html, put};
use super::problems::{Problem, Weight};
use super::series::{Point, Stands, added_up, percent};
use super::shell::{day_of, time};
use super::{ArchiveFacts, GroupData, PageData};
use crate::archive::manifest::{Group, Scope};
use crate::archive::records::Depth;
use crate::human;

/// Archives that are listed one by one, the newest.
const ARCHIVES_SHOWN: usize = 30;
/// Months that have a line for the archives before those.
const MONTHS_SHOWN: usize = 60;
/// Drills that are listed.
const DRILLS_SHOWN: usize = 8;

/// The group for people: `shop · job nightly`.
pub(super) fn title(group: &Group) -> String {
    let mut title = match group.scope {
        Scope::Globals => format!("globals of cluster {}", group.system_identifier),
        Scope::Full => group.database.clone(),
        Scope::Partial => format!("{}, partial", group.database),
    };
    if let Some(job) = &group.job {
        title = format!("{title} · job {job}");
    }
    title
}

/// When it was verified, and how thoroughly.
pub(super) fn verified_words(one: &ArchiveFacts, page: &PageData) -> String {
    let Some((at, depth)) = one.verified else {
        return "never".to_owned();
    };
    let depth = match depth {
        Depth::Presence => "presence",
        Depth::Bytes => "bytes",
        Depth::Full => "full",
    };
    format!("{}, {depth}", day_of(at, &page.zone))
}

/// Writes the section.
pub(super) fn section(
    page: &PageData,
    number: usize,
    data: &GroupData,
    problems: &[Problem],
    to: &mut Html,
) {
    put!(
        to,
        "<section class=\"group\" id=\"g",
        { number },
        "\" aria-labelledby=\"h",
        { number },
        "\"><h2 id=\"h",
        { number },
        "\">",
        { title(&data.group) }
    );
    let worst = problems
        .iter()
        .filter(|one| one.group == Some(number))
        .map(|one| one.weight)
        .min();
    to.markup(match worst {
        Some(Weight::Alarm) => " <b class=\"tag alarm\">Alarm</b></h2>",
        Some(Weight::Notice) => " <b class=\"tag notice\">Notice</b></h2>",
        None => " <b class=\"tag good\">Good</b></h2>",
    });
    put!(
        to,
        "<p class=\"about\">Cluster ",
        { &data.group.system_identifier },
        ", ",
        { human::things(data.archives.len() as u64, "archive") }
    );
    if let Some(rpo) = data.job.as_ref().and_then(|job| job.rpo) {
        put!(to, ", none older than ", { rpo }, " at any time");
    }
    to.markup("</p>\n");
    if data.newest().is_some() {
        charts(page, data, to);
    }
    to.markup("<div class=\"pair\">");
    tables(data, to);
    to.markup("<div class=\"card\"><h3>Drills</h3>");
    if data.drills.is_empty() && data.group.scope != Scope::Full {
        to.markup("<p class=\"none\">Only whole databases are drilled.</p>");
    } else if data.drills.is_empty() {
        to.markup("<p class=\"none\">No drill yet: nobody has seen these archives come back. <code>pgark drill</code> tries it.</p>");
    } else {
        drill_table(
            page,
            &data.drills[..data.drills.len().min(DRILLS_SHOWN)],
            to,
        );
    }
    runs(page, data, to);
    to.markup("</div></div>\n");
    if !data.archives.is_empty() {
        to.markup("<div class=\"card\"><h3>What is kept</h3>");
        calendar(page, data, to);
        to.markup("</div>\n");
        list(page, data, to);
    }
    to.markup("</section>\n");
}

fn charts(page: &PageData, data: &GroupData, to: &mut Html) {
    let points = |of: fn(&ArchiveFacts) -> u64| -> Vec<Point> {
        let point = |one: &ArchiveFacts| Point {
            at: one.created,
            value: of(one),
        };
        data.archives.iter().map(point).collect()
    };
    let line = |name, points, stands| Line {
        name,
        points,
        stands,
    };
    let one = |title, unit: Unit, points: Vec<Point>, stands| Chart {
        title,
        unit,
        note: note(unit, &points),
        lines: vec![line(title, points, stands)],
    };
    let raw = points(|one| one.raw_bytes);
    let mut stored = points(|one| one.new_bytes);
    if let (Some(point), Some(oldest)) = (stored.first_mut(), data.archives.first()) {
        point.value = oldest.stored_bytes;
    }
    let (all_raw, all_stored) = (
        added_up(raw.iter().copied()),
        added_up(stored.iter().copied()),
    );
    to.markup("<div class=\"charts\">\n");
    one("Size", Unit::Bytes, raw, Stands::Last).draw(&page.zone, to);
    one("Rows", Unit::Count, points(|one| one.n_rows), Stands::Last).draw(&page.zone, to);
    let durations = points(|one| one.duration_ms);
    one(
        "Time to dump",
        Unit::Milliseconds,
        durations,
        Stands::Largest,
    )
    .draw(&page.zone, to);
    let sharing = Chart {
        title: "All archives together",
        unit: Unit::Bytes,
        note: format!(
            "{} stored for {}",
            human::bytes(data.kept_bytes()),
            human::bytes(data.raw_bytes())
        ),
        lines: vec![
            line("raw", all_raw, Stands::Last),
            line("stored", all_stored, Stands::Last),
        ],
    };
    sharing.draw(&page.zone, to);
    to.markup("</div>\n");
}

/// The newest value, and how it differs from the oldest that is shown.
fn note(unit: Unit, points: &[Point]) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return String::new();
    };
    let now = unit.show(last.value);
    match percent(first.value, last.value) {
        Some(by) if points.len() > 1 && unit != Unit::Milliseconds && by.abs() >= 0.05 => {
            if by.abs() < 10.0 {
                format!("{now}, {by:+.1} % since the oldest")
            } else {
                format!("{now}, {by:+.0} % since the oldest")
            }
        }
        _ => now,
    }
}

fn tables(data: &GroupData, to: &mut Html) {
    to.markup("<div class=\"card\"><h3>Largest tables</h3>");
    if let Some(problem) = &data.tables_problem {
        put!(
            to,
            "<p class=\"none\">They could not be read: ",
            { problem },
            "</p>"
        );
    } else if data.tables.is_empty() {
        to.markup("<p class=\"none\">No rows.</p>");
    } else {
        to.markup("<table class=\"tables\"><thead><tr><th scope=\"col\">Table<th scope=\"col\" class=\"n\">Rows<th scope=\"col\" class=\"n\">Size</tr></thead><tbody>\n");
        let largest = data.tables.first().map_or(0, |table| table.raw_bytes);
        for table in &data.tables {
            put!(to, "<tr><th scope=\"row\">", { &table.name });
            bar(table.raw_bytes, largest, "fill", to);
            put!(
                to,
                "<td class=\"n\">",
                { human::count(table.n_rows) },
                "<td class=\"n\">",
                { human::bytes(table.raw_bytes) },
                "</tr>\n"
            );
        }
        to.markup("</tbody></table>");
    }
    to.markup("</div>\n");
}

fn list(page: &PageData, data: &GroupData, to: &mut Html) {
    let n_months = data.archives.len().saturating_sub(ARCHIVES_SHOWN);
    let (older, shown) = data.archives.split_at(n_months);
    to.markup("<div class=\"card\"><h3>Archives</h3><table class=\"rows\"><thead><tr><th scope=\"col\">Archive<th scope=\"col\">Made<th scope=\"col\" class=\"n\">Took<th scope=\"col\" class=\"n\">Tables<th scope=\"col\" class=\"n\">Rows<th scope=\"col\" class=\"n\">Raw<th scope=\"col\" class=\"n\">Stored<th scope=\"col\" class=\"n\">New<th scope=\"col\">Verified</tr></thead><tbody>\n");
    for one in shown.iter().rev() {
        put!(
            to,
            "<tr><th scope=\"row\">",
            { &one.name },
            "<td data-l=\"Made\">"
        );
        time(one.created, page, to);
        put!(to, "<td class=\"n\" data-l=\"Took\">", {
            Unit::Milliseconds.show(one.duration_ms)
        });
        put!(to, "<td class=\"n\" data-l=\"Tables\">", {
            human::count(one.n_tables)
        });
        put!(to, "<td class=\"n\" data-l=\"Rows\">", {
            human::count(one.n_rows)
        });
        put!(to, "<td class=\"n\" data-l=\"Raw\">", {
            human::bytes(one.raw_bytes)
        });
        put!(to, "<td class=\"n\" data-l=\"Stored\">", {
            human::bytes(one.stored_bytes)
        });
        put!(to, "<td class=\"n\" data-l=\"New\">", {
            human::bytes(one.new_bytes)
        });
        put!(
            to,
            "<td data-l=\"Verified\">",
            { verified_words(one, page) },
            "</tr>\n"
        );
    }
    to.markup("</tbody></table>");
    if !older.is_empty() {
        months(page, older, to);
    }
    to.markup("</div>\n");
}

/// Older archives by the month, so that the page stays small whatever is kept.
fn months(page: &PageData, older: &[ArchiveFacts], to: &mut Html) {
    let mut months: BTreeMap<Date, (u64, u64)> = BTreeMap::new();
    for one in older {
        let month = day_of(one.created, &page.zone).first_of_month();
        let (n, new) = months.entry(month).or_default();
        *n += 1;
        *new = new.saturating_add(one.new_bytes);
    }
    put!(
        to,
        "<details><summary>",
        { human::things(older.len() as u64, "older archive") },
        ", by month</summary><table class=\"tables\"><thead><tr><th scope=\"col\">Month<th scope=\"col\" class=\"n\">Archives<th scope=\"col\" class=\"n\">New bytes</tr></thead><tbody>\n"
    );
    for (month, (n, new)) in months.iter().rev().take(MONTHS_SHOWN) {
        put!(
            to,
            "<tr><th scope=\"row\">",
            { month.strftime("%B %Y") },
            "<td class=\"n\">",
            { human::exact(*n) },
            "<td class=\"n\">",
            { human::bytes(*new) },
            "</tr>\n"
        );
    }
    if months.len() > MONTHS_SHOWN {
        let before = months.values().rev().skip(MONTHS_SHOWN);
        let (n, new) = before.fold((0_u64, 0_u64), |sum, one| {
            (sum.0 + one.0, sum.1.saturating_add(one.1))
        });
        put!(
            to,
            "<tr><th scope=\"row\">Earlier<td class=\"n\">",
            { human::exact(n) },
            "<td class=\"n\">",
            { human::bytes(new) },
            "</tr>\n"
        );
    }
    to.markup("</tbody></table></details>");
}
