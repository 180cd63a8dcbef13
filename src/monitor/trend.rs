//! Whether an archive is of a strange size: its rows and raw bytes against the median of the archives before it, its larger
//! tables against the archive just before. The comparisons are pure; reading the archives is at the end.

use std::collections::{BTreeMap, HashMap};

use crate::archive::manifest::{Manifest, Totals};
use crate::archive::{Archive, Listed};
use crate::config::Trend;
use crate::error::Result;
use crate::human;
use crate::toc::DataOf;

/// With fewer archives before it, nothing is said of the totals.
pub const EARLIER_MIN: usize = 3;
/// A table that had fewer rows may lose them all.
pub const TABLE_ROWS_MIN: u64 = 1000;
/// Growth up to here is no news, whatever the percentage.
const GROWN_BYTES_MIN: u64 = 1024 * 1024;
const GROWN_ROWS_MIN: u64 = 1000;
/// A table that had less than this part of all raw bytes may shrink.
const LARGE_TABLE_PERCENT: f64 = 10.0;

/// How [`Finding::about`] begins where it is about a table.
pub const TABLE: &str = "table ";

/// One strange number.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What it is of: `rows`, `raw bytes`, or `table NAME`.
    pub about: String,
    /// A sentence without its full stop.
    pub text: String,
}

/// What a number is called, where it stands, up to where its growth is no news, and how it is written.
type Number = (&'static str, fn(&Totals) -> u64, u64, fn(u64) -> String);

/// Compares the totals of an archive with those of the archives before it, newest first.
pub fn of_totals(newest: &Totals, earlier: &[Totals], trend: &Trend) -> Vec<Finding> {
    let wanted = usize::try_from(trend.archives).unwrap_or(usize::MAX);
    let earlier = &earlier[..earlier.len().min(wanted)];
    if earlier.len() < EARLIER_MIN {
        return Vec::new();
    }
    let numbers: [Number; 2] = [
        ("rows", |of| of.n_rows, GROWN_ROWS_MIN, human::exact),
        (
            "raw bytes",
            |of| of.raw_bytes,
            GROWN_BYTES_MIN,
            human::bytes,
        ),
    ];
    let mut findings = Vec::new();
    for (about, number, grown_min, worded) in numbers {
        let is = number(newest);
        let usual = median(earlier.iter().map(number).collect());
        let word = match change(is, usual) {
            Some(percent) if -percent > trend.shrinks_percent => "fewer",
            Some(percent) if percent > trend.grows_percent && is >= grown_min => "more",
            _ => continue,
        };
        let than = change(is, usual).map_or(0.0, f64::abs);
        findings.push(Finding {
            about: about.to_owned(),
            text: format!(
                "{} {about}, {than:.0} % {word} than the {} that the last {} archives had in the median",
                bare(&worded(is)),
                bare(&worded(usual)),
                earlier.len()
            ),
        });
    }
    findings
}

/// `310 MiB` rather than `310 MiB raw bytes` would be ambiguous; `17 B raw bytes` would be silly.
fn bare(number: &str) -> &str {
    number.strip_suffix(" B").unwrap_or(number)
}

/// The change in percent; `None` if there was nothing.
fn change(is: u64, was: u64) -> Option<f64> {
    (was > 0).then(|| (is as f64 / was as f64 - 1.0) * 100.0)
}

/// The middle one; of two the smaller.
fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers[(numbers.len() - 1) / 2]
}

/// How much a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableSize {
    /// Rows.
    pub n_rows: u64,
    /// Raw bytes.
    pub raw_bytes: u64,
}

