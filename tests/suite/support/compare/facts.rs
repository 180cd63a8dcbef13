//! What is known of one database as text: object → property → values. Owns the shape of the
//! facts and how two sets of them differ; knows neither catalogs nor servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The values of one property: a multiset, kept sorted when facts are compared.
type Values = Vec<Option<String>>;

/// Facts of one database, by object and property.
#[derive(Debug, Default)]
pub(super) struct Facts {
    objects: BTreeMap<String, BTreeMap<String, Values>>,
}

impl Facts {
    /// Notes that `object` has `value` as `property`; several values of one property add up.
    pub(super) fn add(&mut self, object: &str, property: &str, value: Option<String>) {
        self.objects
            .entry(object.to_owned())
            .or_default()
            .entry(property.to_owned())
            .or_default()
            .push(value);
    }

    /// Takes over all facts of `other`.
    pub(super) fn extend(&mut self, other: Facts) {
        for (object, properties) in other.objects {
            let mine = self.objects.entry(object).or_default();
            for (property, values) in properties {
                mine.entry(property).or_default().extend(values);
            }
        }
    }

    /// Brings the values of each property into one order.
    pub(super) fn sort(&mut self) {
        for properties in self.objects.values_mut() {
            for values in properties.values_mut() {
                values.sort();
            }
        }
    }

    /// Compares two sets of sorted facts; `unify` rewrites the text of a property so that texts
    /// with one meaning are equal. With `only_shared` a property that one side does not know of
    /// an object both have is passed over: its server lacks the column.
    pub(super) fn differences(
        &self,
        other: &Facts,
        only_shared: bool,
        unify: impl Fn(&str, &str) -> String,
    ) -> Vec<Difference> {
        let same = |property: &str, a: Option<&Values>, b: Option<&Values>| match (a, b) {
            (Some(a), Some(b)) => {
                a == b || unify(property, &render(a)) == unify(property, &render(b))
            }
            _ => only_shared,
        };
        let mut found = Vec::new();
        for object in keys(&self.objects, &other.objects) {
            match (self.objects.get(object), other.objects.get(object)) {
                (Some(left), Some(right)) => {
                    for property in keys(left, right) {
                        let (a, b) = (left.get(property), right.get(property));
                        if same(property, a, b) {
                            continue;
                        }
                        found.push(Difference {
                            what: format!("{object}: {property}"),
                            left: a.map(|values| render(values)),
                            right: b.map(|values| render(values)),
                        });
                    }
                }
                (left, right) => found.push(Difference {
                    what: object.clone(),
                    left: left.map(summary),
                    right: right.map(summary),
                }),
            }
        }
        found
    }
}

fn keys<'a, V>(a: &'a BTreeMap<String, V>, b: &'a BTreeMap<String, V>) -> BTreeSet<&'a String> {
    a.keys().chain(b.keys()).collect()
}

/// One text for the values of a property, in which NULL, the empty text and the word differ.
fn render(values: &[Option<String>]) -> String {
    let one = |value: &Option<String>| match value {
        None => "NULL".to_owned(),
        Some(text) if text.is_empty() || text == "NULL" => format!("'{text}'"),
        Some(text) => text.clone(),
    };
    values.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn summary(properties: &BTreeMap<String, Values>) -> String {
    let shown = |values: &Values| {
        let text = render(values);
        if text.contains('\n') && properties.len() > 1 {
            "…".to_owned()
        } else {
            text
        }
    };
    properties
        .iter()
        .filter(|(_, values)| values.iter().any(Option::is_some))
        .map(|(property, values)| format!("{property}={}", shown(values)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// One thing in which two databases differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Object and property, as in `index s.i: indexdef`, or the object alone if one side lacks it.
    pub(crate) what: String,
    /// What the left side has; `None` if it lacks the object or property.
    pub(crate) left: Option<String>,
    /// What the right side has; `None` if it lacks the object or property.
    pub(crate) right: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = differing_lines(self.left.as_deref(), self.right.as_deref());
        write!(out, "{}\n    left:  {left}\n    right: {right}", self.what)
    }
}

/// Longest text of one side that a report shows, in characters.
const SHOWN_CHARS_MAX: usize = 1500;

/// Leaves out the lines that both texts begin and end with, so that a long body shows its change.
fn differing_lines(left: Option<&str>, right: Option<&str>) -> (String, String) {
    let show = |text: &str| {
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown.replace('\n', "\n           ")
    };
    let (Some(left), Some(right)) = (left, right) else {
        let side = |text: Option<&str>| text.map_or_else(|| "(none)".to_owned(), show);
        return (side(left), side(right));
    };
    let (a, b): (Vec<_>, Vec<_>) = (left.split('\n').collect(), right.split('\n').collect());
    let shorter = a.len().min(b.len());
    let head = (0..shorter).take_while(|&i| a[i] == b[i]).count();
    let tail = (0..shorter - head)
        .take_while(|&i| a[a.len() - 1 - i] == b[b.len() - 1 - i])
        .count();
    let part = |lines: &[&str]| {
        let mut shown = Vec::new();
        if head > 0 {
            shown.push("…");
        }
        shown.extend(&lines[head..lines.len() - tail]);
        if tail > 0 {
            shown.push("…");
        }
        show(&shown.join("\n"))
    };
    (part(&a), part(&b))
}
