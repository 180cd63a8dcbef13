//! Every value is in exactly one range, whatever statistics and earlier bounds say.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn histogram(of: KeyType, bounds: &[i64]) -> Spread {
    let statistics = Statistics {
        histogram: bounds.to_vec(),
        ..Statistics::default()
    };
    Spread::new(of, &statistics)
}

fn key(of: KeyType, has_null: bool) -> Key {
    Key {
        column: "i\"d".to_owned(),
        of,
        has_null,
        spread: histogram(of, &[]),
    }
}

fn holds(range: KeyRange, value: Option<i64>) -> bool {
    match (range, value) {
        (KeyRange::Null, value) => value.is_none(),
        (KeyRange::Values(low, high), Some(value)) => {
            low.is_none_or(|low| low <= value) && high.is_none_or(|high| value < high)
        }
        (KeyRange::Values(..), None) => false,
    }
}

#[test]
fn a_table_is_cut_into_ranges_of_a_cell_and_finer_than_the_histogram() {
    let spread = histogram(KeyType::Int4, &[1, 1001, 2001, 3001, 4001]);
    // Four buckets, ten cells.
    let bounds = spread.bounds(&[], 640 * MIB, 64 * MIB);
    assert_eq!(bounds, [401, 801, 1201, 1601, 2001, 2401, 2801, 3201, 3601]);
    assert!(spread.bounds(&[], 64 * MIB, 64 * MIB).is_empty());
    // An uneven spread: most rows are in the narrow buckets.
    let spread = histogram(KeyType::Int8, &[0, 10, 20, 1_000_000]);
    assert_eq!(spread.bounds(&[], 3 * MIB, MIB), [10, 20]);
}

#[test]
fn common_values_are_counted_and_nothing_is_cut_within_one() {
    let statistics = Statistics {
        histogram: vec![1, 101],
        common: vec![(50, 0.6), (7, 0.1)],
        null_share: 0.1,
    };
    let spread = Spread::new(KeyType::Int4, &statistics);
    let bounds = spread.bounds(&[], 10 * MIB, MIB);
    // Two tenths between 1 and 101, one at 7, six at 50.
    assert_eq!(bounds, [8, 51]);
    // Few values, all of them common.
    let statistics = Statistics {
        common: vec![(3, 0.2), (1, 0.5), (2, 0.3)],
        ..Statistics::default()
    };
    let spread = Spread::new(KeyType::Date, &statistics);
    assert_eq!(spread.bounds(&[], 100 * MIB, MIB), [2, 3]);
}

#[test]
fn nothing_is_cut_between_a_value_and_infinity() {
    let bounds = [i64::MIN, 0, 86_400_000_000, i64::MAX];
    for of in [KeyType::Timestamp, KeyType::Timestamptz] {
        let found = histogram(of, &bounds).bounds(&[], 300 * MIB, MIB);
        assert!(found.len() > 90, "{}", found.len());
        assert!(found.iter().all(|bound| of.has(*bound)));
        let inside = found.iter().filter(|bound| !of.is_infinite(**bound));
        assert!(
            inside
                .clone()
                .all(|bound| (0..=86_400_000_000).contains(bound))
        );
    }
    // Integers have no infinity, only extremes.
    let found = histogram(KeyType::Int8, &[i64::MIN, i64::MAX]).bounds(&[], 4 * MIB, MIB);
    assert_eq!(found.len(), 3);
    assert!((-10..10).contains(&found[1]), "{found:?}");
}

#[test]
fn bounds_stay_and_new_rows_at_the_end_open_new_ranges() {
    let first = histogram(KeyType::Int8, &[0, 1000]).bounds(&[], 10 * MIB, MIB);
    assert_eq!(first, [100, 200, 300, 400, 500, 600, 700, 800, 900]);
    let grown = histogram(KeyType::Int8, &[0, 1030]);
    assert_eq!(grown.bounds(&first, 10 * MIB + MIB / 4, MIB), first);
    let grown = histogram(KeyType::Int8, &[0, 1500]);
    let second = grown.bounds(&first, 15 * MIB, MIB);
    assert!(second.starts_with(&first), "{second:?}");
    assert_eq!(second[first.len()..], [1000, 1100, 1200, 1300, 1400]);
}

#[test]
fn rows_that_the_statistics_do_not_know_are_cut_too() {
    let mut spread = histogram(KeyType::Int8, &[0, 1000]);
    let first = spread.bounds(&[], 10 * MIB, MIB);
    spread.extend(1500, 5, 15);
    let second = spread.bounds(&first, 15 * MIB, MIB);
    assert!(second.starts_with(&first), "{second:?}");
    assert_eq!(second[first.len()..], [1000, 1100, 1200, 1300, 1400]);
    // Rows that came elsewhere change nothing.
    let before = spread.clone();
    spread.extend(1500, 5, 15);
    spread.extend(2000, 0, 15);
    assert_eq!(spread, before);
}

