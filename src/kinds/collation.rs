//! Collations. Their versions are the library's, so a restore records the target's own.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, NoText, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V15, V16, V17};
use crate::sql::{Literal, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_collation`, users' collations that work with the database's encoding.
    pub struct CollationRow from "pg_catalog.pg_collation c"
        where "c.oid >= 16384 AND c.collprovider IN ('b', 'c', 'd', 'i') AND c.collencoding IN (-1, pg_catalog.pg_char_to_encoding(pg_catalog.getdatabaseencoding()))" {
        oid: Oid = col("c.oid"),
        name: String = col("c.collname"),
        schema: Oid = col("c.collnamespace"),
        owner: Oid = col("c.collowner"),
        /// c libc, i ICU, b built in, d the database's.
        provider: Letter = col("c.collprovider"),
        deterministic: bool = col("c.collisdeterministic"),
        collate: Option<String> = col("c.collcollate::pg_catalog.text"),
        ctype: Option<String> = col("c.collctype::pg_catalog.text"),
        /// The locale of a provider that is not libc; before 15 it stood in the other two.
        locale: Option<String> = by(|server: ServerVersion| {
            let column = if server >= V17 { "c.colllocale" } else { "c.colliculocale" };
            if server >= V15 { column } else { "NULL::pg_catalog.text" }.into()
        }),
        rules: Option<String> = since(V16, "c.collicurules", "NULL::pg_catalog.text"),
    }
}

/// A collation.
#[derive(Debug)]
pub struct Collation {
    row: CollationRow,
}

impl ObjectKind for Collation {
    const FACTS: KindFacts = KindFacts {
        label: "collation",
        keyword: "COLLATION",
        stage: Stage::PreData,
        priority: 30,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_collation",
        class: class::COLLATION,
    };
    type Row = CollationRow;
    type Text = NoText;

    fn subject(row: &CollationRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::COLLATION, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: CollationRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        Ok(Collation { row })
    }
}

impl Collation {
    /// `LOCALE`, or its two halves where they differ.
    fn locale(&self) -> Sql {
        let row = &self.row;
        match (&row.locale, &row.collate, &row.ctype) {
            (Some(locale), ..) => sql![", LOCALE = ", Literal(locale)],
            (None, Some(collate), Some(ctype)) if collate != ctype => {
                sql![
                    ", LC_COLLATE = ",
                    Literal(collate),
                    ", LC_CTYPE = ",
                    Literal(ctype)
                ]
            }
            (None, Some(both), _) | (None, None, Some(both)) => sql![", LOCALE = ", Literal(both)],
            (None, None, None) => Sql::default(),
        }
    }
}

impl Ddl for Collation {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::COLLATION, self.row.oid)
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
        vec![self.statement(true, cx)]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut whole = DraftForm::plain(self.create(cx), self.locks());
        let (since, old, lost) = if self.row.provider == 'b' {
            // The built-in provider compares by code point, as C does.
            let old = sql!["CREATE COLLATION ", self.address(cx), " (LOCALE = 'C')"];
            let lost = "the built-in provider: C stands for it, which knows the case of ASCII letters only";
            (V17, old, lost)
        } else if self.row.rules.is_some() {
            (
                V16,
                self.statement(false, cx),
                "the RULES, so that texts sort in another order",
            )
        } else {
            return vec![whole];
        };
        whole.form.since = Some(since);
        let mut older = DraftForm::plain(vec![old], self.locks());
        older.form.until = Some(since);
        older.form.lost = Some(lost.to_owned());
        vec![whole, older]
    }
}

impl Collation {
    fn statement(&self, with_rules: bool, cx: &RenderCx<'_>) -> Sql {
        let provider = match self.row.provider.0 {
            'b' => "builtin",
            'd' => "default",
            'i' => "icu",
            _ => "libc",
        };
        let rules = self.row.rules.as_ref().filter(|_| with_rules);
        sql![
            "CREATE COLLATION ",
            self.address(cx),
            " (PROVIDER = ",
            provider,
            self.locale(),
            (!self.row.deterministic).then_some(", DETERMINISTIC = false"),
            rules.map(|rules| sql![", RULES = ", Literal(rules)]),
            ")",
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::arena::Catalog;
    use crate::pg::version::V18;

    fn row(provider: char) -> CollationRow {
        CollationRow {
            oid: 20000,
            name: "c".into(),
            schema: 1,
            owner: 10,
            provider: Letter(provider),
            deterministic: true,
            collate: None,
            ctype: None,
            locale: None,
            rules: None,
        }
    }

    fn text(row: CollationRow) -> String {
        let catalog = Catalog::default();
        let cx = RenderCx {
            catalog: &catalog,
            server: V18,
        };
        let text = Collation { row }.create(&cx)[0].text();
        text.replace(r#"CREATE COLLATION "schema 1"."c" "#, "")
    }

    #[test]
    fn the_locale_is_one_or_two_texts() {
        let both = |collate: &str, ctype: &str| {
            let (collate, ctype) = (Some(collate.into()), Some(ctype.into()));
            text(CollationRow {
                collate,
                ctype,
                ..row('c')
            })
        };
        assert_eq!(both("C", "C"), "(PROVIDER = libc, LOCALE = 'C')");
        assert_eq!(
            both("C", "POSIX"),
            "(PROVIDER = libc, LC_COLLATE = 'C', LC_CTYPE = 'POSIX')"
        );
    }

    #[test]
    fn an_icu_collation_keeps_its_rules_where_the_server_knows_them() {
        let (locale, rules) = (Some("und".into()), Some("&V << w".into()));
        let row = CollationRow {
            deterministic: false,
            locale,
            rules,
            ..row('i')
        };
        assert_eq!(
            text(row.clone()),
            "(PROVIDER = icu, LOCALE = 'und', DETERMINISTIC = false, RULES = '&V << w')"
        );
        let catalog = Catalog::default();
        let cx = RenderCx {
            catalog: &catalog,
            server: V18,
        };
        let forms = Collation { row }.forms(&cx);
        assert_eq!(forms[0].form.since, Some(V16));
        assert!(forms[1].form.lost.is_some() && forms[1].form.until == Some(V16));
        assert!(!forms[1].form.steps[0].sql[0].text().contains("RULES"));
    }
}
