//! Days and the archives that are kept of them: a small calendar for each of the last months, numbers for those before. Pure.

use std::collections::BTreeMap;

use jiff::ToSpan as _;
use jiff::civil::{Date, Weekday};

use super::html::{Html, put};
use super::shell::day_of;
use super::{GroupData, PageData};

/// Months that are shown day by day.
const MONTHS: i32 = 12;
/// Months before them that have a number each; those before these are counted by year.
const MONTHS_COUNTED: usize = 48;
/// Years that have a number each.
const YEARS_COUNTED: usize = 20;

/// Writes the calendar of a group.
pub(super) fn calendar(page: &PageData, data: &GroupData, to: &mut Html) {
    let mut days: BTreeMap<Date, u32> = BTreeMap::new();
    for one in &data.archives {
        *days.entry(day_of(one.created, &page.zone)).or_default() += 1;
    }
    let (Some(oldest), Some(newest)) = (days.keys().next(), days.keys().next_back()) else {
        return;
    };
    let today = day_of(page.now, &page.zone);
    let end = today.max(*newest).first_of_month();
    let start = month_before(end, MONTHS - 1).max(oldest.first_of_month());
    to.markup("<div class=\"months\">");
    let mut month = start;
    while month <= end {
        month_table(month, today, &days, to);
        month = month.saturating_add(1.month());
    }
    to.markup("</div>");
    earlier(&days, start, to);
}

fn month_before(month: Date, n: i32) -> Date {
    month.saturating_sub(n.months())
}

fn month_table(month: Date, today: Date, days: &BTreeMap<Date, u32>, to: &mut Html) {
    let last = month.last_of_month();
    let n: u32 = days.range(month..=last).map(|(_, n)| n).sum();
    put!(
        to,
        "<table class=\"month\"><caption>",
        { month.strftime("%B %Y") },
        " <span>",
        { n },
        "</span></caption><thead><tr>"
    );
    to.markup("<th scope=\"col\"><abbr title=\"Monday\">M</abbr><th scope=\"col\"><abbr title=\"Tuesday\">T</abbr><th scope=\"col\"><abbr title=\"Wednesday\">W</abbr><th scope=\"col\"><abbr title=\"Thursday\">T</abbr><th scope=\"col\"><abbr title=\"Friday\">F</abbr><th scope=\"col\"><abbr title=\"Saturday\">S</abbr><th scope=\"col\"><abbr title=\"Sunday\">S</abbr></tr></thead><tbody><tr>");
    let blank = month.weekday().to_monday_zero_offset();
    for _ in 0..blank {
        to.markup("<td>");
    }
    let mut day = month;
    loop {
        if day != month && day.weekday() == Weekday::Monday {
            to.markup("</tr><tr>");
        }
        let n = days.get(&day).copied().unwrap_or(0);
        let today = if day == today { " now" } else { "" };
        match n {
            0 if today.is_empty() => put!(to, "<td>", { day.day() }),
            0 => put!(to, "<td class=\"now\">", { day.day() }),
            n => {
                let plural = if n == 1 { "" } else { "s" };
                put!(
                    to,
                    "<td class=\"k",
                    { n.min(3) },
                    { today },
                    "\" title=\"",
                    { n },
                    " archive",
                    { plural },
                    "\">",
                    { day.day() }
                );
            }
        }
        if day >= last {
            break;
        }
        day = day.saturating_add(1.day());
    }
    to.markup("</tr></tbody></table>");
}

/// What is kept from before the months that are shown.
fn earlier(days: &BTreeMap<Date, u32>, start: Date, to: &mut Html) {
    let mut months: BTreeMap<Date, u32> = BTreeMap::new();
    for (day, n) in days.range(..start) {
        *months.entry(day.first_of_month()).or_default() += n;
    }
    if months.is_empty() {
        return;
    }
    let n_counted = months.len().saturating_sub(MONTHS_COUNTED);
    let mut years: BTreeMap<i16, u32> = BTreeMap::new();
    for (month, n) in months.iter().take(n_counted) {
        *years.entry(month.year()).or_default() += n;
    }
    to.markup("<p class=\"earlier\">Before: ");
    let n_left_out = years.len().saturating_sub(YEARS_COUNTED);
    let older: u32 = years.iter().take(n_left_out).map(|(_, n)| n).sum();
    if older > 0 {
        put!(to, "<span>earlier <b>", { older }, "</b></span> ");
    }
    for (year, n) in years.iter().skip(n_left_out) {
        put!(to, "<span>", { year }, " <b>", { n }, "</b></span> ");
    }
    for (month, n) in months.iter().skip(n_counted) {
        put!(
            to,
            "<span>",
            { month.strftime("%b %Y") },
            " <b>",
            { n },
            "</b></span> "
        );
    }
    to.markup("</p>");
}
