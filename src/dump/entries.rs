//! From objects to entries: drafts of all objects, their dependency graph, and the numbered entries in restore order. Pure.

use std::collections::{BTreeSet, HashMap};

use super::links::{Links, describe};
use crate::graph::{Half, Order, Placed};
use crate::kinds::arena::{CatalogId, RenderCx, class};
use crate::kinds::common;
use crate::kinds::dependents;
use crate::kinds::planner_statistics;
use crate::kinds::row::Oid;
use crate::kinds::toc_builder::{Aspect, Draft, DraftData, DraftKey, TocBuilder};
use crate::kinds::{DraftForm, Object};
use crate::selection::{Omit, RowsOf, Selection};
use crate::toc::{DataOf, Entry, EntryId, Form, LockMode, Part, Stage, Step};

/// The entries of a dump, and what is still to be read for them.
#[derive(Debug, Default)]
pub(super) struct Toc {
    /// In restore order; an entry's number is its index.
    pub entries: Vec<Entry>,
    /// Entries with rows, and where the rows are.
    pub data: Vec<(EntryId, DraftData)>,
    /// Entries for sequence values, and the sequences.
    pub sequences: Vec<(EntryId, Oid)>,
    /// The objects that the entries are made of, and what they depend on.
    pub relevant: BTreeSet<CatalogId>,
    /// Needs that had to be given up to get an order.
    pub warnings: Vec<String>,
}

/// Builds the entries of a loaded catalog.
pub(super) fn build(
    cx: RenderCx<'_>,
    selection: &Selection,
    wanted_rows: &dyn Fn(&Draft) -> bool,
) -> Toc {
    let (mut drafts, _) = drafts_of(cx);
    drafts.retain(wanted_rows);
    let links = Links::new(cx.catalog, &drafts);
    let graph = links.graph(cx, &drafts);
    let order = graph.order();
    let mut toc = Assembly::new(cx, &drafts, &order, selection).entries();
    toc.warnings = order
        .warnings
        .iter()
        .map(|warning| describe(warning, &drafts))
        .collect();
    toc.relevant = links.relevant(cx.catalog);
    toc
}

fn is_value(draft: &Draft) -> bool {
    draft.key.aspect == Aspect::SequenceValue
}

fn rows_of(draft: &Draft, cx: RenderCx<'_>) -> RowsOf {
    match &draft.data {
        Some(data) if cx.core().is_member(CatalogId::relation(data.relation)) => {
            RowsOf::Configuration
        }
        Some(DraftData {
            of: DataOf::Table { unlogged: true, .. },
            ..
        }) => RowsOf::Unlogged,
        _ if is_value(draft) && cx.core().is_member(draft.key.id) => RowsOf::Configuration,
        _ => RowsOf::Any,
    }
}

fn drafts_of(cx: RenderCx<'_>) -> (Vec<Draft>, HashMap<DraftKey, usize>) {
    let mut builder = TocBuilder::new(cx);
    for object in &cx.catalog.objects {
        let parts = cx.catalog.parts_of(object.ddl().id());
        builder.add(main_draft(object, cx));
        if parts.has(Part::Define) {
            object.ddl().more(&cx, &mut builder);
        }
    }
    dependents::add(&cx, &mut builder);
    planner_statistics::add(&cx, &mut builder);
    builder.finish()
}

fn main_draft(object: &Object, cx: RenderCx<'_>) -> Draft {
    let ddl = object.ddl();
    let facts = ddl.facts();
    let parts = cx.catalog.parts_of(ddl.id());
    let key = DraftKey::define(ddl.id());
    let mut draft = Draft::new(key, facts.label, ddl.name(&cx), facts.stage, facts.priority);
    draft.needs.clear();
    if parts.has(Part::Define) {
        draft.forms = ddl
            .forms(&cx)
            .into_iter()
            .filter(|draft| !draft.form.steps.is_empty() || draft.form.lost.is_some())
            .collect();
        draft.split = ddl.split(&cx);
        draft.postponable = facts.postponable;
        draft.drop = ddl.drop(&cx);
        draft.tablespace = ddl.tablespace(&cx);
        draft.access_method = ddl.access_method();
        draft.needs = ddl.hidden_aspects(&cx);
    }
    if parts.has(Part::Define) && parts.has(Part::Owner) {
        draft.owner = ddl.owner().and_then(|owner| common::owner(ddl, owner, &cx));
    }
    if parts.has(Part::Define) {
        draft.after = common::after(object, parts, &cx);
        draft.after.extend(
            ddl.parts_after(&cx)
                .into_iter()
                .filter(|after| parts.has(after.part)),
        );
    }
    if parts.has(Part::Acl) {
        draft.grants = ddl
            .own_grants(&cx)
            .unwrap_or_else(|| common::grants_of(ddl, &cx));
    }
    draft
}

