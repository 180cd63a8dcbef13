//! Properties of the order over random graphs, and its speed on a large one.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{Conflict, Graph, Half, Node, Order};
use super::Dice;
use crate::toc::Stage;

const STAGES: [Option<Stage>; 8] = [
    Some(Stage::PreData),
    Some(Stage::PreData),
    Some(Stage::PreData),
    None,
    Some(Stage::Data),
    Some(Stage::PostData),
    Some(Stage::Privileges),
    Some(Stage::Final),
];

/// What is drawn for a node: stage, priority, postponable, cost of a split, which of its needs its stub keeps.
type Draw = (usize, u16, bool, Option<u16>, u32);

fn graph(draws: &[Draw], edges: &[(usize, usize)]) -> Graph<usize> {
    let n = draws.len();
    let edges: Vec<(usize, usize)> = edges.iter().map(|(a, b)| (a % n, b % n)).collect();
    let nodes = draws.iter().enumerate().map(|(key, draw)| {
        let needs = edges.iter().filter(|(node, _)| *node == key).enumerate();
        let kept = needs.filter(|(at, _)| draw.4 >> (at % 32) & 1 == 1);
        Node {
            stage: STAGES[draw.0],
            priority: draw.1,
            key,
            postponable: draw.2,
            splittable: draw.3,
            stub_needs: kept.map(|(_, (_, need))| *need).collect(),
        }
    });
    Graph {
        nodes: nodes.collect(),
        edges: edges.clone(),
    }
}

prop_compose! {
    /// Stub needs are rare, as they are in life.
    fn draw(stages: usize)(
        stage in 0..stages, priority in 0_u16..3, postponable: bool,
        cost in proptest::option::of(0_u16..3), kept: u32, mask: u32, more: u32
    ) -> Draw {
        (stage, priority, postponable, cost, kept & mask & more)
    }
}

prop_compose! {
    fn any_graph(stages: usize)(
        draws in proptest::collection::vec(draw(stages), 1..14),
        edges in proptest::collection::vec((0_usize..64, 0_usize..64), 0..26),
    ) -> Graph<usize> {
        graph(&draws, &edges)
    }
}

/// By node: everything that it needs, through others too.
fn reach(graph: &Graph<usize>) -> Vec<HashSet<usize>> {
    let walk = |start: usize| {
        let (mut seen, mut open) = (HashSet::new(), vec![start]);
        while let Some(at) = open.pop() {
            let needs = graph.edges.iter().filter(|(node, _)| *node == at);
            open.extend(
                needs
                    .map(|(_, need)| *need)
                    .filter(|need| seen.insert(*need)),
            );
        }
        seen
    };
    (0..graph.nodes.len()).map(walk).collect()
}

fn position(order: &Order, node: usize, last: bool) -> Option<usize> {
    let mut at = (0..order.sequence.len()).filter(|at| order.sequence[*at].node == node);
    if last { at.next_back() } else { at.next() }
}

fn check_places(graph: &Graph<usize>, order: &Order) {
    for (index, node) in graph.nodes.iter().enumerate() {
        let placed = order.sequence.iter().filter(|placed| placed.node == index);
        let halves: Vec<Half> = placed.clone().map(|placed| placed.half).collect();
        match node.stage {
            None => assert_eq!(halves, []),
            Some(_) if node.splittable.is_some() && halves.len() == 2 => {
                assert_eq!(halves, [Half::Stub, Half::Rest]);
            }
            Some(_) => assert_eq!(halves, [Half::Whole]),
        }
        for placed in placed {
            let own = node.stage.expect("emitted");
            let moved = (own, placed.stage) == (Stage::PreData, Stage::PostData)
                && (node.postponable || placed.half == Half::Rest);
            assert!(placed.stage == own || moved, "{placed:?}");
        }
    }
    assert!(order.sequence.is_sorted_by_key(|placed| placed.stage));
    for at in 0..order.sequence.len() {
        let needs = order.needs_of(at);
        assert!(needs.is_sorted() && needs.iter().all(|need| *need < at));
        if order.sequence[at].half == Half::Rest {
            let stub = position(order, order.sequence[at].node, false);
            assert!(needs.contains(&stub.expect("a rest has a stub")));
        }
    }
}

