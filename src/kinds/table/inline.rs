//! What comes with a relation's CREATE, and what must be an entry of its own: defaults, CHECKs, NOT NULLs.
//! The kinds of the separate ones (`column_default`, `constraint`) ask here too, so that nothing is made twice or never.

use crate::kinds::arena::{CatalogId, class};
use crate::kinds::core::{ColumnRow, ConstraintRow, Core};
use crate::kinds::row::Oid;
use crate::pg::version::{ServerVersion, V18};

/// True if an expression uses only its own relation, the types of that relation's columns, collations, and what extensions made.
///
/// Then it can stand in the relation's CREATE without a cycle: all of it exists when the relation can exist.
pub(crate) fn needs_only_relation(core: &Core, expression: CatalogId, relation: Oid) -> bool {
    core.depends_of(expression).all(|row| {
        let needed = CatalogId::new(row.ref_class, row.ref_oid);
        let of_a_column = |column: &ColumnRow| CatalogId::ty(column.ty_oid) == needed;
        needed == CatalogId::relation(relation)
            || matches!(needed.class, class::COLLATION | class::EXTENSION)
            || core.is_member(needed)
            || core.columns_of(relation).iter().any(of_a_column)
    })
}

/// True if a column's default or generation expression is part of the CREATE.
///
/// Generation expressions always are: they cannot be added later. Views have no place for defaults.
pub(crate) fn default_is_inline(core: &Core, default: Oid, relation: Oid, column: i16) -> bool {
    let Some(row) = core.relations.get(&relation) else {
        return false;
    };
    let generated =
        column_of(core, relation, column).is_some_and(|column| column.generated != '\0');
    let expression = CatalogId::new(class::ATTRDEF, default);
    matches!(row.kind.0, 'r' | 'p' | 'f')
        && (generated || needs_only_relation(core, expression, relation))
}

/// A column by its number.
pub(crate) fn column_of(core: &Core, relation: Oid, number: i16) -> Option<&ColumnRow> {
    let columns = core.columns_of(relation);
    columns.iter().find(|column| column.number == number)
}

/// The columns of the same name in the direct parents whose columns are known.
pub(crate) fn parent_columns<'a>(
    core: &'a Core,
    relation: Oid,
    name: &str,
) -> impl Iterator<Item = &'a ColumnRow> {
    let parents = core.parents.get(&relation).into_iter().flatten();
    parents.filter_map(move |row| {
        let columns = core.columns_of(row.parent);
        columns.iter().find(|column| column.name == name)
    })
}

/// True if the relation is a partition: made with all its columns and CHECKs, then attached.
pub(crate) fn is_partition(core: &Core, relation: Oid) -> bool {
    core.relations
        .get(&relation)
        .is_some_and(|row| row.is_partition)
}

/// True if a CHECK is part of the relation's CREATE.
pub(crate) fn check_is_inline(core: &Core, check: &ConstraintRow) -> bool {
    let id = CatalogId::new(class::CONSTRAINT, check.oid);
    check.kind == 'c'
        && check.validated
        && is_stated(core, check)
        && needs_only_relation(core, id, check.relation)
}

/// True if a CHECK or NOT NULL of a relation is an entry of its own.
///
/// One that is not validated reaches partitions and children from the parent, so it is stated only where it is local.
pub(crate) fn is_separate(core: &Core, row: &ConstraintRow) -> bool {
    match row.kind.0 {
        'c' | 'n' if !row.validated => row.local,
        'c' if is_stated(core, row) => !check_is_inline(core, row),
        'c' | 'n' => is_validated_here(core, row),
        _ => false,
    }
}

/// True if a CHECK calls a function of users on a table that shares it with no other: the function may read tables, and finds
/// their rows only after the load. One of a parent, child or partition must be there when they are put together.
pub(crate) fn may_read_tables(core: &Core, row: &ConstraintRow) -> bool {
    let id = CatalogId::new(class::CONSTRAINT, row.oid);
    let alone = !core.parents.contains_key(&row.relation)
        && !core.children.contains_key(&row.relation)
        && !is_partition(core, row.relation);
    let mut used = core
        .depends_of(id)
        .map(|row| CatalogId::new(row.ref_class, row.ref_oid));
    row.kind == 'c' && alone && used.any(|used| used.class == class::PROC && !core.is_member(used))
}

