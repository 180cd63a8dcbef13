//! Columns of tables and foreign tables: what stands in the CREATE, and what must be altered afterwards.

use super::inline::{self, NotNull, NotNullCx};
use crate::kinds::arena::RenderCx;
use crate::kinds::common;
use crate::kinds::core::ColumnRow;
use crate::kinds::row::Oid;
use crate::kinds::versions;
use crate::pg::version::{ServerVersion, V14, V16, V18};
use crate::sql::{Ident, QualifiedName, ServerSql, Sql, sql};

/// A relation whose columns are being written, for one range of targets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'a> {
    /// What rendering may look at.
    pub(crate) cx: RenderCx<'a>,
    /// The relation.
    pub(crate) relation: Oid,
    /// `ALTER TABLE ONLY ` or `ALTER FOREIGN TABLE ONLY `.
    pub(crate) alter: &'static str,
    /// True if the columns come from a composite type (`OF type`).
    pub(crate) typed: bool,
    /// The oldest server of the range that the statements are for.
    pub(crate) target: ServerVersion,
}

impl<'a> Columns<'a> {
    /// The column clauses of the CREATE, in number order. Inherited columns are left out: stating them would make them local.
    pub(crate) fn clauses(&self) -> Vec<Sql> {
        let columns = self.all().iter().filter(|column| self.is_stated(column));
        columns.filter_map(|column| self.clause(column)).collect()
    }

