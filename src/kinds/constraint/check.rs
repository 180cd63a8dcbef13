//! CHECKs and NOT NULLs that are entries of their own, and how those of parents and children go together.

use super::Constraint;
use crate::kinds::DraftForm;
use crate::kinds::arena::{CatalogId, RenderCx, class};
use crate::kinds::core::ConstraintRow;
use crate::kinds::row::Oid;
use crate::kinds::table::inline;
use crate::pg::version::V18;
use crate::sql::{Ident, Sql, sql};
use crate::toc::LockMode;

impl Constraint {
    /// Without ONLY, so that a constraint reaches (and merges with) those of children.
    pub(super) fn check_statement(&self, cx: &RenderCx<'_>) -> Sql {
        let name = Ident::new(&*self.row.name);
        if self.validates {
            return sql![self.alter(cx, false), " VALIDATE CONSTRAINT ", name];
        }
        sql![
            self.alter(cx, false),
            " ADD CONSTRAINT ",
            name,
            " ",
            &self.definition
        ]
    }

    pub(super) fn check_forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let core = cx.core();
        let mode = if self.validates {
            LockMode::ShareUpdateExclusive
        } else {
            LockMode::AccessExclusive
        };
        let tree = std::iter::once(self.row.table).chain(core.descendants(self.row.table));
        let locks: Vec<(Oid, LockMode)> = tree.map(|oid| (oid, mode)).collect();
        let mut form = DraftForm::plain(vec![self.check_statement(cx)], locks.clone());
        let is_new = self.row.kind == 'n' || !self.row.enforced;
        if !is_new || self.validates {
            return vec![form];
        }
        form.form.since = Some(V18);
        let mut old = DraftForm::plain(Vec::new(), Vec::new());
        old.form.lost = Some("the constraint: it is NOT ENFORCED, which 18 introduced".to_owned());
        let column = self
            .known(cx)
            .and_then(|row| row.columns.as_ref()?.first().copied());
        let column = column.and_then(|number| core.column_name(self.row.table, number));
        if let Some(column) = column.filter(|_| self.row.kind == 'n') {
            let name = Ident::new(&*self.row.name);
            let alter = self.alter(cx, false);
            let check = sql![
                alter,
                " ADD CONSTRAINT ",
                name,
                " CHECK (",
                column,
                " IS NOT NULL) NOT VALID"
            ];
            old = DraftForm::plain(vec![check], locks);
            old.form.lost = Some("a NOT NULL that is NOT VALID becomes a CHECK".to_owned());
        }
        old.form.until = Some(V18);
        vec![form, old]
    }

    /// The constraints of other relations that must be there before.
    ///
    /// Adding to a child what it inherited already fails, while adding to the parent merges: the children's come first.
    /// What is only validated needs those that it is inherited from.
    pub(super) fn check_needs(&self, cx: &RenderCx<'_>) -> Vec<CatalogId> {
        let core = cx.core();
        let Some(row) = self.known(cx).filter(|_| self.row.index.is_none()) else {
            return Vec::new();
        };
        let relatives = if self.validates {
            core.ancestors(self.row.table)
        } else {
            core.descendants(self.row.table)
        };
        let same = relatives
            .into_iter()
            .flat_map(|oid| inline::same_constraints(core, row, oid));
        let made = same
            .filter(|other| {
                inline::is_separate(core, other) && !inline::is_validated_here(core, other)
            })
            .map(|other| CatalogId::new(class::CONSTRAINT, other.oid));
        made.filter(|id| cx.catalog.get(*id).is_some()).collect()
    }

    fn known<'a>(&self, cx: &RenderCx<'a>) -> Option<&'a ConstraintRow> {
        let rows = cx.catalog.core.constraints_of(self.row.table);
        rows.iter().find(|row| row.oid == self.row.oid)
    }
}