/// True if the relation itself states a validated constraint: it is local, or a partition must have it before it is attached.
pub(crate) fn is_stated(core: &Core, row: &ConstraintRow) -> bool {
    row.local || is_partition(core, row.relation)
}

/// True if a relation inherits a constraint that its parents never validated, and has validated it itself
/// (`VALIDATE CONSTRAINT` on the child alone).
pub(crate) fn is_validated_here(core: &Core, row: &ConstraintRow) -> bool {
    let mut inherited = parent_constraints(core, row).peekable();
    row.validated
        && !is_stated(core, row)
        && inherited.peek().is_some()
        && inherited.all(|parent| !parent.validated && parent.enforced)
}

/// The constraints of direct parents from which a CHECK (by name) or NOT NULL (by column) is inherited.
pub(crate) fn parent_constraints<'a>(
    core: &'a Core,
    row: &'a ConstraintRow,
) -> impl Iterator<Item = &'a ConstraintRow> {
    let parents = core.parents.get(&row.relation).into_iter().flatten();
    parents.flat_map(move |link| same_constraints(core, row, link.parent))
}

/// The constraints of another relation that merge with this one: CHECKs of the same name, NOT NULLs of the same column.
pub(crate) fn same_constraints<'a>(
    core: &'a Core,
    row: &'a ConstraintRow,
    relation: Oid,
) -> impl Iterator<Item = &'a ConstraintRow> {
    let column = constrained_column(core, row);
    core.constraints_of(relation)
        .iter()
        .filter(move |other| match row.kind.0 {
            'n' => {
                other.kind == 'n' && column.is_some() && constrained_column(core, other) == column
            }
            kind => other.kind == kind && other.name == row.name,
        })
}

fn constrained_column<'a>(core: &'a Core, row: &ConstraintRow) -> Option<&'a str> {
    let number = *row.columns.as_ref()?.first()?;
    column_of(core, row.relation, number).map(|column| column.name.as_str())
}

/// True if a plain child's column takes NULLs, whatever the parent's says. Servers before 18 allow it.
pub(crate) fn some_child_drops(core: &Core, relation: Oid, name: &str) -> bool {
    let children = core.children.get(&relation).into_iter().flatten();
    let mut plain = children.filter(|child| !is_partition(core, **child));
    plain.any(|child| {
        let mut columns = core.columns_of(*child).iter();
        columns.any(|column| column.name == name && !column.not_null)
    })
}

/// Between which versions a NOT NULL goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotNullCx {
    /// The source.
    pub(crate) server: ServerVersion,
    /// The oldest target.
    pub(crate) target: ServerVersion,
}

/// A NOT NULL that the relation states in its CREATE.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotNull<'a> {
    /// Its constraint; 18 has one for each, older servers none.
    pub(crate) constraint: Option<&'a ConstraintRow>,
}

/// The NOT NULL that the relation itself must state for a column.
pub(crate) fn not_null<'a>(
    core: &'a Core,
    cx: NotNullCx,
    relation: Oid,
    column: &ColumnRow,
) -> Option<NotNull<'a>> {
    if cx.server < V18 {
        // For 18 a NOT NULL that a child drops is not inherited at all, so that the other children must state it.
        let passes_on = |parent: &ColumnRow| {
            parent.not_null
                && (cx.target < V18 || !some_child_drops(core, parent.relation, &parent.name))
        };
        let inherited = !is_partition(core, relation)
            && parent_columns(core, relation, &column.name).any(passes_on);
        return (column.not_null && !inherited).then_some(NotNull { constraint: None });
    }
    let constraints = core.constraints_of(relation).iter();
    constraints
        .filter(|row| row.kind == 'n' && row.columns.as_deref() == Some(&[column.number]))
        .find(|row| row.validated && is_stated(core, row))
        .map(|row| NotNull {
            constraint: Some(row),
        })
}
