//! Where a table is cut by the values of a key: how its rows spread over them, and which bounds stay from dump to dump. Pure;
//! the key is chosen and its statistics are read in `key_columns`.

use crate::archive::index::{CellKey, KeyRange, KeyType};
use crate::sql::{Ident, Sql, sql};

/// All rows, in the unit of shares.
const ALL: u64 = 1_000_000_000;

/// How many times a cell's bytes a range of the previous dump may have before it is cut again, and the last one, which
/// new rows are added to.
const RANGE_CELLS_MAX: u64 = 4;
const LAST_RANGE_CELLS_MAX: u64 = 2;

/// A key that a table can be cut by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The column's name, unquoted.
    pub column: String,
    /// Its type.
    pub of: KeyType,
    /// True if it may be NULL.
    pub has_null: bool,
    /// How the rows spread over its values.
    pub spread: Spread,
}

/// What the server's statistics say about a column. Shares are those of all rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Statistics {
    /// Bounds between which equally many rows lie, of those without a common value.
    pub histogram: Vec<i64>,
    /// Common values with their shares.
    pub common: Vec<(i64, f32)>,
    /// The share of NULL.
    pub null_share: f32,
}

/// How rows spread over a key's values: steps in ascending order, and between two of them evenly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    of: KeyType,
    steps: Vec<Step>,
    /// The share of all that is not NULL.
    total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    value: i64,
    /// The share of lower values.
    below: u64,
    /// The share of this very value.
    at: u64,
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is between 0 and a thousand million, or not a number, which becomes 0"
)]
fn units(share: f32) -> u64 {
    (f64::from(share.clamp(0.0, 1.0)) * ALL as f64) as u64
}

/// `of * part / whole` without an intermediate overflow; `whole` is not 0.
fn portion(of: u64, part: u64, whole: u64) -> u64 {
    let portion = u128::from(of) * u128::from(part) / u128::from(whole);
    u64::try_from(portion).unwrap_or(u64::MAX)
}

/// The same, rounded up.
fn portion_up(of: u64, part: u64, whole: u64) -> u64 {
    let portion = (u128::from(of) * u128::from(part)).div_ceil(u128::from(whole));
    u64::try_from(portion).unwrap_or(u64::MAX)
}

impl Spread {
    /// The spread that statistics tell; without a step if they tell nothing.
    pub(super) fn new(of: KeyType, statistics: &Statistics) -> Spread {
        let histogram: Vec<i64> = ascending(of, &statistics.histogram);
        let common = statistics.common.iter().filter(|(value, _)| of.has(*value));
        let mut common: Vec<(i64, u64)> = common
            .map(|(value, share)| (*value, units(*share)))
            .collect();
        common.sort_unstable();
        let of_common: u64 = common.iter().map(|(_, share)| share).sum();
        let of_null = units(statistics.null_share);
        let of_histogram = match histogram.len() {
            0 | 1 => 0,
            _ => ALL.saturating_sub(of_common).saturating_sub(of_null),
        };
        let mut values: Vec<i64> = histogram.clone();
        values.extend(common.iter().map(|(value, _)| *value));
        values.sort_unstable();
        values.dedup();
        let mut spread = Spread {
            of,
            steps: Vec::with_capacity(values.len()),
            total: of_histogram + of_common,
        };
        let mut common_below = 0;
        let mut common = common.into_iter().peekable();
        for value in values {
            let (below, at) = in_histogram(of, &histogram, of_histogram, value);
            let mut here = 0;
            while let Some((_, share)) = common.next_if(|(other, _)| *other == value) {
                here += share;
            }
            spread.steps.push(Step {
                value,
                below: below + common_below,
                at: at + here,
            });
            common_below += here;
        }
        spread
    }

    /// An even spread between the smallest and the greatest value, where nothing more is known.
    pub(super) fn even(of: KeyType, min: i64, max: i64) -> Spread {
        let histogram = vec![min, max];
        let statistics = Statistics {
            histogram,
            ..Statistics::default()
        };
        Spread::new(of, &statistics)
    }

