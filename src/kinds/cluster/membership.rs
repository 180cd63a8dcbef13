//! Memberships of roles in roles. Since 16 each has options and a grantor, several can join the same two roles, and a grant
//! can only be repeated after that which gave its grantor the right.

use std::collections::{BTreeMap, HashMap};

use super::{BOOTSTRAP, form, step};
use crate::kinds::KindFacts;
use crate::kinds::row::{Oid, catalog_row};
use crate::pg::ServerVersion;
use crate::pg::version::{V12, V14, V15, V16, V17, V18};
use crate::sql::{Role, Sql, sql};
use crate::toc::{Entry, EntryId, EntryName, Form, Stage, printable};

/// Facts of the kind.
pub const FACTS: KindFacts = KindFacts {
    label: "role membership",
    keyword: "ROLE",
    stage: Stage::PreData,
    priority: 3,
    grant: None,
    owned: false,
    postponable: false,
    catalog: "pg_auth_members",
    class: 1261,
};

catalog_row! {
    /// `pg_auth_members`, without those among predefined roles, which every server has by itself.
    pub struct MembershipRow from
        "pg_catalog.pg_auth_members m \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = m.roleid \
         LEFT JOIN pg_catalog.pg_roles u ON u.oid = m.member \
         LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor"
        where "(r.rolname ~ '^pg_' AND u.rolname ~ '^pg_') IS NOT TRUE" order "m.roleid, m.member, m.grantor" {
        role: Oid = col("m.roleid"),
        /// Absent, like the next ones, if the role was dropped under an old server's hands.
        role_name: Option<String> = col("r.rolname::pg_catalog.text"),
        member: Oid = col("m.member"),
        member_name: Option<String> = col("u.rolname::pg_catalog.text"),
        member_inherits: Option<bool> = col("u.rolinherit"),
        grantor: Oid = col("m.grantor"),
        grantor_name: Option<String> = col("g.rolname::pg_catalog.text"),
        admin: bool = col("m.admin_option"),
        /// Absent before 16: the member's own attribute decides.
        inherit: Option<bool> = since(V16, "m.inherit_option", "NULL::pg_catalog.bool"),
        set: bool = since(V16, "m.set_option", "true"),
    }
}

/// A membership in its place.
#[derive(Debug)]
struct Placed<'a> {
    row: &'a MembershipRow,
    /// The place of the grant that made this one possible.
    after: Option<usize>,
    /// The grantor to name: one that holds the role with ADMIN by then. The bootstrap superuser, whose name is each cluster's
    /// own, needs no naming: what a superuser grants counts as his.
    by: Option<&'a str>,
}

/// Memberships so that each grantor has his right before he uses it, and those whose grantor never gets it, by name.
fn placed(rows: &[MembershipRow]) -> (Vec<Placed<'_>>, Vec<String>) {
    let mut of_role: BTreeMap<Oid, Vec<&MembershipRow>> = BTreeMap::new();
    for row in rows {
        of_role.entry(row.role).or_default().push(row);
    }
    let (mut out, mut warnings) = (Vec::new(), Vec::new());
    for mut open in of_role.into_values() {
        let first = out.len();
        while !open.is_empty() {
            let n_before = open.len();
            open.retain(|row| {
                let Some(place) = place(row, &out, first) else {
                    return true;
                };
                out.push(place);
                false
            });
            if open.len() == n_before {
                // The server refuses such a state; a catalog changed by hand can have it.
                for row in open.drain(..) {
                    let (by, after) = (None, None);
                    out.push(Placed { row, after, by });
                    warnings.push(format!(
                        "role membership {}: its grantor has no right to the role and is left out",
                        name_of(row, None)
                    ));
                }
            }
        }
    }
    (out, warnings)
}

