//! Materialized views. They are created empty; their rows come from REFRESH, when everything else is in place.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::table::column::Columns;
use super::table::create::{Statements, forms_by_target};
use super::toc_builder::{Aspect, Draft, DraftKey, TocBuilder};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, common, versions};
use crate::error::Result;
use crate::pg::version::{ServerVersion, UNKNOWN};
use crate::sql::{ServerSql, Sql, sql};
use crate::toc::{EntryName, LockMode, Part, Stage};

catalog_row! {
    /// `pg_class`, materialized views, with those that each one reads: directly, through views, or through another one.
    pub struct MatviewRow from
        "pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace \
         LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam \
         LEFT JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid \
         CROSS JOIN LATERAL ( \
           WITH RECURSIVE reads(oid, kind, populated) AS ( \
             SELECT c.oid, 'v'::pg_catalog.\"char\", true \
             UNION \
             SELECT k.oid, k.relkind, k.relispopulated FROM reads \
               JOIN pg_catalog.pg_rewrite r ON r.ev_class = reads.oid AND r.ev_type = '1' \
               JOIN pg_catalog.pg_depend d ON d.classid = 2618 AND d.objid = r.oid AND d.refclassid = 1259 \
               JOIN pg_catalog.pg_class k ON k.oid = d.refobjid AND k.relkind IN ('v', 'm')) \
           SELECT COALESCE(pg_catalog.array_agg(oid ORDER BY oid), '{}') AS oids, \
             COALESCE(pg_catalog.bool_and(populated), true) AS populated \
           FROM reads WHERE kind = 'm' AND oid <> c.oid) up"
        where "c.relkind = 'm' AND c.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)'" {
        oid: Oid = col("c.oid"),
        schema: Oid = col("c.relnamespace"),
        name: String = col("c.relname"),
        owner: Oid = col("c.relowner"),
        options: Option<Vec<String>> = col("c.reloptions"),
        toast_options: Option<Vec<String>> = col("t.reloptions"),
        tablespace: Option<String> = col("s.spcname"),
        access_method: Option<String> = col("a.amname"),
        populated: bool = col("c.relispopulated"),
        /// Materialized views that it reads.
        upstream: Vec<Oid> = col("up.oids"),
        /// True if all of them can be read.
        upstream_populated: bool = col("up.populated"),
    }
}

catalog_row! {
    /// The bodies of the materialized views asked for.
    pub struct MatviewText from
        "pg_catalog.pg_class c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        body: Option<ServerSql> = col("pg_catalog.pg_get_viewdef(c.oid)"),
    }
}

/// A materialized view.
#[derive(Debug)]
pub struct Matview {
    row: MatviewRow,
    body: ServerSql,
}

impl ObjectKind for Matview {
    const FACTS: KindFacts = KindFacts {
        label: "materialized view",
        keyword: "MATERIALIZED VIEW",
        stage: Stage::PreData,
        priority: 140,
        grant: Some("TABLE"),
        owned: true,
        postponable: true,
        catalog: "pg_class",
        class: class::RELATION,
    };
    type Row = MatviewRow;
    type Text = MatviewText;

    fn subject(row: &MatviewRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::relation(row.oid),
            follows: Follows::Itself,
        })
    }

    fn text_oid(text: &MatviewText) -> Oid {
        text.oid
    }

    fn build(row: MatviewRow, text: Option<MatviewText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = text.and_then(|text| text.body);
        let body = super::deparsed(text, "materialized view", &row.name)?;
        Ok(Matview {
            body: body.without_semicolon(),
            row,
        })
    }
}

impl Matview {
    /// What a range of targets gets, beginning with `target`.
    fn statements(&self, cx: &RenderCx<'_>, target: ServerVersion) -> Option<Statements> {
        let known = |options: &Option<Vec<String>>| {
            versions::parameters(options.as_deref().unwrap_or_default(), target)
        };
        let (options, all) = known(&self.row.options);
        let (toast, all_toast) = known(&self.row.toast_options);
        let columns = Columns {
            cx: *cx,
            relation: self.row.oid,
            alter: "ALTER MATERIALIZED VIEW ",
            typed: false,
            target,
        };
        let address = self.address(cx);
        let mut out = vec![sql![
            "CREATE MATERIALIZED VIEW ",
            &address,
            common::with_options(&options, &toast),
            " AS\n",
            &self.body,
            "\n  WITH NO DATA"
        ]];
        out.extend(columns.alterations());
        let keyword = Self::FACTS.keyword;
        out.extend(common::depends_on_extension(
            self.id(),
            keyword,
            &address,
            cx,
        ));
        let mut lost = columns.lost();
        lost.extend((!all || !all_toast).then_some(versions::LOST_PARAMETERS));
        columns
            .fit_target()
            .then_some(Statements { sql: out, lost })
    }
}

impl Ddl for Matview {
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
        sql![common::qualified(self.row.schema, &self.row.name, cx)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        self.statements(cx, UNKNOWN)
            .map(|found| found.sql)
            .unwrap_or_default()
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        forms_by_target(|target| self.statements(cx, target))
    }

    fn tablespace(&self, _: &RenderCx<'_>) -> Option<String> {
        Some(self.row.tablespace.clone().unwrap_or_default())
    }

    fn access_method(&self) -> Option<String> {
        self.row.access_method.clone()
    }

    fn not_saved(&self) -> Option<&'static str> {
        let stale = self.row.populated && !self.row.upstream_populated;
        stale.then_some("its rows: it reads a materialized view that is not populated, so that it cannot be refreshed")
    }

    fn more(&self, cx: &RenderCx<'_>, toc: &mut TocBuilder<'_>) {
        let populated = self.row.populated && self.row.upstream_populated;
        if !populated || !cx.catalog.parts_of(self.id()).has(Part::Data) {
            return;
        }
        let key = DraftKey::aspect(self.id(), Aspect::Refresh);
        let refresh = sql!["REFRESH MATERIALIZED VIEW ", self.address(cx)];
        let locks = vec![(self.row.oid, LockMode::AccessExclusive)];
        let upstream = self.row.upstream.iter();
        let upstream =
            upstream.map(|oid| DraftKey::aspect(CatalogId::relation(*oid), Aspect::Refresh));
        toc.add(
            Draft::new(
                key,
                "materialized view data",
                self.name(cx),
                Stage::Final,
                220,
            )
            .form(DraftForm::plain(vec![refresh], locks))
            .needs(upstream),
        );
    }
}
