//! Further entries of tables: ATTACH PARTITION, rows, ENABLE ROW LEVEL SECURITY.

use super::Table;
use super::inline;
use crate::kinds::DraftForm;
use crate::kinds::arena::{CatalogId, RenderCx, class};
use crate::kinds::core::{ConstraintRow, Core};
use crate::kinds::row::Oid;
use crate::kinds::toc_builder::{Aspect, Draft, DraftData, DraftKey};
use crate::pg::version::V18;
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{DataOf, LockMode, Part, Stage};

/// The entry that attaches a partition, if its parent is in the dump too.
///
/// The partition must have its own CHECKs before: ATTACH wants every CHECK that the parent has by then.
pub(crate) fn attach(
    cx: &RenderCx<'_>,
    partition: Oid,
    bound: Option<&ServerSql>,
) -> Option<Draft> {
    let core = cx.core();
    let key = attach_key(cx, partition)?;
    let parent = core.parents.get(&partition)?.first()?.parent;
    let name = core
        .relations
        .get(&partition)
        .map(|row| core.name_in(row.schema, &row.name))?;
    let statement = sql![
        "ALTER TABLE ONLY ",
        core.relation(parent),
        " ATTACH PARTITION ",
        core.relation(partition),
        " ",
        bound?
    ];
    let locks = vec![
        (parent, LockMode::ShareUpdateExclusive),
        (partition, LockMode::AccessExclusive),
    ];
    let checks = core.constraints_of(partition).iter();
    let checks = checks
        .filter(|row| row.validated && inline::is_separate(core, row))
        .map(|row| DraftKey::define(CatalogId::new(class::CONSTRAINT, row.oid)));
    let mut draft = Draft::new(key, "table attach", name, Stage::PreData, 145)
        .needs([DraftKey::define(CatalogId::relation(parent))])
        .needs(checks);
    let own = own_not_nulls(core, partition);
    if own.is_empty() {
        return Some(draft.form(DraftForm::plain(vec![statement], locks)));
    }
    let mut old = DraftForm::plain(vec![statement.clone()], locks.clone());
    old.form.until = Some(V18);
    let statements = std::iter::once(statement).chain(own).collect();
    let mut new = DraftForm::plain(statements, locks);
    new.form.since = Some(V18);
    draft.forms = vec![new, old];
    Some(draft)
}

/// ATTACH makes a partition's NOT NULL its parent's; these make it the partition's own again, where it was that too. Only 18
/// knows the difference.
fn own_not_nulls(core: &Core, partition: Oid) -> Vec<Sql> {
    let constraints = core.constraints_of(partition).iter();
    let both = constraints.filter(|row| row.kind == 'n' && row.local && row.n_inherited > 0);
    let column = |row: &ConstraintRow| {
        let number = *row.columns.as_ref()?.first()?;
        Some(sql![
            "ALTER TABLE ONLY ",
            core.relation(partition),
            " ALTER COLUMN ",
            core.column_name(partition, number)?,
            " SET NOT NULL"
        ])
    };
    both.filter_map(column).collect()
}

/// The key of the entry that attaches a partition; `None` if there is none.
///
/// A detach that is under way (`DETACH … CONCURRENTLY`, not finished) counts as done: queries no longer see the partition's rows.
pub(crate) fn attach_key(cx: &RenderCx<'_>, partition: Oid) -> Option<DraftKey> {
    let core = cx.core();
    if !inline::is_partition(core, partition) {
        return None;
    }
    let link = core.parents.get(&partition)?.first()?;
    let id = CatalogId::relation(partition);
    let both = is_defined(cx, id) && is_defined(cx, CatalogId::relation(link.parent));
    (both && !link.detach_pending).then(|| DraftKey::aspect(id, Aspect::Attach))
}

/// True if the dump creates the object.
pub(crate) fn is_defined(cx: &RenderCx<'_>, id: CatalogId) -> bool {
    cx.catalog.parts_of(id).has(Part::Define)
}

/// The columns whose values are stored, in number order: all but generated ones.
pub(crate) fn stored_columns(cx: &RenderCx<'_>, relation: Oid) -> Vec<String> {
    let columns = cx.core().columns_of(relation).iter();
    let stored = columns.filter(|column| column.generated == '\0');
    stored.map(|column| column.name.clone()).collect()
}

impl Table {
    /// The entry of the table's rows.
    pub(super) fn rows(&self, cx: &RenderCx<'_>) -> Draft {
        let core = cx.core();
        let id = CatalogId::relation(self.row.oid);
        let columns = stored_columns(cx, self.row.oid);
        let above = self.ancestors(cx);
        let top = above.last().copied();
        // A row's hash of an enum is another one in another database.
        let routed = above.iter().any(|oid| core.enum_hash_roots.contains(oid));
        let root = top.filter(|_| routed);
        let attached = |partition: Oid| attach_key(cx, partition);
        // Rows that are routed need the whole tree; others only keep their own ATTACH from scanning them.
        let needs: Vec<DraftKey> = match root {
            Some(root) => core
                .descendants(root)
                .into_iter()
                .filter_map(attached)
                .collect(),
            None => attached(self.row.oid).into_iter().collect(),
        };
        let key = DraftKey::aspect(id, Aspect::Data);
        let name = core.name_in(self.row.schema, &self.row.name);
        let mut draft = Draft::new(key, "table data", name, Stage::Data, 160).needs(needs);
        draft.data = Some(DraftData {
            relation: self.row.oid,
            columns,
            condition: Sql::default(),
            of: DataOf::Table {
                target: sql![core.relation(self.row.oid)],
                table: None,
                unlogged: self.row.persistence == 'u',
                keep_order: core.keep_order.contains(&self.row.oid),
                via_root: root.map(|root| sql![core.relation(root)]),
                root: top.map(|top| sql![core.relation(top)]),
                by_collation: above.iter().any(|oid| core.collated_roots.contains(oid)),
                condition: None,
            },
        });
        draft
    }

    /// The partitioned tables that the table is a partition of, the topmost last.
    ///
    /// Where the dump creates the partition but not its parent, the partition stands alone and there is nothing to route.
    fn ancestors(&self, cx: &RenderCx<'_>) -> Vec<Oid> {
        let core = cx.core();
        let defined = is_defined(cx, CatalogId::relation(self.row.oid));
        let mut above = Vec::new();
        let mut child = self.row.oid;
        while inline::is_partition(core, child) {
            let Some(link) = core.parents.get(&child).and_then(|links| links.first()) else {
                break;
            };
            let parent = CatalogId::relation(link.parent);
            if link.detach_pending || (defined && !is_defined(cx, parent)) {
                break;
            }
            above.push(link.parent);
            child = link.parent;
        }
        above
    }

    /// ENABLE ROW LEVEL SECURITY, after the rows, so that the load is not filtered.
    pub(super) fn row_security(&self, cx: &RenderCx<'_>) -> Draft {
        let core = cx.core();
        let key = DraftKey::aspect(CatalogId::relation(self.row.oid), Aspect::RowSecurity);
        let name = core.name_in(self.row.schema, &self.row.name);
        let table = core.relation(self.row.oid);
        let statement = sql!["ALTER TABLE ONLY ", table, " ENABLE ROW LEVEL SECURITY"];
        let locks = vec![(self.row.oid, LockMode::AccessExclusive)];
        Draft::new(key, "row security", name, Stage::PostData, 180)
            .form(DraftForm::plain(vec![statement], locks))
    }
}
