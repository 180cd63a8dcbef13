//! Which objects a dump holds: a selection against a listing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::needs::Needed;
use crate::catalog::listing::{ListedRow, Listing, NameIndex};
use crate::catalog::wanted::Wanted;
use crate::error::{Error, Result};
use crate::kinds::arena::class;
use crate::kinds::row::Oid;
use crate::selection::filters::{Filter, Filters};
use crate::selection::{Omit, Selection};
use crate::sql::PatternScope;
use crate::toc::{JOURNAL_SCHEMA, Part, PartSet, printable};

/// Applies a selection to a listing; `needed` is wanted too, unless it is left out by name.
///
/// Errors: [`Error::Usage`] for a pattern that is none, that names another database, or an include pattern that matches nothing.
pub(super) fn choose(selection: &Selection, listing: &Listing, needed: &Needed) -> Result<Wanted> {
    let matcher = Matcher::new(selection, listing)?;
    let mut wanted = Wanted {
        everything: selection.includes_everything(),
        mask: selection.parts(),
        planner_statistics: selection.statistics,
        without_compression: selection.omits(Omit::ToastCompression),
        ..Wanted::default()
    };
    wanted.large_objects =
        selection.wants_rows() && selection.large_objects.unwrap_or(wanted.everything);
    matcher.schemas(&mut wanted);
    matcher.extensions(&mut wanted);
    for id in needed.objects() {
        match id.class {
            class::RELATION => {}
            class::NAMESPACE => _ = wanted.schemas.insert(id.oid),
            class::EXTENSION => _ = wanted.extensions.insert(id.oid),
            _ => _ = wanted.needed.insert(id),
        }
    }
    matcher.relations(&mut wanted, needed);
    matcher.rows(&mut wanted);
    matcher
        .filters
        .check_matched("", &|noun| matcher.names_of(noun))?;
    wanted.conditions = matcher.conditions(&wanted)?;
    wanted.warnings.extend(matcher.filters.idle_exclusions());
    Ok(wanted)
}

/// Members give privileges only; a sequence goes with the table that owns it, an identity's in every respect.
fn parts_of(relation: &ListedRow, chosen: &BTreeSet<Oid>, wanted: &Wanted) -> PartSet {
    if let Some(extension) = relation.extension {
        return if wanted.extensions.contains(&extension) {
            PartSet::NONE.with(Part::Acl)
        } else {
            PartSet::NONE
        };
    }
    let owner_chosen = relation
        .owner_table
        .is_some_and(|table| chosen.contains(&table));
    let yes = if relation.identity {
        owner_chosen
    } else {
        owner_chosen || chosen.contains(&relation.oid)
    };
    if yes { PartSet::ALL } else { PartSet::NONE }
}

struct Matcher<'a> {
    selection: &'a Selection,
    listing: &'a Listing,
    names: NameIndex<'a>,
    filters: Filters,
}

