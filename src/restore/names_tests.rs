//! Which hand-made entries patterns name, and what comes along.

use super::*;
use crate::toc::{DataOf, EntryName, Form, LockMode, Stage, Step};

/// An archive of two tables, of which one refers to the other, and a partition of a third.
fn entries() -> Vec<Entry> {
    let list: &[(&str, &str, &str, &str, &[u32])] = &[
        ("schema", "", "", "s", &[]),
        ("enum type", "s", "", "mood", &[0]),
        (
            "function",
            "s",
            "",
            "total(integer, double precision)",
            &[0],
        ),
        ("table", "s", "", "customers", &[0, 1]),
        ("table", "s", "", "orders", &[0]),
        ("sequence", "s", "", "orders_id_seq", &[0]),
        ("sequence owned by", "s", "", "orders_id_seq", &[4, 5]),
        ("column default", "s", "orders", "id", &[4, 5]),
        ("table", "s", "", "log", &[0]),
        ("table", "s", "", "log_1", &[0]),
        ("table attach", "s", "", "log_1", &[8, 9]),
        ("table data", "s", "", "customers", &[3]),
        ("table data", "s", "", "orders", &[4]),
        ("table data", "s", "", "log_1", &[9, 10]),
        ("constraint", "s", "customers", "customers_pkey", &[3]),
        ("index", "s", "orders", "orders_day", &[4]),
        ("statistics", "s", "", "orders_stat", &[4]),
        ("trigger", "s", "orders", "stamp", &[4, 2]),
        (
            "foreign key",
            "s",
            "orders",
            "orders_customer",
            &[4, 14, 11],
        ),
        ("extension", "", "", "geo", &[]),
        ("table data", "s", "spatial", "spatial", &[19]),
        ("large objects", "", "", "large objects", &[]),
        ("constraint", "s", "log", "log_key", &[8, 13]),
        ("constraint", "s", "log_1", "log_1_key", &[9, 22]),
        ("trigger", "s", "log_1", "stamp_log", &[10]),
    ];
    let entry = |(at, (label, schema, relation, name, needs)): (
        usize,
        &(&str, &str, &str, &str, &[u32]),
    )| {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let rows = DataOf::Table {
            target: crate::sql::Sql::default(),
            table: None,
            unlogged: false,
            keep_order: false,
            via_root: None,
            root: None,
            by_collation: false,
            condition: None,
        };
        let is_rows = *label == "table data";
        let locks: Vec<_> = needs
            .iter()
            .map(|id| (EntryId(*id), LockMode::Share))
            .collect();
        let step = Step {
            locks: if label.contains(' ') {
                Vec::new()
            } else {
                locks
            },
            ..Step::default()
        };
        Entry {
            id: EntryId(u32::try_from(at).unwrap()),
            label: (*label).to_owned(),
            name: EntryName {
                schema: text(schema),
                relation: text(relation),
                name: (*name).to_owned(),
            },
            stage: if is_rows { Stage::Data } else { Stage::PreData },
            forms: vec![Form {
                steps: vec![step],
                ..Form::default()
            }],
            drop: None,
            owner: None,
            tablespace: None,
            access_method: None,
            directory: None,
            after: Vec::new(),
            grants: Vec::new(),
            needs: needs.iter().map(|id| EntryId(*id)).collect(),
            data: is_rows.then_some(rows),
        }
    };
    list.iter().enumerate().map(entry).collect()
}

fn chosen(change: impl FnOnce(&mut Choice)) -> Vec<u32> {
    let mut choice = Choice::default();
    change(&mut choice);
    let named = choose(&choice, &entries()).unwrap();
    let ids = (0..).zip(named.chosen).filter(|(_, chosen)| *chosen);
    ids.map(|(id, _)| id).collect()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_table_brings_what_bears_its_name_and_what_belongs_to_it() {
    let orders = [4, 5, 6, 7, 12, 15, 16, 17, 18];
    assert_eq!(chosen(|c| c.tables = texts(&["orders"])), orders);
    assert_eq!(
        chosen(|c| c.tables = texts(&["s.log_1"])),
        [9, 13, 23],
        "not attached to nothing"
    );
    assert_eq!(
        chosen(|c| c.tables = texts(&["log*"])),
        [8, 9, 10, 13, 22, 23, 24]
    );
    let looked_for = |schema: &str| {
        let choice = Choice {
            schemas: texts(&[schema]),
            tables: texts(&["customers"]),
            ..Choice::default()
        };
        choose(&choice, &entries()).map(|named| named.chosen.iter().filter(|one| **one).count())
    };
    assert_eq!(looked_for("s").unwrap(), 3);
    assert!(looked_for("other").is_err());
}

#[test]
fn needs_bring_tables_whole_and_stop_at_what_is_left_out() {
    let all = chosen(|c| (c.tables, c.with_needs) = (texts(&["orders"]), true));
    assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 14, 15, 16, 17, 18]);
    let without = chosen(|c| {
        (c.tables, c.with_needs) = (texts(&["orders"]), true);
        c.exclude_tables = texts(&["customers"]);
    });
    assert!(
        ![1, 3, 11, 14].iter().any(|id| without.contains(id)),
        "{without:?}"
    );
    let partition = chosen(|c| (c.tables, c.with_needs) = (texts(&["log_1"]), true));
    let parent = chosen(|c| (c.tables, c.with_needs) = (texts(&["log"]), true));
    assert_eq!(parent, [0, 8, 22], "and a parent without its partitions");
    assert_eq!(partition, [0, 9, 13, 23], "a partition stands alone");
}

#[test]
fn single_objects_are_named_by_their_own_options() {
    assert_eq!(chosen(|c| c.indexes = texts(&["*_day"])), [15]);
    for trigger in ["stamp", "orders.stamp", "s.orders.stamp"] {
        assert_eq!(
            chosen(|c| c.triggers = texts(&[trigger])),
            [17],
            "{trigger}"
        );
    }
    for function in ["total", "s.t*", "total( integer,double   precision )"] {
        assert_eq!(
            chosen(|c| c.functions = texts(&[function])),
            [2],
            "{function}"
        );
    }
    for function in ["total(integer)", "total()", "other.total"] {
        let choice = Choice {
            functions: texts(&[function]),
            ..Choice::default()
        };
        assert!(choose(&choice, &entries()).is_err(), "{function}");
    }
}

#[test]
fn extensions_have_their_rows_with_them_and_lists_choose_by_number() {
    let all = entries().len();
    assert_eq!(chosen(|_| ()).len(), all);
    assert_eq!(
        chosen(|c| c.exclude_extensions = texts(&["geo"])).len(),
        all - 2
    );
    let extension = chosen(|c| c.extensions = texts(&["geo"]));
    assert!(extension.contains(&20) && !extension.contains(&21));
    assert!(!chosen(|c| c.schemas = texts(&["s"])).contains(&20));
    let listed = BTreeSet::from([EntryId(3), EntryId(11)]);
    assert_eq!(chosen(|c| c.listed = Some(listed)), [3, 11]);
    assert!(chosen(|c| (c.schemas, c.large_objects) = (texts(&["s"]), Some(true))).contains(&21));
}

#[test]
fn exclusions_that_match_nothing_are_only_a_warning() {
    let choice = Choice {
        exclude_tables: texts(&["nothing"]),
        ..Choice::default()
    };
    let named = choose(&choice, &entries()).unwrap();
    assert_eq!(
        named.warnings,
        ["no table matches \"nothing\", which is excluded"]
    );
}