/// Numbers the entries that the archive keeps and translates needs and locks.
struct Assembly<'a> {
    cx: RenderCx<'a>,
    drafts: &'a [Draft],
    order: &'a Order,
    selection: &'a Selection,
    /// The entry at each position of the order, if it is kept.
    ids: Vec<Option<EntryId>>,
    /// The entry that makes each draft whole.
    by_key: HashMap<DraftKey, EntryId>,
}

impl<'a> Assembly<'a> {
    fn new(
        cx: RenderCx<'a>,
        drafts: &'a [Draft],
        order: &'a Order,
        selection: &'a Selection,
    ) -> Self {
        let mut assembly = Assembly {
            cx,
            drafts,
            order,
            selection,
            ids: Vec::new(),
            by_key: HashMap::new(),
        };
        let mut next = 0;
        for placed in &order.sequence {
            let draft = &drafts[placed.node];
            let keep = selection.wants_class(draft.label, placed.stage, rows_of(draft, cx));
            let id = keep.then_some(EntryId(next));
            next += u32::from(keep);
            assembly.ids.push(id);
            if let Some(id) = id.filter(|_| placed.half != Half::Stub) {
                assembly.by_key.insert(drafts[placed.node].key, id);
            }
        }
        assembly
    }

    fn entries(&self) -> Toc {
        let mut toc = Toc::default();
        // The needs of a position that is left out are handed on to those that need it.
        let mut needs_at: Vec<Vec<EntryId>> = Vec::with_capacity(self.order.sequence.len());
        for (position, placed) in self.order.sequence.iter().enumerate() {
            let mut needs = BTreeSet::new();
            for need in self.order.needs_of(position) {
                match self.ids[need] {
                    Some(id) => {
                        needs.insert(id);
                    }
                    None => needs.extend(&needs_at[need]),
                }
            }
            let draft = &self.drafts[placed.node];
            let Some(id) = self.ids[position] else {
                needs_at.push(needs.into_iter().collect());
                continue;
            };
            if placed.stage == Stage::PostData {
                needs.extend(self.rows_before(draft));
            }
            needs.remove(&id);
            needs_at.push(Vec::new());
            Self::note_reads(&mut toc, id, draft);
            toc.entries
                .push(self.entry(id, *placed, needs.into_iter().collect()));
        }
        toc
    }

    fn note_reads(toc: &mut Toc, id: EntryId, draft: &Draft) {
        if let Some(data) = &draft.data {
            toc.data.push((id, data.clone()));
        }
        if is_value(draft) {
            toc.sequences.push((id, draft.key.id.oid));
        }
    }

    /// What comes after the data waits for the rows of every table that it touches.
    fn rows_before(&self, draft: &Draft) -> Vec<EntryId> {
        let core = self.cx.core();
        let mut relations: BTreeSet<Oid> = BTreeSet::new();
        for locks in draft.forms.iter().flat_map(|form| &form.locks) {
            relations.extend(locks.iter().map(|(relation, _)| *relation));
        }
        let depends = core
            .depends_of(draft.key.id)
            .filter(|row| row.ref_class == class::RELATION);
        relations.extend(depends.map(|row| row.ref_oid));
        relations.extend(self.relations_with_domain(draft.key.id));
        let mut rows = Vec::new();
        for relation in relations {
            let family = std::iter::once(relation).chain(core.descendants(relation));
            let keys = family.map(|oid| DraftKey::aspect(CatalogId::relation(oid), Aspect::Data));
            rows.extend(keys.filter_map(|key| self.by_key.get(&key).copied()));
        }
        rows
    }

