//! `pgark diff`: what changed between two archives, and how such differences are shown.

use serde::Serialize;

use super::{Context, choose, exit::Outcome, human, place};
use crate::archive::GroupFilter;
use crate::error::Result;
use crate::manage::diff::{Change, Contents, Diff, ObjectChange, RangeChange, RowsChange, diff};

/// Shows what changed between two archives: objects, and tables whose rows differ
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pgark diff shop-20261121T020000Z              from that archive to the newest of the same group
  pgark diff shop-20261121T020000Z shop-20261122T020000Z
  pgark diff monday tuesday -v                  with the ranges of rows whose chunks differ
  pgark diff monday tuesday --json | jq '.rows[].table'

Rows are not read: fingerprints say whether a table's rows differ, names of chunks where. A live database is compared by \
`pgark verify ARCHIVE --against -d DATABASE`. Differences end with exit code 17.")]
pub(crate) struct DiffVerb {
    /// The first archive: its name, or a unique beginning of it
    #[arg(value_name = "FIRST")]
    first: String,
    /// The second archive [default: the newest of the first one's group]
    #[arg(value_name = "SECOND")]
    second: Option<String>,
}

/// What was compared with what. The fields are API.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    first: &'a str,
    second: &'a str,
    #[serde(flatten)]
    diff: &'a Diff,
}

impl DiffVerb {
    pub(crate) async fn run(&self, cx: &Context) -> Result<Outcome> {
        let repository = place::open(cx).await?;
        let anything = GroupFilter::default();
        let first = choose::archive(&repository, Some(&self.first), &anything).await?;
        let same_group = GroupFilter::of(&first.manifest().group);
        let second = choose::archive(&repository, self.second.as_deref(), &same_group).await?;
        let sides = (Contents::of(&first).await?, Contents::of(&second).await?);
        let found = diff(&sides.0, &sides.1);
        show((first.name().as_str(), second.name().as_str()), &found, cx)
    }
}

/// Prints the differences.
pub(crate) fn show(names: (&str, &str), diff: &Diff, cx: &Context) -> Result<Outcome> {
    cx.shown.finish();
    if cx.common.json {
        let (first, second) = names;
        cx.output.json(&Shown {
            first,
            second,
            diff,
        })?;
    } else {
        print(names, diff, cx)?;
    }
    Ok(if diff.is_empty() {
        Outcome::Done
    } else {
        Outcome::Different
    })
}

/// Ranges that are named of a table without --verbose.
const RANGES_SHOWN: usize = 3;

fn print((first, second): (&str, &str), diff: &Diff, cx: &Context) -> Result<()> {
    for object in &diff.objects {
        cx.output.line(object_line(object))?;
    }
    for rows in &diff.rows {
        cx.output.line(rows_line(rows))?;
        let shown = if cx.common.verbose {
            rows.ranges.len()
        } else {
            RANGES_SHOWN
        };
        for range in rows.ranges.iter().take(shown) {
            cx.output.line(format!("    {}", range_line(range)))?;
        }
        let more = rows.ranges.len().saturating_sub(shown);
        if more > 0 {
            let more = human::things(more as u64, "range");
            cx.output
                .line(format!("    and {more} more; -v shows them"))?;
        }
    }
    cx.output
        .line(format!("{first} → {second}: {}", summary(diff)))
}

fn sign(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    }
}

fn object_line(object: &ObjectChange) -> String {
    let aspects: Vec<String> = object.aspects.iter().map(ToString::to_string).collect();
    let aspects = if aspects.is_empty() {
        String::new()
    } else {
        format!(": {}", aspects.join(", "))
    };
    format!(
        "{} {} {}{aspects}",
        sign(object.change),
        object.kind,
        object.name
    )
}

fn rows_line(rows: &RowsChange) -> String {
    let n = |side: &Option<crate::manage::diff::RowsOf>| {
        side.as_ref()
            .map_or_else(|| "none".to_owned(), |side| human::exact(side.rows))
    };
    let numbers = match (&rows.first, &rows.second) {
        (Some(a), Some(b)) if a.rows == b.rows => {
            format!("{}, with other contents", n(&rows.first))
        }
        _ => format!("{} → {}", n(&rows.first), n(&rows.second)),
    };
    let why = rows
        .because
        .as_ref()
        .map_or_else(String::new, |because| format!("; {because}"));
    format!(
        "{} rows of {}: {numbers}{why}",
        sign(rows.change),
        rows.table
    )
}

fn range_line(range: &RangeChange) -> String {
    let n = |n: Option<u64>| n.map_or_else(|| "not cut so".to_owned(), |n| human::things(n, "row"));
    let rows = if range.first_rows == range.second_rows {
        n(range.first_rows)
    } else {
        format!("{} → {}", n(range.first_rows), n(range.second_rows))
    };
    format!(
        "{}: {rows}; {} gone, {} new",
        range.range,
        human::things(range.first_chunks.len() as u64, "chunk"),
        human::things(range.second_chunks.len() as u64, "chunk"),
    )
}

fn summary(diff: &Diff) -> String {
    if diff.is_empty() {
        return format!(
            "no difference in {} and the rows of {}",
            human::things(diff.n_same_objects, "object"),
            human::things(diff.n_same_tables, "table")
        );
    }
    let n = |change: Change| {
        diff.objects
            .iter()
            .filter(|one| one.change == change)
            .count() as u64
    };
    format!(
        "{} added, {} removed, {} changed, {} the same; rows of {} differ, of {} are the same",
        human::things(n(Change::Added), "object"),
        n(Change::Removed),
        n(Change::Changed),
        diff.n_same_objects,
        human::things(diff.rows.len() as u64, "table"),
        diff.n_same_tables,
    )
}
