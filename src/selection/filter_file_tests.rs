//! Filter files: what they mean, what is wrong with them, and that no text makes the reader panic.

use proptest::prelude::*;

use super::*;

fn rules(text: &str) -> Vec<(bool, String, String, usize)> {
    let rules = parse(text, "f").unwrap();
    let plain = |rule: Rule| (rule.include, rule.kind, rule.pattern, rule.line);
    rules.into_iter().map(plain).collect()
}

fn pattern(text: &str) -> String {
    rules(&format!("include table {text}")).remove(0).2
}

#[test]
fn rules_comments_and_blank_lines() {
    let text = "# all\n\n  include schema sales # trailing\n\tEXCLUDE\ttable_data  sales.log_*\r\ninclude table x#y";
    assert_eq!(
        rules(text),
        [
            (true, "schema".into(), "sales".into(), 3),
            (false, "table_data".into(), "sales.log_*".into(), 4),
            (true, "table".into(), "x".into(), 5),
        ]
    );
    assert_eq!(rules(""), []);
}

#[test]
fn blanks_around_punctuation_mean_nothing_and_others_count_as_one() {
    assert_eq!(pattern("sales . orders"), "sales.orders");
    assert_eq!(pattern("sales. \"Odd  Name\" "), "sales.\"Odd  Name\"");
    assert_eq!(
        pattern("f ( double   precision ,int )"),
        "f(double precision, int)"
    );
    assert_eq!(pattern("a   b"), "a b");
}

#[test]
fn quoted_names_may_span_lines_and_have_escapes() {
    assert_eq!(pattern("\"a\\nb\""), "\"a\nb\"");
    assert_eq!(pattern("\"a\r\nb\""), "\"a\nb\"");
    assert_eq!(pattern("\"a\"\"b # c\\\\\" # d"), "\"a\"\"b # c\\\"");
    let found = rules("include table \"a\nb\"\nexclude schema c");
    assert_eq!(found[1], (false, "schema".into(), "c".into(), 3));
}

#[test]
fn what_is_wrong_is_named_with_file_and_line() {
    for (text, problem) in [
        (
            "\nfrobnicate table x",
            "filter file f, line 2: \"frobnicate\" is neither",
        ),
        ("include", "line 1: the kind of object is missing"),
        ("include relation x", "line 1: \"relation\" is no kind"),
        ("include table", "line 1: the pattern is missing"),
        ("include table # x", "line 1: the pattern is missing"),
        (
            "include table \"x\ny",
            "line 2: a double quote is not closed",
        ),
    ] {
        let error = parse(text, "f").unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn each_side_takes_the_kinds_that_it_selects_by() {
    let apply = |text: &str, side| {
        let mut selection = Selection::default();
        apply(parse(text, "-").unwrap(), "-", side, &mut selection).map(|()| selection)
    };
    let text = "include table a\nexclude table b\ninclude schema c\nexclude schema d\ninclude extension e\n\
        exclude extension f\nexclude table_data g";
    for side in [Side::Dump, Side::Restore] {
        let chosen = apply(text, side).unwrap();
        let options =
            "-n c,-N d,-t a,-T b,--exclude-table-data g,--extension e,--exclude-extension f";
        assert_eq!(chosen.as_options().join(","), options);
    }
    for (text, side) in [
        ("include table_and_children a", Side::Dump),
        ("exclude table_and_children a", Side::Dump),
        ("exclude table_data_and_children a", Side::Dump),
        ("include foreign_data a", Side::Dump),
        ("include index a", Side::Restore),
        ("include function a", Side::Restore),
        ("include trigger a", Side::Restore),
    ] {
        assert_eq!(apply(text, side).unwrap().as_options().len(), 1, "{text}");
        let other = if side == Side::Dump {
            Side::Restore
        } else {
            Side::Dump
        };
        let error = apply(text, other).unwrap_err().to_string();
        assert!(error.contains("standard input, line 1: "), "{error}");
    }
    for text in [
        "include table_data a",
        "include database a",
        "exclude foreign_data a",
    ] {
        assert!(apply(text, Side::Dump).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = parse(&text, "f");
    }

    #[test]
    fn nothing_like_a_filter_file_makes_it_panic(
        words in prop::collection::vec(
            prop::sample::select(vec!["include", "exclude", "table", "index", " ", "\n", "\"", "\\", "#", ".", ",", "(", ")", "ü"]),
            0..40,
        )
    ) {
        let text = words.concat();
        if let Ok(rules) = parse(&text, "f") {
            let n_lines = text.matches('\n').count() + 1;
            prop_assert!(rules.iter().all(|rule| (1..=n_lines).contains(&rule.line) && !rule.pattern.is_empty()));
        }
    }
}
