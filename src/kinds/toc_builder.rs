//! Drafts of entries: what kinds contribute to the TOC before numbers and order are known.

use std::collections::HashMap;

use super::arena::{CatalogId, RenderCx};
use super::row::Oid;
use super::{DraftForm, Split};
use crate::sql::Sql;
use crate::toc::{After, DataOf, EntryName, Grant, Owner, Stage};

/// What an entry of the dump is about: an object, or one aspect of it that is an entry of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftKey {
    /// The object.
    pub id: CatalogId,
    /// The aspect.
    pub aspect: Aspect,
}

/// The aspects of an object that are entries of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// The object itself.
    Define,
    /// A partition's ATTACH, or an index's.
    Attach,
    /// A sequence's OWNED BY.
    OwnedBy,
    /// Rows.
    Data,
    /// A sequence's value.
    SequenceValue,
    /// ENABLE ROW LEVEL SECURITY.
    RowSecurity,
    /// REFRESH.
    Refresh,
    /// Trigger or rule states, settings after the rows.
    State,
    /// What is said of the things that the server made along with it.
    Dependents,
    /// What ANALYZE found.
    PlannerStatistics,
}

impl DraftKey {
    /// The object itself.
    pub fn define(id: CatalogId) -> DraftKey {
        DraftKey {
            id,
            aspect: Aspect::Define,
        }
    }

    /// One of its aspects.
    pub fn aspect(id: CatalogId, aspect: Aspect) -> DraftKey {
        DraftKey { id, aspect }
    }
}

/// An entry before it has a number.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it is about.
    pub key: DraftKey,
    /// The kind's label, or the aspect's: `table data`.
    pub label: &'static str,
    /// Its name.
    pub name: EntryName,
    /// When it is restored unless a dependency moves it.
    pub stage: Stage,
    /// Place among the entries of its stage.
    pub priority: u16,
    /// May move after the data.
    pub postponable: bool,
    /// How it is created.
    pub forms: Vec<DraftForm>,
    /// How a cycle through it is broken.
    pub split: Option<Split>,
    /// How it is dropped.
    pub drop: Option<Sql>,
    /// Its owner.
    pub owner: Option<Owner>,
    /// Its tablespace.
    pub tablespace: Option<String>,
    /// Its table access method.
    pub access_method: Option<String>,
    /// Comments and labels.
    pub after: Vec<After>,
    /// Grants.
    pub grants: Vec<Grant>,
    /// Whose rows, for [`Aspect::Data`].
    pub data: Option<DraftData>,
    /// Needs by key, besides what `pg_depend` says of `key.id` (which counts for [`Aspect::Define`] only).
    pub needs: Vec<DraftKey>,
}

/// The rows of an entry, before they are read.
#[derive(Debug, Clone)]
pub struct DraftData {
    /// The relation to read; 0 for large objects.
    pub relation: Oid,
    /// The columns to read, in number order: all but generated ones. Empty for a table without columns.
    pub columns: Vec<String>,
    /// A condition that the server gave (an extension's configuration table): `WHERE …`, or empty.
    pub condition: Sql,
    /// What the entry says of its rows.
    pub of: DataOf,
}

impl Draft {
    /// An entry with nothing but its identity, to be filled in.
    pub fn new(
        key: DraftKey,
        label: &'static str,
        name: EntryName,
        stage: Stage,
        priority: u16,
    ) -> Draft {
        Draft {
            key,
            label,
            name,
            stage,
            priority,
            postponable: false,
            forms: Vec::new(),
            split: None,
            drop: None,
            owner: None,
            tablespace: None,
            access_method: None,
            after: Vec::new(),
            grants: Vec::new(),
            data: None,
            needs: vec![DraftKey::define(key.id)],
        }
    }

    /// With one form.
    #[must_use]
    pub fn form(mut self, form: DraftForm) -> Draft {
        self.forms.push(form);
        self
    }

    /// With further needs.
    #[must_use]
    pub fn needs(mut self, needs: impl IntoIterator<Item = DraftKey>) -> Draft {
        self.needs.extend(needs);
        self
    }
}

/// Collects drafts, in the order in which objects were loaded.
#[derive(Debug)]
pub struct TocBuilder<'a> {
    /// Which catalog is being rendered.
    pub cx: RenderCx<'a>,
    drafts: Vec<Draft>,
    by_key: HashMap<DraftKey, usize>,
}

impl<'a> TocBuilder<'a> {
    /// An empty builder.
    pub fn new(cx: RenderCx<'a>) -> Self {
        TocBuilder {
            cx,
            drafts: Vec::new(),
            by_key: HashMap::new(),
        }
    }

    /// Adds an entry. Each key once.
    pub fn add(&mut self, draft: Draft) {
        let before = self.by_key.insert(draft.key, self.drafts.len());
        assert!(before.is_none(), "two entries for {:?}", draft.key);
        self.drafts.push(draft);
    }

    /// The drafts and their places by key.
    pub fn finish(self) -> (Vec<Draft>, HashMap<DraftKey, usize>) {
        (self.drafts, self.by_key)
    }
}
