//! Kinds of the whole cluster: roles and what hangs on them, privileges on parameters, tablespaces, and the databases themselves.
//!
//! They live in catalogs that all databases share, so they have no part in a database's dependencies and are rendered from
//! their rows at once. This file owns their list and what they share: role names, comments, labels, privileges. The rows are
//! read by the dump, and whether an object is there already is asked by whoever restores them.

pub mod database;
pub mod membership;
pub mod parameter;
pub mod role;
pub mod role_setting;
pub mod tablespace;

use std::collections::HashMap;

use super::KindFacts;
use super::acl::{self, ExplodedRow, GrantTarget, ObjectAcl};
use super::core::RoleRow as RoleNameRow;
use super::row::{Oid, catalog_row};
use crate::error::{Error, Result};
use crate::pg::ServerVersion;
use crate::sql::{Ident, Literal, Role, Sql, sql};
use crate::toc::{After, Entry, EntryId, Form, Grant, Part, Step};

/// The owner of the cluster: the role that initdb made (`BOOTSTRAP_SUPERUSERID`).
pub const BOOTSTRAP: Oid = 10;

/// Every kind of the cluster, in the order of restoring.
pub static CLUSTER_KINDS: &[&KindFacts] = &[
    &role::FACTS,
    &role_setting::FACTS,
    &membership::FACTS,
    &parameter::FACTS,
    &tablespace::FACTS,
    &database::SETTING,
    &database::FACTS,
];

catalog_row! {
    /// `pg_shdescription`: comments on roles, tablespaces and databases.
    pub struct SharedCommentRow from "pg_catalog.pg_shdescription d" {
        class: Oid = col("d.classoid"),
        oid: Oid = col("d.objoid"),
        text: String = col("d.description"),
    }
}

catalog_row! {
    /// `pg_shseclabel`: security labels on the same.
    pub struct SharedLabelRow from "pg_catalog.pg_shseclabel l" order "l.provider" {
        class: Oid = col("l.classoid"),
        oid: Oid = col("l.objoid"),
        provider: String = col("l.provider"),
        text: String = col("l.label"),
    }
}

/// What several kinds of the cluster look up.
#[derive(Debug, Default)]
pub struct SharedFacts {
    /// The server that was read.
    pub server: ServerVersion,
    /// Role names by OID, predefined ones too.
    pub roles: HashMap<Oid, String>,
    /// Comments on shared objects.
    pub comments: Vec<SharedCommentRow>,
    /// Security labels on shared objects.
    pub labels: Vec<SharedLabelRow>,
}

impl SharedFacts {
    /// Facts of a server from their rows.
    pub fn new(
        server: ServerVersion,
        roles: Vec<RoleNameRow>,
        comments: Vec<SharedCommentRow>,
        labels: Vec<SharedLabelRow>,
    ) -> SharedFacts {
        SharedFacts {
            server,
            roles: roles.into_iter().map(|row| (row.oid, row.name)).collect(),
            comments,
            labels,
        }
    }

    /// A role by OID. A role that was dropped is named by its number, as the server's own functions do.
    fn role(&self, oid: Oid) -> Role {
        let name = self.roles.get(&oid).cloned();
        Role(name.unwrap_or_else(|| format!("unknown (OID={oid})")))
    }

    /// `COMMENT ON` and `SECURITY LABEL` of the object that `target` names with its keyword.
    fn after(&self, facts: &KindFacts, oid: Oid, target: &Sql) -> Vec<After> {
        let is_its = |class: Oid, object: Oid| (class, object) == (facts.class, oid);
        let comments = self
            .comments
            .iter()
            .filter(|row| is_its(row.class, row.oid));
        let labels = self.labels.iter().filter(|row| is_its(row.class, row.oid));
        let comments = comments.map(|row| {
            let text = sql!["COMMENT ON ", target, " IS ", Literal(&row.text)];
            After::new(Part::Comment, text)
        });
        let labels = labels.map(|row| {
            let provider = Ident::new(&*row.provider);
            let text = Literal(&row.text);
            let label = sql![
                "SECURITY LABEL FOR ",
                provider,
                " ON ",
                target,
                " IS ",
                text
            ];
            After::new(Part::Label, label)
        });
        comments.chain(labels).collect()
    }

    /// The grants that lead from an object's default privileges to those it has.
    fn grants(
        &self,
        acl: SharedAcl<'_>,
        keyword: &'static str,
        address: &Sql,
    ) -> Result<Vec<Grant>> {
        let acl = acl.parse()?;
        let prefix = Sql::default();
        let target = GrantTarget {
            keyword,
            address,
            column: None,
            prefix: &prefix,
        };
        Ok(acl::grants(
            &acl,
            &target,
            |oid| self.role(oid),
            self.server,
        ))
    }
}

/// Privileges as a row has them: the object's own and its default ones, each as [`acl_json`] gives it.
#[derive(Debug, Clone, Copy)]
struct SharedAcl<'a> {
    owner: Oid,
    items: Option<&'a str>,
    base: Option<&'a str>,
}

