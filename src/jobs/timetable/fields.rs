//! Five cron fields as the numbers that they name, so that each starter can write them its own way. What one of them would read otherwise
//! than another is refused.

use std::fmt::Write as _;

use crate::config::Schedule;

/// The numbers of each field; `None` is every number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// 0 to 59.
    pub minutes: Option<Vec<u8>>,
    /// 0 to 23.
    pub hours: Option<Vec<u8>>,
    /// 1 to 31.
    pub days: Option<Vec<u8>>,
    /// 1 to 12.
    pub months: Option<Vec<u8>>,
    /// 0 to 6, Sunday first.
    pub weekdays: Option<Vec<u8>>,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Fields {
    /// Reads the fields.
    pub fn of(schedule: &Schedule) -> Result<Fields, String> {
        let text = schedule.as_str();
        let parts: Vec<&str> = text.split(' ').collect();
        let [minutes, hours, days, months, weekdays] = parts[..] else {
            return Err(format!("{text:?} has not five fields"));
        };
        let read = |part: &str, least, most, names: &[&str], first| {
            numbers(part, least, most, &Names { names, first })
                .map_err(|problem| format!("{text:?}: {problem}"))
        };
        let mut of_week = read(weekdays, 0, 7, &WEEKDAYS, 0)?;
        if let Some(days) = &mut of_week {
            for day in days.iter_mut() {
                *day %= 7;
            }
            days.sort_unstable();
            days.dedup();
        }
        // Vixie's cron wants both to fit as soon as one of the fields begins with a star; others take either.
        let stepped = |part: &str| part.starts_with('*') && part != "*";
        if (stepped(days) && weekdays != "*") || (stepped(weekdays) && days != "*") {
            return Err(format!(
                "{text:?}: a step such as */2 in the day of the month together with a day of the week means different things to different programs; write the days out, as 1-31/2"
            ));
        }
        Ok(Fields {
            minutes: read(minutes, 0, 59, &[], 0)?,
            hours: read(hours, 0, 23, &[], 0)?,
            days: read(days, 1, 31, &[], 1)?,
            months: read(months, 1, 12, &MONTHS, 1)?,
            weekdays: of_week,
        })
    }

    /// The five fields in numbers that every cron reads alike.
    pub fn plain(&self) -> String {
        let fields = [
            &self.minutes,
            &self.hours,
            &self.days,
            &self.months,
            &self.weekdays,
        ];
        fields.map(|field| list(field.as_deref(), false)).join(" ")
    }
}

/// Names that stand for numbers.
struct Names<'a> {
    names: &'a [&'a str],
    first: u8,
}

impl Names<'_> {
    fn number(&self, text: &str) -> Option<u8> {
        if let Ok(number) = text.parse() {
            return Some(number);
        }
        let text = text.to_ascii_lowercase();
        let at = self.names.iter().position(|name| *name == text)?;
        u8::try_from(at).ok().map(|at| at + self.first)
    }
}

/// Lists, ranges and steps, as every cron has them. Without any the field stands for all.
fn numbers(part: &str, least: u8, most: u8, names: &Names<'_>) -> Result<Option<Vec<u8>>, String> {
    let problem = |item: &str| {
        format!(
            "{item:?} is more than numbers, lists, ranges and steps, and not every cron, systemd and Kubernetes can express it"
        )
    };
    if part == "*" {
        return Ok(None);
    }
    let mut all = Vec::new();
    for item in part.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse().map_err(|_| problem(item))?),
            None => (item, 1_u8),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, if most == 7 { 6 } else { most }),
            Some((from, to)) => (
                names.number(from).ok_or_else(|| problem(item))?,
                names.number(to).ok_or_else(|| problem(item))?,
            ),
            // A step from a number on is not known to Vixie's cron.
            None if step != 1 => return Err(problem(item)),
            None => {
                let number = names.number(range).ok_or_else(|| problem(item))?;
                (number, number)
            }
        };
        if step == 0 || from > to || from < least || to > most {
            return Err(problem(item));
        }
        all.extend((from..=to).step_by(usize::from(step)));
    }
    all.sort_unstable();
    all.dedup();
    Ok(Some(all))
}

/// `*`, or the numbers, those in a row as a range.
fn list(field: Option<&[u8]>, two_digits: bool) -> String {
    let Some(numbers) = field else {
        return "*".to_owned();
    };
    let mut text = String::new();
    let mut rest = numbers;
    while let [first, ..] = rest {
        let n_in_row = (1..rest.len())
            .take_while(|&i| usize::from(rest[i]) == usize::from(*first) + i)
            .count()
            + 1;
        if !text.is_empty() {
            text.push(',');
        }
        let last = rest[n_in_row - 1];
        // Writing to a string does not fail.
        let _ = match (n_in_row, two_digits) {
            (1, false) => write!(text, "{first}"),
            (1, true) => write!(text, "{first:02}"),
            (2, false) => write!(text, "{first},{last}"),
            (2, true) => write!(text, "{first:02},{last:02}"),
            (_, false) => write!(text, "{first}-{last}"),
            (_, true) => write!(text, "{first:02}..{last:02}"),
        };
        rest = &rest[n_in_row..];
    }
    text
}

/// The fields as systemd's calendar events (systemd.time(7)). Where day of month and day of week are both given, cron takes either and
/// systemd both: so there are two events.
pub fn calendars(fields: &Fields, zone: Option<&str>) -> Vec<String> {
    let time = format!(
        "{}:{}:00",
        list(fields.hours.as_deref(), true),
        list(fields.minutes.as_deref(), true)
    );
    let months = list(fields.months.as_deref(), true);
    let zone = zone.map_or_else(String::new, |zone| format!(" {zone}"));
    let date = |days: &str| format!("*-{months}-{days} {time}{zone}");
    let on_days = || date(&list(fields.days.as_deref(), true));
    let on_weekdays = |weekdays: &[u8]| {
        // systemd's week begins on Monday, and a range must not run over its end.
        let mut order: Vec<u8> = weekdays.iter().map(|day| (day + 6) % 7).collect();
        order.sort_unstable();
        let names = order.iter().map(|day| {
            let name = WEEKDAYS[usize::from((day + 1) % 7)];
            format!("{}{}", name[..1].to_uppercase(), &name[1..])
        });
        format!("{} {}", names.collect::<Vec<_>>().join(","), date("*"))
    };
    match (&fields.days, &fields.weekdays) {
        (_, None) => vec![on_days()],
        (None, Some(weekdays)) => vec![on_weekdays(weekdays)],
        (Some(_), Some(weekdays)) => vec![on_days(), on_weekdays(weekdays)],
    }
}
