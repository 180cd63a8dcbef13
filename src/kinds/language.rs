//! Procedural languages.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::sql::{Ident, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_language`, users' languages, and those whose privileges somebody may have changed.
    pub struct LanguageRow from
        "pg_catalog.pg_language l \
         LEFT JOIN pg_catalog.pg_proc h ON h.oid = l.lanplcallfoid \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = h.pronamespace"
        where "l.lanispl AND l.oid >= 16384 OR l.lanacl IS NOT NULL" {
        oid: Oid = col("l.oid"),
        name: String = col("l.lanname"),
        owner: Oid = col("l.lanowner"),
        trusted: bool = col("l.lanpltrusted"),
        /// True if its functions are the system's own, where a template of 12 put them.
        from_template: bool = col("COALESCE(n.nspname = 'pg_catalog', false)"),
    }
}

catalog_row! {
    /// The functions of the languages asked for.
    pub struct LanguageText from
        "pg_catalog.pg_language l JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = l.oid" {
        oid: Oid = col("l.oid"),
        handler: Option<ServerSql> = by(|_| naming::function("l.lanplcallfoid")),
        inline: Option<ServerSql> = by(|_| naming::function("l.laninline")),
        validator: Option<ServerSql> = by(|_| naming::function("l.lanvalidator")),
    }
}

/// A procedural language.
#[derive(Debug)]
pub struct Language {
    row: LanguageRow,
    text: LanguageText,
}

/// The server grants nothing on languages that are not trusted.
static UNTRUSTED_FACTS: KindFacts = KindFacts {
    grant: None,
    ..Language::FACTS
};

impl ObjectKind for Language {
    const FACTS: KindFacts = KindFacts {
        label: "language",
        keyword: "LANGUAGE",
        stage: Stage::PreData,
        priority: 20,
        grant: Some("LANGUAGE"),
        owned: true,
        postponable: false,
        catalog: "pg_language",
        class: class::LANGUAGE,
    };
    type Row = LanguageRow;
    type Text = LanguageText;

    fn subject(row: &LanguageRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::LANGUAGE, row.oid);
        Some(Subject {
            id,
            follows: Follows::Database,
        })
    }

    fn text_oid(text: &LanguageText) -> Oid {
        text.oid
    }

    fn build(row: LanguageRow, text: Option<LanguageText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "language", &row.name)?;
        Ok(Language { row, text })
    }
}

impl Ddl for Language {
    fn facts(&self) -> &'static KindFacts {
        if self.row.trusted {
            &Self::FACTS
        } else {
            &UNTRUSTED_FACTS
        }
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::LANGUAGE, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        EntryName {
            name: self.row.name.clone(),
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![Ident::new(&*self.row.name)]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let address = self.address(cx);
        let Some(handler) = self
            .text
            .handler
            .as_ref()
            .filter(|_| !self.row.from_template)
        else {
            // Without a handler the server takes the template (12) or the extension (13) of the same name.
            return vec![sql!["CREATE OR REPLACE LANGUAGE ", address]];
        };
        vec![sql![
            "CREATE ",
            self.row.trusted.then_some("TRUSTED "),
            "LANGUAGE ",
            address,
            " HANDLER ",
            handler,
            self.text.inline.as_ref().map(|name| sql![" INLINE ", name]),
            self.text
                .validator
                .as_ref()
                .map(|name| sql![" VALIDATOR ", name]),
        ]]
    }
}
