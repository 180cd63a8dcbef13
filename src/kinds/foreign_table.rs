//! Foreign tables. Columns, CHECKs and partitions are as those of tables; rows belong to the foreign server, and are an entry that
//! selection leaves out unless that server is named.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::common;
use super::row::{Oid, catalog_row};
use super::table::column::Columns;
use super::table::create::{self, InlineCheck, Statements};
use super::table::{absorbed, aspects, inline_checks};
use super::toc_builder::{Aspect, Draft, DraftData, DraftKey, TocBuilder};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V18};
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{DataOf, EntryName, Part, Stage};

catalog_row! {
    /// `pg_foreign_table`.
    pub struct ForeignTableRow from
        "pg_catalog.pg_foreign_table f JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid \
         JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver" {
        oid: Oid = col("c.oid"),
        name: String = col("c.relname"),
        schema: Oid = col("c.relnamespace"),
        owner: Oid = col("c.relowner"),
        server: String = col("s.srvname"),
        options: Option<Vec<String>> = col("f.ftoptions"),
    }
}

catalog_row! {
    /// What the server deparses of the foreign tables asked for. The CHECKs are two parallel arrays.
    pub struct ForeignTableText from
        "pg_catalog.pg_class c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        bound: Option<ServerSql> = col("pg_catalog.pg_get_expr(c.relpartbound, c.oid)"),
        checks: Vec<Oid> = col("ARRAY(SELECT k.oid FROM pg_catalog.pg_constraint k \
            WHERE k.conrelid = c.oid AND k.contype = 'c' ORDER BY k.oid)"),
        definitions: Vec<Option<ServerSql>> =
            col("ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k \
            WHERE k.conrelid = c.oid AND k.contype = 'c' ORDER BY k.oid)"),
    }
}

/// A foreign table.
#[derive(Debug)]
pub struct ForeignTable {
    row: ForeignTableRow,
    text: ForeignTableText,
    checks: Vec<InlineCheck>,
    absorbed: Vec<CatalogId>,
}

impl ObjectKind for ForeignTable {
    const FACTS: KindFacts = KindFacts {
        label: "foreign table",
        keyword: "FOREIGN TABLE",
        stage: Stage::PreData,
        priority: 140,
        grant: Some("TABLE"),
        owned: true,
        postponable: false,
        catalog: "pg_foreign_table",
        class: class::RELATION,
    };
    type Row = ForeignTableRow;
    type Text = ForeignTableText;

    fn subject(row: &ForeignTableRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::relation(row.oid);
        Some(Subject {
            id,
            follows: Follows::Itself,
        })
    }

    fn text_oid(text: &ForeignTableText) -> Oid {
        text.oid
    }

    fn build(
        row: ForeignTableRow,
        text: Option<ForeignTableText>,
        cx: &LoadCx<'_>,
    ) -> Result<Self> {
        let text = super::deparsed(text, "foreign table", &row.name)?;
        let checks = inline_checks(cx.core, row.oid, &text.checks, &text.definitions)?;
        let absorbed = absorbed(cx, row.oid);
        Ok(ForeignTable {
            row,
            text,
            checks,
            absorbed,
        })
    }
}

impl ForeignTable {
    fn statements(&self, cx: &RenderCx<'_>, target: ServerVersion) -> Option<Statements> {
        let columns = Columns {
            cx: *cx,
            relation: self.row.oid,
            alter: "ALTER FOREIGN TABLE ONLY ",
            typed: false,
            target,
        };
        let options = self.row.options.as_deref().and_then(common::options_list);
        let mut out = vec![sql![
            "CREATE FOREIGN TABLE ",
            self.address(cx),
            create::body(&columns, &self.checks),
            create::inherits(cx.core(), self.row.oid),
            " SERVER ",
            Ident::new(&*self.row.server),
            options.map(|list| sql![" OPTIONS ", list]),
        ]];
        out.extend(columns.alterations());
        columns.fit_target().then(|| Statements {
            sql: out,
            lost: columns.lost(),
        })
    }
}

impl ForeignTable {
    /// The entry of the rows that the foreign server has: read only where the user asks for that server.
    fn rows(&self, cx: &RenderCx<'_>) -> Draft {
        let columns = aspects::stored_columns(cx, self.row.oid);
        let key = DraftKey::aspect(self.id(), Aspect::Data);
        let mut draft = Draft::new(key, "foreign table data", self.name(cx), Stage::Data, 160);
        draft.data = Some(DraftData {
            relation: self.row.oid,
            columns,
            condition: Sql::default(),
            of: DataOf::Table {
                target: self.address(cx),
                table: None,
                unlogged: false,
                keep_order: false,
                via_root: None,
                root: None,
                by_collation: false,
                condition: None,
            },
        });
        draft
    }
}

impl Ddl for ForeignTable {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::relation(self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(self.row.schema, &self.row.name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        sql![cx.core().qualified(self.row.schema, &self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        self.statements(cx, V18)
            .map(|found| found.sql)
            .unwrap_or_default()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        create::forms_by_target(|target| self.statements(cx, target))
    }

    fn absorbs(&self) -> Vec<CatalogId> {
        self.absorbed.clone()
    }

    fn more(&self, cx: &RenderCx<'_>, builder: &mut TocBuilder<'_>) {
        if let Some(draft) = aspects::attach(cx, self.row.oid, self.text.bound.as_ref()) {
            builder.add(draft);
        }
        if cx.catalog.parts_of(self.id()).has(Part::Data) {
            builder.add(self.rows(cx));
        }
    }
}
