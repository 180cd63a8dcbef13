//! Numbers over time: thinned so that a page stays small, and compared with what is usual. Pure.

use jiff::Timestamp;

/// Points of a chart at most.
pub(super) const POINTS_MAX: usize = 60;

/// Which of several values stands for them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// The newest: for sizes and sums.
    Last,
    /// The largest: for durations.
    Largest,
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: Timestamp,
    pub(super) value: u64,
}

/// At most [`POINTS_MAX`] points, by equal numbers of neighbours; the last point is always the newest time.
pub(super) fn thinned(points: &[Point], stands: Stands) -> Vec<Point> {
    let n = points.len().div_ceil(POINTS_MAX).max(1);
    let of = |part: &[Point]| {
        let last = *part.last()?;
        let value = match stands {
            Stands::Last => last.value,
            Stands::Largest => part.iter().map(|point| point.value).max()?,
        };
        Some(Point { at: last.at, value })
    };
    // From the end, so that a part that is not full is the oldest.
    let mut thin: Vec<Point> = points.rchunks(n).filter_map(of).collect();
    thin.reverse();
    thin
}

/// The sum up to each point.
pub(super) fn added_up(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut sum = 0_u64;
    points
        .map(|point| {
            sum = sum.saturating_add(point.value);
            Point {
                at: point.at,
                value: sum,
            }
        })
        .collect()
}

/// The value in the middle; of an even number the lower of the two.
pub(super) fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let middle = values.len().checked_sub(1)? / 2;
    values.get(middle).copied()
}

/// By how many percent `now` differs from `usual`.
pub(super) fn percent(usual: u64, now: u64) -> Option<f64> {
    (usual > 0).then(|| (now as f64 - usual as f64) / usual as f64 * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(n: i64) -> Vec<Point> {
        (0..n)
            .map(|i| Point {
                at: Timestamp::from_second(i).unwrap(),
                value: (i % 100).unsigned_abs(),
            })
            .collect()
    }

    #[test]
    fn thinning_keeps_the_newest_and_the_largest() {
        for n in [0, 1, 59, 60, 61, 1234, 10_000] {
            let all = points(n);
            for stands in [Stands::Last, Stands::Largest] {
                let thin = thinned(&all, stands);
                assert!(thin.len() <= POINTS_MAX);
                assert_eq!(thin.last().map(|p| p.at), all.last().map(|p| p.at));
                assert!(thin.is_sorted_by_key(|p| p.at));
            }
            let largest = |points: &[Point]| points.iter().map(|p| p.value).max();
            assert_eq!(largest(&thinned(&all, Stands::Largest)), largest(&all));
        }
        assert_eq!(thinned(&points(60), Stands::Last), points(60));
    }

    #[test]
    fn middle_and_change() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9, 1, 5]), Some(5));
        assert_eq!(median(vec![4, 1, 2, 3]), Some(2));
        assert_eq!(percent(0, 5), None);
        assert_eq!(percent(200, 150), Some(-25.0));
        let sums = added_up(points(4).into_iter());
        assert_eq!(
            sums.iter().map(|p| p.value).collect::<Vec<_>>(),
            [0, 1, 3, 6]
        );
    }
}
