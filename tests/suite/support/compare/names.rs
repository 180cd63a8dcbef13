//! Turns OIDs into names that mean the same in every copy of a database.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::session::{Problem, Session, value};

/// The OIDs met so far, by the catalog they point into, and their names once fetched.
#[derive(Default)]
pub(super) struct Names {
    wanted: BTreeMap<String, BTreeSet<u32>>,
    known: HashMap<(String, u32), String>,
}

impl Names {
    /// Notes the OIDs in `oids`, numbers between blanks, for [`Names::fetch`].
    pub(super) fn want(&mut self, catalog: &str, oids: Option<&str>) {
        let numbers = oids.into_iter().flat_map(str::split_ascii_whitespace);
        for number in numbers.filter_map(|number| number.parse::<u32>().ok()) {
            if number != 0 {
                self.wanted
                    .entry(catalog.to_owned())
                    .or_default()
                    .insert(number);
            }
        }
    }

    /// Fetches the names of all OIDs noted.
    pub(super) async fn fetch(&mut self, session: &Session) -> Result<(), Problem> {
        for (catalog, oids) in std::mem::take(&mut self.wanted) {
            let list = oids
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",");
            let sql = format!(
                "SELECT o.oid::text, {} FROM {} o WHERE o.oid = ANY ('{{{list}}}')",
                identity(&catalog),
                source(&catalog),
            );
            for row in session.rows(&sql).await? {
                if let (Some(oid), Some(name)) = (value(&row, 0), value(&row, 1)) {
                    let oid = oid
                        .parse()
                        .map_err(|_| format!("OID {oid:?} of {catalog}"))?;
                    self.known.insert((catalog.clone(), oid), name);
                }
            }
        }
        Ok(())
    }

    /// Names the OIDs in `oids`; 0 is `-`, and one that leads nowhere says so.
    pub(super) fn resolve(&self, catalog: &str, oids: Option<&str>) -> Option<String> {
        let one = |number: &str| match number.parse::<u32>() {
            Ok(0) => "-".to_owned(),
            Ok(oid) if catalog == "pg_largeobject" => oid.to_string(),
            Ok(oid) => match self.known.get(&(catalog.to_owned(), oid)) {
                Some(name) => name.clone(),
                None => format!("missing row of {catalog}"),
            },
            Err(_) => number.to_owned(),
        };
        oids.map(|oids| {
            oids.split_ascii_whitespace()
                .map(one)
                .collect::<Vec<_>>()
                .join(", ")
        })
    }
}

/// Where the OIDs of `catalog` are found by whoever may connect.
fn source(catalog: &str) -> String {
    match catalog {
        "pg_authid" => "pg_catalog.pg_roles".to_owned(),
        "pg_largeobject" => "pg_catalog.pg_largeobject_metadata".to_owned(),
        other => format!("pg_catalog.{other}"),
    }
}

/// SQL of the name of row `o`.
fn identity(catalog: &str) -> String {
    let general = format!(
        "(pg_catalog.pg_identify_object('pg_catalog.{catalog}'::pg_catalog.regclass, o.oid, 0)).identity"
    );
    match catalog {
        "pg_authid" => "o.rolname".to_owned(),
        "pg_tablespace" => "o.spcname".to_owned(),
        "pg_largeobject" => "o.oid::text".to_owned(),
        "pg_namespace" => "pg_catalog.quote_ident(o.nspname)".to_owned(),
        // Triggers behind foreign keys and deferrable keys have an OID in their name.
        "pg_trigger" => format!(
            "CASE WHEN o.tgisinternal AND o.tgconstraint <> 0 THEN pg_catalog.format('%s of %s on %s', o.tgfoid::pg_catalog.regproc, \
             (pg_catalog.pg_identify_object('pg_catalog.pg_constraint'::pg_catalog.regclass, o.tgconstraint, 0)).identity, \
             o.tgrelid::pg_catalog.regclass) ELSE {general} END"
        ),
        // Worded differently before and after 16.
        "pg_transform" => {
            "pg_catalog.format('for %s on language %s', o.trftype::pg_catalog.regtype, \
             (SELECT l.lanname FROM pg_catalog.pg_language l WHERE l.oid = o.trflang))"
                .to_owned()
        }
        _ => general,
    }
}