impl<'a> Matcher<'a> {
    fn new(selection: &'a Selection, listing: &'a Listing) -> Result<Matcher<'a>> {
        let filters = Filters::new(selection)?;
        filters.check_database(&listing.database)?;
        Ok(Matcher {
            selection,
            listing,
            names: listing.name_index(),
            filters,
        })
    }

    /// What there is of a noun, for hints: as printed, and by which name it is compared.
    fn names_of(&self, noun: &str) -> Vec<(String, String)> {
        let plain = |name: &String| (printable(name), name.clone());
        match noun {
            "schema" => {
                let all = self.listing.schemas.values();
                all.map(|schema| plain(&schema.name)).collect()
            }
            "extension" => {
                let all = self.listing.extensions.values();
                all.map(|extension| plain(&extension.name)).collect()
            }
            "foreign server" => self.listing.servers.iter().map(plain).collect(),
            _ => {
                let all = self.listing.relations.values();
                all.map(|row| (shown(row), row.name.clone())).collect()
            }
        }
    }

    /// The relations that an option's patterns match.
    fn matched(&self, filter: &Filter) -> BTreeSet<Oid> {
        if filter.is_empty() {
            return BTreeSet::new();
        }
        let all = self.listing.relations.values();
        all.filter(|row| {
            let visible = || self.listing.is_visible(row, &self.names);
            filter.matches_relation(&row.schema, &row.name, &visible)
        })
        .map(|row| row.oid)
        .collect()
    }

    /// The same with all that inherits from them.
    fn matched_with_children(&self, filter: &Filter) -> BTreeSet<Oid> {
        self.listing.with_descendants(&self.matched(filter))
    }

    fn names_tables(&self) -> bool {
        !(self.filters.tables.is_empty() && self.filters.tables_and_children.is_empty())
    }

    fn schemas(&self, wanted: &mut Wanted) {
        for schema in self.listing.schemas.values() {
            let is_journal = schema.name == JOURNAL_SCHEMA;
            if is_journal {
                wanted.warnings.push(format!(
                    "schema {JOURNAL_SCHEMA} is left out: it is the journal of a restore that has not ended, so that the database may be incomplete"
                ));
                continue;
            }
            let system = schema.name.starts_with("pg_") || schema.name == "information_schema";
            let filters = &self.filters;
            let named = filters.schemas.matches_name(&schema.name);
            let included = if filters.schemas.is_empty() {
                !system
            } else {
                named
            };
            let excluded = filters.exclude_schemas.matches_name(&schema.name);
            if included && !excluded && !self.names_tables() {
                wanted.contents_of.insert(schema.oid);
                wanted.schemas.insert(schema.oid);
            }
        }
    }

    fn extensions(&self, wanted: &mut Wanted) {
        for extension in self.listing.extensions.values() {
            let named = self.filters.extensions.matches_name(&extension.name);
            let included = if self.filters.extensions.is_empty() {
                wanted.everything
            } else {
                named
            };
            let excluded = self
                .filters
                .exclude_extensions
                .matches_name(&extension.name);
            if included && !excluded {
                wanted.extensions.insert(extension.oid);
            }
        }
    }

    fn relations(&self, wanted: &mut Wanted, needed: &Needed) {
        let filters = &self.filters;
        wanted.excluded = self.matched(&filters.exclude_tables);
        wanted
            .excluded
            .extend(self.matched_with_children(&filters.exclude_tables_and_children));
        let mut chosen = self.matched(&filters.tables);
        chosen.extend(self.matched_with_children(&filters.tables_and_children));
        if !self.names_tables() {
            let rows = self.listing.relations.values();
            let contained = rows.filter(|row| wanted.contents_of.contains(&row.schema_oid));
            chosen.extend(contained.map(|row| row.oid));
        }
        let brought = needed.objects().filter(|id| id.class == class::RELATION);
        chosen.extend(brought.map(|id| id.oid));
        chosen.retain(|oid| !wanted.excluded.contains(oid));
        for relation in self.listing.relations.values() {
            let parts = parts_of(relation, &chosen, wanted);
            if !parts.is_empty() {
                wanted.relations.insert(relation.oid, parts);
            }
        }
    }

    /// Whose contents are wanted: rows of tables, values of sequences, what materialized views hold.
    fn rows(&self, wanted: &mut Wanted) {
        let filters = &self.filters;
        let servers = self.listing.servers.iter();
        // Each server is asked: one without tables is no mistake.
        let servers: Vec<&String> = servers
            .filter(|server| filters.foreign_data.matches_name(server))
            .collect();
        let mut without = self.matched(&filters.exclude_data);
        without.extend(self.matched_with_children(&filters.exclude_data_and_children));
        for relation in self.listing.relations.values() {
            let has_rows = match relation.kind.0 {
                'r' | 'm' | 'S' => true,
                'f' => relation
                    .server
                    .as_ref()
                    .is_some_and(|name| servers.contains(&name)),
                _ => false,
            };
            let parts = wanted
                .relations
                .get(&relation.oid)
                .copied()
                .unwrap_or_default();
            // Filling a materialized view belongs to the section after the rows.
            let by_section = match relation.kind.0 {
                'm' => !self.selection.schema_only,
                _ => self.selection.wants_rows(),
            };
            let own = parts.has(Part::Data) && by_section;
            // Configuration is part of an extension, as its definition is.
            let of_wanted = relation
                .extension
                .is_some_and(|oid| wanted.extensions.contains(&oid));
            let left_out = filters.exclude_schemas.matches_name(&relation.schema)
                || wanted.excluded.contains(&relation.oid);
            let config = relation.config && of_wanted && !left_out;
            let unlogged = relation.unlogged && self.selection.omits(Omit::UnloggedRows);
            let unwanted = unlogged || without.contains(&relation.oid);
            if has_rows && (own || config) && !unwanted {
                wanted.rows.insert(relation.oid);
            }
        }
    }

    /// The conditions by table.
    ///
    /// Errors: [`Error::Usage`] unless each pattern matches exactly one table, whose rows are wanted, and each table has one.
    fn conditions(&self, wanted: &Wanted) -> Result<BTreeMap<Oid, String>> {
        let mut conditions = BTreeMap::new();
        for one in &self.selection.conditions {
            let table = self.only_table(&one.table)?;
            let wrong = |problem: &str| {
                Err(Error::Usage(format!(
                    "--where {}: table {} {problem}",
                    one.table,
                    shown(table)
                )))
            };
            if table.kind == 'p' {
                return wrong("is partitioned, so its rows are in its partitions; name those");
            }
            if !wanted.rows.contains(&table.oid) || table.extension.is_some() {
                return wrong("gives no rows to this dump");
            }
            if conditions
                .insert(table.oid, one.condition.clone())
                .is_some()
            {
                return wrong("has two conditions; join them with AND");
            }
        }
        Ok(conditions)
    }

    fn only_table(&self, text: &str) -> Result<&'a ListedRow> {
        let filter = Filter::new("table", &[text.to_owned()], PatternScope::Relation)?;
        let matched = self.matched(&filter);
        let tables = matched.iter().map(|oid| &self.listing.relations[oid]);
        let tables: Vec<&ListedRow> = tables
            .filter(|row| matches!(row.kind.0, 'r' | 'p' | 'f'))
            .collect();
        match tables.as_slice() {
            [only] => Ok(only),
            [] => {
                filter.check_matched("", &|noun| self.names_of(noun))?;
                Err(Error::Usage(format!("--where {text}: that is no table")))
            }
            many => {
                let names: Vec<String> = many.iter().take(3).map(|row| shown(row)).collect();
                Err(Error::Usage(format!(
                    "--where {text}: {} tables match, {}{}; a condition is for one",
                    many.len(),
                    names.join(", "),
                    if many.len() > names.len() {
                        ", …"
                    } else {
                        ""
                    }
                )))
            }
        }
    }
}