/// Compares tables with those of the archive just before: which have lost all their rows, or are gone, or, if they were large, have shrunk.
pub fn of_tables(
    newest: &BTreeMap<String, TableSize>,
    previous: &BTreeMap<String, TableSize>,
    trend: &Trend,
) -> Vec<Finding> {
    let all_bytes: u64 = previous.values().map(|table| table.raw_bytes).sum();
    let mut findings = Vec::new();
    for (name, was) in previous {
        if was.n_rows < TABLE_ROWS_MIN {
            continue;
        }
        let had = human::exact(was.n_rows);
        let large = was.raw_bytes as f64 * 100.0 >= all_bytes as f64 * LARGE_TABLE_PERCENT;
        let text = match newest.get(name) {
            None => format!("table {name} is not there any more; it had {had} rows"),
            Some(is) if is.n_rows == 0 => format!("table {name} has lost all its {had} rows"),
            Some(is) => match change(is.n_rows, was.n_rows) {
                Some(percent) if large && -percent > trend.shrinks_percent => format!(
                    "table {name} has {} rows, {:.0} % fewer than the {had} before",
                    human::exact(is.n_rows),
                    -percent
                ),
                _ => continue,
            },
        };
        findings.push(Finding {
            about: format!("{TABLE}{name}"),
            text,
        });
    }
    findings
}

/// Compares `archive` with those of `listed` (oldest first, as [`crate::Repository::archives`] gives them) that came before it and
/// hold the same choice of the same group. `with_tables` says whether tables are compared too, which reads the tables' lists of
/// two archives.
pub async fn of_archive(
    archive: &Archive,
    listed: &[Listed],
    trend: &Trend,
    with_tables: bool,
) -> Result<Vec<Finding>> {
    let newest = archive.manifest();
    let earlier: Vec<&Manifest> = listed
        .iter()
        .rev()
        .filter_map(|one| one.manifest.as_deref().ok())
        .filter(|one| {
            one.group == newest.group
                && one.selection == newest.selection
                && one.created < newest.created
        })
        .collect();
    let totals: Vec<Totals> = earlier.iter().map(|one| one.totals).collect();
    let mut findings = of_totals(&newest.totals, &totals, trend);
    if let (true, Some(previous)) = (with_tables, earlier.first()) {
        let previous = archive.repository().read(&previous.name).await?;
        let (newest, previous) = (tables_of(archive).await?, tables_of(&previous).await?);
        findings.extend(of_tables(&newest, &previous, trend));
    }
    Ok(findings)
}

