//! Privileges on configuration parameters, since 15. A parameter itself is the server's and is never made.

use super::{BOOTSTRAP, SharedAcl, SharedFacts, acl_json, form, step};
use crate::error::Result;
use crate::kinds::KindFacts;
use crate::kinds::row::catalog_row;
use crate::pg::version::V15;
use crate::sql::{Ident, sql};
use crate::toc::{Entry, EntryId, EntryName, Form, Grant, Stage};

/// Facts of the kind.
pub const FACTS: KindFacts = KindFacts {
    label: "parameter",
    keyword: "PARAMETER",
    stage: Stage::PreData,
    priority: 4,
    grant: Some("PARAMETER"),
    owned: false,
    postponable: false,
    catalog: "pg_parameter_acl",
    class: 6243,
};

catalog_row! {
    /// `pg_parameter_acl`, which servers before 15 lack. Parameters belong to the bootstrap superuser.
    pub struct ParameterRow from "pg_catalog.pg_parameter_acl p" order "p.parname" {
        name: String = col("p.parname"),
        acl: Option<String> = by(|_| acl_json("p.paracl")),
        base: Option<String> = by(|_| acl_json("pg_catalog.acldefault('p', 10::pg_catalog.oid)")),
    }
}

/// The entry of a parameter. Its grants are its definition: there is nothing else to it, and older targets have none.
pub(super) fn entry(row: &ParameterRow, shared: &SharedFacts) -> Result<Entry> {
    let name = EntryName {
        name: row.name.clone(),
        ..EntryName::default()
    };
    let mut entry = Entry::new(EntryId(0), FACTS.label, name, FACTS.stage);
    let acl = SharedAcl {
        owner: BOOTSTRAP,
        items: row.acl.as_deref(),
        base: row.base.as_deref(),
    };
    let address = sql![Ident::new(&*row.name)];
    let grants = shared.grants(acl, "PARAMETER", &address)?;
    entry.forms = vec![
        Form {
            since: Some(V15),
            ..form(vec![step(grants.iter().map(Grant::statement).collect())])
        },
        Form {
            until: Some(V15),
            lost: Some("privileges on parameters".to_owned()),
            ..Form::default()
        },
    ];
    Ok(entry)
}
