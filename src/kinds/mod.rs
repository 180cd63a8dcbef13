//! Object kinds: what each can say of itself. One file per kind; the list below is the only place that names them all.
//! Reading rows is the loader's business, which parts are wanted is selection's, order is the graph's.

pub mod acl;
pub mod arena;
mod clauses;
pub mod cluster;
pub mod common;
pub mod core;
pub mod dependents;
pub mod naming;
pub mod planner_statistics;
pub mod row;
pub mod scope;
pub mod settings;
pub mod toc_builder;
mod versions;

use crate::error::{Error, Result};
use crate::sql::{Sql, sql};
use crate::toc::{After, EntryName, Form, Grant, LockMode, Stage, Step, Targets};

use self::arena::{CatalogId, LoadCx, RenderCx, Subject};
use self::row::{CatalogRow, Oid};
use self::toc_builder::{DraftKey, TocBuilder};

/// What is true of every object of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindFacts {
    /// The kind's name in lists and filters: `policy`.
    pub label: &'static str,
    /// The SQL keyword in `DROP`, `COMMENT ON`, `ALTER … OWNER TO`: `POLICY`.
    pub keyword: &'static str,
    /// When it is restored, unless a dependency moves it.
    pub stage: Stage,
    /// Place among the kinds of its stage, low first (`pg_dump_sort.c`, 18).
    pub priority: u16,
    /// The keyword after `ON` in `GRANT`; `None` if the kind has no privileges.
    pub grant: Option<&'static str>,
    /// True if `ALTER … OWNER TO` exists.
    pub owned: bool,
    /// True if an object may move after the data when something it needs stands there.
    pub postponable: bool,
    /// The catalog whose OIDs name the objects: `pg_policy`.
    pub catalog: &'static str,
    /// The catalog's OID, the same on every server.
    pub class: Oid,
}

/// How a cycle through an object is broken: a stub that others can refer to, and the rest.
#[derive(Debug, Clone)]
pub struct Split {
    /// Creates something with the object's identity that needs nothing of the cycle.
    pub stub: Vec<Sql>,
    /// What the stub itself needs.
    pub stub_needs: Vec<CatalogId>,
    /// Makes the object whole, for each range of targets.
    pub rest: Vec<DraftForm>,
    /// Among the objects that can be split, the cheapest is.
    pub cost: u16,
}

/// How an object is named.
#[derive(Debug, Clone)]
pub struct Address {
    /// On which targets.
    pub targets: Targets,
    /// In `COMMENT ON`, `ALTER … OWNER TO`.
    pub object: Sql,
    /// In `GRANT … ON`.
    pub grant: Sql,
}

/// What one object can say of itself. Object safe; the defaults fit most kinds.
pub trait Ddl {
    /// Facts of the kind (functions and procedures differ, so it is the object that answers).
    fn facts(&self) -> &'static KindFacts;

    /// Its identity in the catalog.
    fn id(&self) -> CatalogId;

    /// The owner's OID, for kinds that have owners.
    fn owner(&self) -> Option<Oid> {
        None
    }

    /// The comment that the object has right after it is created, or that it is born with (`public`, extensions).
    fn initial_comment(&self) -> Option<&str> {
        None
    }

    /// How people and filters name it.
    fn name(&self, cx: &RenderCx<'_>) -> EntryName;

    /// How `DROP`, `COMMENT ON`, `ALTER … OWNER TO` name it, without the keyword.
    fn address(&self, cx: &RenderCx<'_>) -> Sql;

    /// How `GRANT … ON` names it, without the keyword.
    fn grant_address(&self, cx: &RenderCx<'_>) -> Sql {
        self.address(cx)
    }

    /// Its addresses with the targets that know it by them; several where a newer server wants another signature.
    fn addresses(&self, cx: &RenderCx<'_>) -> Vec<Address> {
        vec![Address {
            targets: Targets::default(),
            object: self.address(cx),
            grant: self.grant_address(cx),
        }]
    }

    /// The statements that create it whole.
    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql>;

    /// The ways to create it; most kinds have one, from `create` and `locks`.
    fn forms(&self, cx: &RenderCx<'_>) -> Vec<DraftForm> {
        vec![DraftForm::plain(self.create(cx), self.locks())]
    }

    /// How it is dropped; `None` if it goes with another object.
    fn drop(&self, cx: &RenderCx<'_>) -> Option<Sql> {
        Some(sql!["DROP ", self.facts().keyword, " ", self.address(cx)])
    }

    /// Table locks that `create` takes on the server, by relation.
    fn locks(&self) -> Vec<(Oid, LockMode)> {
        Vec::new()
    }

    /// Needs that `pg_depend` does not record.
    fn hidden_needs(&self, _: &RenderCx<'_>) -> Vec<CatalogId> {
        Vec::new()
    }

    /// The same by entry: aspects of other objects that must be there first.
    fn hidden_aspects(&self, _: &RenderCx<'_>) -> Vec<DraftKey> {
        Vec::new()
    }

    /// Parts that come as statements after creation although they are no comments or labels (owners of several objects).
    fn parts_after(&self, _: &RenderCx<'_>) -> Vec<After> {
        Vec::new()
    }

    /// The grants, for kinds whose privileges are not an object's ACL; `None` lets the framework write them.
    fn own_grants(&self, _: &RenderCx<'_>) -> Option<Vec<Grant>> {
        None
    }

    /// Catalog rows that come with this object (an inline CHECK, the index behind a key): their dependencies are its own.
    fn absorbs(&self) -> Vec<CatalogId> {
        Vec::new()
    }

    /// Stub and rest, if a cycle through this object can be broken.
    fn split(&self, _: &RenderCx<'_>) -> Option<Split> {
        None
    }

    /// The tablespace, for kinds that have one; empty means the database's default.
    fn tablespace(&self, _: &RenderCx<'_>) -> Option<String> {
        None
    }

    /// The table access method, for kinds that have one.
    fn access_method(&self) -> Option<String> {
        None
    }

    /// What of the object cannot be saved, where that follows from its present state.
    fn not_saved(&self) -> Option<&'static str> {
        None
    }

    /// Further entries: table data, row security, sequence value, refresh, attach.
    fn more(&self, _: &RenderCx<'_>, _: &mut TocBuilder<'_>) {}
}

/// A [`Form`] whose locks still name relations by OID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftForm {
    /// The form; its steps' own `locks` are empty.
    pub form: Form,
    /// Locks per step.
    pub locks: Vec<Vec<(Oid, LockMode)>>,
}

