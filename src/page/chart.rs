//! Lines over time as inline SVG, with a title for each point. Knows units and scales, not what is measured.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::html::{Html, put};
use super::series::{Point, Stands, thinned};
use super::shell::{date, moment};
use crate::human;

const WIDTH: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 310.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 132.0;
const DATES: f64 = 152.0;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Count,
    Milliseconds,
}

impl Unit {
    /// The value for people.
    pub(super) fn show(self, value: u64) -> String {
        match self {
            Unit::Bytes => human::bytes(value),
            Unit::Count => human::count(value),
            Unit::Milliseconds => human::duration(std::time::Duration::from_millis(value)),
        }
    }

    /// The smallest round number that is not below `value` and whose half is round too.
    fn ceiling(self, value: u64) -> u64 {
        const ROUND: [u64; 6] = [1, 2, 4, 6, 8, 10];
        if self == Unit::Milliseconds {
            const LENGTHS: [u64; 19] = [
                200, 400, 1000, 2000, 4000, 10_000, 20_000, 40_000, 60_000, 120_000, 240_000,
                600_000, 1_200_000, 2_400_000, 3_600_000, 7_200_000, 14_400_000, 43_200_000,
                86_400_000,
            ];
            let fits = LENGTHS.into_iter().find(|length| *length >= value);
            return fits.unwrap_or_else(|| value.div_ceil(86_400_000).saturating_mul(86_400_000));
        }
        let base = if self == Unit::Bytes { 1024 } else { 1000 };
        let mut unit = 1_u64;
        while let Some(next) = unit.checked_mul(base).filter(|next| *next <= value) {
            unit = next;
        }
        for decade in [1, 10, 100] {
            for round in ROUND {
                let top = unit.saturating_mul(round * decade);
                if top >= value && top > 1 {
                    return top;
                }
            }
        }
        unit.saturating_mul(base)
    }

    /// The value beside a line of the grid: short.
    fn tick(self, value: u64) -> String {
        if self == Unit::Milliseconds {
            return match value {
                0 => "0".to_owned(),
                ms if ms < 1000 => format!("{:.1} s", ms as f64 / 1000.0),
                ms if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
                ms if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
                ms => format!("{} s", ms / 1000),
            };
        }
        if value == 0 {
            return "0".to_owned();
        }
        self.show(value).replace(".0 ", " ")
    }
}

/// One line of a chart.
pub(super) struct Line {
    /// What it is, for people.
    pub(super) name: &'static str,
    pub(super) points: Vec<Point>,
    pub(super) stands: Stands,
}

/// One chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: Unit,
    /// One or two; the first is filled.
    pub(super) lines: Vec<Line>,
    /// What stands beside the title: the newest value, how it changed.
    pub(super) note: String,
}

impl Chart {
    /// Draws it as a figure.
    pub(super) fn draw(&self, zone: &TimeZone, to: &mut Html) {
        put!(
            to,
            "<figure><figcaption><b>",
            { self.title },
            "</b> <span>",
            { &self.note },
            "</span></figcaption>"
        );
        put!(
            to,
            "<svg viewBox=\"0 0 320 160\" role=\"img\"><title>",
            { self.title },
            ": ",
            { &self.note },
            "</title>"
        );
        let lines: Vec<Vec<Point>> = self
            .lines
            .iter()
            .map(|line| thinned(&line.points, line.stands))
            .collect();
        let values = lines.iter().flatten().map(|point| point.value);
        let top = self.unit.ceiling(values.max().unwrap_or(0));
        self.grid(top, to);
        let frame = Frame::of(&lines, top);
        frame.dates(zone, to);
        for (i, points) in lines.iter().enumerate() {
            frame.line(i, points, to);
        }
        for (i, (line, points)) in self.lines.iter().zip(&lines).enumerate() {
            put!(to, "<g class=\"p", { i }, "\">");
            for point in points {
                put!(
                    to,
                    "<circle cx=\"",
                    { coordinate(frame.x(point.at)) },
                    "\" cy=\"",
                    { coordinate(frame.y(point.value)) },
                    "\" r=\"2.2\"><title>",
                    { moment(point.at, zone) },
                    ": "
                );
                if self.lines.len() > 1 {
                    put!(to, { line.name }, " ");
                }
                put!(to, { self.unit.show(point.value) }, "</title></circle>");
            }
            to.markup("</g>");
        }
        to.markup("</svg>");
        if self.lines.len() > 1 {
            to.markup("<p class=\"legend\">");
            for (i, line) in self.lines.iter().enumerate() {
                put!(
                    to,
                    "<span class=\"k",
                    { i },
                    "\"></span>",
                    { line.name },
                    " "
                );
            }
            to.markup("</p>");
        }
        to.markup("</figure>\n");
    }

    fn grid(&self, top: u64, to: &mut Html) {
        to.markup("<g class=\"grid\">");
        for value in [0, top / 2, top] {
            let y = BOTTOM - (BOTTOM - TOP) * value as f64 / top as f64;
            put!(
                to,
                "<path d=\"M",
                { LEFT },
                " ",
                { coordinate(y) },
                "H",
                { RIGHT },
                "\"/>"
            );
            put!(
                to,
                "<text x=\"",
                { LEFT - 6.0 },
                "\" y=\"",
                { coordinate(y + 3.5) },
                "\" text-anchor=\"end\">",
                { self.unit.tick(value) },
                "</text>"
            );
        }
        to.markup("</g>");
    }
}

