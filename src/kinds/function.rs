//! Functions, window functions and procedures. Constructor functions of ranges come with those; aggregates are their own kind.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind, common, naming, settings, versions};
use crate::error::Result;
use crate::pg::version::V14;
use crate::sql::{DollarQuoted, Ident, Literal, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_proc` without aggregates. Of initdb's own only those whose privileges somebody may have changed.
    pub struct FunctionRow from "pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
        where "p.prokind IN ('f', 'w', 'p') AND (p.oid >= 16384 OR p.proacl IS NOT NULL)" {
        oid: Oid = col("p.oid"),
        name: String = col("p.proname"),
        schema: Oid = col("p.pronamespace"),
        owner: Oid = col("p.proowner"),
        /// f function, w window function, p procedure.
        kind: Letter = col("p.prokind"),
        language: String = col("l.lanname"),
        /// i immutable, s stable, v volatile.
        volatility: Letter = col("p.provolatile"),
        strict: bool = col("p.proisstrict"),
        security_definer: bool = col("p.prosecdef"),
        leakproof: bool = col("p.proleakproof"),
        /// s safe, r restricted, u unsafe.
        parallel: Letter = col("p.proparallel"),
        /// Absent where it is the language's default.
        cost: Option<ServerSql> = col(
            "CASE WHEN p.procost <> CASE WHEN l.lanname IN ('internal', 'c') THEN 1 ELSE 100 END \
             THEN p.procost::pg_catalog.text END"
        ),
        /// Absent where it is the default, or where no set is returned.
        rows: Option<ServerSql> = col(
            "CASE WHEN p.proretset AND p.prorows NOT IN (0, 1000) THEN p.prorows::pg_catalog.text END"
        ),
        settings: Option<Vec<String>> = col("p.proconfig"),
        /// A procedure with an OUT argument, which 14 brought.
        procedure_out: bool = col("p.prokind = 'p' AND COALESCE('o' = ANY (p.proargmodes), false)"),
        /// The body, or the symbol of a C function.
        source: String = col("p.prosrc"),
        /// The object file of a C function.
        file: Option<String> = col("p.probin"),
    }
}

catalog_row! {
    /// What the server deparses of functions.
    pub struct FunctionText from
        "pg_catalog.pg_proc p JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = p.oid" {
        oid: Oid = col("p.oid"),
        /// With defaults.
        arguments: ServerSql = col("pg_catalog.pg_get_function_arguments(p.oid)"),
        /// Without.
        identity: ServerSql = col("pg_catalog.pg_get_function_identity_arguments(p.oid)"),
        /// The types of the input arguments alone.
        types: String = by(|_| naming::type_list("p.proargtypes")),
        /// Absent for procedures.
        result: Option<ServerSql> = col("pg_catalog.pg_get_function_result(p.oid)"),
        transforms: Vec<ServerSql> = col(
            "ARRAY(SELECT pg_catalog.format_type(t.oid, NULL) \
             FROM unnest(p.protrftypes) WITH ORDINALITY AS t(oid, place) ORDER BY t.place)"
        ),
        support: Option<ServerSql> = by(|_| naming::function("p.prosupport")),
        /// The oldest major that has all types.
        major: i32 = by(|_| versions::major_of_types(
            "p.proargtypes::pg_catalog.oid[] || p.prorettype || COALESCE(p.proallargtypes, '{}')"
        )),
        /// `RETURN …` or `BEGIN ATOMIC …`, for functions whose body was parsed when they were made.
        body: Option<ServerSql> = since(V14, "pg_catalog.pg_get_function_sqlbody(p.oid)", "NULL::pg_catalog.text"),
    }
}

/// A function or procedure.
#[derive(Debug)]
pub struct Function {
    row: FunctionRow,
    text: FunctionText,
}

static PROCEDURE_FACTS: KindFacts = KindFacts {
    label: "procedure",
    keyword: "PROCEDURE",
    grant: Some("PROCEDURE"),
    ..Function::FACTS
};

impl ObjectKind for Function {
    const FACTS: KindFacts = KindFacts {
        label: "function",
        keyword: "FUNCTION",
        stage: Stage::PreData,
        priority: 80,
        grant: Some("FUNCTION"),
        owned: true,
        // A parsed body may need a primary key (GROUP BY), which stands after the data.
        postponable: true,
        catalog: "pg_proc",
        class: class::PROC,
    };
    type Row = FunctionRow;
    type Text = FunctionText;

    fn subject(row: &FunctionRow, cx: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::PROC, row.oid);
        let comes_with_another = cx.core.depends_of(id).any(|row| row.kind == 'i');
        (!comes_with_another).then_some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &FunctionText) -> Oid {
        text.oid
    }

    fn build(row: FunctionRow, text: Option<FunctionText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "function", &row.name)?;
        Ok(Function { row, text })
    }
}

impl Function {
    /// The clauses between the argument list and the body, each with a space before it.
    fn clauses(&self) -> Sql {
        let (row, text) = (&self.row, &self.text);
        let transforms = text.transforms.iter().map(|name| sql!["FOR TYPE ", name]);
        let settings = row.settings.iter().flatten();
        sql![
            text.result.as_ref().map(|result| sql![" RETURNS ", result]),
            " LANGUAGE ",
            Ident::new(&*row.language),
            (!text.transforms.is_empty()).then(|| sql![" TRANSFORM ", Sql::list(transforms)]),
            (row.kind == 'w').then_some(" WINDOW"),
            match row.volatility.0 {
                'i' => " IMMUTABLE",
                's' => " STABLE",
                _ => "",
            },
            row.strict.then_some(" STRICT"),
            row.security_definer.then_some(" SECURITY DEFINER"),
            row.leakproof.then_some(" LEAKPROOF"),
            row.cost.as_ref().map(|cost| sql![" COST ", cost]),
            row.rows.as_ref().map(|rows| sql![" ROWS ", rows]),
            text.support.as_ref().map(|name| sql![" SUPPORT ", name]),
            match row.parallel.0 {
                's' => " PARALLEL SAFE",
                'r' => " PARALLEL RESTRICTED",
                _ => "",
            },
            Sql::join(
                settings.map(|setting| sql![" ", settings::set_clause(setting)]),
                ""
            ),
        ]
    }

    /// `parsed`: as the server parsed it when it was made, if it did.
    fn body(&self, parsed: bool) -> Sql {
        if let Some(body) = &self.text.body {
            return if parsed {
                sql!["\n", body]
            } else {
                sql!["\nAS ", DollarQuoted(&body.body_as_text())]
            };
        }
        if let Some(file) = &self.row.file {
            return sql!["\nAS ", Literal(file), ", ", Literal(&self.row.source)];
        }
        sql!["\nAS ", DollarQuoted(&self.row.source)]
    }
}

impl Ddl for Function {
    fn facts(&self) -> &'static KindFacts {
        if self.row.kind == 'p' {
            &PROCEDURE_FACTS
        } else {
            &Self::FACTS
        }
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::PROC, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        cx.core().name_in(
            self.row.schema,
            &format!("{}({})", self.row.name, self.text.types),
        )
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let name = cx.core().qualified(self.row.schema, &self.row.name);
        sql![name, "(", self.text.identity, ")"]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        self.statements(true, cx)
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let oldest = versions::since_major(self.text.major);
        let oldest = oldest.max(self.row.procedure_out.then_some(V14));
        let parsed = self.text.body.is_some();
        let mut whole = DraftForm::plain(self.create(cx), self.locks());
        whole.form.since = oldest.max(parsed.then_some(V14));
        if !parsed || oldest >= Some(V14) {
            return vec![whole];
        }
        let mut text = DraftForm::plain(self.statements(false, cx), self.locks());
        text.form.since = oldest;
        text.form.until = Some(V14);
        text.form.lost =
            Some("its body is no longer parsed beforehand, but kept as text".to_owned());
        vec![whole, text]
    }
}

impl Function {
    fn statements(&self, parsed: bool, cx: &RenderCx<'_>) -> Vec<Sql> {
        let keyword = self.facts().keyword;
        let name = cx.core().qualified(self.row.schema, &self.row.name);
        let arguments = &self.text.arguments;
        let mut statements = vec![sql![
            "CREATE ",
            keyword,
            " ",
            name,
            "(",
            arguments,
            ")",
            self.clauses(),
            self.body(parsed)
        ]];
        statements.extend(common::depends_on_extension(
            self.id(),
            keyword,
            &self.address(cx),
            cx,
        ));
        statements
    }
}

#[cfg(test)]
mod tests {
    use postgres_types::{FromSql, Type};

    use super::*;
    use crate::kinds::arena::Catalog;
    use crate::pg::version::V15;

    fn server_sql(text: &str) -> ServerSql {
        ServerSql::from_sql(&Type::TEXT, text.as_bytes()).unwrap()
    }

    fn row() -> FunctionRow {
        FunctionRow {
            oid: 20000,
            name: "f".into(),
            schema: 1,
            owner: 10,
            kind: Letter('f'),
            language: "sql".into(),
            volatility: Letter('v'),
            strict: false,
            security_definer: false,
            leakproof: false,
            parallel: Letter('u'),
            cost: None,
            rows: None,
            settings: None,
            procedure_out: false,
            source: "SELECT 1".into(),
            file: None,
        }
    }

    fn text() -> FunctionText {
        FunctionText {
            oid: 20000,
            arguments: server_sql("a integer DEFAULT 1"),
            identity: server_sql("a integer"),
            types: "integer".into(),
            result: Some(server_sql("integer")),
            transforms: Vec::new(),
            support: None,
            major: 12,
            body: None,
        }
    }

    fn check_ddl(row: FunctionRow, text: FunctionText, expected: &str) {
        let catalog = Catalog::default();
        let cx = RenderCx {
            catalog: &catalog,
            server: V15,
        };
        assert_eq!(Function { row, text }.create(&cx)[0].text(), expected);
    }

    #[test]
    fn defaults_are_not_spelled_out() {
        check_ddl(
            row(),
            text(),
            "CREATE FUNCTION \"schema 1\".\"f\"(a integer DEFAULT 1) RETURNS integer LANGUAGE \"sql\"\n\
             AS $$SELECT 1$$",
        );
    }

    #[test]
    fn every_clause_has_its_place() {
        let row = FunctionRow {
            kind: Letter('w'),
            volatility: Letter('s'),
            strict: true,
            security_definer: true,
            leakproof: true,
            parallel: Letter('r'),
            cost: Some(server_sql("7")),
            rows: Some(server_sql("17")),
            settings: Some(vec![
                "search_path=\"A b\", pg_temp".into(),
                "work_mem=5MB".into(),
            ]),
            ..row()
        };
        let text = FunctionText {
            transforms: vec![server_sql("s.t"), server_sql("u")],
            support: Some(server_sql("\"s\".\"sup\"")),
            ..text()
        };
        check_ddl(
            row,
            text,
            "CREATE FUNCTION \"schema 1\".\"f\"(a integer DEFAULT 1) RETURNS integer LANGUAGE \"sql\" \
             TRANSFORM FOR TYPE s.t, FOR TYPE u WINDOW STABLE STRICT SECURITY DEFINER LEAKPROOF COST 7 ROWS 17 \
             SUPPORT \"s\".\"sup\" PARALLEL RESTRICTED SET \"search_path\" TO 'A b', 'pg_temp' \
             SET \"work_mem\" TO '5MB'\nAS $$SELECT 1$$",
        );
    }

    #[test]
    fn a_procedure_has_no_result_and_a_c_function_two_names() {
        let row = FunctionRow {
            kind: Letter('p'),
            file: Some("$libdir/x".into()),
            ..row()
        };
        let text = FunctionText {
            result: None,
            ..text()
        };
        check_ddl(
            row,
            text,
            "CREATE PROCEDURE \"schema 1\".\"f\"(a integer DEFAULT 1) LANGUAGE \"sql\"\n\
             AS '$libdir/x', 'SELECT 1'",
        );
    }

    #[test]
    fn a_parsed_body_is_text_for_a_server_that_does_not_parse_it() {
        let catalog = Catalog::default();
        let cx = RenderCx {
            catalog: &catalog,
            server: V15,
        };
        let body = Some(server_sql("RETURN a"));
        let function = Function {
            row: row(),
            text: FunctionText { body, ..text() },
        };
        assert!(
            function.create(&cx)[0]
                .text()
                .ends_with("LANGUAGE \"sql\"\nRETURN a")
        );
        let forms = function.forms(&cx);
        assert_eq!(forms[0].form.since, Some(V14));
        let old = &forms[1].form;
        assert!(old.until == Some(V14) && old.lost.is_some());
        assert!(old.steps[0].sql[0].text().ends_with("AS $$SELECT a$$"));
    }
}
