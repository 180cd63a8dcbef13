//! Aggregates: plain, ordered-set and hypothetical.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, Oid, catalog_row};
use super::{Address, Ddl, DraftForm, KindFacts, ObjectKind, common, naming, versions};
use crate::error::Result;
use crate::pg::version::{ServerVersion, V12, V14};
use crate::sql::{Literal, ServerSql, Sql, sql};
use crate::toc::{After, EntryName, Part, Stage, Targets};

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
        /// The oldest major that has all types.
        major: i32 = by(|_| versions::major_of_types("p.proargtypes::pg_catalog.oid[] || a.aggtranstype")),
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

    fn state_clauses(&self, text: &AggregateText) -> Vec<Option<Sql>> {
        let row = &self.row;
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
        // One with two signatures says in `parts_after` which is whose.
        (!self.is_over_widened()).then_some(self.row.owner)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        let name = format!("{}({})", self.row.name, self.text.types.as_str());
        cx.core().name_in(self.row.schema, &name)
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        self.with_arguments(&self.text.identity, cx)
    }

    fn grant_address(&self, cx: &RenderCx<'_>) -> Sql {
        self.grant_signature(&self.text.types, cx)
    }

    fn addresses(&self, cx: &RenderCx<'_>) -> Vec<Address> {
        let own = Address {
            targets: Targets::default(),
            object: self.address(cx),
            grant: self.grant_address(cx),
        };
        if !self.is_over_widened() {
            return vec![own];
        }
        let text = self.text.on_the_other_side_of_14(cx.server);
        let other = Address {
            targets: Targets::default(),
            object: self.with_arguments(&text.identity, cx),
            grant: self.grant_signature(&text.types, cx),
        };
        let (mut new, mut old) = if cx.server >= V14 {
            (own, other)
        } else {
            (other, own)
        };
        new.targets.since = Some(V14);
        old.targets.until = Some(V14);
        vec![new, old]
    }

    fn parts_after(&self, cx: &RenderCx<'_>) -> Vec<After> {
        if !self.is_over_widened() {
            return Vec::new();
        }
        let owner = |address: Address| After {
            part: Part::Owner,
            sql: sql![
                "ALTER AGGREGATE ",
                address.object,
                " OWNER TO ",
                cx.core().role(self.row.owner)
            ],
            targets: address.targets,
        };
        self.addresses(cx).into_iter().map(owner).collect()
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        self.statements(&self.text, cx)
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut own = DraftForm::plain(self.create(cx), self.locks());
        own.form.since = versions::since_major(self.text.major);
        if !self.is_over_widened() {
            return vec![own];
        }
        let text = self.text.on_the_other_side_of_14(cx.server);
        let mut other = DraftForm::plain(self.statements(&text, cx), self.locks());
        let (new, old) = if cx.server >= V14 {
            (&mut own, &mut other)
        } else {
            (&mut other, &mut own)
        };
        new.form.since = Some(V14);
        old.form.until = Some(V14);
        vec![own, other]
    }
}

impl AggregateText {
    /// The same with the polymorphic types that the built-in functions over arrays have before 14, or since.
    fn on_the_other_side_of_14(&self, server: ServerVersion) -> AggregateText {
        let words = versions::WIDER.map(|(old, new)| {
            if server >= V14 {
                (new, old)
            } else {
                (old, new)
            }
        });
        let with = |text: &ServerSql| text.with_words(&words);
        AggregateText {
            arguments: with(&self.arguments),
            identity: with(&self.identity),
            types: with(&self.types),
            state: with(&self.state),
            moving_state: self.moving_state.as_ref().map(with),
            ..self.clone()
        }
    }
}

impl Aggregate {
    /// True if the aggregate is polymorphic through a built-in function whose types 14 widened.
    fn is_over_widened(&self) -> bool {
        let text = &self.text;
        let other = text.on_the_other_side_of_14(V14);
        let back = text.on_the_other_side_of_14(V12);
        let polymorphic = other.state != text.state || back.state != text.state;
        let functions = [&text.transition, &text.combine, &text.moving_transition];
        let mut functions = functions.into_iter().flatten();
        polymorphic && functions.any(|name| versions::is_widened(name.as_str()))
    }

    fn grant_signature(&self, types: &ServerSql, cx: &RenderCx<'_>) -> Sql {
        let name = cx.core().qualified(self.row.schema, &self.row.name);
        sql![name, "(", types, ")"]
    }

    fn statements(&self, text: &AggregateText, cx: &RenderCx<'_>) -> Vec<Sql> {
        let mut clauses = self.state_clauses(text);
        clauses.push(named("SORTOP = ", text.sort_operator.as_ref()));
        clauses.push((self.row.kind == 'h').then(|| sql!["HYPOTHETICAL"]));
        clauses.push(match self.row.parallel.0 {
            's' => Some(sql!["PARALLEL = safe"]),
            'r' => Some(sql!["PARALLEL = restricted"]),
            _ => None,
        });
        let signature = self.with_arguments(&text.arguments, cx);
        let clauses = Sql::list(clauses.into_iter().flatten());
        let mut statements = vec![sql!["CREATE AGGREGATE ", signature, " (", clauses, ")"]];
        let address = self.grant_signature(&text.types, cx);
        statements.extend(common::depends_on_extension(
            self.id(),
            "ROUTINE",
            &address,
            cx,
        ));
        statements
    }
}
