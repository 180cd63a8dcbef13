//! Subscriptions of the connected database. Restored without connecting and disabled: whoever restores decides when changes flow.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::clauses::{self, Clause};
use super::row::{Letter, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::pg::version::{V14, V15, V16, V17};
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_subscription`: OIDs of the database's own, none for a role that may not read connection strings.
    ///
    /// Before 14 such a role may not even read the OIDs, and a query that names a forbidden column fails whatever it returns.
    /// So there the OIDs come from a query in text form, which runs only when it may.
    pub struct SubscriptionRow from "pg_catalog.pg_database d" where "d.datname = pg_catalog.current_database()" {
        oid: Oid = since(
            V14,
            "pg_catalog.unnest(CASE WHEN pg_catalog.has_column_privilege( \
                 'pg_catalog.pg_subscription', 'subconninfo', 'SELECT') \
               THEN ARRAY(SELECT s.oid FROM pg_catalog.pg_subscription s WHERE s.subdbid = d.oid) END)",
            "pg_catalog.unnest(CASE WHEN pg_catalog.has_column_privilege( \
                 'pg_catalog.pg_subscription', 'subconninfo', 'SELECT') \
               THEN ARRAY(SELECT found[1]::pg_catalog.oid FROM pg_catalog.regexp_matches(pg_catalog.query_to_xml( \
                 'SELECT s.oid FROM pg_catalog.pg_subscription s WHERE s.subdbid = ' || d.oid::pg_catalog.text, \
                 true, false, '')::pg_catalog.text, '<oid>([0-9]+)</oid>', 'g') AS found) END)"
        ),
    }
}

catalog_row! {
    /// The subscriptions asked for, whole.
    pub struct SubscriptionText from
        "pg_catalog.pg_subscription s JOIN unnest($1::pg_catalog.oid[]) AS wanted(oid) ON wanted.oid = s.oid" {
        oid: Oid = col("s.oid"),
        name: String = col("s.subname"),
        owner: Oid = col("s.subowner"),
        connection: String = col("s.subconninfo"),
        slot: Option<String> = col("s.subslotname"),
        synchronous_commit: String = col("s.subsynccommit"),
        publications: Vec<String> = col("s.subpublications"),
        binary: bool = since(V14, "s.subbinary", "false"),
        /// f off, t spilled to disk, p parallel; a boolean before 16.
        streaming: Letter = by(|server| {
            if server >= V16 {
                "s.substream".to_owned()
            } else if server >= V14 {
                "CASE WHEN s.substream THEN 't' ELSE 'f' END::pg_catalog.\"char\"".to_owned()
            } else {
                "'f'::pg_catalog.\"char\"".to_owned()
            }
        }),
        /// d disabled, p pending, e enabled.
        two_phase: Letter = since(V15, "s.subtwophasestate", "'d'::pg_catalog.\"char\""),
        disable_on_error: bool = since(V15, "s.subdisableonerr", "false"),
        password_required: bool = since(V16, "s.subpasswordrequired", "true"),
        run_as_owner: bool = since(V16, "s.subrunasowner", "true"),
        origin: String = since(V16, "s.suborigin", "'any'::pg_catalog.text"),
        failover: bool = since(V17, "s.subfailover", "false"),
    }
}

/// A subscription.
#[derive(Debug)]
pub struct Subscription {
    row: SubscriptionText,
    /// True if the source has the option `run_as_owner`; older servers behave as if it were on.
    knows_run_as_owner: bool,
}

impl ObjectKind for Subscription {
    const FACTS: KindFacts = KindFacts {
        label: "subscription",
        keyword: "SUBSCRIPTION",
        stage: Stage::PostData,
        priority: 196,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_subscription",
        class: class::SUBSCRIPTION,
    };
    type Row = SubscriptionRow;
    type Text = SubscriptionText;

    fn subject(row: &SubscriptionRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::SUBSCRIPTION, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(text: &SubscriptionText) -> Oid {
        text.oid
    }

    fn build(
        row: SubscriptionRow,
        text: Option<SubscriptionText>,
        cx: &LoadCx<'_>,
    ) -> Result<Self> {
        let number = row.oid.to_string();
        Ok(Subscription {
            row: super::deparsed(text, "subscription", &number)?,
            knows_run_as_owner: cx.server >= V16,
        })
    }
}

impl Subscription {
    fn options(&self) -> Vec<Clause> {
        let row = &self.row;
        let slot = row
            .slot
            .as_ref()
            .map_or(sql!["NONE"], |slot| sql![Literal(slot)]);
        let slot = sql!["slot_name = ", slot];
        let commit = sql!["synchronous_commit = ", Literal(&row.synchronous_commit)];
        let mut out = vec![
            Clause::new(sql!["connect = false"]),
            Clause::new(sql!["enabled = false"]),
            Clause::new(slot),
            Clause::new(commit),
        ];
        if row.binary {
            out.push(Clause::since(
                V14,
                sql!["binary = true"],
                Some("the binary format"),
            ));
        }
        out.extend(self.streaming());
        if row.two_phase != 'd' {
            let lost = "decoding of prepared transactions";
            out.push(Clause::since(V15, sql!["two_phase = true"], Some(lost)));
        }
        if row.disable_on_error {
            let lost = "disabling on errors";
            out.push(Clause::since(
                V15,
                sql!["disable_on_error = true"],
                Some(lost),
            ));
        }
        if !row.password_required {
            out.push(Clause::since(V16, sql!["password_required = false"], None));
        }
        if row.run_as_owner {
            out.push(Clause::since(V16, sql!["run_as_owner = true"], None));
        } else if self.knows_run_as_owner {
            let lost = "applying changes as each table's owner";
            out.push(Clause::since(V16, sql!["run_as_owner = false"], Some(lost)));
        }
        if row.origin != "any" {
            let text = sql!["origin = ", Literal(&row.origin)];
            out.push(Clause::since(V16, text, Some("the filter on origins")));
        }
        if row.failover {
            let lost = "failover of the slot";
            out.push(Clause::since(V17, sql!["failover = true"], Some(lost)));
        }
        out
    }

    /// Always spelled out, because 18 made `parallel` the default.
    fn streaming(&self) -> Vec<Clause> {
        match self.row.streaming.0 {
            'p' => vec![
                Clause::since(V16, sql!["streaming = parallel"], None),
                Clause {
                    until: Some(V16),
                    ..Clause::since(V14, sql!["streaming = on"], Some("streaming"))
                },
            ],
            't' => vec![Clause::since(
                V14,
                sql!["streaming = on"],
                Some("streaming"),
            )],
            _ => vec![Clause::since(V14, sql!["streaming = off"], None)],
        }
    }

    fn statement(&self, options: &[&Sql], cx: &RenderCx<'_>) -> Sql {
        let publications = self.row.publications.iter().map(|name| Ident::new(&**name));
        sql![
            "CREATE SUBSCRIPTION ",
            self.address(cx),
            " CONNECTION ",
            Literal(&self.row.connection),
            " PUBLICATION ",
            Sql::list(publications),
            " WITH (",
            Sql::list(options),
            ")"
        ]
    }
}

impl Ddl for Subscription {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::SUBSCRIPTION, self.row.oid)
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
        let options = self.options();
        let newest = options.iter().filter(|option| option.until.is_none());
        let options: Vec<&Sql> = newest.map(|option| &option.sql).collect();
        vec![self.statement(&options, cx)]
    }

    // With its slot a subscription cannot be dropped in a transaction, nor without its publisher.
    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        let alter = sql!["ALTER SUBSCRIPTION ", self.address(cx)];
        Some(sql![
            &alter,
            " DISABLE; ",
            &alter,
            " SET (slot_name = NONE); DROP SUBSCRIPTION ",
            self.address(cx)
        ])
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        clauses::forms(&self.options(), |options| {
            DraftForm::plain(vec![self.statement(options, cx)], Vec::new())
        })
    }
}
