//! Which objects a dump holds: the user's patterns against a listing. Pure.

use std::collections::BTreeSet;

use crate::catalog::listing::{ListedRow, Listing, NameIndex};
use crate::catalog::wanted::Wanted;
use crate::error::{Error, Result};
use crate::kinds::row::Oid;
use crate::sql::{Pattern, PatternScope};
use crate::toc::{Part, PartSet};

/// What the user chose. The default is everything.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of the command line with pg_dump's name
pub struct Selection {
    /// `-n`: only these schemas.
    pub schemas: Vec<String>,
    /// `-N`: not these schemas.
    pub exclude_schemas: Vec<String>,
    /// `-t`: only these relations.
    pub tables: Vec<String>,
    /// `-T`: not these relations.
    pub exclude_tables: Vec<String>,
    /// Definition yes, rows no.
    pub exclude_table_data: Vec<String>,
    /// `-s`: no rows.
    pub schema_only: bool,
    /// `-a`: rows only.
    pub data_only: bool,
    /// `-O`: no owners.
    pub no_owner: bool,
    /// `-x`: no privileges.
    pub no_privileges: bool,
    /// No comments.
    pub no_comments: bool,
    /// No tablespaces.
    pub no_tablespaces: bool,
}

impl Selection {
    /// True if nothing narrows the dump, so that the archive can replace its database.
    pub fn is_full(&self) -> bool {
        let no_patterns = [
            &self.schemas,
            &self.exclude_schemas,
            &self.tables,
            &self.exclude_tables,
            &self.exclude_table_data,
        ]
        .iter()
        .all(|patterns| patterns.is_empty());
        let all_parts =
            !(self.no_owner || self.no_privileges || self.no_comments || self.no_tablespaces);
        no_patterns && all_parts && !self.schema_only && !self.data_only
    }

    /// The options as the user would type them, for the manifest.
    pub fn as_options(&self) -> Vec<String> {
        let lists = [
            ("-n", &self.schemas),
            ("-N", &self.exclude_schemas),
            ("-t", &self.tables),
            ("-T", &self.exclude_tables),
            ("--exclude-table-data", &self.exclude_table_data),
        ];
        let patterns = lists.iter().flat_map(|(flag, patterns)| {
            patterns
                .iter()
                .map(move |pattern| format!("{flag} {pattern}"))
        });
        let switches = [
            ("-s", self.schema_only),
            ("-a", self.data_only),
            ("-O", self.no_owner),
            ("-x", self.no_privileges),
            ("--no-comments", self.no_comments),
            ("--no-tablespaces", self.no_tablespaces),
        ];
        patterns
            .chain(
                switches
                    .iter()
                    .filter(|(_, on)| *on)
                    .map(|(flag, _)| (*flag).to_owned()),
            )
            .collect()
    }

    fn mask(&self) -> PartSet {
        let leave_out = [
            (Part::Owner, self.no_owner),
            (Part::Acl, self.no_privileges),
            (Part::Comment, self.no_comments),
        ];
        leave_out
            .iter()
            .filter(|(_, out)| *out)
            .fold(PartSet::ALL, |set, (part, _)| set.without(*part))
    }

    /// Applies the selection to a listing.
    ///
    /// Errors: [`Error::Usage`] for a pattern that is none, that names another database, or that matches nothing.
    pub fn choose(&self, listing: &Listing) -> Result<Wanted> {
        let matcher = Matcher::new(self, listing)?;
        let mut wanted = Wanted {
            everything: self.schemas.is_empty() && self.tables.is_empty(),
            mask: self.mask(),
            ..Wanted::default()
        };
        wanted.extension_rows = wanted.everything;
        wanted.values = !self.schema_only;
        wanted.large_objects = wanted.everything && !self.schema_only;
        if self.tables.is_empty() {
            for schema in listing
                .schemas
                .values()
                .filter(|schema| matcher.schema_wanted(&schema.name))
            {
                wanted.contents_of.insert(schema.oid);
                wanted.schemas.insert(schema.oid);
            }
        }
        let chosen: BTreeSet<Oid> = listing
            .relations
            .values()
            .filter(|relation| matcher.relation_wanted(relation, &wanted))
            .map(|relation| relation.oid)
            .collect();
        for relation in listing.relations.values() {
            let parts = parts_of(relation, &chosen, &wanted);
            if !parts.is_empty() {
                wanted.relations.insert(relation.oid, parts);
            }
            let own = parts.has(Part::Data) && !self.schema_only;
            // Configuration is part of an extension, as its definition is.
            let config = relation.config && wanted.extension_rows;
            let rows = relation.kind == 'r' && (own || config);
            if rows && !matcher.rows_excluded(relation) {
                wanted.rows.insert(relation.oid);
            }
        }
        Ok(wanted)
    }
}

