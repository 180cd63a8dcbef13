//! What is changed in the entries before anything is decided: roles get their new names, and partitions' rows are routed
//! through their root. Pure. Schemas are renamed by the server, at the end: see `rename`.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::sql::QualifiedName;
use crate::toc::{DataOf, Entry, EntryId};

/// Gives roles their new names, each once, so that two may swap theirs.
///
/// Errors: [`Error::Usage`] for a role that the archive does not name, or that is given two names.
pub(super) fn map_roles(entries: &mut [Entry], pairs: &[(String, String)]) -> Result<()> {
    let mut names: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    for (old, new) in pairs {
        if names.insert(old, (new, false)).is_some() {
            return Err(Error::Usage(format!(
                "role {old:?} cannot get two new names"
            )));
        }
    }
    for entry in entries {
        entry.for_each_role(&mut |role| {
            if let Some((new, used)) = names.get_mut(role.as_str()) {
                *used = true;
                (*new).clone_into(role);
            }
        });
    }
    match names.iter().find(|(_, (_, used))| !used) {
        None => Ok(()),
        Some((old, _)) => Err(Error::Usage(format!(
            "no object of the archive names role {old:?}; `pgark sql` shows owners and grants"
        ))),
    }
}

/// Which partitions' rows are routed by the server again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Also those that a collation or an encoding put where they are.
    ByCollation,
    /// All.
    All,
}

/// Sends the rows of partitions through their root. Gives the roots for which that was not so in the archive.
/// A partition that is `chosen` without its root stands alone.
///
/// Rows that are routed need the whole tree, so each partition needs what its sisters do.
pub(super) fn route_partitions(
    entries: &mut [Entry],
    chosen: &[bool],
    route: Route,
) -> BTreeSet<String> {
    let is_chosen = |id: EntryId| chosen[id.0 as usize];
    let tables: BTreeSet<String> = entries
        .iter()
        .filter(|entry| entry.label == "table" && is_chosen(entry.id))
        .map(|entry| {
            let schema = entry.name.schema.clone().unwrap_or_default();
            QualifiedName::new(schema, entry.name.name.clone()).quoted()
        })
        .collect();
    let mut needs: BTreeMap<String, BTreeSet<EntryId>> = BTreeMap::new();
    let mut roots = BTreeSet::new();
    for entry in entries.iter_mut() {
        let Some(DataOf::Table {
            via_root,
            root: Some(root),
            by_collation,
            table,
            ..
        }) = &mut entry.data
        else {
            continue;
        };
        let is_new = table.is_some_and(is_chosen);
        if is_new && !tables.contains(&root.text()) {
            continue;
        }
        let is_wanted = route == Route::All || route == Route::ByCollation && *by_collation;
        if via_root.is_none() && is_wanted {
            *via_root = Some(root.clone());
            let name = root.text();
            roots.insert(name.clone());
            needs.entry(name).or_default().extend(&entry.needs);
        }
    }
    for entry in entries {
        if let Some(DataOf::Table {
            via_root: Some(root),
            ..
        }) = &entry.data
            && let Some(of_tree) = needs.get(&root.text())
        {
            let own: BTreeSet<EntryId> = entry.needs.iter().copied().collect();
            entry.needs.extend(of_tree.difference(&own));
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(rest: &serde_json::Value) -> Entry {
        let mut value =
            json!({"id": 0, "label": "table", "name": {"name": "t"}, "stage": "pre_data"});
        for (key, part) in rest.as_object().unwrap() {
            value[key] = part.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect()
    }

    #[test]
    fn roles_get_new_names_in_every_place_and_may_swap() {
        let a = json!({"role": "a"});
        let mut entries = vec![entry(&json!({
            "forms": [{"steps": [{"sql": [["CREATE POLICY p ON t TO ", a, ", ", {"role": "b"}]]}]}],
            "drop": ["DROP USER MAPPING FOR ", a],
            "owner": {"role": "a", "target": ["x ", a]},
            "after": [{"part": "comment", "sql": ["COMMENT ON ", a]}],
            "grants": [{"grant": true, "privileges": ["SELECT"], "target": ["t ", a], "grantee": {"role": "a"}, "grantor": "b",
                        "prefix": ["FOR ROLE ", a]}],
        }))];
        map_roles(&mut entries, &pairs(&[("a", "b"), ("b", "a")])).unwrap();
        let json = serde_json::to_string(&entries[0]).unwrap();
        assert_eq!(json.matches(r#""role":"b""#).count(), 8, "{json}");
        assert_eq!(json.matches(r#""role":"a""#).count(), 1, "{json}");
        assert!(json.contains(r#""grantor":"a""#), "{json}");
    }

    #[test]
    fn a_role_that_is_not_in_the_archive_or_named_twice_is_refused() {
        let mut entries = vec![entry(&json!({"owner": {"role": "a", "target": "t"}}))];
        let unknown = map_roles(&mut entries, &pairs(&[("A", "b")])).unwrap_err();
        assert!(unknown.to_string().contains("\"A\""), "{unknown}");
        let twice = map_roles(&mut entries, &pairs(&[("a", "b"), ("a", "c")])).unwrap_err();
        assert!(twice.to_string().contains("two new names"), "{twice}");
    }

    #[test]
    fn rows_are_routed_where_it_is_asked_for_and_need_the_whole_tree() {
        let rows = |needs: &[u32], by_collation: bool| {
            entry(
                &json!({"needs": needs, "data": {"of": "table", "target": "p", "root": "r", "by_collation": by_collation}}),
            )
        };
        let via = |entry: &Entry| {
            matches!(
                &entry.data,
                Some(DataOf::Table {
                    via_root: Some(_),
                    ..
                })
            )
        };
        for (route, wanted) in [
            (Route::ByCollation, [true, false]),
            (Route::All, [true, true]),
        ] {
            let mut entries = vec![rows(&[1], true), rows(&[2, 3], false)];
            let roots = route_partitions(&mut entries, &[true], route);
            assert_eq!([via(&entries[0]), via(&entries[1])], wanted, "{route:?}");
            assert_eq!(roots.into_iter().collect::<Vec<_>>(), ["r"]);
            // The table of the rows is chosen, its root is not.
            let mut alone = vec![rows(&[1], true)];
            alone[0].data = Some(
                serde_json::from_value(
                    json!({"of": "table", "target": "p", "table": 0, "root": "r"}),
                )
                .unwrap(),
            );
            assert!(route_partitions(&mut alone, &[true], Route::All).is_empty());
            if route == Route::All {
                assert_eq!(entries[0].needs, [EntryId(1), EntryId(2), EntryId(3)]);
            }
        }
    }
}
