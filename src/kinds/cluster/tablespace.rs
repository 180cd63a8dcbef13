//! Tablespaces. Their directories are the server's: SQL cannot make them, so where they are stays a fact of the entry.

use super::{SharedAcl, SharedFacts, acl_json, step};
use crate::error::Result;
use crate::kinds::clauses::{self, Clause};
use crate::kinds::row::{Oid, catalog_row};
use crate::kinds::{DraftForm, KindFacts, common};
use crate::pg::version::V13;
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::{Entry, EntryId, EntryName, Form, Owner, Stage, Step};

/// Facts of the kind.
pub const FACTS: KindFacts = KindFacts {
    label: "tablespace",
    keyword: "TABLESPACE",
    stage: Stage::PreData,
    priority: 5,
    grant: Some("TABLESPACE"),
    owned: true,
    postponable: false,
    catalog: "pg_tablespace",
    class: 1213,
};

catalog_row! {
    /// `pg_tablespace` without the server's own two.
    pub struct TablespaceRow from "pg_catalog.pg_tablespace t" where "t.spcname !~ '^pg_'" order "t.oid" {
        oid: Oid = col("t.oid"),
        name: String = col("t.spcname"),
        owner: Oid = col("t.spcowner"),
        /// Relative for one inside the data directory.
        location: String = col("pg_catalog.pg_tablespace_location(t.oid)"),
        options: Option<Vec<String>> = col("t.spcoptions"),
        acl: Option<String> = by(|_| acl_json("COALESCE(t.spcacl, pg_catalog.acldefault('t', t.spcowner))")),
        base: Option<String> = by(|_| acl_json("pg_catalog.acldefault('t', t.spcowner)")),
    }
}

/// The entry of a tablespace: one step that creates it, outside a transaction, and one that sets its options.
pub(super) fn entry(row: &TablespaceRow, shared: &SharedFacts) -> Result<Entry> {
    let address = sql![Ident::new(&*row.name)];
    let target = sql!["TABLESPACE ", &address];
    let name = EntryName {
        name: row.name.clone(),
        ..EntryName::default()
    };
    let mut entry = Entry::new(EntryId(0), FACTS.label, name, FACTS.stage);
    entry.forms = forms(row, &target);
    entry.drop = Some(sql!["DROP ", &target]);
    entry.directory = is_outside(row).then(|| row.location.clone());
    entry.owner = Some(Owner {
        role: shared.role(row.owner),
        target: target.clone(),
    });
    entry.after = shared.after(&FACTS, row.oid, &target);
    let acl = SharedAcl {
        owner: row.owner,
        items: row.acl.as_deref(),
        base: row.base.as_deref(),
    };
    entry.grants = shared.grants(acl, "TABLESPACE", &address)?;
    Ok(entry)
}

/// True unless the tablespace lies in the data directory (`allow_in_place_tablespaces`).
fn is_outside(row: &TablespaceRow) -> bool {
    !row.location.is_empty() && !row.location.starts_with("pg_tblspc")
}

fn forms(row: &TablespaceRow, target: &Sql) -> Vec<Form> {
    let create = |location: &str| sql!["CREATE ", target, " LOCATION ", Literal(location)];
    let create = if is_outside(row) {
        vec![create(&row.location)]
    } else {
        vec![
            sql!["SET allow_in_place_tablespaces = on"],
            create(""),
            sql!["RESET allow_in_place_tablespaces"],
        ]
    };
    let create = Step {
        outside_transaction: true,
        ..step(create)
    };
    let options: Vec<Clause> = row
        .options
        .iter()
        .flatten()
        .map(|one| option(one))
        .collect();
    let drafts = clauses::forms(&options, |understood| {
        let mut draft = DraftForm::plain(Vec::new(), Vec::new());
        draft.form.steps = vec![create.clone()];
        if !understood.is_empty() {
            let set = sql!["ALTER ", target, " SET (", Sql::list(understood), ")"];
            draft.form.steps.push(step(vec![set]));
        }
        draft
    });
    drafts.into_iter().map(|draft| draft.form).collect()
}

fn option(option: &str) -> Clause {
    let text = common::option_text("", option);
    if option.starts_with("maintenance_io_concurrency=") {
        return Clause::since(V13, text, Some("maintenance_io_concurrency"));
    }
    Clause::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V12, V18};

    fn texts(location: &str, target: crate::pg::ServerVersion) -> Vec<String> {
        let row = TablespaceRow {
            oid: 20000,
            name: "fa st".into(),
            owner: 10,
            location: location.into(),
            options: Some(vec![
                "seq_page_cost=1.5".into(),
                "maintenance_io_concurrency=7".into(),
            ]),
            acl: None,
            base: None,
        };
        let forms = forms(&row, &sql!["TABLESPACE ", Ident::new(&*row.name)]);
        let form = forms.iter().find(|form| form.serves(target)).unwrap();
        let steps = form.steps.iter();
        steps.flat_map(|step| &step.sql).map(Sql::text).collect()
    }

    #[test]
    fn a_directory_is_named_and_one_in_place_is_not() {
        assert_eq!(
            texts("/data/it's", V12),
            [
                r#"CREATE TABLESPACE "fa st" LOCATION '/data/it''s'"#,
                r#"ALTER TABLESPACE "fa st" SET ("seq_page_cost"='1.5')"#
            ]
        );
        assert_eq!(
            texts("pg_tblspc/16384", V18)[1..],
            [
                r#"CREATE TABLESPACE "fa st" LOCATION ''"#,
                "RESET allow_in_place_tablespaces",
                r#"ALTER TABLESPACE "fa st" SET ("seq_page_cost"='1.5', "maintenance_io_concurrency"='7')"#
            ]
        );
    }
}