/// From times and values to places.
struct Frame {
    first: Timestamp,
    last: Timestamp,
    top: u64,
}

impl Frame {
    fn of(lines: &[Vec<Point>], top: u64) -> Frame {
        let times = || lines.iter().flatten().map(|point| point.at);
        Frame {
            first: times().min().unwrap_or(Timestamp::UNIX_EPOCH),
            last: times().max().unwrap_or(Timestamp::UNIX_EPOCH),
            top,
        }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let span = self.last.duration_since(self.first).as_secs_f64();
        if span <= 0.0 {
            return f64::midpoint(LEFT, RIGHT);
        }
        LEFT + (RIGHT - LEFT) * at.duration_since(self.first).as_secs_f64() / span
    }

    fn y(&self, value: u64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value as f64 / self.top as f64
    }

    fn dates(&self, zone: &TimeZone, to: &mut Html) {
        let (first, last) = (date(self.first, zone), date(self.last, zone));
        to.markup("<g class=\"grid\">");
        if first == last {
            put!(
                to,
                "<text x=\"",
                { f64::midpoint(LEFT, RIGHT) },
                "\" y=\"",
                { DATES },
                "\" text-anchor=\"middle\">",
                { first },
                "</text>"
            );
        } else {
            put!(
                to,
                "<text x=\"",
                { LEFT },
                "\" y=\"",
                { DATES },
                "\">",
                { first },
                "</text>"
            );
            put!(
                to,
                "<text x=\"",
                { RIGHT },
                "\" y=\"",
                { DATES },
                "\" text-anchor=\"end\">",
                { last },
                "</text>"
            );
        }
        to.markup("</g>");
    }

    fn line(&self, number: usize, points: &[Point], to: &mut Html) {
        let place = |point: &Point| {
            let (x, y) = (self.x(point.at), self.y(point.value));
            format!("{} {}", coordinate(x), coordinate(y))
        };
        let places: Vec<String> = points.iter().map(place).collect();
        let path = format!("M{}", places.join("L"));
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return;
        };
        if points.len() > 1 && number == 0 {
            put!(
                to,
                "<path class=\"area\" d=\"",
                { &path },
                "V",
                { BOTTOM },
                "H",
                { coordinate(self.x(first.at)) },
                "Z\"/>"
            );
        }
        put!(
            to,
            "<path class=\"l",
            { number },
            "\" d=\"",
            { &path },
            "\"/>"
        );
        put!(
            to,
            "<circle class=\"e",
            { number },
            "\" cx=\"",
            { coordinate(self.x(last.at)) },
            "\" cy=\"",
            { coordinate(self.y(last.value)) },
            "\" r=\"3.2\"/>"
        );
    }
}

/// A small line without words, for a row of a table: decoration beside numbers that are there as text.
pub(super) fn spark(points: &[Point], to: &mut Html) {
    let points = thinned(points, Stands::Last);
    if points.len() < 2 {
        return;
    }
    let values = || points.iter().map(|point| point.value);
    let (low, high) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
    let step = 76.0 / (points.len() - 1) as f64;
    to.markup(
        "<svg class=\"spark\" viewBox=\"0 0 80 20\" aria-hidden=\"true\"><path class=\"l0\" d=\"",
    );
    for (i, point) in points.iter().enumerate() {
        let share = if high > low {
            (point.value - low) as f64 / (high - low) as f64
        } else {
            0.5
        };
        to.markup(if i == 0 { "M" } else { "L" });
        put!(to, { coordinate(2.0 + step * i as f64) }, " ", {
            coordinate(17.0 - 14.0 * share)
        });
    }
    to.markup("\"/></svg>");
}

/// One decimal is finer than any screen.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A bar from nothing to `whole`, with the share of `part` in it.
pub(super) fn bar(part: u64, whole: u64, class: &'static str, to: &mut Html) {
    let share = if whole == 0 {
        0.0
    } else {
        (part as f64 / whole as f64).min(1.0) * WIDTH
    };
    put!(
        to,
        "<svg class=\"bar\" viewBox=\"0 0 320 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"rail\" width=\"320\" height=\"8\"/><rect class=\"",
        { class },
        "\" width=\"",
        { coordinate(share) },
        "\" height=\"8\"/></svg>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers_above_the_largest_value() {
        for (unit, value, tick) in [
            (Unit::Bytes, 0, "2 B"),
            (Unit::Bytes, 1500, "2 KiB"),
            (Unit::Bytes, 700 * 1024 * 1024, "800 MiB"),
            (Unit::Bytes, 1010 * 1024 * 1024, "1 GiB"),
            (Unit::Count, 82_225, "100 K"),
            (Unit::Count, 7, "8"),
            (Unit::Milliseconds, 90, "0.2 s"),
            (Unit::Milliseconds, 15_000, "20 s"),
            (Unit::Milliseconds, 400_000, "10 min"),
            (Unit::Milliseconds, 100 * 3_600_000, "120 h"),
        ] {
            let top = unit.ceiling(value);
            assert!(top >= value);
            assert_eq!(unit.tick(top), tick);
        }
        for unit in [Unit::Bytes, Unit::Count, Unit::Milliseconds] {
            assert!(unit.ceiling(u64::MAX) > u64::MAX / 2);
        }
    }
}
