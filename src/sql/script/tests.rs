//! Tests of cutting scripts.

use proptest::prelude::*;

use super::*;

/// The items of a script that is pushed in these pieces; adjacent COPY data is one item.
fn cut(pieces: &[&[u8]]) -> Result<Vec<Item>, ScriptError> {
    let mut splitter = Splitter::default();
    let mut items: Vec<Item> = Vec::new();
    let mut take = |splitter: &mut Splitter| -> Result<(), ScriptError> {
        while let Some(item) = splitter.next_item()? {
            match (items.last_mut(), item) {
                (Some(Item::CopyData(before)), Item::CopyData(more)) => before.extend(more),
                (_, item) => items.push(item),
            }
        }
        Ok(())
    };
    for piece in pieces {
        splitter.push(piece);
        take(&mut splitter)?;
    }
    splitter.finish();
    take(&mut splitter)?;
    Ok(items)
}

fn texts(script: &str) -> Vec<String> {
    let items = cut(&[script.as_bytes()]).unwrap();
    let text = |item| match item {
        Item::Statement(statement) => statement.text,
        Item::CopyData(data) => format!("<{}>", String::from_utf8(data).unwrap()),
        Item::CopyEnd => "<end>".to_owned(),
    };
    items.into_iter().map(text).collect()
}

#[test]
fn semicolons_end_statements_only_outside_of_everything() {
    for (script, expected) in [
        ("SELECT 1; SELECT 2", vec!["SELECT 1", "SELECT 2"]),
        (";; \n;", vec![]),
        ("SELECT ';'; x", vec!["SELECT ';'", "x"]),
        ("SELECT 'it''s;'; x", vec!["SELECT 'it''s;'", "x"]),
        (r"SELECT 'a\'; x", vec![r"SELECT 'a\'", "x"]),
        (r"SELECT E'a\';'; x", vec![r"SELECT E'a\';'", "x"]),
        (r"SELECT E'a'';\';'; x", vec![r"SELECT E'a'';\';'", "x"]),
        (
            "SELECT E'a'\n  '\\';' ; x",
            vec!["SELECT E'a'\n  '\\';' ", "x"],
        ),
        (r"SELECT nE'a\'; x", vec![r"SELECT nE'a\'", "x"]),
        ("SELECT U&'\\0041;' ; x", vec!["SELECT U&'\\0041;' ", "x"]),
        ("SELECT \";\"\"';\"; x", vec!["SELECT \";\"\"';\"", "x"]),
        ("SELECT $$;$x$;$$; x", vec!["SELECT $$;$x$;$$", "x"]),
        (
            "SELECT $a$;$a;$aa$;$a$; x",
            vec!["SELECT $a$;$a;$aa$;$a$", "x"],
        ),
        ("SELECT a$b$;x$b$", vec!["SELECT a$b$", "x$b$"]),
        ("SELECT $1;$2", vec!["SELECT $1", "$2"]),
        ("SELECT 1 -- ;'\n; x", vec!["SELECT 1 -- ;'\n", "x"]),
        ("-- a;\n/* b; /* c */ ; */ x; y", vec!["x", "y"]),
        ("SELECT /* ' */ 1; x", vec!["SELECT /* ' */ 1", "x"]),
        ("SELECT 2-1/1*/**/1; x", vec!["SELECT 2-1/1*/**/1", "x"]),
        (
            "CREATE RULE r AS ON UPDATE TO t DO (a; b); x",
            vec!["CREATE RULE r AS ON UPDATE TO t DO (a; b)", "x"],
        ),
        ("SELECT 'ä;' AS ö; x", vec!["SELECT 'ä;' AS ö", "x"]),
    ] {
        assert_eq!(texts(script), expected, "{script}");
    }
}

#[test]
fn bodies_of_functions_are_whole() {
    let body = "CREATE OR REPLACE FUNCTION f(a int DEFAULT (1)) RETURNS int\n BEGIN ATOMIC\n \
                SELECT CASE WHEN a > 1 THEN (CASE a WHEN 2 THEN 3 END) ELSE 4 END;\n SELECT 1; END";
    assert_eq!(texts(&format!("{body}; SELECT 2;")), [body, "SELECT 2"]);
    let old = "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    assert_eq!(texts(&format!("{old}; x")), [old, "x"]);
    assert_eq!(
        texts("BEGIN; SELECT CASE WHEN true THEN 1 END; END; x").len(),
        4
    );
    let block = "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END";
    assert_eq!(texts(&format!("{block};x")), [block, "x"]);
}

