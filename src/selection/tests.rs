//! The rules that both sides share: what excludes each other, what makes a selection full, what a class leaves out.

use super::*;

fn one(change: impl FnOnce(&mut Selection)) -> Selection {
    let mut selection = Selection::default();
    change(&mut selection);
    selection
}

#[test]
fn whatever_leaves_something_out_is_not_full() {
    let texts = || vec!["x".to_owned()];
    let narrower = [
        one(|s| s.schemas = texts()),
        one(|s| s.exclude_schemas = texts()),
        one(|s| s.tables = texts()),
        one(|s| s.exclude_tables = texts()),
        one(|s| s.tables_and_children = texts()),
        one(|s| s.exclude_tables_and_children = texts()),
        one(|s| s.exclude_table_data = texts()),
        one(|s| s.exclude_table_data_and_children = texts()),
        one(|s| s.extensions = texts()),
        one(|s| s.exclude_extensions = texts()),
        one(|s| s.sections = BTreeSet::from([Section::Data])),
        one(|s| s.schema_only = true),
        one(|s| s.data_only = true),
        one(|s| s.large_objects = Some(false)),
        one(|s| s.conditions = vec!["t=true".parse().unwrap()]),
    ];
    for selection in narrower {
        assert!(!selection.is_full(), "{selection:?}");
        assert_eq!(selection.as_options().len(), 1, "{selection:?}");
    }
    for class in Omit::ALL {
        let selection = Selection::default().without([class]);
        assert!(!selection.is_full());
        assert_eq!(selection.as_options(), [class.option()]);
    }
    let same = [
        Selection::default(),
        one(|s| s.large_objects = Some(true)),
        one(|s| s.with_needs = true),
        one(|s| s.foreign_data = texts()),
        one(|s| s.sections = Section::ALL.into()),
    ];
    assert!(same.iter().all(Selection::is_full));
}

#[test]
fn what_excludes_each_other_or_belongs_to_the_other_side_is_refused() {
    let both = one(|s| (s.schema_only, s.data_only) = (true, true));
    assert!(both.check(Side::Dump).is_err() && both.check(Side::Restore).is_err());
    let of_dump = [
        one(|s| s.tables_and_children = vec!["x".into()]),
        one(|s| s.foreign_data = vec!["x".into()]),
        one(|s| s.conditions = vec!["t=true".parse().unwrap()]),
        Selection::default().without([Omit::ToastCompression]),
    ];
    for selection in of_dump {
        assert!(selection.check(Side::Dump).is_ok(), "{selection:?}");
        assert!(selection.check(Side::Restore).is_err(), "{selection:?}");
    }
    let of_restore = [
        one(|s| s.indexes = vec!["x".into()]),
        one(|s| s.listed = Some(BTreeSet::new())),
    ];
    for selection in of_restore {
        assert!(selection.check(Side::Dump).is_err(), "{selection:?}");
        assert!(selection.check(Side::Restore).is_ok(), "{selection:?}");
    }
    let rows = one(|s| (s.schema_only, s.foreign_data) = (true, vec!["x".into()]));
    assert!(rows.check(Side::Dump).is_err());
}

#[test]
fn sections_and_classes_leave_entries_out() {
    let cases = [
        ("table", Stage::PreData, RowsOf::Any),
        ("table data", Stage::Data, RowsOf::Any),
        ("table data", Stage::Data, RowsOf::Unlogged),
        ("table data", Stage::Data, RowsOf::Configuration),
        ("large object", Stage::Data, RowsOf::Any),
        ("index", Stage::PostData, RowsOf::Any),
        ("row security", Stage::PostData, RowsOf::Any),
        ("publication table", Stage::PostData, RowsOf::Any),
        ("subscription", Stage::PostData, RowsOf::Any),
        ("default privileges", Stage::Privileges, RowsOf::Any),
        ("materialized view data", Stage::Final, RowsOf::Any),
    ];
    let kept = |selection: &Selection| -> String {
        let letters = cases.iter().map(|(label, stage, rows)| {
            if selection.wants_class(label, *stage, *rows) {
                'x'
            } else {
                '.'
            }
        });
        letters.collect()
    };
    let section = |section| one(|s| s.sections = BTreeSet::from([section]));
    let without = |class| Selection::default().without([class]);
    for (selection, expected) in [
        (Selection::default(), "xxxxxxxxxxx"),
        (section(Section::PreData), "x.........."),
        (section(Section::Data), ".xxxx......"),
        (section(Section::PostData), ".....xxxxxx"),
        (one(|s| s.schema_only = true), "x..x.xxxxx."),
        (one(|s| s.data_only = true), ".xxxx.....x"),
        (one(|s| s.large_objects = Some(false)), "xxxx.xxxxxx"),
        (without(Omit::UnloggedRows), "xx.xxxxxxxx"),
        (without(Omit::Policies), "xxxxxx.xxxx"),
        (without(Omit::Publications), "xxxxxxx.xxx"),
        (without(Omit::Subscriptions), "xxxxxxxx.xx"),
        (without(Omit::Comments), "xxxxxxxxxxx"),
    ] {
        assert_eq!(kept(&selection), expected, "{selection:?}");
    }
}

#[test]
fn parts_that_are_left_out_are_no_part_of_the_mask() {
    let mask = Selection::default()
        .without([Omit::Comments, Omit::SecurityLabels])
        .parts();
    assert!(mask.has(Part::Owner) && mask.has(Part::Define) && mask.has(Part::Data));
    assert!(!mask.has(Part::Comment) && !mask.has(Part::Label));
}

#[test]
fn a_condition_is_split_at_the_first_sign_outside_of_quotes() {
    let parsed = |text: &str| {
        text.parse::<RowCondition>()
            .map(|one| (one.table, one.condition))
    };
    assert_eq!(
        parsed("s.t = a = 1").unwrap(),
        ("s.t".into(), "a = 1".into())
    );
    assert_eq!(
        parsed("\"a=b\".t=x").unwrap(),
        ("\"a=b\".t".into(), "x".into())
    );
    for text in ["", "t", "t=", "=x", "\"t=x"] {
        assert!(parsed(text).is_err(), "{text}");
    }
}

#[test]
fn section_names_are_postgresqls() {
    for section in Section::ALL {
        assert_eq!(section.name().parse::<Section>().unwrap(), section);
    }
    assert!("predata".parse::<Section>().is_err());
}