/// The tables of an archive with what they hold.
async fn tables_of(archive: &Archive) -> Result<BTreeMap<String, TableSize>> {
    let mut names = HashMap::new();
    let mut entries = archive.entry_reader();
    while let Some(entry) = entries.next().await? {
        if let Some(DataOf::Table { .. }) = entry.data {
            names.insert(entry.id, entry.name.to_string());
        }
    }
    let mut tables = BTreeMap::new();
    let mut indexes = archive.table_index_reader();
    while let Some(index) = indexes.next().await? {
        if let Some(name) = names.remove(&index.entry) {
            let size = TableSize {
                n_rows: index.n_rows,
                raw_bytes: index.n_bytes,
            };
            tables.insert(name, size);
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(n_rows: u64, raw_bytes: u64) -> Totals {
        Totals {
            n_rows,
            raw_bytes,
            ..Totals::default()
        }
    }

    fn said(newest: (u64, u64), earlier: &[(u64, u64)]) -> Vec<String> {
        let earlier: Vec<Totals> = earlier.iter().map(|(r, b)| totals(*r, *b)).collect();
        let findings = of_totals(&totals(newest.0, newest.1), &earlier, &Trend::default());
        findings.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn totals_are_compared_with_the_median() {
        let usual = [(10_000, 5 << 20), (11_000, 6 << 20), (9_000, 4 << 20)];
        assert_eq!(said((8_100, 5 << 20), &usual), Vec::<String>::new());
        assert_eq!(said((19_000, 9 << 20), &usual), Vec::<String>::new());
        assert_eq!(
            said((7_900, 5 << 20), &usual),
            ["7,900 rows, 21 % fewer than the 10,000 that the last 3 archives had in the median"]
        );
        assert_eq!(
            said((10_000, 15 << 20), &usual),
            [
                "15 MiB raw bytes, 200 % more than the 5.0 MiB that the last 3 archives had in the median"
            ]
        );
        assert_eq!(
            said((0, 0), &usual),
            [
                "0 rows, 100 % fewer than the 10,000 that the last 3 archives had in the median",
                "0 raw bytes, 100 % fewer than the 5.0 MiB that the last 3 archives had in the median"
            ]
        );
    }

    #[test]
    fn one_strange_archive_before_changes_nothing() {
        let usual = [
            (1, 1),
            (10_000, 5 << 20),
            (10_000, 5 << 20),
            (10_000, 5 << 20),
        ];
        assert_eq!(said((10_000, 5 << 20), &usual), Vec::<String>::new());
        assert_eq!(said((1, 1), &usual).len(), 2);
    }

    #[test]
    fn too_few_archives_and_small_growth_say_nothing() {
        assert_eq!(
            said((0, 0), &[(10_000, 5 << 20), (10_000, 5 << 20)]),
            Vec::<String>::new()
        );
        assert_eq!(
            said((900, 1000), &[(3, 100), (3, 100), (3, 100)]),
            Vec::<String>::new()
        );
        assert_eq!(
            said((5, 5), &[(0, 0), (0, 0), (0, 0)]),
            Vec::<String>::new()
        );
        // Only as many as the configuration says are looked at.
        let trend = Trend {
            archives: 2,
            ..Trend::default()
        };
        let earlier = [totals(10_000, 1); 9];
        assert_eq!(of_totals(&totals(0, 0), &earlier, &trend), []);
    }

    #[test]
    fn a_table_that_loses_its_rows_is_named() {
        let tables = |sizes: &[(&str, u64, u64)]| -> BTreeMap<String, TableSize> {
            let sizes = sizes.iter().map(|(name, n_rows, raw_bytes)| {
                let size = TableSize {
                    n_rows: *n_rows,
                    raw_bytes: *raw_bytes,
                };
                ((*name).to_owned(), size)
            });
            sizes.collect()
        };
        let previous = tables(&[
            ("public.big", 100_000, 90_000_000),
            ("public.dropped", 5_000, 100_000),
            ("public.emptied", 1_000, 20_000),
            ("public.queue", 999, 20_000),
            ("public.shrunk", 4_000, 80_000),
        ]);
        let newest = tables(&[
            ("public.big", 70_000, 63_000_000),
            ("public.emptied", 0, 0),
            ("public.new", 1, 1),
            ("public.queue", 0, 0),
            // Not large enough to matter by itself.
            ("public.shrunk", 1, 20),
        ]);
        let findings = of_tables(&newest, &previous, &Trend::default());
        let texts: Vec<&str> = findings.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "table public.big has 70,000 rows, 30 % fewer than the 100,000 before",
                "table public.dropped is not there any more; it had 5,000 rows",
                "table public.emptied has lost all its 1,000 rows",
            ]
        );
        assert_eq!(of_tables(&previous, &previous, &Trend::default()), []);
    }

    #[tokio::test]
    async fn archives_of_one_choice_are_compared_by_table() {
        use crate::archive::fixture;
        let store = std::sync::Arc::new(crate::MemoryStore::new());
        let repository = fixture::repository(store).await;
        let rows = |n: u64| fixture::Table {
            name: "orders",
            rows: (0..n).map(|i| format!("{i}\torder\t\\N")).collect(),
            cell_rows: None,
        };
        let made = |name: &str, day: i64, n| {
            let repository = repository.clone();
            let name = name.to_owned();
            async move {
                fixture::dump_later(&repository, &name, &[rows(n)], day)
                    .await
                    .unwrap()
            }
        };
        made("a", 0, 1200).await;
        let emptied = made("b", 1, 0).await;
        let listed = repository.archives().await.unwrap();
        let findings = of_archive(&emptied, &listed, &Trend::default(), true)
            .await
            .unwrap();
        assert_eq!(findings.len(), 1);
        assert_eq!(
            findings[0].text,
            "table public.orders has lost all its 1,200 rows"
        );
        let quick = of_archive(&emptied, &listed, &Trend::default(), false).await;
        assert_eq!(quick.unwrap(), []);
    }
}
