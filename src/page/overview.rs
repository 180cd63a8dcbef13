//! The upper part of the page: problems first, figures of the whole repository, a line for each group.

use super::chart::spark;
use super::drills::drill_table;
use super::group::{title, verified_words};
use super::html::{Html, put};
use super::problems::{Problem, Weight, elapsed};
use super::series::Point;
use super::shell::{moment, time};
use super::{GROUPS_IN_DETAIL, PageData};
use crate::human;

/// Problems that are listed; more are counted.
const PROBLEMS_SHOWN: usize = 60;
/// Groups that have a line; more are counted.
const GROUPS_SHOWN: usize = 200;
/// Drills that are listed.
const DRILLS_SHOWN: usize = 10;

/// What is not as it should be.
pub(super) fn problems(page: &PageData, problems: &[Problem], to: &mut Html) {
    if problems.is_empty() {
        if page.groups.is_empty() {
            put!(
                to,
                "<section class=\"card empty\"><h2>No archives yet</h2><p><code>pgark dump -d DATABASE</code> makes the first one.</p></section>\n"
            );
        }
        return;
    }
    to.markup("<section aria-labelledby=\"problems\"><h2 id=\"problems\">Problems</h2><ul class=\"problems\">\n");
    for problem in problems.iter().take(PROBLEMS_SHOWN) {
        to.markup(match problem.weight {
            Weight::Alarm => "<li class=\"alarm\"><b class=\"tag\">Alarm</b><div>",
            Weight::Notice => "<li class=\"notice\"><b class=\"tag\">Notice</b><div>",
        });
        if let Some(number) = problem.group {
            if number < GROUPS_IN_DETAIL {
                put!(
                    to,
                    "<a href=\"#g",
                    { number },
                    "\">",
                    { title(&page.groups[number].group) },
                    "</a>: "
                );
            } else {
                put!(to, "<b>", { title(&page.groups[number].group) }, "</b>: ");
            }
        }
        put!(to, { &problem.text }, ".<p class=\"remedy\">");
        with_code(&problem.remedy, to);
        to.markup(".</p></div></li>\n");
    }
    to.markup("</ul>");
    if problems.len() > PROBLEMS_SHOWN {
        put!(
            to,
            "<p class=\"more\">and ",
            { problems.len() - PROBLEMS_SHOWN },
            " more</p>"
        );
    }
    to.markup("</section>\n");
}

/// Text in which what stands between backquotes is code.
fn with_code(text: &str, to: &mut Html) {
    for (i, part) in text.split('`').enumerate() {
        if i % 2 == 1 {
            put!(to, "<code>", { part }, "</code>");
        } else {
            put!(to, { part });
        }
    }
}

/// Figures of the whole repository.
pub(super) fn figures(page: &PageData, to: &mut Html) {
    let n_archives = page.n_archives();
    let raw = page.groups.iter().map(super::GroupData::raw_bytes);
    let raw = raw.fold(0, u64::saturating_add);
    let kept = page.kept_bytes();
    let newest = page.groups.iter().filter_map(super::GroupData::newest);
    let newest = newest.map(|one| one.created).max();
    if n_archives == 0 {
        return;
    }
    to.markup("<section aria-label=\"The repository\"><dl class=\"figures\">");
    put!(
        to,
        "<div><dt>Archives</dt><dd>",
        { human::exact(n_archives) },
        "</dd><dd class=\"sub\">in ",
        { human::things(page.groups.len() as u64, "group") },
        "</dd></div>"
    );
    if let Some(newest) = newest {
        put!(
            to,
            "<div><dt>Newest</dt><dd>",
            { human::duration(elapsed(newest, page.now)) },
            " old</dd><dd class=\"sub\">",
            { moment(newest, &page.zone) },
            "</dd></div>"
        );
    }
    put!(
        to,
        "<div><dt>Stored</dt><dd>",
        { human::bytes(kept) },
        "</dd><dd class=\"sub\">for ",
        { human::bytes(raw) },
        " of rows</dd></div>"
    );
    if kept > 0 {
        put!(
            to,
            "<div><dt>Raw to stored</dt><dd>",
            { format!("{:.0}×", raw as f64 / kept as f64) },
            "</dd><dd class=\"sub\">by sharing and compression</dd></div>"
        );
    }
    let drills = page.groups.iter().filter_map(|data| data.drills.first());
    match drills.max_by_key(|drill| drill.at) {
        Some(drill) => {
            let verdict = if drill.passed() { "passed" } else { "failed" };
            put!(to, "<div><dt>Last drill</dt><dd>", { verdict }, "</dd><dd class=\"sub\">", { human::duration(elapsed(drill.at, page.now)) }, " ago</dd></div>");
        }
        None => to.markup("<div><dt>Last drill</dt><dd>none</dd><dd class=\"sub\">try <code>pgark drill</code></dd></div>"),
    }
    to.markup("</dl></section>\n");
}

