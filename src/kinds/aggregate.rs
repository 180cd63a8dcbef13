//! Aggregates: plain, ordered-set and hypothetical.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common, naming};
use crate::error::Result;
use crate::sql::{Literal, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_aggregate` with its `pg_proc`. Of initdb's own only those whose privileges somebody may have changed.
    pub struct AggregateRow from "pg_catalog.pg_proc p JOIN pg_catalog.pg_aggregate a ON a.aggfnoid = p.oid"
        where "p.oid >= 16384 OR p.proacl IS NOT NULL" {
        oid: Oid = col("p.oid"),
        name: String = col("p.proname"),
        schema: Oid = col("p.pronamespace"),
        owner: Oid = col("p.proowner"),
        /// n plain, o ordered-set, h hypothetical.
        kind: Letter = col("a.aggkind"),
        parallel: Letter = col("p.proparallel"),
        state_space: i32 = col("a.aggtransspace"),
        moving_state_space: i32 = col("a.aggmtransspace"),
        final_extra: bool = col("a.aggfinalextra"),
        moving_final_extra: bool = col("a.aggmfinalextra"),
        /// r read only, s shareable, w read write.
        final_modify: Letter = col("a.aggfinalmodify"),
        moving_final_modify: Letter = col("a.aggmfinalmodify"),
        /// An empty text is not an absent one.
        initial: Option<String> = col("a.agginitval"),
        moving_initial: Option<String> = col("a.aggminitval"),
    }
}

catalog_row! {
    /// What aggregates name.
    pub struct AggregateText from
        "pg_catalog.pg_aggregate a JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = a.aggfnoid \
         JOIN pg_catalog.pg_proc p ON p.oid = a.aggfnoid" {
        oid: Oid = col("p.oid"),
        /// With names and ORDER BY; empty for `(*)`.
        arguments: ServerSql = col("pg_catalog.pg_get_function_arguments(p.oid)"),
        identity: ServerSql = col("pg_catalog.pg_get_function_identity_arguments(p.oid)"),
        /// The argument types alone, as `GRANT … ON FUNCTION` takes them.
        types: ServerSql = by(|_| naming::type_list("p.proargtypes")),
        transition: Option<ServerSql> = by(|_| naming::function("a.aggtransfn")),
        state: ServerSql = col("pg_catalog.format_type(a.aggtranstype, NULL)"),
        final_function: Option<ServerSql> = by(|_| naming::function("a.aggfinalfn")),
        combine: Option<ServerSql> = by(|_| naming::function("a.aggcombinefn")),
        serialize: Option<ServerSql> = by(|_| naming::function("a.aggserialfn")),
        deserialize: Option<ServerSql> = by(|_| naming::function("a.aggdeserialfn")),
        moving_transition: Option<ServerSql> = by(|_| naming::function("a.aggmtransfn")),
        moving_inverse: Option<ServerSql> = by(|_| naming::function("a.aggminvtransfn")),
        moving_state: Option<ServerSql> = col(
            "CASE WHEN a.aggmtranstype <> 0 THEN pg_catalog.format_type(a.aggmtranstype, NULL) END"
        ),
        moving_final: Option<ServerSql> = by(|_| naming::function("a.aggmfinalfn")),
        sort_operator: Option<ServerSql> = by(|_| naming::operator("a.aggsortop")),
    }
}

/// An aggregate.
#[derive(Debug)]
pub struct Aggregate {
    row: AggregateRow,
    text: AggregateText,
}

impl ObjectKind for Aggregate {
    const FACTS: KindFacts = KindFacts {
        label: "aggregate",
        keyword: "AGGREGATE",
        stage: Stage::PreData,
        priority: 90,
        grant: Some("FUNCTION"),
        owned: true,
        postponable: false,
        catalog: "pg_proc",
        class: class::PROC,
    };
    type Row = AggregateRow;
    type Text = AggregateText;

    fn subject(row: &AggregateRow, _: &LoadCx<'_>) -> Option<Subject> {
        let id = CatalogId::new(class::PROC, row.oid);
        Some(Subject {
            id,
            follows: Follows::Schema(row.schema),
        })
    }

    fn text_oid(text: &AggregateText) -> Oid {
        text.oid
    }

    fn build(row: AggregateRow, text: Option<AggregateText>, _: &LoadCx<'_>) -> Result<Self> {
        let text = super::deparsed(text, "aggregate", &row.name)?;
        Ok(Aggregate { row, text })
    }
}

impl Aggregate {
    fn with_arguments(&self, arguments: &ServerSql, cx: &RenderCx<'_>) -> Sql {
        let name = cx.core().qualified(self.row.schema, &self.row.name);
        let star = arguments.as_str().is_empty().then_some("*");
        sql![name, "(", arguments, star, ")"]
    }

    fn state_clauses(&self) -> Vec<Option<Sql>> {
        let (row, text) = (&self.row, &self.text);
        let space = |word: &'static str, bytes: i32| (bytes != 0).then(|| sql![word, bytes]);
        vec![
            named("SFUNC = ", text.transition.as_ref()),
            Some(sql!["STYPE = ", text.state]),
            space("SSPACE = ", row.state_space),
            row.initial
                .as_ref()
                .map(|value| sql!["INITCOND = ", Literal(value)]),
            named("FINALFUNC = ", text.final_function.as_ref()),
            row.final_extra.then(|| sql!["FINALFUNC_EXTRA"]),
            self.modify("FINALFUNC_MODIFY = ", row.final_modify),
            named("COMBINEFUNC = ", text.combine.as_ref()),
            named("SERIALFUNC = ", text.serialize.as_ref()),
            named("DESERIALFUNC = ", text.deserialize.as_ref()),
            named("MSFUNC = ", text.moving_transition.as_ref()),
            named("MINVFUNC = ", text.moving_inverse.as_ref()),
            named("MSTYPE = ", text.moving_state.as_ref()),
            space("MSSPACE = ", row.moving_state_space),
            row.moving_initial
                .as_ref()
                .map(|value| sql!["MINITCOND = ", Literal(value)]),
            named("MFINALFUNC = ", text.moving_final.as_ref()),
            row.moving_final_extra.then(|| sql!["MFINALFUNC_EXTRA"]),
            self.modify("MFINALFUNC_MODIFY = ", row.moving_final_modify),
        ]
    }

    /// What a final function does to the state, where it is not the default of the aggregate's kind.
    fn modify(&self, word: &'static str, letter: Letter) -> Option<Sql> {
        let default = if self.row.kind == 'n' { 'r' } else { 'w' };
        let value = match letter.0 {
            'r' => "READ_ONLY",
            's' => "SHAREABLE",
            _ => "READ_WRITE",
        };
        (letter != default).then(|| sql![word, value])
    }
}

fn named(word: &'static str, name: Option<&ServerSql>) -> Option<Sql> {
    name.map(|name| sql![word, name])
}

impl Ddl for Aggregate {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::PROC, self.row.oid)
    }

    fn owner(&self) -> Option<Oid> {
        Some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        let name = format!("{}({})", self.row.name, self.text.types.as_str());
        cx.core().name_in(self.row.schema, &name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        self.with_arguments(&self.text.identity, cx)
    }

    fn grant_address(&self, cx: &RenderCx<'_>) -> Sql {
        let name = cx.core().qualified(self.row.schema, &self.row.name);
        sql![name, "(", self.text.types, ")"]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let mut clauses = self.state_clauses();
        clauses.push(named("SORTOP = ", self.text.sort_operator.as_ref()));
        clauses.push((self.row.kind == 'h').then(|| sql!["HYPOTHETICAL"]));
        clauses.push(match self.row.parallel.0 {
            's' => Some(sql!["PARALLEL = safe"]),
            'r' => Some(sql!["PARALLEL = restricted"]),
            _ => None,
        });
        let signature = self.with_arguments(&self.text.arguments, cx);
        let clauses = Sql::list(clauses.into_iter().flatten());
        let mut statements = vec![sql!["CREATE AGGREGATE ", signature, " (", clauses, ")"]];
        let address = self.grant_address(cx);
        statements.extend(common::depends_on_extension(
            self.id(),
            "ROUTINE",
            &address,
            cx,
        ));
        statements
    }
}
