//! Differences between sides that are made by hand.

use super::*;
use crate::archive::index::{CellKey, CopyFormat, KeyRange, KeyType};
use crate::sql::sql;
use crate::toc::{After, Owner, Stage};

fn name(name: &str) -> EntryName {
    EntryName {
        schema: Some("public".into()),
        relation: None,
        name: name.into(),
    }
}

fn entry(id: u32, label: &str, called: &str) -> Entry {
    let mut entry = Entry::new(EntryId(id), label, name(called), Stage::PreData);
    entry.forms = vec![Form {
        steps: vec![Step {
            sql: vec![sql!["CREATE SOMETHING"]],
            ..Step::default()
        }],
        ..Form::default()
    }];
    entry
}

fn rows(id: u32, called: &str) -> Entry {
    let mut entry = Entry::new(EntryId(id), "table data", name(called), Stage::Data);
    entry.data = Some(DataOf::Table {
        target: sql!["public.t"],
        table: Some(EntryId(0)),
        unlogged: false,
        keep_order: false,
        via_root: None,
        root: None,
        by_collation: false,
        condition: None,
    });
    entry
}

fn chunk(text: &str) -> ChunkPiece {
    ChunkPiece {
        chunk: Digest::of(text.as_bytes()),
        stored_bytes: 10,
        chunk_bytes: 100,
        offset: 0,
        n_bytes: 100,
    }
}

fn index(id: u32, fingerprint: u8, segments: Vec<Segment>) -> TableIndex {
    TableIndex {
        entry: EntryId(id),
        columns: vec!["a".into()],
        format: CopyFormat::Text,
        n_rows: segments.iter().map(|segment| segment.n_rows).sum(),
        n_bytes: 100,
        fingerprint: format!("{fingerprint:032x}"),
        cell_blocks: None,
        cell_key: None,
        segments,
    }
}

fn cell(from: u32, to: Option<u32>, n_rows: u64, chunks: &[&str]) -> Segment {
    Segment {
        blocks: Some((from, to)),
        keys: None,
        n_rows,
        pieces: chunks.iter().map(|text| chunk(text)).collect(),
    }
}

fn whole(entries: Vec<Entry>, tables: Vec<TableIndex>) -> Contents {
    Contents {
        entries,
        tables,
        is_whole: true,
    }
}

#[test]
fn the_same_objects_under_other_numbers_are_the_same() {
    let table = |id| entry(id, "table", "t");
    let view = |id, of| {
        let mut view = entry(id, "view", "v");
        view.needs = vec![EntryId(of)];
        view.forms[0].steps[0].locks = vec![(EntryId(of), crate::toc::LockMode::Share)];
        view
    };
    let first = whole(vec![table(0), view(1, 0)], Vec::new());
    let second = whole(vec![view(0, 1), table(1)], Vec::new());
    let found = diff(&first, &second);
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(found.n_same_objects, 2);
}