impl DraftForm {
    /// One step for every server.
    pub fn plain(statements: Vec<Sql>, locks: Vec<(Oid, LockMode)>) -> DraftForm {
        DraftForm::default().step(
            Step {
                sql: statements,
                ..Step::default()
            },
            locks,
        )
    }

    /// Adds a step.
    #[must_use]
    pub fn step(mut self, step: Step, locks: Vec<(Oid, LockMode)>) -> DraftForm {
        self.form.steps.push(step);
        self.locks.push(locks);
        self
    }
}

/// The deparsed text of an object; absent means that it was dropped while the catalog was read.
///
/// The loader meets the same fact when it compares the catalog on a fresh connection, and reads again.
pub fn deparsed<T>(text: Option<T>, label: &str, name: &str) -> Result<T> {
    text.ok_or_else(|| {
        Error::failed(
            format!("{label} {name:?}"),
            "vanished while the catalog was read",
            "run the dump again when no schema change is under way",
        )
    })
}

/// How objects of a kind are found. Static, never `dyn`.
pub trait ObjectKind: Ddl + Sized + Send {
    /// Facts of the kind.
    const FACTS: KindFacts;
    /// Pass one: raw columns.
    type Row: CatalogRow;
    /// Pass two: what the server deparses; [`row::NoText`] asks nothing.
    type Text: CatalogRow;

    /// Whose the row is, for selection. `None` leaves the row out (it belongs to another object).
    fn subject(row: &Self::Row, cx: &LoadCx<'_>) -> Option<Subject>;

    /// The object's OID in pass two.
    fn text_oid(text: &Self::Text) -> Oid;

    /// The object from both passes.
    fn build(row: Self::Row, text: Option<Self::Text>, cx: &LoadCx<'_>) -> Result<Self>;
}

/// What the loader does once per kind *type*.
pub trait KindVisitor {
    /// Called in load order.
    fn visit<K: ObjectKind>(
        &mut self,
        wrap: fn(K) -> Object,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// Declares the kinds' modules, [`Object`], [`KINDS`] and [`visit_kinds`]: adding a kind is one word here and one file.
macro_rules! object_kinds {
    ($( $module:ident :: $kind:ident ),* $(,)?) => {
        $( pub mod $module; )*

        /// An object of any kind.
        #[derive(Debug)]
        #[allow(missing_docs)]
        pub enum Object { $( $kind(Box<$module::$kind>) ),* }

        impl Object {
            /// The object as what it can say of itself: the only `match` over kinds.
            pub fn ddl(&self) -> &dyn Ddl {
                match self { $( Object::$kind(object) => object.as_ref() ),* }
            }
        }

        /// Every kind's facts, in load order.
        pub static KINDS: &[&KindFacts] = &[ $( &<$module::$kind as ObjectKind>::FACTS ),* ];

        /// Calls the visitor once per kind, in load order.
        pub async fn visit_kinds<V: KindVisitor>(visitor: &mut V) -> Result<()> {
            $( visitor.visit::<$module::$kind>(|object| Object::$kind(Box::new(object))).await?; )*
            Ok(())
        }
    };
}

object_kinds! {
    schema::Schema,
    extension::Extension,
    enum_type::EnumType,
    composite_type::CompositeType,
    range_type::RangeType,
    domain::Domain,
    domain_constraint::DomainConstraint,
    base_type::BaseType,
    function::Function,
    aggregate::Aggregate,
    cast::Cast,
    operator::Operator,
    operator_family::OperatorFamily,
    operator_class::OperatorClass,
    language::Language,
    collation::Collation,
    conversion::Conversion,
    transform::Transform,
    access_method::AccessMethod,
    table::Table,
    foreign_table::ForeignTable,
    sequence::Sequence,
    column_default::ColumnDefault,
    constraint::Constraint,
    index::Index,
    foreign_key::ForeignKey,
    statistics::Statistics,
    policy::Policy,
    ts_parser::TsParser,
    ts_template::TsTemplate,
    ts_dict::TsDict,
    ts_config::TsConfig,
    foreign_data_wrapper::ForeignDataWrapper,
    foreign_server::ForeignServer,
    user_mapping::UserMapping,
    view::View,
    matview::Matview,
    large_object::LargeObject,
    rule::Rule,
    trigger::Trigger,
    key_trigger::KeyTrigger,
    publication::Publication,
    publication_rel::PublicationRel,
    publication_namespace::PublicationNamespace,
    subscription::Subscription,
    default_acl::DefaultAcl,
    event_trigger::EventTrigger,
}