impl SharedAcl<'_> {
    fn parse(self) -> Result<ObjectAcl> {
        Ok(ObjectAcl {
            owner: self.owner,
            items: acl::items_of(exploded(self.items)?),
            base: acl::items_of(exploded(self.base)?),
        })
    }
}

/// A column with the items of an ACL in their order: a JSON array of grantor, grantee, privilege, grant option; `NULL` if there are none.
fn acl_json(acl: &str) -> String {
    format!(
        "(SELECT pg_catalog.json_agg(pg_catalog.json_build_array(e.grantor::pg_catalog.int8, e.grantee::pg_catalog.int8, \
         e.privilege_type, e.is_grantable) ORDER BY e.place)::pg_catalog.text \
         FROM pg_catalog.aclexplode({acl}) WITH ORDINALITY AS e(grantor, grantee, privilege_type, is_grantable, place))"
    )
}

fn exploded(json: Option<&str>) -> Result<Vec<ExplodedRow>> {
    let Some(json) = json else {
        return Ok(Vec::new());
    };
    let items: Vec<(Oid, Oid, String, bool)> = serde_json::from_str(json).map_err(|problem| {
        Error::failed(
            "privileges of shared objects",
            problem,
            "tell us the server's version",
        )
    })?;
    let row = |(grantor, grantee, privilege, grantable)| ExplodedRow {
        grantor,
        grantee,
        privilege,
        grantable,
    };
    Ok(items.into_iter().map(row).collect())
}

/// A form for every server, of one step for each of `steps`.
fn form(steps: Vec<Step>) -> Form {
    Form {
        steps,
        ..Form::default()
    }
}

/// Statements that run together.
fn step(sql: Vec<Sql>) -> Step {
    Step {
        sql,
        ..Step::default()
    }
}

/// Everything that is read of a cluster's shared objects but the databases.
#[derive(Debug, Default)]
pub struct GlobalRows {
    /// Names, comments, labels.
    pub shared: SharedFacts,
    /// Roles.
    pub roles: Vec<role::RoleRow>,
    /// Their password hashes, where they may be read.
    pub passwords: Vec<role::PasswordRow>,
    /// Settings of roles in all databases.
    pub settings: Vec<role_setting::RoleSettingRow>,
    /// Memberships.
    pub memberships: Vec<membership::MembershipRow>,
    /// Privileges on parameters.
    pub parameters: Vec<parameter::ParameterRow>,
    /// Tablespaces.
    pub tablespaces: Vec<tablespace::TablespaceRow>,
}

/// The entries of a cluster's shared objects, numbered from 0, and what the user should know of them.
#[derive(Debug, Default)]
pub struct GlobalEntries {
    /// In the order of restoring: roles, their settings (which may name roles), memberships, parameters, tablespaces.
    pub entries: Vec<Entry>,
    /// What could not be kept.
    pub warnings: Vec<String>,
}

impl GlobalRows {
    /// The rows as entries. Pure.
    pub fn entries(&self) -> Result<GlobalEntries> {
        let mut out = GlobalEntries::default();
        let passwords: HashMap<Oid, &str> = self
            .passwords
            .iter()
            .map(|row| (row.oid, row.hash.as_str()))
            .collect();
        let mut ids = HashMap::new();
        for row in &self.roles {
            let id = out.push(role::entry(
                row,
                passwords.get(&row.oid).copied(),
                &self.shared,
            ));
            ids.insert(row.oid, id);
        }
        for row in &self.settings {
            let mut entry = role_setting::entry(row, &self.shared);
            entry.needs.extend(ids.get(&row.role));
            out.push(entry);
        }
        let (memberships, warnings) = membership::entries(&self.memberships, &ids, out.next());
        out.entries.extend(memberships);
        out.warnings.extend(warnings);
        for row in &self.parameters {
            out.push(parameter::entry(row, &self.shared)?);
        }
        for row in &self.tablespaces {
            out.push(tablespace::entry(row, &self.shared)?);
        }
        Ok(out)
    }
}

impl GlobalEntries {
    fn next(&self) -> EntryId {
        EntryId(u32::try_from(self.entries.len()).expect("OIDs have 32 bits"))
    }

    fn push(&mut self, mut entry: Entry) -> EntryId {
        entry.id = self.next();
        let id = entry.id;
        self.entries.push(entry);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_read_from_their_json() {
        let rows = exploded(Some(
            r#"[[10, 0, "CREATE", true], [10, 4294967295, "SET", false]]"#,
        ));
        let rows = rows.unwrap();
        assert_eq!((rows[0].grantee, rows[0].grantable), (0, true));
        assert_eq!((rows[1].grantee, &*rows[1].privilege), (u32::MAX, "SET"));
        assert!(exploded(None).unwrap().is_empty());
        assert!(exploded(Some("[[1]]")).is_err());
    }
}