#[test]
fn each_aspect_of_an_object_is_named() {
    let change = |change: &dyn Fn(&mut Entry)| -> Vec<String> {
        let first = whole(vec![entry(0, "table", "t")], Vec::new());
        let mut second = first.clone();
        change(&mut second.entries[0]);
        let found = diff(&first, &second);
        assert_eq!(diff(&second, &first).objects.len(), found.objects.len());
        assert_eq!(found.objects.len(), 1);
        assert_eq!(found.objects[0].change, Change::Changed);
        found.objects[0]
            .aspects
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let owner = Owner {
        role: crate::sql::Role("new".into()),
        target: sql!["TABLE public.t"],
    };
    assert_eq!(
        change(&|entry| entry.forms[0].steps[0].sql = vec![sql!["CREATE OTHER"]]),
        ["definition"]
    );
    assert_eq!(
        change(&|entry| entry.tablespace = Some("fast".into())),
        ["definition"]
    );
    assert_eq!(
        change(&|entry| entry.owner = Some(owner.clone())),
        ["owner"]
    );
    assert_eq!(
        change(&|entry| entry.after = vec![After::new(Part::Comment, sql!["COMMENT …"])]),
        ["comment"]
    );
    assert_eq!(
        change(&|entry| {
            entry.after = vec![After::new(Part::Label, sql!["SECURITY LABEL …"])];
            entry.owner = Some(owner.clone());
        }),
        ["owner", "security label"]
    );
}

#[test]
fn what_came_and_went_is_named_unless_a_side_is_a_part_only() {
    let first = whole(vec![entry(0, "table", "old")], Vec::new());
    let second = whole(vec![entry(0, "table", "new")], Vec::new());
    let found = diff(&first, &second);
    let named: Vec<(Change, &str)> = found
        .objects
        .iter()
        .map(|object| (object.change, object.name.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            (Change::Added, "public.new"),
            (Change::Removed, "public.old")
        ]
    );
    let part = Contents {
        is_whole: false,
        ..first.clone()
    };
    let found = diff(&part, &second);
    assert_eq!(found.objects.len(), 1);
    assert_eq!(found.objects[0].change, Change::Removed);
    assert!(
        diff(
            &part,
            &Contents {
                is_whole: false,
                ..second
            }
        )
        .is_empty()
    );
}

#[test]
fn rows_that_differ_are_named_with_the_ranges_whose_chunks_do() {
    let side =
        |fingerprint, segments| whole(vec![rows(0, "t")], vec![index(0, fingerprint, segments)]);
    let first = side(
        1,
        vec![
            cell(0, Some(8), 10, &["a", "b"]),
            cell(8, Some(16), 10, &["c", "d"]),
            cell(16, None, 5, &["e"]),
        ],
    );
    let second = side(
        2,
        vec![
            cell(0, Some(8), 10, &["a", "b"]),
            cell(8, Some(16), 11, &["c", "x", "y"]),
            cell(16, Some(24), 5, &["e"]),
            cell(24, None, 1, &["z"]),
        ],
    );
    let found = diff(&first, &second);
    let change = &found.rows[0];
    assert_eq!(
        (change.change, change.table.as_str()),
        (Change::Changed, "public.t")
    );
    assert_eq!(change.n_same_chunks, 4);
    let ranges: Vec<(&str, usize, usize)> = change
        .ranges
        .iter()
        .map(|range| {
            let (gone, new) = (range.first_chunks.len(), range.second_chunks.len());
            (range.range.as_str(), gone, new)
        })
        .collect();
    assert_eq!(ranges, [("blocks 8 to 15", 1, 2), ("from block 24", 0, 1)]);
    assert!(diff(&first, &first).is_empty());
    assert_eq!(diff(&first, &first).n_same_tables, 1);
}

#[test]
fn ranges_of_a_key_are_named_as_the_server_writes_its_values() {
    let with_key = |fingerprint, text| {
        let mut index = index(0, fingerprint, Vec::new());
        index.cell_key = Some(CellKey {
            column: "day".into(),
            of: KeyType::Date,
        });
        index.n_rows = 1;
        index.segments = vec![Segment {
            blocks: None,
            keys: Some(KeyRange::Values(None, Some(0))),
            n_rows: 1,
            pieces: vec![chunk(text)],
        }];
        whole(vec![rows(0, "t")], vec![index])
    };
    let found = diff(&with_key(1, "a"), &with_key(2, "b"));
    assert_eq!(found.rows[0].ranges[0].range, "day below 2000-01-01");
}

#[test]
fn other_columns_and_formats_are_said_and_not_compared_by_chunk() {
    let side = |columns: &[&str], format| {
        let mut index = index(0, 1, vec![cell(0, None, 1, &["a"])]);
        index.columns = columns.iter().map(|&column| column.to_owned()).collect();
        index.format = format;
        whole(vec![rows(0, "t")], vec![index])
    };
    let plain = side(&["a"], CopyFormat::Text);
    let because = |other| diff(&plain, &other).rows[0].because.clone().unwrap();
    assert_eq!(
        because(side(&["b"], CopyFormat::Text)),
        "the columns differ"
    );
    assert!(because(side(&["a"], CopyFormat::Binary)).contains("in binary"));
}