fn place<'a>(row: &'a MembershipRow, done: &[Placed<'_>], first: usize) -> Option<Placed<'a>> {
    // Servers before 16 do not keep grantors reliably: the role may be gone, or never had the right.
    if row.inherit.is_none() || row.grantor == BOOTSTRAP {
        let (by, after) = (None, None);
        return Some(Placed { row, after, by });
    }
    let gives = |one: &Placed<'_>| one.row.member == row.grantor && one.row.admin;
    let after = first + done[first..].iter().position(gives)?;
    Some(Placed {
        row,
        after: Some(after),
        by: row.grantor_name.as_deref(),
    })
}

fn name_of(row: &MembershipRow, by: Option<&str>) -> String {
    let name = |name: &Option<String>| printable(name.as_deref().unwrap_or("?"));
    let by = by.map(|by| format!(" by {}", printable(by)));
    let (role, member) = (name(&row.role_name), name(&row.member_name));
    format!("{member} in {role}{}", by.unwrap_or_default())
}

/// The entries of all memberships, numbered from `first`, and what could not be kept. `roles` are the entries of the roles.
pub(super) fn entries(
    rows: &[MembershipRow],
    roles: &HashMap<Oid, EntryId>,
    first: EntryId,
) -> (Vec<Entry>, Vec<String>) {
    let (whole, orphans): (Vec<_>, Vec<_>) = rows
        .iter()
        .cloned()
        .partition(|row| row.role_name.is_some() && row.member_name.is_some());
    let (placed, mut warnings) = placed(&whole);
    warnings.extend(orphans.iter().map(|row| {
        format!(
            "role membership {}: the role with OID {} or {} is gone, so it is left out",
            name_of(row, None),
            row.role,
            row.member
        )
    }));
    let id_at = |place: usize| EntryId(first.0 + u32::try_from(place).expect("OIDs have 32 bits"));
    let mut out = Vec::new();
    for (place, one) in placed.iter().enumerate() {
        let name = EntryName {
            name: name_of(one.row, one.by),
            ..EntryName::default()
        };
        let mut entry = Entry::new(id_at(place), FACTS.label, name, FACTS.stage);
        entry.forms = forms(one);
        let named = [one.row.role, one.row.member, one.row.grantor];
        let named = &named[..if one.by.is_some() { 3 } else { 2 }];
        entry.needs = named
            .iter()
            .filter_map(|oid| roles.get(oid).copied())
            .collect();
        entry.needs.extend(one.after.map(id_at));
        out.push(entry);
    }
    (out, warnings)
}

/// With options and grantor since 16, without them before; nothing where the role is a predefined one that the target lacks.
fn forms(placed: &Placed<'_>) -> Vec<Form> {
    let row = placed.row;
    let known = row.role_name.as_deref().map_or(V12, predefined_since);
    let known = known.max(row.member_name.as_deref().map_or(V12, predefined_since));
    let begin = sql![
        "GRANT ",
        role(row.role_name.as_deref()),
        " TO ",
        role(row.member_name.as_deref())
    ];
    let admin = row.admin.then_some(" WITH ADMIN OPTION");
    let plain = step(vec![sql![&begin, admin]]);
    let since = (known > V12).then_some(known);
    let mut out = Vec::new();
    match row.inherit {
        None => out.push(Form {
            since,
            ..form(vec![plain])
        }),
        Some(inherit) => {
            let by = placed
                .by
                .map(|by| sql![" GRANTED BY ", Role(by.to_owned())]);
            let options = sql![
                " WITH ADMIN ",
                word(row.admin),
                ", INHERIT ",
                word(inherit),
                ", SET ",
                word(row.set)
            ];
            out.push(Form {
                since: Some(known.max(V16)),
                ..form(vec![step(vec![sql![begin, options, by]])])
            });
            if known < V16 {
                out.push(Form {
                    since,
                    until: Some(V16),
                    lost: lost(placed, inherit),
                    ..form(vec![plain])
                });
            }
        }
    }
    if known > V12 {
        out.push(Form {
            until: Some(known),
            lost: Some(
                "the membership, because a predefined role of newer servers is in it".to_owned(),
            ),
            ..Form::default()
        });
    }
    out
}

/// What a server before 16 cannot keep.
fn lost(placed: &Placed<'_>, inherit: bool) -> Option<String> {
    let row = placed.row;
    let losses = [
        (row.member_inherits != Some(inherit)).then_some("its own INHERIT option"),
        (!row.set).then_some("SET FALSE"),
        placed.by.map(|_| "the grantor"),
    ];
    let losses: Vec<&str> = losses.into_iter().flatten().collect();
    (!losses.is_empty()).then(|| losses.join(", "))
}

fn role(name: Option<&str>) -> Sql {
    sql![Role(name.unwrap_or_default().to_owned())]
}

fn word(option: bool) -> &'static str {
    if option { "TRUE" } else { "FALSE" }
}

