//! Fills the [`Catalog`]: bulk facts, then each kind's raw rows, then what the server deparses of the wanted ones.
//! A fixed number of queries, whatever the number of objects.

use std::collections::{BTreeSet, HashMap};

use super::facts::{self, read_columns, read_core, read_planner_statistics};
use super::lock::Locked;
use super::wanted::Wanted;
use crate::error::Result;
use crate::kinds::arena::{Catalog, LoadCx, Subject};
use crate::kinds::core::{Core, DatabaseFacts};
use crate::kinds::row::{CatalogRow, Letter, Oid};
use crate::kinds::{KindVisitor, Object, ObjectKind, visit_kinds};
use crate::pg::session::Session;
use crate::toc::{Part, PartSet};

/// Reads everything that is wanted. The session holds the locks and the snapshot.
///
/// An error with SQLSTATE XX000 ("cache lookup failed") or a vanished text means that somebody changed an unlocked object
/// meanwhile; [`super::fresh`] decides.
pub async fn load(session: &Session, locked: &Locked, database: DatabaseFacts) -> Result<Catalog> {
    let mut core = read_core(session, database).await?;
    let columns_of = relations_to_describe(&locked.wanted, &core);
    read_columns(session, &mut core, &columns_of).await?;
    if locked.wanted.planner_statistics {
        read_planner_statistics(session, &mut core, &locked.wanted).await?;
    }
    if locked.wanted.without_compression {
        for column in core.columns.values_mut().flatten() {
            column.compression = Letter('\0');
        }
    }
    let catalog = Catalog::new(core);
    let mut loader = Loader {
        session,
        wanted: &locked.wanted,
        catalog,
    };
    visit_kinds(&mut loader).await?;
    Ok(loader.catalog)
}

/// Wanted relations with all their ancestors, composite types, configuration tables.
fn relations_to_describe(wanted: &Wanted, core: &Core) -> BTreeSet<Oid> {
    let defined = wanted
        .relations
        .iter()
        .filter(|(_, parts)| parts.has(Part::Define));
    let mut all: BTreeSet<Oid> = defined.map(|(oid, _)| *oid).collect();
    all.extend(&wanted.rows);
    all.extend(&core.config_tables);
    all.extend(
        core.relations
            .values()
            .filter(|row| row.kind == 'c')
            .map(|row| row.oid),
    );
    let mut open: Vec<Oid> = all.iter().copied().collect();
    while let Some(oid) = open.pop() {
        for parent in core.parents.get(&oid).into_iter().flatten() {
            if all.insert(parent.parent) {
                open.push(parent.parent);
            }
        }
    }
    all
}

struct Loader<'a> {
    session: &'a Session,
    wanted: &'a Wanted,
    catalog: Catalog,
}

impl Loader<'_> {
    fn cx(&self) -> LoadCx<'_> {
        LoadCx {
            core: &self.catalog.core,
            relations: &self.wanted.relations,
            server: self.session.version(),
        }
    }
}

impl KindVisitor for Loader<'_> {
    async fn visit<K: ObjectKind>(&mut self, wrap: fn(K) -> Object) -> Result<()> {
        let label = K::FACTS.label;
        let found = facts::rows::<K::Row>(self.session, label).await?;
        let mut chosen: Vec<(Subject, PartSet, K::Row)> = Vec::new();
        for row in found {
            let Some(subject) = K::subject(&row, &self.cx()) else {
                continue;
            };
            let parts = self.wanted.parts(&subject, &self.catalog.core);
            if !parts.is_empty() {
                chosen.push((subject, parts, row));
            }
        }
        let oids: Vec<Oid> = chosen.iter().map(|(subject, ..)| subject.id.oid).collect();
        let mut texts: HashMap<Oid, K::Text> = HashMap::new();
        // A kind without a second pass has an empty query.
        if !oids.is_empty() && !K::Text::query(self.session.version()).is_empty() {
            for text in facts::rows_for::<K::Text>(self.session, label, &oids).await? {
                texts.insert(K::text_oid(&text), text);
            }
        }
        for (subject, parts, row) in chosen {
            let object = K::build(row, texts.remove(&subject.id.oid), &self.cx())?;
            self.catalog.push(wrap(object), parts);
        }
        Ok(())
    }
}