/// A line for each group.
pub(super) fn groups(page: &PageData, problems: &[Problem], to: &mut Html) {
    if page.groups.len() < 2 {
        return;
    }
    to.markup("<section class=\"card\" aria-labelledby=\"groups\"><h2 id=\"groups\">Groups</h2><table class=\"rows\"><thead><tr><th scope=\"col\">Group<th scope=\"col\">State<th scope=\"col\">Newest<th scope=\"col\" class=\"n\">Archives<th scope=\"col\" class=\"n\">Size<th scope=\"col\">Trend<th scope=\"col\">Newest verified<th scope=\"col\">Last drill</tr></thead><tbody>\n");
    for (number, data) in page.groups.iter().enumerate().take(GROUPS_SHOWN) {
        to.markup("<tr><th scope=\"row\">");
        if number < GROUPS_IN_DETAIL {
            put!(
                to,
                "<a href=\"#g",
                { number },
                "\">",
                { title(&data.group) },
                "</a>"
            );
        } else {
            put!(to, { title(&data.group) });
        }
        let worst = problems
            .iter()
            .filter(|one| one.group == Some(number))
            .map(|one| one.weight)
            .min();
        to.markup(match worst {
            Some(Weight::Alarm) => "<td data-l=\"State\"><b class=\"tag alarm\">Alarm</b>",
            Some(Weight::Notice) => "<td data-l=\"State\"><b class=\"tag notice\">Notice</b>",
            None => "<td data-l=\"State\"><b class=\"tag good\">Good</b>",
        });
        to.markup("<td data-l=\"Newest\">");
        match data.newest() {
            Some(newest) => time(newest.created, page, to),
            None => to.markup("none"),
        }
        put!(to, "<td class=\"n\" data-l=\"Archives\">", {
            human::exact(data.archives.len() as u64)
        });
        put!(to, "<td class=\"n\" data-l=\"Size\">", {
            data.newest()
                .map_or_else(|| "–".to_owned(), |one| human::bytes(one.raw_bytes))
        });
        to.markup("<td data-l=\"Trend\">");
        let sizes = data.archives.iter().map(|one| Point {
            at: one.created,
            value: one.raw_bytes,
        });
        spark(&sizes.collect::<Vec<Point>>(), to);
        put!(to, "<td data-l=\"Verified\">", {
            data.newest()
                .map_or_else(|| "–".to_owned(), |one| verified_words(one, page))
        });
        to.markup("<td data-l=\"Last drill\">");
        match data.drills.first() {
            Some(drill) => {
                time(drill.at, page, to);
                to.markup(if drill.passed() {
                    ", passed"
                } else {
                    ", failed"
                });
            }
            None => to.markup("none"),
        }
        to.markup("</tr>\n");
    }
    to.markup("</tbody></table>");
    if page.groups.len() > GROUPS_SHOWN {
        put!(
            to,
            "<p class=\"more\">and ",
            { page.groups.len() - GROUPS_SHOWN },
            " more groups</p>"
        );
    }
    if page.groups.len() > GROUPS_IN_DETAIL {
        put!(
            to,
            "<p class=\"more\">The first ",
            { GROUPS_IN_DETAIL },
            " are shown below; <code>pgark report --dbname NAME</code> or <code>--job NAME</code> shows others.</p>"
        );
    }
    to.markup("</section>\n");
}

/// Drills with archives that are gone.
pub(super) fn other_drills(page: &PageData, to: &mut Html) {
    if page.other_drills.is_empty() {
        return;
    }
    to.markup("<section class=\"card\" aria-labelledby=\"gone\"><h2 id=\"gone\">Drills with archives that are gone</h2>");
    let shown = &page.other_drills[..page.other_drills.len().min(DRILLS_SHOWN)];
    drill_table(page, shown, to);
    to.markup("</section>\n");
}