#[test]
fn ranges_that_are_off_by_four_are_cut_or_joined_and_the_others_stay() {
    // What was a tenth is five cells now.
    let uneven = histogram(KeyType::Int8, &[0, 100, 120, 140, 160, 180, 200, 300]);
    let bounds = uneven.bounds(&[100, 200], 7 * MIB, MIB);
    assert_eq!(bounds, [100, 120, 140, 160, 180, 200]);
    // Nearly all was deleted.
    let bounds = histogram(KeyType::Int8, &[0, 1000]).bounds(
        &[100, 200, 300, 400, 500, 600, 700, 800, 900],
        MIB,
        MIB,
    );
    assert!(bounds.len() < 4, "{bounds:?}");
    // Nonsense in an archive harms nothing.
    let bounds = histogram(KeyType::Int2, &[0, 1000]).bounds(&[5, 5, 1 << 40, 7], 2 * MIB, MIB);
    assert_eq!(bounds[0], 5);
    assert!(bounds.iter().all(|bound| KeyType::Int2.has(*bound)));
}

#[test]
fn conditions_are_half_open_and_quoted() {
    let key = key(KeyType::Int4, true);
    let texts: Vec<String> = key
        .ranges(&[-5, 10])
        .into_iter()
        .map(|range| key.condition(range).text())
        .collect();
    assert_eq!(
        texts,
        [
            r#""i""d" < '-5'::pg_catalog.int4"#,
            r#""i""d" >= '-5'::pg_catalog.int4 AND "i""d" < '10'::pg_catalog.int4"#,
            r#""i""d" >= '10'::pg_catalog.int4"#,
            r#""i""d" IS NULL"#,
        ]
    );
    assert_eq!(
        key.describe(KeyRange::Values(None, Some(10))),
        r#""i""d" ..10"#
    );
}

/// Values of a type: small ones, so that they meet, extremes, and what the type does not have.
fn value() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -100_i64..100,
        1 => any::<i64>(),
        1 => prop::sample::select(vec![
            i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX), -32_768, 32_767,
            -211_813_488_000_000_000, 9_223_371_331_199_999_999, -2_451_545, 2_145_031_948,
        ]),
    ]
}

fn of() -> impl Strategy<Value = KeyType> {
    prop::sample::select(vec![
        KeyType::Int2,
        KeyType::Int4,
        KeyType::Int8,
        KeyType::Date,
        KeyType::Timestamp,
        KeyType::Timestamptz,
    ])
}

proptest! {
    #[test]
    fn every_key_is_in_exactly_one_range(
        of in of(),
        mut histogram in vec(value(), 0..20),
        is_sorted in any::<bool>(),
        common in vec((value(), any::<f32>()), 0..5),
        null_share in any::<f32>(),
        mut before in vec(value(), 0..6),
        n_cells in 0_u64..200,
        keys in vec(prop::option::of(value()), 1..50),
    ) {
        if is_sorted {
            histogram.sort_unstable();
            before.sort_unstable();
        }
        let statistics = Statistics { histogram, common, null_share };
        let key = Key { spread: Spread::new(of, &statistics), ..key(of, true) };
        let bounds = key.spread.bounds(&before, n_cells * MIB, MIB);
        prop_assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
        prop_assert!(bounds.iter().all(|bound| of.has(*bound)), "{bounds:?}");
        let ranges = key.ranges(&bounds);
        prop_assert_eq!(ranges.len(), bounds.len() + 2);
        let own = bounds.iter().copied().map(Some);
        for value in keys.into_iter().filter(|value| value.is_none_or(|v| of.has(v))).chain(own) {
            let n_holding = ranges.iter().filter(|range| holds(**range, value)).count();
            prop_assert_eq!(n_holding, 1, "{:?}", value);
        }
    }

    #[test]
    fn bounds_found_once_stay(
        of in of(), mut histogram in vec(value(), 2..20), n_cells in 2_u64..100,
    ) {
        histogram.sort_unstable();
        let spread = Spread::new(of, &Statistics { histogram, ..Statistics::default() });
        let first = spread.bounds(&[], n_cells * MIB, MIB);
        let again = spread.bounds(&first, n_cells * MIB, MIB);
        // Only what one value fills cannot be near a cell, and joins nothing.
        prop_assert!(again.iter().filter(|bound| first.contains(bound)).count() * 2 >= first.len());
    }
}