fn check_needs(graph: &Graph<usize>, order: &Order) {
    let reach = reach(graph);
    let cut: HashSet<(usize, usize)> = order
        .warnings
        .iter()
        .flat_map(|warning| warning.cut.iter().copied())
        .collect();
    for edge in graph.edges.iter().filter(|edge| !cut.contains(edge)) {
        let (node, need) = *edge;
        let both = (position(order, node, true), position(order, need, false));
        let (Some(last), Some(first)) = both else {
            continue;
        };
        if node == need {
            continue;
        }
        let needs = order.needs_of(last);
        let complete = position(order, need, true).expect("it has a first place");
        if order.sequence[last].half != Half::Stub && order.warnings.is_empty() {
            assert!(
                needs.contains(&first) || needs.contains(&complete),
                "{node} needs {need}"
            );
        }
        let apart = !reach[need].contains(&node);
        let in_time = order.sequence[complete].stage <= order.sequence[last].stage;
        if apart && in_time && order.warnings.is_empty() {
            assert!(needs.contains(&complete), "{node} needs all of {need}");
        }
    }
}

/// A stub comes after whatever it cannot do without, or after that one's stub.
fn check_stubs(graph: &Graph<usize>, order: &Order) {
    for (at, placed) in order.sequence.iter().enumerate() {
        if placed.half != Half::Stub || !order.warnings.is_empty() {
            continue;
        }
        let kept = graph.nodes[placed.node].stub_needs.iter();
        for need in kept.filter(|need| **need != placed.node) {
            let first = position(order, *need, false);
            let complete = position(order, *need, true);
            let needs = order.needs_of(at);
            let respected = |position: usize| needs.contains(&position);
            assert!(
                first.is_none_or(respected) || complete.is_none_or(respected),
                "the stub of {} needs {need}",
                placed.node
            );
        }
    }
}

/// A split needs a reason: a cycle with another emitted node, a later stage among what it needs, or itself among
/// what somebody needs who must stay.
fn check_splits(graph: &Graph<usize>, order: &Order) {
    let reach = reach(graph);
    for placed in order
        .sequence
        .iter()
        .filter(|placed| placed.half == Half::Stub)
    {
        let node = placed.node;
        let partner = |other: &usize| {
            *other != node && graph.nodes[*other].stage.is_some() && reach[*other].contains(&node)
        };
        let cycle = reach[node].iter().any(partner);
        let later = reach[node]
            .iter()
            .any(|need| graph.nodes[*need].stage > Some(Stage::PreData));
        let stage = graph.nodes[node].stage == Some(Stage::PreData) && later;
        assert!(cycle || stage, "{placed:?} was split without need");
    }
}

