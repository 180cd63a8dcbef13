//! Further entries of tables: ATTACH PARTITION, rows, ENABLE ROW LEVEL SECURITY.

use super::Table;
use super::inline;
use crate::kinds::DraftForm;
use crate::kinds::arena::{CatalogId, RenderCx, class};
use crate::kinds::row::Oid;
use crate::kinds::toc_builder::{Aspect, Draft, DraftData, DraftKey};
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
    let draft = Draft::new(key, "table attach", name, Stage::PreData, 145)
        .form(DraftForm::plain(vec![statement], locks))
        .needs([DraftKey::define(CatalogId::relation(parent))])
        .needs(checks);
    Some(draft)
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

impl Table {
    /// The entry of the table's rows.
    pub(super) fn rows(&self, cx: &RenderCx<'_>) -> Draft {
        let core = cx.core();
        let id = CatalogId::relation(self.row.oid);
        let stored = core
            .columns_of(self.row.oid)
            .iter()
            .filter(|column| column.generated == '\0');
        let columns = stored.map(|column| column.name.clone()).collect();
        let root = self.routing_root(cx);
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
                condition: None,
            },
        });
        draft
    }

    /// The topmost ancestor through which rows must be routed, because an ancestor is partitioned by the hash of an enum.
    ///
    /// Where the dump creates the partition but not its parent, the partition stands alone and there is nothing to route.
    fn routing_root(&self, cx: &RenderCx<'_>) -> Option<Oid> {
        let core = cx.core();
        let defined = is_defined(cx, CatalogId::relation(self.row.oid));
        let (mut root, mut routed) = (self.row.oid, false);
        while inline::is_partition(core, root) {
            let link = core.parents.get(&root)?.first()?;
            let parent = CatalogId::relation(link.parent);
            if link.detach_pending || (defined && !is_defined(cx, parent)) {
                break;
            }
            root = link.parent;
            routed |= core.enum_hash_roots.contains(&root);
        }
        routed.then_some(root)
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
