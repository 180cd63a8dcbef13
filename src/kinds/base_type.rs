//! Base types, and types that were declared but never defined. Array types come with their elements.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, Split, naming};
use crate::error::Result;
use crate::pg::version::V14;
use crate::sql::{Literal, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_type` of base and undefined types. Of initdb's own only those whose privileges somebody may have changed.
    pub struct BaseTypeRow from "pg_catalog.pg_type t"
        where "t.typtype IN ('b', 'p') AND (t.oid >= 16384 OR t.typacl IS NOT NULL) \
               AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)" {
        oid: Oid = col("t.oid"),
        name: String = col("t.typname"),
        schema: Oid = col("t.typnamespace"),
        owner: Oid = col("t.typowner"),
        defined: bool = col("t.typisdefined"),
        /// Bytes; negative is variable.
        length: i16 = col("t.typlen"),
        by_value: bool = col("t.typbyval"),
        category: Letter = col("t.typcategory"),
        preferred: bool = col("t.typispreferred"),
        delimiter: Letter = col("t.typdelim"),
        alignment: Letter = col("t.typalign"),
        storage: Letter = col("t.typstorage"),
        collatable: bool = col("t.typcollation <> 0"),
        default: Option<String> = col("t.typdefault"),
    }
}

catalog_row! {
    /// What base types name.
    pub struct BaseTypeText from
        "pg_catalog.pg_type t JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = t.oid" {
        oid: Oid = col("t.oid"),
        input: Option<ServerSql> = by(|_| naming::function("t.typinput")),
        output: Option<ServerSql> = by(|_| naming::function("t.typoutput")),
        receive: Option<ServerSql> = by(|_| naming::function("t.typreceive")),
        send: Option<ServerSql> = by(|_| naming::function("t.typsend")),
        modifier_in: Option<ServerSql> = by(|_| naming::function("t.typmodin")),
        modifier_out: Option<ServerSql> = by(|_| naming::function("t.typmodout")),
        analyze: Option<ServerSql> = by(|_| naming::function("t.typanalyze")),
        /// Absent where it is what ELEMENT brings anyway.
        subscript: Option<ServerSql> = by(|server| {
            if server < V14 {
                return "NULL::pg_catalog.text".into();
            }
            let name = naming::function("t.typsubscript");
            format!(
                "CASE WHEN t.typelem = 0 \
                 OR t.typsubscript <> 'pg_catalog.raw_array_subscript_handler'::pg_catalog.regproc THEN {name} END"
            )
        }),
        element: Option<ServerSql> = col(
            "CASE WHEN t.typelem <> 0 THEN pg_catalog.format_type(t.typelem, NULL) END"
        ),
    }
}

/// A base type, or a type that is no more than declared.
#[derive(Debug)]
pub struct BaseType {
    row: BaseTypeRow,
    text: BaseTypeText,
}

/// A type that was only declared takes no new owner: the server refuses it.
static DECLARED_FACTS: KindFacts = KindFacts {
    owned: false,
    ..BaseType::FACTS
};

impl ObjectKind for BaseType {
    const FACTS: KindFacts = KindFacts {
        label: "base type",
        keyword: "TYPE",
        stage: Stage::PreData,
        priority: 60,
        grant: Some("TYPE"),
        owned: true,
        postponable: false,
        catalog: "pg_type",
        class: class::TYPE,
    };
    type Row = BaseTypeRow;
    type Text = BaseTypeText;

    fn subject(row: &BaseTypeRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::ty(row.oid),
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &BaseTypeText) -> Oid {
        text.oid
    }

    fn build(row: BaseTypeRow, text: Option<BaseTypeText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "base type", &row.name)?;
        Ok(BaseType { row, text })
    }
}

impl BaseType {
    fn declaration(&self, cx: &RenderCx<'_>) -> Sql {
        sql!["CREATE TYPE ", self.address(cx)]
    }

    fn definition(&self, with_subscript: bool, cx: &RenderCx<'_>) -> Sql {
        let subscript = self.text.subscript.clone().filter(|_| with_subscript);
        let (row, text) = (&self.row, &self.text);
        let functions = [
            ("INPUT = ", &text.input),
            ("OUTPUT = ", &text.output),
            ("RECEIVE = ", &text.receive),
            ("SEND = ", &text.send),
            ("TYPMOD_IN = ", &text.modifier_in),
            ("TYPMOD_OUT = ", &text.modifier_out),
            ("ANALYZE = ", &text.analyze),
            ("SUBSCRIPT = ", &subscript),
            ("ELEMENT = ", &text.element),
        ];
        let named = functions
            .iter()
            .filter_map(|(word, name)| Some(sql![*word, name.as_ref()?]));
        let mut clauses: Vec<Sql> = named.collect();
        clauses.push(match row.length {
            bytes if bytes >= 0 => sql!["INTERNALLENGTH = ", bytes],
            _ => sql!["INTERNALLENGTH = VARIABLE"],
        });
        clauses.extend(row.by_value.then(|| sql!["PASSEDBYVALUE"]));
        clauses.push(sql!["ALIGNMENT = ", alignment(row.alignment)]);
        clauses.push(sql!["STORAGE = ", storage(row.storage)]);
        if row.category != 'U' {
            clauses.push(sql![
                "CATEGORY = ",
                Literal(row.category.0.encode_utf8(&mut [0; 4]))
            ]);
        }
        clauses.extend(row.preferred.then(|| sql!["PREFERRED = true"]));
        if row.delimiter != ',' {
            clauses.push(sql![
                "DELIMITER = ",
                Literal(row.delimiter.0.encode_utf8(&mut [0; 4]))
            ]);
        }
        clauses.extend(
            row.default
                .as_ref()
                .map(|text| sql!["DEFAULT = ", Literal(text)]),
        );
        clauses.extend(row.collatable.then(|| sql!["COLLATABLE = true"]));
        sql![self.declaration(cx), " (", Sql::list(clauses), ")"]
    }
}

/// `pg_type.typalign` as `CREATE TYPE` spells it.
fn alignment(letter: Letter) -> &'static str {
    match letter.0 {
        'c' => "char",
        's' => "int2",
        'd' => "double",
        _ => "int4",
    }
}

/// `pg_type.typstorage` as `CREATE TYPE` spells it.
fn storage(letter: Letter) -> &'static str {
    match letter.0 {
        'e' => "external",
        'm' => "main",
        'x' => "extended",
        _ => "plain",
    }
}

impl Ddl for BaseType {
    fn facts(&self) -> &'static KindFacts {
        if self.row.defined {
            &Self::FACTS
        } else {
            &DECLARED_FACTS
        }
    }

    fn id(&self) -> CatalogId {
        CatalogId::ty(self.row.oid)
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
        vec![if self.row.defined {
            self.definition(true, cx)
        } else {
            self.declaration(cx)
        }]
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut whole = DraftForm::plain(self.create(cx), self.locks());
        if self.text.subscript.is_none() || !self.row.defined {
            return vec![whole];
        }
        whole.form.since = Some(V14);
        let mut older = DraftForm::plain(vec![self.definition(false, cx)], self.locks());
        older.form.until = Some(V14);
        older.form.lost = Some("subscripts".to_owned());
        vec![whole, older]
    }

    // Its functions take and return it, so that they go only together.
    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        let cascade = self.row.defined.then_some(" CASCADE");
        Some(sql!["DROP TYPE ", self.address(cx), cascade])
    }

    fn split(&self, cx: &RenderCx<'_>) -> Option<Split> {
        self.row.defined.then(|| Split {
            stub: vec![self.declaration(cx)],
            stub_needs: vec![CatalogId::new(class::NAMESPACE, self.row.schema)],
            rest: self.forms(cx),
            cost: 1,
        })
    }
}