    /// A domain's constraint that is not valid yet must wait for the rows of every relation that has the domain somewhere:
    /// they were there before it, and may violate it.
    fn relations_with_domain(&self, constraint: CatalogId) -> BTreeSet<Oid> {
        let core = self.cx.core();
        let mut domains = core.domain_constraints.values().flatten();
        let domain = domains.find(|row| CatalogId::new(class::CONSTRAINT, row.oid) == constraint);
        let mut relations = BTreeSet::new();
        let mut seen: BTreeSet<CatalogId> = domain
            .map(|row| CatalogId::ty(row.domain))
            .into_iter()
            .collect();
        let mut open: Vec<CatalogId> = seen.iter().copied().collect();
        while let Some(used) = open.pop() {
            let users = core
                .depends
                .iter()
                .filter(|row| CatalogId::new(row.ref_class, row.ref_oid) == used);
            for row in users.filter(|row| matches!(row.class, class::TYPE | class::RELATION)) {
                let user = CatalogId::new(row.class, row.oid);
                if row.class == class::RELATION {
                    relations.insert(row.oid);
                }
                if seen.insert(user) {
                    open.push(user);
                }
            }
        }
        relations
    }

    fn entry(&self, id: EntryId, placed: Placed, needs: Vec<EntryId>) -> Entry {
        let draft = &self.drafts[placed.node];
        let split = || {
            draft
                .split
                .as_ref()
                .expect("only what can be split is split")
        };
        let is_stub = placed.half == Half::Stub;
        let forms = match placed.half {
            Half::Whole => draft.forms.iter().map(|form| self.form(form)).collect(),
            Half::Stub => vec![one_step(split().stub.clone())],
            Half::Rest => split().rest.iter().map(|form| self.form(form)).collect(),
        };
        let label = if is_stub {
            format!("{} stub", draft.label)
        } else {
            draft.label.to_owned()
        };
        let mut entry = Entry {
            id,
            label,
            name: draft.name.clone(),
            stage: placed.stage,
            forms,
            drop: None,
            owner: None,
            tablespace: draft
                .tablespace
                .clone()
                .filter(|_| !self.selection.omits(Omit::Tablespaces)),
            access_method: draft
                .access_method
                .clone()
                .filter(|_| !self.selection.omits(Omit::AccessMethods)),
            directory: None,
            after: Vec::new(),
            grants: Vec::new(),
            needs,
            data: None,
        };
        if !is_stub {
            entry.drop.clone_from(&draft.drop);
            entry.owner.clone_from(&draft.owner);
            entry.after.clone_from(&draft.after);
            entry.grants.clone_from(&draft.grants);
            entry.data = draft.data.as_ref().map(|data| self.data(data));
        }
        entry
    }

    fn form(&self, draft: &DraftForm) -> Form {
        let mut form = draft.form.clone();
        for (step, locks) in form.steps.iter_mut().zip(&draft.locks) {
            step.locks = self.locks(locks);
        }
        form
    }

    fn locks(&self, locks: &[(Oid, LockMode)]) -> Vec<(EntryId, LockMode)> {
        let by_relation = |(relation, mode): &(Oid, LockMode)| {
            let id = self
                .by_key
                .get(&DraftKey::define(CatalogId::relation(*relation)))?;
            Some((*id, *mode))
        };
        locks.iter().filter_map(by_relation).collect()
    }

    fn data(&self, data: &DraftData) -> DataOf {
        let mut of = data.of.clone();
        if let DataOf::Table { table, .. } = &mut of {
            *table = self
                .by_key
                .get(&DraftKey::define(CatalogId::relation(data.relation)))
                .copied();
        }
        of
    }
}

fn one_step(statements: Vec<crate::sql::Sql>) -> Form {
    Form {
        steps: vec![Step {
            sql: statements,
            ..Step::default()
        }],
        ..Form::default()
    }
}
