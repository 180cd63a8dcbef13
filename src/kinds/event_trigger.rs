//! Event triggers. They are restored last, so that none sees the restore's own statements.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, NoText, Oid, catalog_row};
use super::rule::state_verb;
use super::{Ddl, DraftForm, KindFacts, ObjectKind, naming};
use crate::error::Result;
use crate::pg::version::V17;
use crate::sql::{Ident, Literal, ServerSql, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// `pg_event_trigger`.
    pub struct EventTriggerRow from "pg_catalog.pg_event_trigger e" where "e.oid >= 16384" {
        oid: Oid = col("e.oid"),
        name: String = col("e.evtname"),
        event: String = col("e.evtevent"),
        owner: Oid = col("e.evtowner"),
        /// O as created, D disabled, R on replicas, A always.
        enabled: Letter = col("e.evtenabled"),
        tags: Option<Vec<String>> = col("e.evttags"),
        function: Option<ServerSql> = by(|_| naming::function("e.evtfoid")),
    }
}

/// An event trigger.
#[derive(Debug)]
pub struct EventTrigger {
    row: EventTriggerRow,
    function: ServerSql,
}

impl ObjectKind for EventTrigger {
    const FACTS: KindFacts = KindFacts {
        label: "event trigger",
        keyword: "EVENT TRIGGER",
        stage: Stage::Final,
        priority: 210,
        grant: None,
        owned: true,
        postponable: false,
        catalog: "pg_event_trigger",
        class: class::EVENT_TRIGGER,
    };
    type Row = EventTriggerRow;
    type Text = NoText;

    fn subject(row: &EventTriggerRow, _: &LoadCx<'_>) -> Option<Subject> {
        Some(Subject {
            id: CatalogId::new(class::EVENT_TRIGGER, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: EventTriggerRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        let function =
            super::deparsed(row.function.clone(), "function of event trigger", &row.name)?;
        Ok(EventTrigger { row, function })
    }
}

impl Ddl for EventTrigger {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::EVENT_TRIGGER, self.row.oid)
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
        let tags = self.row.tags.as_ref().filter(|tags| !tags.is_empty());
        let tags = tags.map(|tags| {
            let tags = tags.iter().map(|tag| Literal(tag));
            sql![" WHEN TAG IN (", Sql::list(tags), ")"]
        });
        let mut out = vec![sql![
            "CREATE EVENT TRIGGER ",
            self.address(cx),
            " ON ",
            Ident::new(&*self.row.event),
            tags,
            " EXECUTE FUNCTION ",
            &self.function,
            "()"
        ]];
        let state = state_verb(self.row.enabled);
        out.extend(state.map(|verb| sql!["ALTER EVENT TRIGGER ", self.address(cx), " ", verb]));
        out
    }

    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        let mut draft = DraftForm::plain(self.create(cx), Vec::new());
        // Older servers know no event of that name, and nothing can stand for it.
        draft.form.since = (self.row.event == "login").then_some(V17);
        vec![draft]
    }
}
