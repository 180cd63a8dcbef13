//! Looks for what this version of pgark does not know: a newer server, catalogs and columns beyond 12 to 18, and letters in rows
//! (`relkind`, `prokind`, …) that stand for something new. It is named, never a reason to refuse a dump.

use super::facts;
use crate::error::Result;
use crate::kinds::row::{CatalogRow, catalog_row};
use crate::kinds::scope::{self, Novelty};
use crate::pg::session::Session;
use crate::pg::version::{ServerVersion, UNKNOWN, V18};

catalog_row! {
    /// The tables of `pg_catalog` but those of extensions, with their columns.
    struct CatalogColumns from
        "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        where "n.nspname = 'pg_catalog' AND c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
               WHERE d.classid = 1259 AND d.objid = c.oid AND d.deptype = 'e')" order "c.relname" {
        name: String = col("c.relname"),
        columns: Vec<String> = col("ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a \
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)"),
    }
}

/// A column of letters, and those that are known.
struct Letters {
    catalog: &'static str,
    column: &'static str,
    known: &'static str,
    /// What a row is, for people.
    label: &'static str,
    /// The row's name, as SQL over `x`.
    name: &'static str,
    /// True if a row with another letter is left out of the dump.
    left_out: bool,
}

/// `"".` is the empty letter.
const fn letters(
    place: (&'static str, &'static str),
    known: &'static str,
    row: (&'static str, &'static str),
    left_out: bool,
) -> Letters {
    Letters {
        catalog: place.0,
        column: place.1,
        known,
        label: row.0,
        name: row.1,
        left_out,
    }
}

const RELATION: (&str, &str) = (
    "relation",
    "(SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = x.relnamespace) || '.' || x.relname",
);
const TYPE: (&str, &str) = (
    "type",
    "(SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = x.typnamespace) || '.' || x.typname",
);
const ROUTINE: (&str, &str) = (
    "routine",
    "(SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.oid = x.pronamespace) || '.' || x.proname",
);
const COLUMN: (&str, &str) = (
    "column",
    "(SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = x.attrelid) || '.' || x.attname",
);

const LETTERS: &[Letters] = &[
    letters(
        ("pg_class", "relkind"),
        "r,p,v,m,f,S,i,I,c,t",
        RELATION,
        true,
    ),
    letters(("pg_class", "relpersistence"), "p,u,t", RELATION, false),
    letters(("pg_type", "typtype"), "b,c,d,e,p,r,m", TYPE, true),
    letters(("pg_proc", "prokind"), "f,p,w,a", ROUTINE, true),
    letters(("pg_proc", "provolatile"), "i,s,v", ROUTINE, false),
    letters(("pg_proc", "proparallel"), "s,r,u", ROUTINE, false),
    letters(
        ("pg_constraint", "contype"),
        "c,f,n,p,u,x,t",
        ("constraint", "x.conname::pg_catalog.text"),
        true,
    ),
    letters(
        ("pg_collation", "collprovider"),
        "b,c,d,i",
        ("collation", "x.collname::pg_catalog.text"),
        true,
    ),
    letters(
        ("pg_am", "amtype"),
        "i,t",
        ("access method", "x.amname::pg_catalog.text"),
        true,
    ),
    letters(
        ("pg_cast", "castmethod"),
        "f,b,i",
        ("cast", "x.oid::pg_catalog.text"),
        false,
    ),
    letters(
        ("pg_cast", "castcontext"),
        "e,a,i",
        ("cast", "x.oid::pg_catalog.text"),
        false,
    ),
    letters(
        ("pg_policy", "polcmd"),
        "r,a,w,d,*",
        ("policy", "x.polname::pg_catalog.text"),
        false,
    ),
    letters(
        ("pg_trigger", "tgenabled"),
        "O,D,R,A",
        ("trigger", "x.tgname::pg_catalog.text"),
        false,
    ),
    letters(
        ("pg_rewrite", "ev_enabled"),
        "O,D,R,A",
        ("rule", "x.rulename::pg_catalog.text"),
        false,
    ),
    letters(
        ("pg_event_trigger", "evtenabled"),
        "O,D,R,A",
        ("event trigger", "x.evtname::pg_catalog.text"),
        false,
    ),
    letters(
        ("pg_default_acl", "defaclobjtype"),
        "r,S,f,T,n,L",
        ("default privileges", "x.oid::pg_catalog.text"),
        true,
    ),
    letters(("pg_attribute", "attgenerated"), "\"\",s,v", COLUMN, false),
    letters(("pg_attribute", "attidentity"), "\"\",a,d", COLUMN, false),
    letters(("pg_attribute", "attstorage"), "p,e,m,x", COLUMN, false),
    letters(
        ("pg_depend", "deptype"),
        "n,a,i,e,x,p,P,S",
        (
            "dependency",
            "x.objid::pg_catalog.text || ' on ' || x.refobjid::pg_catalog.text",
        ),
        false,
    ),
];