    /// The spread after rows were added above all values that the statistics know, up to `max`; `n_new` of `n_all` blocks.
    pub(super) fn extend(&mut self, max: i64, n_new: u64, n_all: u64) {
        let is_above = self.steps.last().is_some_and(|last| last.value < max);
        if n_new == 0 || !is_above || !self.of.has(max) {
            return;
        }
        let shrunk = |share: u64| portion(share, n_all.saturating_sub(n_new), n_all);
        for step in &mut self.steps {
            (step.below, step.at) = (shrunk(step.below), shrunk(step.at));
        }
        self.total = shrunk(self.total) + portion(ALL, n_new, n_all);
        let (value, below) = (max, self.total);
        self.steps.push(Step {
            value,
            below,
            at: 0,
        });
    }

    /// True if there are no two values to cut between.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.len() < 2
    }

    /// The share of lower values.
    fn below(&self, value: i64) -> u64 {
        let next = self.steps.partition_point(|step| step.value <= value);
        let Some(last) = next.checked_sub(1).map(|last| self.steps[last]) else {
            return 0;
        };
        if last.value == value {
            return last.below;
        }
        let low = last.below + last.at;
        match self.steps.get(next) {
            Some(next) if !self.is_open(&last, next) => {
                let (part, whole) = (value.abs_diff(last.value), next.value.abs_diff(last.value));
                low + portion(next.below - low, part, whole)
            }
            _ => low,
        }
    }

    /// The least value that the statistics can name with no less than `share` below it.
    fn value_above(&self, share: u64) -> Option<i64> {
        let next = self.steps.partition_point(|step| step.below < share);
        let (next, last) = (self.steps.get(next)?, self.steps.get(next.checked_sub(1)?)?);
        if self.is_open(last, next) {
            return Some(next.value);
        }
        let low = last.below + last.at;
        let width = next.value.abs_diff(last.value);
        let offset = match next.below - low {
            0 => 1,
            between => portion_up(width, share.saturating_sub(low).min(between), between).max(1),
        };
        last.value.checked_add_unsigned(offset)
    }

    /// True if one of two neighbours is infinite, so that no value between them divides the rows.
    fn is_open(&self, last: &Step, next: &Step) -> bool {
        self.of.is_infinite(last.value) || self.of.is_infinite(next.value)
    }

    /// 32 values, evenly over the rows: where to look how rows lie.
    pub(super) fn samples(&self) -> Vec<i64> {
        let shares = (1..32).map(|i| portion(self.total, i, 32));
        let mut values: Vec<i64> = shares
            .filter_map(|share| self.value_above(share))
            .chain(self.steps.first().map(|step| step.value))
            .collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The bounds between ranges of about `cell_bytes` each, if all rows are `n_bytes`.
    ///
    /// Those of the previous dump, `before`, stay, so that the ranges' rows are the same again: only a range that grew beyond
    /// four cells is cut, the last one beyond two, and one that shrank below a quarter joins the next if both make one cell.
    pub(super) fn bounds(&self, before: &[i64], n_bytes: u64, cell_bytes: u64) -> Vec<i64> {
        let cell = cell_bytes.max(1);
        let between = |low: Option<i64>, high: Option<i64>| {
            let high = high.map_or(self.total, |high| self.below(high));
            let low = low.map_or(0, |low| self.below(low));
            portion(n_bytes, high.saturating_sub(low), ALL)
        };
        let mut before = ascending(self.of, before);
        before.dedup();
        let mut kept: Vec<i64> = Vec::with_capacity(before.len());
        for (i, bound) in before.iter().enumerate() {
            let (last, next) = (kept.last().copied(), before.get(i + 1).copied());
            let is_small = between(last, Some(*bound)) < cell / 4 && between(last, next) <= cell;
            if !is_small {
                kept.push(*bound);
            }
        }
        let mut bounds: Vec<i64> = Vec::with_capacity(kept.len());
        let highs = kept.iter().copied().map(Some).chain([None]);
        for high in highs {
            let low = bounds.last().copied();
            let n_bytes = between(low, high);
            let cells_max = match high {
                _ if kept.is_empty() => 1,
                None => LAST_RANGE_CELLS_MAX,
                Some(_) => RANGE_CELLS_MAX,
            };
            if n_bytes > cell.saturating_mul(cells_max) {
                self.cut(&mut bounds, high, n_bytes.div_ceil(cell));
            }
            bounds.extend(high);
        }
        bounds
    }

    /// Adds the bounds that cut what lies between the last one and `high` into `n` parts.
    fn cut(&self, bounds: &mut Vec<i64>, high: Option<i64>, n: u64) {
        let from = bounds.last().map_or(0, |low| self.below(*low));
        let to = high.map_or(self.total, |high| self.below(high));
        for i in 1..n {
            let share = from + portion(to.saturating_sub(from), i, n);
            let Some(bound) = self.value_above(share) else {
                continue;
            };
            let is_above = bounds.last().is_none_or(|last| *last < bound);
            if is_above && high.is_none_or(|high| bound < high) {
                bounds.push(bound);
            }
        }
    }
}

