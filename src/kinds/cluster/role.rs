//! Roles: the bootstrap superuser and all that users made. The predefined `pg_…` come with every server.

use super::{SharedFacts, form, step};
use crate::kinds::KindFacts;
use crate::kinds::row::{Oid, catalog_row};
use crate::sql::{Literal, Role, Sql, sql};
use crate::toc::{Entry, EntryId, EntryName, Stage};

/// Facts of the kind.
pub const FACTS: KindFacts = KindFacts {
    label: "role",
    keyword: "ROLE",
    stage: Stage::PreData,
    priority: 1,
    grant: None,
    owned: false,
    postponable: false,
    catalog: "pg_authid",
    class: 1260,
};

catalog_row! {
    /// `pg_roles`, which everybody may read. In OID order, so that the roles of a policy keep theirs.
    pub struct RoleRow from "pg_catalog.pg_roles r" where "r.rolname !~ '^pg_'" order "r.oid" {
        oid: Oid = col("r.oid"),
        name: String = col("r.rolname"),
        superuser: bool = col("r.rolsuper"),
        inherit: bool = col("r.rolinherit"),
        create_role: bool = col("r.rolcreaterole"),
        create_db: bool = col("r.rolcreatedb"),
        login: bool = col("r.rolcanlogin"),
        replication: bool = col("r.rolreplication"),
        bypass_rls: bool = col("r.rolbypassrls"),
        connection_limit: i32 = col("r.rolconnlimit"),
        valid_until: Option<String> = col("r.rolvaliduntil::pg_catalog.text"),
    }
}

catalog_row! {
    /// `pg_authid`'s hashes, which only superusers may read.
    pub struct PasswordRow from "pg_catalog.pg_authid a" where "a.rolpassword IS NOT NULL" {
        oid: Oid = col("a.oid"),
        hash: String = col("a.rolpassword"),
    }
}

/// The entry of a role: one step that creates it, one that makes it as it was, whoever created it. Every attribute is spelled
/// out; the password stands in a statement of its own, as the stored hash, which the server takes as it is.
pub(super) fn entry(row: &RoleRow, password: Option<&str>, shared: &SharedFacts) -> Entry {
    let role = Role(row.name.clone());
    let name = EntryName {
        name: row.name.clone(),
        ..EntryName::default()
    };
    let mut entry = Entry::new(EntryId(0), FACTS.label, name, FACTS.stage);
    let mut alter = vec![sql!["ALTER ROLE ", &role, " WITH ", attributes(row)]];
    alter.extend(password.map(|hash| sql!["ALTER ROLE ", &role, " PASSWORD ", Literal(hash)]));
    let until = row.valid_until.as_deref();
    alter.extend(until.map(|time| sql!["ALTER ROLE ", &role, " VALID UNTIL ", Literal(time)]));
    entry.forms = vec![form(vec![
        step(vec![sql!["CREATE ROLE ", &role]]),
        step(alter),
    ])];
    entry.drop = Some(sql!["DROP ROLE ", &role]);
    entry.after = shared.after(&FACTS, row.oid, &sql!["ROLE ", &role]);
    entry
}

fn attributes(row: &RoleRow) -> Sql {
    let flags = [
        (row.superuser, "SUPERUSER", "NOSUPERUSER"),
        (row.inherit, "INHERIT", "NOINHERIT"),
        (row.create_role, "CREATEROLE", "NOCREATEROLE"),
        (row.create_db, "CREATEDB", "NOCREATEDB"),
        (row.login, "LOGIN", "NOLOGIN"),
        (row.replication, "REPLICATION", "NOREPLICATION"),
        (row.bypass_rls, "BYPASSRLS", "NOBYPASSRLS"),
    ];
    let words = flags.map(|(is, yes, no)| if is { yes } else { no });
    let limit = row.connection_limit;
    sql![Sql::join(words, " "), " CONNECTION LIMIT ", limit]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_is_spelled_out_and_the_hash_kept() {
        let row = RoleRow {
            oid: 20000,
            name: "o'r".into(),
            superuser: false,
            inherit: false,
            create_role: true,
            create_db: false,
            login: true,
            replication: false,
            bypass_rls: true,
            connection_limit: -1,
            valid_until: Some("infinity".into()),
        };
        let entry = entry(&row, Some("md5x"), &SharedFacts::default());
        let steps = entry.forms[0].steps.iter();
        let texts: Vec<String> = steps.flat_map(|step| &step.sql).map(Sql::text).collect();
        assert_eq!(
            texts,
            [
                r#"CREATE ROLE "o'r""#,
                r#"ALTER ROLE "o'r" WITH NOSUPERUSER NOINHERIT CREATEROLE NOCREATEDB LOGIN NOREPLICATION BYPASSRLS CONNECTION LIMIT -1"#,
                r#"ALTER ROLE "o'r" PASSWORD 'md5x'"#,
                r#"ALTER ROLE "o'r" VALID UNTIL 'infinity'"#,
            ]
        );
    }
}
