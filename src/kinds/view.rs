//! Views. Defaults of their columns and their rules but the body are entries of their own kinds.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::core::ColumnRow;
use super::row::{Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, Split, common, versions};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V15};
use crate::sql::{Ident, QualifiedName, ServerSql, Sql, sql};
use crate::toc::{EntryName, Form, Stage};

catalog_row! {
    /// `pg_class`, views: users' own, and those of `pg_catalog`, whose privileges somebody may have changed.
    pub struct ViewRow from
        "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        where "c.relkind = 'v' AND n.nspname !~ '^pg_(toast|temp)' \
               AND (c.oid >= 16384 OR n.nspname = 'pg_catalog' AND c.relacl IS NOT NULL)" {
        oid: Oid = col("c.oid"),
        schema: Oid = col("c.relnamespace"),
        name: String = col("c.relname"),
        owner: Oid = col("c.relowner"),
        options: Option<Vec<String>> = col("c.reloptions"),
    }
}

catalog_row! {
    /// The bodies of the views asked for.
    pub struct ViewText from
        "pg_catalog.pg_class c JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = c.oid" {
        oid: Oid = col("c.oid"),
        body: Option<ServerSql> = col("pg_catalog.pg_get_viewdef(c.oid)"),
    }
}

/// A view.
#[derive(Debug)]
pub struct View {
    row: ViewRow,
    body: ServerSql,
}

impl ObjectKind for View {
    const FACTS: KindFacts = KindFacts {
        label: "view",
        keyword: "VIEW",
        stage: Stage::PreData,
        priority: 140,
        grant: Some("TABLE"),
        owned: true,
        postponable: true,
        catalog: "pg_class",
        class: class::RELATION,
    };
    type Row = ViewRow;
    type Text = ViewText;

    fn subject(row: &ViewRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::relation(row.oid),
            follows: Follows::Itself,
        })
    }

    fn text_oid(text: &ViewText) -> Oid {
        text.oid
    }

    fn build(row: ViewRow, text: Option<ViewText>, _: &LoadCx<'_>) -> Result<Self> {
        let body = super::deparsed(text.and_then(|text| text.body), "view", &row.name)?;
        Ok(View {
            body: body.without_semicolon(),
            row,
        })
    }
}

impl View {
    fn statement(&self, verb: &'static str, cx: &RenderCx<'_>) -> Sql {
        let options = self.row.options.as_deref().unwrap_or_default();
        let (check, plain): (Vec<String>, Vec<String>) = options
            .iter()
            .cloned()
            .partition(|option| option.starts_with("check_option="));
        let check = match check.first().map(String::as_str) {
            Some("check_option=local") => "\n  WITH LOCAL CHECK OPTION",
            Some(_) => "\n  WITH CASCADED CHECK OPTION",
            None => "",
        };
        sql![
            verb,
            self.address(cx),
            common::with_options(&plain, &[]),
            " AS\n",
            &self.body,
            check
        ]
    }
}

impl View {
    /// The oldest target that can hold the view; `None` for all.
    fn oldest(&self, cx: &RenderCx<'_>) -> Option<ServerVersion> {
        // Without the option the view would read with its owner's rights, so an older server gets none at all.
        let invoker = |option: &String| option.starts_with("security_invoker=");
        let has_invoker = self.row.options.iter().flatten().any(invoker);
        let columns = cx.core().columns_of(self.row.oid).iter();
        let types = columns.filter_map(|column| versions::since_major(column.ty_major));
        has_invoker.then_some(V15).max(types.max())
    }
}

/// A column of the stub. `CREATE OR REPLACE VIEW` can change neither name, type nor collation, so they must be right.
fn null_column(column: &ColumnRow) -> Sql {
    let collation = match (&column.collation_schema, &column.collation_name) {
        (Some(schema), Some(name)) => Some(sql![" COLLATE ", QualifiedName::new(schema, name)]),
        _ => None,
    };
    sql![
        "NULL::",
        &column.ty,
        collation,
        " AS ",
        Ident::new(&*column.name)
    ]
}

impl Ddl for View {
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
        vec![self.statement("CREATE VIEW ", cx)]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut draft = DraftForm::plain(self.create(cx), Vec::new());
        draft.form.since = self.oldest(cx);
        vec![draft]
    }

    fn split(&self, cx: &RenderCx<'_>) -> Option<Split> {
        let columns: Vec<Sql> = cx
            .core()
            .columns_of(self.row.oid)
            .iter()
            .map(null_column)
            .collect();
        // What pg_depend says of the relation itself is schema, column types and collations; the body's needs hang on its rule.
        let stub_needs = cx
            .core()
            .depends_of(self.id())
            .map(|row| CatalogId::new(row.ref_class, row.ref_oid));
        let rest = vec![self.statement("CREATE OR REPLACE VIEW ", cx)];
        let rest = DraftForm::plain(rest, Vec::new());
        Some(Split {
            stub: vec![sql![
                "CREATE VIEW ",
                self.address(cx),
                " AS SELECT ",
                Sql::list(columns)
            ]],
            stub_needs: stub_needs.collect(),
            rest: vec![DraftForm {
                form: Form {
                    since: self.oldest(cx),
                    ..rest.form
                },
                ..rest
            }],
            cost: 10,
        })
    }
}