fn text(order: &Order) -> String {
    let needs = (0..order.sequence.len()).map(|at| order.needs_of(at));
    format!(
        "{:?} {:?} {:?}",
        order.sequence,
        order.warnings,
        needs.collect::<Vec<_>>()
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn orders_respect_needs_and_stages(graph in any_graph(STAGES.len())) {
        let order = graph.order();
        check_places(&graph, &order);
        check_needs(&graph, &order);
        check_stubs(&graph, &order);
        check_splits(&graph, &order);
    }

    #[test]
    fn catalogs_without_late_stages_are_ordered_too(graph in any_graph(6)) {
        let order = graph.order();
        check_places(&graph, &order);
        check_needs(&graph, &order);
        check_stubs(&graph, &order);
        check_splits(&graph, &order);
    }

    #[test]
    fn the_order_of_edges_and_nodes_does_not_matter(graph in any_graph(STAGES.len()), seed: u64) {
        let mut dice = Dice(seed);
        let mut shuffled = graph.clone();
        shuffle(&mut shuffled.edges, &mut dice);
        prop_assert_eq!(text(&graph.order()), text(&shuffled.order()));

        // Nodes are told apart by their keys, so their numbers do not matter either.
        let mut new_of: Vec<usize> = (0..graph.nodes.len()).collect();
        shuffle(&mut new_of, &mut dice);
        let mut nodes = graph.nodes.clone();
        for (old, node) in graph.nodes.iter().enumerate() {
            let mut node = node.clone();
            node.stub_needs.iter_mut().for_each(|need| *need = new_of[*need]);
            nodes[new_of[old]] = node;
        }
        let edges = graph.edges.iter().map(|(a, b)| (new_of[*a], new_of[*b])).collect();
        let mut order = Graph { nodes, edges }.order();
        let mut old_of = vec![0; new_of.len()];
        new_of.iter().enumerate().for_each(|(old, new)| old_of[*new] = old);
        order.sequence.iter_mut().for_each(|placed| placed.node = old_of[placed.node]);
        prop_assert_eq!(&graph.order().sequence, &order.sequence);
    }

    #[test]
    fn nothing_is_given_up_where_all_can_be_split(mut graph in any_graph(4)) {
        for node in &mut graph.nodes {
            node.splittable = Some(1);
            node.stub_needs.clear();
        }
        prop_assert_eq!(graph.order().warnings, vec![]);
    }

    #[test]
    fn without_edges_the_order_is_natural(graph in any_graph(STAGES.len())) {
        let mut graph = graph;
        graph.edges.clear();
        let order = graph.order();
        let natural = order.sequence.is_sorted_by_key(|placed| {
            let node = &graph.nodes[placed.node];
            (placed.stage, node.priority, node.key)
        });
        prop_assert!(natural);
    }
}

fn shuffle<T>(list: &mut [T], dice: &mut Dice) {
    for at in (1..list.len()).rev() {
        list.swap(at, dice.below(at + 1));
    }
}

/// 100,000 nodes and 500,000 edges; `back` in a thousand edges may close a cycle.
fn large(back: usize, splittable: bool) -> Graph<String> {
    const NODES: usize = 20_000;
    let mut dice = Dice(7);
    let nodes = (0..NODES).map(|at| {
        // As in a catalog: what comes after the data is seldom needed before it.
        let late = at > NODES / 2 && at % 97 != 0 || at % 997 == 0;
        let stage = match at % 6 {
            0 => None,
            _ if late => Some(Stage::PostData),
            _ => Some(Stage::PreData),
        };
        let mut node = Node::new(stage, 0, format!("schema.{:06}", at * 7919 % NODES));
        node.postponable = at % 3 == 0;
        node.splittable = (splittable && at % 2 == 0).then_some(1);
        node
    });
    let edges = (0..5 * NODES).map(|_| {
        let (a, b) = (dice.below(NODES), dice.below(NODES));
        if dice.below(1000) < back {
            (a, b)
        } else {
            (a.max(b), a.min(b))
        }
    });
    Graph {
        nodes: nodes.collect(),
        edges: edges.collect(),
    }
}

/// Quadratic work on so many nodes would not end within the patience of a test run.
#[test]
fn large_graphs_are_ordered() {
    for (back, splittable) in [(1, true), (1000, true), (1000, false)] {
        let graph = large(back, splittable);
        let order = graph.order();
        assert!(order.sequence.is_sorted_by_key(|placed| placed.stage));
    }
}

#[test]
fn many_small_cycles_are_each_split_once() {
    const TYPES: usize = 30_000;
    let nodes = (0..3 * TYPES).map(|key| Node {
        splittable: (key % 3 == 0).then_some(1),
        ..Node::new(Some(Stage::PreData), 1, key)
    });
    let cycle = |at| [(at, at + 1), (at, at + 2), (at + 1, at), (at + 2, at)];
    let graph = Graph {
        nodes: nodes.collect(),
        edges: (0..TYPES).flat_map(|number| cycle(3 * number)).collect(),
    };
    let order = graph.order();
    assert_eq!((order.warnings.len(), order.sequence.len()), (0, 4 * TYPES));
}

#[test]
fn a_long_chain_needs_no_deep_stack() {
    const NODES: usize = 20_000;
    // Every view needs the next, the last a key, and a table needs the first: all stubs are asked for at once.
    let view = |key: usize| Node {
        postponable: true,
        splittable: Some(1),
        stub_needs: vec![key + 1],
        ..Node::new(Some(Stage::PreData), 1, key)
    };
    let mut nodes: Vec<Node<usize>> = (0..NODES).map(view).collect();
    nodes[NODES - 1].stub_needs.clear();
    nodes.push(Node::new(Some(Stage::PostData), 2, NODES));
    nodes.push(Node::new(Some(Stage::PreData), 1, NODES + 1));
    let mut edges: Vec<(usize, usize)> = (0..NODES).map(|at| (at, at + 1)).collect();
    edges.push((NODES + 1, 0));
    let order = Graph { nodes, edges }.order();
    assert_eq!(order.warnings, []);
    assert_eq!(order.sequence.len(), 2 * NODES + 2);

    let nodes = (0..NODES).map(|key| Node::new(Some(Stage::PreData), 1, key));
    let ring = Graph {
        nodes: nodes.collect(),
        edges: (0..NODES).map(|at| (at, (at + 1) % NODES)).collect(),
    };
    let order = ring.order();
    assert_eq!(order.warnings.len(), 1);
    assert_eq!(
        (order.warnings[0].conflict, order.warnings[0].cut.len()),
        (Conflict::Cycle, 1)
    );
}