/// Values of the type only, as long as they ascend: equal ones in a histogram stay, anything else ends it.
fn ascending(of: KeyType, values: &[i64]) -> Vec<i64> {
    let mut kept: Vec<i64> = Vec::with_capacity(values.len());
    for value in values {
        if !of.has(*value) || kept.last().is_some_and(|last| last > value) {
            break;
        }
        kept.push(*value);
    }
    kept
}

/// What lies below a value, and at it, by a histogram whose buckets have `total` together.
fn in_histogram(of: KeyType, bounds: &[i64], total: u64, value: i64) -> (u64, u64) {
    let Some(n_buckets) = bounds.len().checked_sub(1).filter(|n| *n > 0) else {
        return (0, 0);
    };
    let at_bound = |i: usize| portion(total, i as u64, n_buckets as u64);
    let first = bounds.partition_point(|bound| *bound < value);
    let after = bounds.partition_point(|bound| *bound <= value);
    if first < after {
        // A bucket between equal bounds is this one value.
        return (at_bound(first), at_bound(after - 1) - at_bound(first));
    }
    if first == 0 || first == bounds.len() {
        return (if first == 0 { 0 } else { total }, 0);
    }
    let (low, high) = (bounds[first - 1], bounds[first]);
    let bucket = at_bound(first) - at_bound(first - 1);
    let inside = if of.is_infinite(low) || of.is_infinite(high) {
        0
    } else {
        portion(bucket, value.abs_diff(low), high.abs_diff(low))
    };
    (at_bound(first - 1) + inside, 0)
}

impl Key {
    /// As the archive records it.
    pub(super) fn cell_key(&self) -> CellKey {
        CellKey {
            column: self.column.clone(),
            of: self.of,
        }
    }

    /// The ranges between bounds: half-open, the first open below, the last above, and NULL in a range of its own.
    pub(super) fn ranges(&self, bounds: &[i64]) -> Vec<KeyRange> {
        let lows = [None].into_iter().chain(bounds.iter().copied().map(Some));
        let highs = bounds.iter().copied().map(Some).chain([None]);
        let values = lows
            .zip(highs)
            .map(|(low, high)| KeyRange::Values(low, high));
        values
            .chain(self.has_null.then_some(KeyRange::Null))
            .collect()
    }

    /// The condition that a range's rows meet, and no others.
    pub(super) fn condition(&self, range: KeyRange) -> Sql {
        let column = Ident::new(&*self.column);
        let from = |low: i64| sql![&column, " >= ", self.of.literal(low)];
        let to = |high: i64| sql![&column, " < ", self.of.literal(high)];
        match range {
            KeyRange::Values(Some(low), Some(high)) => sql![from(low), " AND ", to(high)],
            KeyRange::Values(Some(low), None) => from(low),
            KeyRange::Values(None, Some(high)) => to(high),
            KeyRange::Values(None, None) => sql![&column, " IS NOT NULL"],
            KeyRange::Null => sql![&column, " IS NULL"],
        }
    }

    /// A range for people.
    pub(super) fn describe(&self, range: KeyRange) -> String {
        let column = Ident::new(&*self.column).quoted();
        let text = |value: i64| self.of.text(value);
        match range {
            KeyRange::Values(low, high) => format!(
                "{column} {}..{}",
                low.map(text).unwrap_or_default(),
                high.map(text).unwrap_or_default()
            ),
            KeyRange::Null => format!("{column} NULL"),
        }
    }
}

#[cfg(test)]
#[path = "key_ranges_tests.rs"]
mod tests;