/// The first server that has a predefined role (`pg_authid.dat` of each major).
fn predefined_since(role: &str) -> ServerVersion {
    match role {
        "pg_database_owner" | "pg_read_all_data" | "pg_write_all_data" => V14,
        "pg_checkpoint" => V15,
        "pg_use_reserved_connections" | "pg_create_subscription" => V16,
        "pg_maintain" => V17,
        "pg_signal_autovacuum_worker" => V18,
        _ => V12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Roles are a, b, c … with OIDs from 100; the bootstrap superuser grants where `grantor` is `^`.
    fn row(role: char, member: char, grantor: char, admin: bool) -> MembershipRow {
        let oid = |name: char| match name {
            '^' => BOOTSTRAP,
            name => u32::from(name),
        };
        MembershipRow {
            role: oid(role),
            role_name: Some(role.to_string()),
            member: oid(member),
            member_name: Some(member.to_string()),
            member_inherits: Some(true),
            grantor: oid(grantor),
            grantor_name: Some(grantor.to_string()),
            admin,
            inherit: Some(true),
            set: true,
        }
    }

    fn texts(rows: &[MembershipRow], target: ServerVersion) -> Vec<String> {
        let (entries, _) = entries(rows, &HashMap::new(), EntryId(0));
        let form = |entry: &Entry| {
            let form = entry.forms.iter().find(|form| form.serves(target)).unwrap();
            let text = form
                .steps
                .first()
                .map_or(String::new(), |step| step.sql[0].text());
            format!(
                "{text}{}",
                form.lost
                    .as_ref()
                    .map_or(String::new(), |lost| format!(" [{lost}]"))
            )
        };
        entries.iter().map(form).collect()
    }

    #[test]
    fn a_grantor_has_his_right_before_he_uses_it() {
        // c's and d's rights come from b's, which comes last in the catalog's order.
        let rows = [
            row('a', 'd', 'c', false),
            row('a', 'c', 'b', true),
            row('a', 'b', '^', true),
        ];
        assert_eq!(
            texts(&rows, V16),
            [
                r#"GRANT "a" TO "b" WITH ADMIN TRUE, INHERIT TRUE, SET TRUE"#,
                r#"GRANT "a" TO "c" WITH ADMIN TRUE, INHERIT TRUE, SET TRUE GRANTED BY "b""#,
                r#"GRANT "a" TO "d" WITH ADMIN FALSE, INHERIT TRUE, SET TRUE GRANTED BY "c""#,
            ]
        );
        let (entries, warnings) = entries(&rows, &HashMap::new(), EntryId(7));
        let needs: Vec<&[EntryId]> = entries.iter().map(|entry| &*entry.needs).collect();
        assert_eq!(needs, [&[][..], &[EntryId(7)], &[EntryId(8)]]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn grantors_in_a_circle_are_left_out_and_named() {
        let rows = [row('a', 'b', 'c', true), row('a', 'c', 'b', true)];
        let (entries, warnings) = entries(&rows, &HashMap::new(), EntryId(0));
        assert_eq!((entries.len(), warnings.len()), (2, 2));
        assert!(warnings[0].contains("b in a"), "{warnings:?}");
    }

    #[test]
    fn older_targets_get_what_they_understand_and_losses_are_named() {
        let mut odd = row('a', 'b', 'c', true);
        (odd.inherit, odd.set) = (Some(false), false);
        let rows = [row('a', 'c', '^', true), odd];
        assert_eq!(
            texts(&rows, V15),
            [
                r#"GRANT "a" TO "c" WITH ADMIN OPTION"#,
                r#"GRANT "a" TO "b" WITH ADMIN OPTION [its own INHERIT option, SET FALSE, the grantor]"#,
            ]
        );
        let mut new = row('m', 'b', '^', false);
        new.role_name = Some("pg_maintain".into());
        assert!(texts(std::slice::from_ref(&new), V16)[0].starts_with(" [the membership"));
        assert!(texts(&[new], V17)[0].starts_with("GRANT \"pg_maintain\""));
    }

    #[test]
    fn a_dangling_grantor_loses_no_membership_and_orphans_are_named() {
        let mut old = row('a', 'b', 'x', true);
        (old.inherit, old.grantor_name) = (None, None);
        let mut orphan = row('a', 'z', '^', false);
        orphan.member_name = None;
        let rows = [old, orphan];
        assert_eq!(texts(&rows, V12), [r#"GRANT "a" TO "b" WITH ADMIN OPTION"#]);
        let (_, warnings) = entries(&rows, &HashMap::new(), EntryId(0));
        assert!(warnings[0].contains("is gone"), "{warnings:?}");
    }
}