fn shown(row: &ListedRow) -> String {
    format!("{}.{}", printable(&row.schema), printable(&row.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::listing::{ListedExtension, ListedSchema};
    use crate::kinds::row::Letter;

    fn relation(oid: Oid, schema: (Oid, &str), name: &str, kind: char) -> ListedRow {
        ListedRow {
            oid,
            schema_oid: schema.0,
            schema: schema.1.into(),
            name: name.into(),
            kind: Letter(kind),
            unlogged: false,
            extension: None,
            config: false,
            owner_table: None,
            identity: false,
            parents: Vec::new(),
            server: None,
        }
    }

    fn listing() -> Listing {
        let (public, sales) = ((1, "public"), (2, "sales"));
        let mut serial = relation(14, sales, "orders_id_seq", 'S');
        serial.owner_table = Some(12);
        let mut member = relation(15, public, "spatial_ref_sys", 'r');
        member.extension = Some(90);
        let relations = [
            relation(10, public, "users", 'r'),
            relation(11, public, "orders", 'r'),
            relation(12, sales, "orders", 'r'),
            relation(13, sales, "v", 'v'),
            serial,
            member,
        ];
        let schema = |(oid, name): (Oid, &str)| ListedSchema {
            oid,
            name: name.into(),
            extension: None,
        };
        Listing {
            database: "shop".into(),
            relations: relations.into_iter().map(|row| (row.oid, row)).collect(),
            schemas: [public, sales]
                .into_iter()
                .map(|pair| (pair.0, schema(pair)))
                .collect(),
            extensions: [(
                90,
                ListedExtension {
                    oid: 90,
                    name: "postgis".into(),
                },
            )]
            .into(),
            servers: vec!["far".into()],
            search_path: vec!["public".into()],
        }
    }

    fn choose(selection: &Selection, listing: &Listing) -> Result<Wanted> {
        super::choose(selection, listing, &Needed::default())
    }

    fn chosen(selection: &Selection) -> Vec<Oid> {
        let wanted = choose(selection, &listing()).unwrap();
        let defined = wanted
            .relations
            .iter()
            .filter(|(_, parts)| parts.has(Part::Define));
        defined.map(|(oid, _)| *oid).collect()
    }

    fn patterns(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn everything_leaves_extension_members_out() {
        assert_eq!(chosen(&Selection::default()), [10, 11, 12, 13, 14]);
        assert!(Selection::default().is_full());
    }

    #[test]
    fn a_table_brings_its_sequence_and_patterns_follow_the_search_path() {
        let selection = |tables: &[&str]| Selection {
            tables: patterns(tables),
            ..Selection::default()
        };
        assert_eq!(chosen(&selection(&["orders"])), [11]);
        assert_eq!(chosen(&selection(&["sales.orders"])), [12, 14]);
        assert_eq!(chosen(&selection(&["*.orders"])), [11, 12, 14]);
    }

    #[test]
    fn exclusions_subtract() {
        let selection = Selection {
            exclude_schemas: patterns(&["sales"]),
            exclude_tables: patterns(&["users"]),
            ..Selection::default()
        };
        assert_eq!(chosen(&selection), [11]);
        let rows = Selection {
            exclude_table_data: patterns(&["users"]),
            ..Selection::default()
        };
        assert_eq!(
            choose(&rows, &listing()).unwrap().rows,
            BTreeSet::from([11, 12, 14])
        );
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_an_error() {
        for tables in ["nothing", "other_db.public.users", "sales.users"] {
            let selection = Selection {
                tables: patterns(&[tables]),
                ..Selection::default()
            };
            assert!(
                matches!(choose(&selection, &listing()), Err(Error::Usage(_))),
                "{tables}"
            );
        }
        let selection = Selection {
            tables: patterns(&["shop.public.users"]),
            ..Selection::default()
        };
        assert_eq!(chosen(&selection), [10]);
    }
}
