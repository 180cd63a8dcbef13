//! The loops that real catalogs contain, in miniature. Priorities of the kinds stand in the order of
//! `pg_dump_sort.c`: type, function, table or view, default, table data, constraint.

use super::super::{Conflict, Graph, Half, Node};
use crate::toc::Stage::{self, Data, PostData, PreData};

/// A graph whose nodes are found by name; the first word is the kind and says what may be done with it.
#[derive(Default)]
struct Sketch(Graph<&'static str>);

impl Sketch {
    fn of(needs: &[(&'static str, &[&'static str])]) -> Sketch {
        let mut sketch = Sketch::default();
        for (name, _) in needs {
            sketch.0.nodes.push(node(name));
        }
        for (name, needs) in needs {
            for need in *needs {
                let edge = (sketch.at(name), sketch.at(need));
                sketch.0.edges.push(edge);
            }
        }
        sketch
    }

    fn at(&self, name: &str) -> usize {
        let mut nodes = self.0.nodes.iter();
        nodes.position(|node| node.key == name).expect("declared")
    }

    fn with(mut self, name: &str, change: impl FnOnce(&mut Node<&'static str>)) -> Sketch {
        let at = self.at(name);
        change(&mut self.0.nodes[at]);
        self
    }

    /// The order as text: a colon before the data, a plus after it for what was postponed or split there.
    fn order(&self) -> Vec<String> {
        let order = self.0.order();
        assert_eq!(order.warnings, [], "no need is given up");
        let places = order.sequence.iter().map(|placed| {
            let node = &self.0.nodes[placed.node];
            let half = match placed.half {
                Half::Whole => "",
                Half::Stub => " stub",
                Half::Rest => " rest",
            };
            let moved = match placed.stage {
                stage if Some(stage) == node.stage => "",
                PostData => " (post-data)",
                _ => unreachable!("nodes move to post-data only"),
            };
            format!("{}{half}{moved}", node.key)
        });
        places.collect()
    }
}

fn node(name: &'static str) -> Node<&'static str> {
    let (stage, priority) = match name.split(' ').next().expect("a first word") {
        "schema" => (Some(PreData), 1),
        "cast" => (Some(PreData), 6),
        "type" | "domain" => (Some(PreData), 7),
        "function" => (Some(PreData), 8),
        "table" | "view" | "matview" => (Some(PreData), 20),
        "default" => (Some(PreData), 22),
        "data" => (Some(Data), 30),
        "constraint" => (Some(PostData), 40),
        "index" => (Some(PostData), 41),
        "refresh" => (Some(Stage::Final), 60),
        "hidden" => (None, 0),
        kind => panic!("no such kind: {kind}"),
    };
    let mut node = Node::new(stage, priority, name);
    match name.split(' ').next() {
        Some("view") => (node.postponable, node.splittable) = (true, Some(10)),
        Some("matview" | "function") => node.postponable = true,
        Some("type") => node.splittable = Some(1),
        _ => {}
    }
    node
}

#[test]
fn a_base_type_gets_a_shell_for_its_functions() {
    let sketch = Sketch::of(&[
        ("schema s", &[]),
        ("type t", &["schema s", "function in", "function out"]),
        ("function in", &["schema s", "type t"]),
        ("function out", &["schema s", "type t"]),
        ("table x", &["type t"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "schema s",
            "type t stub",
            "function in",
            "function out",
            "type t rest",
            "table x"
        ]
    );
}

#[test]
fn a_range_type_waits_for_a_function_over_it() {
    let sketch = Sketch::of(&[
        ("type range", &["function diff"]),
        ("function diff", &["type range"]),
        ("type multi", &["type range"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "type range stub",
            "function diff",
            "type range rest",
            "type multi"
        ]
    );
}

#[test]
fn of_mutually_recursive_views_one_is_split() {
    let sketch = Sketch::of(&[
        ("view a", &["view b"]),
        ("view b", &["view a"]),
        ("view c", &["view b"]),
    ]);
    // `view c` may look through `view b` into `view a`, so it waits for the rest.
    assert_eq!(
        sketch.order(),
        ["view a stub", "view b", "view a rest", "view c"]
    );
    assert_eq!(sketch.0.order().needs_of(3), [1, 2]);
}

#[test]
fn a_view_and_its_own_rule_are_one() {
    let sketch = Sketch::of(&[
        ("hidden rule", &["view a", "table t"]),
        ("view a", &["hidden rule"]),
        ("table t", &[]),
    ]);
    assert_eq!(sketch.order(), ["table t", "view a"]);
    let order = sketch.0.order();
    assert_eq!(
        order.needs_of(1),
        [0],
        "the table is needed through the rule"
    );
}

#[test]
fn views_that_need_each_other_through_their_rules_are_split_once() {
    let sketch = Sketch::of(&[
        ("view a", &["hidden rule a"]),
        ("hidden rule a", &["view a", "view b", "table t"]),
        ("view b", &["hidden rule b"]),
        ("hidden rule b", &["view b", "view a"]),
        ("table t", &[]),
    ]);
    assert_eq!(
        sketch.order(),
        ["table t", "view a stub", "view b", "view a rest"]
    );
}

#[test]
fn a_view_used_as_argument_of_a_function_that_it_uses_is_split() {
    let sketch = Sketch::of(&[
        ("view v", &["function f", "table t"]),
        ("function f", &["view v"]),
        ("table t", &[]),
    ]);
    assert_eq!(
        sketch.order(),
        ["table t", "view v stub", "function f", "view v rest"]
    );
}

#[test]
fn views_matviews_and_functions_grouped_by_a_key_follow_it() {
    for user in ["view v", "matview v", "function v"] {
        let sketch = Sketch::of(&[
            ("table t", &[]),
            ("constraint key", &["table t"]),
            (user, &["table t", "constraint key"]),
        ]);
        let moved = format!("{user} (post-data)");
        assert_eq!(sketch.order()[0], "table t");
        assert!(sketch.order().contains(&moved), "{:?}", sketch.order());
        let order = sketch.0.order();
        let at = order.sequence.iter().position(|placed| placed.node == 2);
        let key = order.sequence.iter().position(|placed| placed.node == 1);
        assert!(key < at, "{user} comes after the key");
    }
}

#[test]
fn what_stands_on_a_postponed_matview_is_postponed_too() {
    let sketch = Sketch::of(&[
        ("table t", &[]),
        ("constraint key", &["table t"]),
        ("matview a", &["table t", "constraint key"]),
        ("matview b", &["hidden row type"]),
        ("hidden row type", &["matview a"]),
        ("index on a", &["matview a"]),
        ("refresh a", &["matview a"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "table t",
            "constraint key",
            "matview a (post-data)",
            "matview b (post-data)",
            "index on a",
            "refresh a"
        ]
    );
}

#[test]
fn a_table_of_a_view_type_leans_on_the_stub_while_the_view_waits_for_a_key() {
    let sketch = Sketch::of(&[
        ("table base", &[]),
        ("constraint key", &["table base"]),
        ("view v", &["table base", "constraint key"]),
        ("table of_v", &["view v"]),
        ("data of_v", &["table of_v"]),
        ("view w", &["view v"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "table base",
            "view v stub",
            "table of_v",
            "data of_v",
            "constraint key",
            "view v rest (post-data)",
            "view w (post-data)"
        ]
    );
}

#[test]
fn a_table_with_a_column_of_the_type_of_a_view_over_its_own_key() {
    let sketch = Sketch::of(&[
        ("table t", &["view v"]),
        ("constraint key", &["table t"]),
        ("view v", &["table t", "constraint key"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "view v stub",
            "table t",
            "constraint key",
            "view v rest (post-data)"
        ]
    );
}

#[test]
fn a_function_stays_before_the_data_on_the_stub_of_its_argument() {
    // The table must stay, its column default calls the function, whose argument is a view that waits for a key.
    let sketch = Sketch::of(&[
        ("table base", &[]),
        ("constraint key", &["table base"]),
        ("view v", &["table base", "constraint key"]),
        ("function f", &["hidden type of v"]),
        ("hidden type of v", &["view v"]),
        ("table t", &["function f"]),
        ("index by f", &["table t", "function f"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "table base",
            "view v stub",
            "function f",
            "table t",
            "constraint key",
            "view v rest (post-data)",
            "index by f"
        ]
    );
    let order = sketch.0.order();
    assert_eq!(
        order.needs_of(6),
        [2, 3, 5],
        "the index may run the function, so the view is complete"
    );
}

#[test]
fn the_stub_of_a_cycle_does_not_wait_for_the_key_of_the_rest() {
    let sketch = Sketch::of(&[
        ("table base", &[]),
        ("constraint key", &["table base"]),
        ("view v", &["function f", "constraint key"]),
        ("function f", &["view v"]),
        ("table t", &["hidden type of f"]),
        ("hidden type of f", &["function f"]),
    ]);
    assert_eq!(
        sketch.order(),
        [
            "view v stub",
            "function f",
            "table base",
            "table t",
            "constraint key",
            "view v rest (post-data)"
        ]
    );
}

#[test]
fn a_default_through_a_function_over_its_table_is_no_cycle() {
    // Defaults that cannot be written inside CREATE TABLE are nodes of their own.
    let sketch = Sketch::of(&[
        ("table t", &[]),
        ("function f", &["table t"]),
        ("default t.c", &["table t", "function f"]),
        ("data t", &["table t", "default t.c"]),
    ]);
    assert_eq!(
        sketch.order(),
        ["table t", "function f", "default t.c", "data t"]
    );
}

#[test]
fn a_check_through_a_function_over_its_table_splits_the_table() {
    let sketch = Sketch::of(&[
        ("table t", &["function f"]),
        ("function f", &["table t"]),
        ("data t", &["table t"]),
    ])
    .with("table t", |table| table.splittable = Some(50));
    assert_eq!(
        sketch.order(),
        ["table t stub", "function f", "table t rest", "data t"]
    );
}

#[test]
fn a_domain_whose_check_takes_the_domain_is_split() {
    let sketch = Sketch::of(&[
        ("domain d", &["function check"]),
        ("function check", &["domain d"]),
        ("table t", &["domain d"]),
    ])
    .with("domain d", |domain| domain.splittable = Some(5));
    assert_eq!(
        sketch.order(),
        [
            "domain d stub",
            "function check",
            "domain d rest",
            "table t"
        ]
    );
}

#[test]
fn a_table_that_must_wait_for_a_constraint_is_split_itself() {
    let sketch = Sketch::of(&[
        ("table t", &["constraint key", "table u"]),
        ("table u", &[]),
        ("constraint key", &["table u"]),
        ("data t", &["table t"]),
    ])
    .with("table t", |table| table.splittable = Some(50));
    assert_eq!(
        sketch.order(),
        [
            "table u",
            "table t stub",
            "data t",
            "constraint key",
            "table t rest (post-data)"
        ]
    );
}

#[test]
fn a_stub_keeps_what_the_caller_says() {
    let sketch = Sketch::of(&[
        ("view a", &["view b", "type t"]),
        ("view b", &["view a", "type t"]),
        ("type t", &["view b"]),
    ]);
    // The stub of `view a` has a column of the type, so splitting that view alone leaves a cycle.
    let kept = vec![sketch.at("type t")];
    let sketch = sketch
        .with("view a", |view| view.stub_needs = kept)
        .with("type t", |kind| kind.splittable = None);
    assert_eq!(
        sketch.order(),
        ["view b stub", "type t", "view a", "view b rest"]
    );
}

#[test]
fn circular_table_data_is_cut_with_a_warning() {
    let sketch = Sketch::of(&[("data a", &["data b"]), ("data b", &["data a", "data b"])]);
    let order = sketch.0.order();
    assert_eq!(order.sequence.len(), 2);
    let warning = &order.warnings[0];
    assert_eq!(
        (warning.conflict, order.warnings.len()),
        (Conflict::Cycle, 1)
    );
    assert_eq!(
        (&warning.members[..], &warning.cut[..]),
        (&[0, 1][..], &[(0, 1)][..])
    );
}

#[test]
fn a_cut_prefers_edges_to_anonymous_nodes() {
    let sketch = Sketch::of(&[
        ("table a", &["table b"]),
        ("table b", &["hidden h"]),
        ("hidden h", &["table a"]),
    ]);
    let order = sketch.0.order();
    assert_eq!(order.warnings[0].cut, [(1, 2)]);
    assert_eq!(order.needs_of(1), [0]);
    assert_eq!(order.sequence[0].node, 1);
}

#[test]
fn a_type_that_needs_a_constraint_is_cut_with_a_warning() {
    let sketch = Sketch::of(&[
        ("domain d", &["hidden h", "schema s"]),
        ("schema s", &[]),
        ("hidden h", &["constraint key"]),
        ("constraint key", &[]),
    ]);
    let order = sketch.0.order();
    let warning = &order.warnings[0];
    assert_eq!(
        (warning.conflict, order.warnings.len()),
        (Conflict::Stage, 1)
    );
    assert_eq!(
        (&warning.members[..], &warning.cut[..]),
        (&[0, 3][..], &[(0, 3)][..])
    );
    assert_eq!(order.needs_of(1), [0]);
}

#[test]
fn needs_move_up_and_users_stay_in_place() {
    // Why the sort runs backwards: a cast and its function stand before the views.
    let sketch = Sketch::of(&[
        ("cast c", &["function z"]),
        ("type a", &[]),
        ("function b", &[]),
        ("function z", &["type a"]),
        ("view v", &["function z"]),
    ]);
    assert_eq!(
        sketch.order(),
        ["type a", "function z", "cast c", "function b", "view v"]
    );
}