    /// NOT NULLs of inherited columns, which have a name and a place of their own since 18.
    pub(crate) fn table_not_nulls(&self) -> Vec<Sql> {
        if self.target < V18 {
            return Vec::new();
        }
        let columns = self.all().iter().filter(|column| !self.is_stated(column));
        let clause = |column: &'a ColumnRow| {
            let not_null = self.not_null(column)?;
            // Older servers keep no name.
            let name = not_null
                .constraint
                .map(|row| sql!["CONSTRAINT ", Ident::new(&*row.name), " "]);
            let inherit = no_inherit(self.is_not_inherited(column, not_null));
            Some(sql![name, "NOT NULL ", Ident::new(&*column.name), inherit])
        };
        columns.filter_map(clause).collect()
    }

    /// The statements that follow the CREATE, by column.
    pub(crate) fn alterations(&self) -> Vec<Sql> {
        let table = self.cx.core().relation(self.relation);
        let mut out = Vec::new();
        for column in self.all() {
            let name = Ident::new(&*column.name);
            for action in self.actions(column) {
                out.push(sql![
                    self.alter,
                    &table,
                    " ALTER COLUMN ",
                    &name,
                    " ",
                    action
                ]);
            }
        }
        out
    }

    /// What a target of this range cannot hold.
    pub(crate) fn lost(&self) -> Vec<&'static str> {
        let mut out = Vec::new();
        let any = |test: &dyn Fn(&ColumnRow) -> bool| self.all().iter().any(test);
        if self.target < V18 && any(&|column| column.generated == 'v') {
            out.push("virtual generated columns become stored ones");
        }
        let not_inherited = |column: &ColumnRow| {
            let found = self
                .not_null(column)
                .and_then(|not_null| not_null.constraint);
            found.is_some_and(|row| row.no_inherit)
        };
        if self.target < V18 && any(&not_inherited) {
            out.push("NOT NULL … NO INHERIT, which future children will inherit");
        }
        if self.target < V16 && any(&|column| self.other_generation(column).is_some()) {
            out.push(
                "a generation expression that differs from the parent's, which takes its place",
            );
        }
        if self.target < V14 && any(&|column| column.compression != '\0') {
            out.push("the compression methods of columns");
        }
        out
    }

    /// False for a target that has no way to say what the columns are: it does not know a type, or, before 16, that a child
    /// computes what its parent stores.
    pub(crate) fn fit_target(&self) -> bool {
        let core = self.cx.core();
        let computes = |column: &ColumnRow| {
            let mut parents = inline::parent_columns(core, self.relation, &column.name);
            let plain = |parent: &ColumnRow| parent.generated == '\0';
            column.generated != '\0' && self.is_stated(column) && parents.any(plain)
        };
        let fits = |column: &ColumnRow| {
            let known = versions::since_major(column.ty_major);
            known.is_none_or(|since| self.target >= since)
                && (self.target >= V16 || !computes(column))
        };
        self.all().iter().all(fits)
    }

    /// A parent's generation expression, where the column has another one. Before 16 a child computes what its parent computes.
    fn other_generation(&self, column: &ColumnRow) -> Option<&'a ServerSql> {
        let core = &self.cx.catalog.core;
        let own = core.default_of(self.relation, column.number)?;
        let mut links = core.parents.get(&self.relation)?.iter();
        let other = links.find_map(|link| {
            let mut columns = core.columns_of(link.parent).iter();
            let parent = columns.find(|parent| parent.name == column.name)?;
            let generated = column.generated != '\0' && parent.generated != '\0';
            let default = core
                .default_of(link.parent, parent.number)
                .filter(|_| generated)?;
            Some(&default.expression)
        })?;
        (*other != own.expression).then_some(other)
    }

    fn all(&self) -> &'a [ColumnRow] {
        self.cx.catalog.core.columns_of(self.relation)
    }

    fn is_stated(&self, column: &ColumnRow) -> bool {
        column.local || inline::is_partition(self.cx.core(), self.relation)
    }

    fn not_null(&self, column: &ColumnRow) -> Option<NotNull<'a>> {
        let core = &self.cx.catalog.core;
        let cx = NotNullCx {
            server: self.cx.server,
            target: self.target,
        };
        inline::not_null(core, cx, self.relation, column)
    }

    /// True if the NOT NULL is for this relation alone: 18 says so, older servers let a child drop it.
    fn is_not_inherited(&self, column: &ColumnRow, not_null: NotNull<'_>) -> bool {
        match not_null.constraint {
            Some(row) => row.no_inherit,
            None => inline::some_child_drops(self.cx.core(), self.relation, &column.name),
        }
    }

    fn clause(&self, column: &ColumnRow) -> Option<Sql> {
        let value = self.value(column);
        let not_null = self
            .not_null(column)
            .map(|found| self.not_null_clause(column, found));
        let name = Ident::new(&*column.name);
        if self.typed {
            let any = value.is_some() || not_null.is_some();
            return any.then(|| sql![name, " WITH OPTIONS", value, not_null]);
        }
        let collation = column
            .collation_schema
            .as_ref()
            .zip(column.collation_name.as_ref());
        let collation = collation
            .map(|(schema, name)| sql![" COLLATE ", QualifiedName::new(&**schema, &**name)]);
        Some(sql![name, " ", &column.ty, collation, value, not_null])
    }

    fn not_null_clause(&self, column: &ColumnRow, not_null: NotNull<'_>) -> Sql {
        match not_null.constraint {
            Some(row) if self.target >= V18 => {
                let inherit = no_inherit(row.no_inherit);
                sql![" CONSTRAINT ", Ident::new(&*row.name), " NOT NULL", inherit]
            }
            None if self.target >= V18 => {
                sql![
                    " NOT NULL",
                    no_inherit(self.is_not_inherited(column, not_null))
                ]
            }
            _ => sql![" NOT NULL"],
        }
    }

    /// DEFAULT or GENERATED of a column that is stated in the CREATE.
    fn value(&self, column: &ColumnRow) -> Option<Sql> {
        if column.generated != '\0' {
            return self.generation(column);
        }
        if let Some(default) = self.cx.core().default_of(self.relation, column.number) {
            let core = self.cx.core();
            let inline = inline::default_is_inline(core, default.oid, self.relation, column.number);
            return inline.then(|| sql![" DEFAULT ", &default.expression]);
        }
        self.hides_default(column).then(|| sql![" DEFAULT NULL"])
    }

    /// A child may not repeat a parent's expression before 16, and need not: it is left out where every parent has the same.
    fn generation(&self, column: &ColumnRow) -> Option<Sql> {
        let core = self.cx.core();
        let own = core.default_of(self.relation, column.number)?;
        let partition = inline::is_partition(core, self.relation);
        let parents = core.parents.get(&self.relation).into_iter().flatten();
        let mut parents = parents
            .filter_map(|link| {
                let named = |parent: &&ColumnRow| parent.name == column.name;
                let found = core.columns_of(link.parent).iter().find(named)?;
                Some((found.generated, core.default_of(link.parent, found.number)))
            })
            .peekable();
        let inherited = parents.peek().is_some()
            && parents.all(|(generated, default)| {
                generated == column.generated
                    && default.is_some_and(|default| default.expression == own.expression)
            });
        let other = self.other_generation(column).filter(|_| self.target < V16);
        if (inherited || other.is_some()) && !partition {
            return None;
        }
        let expression = other.unwrap_or(&own.expression);
        let kept = if column.generated == 'v' && self.target >= V18 {
            "VIRTUAL"
        } else {
            "STORED"
        };
        Some(sql![" GENERATED ALWAYS AS (", expression, ") ", kept])
    }

    /// True if the column has no default though it would inherit one: `DROP DEFAULT` was used on the child.
    fn hides_default(&self, column: &ColumnRow) -> bool {
        let core = self.cx.core();
        let plain = |column: &ColumnRow| column.generated == '\0' && column.identity == '\0';
        plain(column)
            && !column.has_default
            && !inline::is_partition(core, self.relation)
            && inline::parent_columns(core, self.relation, &column.name)
                .any(|parent| plain(parent) && parent.has_default)
    }

    /// True if a child's column takes NULLs though a parent's does not
    /// (before 18 `ALTER TABLE ONLY parent … SET NOT NULL`, since then NO INHERIT).
    fn drops_not_null(&self, column: &ColumnRow) -> bool {
        let core = self.cx.core();
        !column.not_null
            && !inline::is_partition(core, self.relation)
            && inline::parent_columns(core, self.relation, &column.name)
                .any(|parent| parent.not_null)
    }

    fn actions(&self, column: &ColumnRow) -> Vec<Sql> {
        let mut out = Vec::new();
        if !self.is_stated(column) {
            out.extend(self.overrides(column));
        }
        if self.target < V18 && self.drops_not_null(column) {
            out.push(sql!["DROP NOT NULL"]);
        }
        if column.statistics_target >= 0 {
            out.push(sql!["SET STATISTICS ", column.statistics_target]);
        }
        out.extend(self.storage(column).map(|word| sql!["SET STORAGE ", word]));
        out.extend(
            self.compression(column)
                .map(|word| sql!["SET COMPRESSION ", word]),
        );
        let options = common::options_set(&options_of(column), &[]);
        out.extend(options.map(|list| sql!["SET ", list]));
        let fdw_options = column.fdw_options.as_deref().and_then(common::options_list);
        out.extend(fdw_options.map(|list| sql!["OPTIONS ", list]));
        out
    }

    /// What an inherited column has of its own.
    fn overrides(&self, column: &ColumnRow) -> Vec<Sql> {
        let mut out = Vec::new();
        if column.generated == '\0' {
            let value = self.value(column);
            out.extend(value.map(|default| sql!["SET", default]));
        }
        if self.target < V18 && self.not_null(column).is_some() {
            out.push(sql!["SET NOT NULL"]);
        }
        out
    }

    /// The storage where it differs from the type's, or where a parent's, which CREATE inherits, does.
    fn storage(&self, column: &ColumnRow) -> Option<&'static str> {
        let inherited = self.inherits(|parent| parent.storage != parent.type_storage, column);
        (column.storage != column.type_storage || inherited).then_some(match column.storage.0 {
            'p' => "PLAIN",
            'e' => "EXTERNAL",
            'm' => "MAIN",
            _ => "EXTENDED",
        })
    }

    fn compression(&self, column: &ColumnRow) -> Option<&'static str> {
        if self.target < V14 {
            return None;
        }
        match column.compression.0 {
            'p' => Some("pglz"),
            'l' => Some("lz4"),
            _ => self
                .inherits(|parent| parent.compression != '\0', column)
                .then_some("default"),
        }
    }

    fn inherits(&self, test: impl Fn(&ColumnRow) -> bool, column: &ColumnRow) -> bool {
        let core = self.cx.core();
        !inline::is_partition(core, self.relation)
            && inline::parent_columns(core, self.relation, &column.name).any(test)
    }
}

/// The user's options; the server keeps one of its own there (`pg_attver`, since the minor releases of November 2026).
fn options_of(column: &ColumnRow) -> Vec<String> {
    let options = column.options.iter().flatten();
    options
        .filter(|option| !option.starts_with("pg_attver="))
        .cloned()
        .collect()
}

fn no_inherit(no_inherit: bool) -> &'static str {
    if no_inherit { " NO INHERIT" } else { "" }
}