#[test]
fn copy_data_ends_at_its_marker() {
    let script = "COPY t (a, \"from\") FROM stdin; -- rows\n1\t;'\n\\\\.\n\\.\nSELECT 1;";
    assert_eq!(
        texts(script),
        [
            "COPY t (a, \"from\") FROM stdin",
            "<1\t;'\n\\\\.\n>",
            "<end>",
            "SELECT 1"
        ]
    );
    assert_eq!(
        texts("copy t from STDIN WITH (format csv);\r\n\\.\r\nx"),
        ["copy t from STDIN WITH (format csv)", "<end>", "x"]
    );
    assert_eq!(
        texts("COPY t FROM stdin;\na\n\\."),
        ["COPY t FROM stdin", "<a\n>", "<end>"]
    );
    let items = cut(&[
        b"COPY (SELECT 1 FROM stdin) TO STDOUT; COPY t FROM '/x/stdin'; COPY t FROM \"stdin\"",
    ])
    .unwrap();
    let copies: Vec<Option<CopyWith>> = items
        .iter()
        .map(|item| match item {
            Item::Statement(statement) => statement.copy,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(copies, [Some(CopyWith::Stdout), None, None]);
}

#[test]
fn statements_need_not_be_utf_8() {
    let items = cut(&[b"SELECT '\xff';"]).unwrap();
    assert!(matches!(&items[0], Item::Statement(one) if one.text == "SELECT '\u{10FFFF}'"));
}

#[test]
fn copy_data_need_not_be_utf_8() {
    let items = cut(&[b"COPY t FROM stdin;\n\xff\n\\.\n"]).unwrap();
    assert_eq!(items[1], Item::CopyData(b"\xff\n".to_vec()));
}

#[test]
fn what_cannot_be_run_is_named_with_its_line() {
    for (script, line, words) in [
        ("SELECT 1;\n\\connect shop\n", 2, "\\connect"),
        ("SELECT 1\n\\gset x", 2, "\\gset"),
        ("\n\\.\n", 2, "\\."),
        ("\n\nSELECT 'a\n", 3, "quoted text"),
        ("SELECT $x$ a", 1, "dollar-quoted"),
        ("/* /* */", 1, "comment"),
        ("SELECT 1;\nCOPY t FROM stdin;\n1\n", 2, "COPY data"),
        ("COPY t FROM stdin; SELECT 1;\n", 1, "next line"),
    ] {
        let error = cut(&[script.as_bytes()]).unwrap_err();
        assert_eq!(error.line, line, "{script}: {error}");
        assert!(error.problem.contains(words), "{script}: {error}");
    }
    assert_eq!(
        texts("\\restrict abc\nSELECT 1;\n\\unrestrict abc\n"),
        ["SELECT 1"]
    );
}

#[test]
fn places_count_lines_and_characters() {
    let items = cut(&["-- ä\n  SELECT 'ü',\n x;".as_bytes()]).unwrap();
    let Item::Statement(statement) = &items[0] else {
        panic!("{items:?}");
    };
    assert_eq!((statement.line, statement.column), (2, 3));
    assert_eq!(statement.place_of(1), (2, 3));
    let x = statement.text.chars().position(|c| c == 'x').unwrap();
    assert_eq!(statement.place_of(u32::try_from(x + 1).unwrap()), (3, 2));
    assert_eq!(statement.beginning(), "SELECT 'ü', x");
}

#[test]
fn nothing_but_the_open_statement_is_held() {
    let mut splitter = Splitter::default();
    for _ in 0..1000 {
        splitter.push(b"-- a long comment\n\n/* and another */ COPY t FROM stdin;\n1\n2\n\\.\n");
        while splitter.next_item().unwrap().is_some() {}
        splitter.push(b"");
        assert_eq!(splitter.buffer.len(), 0);
    }
    splitter.push(b"COPY t FROM stdin;\n");
    while splitter.next_item().unwrap().is_some() {}
    for _ in 0..1000 {
        splitter.push(&[b'x'; 1000]);
        while splitter.next_item().unwrap().is_some() {}
    }
    splitter.push(b"");
    assert_eq!(splitter.buffer.len(), 0);
}

/// Pieces of scripts, so that chance finds its way into every state.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "'",
        "''",
        "E'",
        "\\",
        "\\'",
        "\"",
        "$",
        "$$",
        "$a$",
        "$a",
        "--",
        "-",
        "/*",
        "*/",
        "/",
        "*",
        "\n",
        "\r\n",
        " ",
        ";",
        "(",
        ")",
        "COPY t FROM stdin;\n",
        "\\.\n",
        "\\.",
        "\\.\r\n",
        "CREATE FUNCTION f() BEGIN ATOMIC ",
        "CREATE OR ",
        "case ",
        "end",
        "a",
        "é",
        "1",
        "e",
        "\\restrict x\n",
    ];
    let word = prop::sample::select(words.to_vec());
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn how_the_bytes_arrive_makes_no_difference(script in script(), cuts in prop::collection::vec(0_usize..200, 0..12)) {
        let whole = cut(&[&script]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(script.len())).collect();
        cuts.extend([0, script.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|two| &script[two[0]..two[1]]).collect();
        prop_assert_eq!(cut(&pieces), whole.clone());
        let bytes: Vec<&[u8]> = script.chunks(1).collect();
        prop_assert_eq!(cut(&bytes), whole);
    }
}