/// A letter that is not known, in a row of users.
struct UnknownLetter {
    at: i32,
    name: Option<String>,
    letter: String,
}

impl CatalogRow for UnknownLetter {
    fn query(_: ServerVersion) -> String {
        let each = LETTERS.iter().enumerate().map(|(at, letters)| {
            let Letters {
                catalog,
                column,
                known,
                name,
                ..
            } = letters;
            let oid = match *catalog {
                "pg_attribute" => "attrelid",
                "pg_depend" => "objid",
                _ => "oid",
            };
            format!(
                "SELECT {at}, {name}, x.{column}::pg_catalog.text FROM pg_catalog.{catalog} x \
                 WHERE x.{oid} >= 16384 AND x.{column} <> ALL ('{{{known}}}'::pg_catalog.\"char\"[])"
            )
        });
        each.collect::<Vec<_>>().join(" UNION ALL ")
    }

    fn from_row(row: &tokio_postgres::Row) -> Result<Self, tokio_postgres::Error> {
        Ok(UnknownLetter {
            at: row.try_get(0)?,
            name: row.try_get(1)?,
            letter: row.try_get(2)?,
        })
    }
}

/// Something that this version of pgark does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The thing, for people.
    pub what: String,
    /// What becomes of it.
    pub reason: String,
}

/// Everything unknown on the server.
pub async fn read(session: &Session) -> Result<Vec<Unknown>> {
    let version = session.version();
    let mut out = Vec::new();
    if version >= UNKNOWN {
        out.push(Unknown {
            what: format!("whatever PostgreSQL {version} has beyond {}", V18.major()),
            reason: "this version of pgark does not know that server; use a newer one".to_owned(),
        });
    }
    let catalogs = facts::rows::<CatalogColumns>(session, "catalogs").await?;
    let catalogs: Vec<_> = catalogs
        .into_iter()
        .map(|row| (row.name, row.columns))
        .collect();
    out.extend(scope::novelties(&catalogs).into_iter().map(novelty));
    let letters = facts::rows::<UnknownLetter>(session, "letters in catalogs").await?;
    out.extend(letters.into_iter().filter_map(letter));
    Ok(out)
}

fn novelty(novelty: Novelty) -> Unknown {
    let what = match novelty {
        Novelty::Catalog(catalog) => format!("catalog pg_catalog.{catalog}"),
        Novelty::Column(catalog, column) => format!("column {column} of pg_catalog.{catalog}"),
    };
    let reason = "no version of PostgreSQL that pgark knows has it; what it holds is not saved";
    Unknown {
        what: crate::sql::printable(&what),
        reason: reason.to_owned(),
    }
}

fn letter(row: UnknownLetter) -> Option<Unknown> {
    let letters = LETTERS.get(usize::try_from(row.at).ok()?)?;
    let name = row.name.unwrap_or_else(|| "without a name".to_owned());
    let what = format!("{} {name}", letters.label);
    let (catalog, column) = (letters.catalog, letters.column);
    let end = if letters.left_out {
        "it is left out"
    } else {
        "it is saved without that meaning"
    };
    Some(Unknown {
        what: crate::sql::printable(&what),
        reason: format!(
            "{catalog}.{column} is {:?}, which this version of pgark does not know; {end}",
            row.letter
        ),
    })
}