/// Members give privileges only; a sequence goes with the table that owns it, an identity's in every respect.
fn parts_of(relation: &ListedRow, chosen: &BTreeSet<Oid>, wanted: &Wanted) -> PartSet {
    if relation.extension.is_some() {
        let in_sight = wanted.everything || wanted.contents_of.contains(&relation.schema_oid);
        return if in_sight {
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
    listing: &'a Listing,
    names: NameIndex<'a>,
    schemas: Vec<Pattern>,
    exclude_schemas: Vec<Pattern>,
    tables: Vec<Pattern>,
    exclude_tables: Vec<Pattern>,
    exclude_table_data: Vec<Pattern>,
}

impl<'a> Matcher<'a> {
    fn new(selection: &Selection, listing: &'a Listing) -> Result<Matcher<'a>> {
        let parse = |patterns: &[String], scope| -> Result<Vec<Pattern>> {
            let parsed: Result<Vec<Pattern>> = patterns
                .iter()
                .map(|text| Pattern::parse(text, scope))
                .collect();
            let parsed = parsed?;
            match parsed
                .iter()
                .find(|p| p.database().is_some_and(|name| name != listing.database))
            {
                None => Ok(parsed),
                Some(other) => Err(Error::Usage(format!(
                    "pattern {:?} names another database than {:?}, which is connected",
                    other.text(),
                    listing.database
                ))),
            }
        };
        let matcher = Matcher {
            listing,
            names: listing.name_index(),
            schemas: parse(&selection.schemas, PatternScope::Schema)?,
            exclude_schemas: parse(&selection.exclude_schemas, PatternScope::Schema)?,
            tables: parse(&selection.tables, PatternScope::Relation)?,
            exclude_tables: parse(&selection.exclude_tables, PatternScope::Relation)?,
            exclude_table_data: parse(&selection.exclude_table_data, PatternScope::Relation)?,
        };
        matcher.must_match()?;
        Ok(matcher)
    }

    /// A pattern that matches nothing is a mistake, not an empty dump.
    fn must_match(&self) -> Result<()> {
        let schemas = self.schemas.iter().chain(&self.exclude_schemas);
        for pattern in schemas {
            if !self
                .listing
                .schemas
                .values()
                .any(|schema| pattern.matches_name(&schema.name))
            {
                return Err(Error::Usage(format!(
                    "no schema matches {:?}",
                    pattern.text()
                )));
            }
        }
        let tables = self
            .tables
            .iter()
            .chain(&self.exclude_tables)
            .chain(&self.exclude_table_data);
        for pattern in tables {
            if !self
                .listing
                .relations
                .values()
                .any(|relation| self.matches(pattern, relation))
            {
                let hint = if pattern.has_schema() {
                    ""
                } else {
                    " in the search path (write schema.table to look elsewhere)"
                };
                return Err(Error::Usage(format!(
                    "no table matches {:?}{hint}",
                    pattern.text()
                )));
            }
        }
        Ok(())
    }

    fn matches(&self, pattern: &Pattern, relation: &ListedRow) -> bool {
        let visible = !pattern.has_schema() && self.listing.is_visible(relation, &self.names);
        pattern.matches_relation(&relation.schema, &relation.name, visible)
    }

    fn any(&self, patterns: &[Pattern], relation: &ListedRow) -> bool {
        patterns
            .iter()
            .any(|pattern| self.matches(pattern, relation))
    }

    fn schema_wanted(&self, name: &str) -> bool {
        let system = name.starts_with("pg_") || name == "information_schema";
        let included = if self.schemas.is_empty() {
            !system
        } else {
            self.schemas.iter().any(|p| p.matches_name(name))
        };
        included
            && !self
                .exclude_schemas
                .iter()
                .any(|pattern| pattern.matches_name(name))
    }

    fn relation_wanted(&self, relation: &ListedRow, wanted: &Wanted) -> bool {
        let included = if self.tables.is_empty() {
            wanted.contents_of.contains(&relation.schema_oid)
        } else {
            self.any(&self.tables, relation)
        };
        included && !self.any(&self.exclude_tables, relation)
    }

    fn rows_excluded(&self, relation: &ListedRow) -> bool {
        self.any(&self.exclude_table_data, relation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::listing::ListedSchema;
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
            search_path: vec!["public".into()],
        }
    }

    fn chosen(selection: &Selection) -> Vec<Oid> {
        let wanted = selection.choose(&listing()).unwrap();
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
            rows.choose(&listing()).unwrap().rows,
            BTreeSet::from([11, 12])
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
                matches!(selection.choose(&listing()), Err(Error::Usage(_))),
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
