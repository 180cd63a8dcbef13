//! What the server makes along with an object and a user may still comment on or label: array and multirange types,
//! a view's `_RETURN` rule, a partition's clone of a trigger. They are no objects of the dump, so their statements are entries beside
//! the object that they came with.

use std::collections::BTreeMap;

use super::arena::{CatalogId, RenderCx, class};
use super::row::{Oid, catalog_row};
use super::toc_builder::{Aspect, Draft, DraftKey, TocBuilder};
use crate::sql::{Ident, Literal, ServerSql, sql};
use crate::toc::{After, Part, PartSet, Stage};

catalog_row! {
    /// Array and multirange types, `_RETURN` rules and clones of triggers that somebody said something about.
    pub struct DependentRow from
        "(SELECT d.classoid, d.objoid FROM pg_catalog.pg_description d WHERE d.objsubid = 0 \
          UNION SELECT l.classoid, l.objoid FROM pg_catalog.pg_seclabel l WHERE l.objsubid = 0) said \
         LEFT JOIN pg_catalog.pg_type t ON said.classoid = 1247 AND t.oid = said.objoid \
         LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
         LEFT JOIN pg_catalog.pg_rewrite r ON said.classoid = 2618 AND r.oid = said.objoid \
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(said.classoid, said.objoid, 0) named"
        where "said.objoid >= 16384 AND CASE said.classoid \
                 WHEN 1247 THEN t.typtype = 'm' OR c.relkind <> 'c' \
                   OR EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) \
                 WHEN 2618 THEN r.ev_type = '1' \
                 WHEN 2620 THEN EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 2620 \
                   AND d.objid = said.objoid AND d.refclassid = 2620) \
                 ELSE false END"
        order "said.classoid, said.objoid" {
        class: Oid = col("said.classoid"),
        oid: Oid = col("said.objoid"),
        /// The type, or the rule or trigger with its relation, as SQL.
        identity: Option<ServerSql> = col("named.identity"),
    }
}

impl DependentRow {
    fn id(&self) -> CatalogId {
        CatalogId::new(self.class, self.oid)
    }

    fn keyword(&self) -> &'static str {
        match self.class {
            class::TYPE => "TYPE ",
            class::REWRITE => "RULE ",
            _ => "TRIGGER ",
        }
    }

    fn said(&self, identity: &ServerSql, cx: &RenderCx<'_>) -> Vec<After> {
        let (core, id) = (cx.core(), self.id());
        let target = sql![self.keyword(), identity];
        let comments = core.comments.get(&id).into_iter().flatten();
        let comments = comments.map(|comment| {
            let text = sql!["COMMENT ON ", &target, " IS ", Literal(&comment.text)];
            After::new(Part::Comment, text)
        });
        let labels = core.labels.get(&id).into_iter().flatten();
        let labels = labels.map(|label| {
            let provider = Ident::new(&*label.provider);
            let text = sql![
                "SECURITY LABEL FOR ",
                provider,
                " ON ",
                &target,
                " IS ",
                Literal(&label.text)
            ];
            After::new(Part::Label, text)
        });
        comments.chain(labels).collect()
    }
}

/// The object of the dump that the row came with: over internal dependencies, for a clone over its parent trigger.
fn home(row: &DependentRow, cx: &RenderCx<'_>) -> Option<CatalogId> {
    let mut id = row.id();
    // An array of a multirange leads to its range in two steps, a clone over as many as there are levels of partitions.
    for _ in 0..64 {
        if id != row.id() && cx.catalog.get(id).is_some() {
            return Some(id);
        }
        let mut whole = cx.core().depends_of(id).filter(|row| {
            row.kind == 'i' || row.class == class::TRIGGER && row.ref_class == class::TRIGGER
        });
        let next = whole.next()?;
        id = CatalogId::new(next.ref_class, next.ref_oid);
    }
    None
}

/// Adds the entries: one for each object that has such dependents.
pub fn add(cx: &RenderCx<'_>, toc: &mut TocBuilder<'_>) {
    let mut of: BTreeMap<CatalogId, Vec<&DependentRow>> = BTreeMap::new();
    for row in &cx.core().dependents {
        if let Some(home) = home(row, cx) {
            of.entry(home).or_default().push(row);
        }
    }
    for (id, rows) in of {
        let parts = cx.catalog.parts_of(id);
        if parts.has(Part::Define) {
            toc.add(draft(id, parts, &rows, cx));
        }
    }
}

fn draft(id: CatalogId, parts: PartSet, rows: &[&DependentRow], cx: &RenderCx<'_>) -> Draft {
    let name = cx.catalog.get(id).map(|object| object.ddl().name(cx));
    let key = DraftKey::aspect(id, Aspect::Dependents);
    let is_trigger = id.class == class::TRIGGER;
    let (stage, priority) = if is_trigger {
        (Stage::PostData, 178)
    } else {
        (Stage::PreData, 148)
    };
    let mut draft = Draft::new(key, "dependents", name.unwrap_or_default(), stage, priority);
    for row in rows {
        let Some(identity) = &row.identity else {
            continue;
        };
        let said = row.said(identity, cx).into_iter();
        draft
            .after
            .extend(said.filter(|after| parts.has(after.part)));
    }
    draft
}
