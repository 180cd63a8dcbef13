//! Reads from a server what the pre-flight check must know of it. Judging it is left to `preflight`.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::wanted::{Name, Wanted};
use crate::error::Result;
use crate::pg::{ServerVersion, Session};
use crate::sql::{ReadText, SentText, has_escapes, printable};

/// What is true of the target before the first change.
#[derive(Debug)]
pub(super) struct TargetFacts {
    pub(super) version: ServerVersion,
    /// The database's encoding.
    pub(super) encoding: String,
    pub(super) in_recovery: bool,
    pub(super) is_superuser: bool,
    /// The wanted roles that exist, and whether the restoring role may give objects to them.
    pub(super) roles: BTreeMap<String, bool>,
    pub(super) tablespaces: BTreeSet<String>,
    pub(super) access_methods: BTreeSet<String>,
    /// The extensions that the server can create.
    pub(super) extensions: BTreeSet<String>,
    /// The encodings that the server can turn into the database's.
    pub(super) conversions: BTreeSet<String>,
    pub(super) schemas: BTreeSet<String>,
    /// Kinds of objects that users have made, how many, and some of them.
    pub(super) objects: Vec<(String, i64, String)>,
    /// Names that the archive creates and that are taken.
    pub(super) taken: BTreeSet<Name>,
    /// Tables whose rows are wanted: whether they exist, and whether they have rows.
    pub(super) tables: BTreeMap<String, TableFacts>,
    /// True if one of those tables has or is target of a foreign key.
    pub(super) has_foreign_keys: bool,
}

impl TargetFacts {
    /// A server with nothing known to be there.
    pub(super) fn new(version: ServerVersion, encoding: &str) -> TargetFacts {
        TargetFacts {
            version,
            encoding: encoding.to_owned(),
            in_recovery: false,
            is_superuser: false,
            roles: BTreeMap::new(),
            tablespaces: BTreeSet::new(),
            access_methods: BTreeSet::new(),
            extensions: BTreeSet::new(),
            conversions: BTreeSet::new(),
            schemas: BTreeSet::new(),
            objects: Vec::new(),
            taken: BTreeSet::new(),
            tables: BTreeMap::new(),
            has_foreign_keys: false,
        }
    }
}

/// A table that exists.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct TableFacts {
    pub(super) columns: BTreeSet<String>,
    pub(super) has_rows: bool,
}

/// Objects that users have made, one row per kind: label, number, examples. The numbers below 16384 are the system's
/// (`FirstNormalObjectId`); members of extensions count as their extension.
const USER_OBJECTS: &str = "
WITH members AS MATERIALIZED (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
objects(label, classid, oid, name) AS (
 SELECT 'schema', 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, nspname::pg_catalog.text FROM pg_catalog.pg_namespace
  WHERE nspname <> 'public' AND nspname !~ '^pg_(toast_)?temp_'
 UNION ALL SELECT 'relation', 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, n.nspname || '.' || c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r','p','v','m','f','S') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
 UNION ALL SELECT 'type', 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, n.nspname || '.' || t.typname
  FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
  WHERE t.typrelid = 0 AND t.typelem = 0 AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'
 UNION ALL SELECT 'function', 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, n.nspname || '.' || p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
 UNION ALL SELECT 'operator', 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprname FROM pg_catalog.pg_operator
 UNION ALL SELECT 'operator family', 'pg_catalog.pg_opfamily'::pg_catalog.regclass, oid, opfname FROM pg_catalog.pg_opfamily
 UNION ALL SELECT 'collation', 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collname FROM pg_catalog.pg_collation
 UNION ALL SELECT 'conversion', 'pg_catalog.pg_conversion'::pg_catalog.regclass, oid, conname FROM pg_catalog.pg_conversion
 UNION ALL SELECT 'text search object', 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgname FROM pg_catalog.pg_ts_config
 UNION ALL SELECT 'text search object', 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictname FROM pg_catalog.pg_ts_dict
 UNION ALL SELECT 'cast', 'pg_catalog.pg_cast'::pg_catalog.regclass, oid, castsource::pg_catalog.regtype::pg_catalog.text FROM pg_catalog.pg_cast
 UNION ALL SELECT 'language', 'pg_catalog.pg_language'::pg_catalog.regclass, oid, lanname FROM pg_catalog.pg_language
 UNION ALL SELECT 'access method', 'pg_catalog.pg_am'::pg_catalog.regclass, oid, amname FROM pg_catalog.pg_am
 UNION ALL SELECT 'foreign-data wrapper', 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, oid, fdwname FROM pg_catalog.pg_foreign_data_wrapper
 UNION ALL SELECT 'foreign server', 'pg_catalog.pg_foreign_server'::pg_catalog.regclass, oid, srvname FROM pg_catalog.pg_foreign_server
 UNION ALL SELECT 'extension', 'pg_catalog.pg_extension'::pg_catalog.regclass, oid, extname FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql'
 UNION ALL SELECT 'event trigger', 'pg_catalog.pg_event_trigger'::pg_catalog.regclass, oid, evtname FROM pg_catalog.pg_event_trigger
 UNION ALL SELECT 'publication', 'pg_catalog.pg_publication'::pg_catalog.regclass, oid, pubname FROM pg_catalog.pg_publication
 UNION ALL SELECT 'large object', 'pg_catalog.pg_largeobject'::pg_catalog.regclass, oid, oid::pg_catalog.text FROM pg_catalog.pg_largeobject_metadata)
SELECT label, pg_catalog.count(*), pg_catalog.array_to_string((pg_catalog.array_agg(name ORDER BY oid))[1:3], ', ')
FROM objects o
WHERE (oid >= 16384 OR label = 'large object') AND NOT EXISTS (SELECT FROM members m WHERE m.classid = o.classid AND m.objid = o.oid)
GROUP BY label ORDER BY label";

/// Names that are taken, of those in `$1` (schemas) and `$2` (names, functions with argument types).
const TAKEN: &str = "
WITH wanted AS MATERIALIZED (SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS w(schema, name))
SELECT w.schema, w.name FROM wanted w JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema
WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = w.name)
   OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typnamespace = n.oid AND t.typname = w.name)
   OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND p.proname = pg_catalog.split_part(w.name, '(', 1)
              AND p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')' = w.name)";

/// Columns of the tables of `$1`, given as SQL names.
const COLUMNS: &str = "
SELECT w.name, pg_catalog.array_agg(a.attname::pg_catalog.text) FILTER (WHERE a.attname IS NOT NULL),
       pg_catalog.bool_or(EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'f'
                                  AND pg_catalog.to_regclass(w.name) IN (k.conrelid, k.confrelid)))
FROM pg_catalog.unnest($1) AS w(name)
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(w.name) AND a.attnum > 0 AND NOT a.attisdropped
WHERE pg_catalog.to_regclass(w.name) IS NOT NULL GROUP BY w.name";

/// Reads what `wanted` asks for. For a database that is still to be made the session is to another one of the server,
/// and `of_server` says that nothing in the database itself counts.
pub(super) async fn read(
    session: &Session,
    wanted: &Wanted,
    of_server: bool,
) -> Result<TargetFacts> {
    let mut facts = TargetFacts::new(session.version(), session.server_encoding());
    facts.in_recovery = session.in_recovery();
    read_server(session, wanted, &mut facts).await?;
    if of_server {
        facts.schemas.insert("public".to_owned());
        return Ok(facts);
    }
    facts.schemas = names(
        session,
        "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace",
    )
    .await?;
    if wanted.is_whole {
        for row in session
            .query("looking for objects", USER_OBJECTS, &[])
            .await?
        {
            let names = row.get::<_, Option<ReadText>>(2);
            let names = names.map_or_else(String::new, |names| printable(&names.0));
            facts.objects.push((text(&row, 0), row.get(1), names));
        }
    } else {
        read_names(session, wanted, &mut facts).await?;
        read_tables(session, wanted, &mut facts).await?;
    }
    Ok(facts)
}

async fn read_server(session: &Session, wanted: &Wanted, facts: &mut TargetFacts) -> Result<()> {
    let superuser = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let rows = session.query("looking at the user", superuser, &[]).await?;
    facts.is_superuser = rows.iter().any(|row| row.get::<_, bool>(0));

    // A name that a server with an encoding would not take as a parameter may be in its cluster all the same.
    let all = wanted.roles.keys().any(|role| has_escapes(role));
    let wanted_roles: Vec<SentText<'_>> = wanted
        .roles
        .keys()
        .filter(|role| !has_escapes(role))
        .map(|role| SentText(role))
        .collect();
    let roles = "SELECT rolname::pg_catalog.text, pg_catalog.pg_has_role(current_user, oid, 'MEMBER') \
                 FROM pg_catalog.pg_roles WHERE $2 OR rolname = ANY ($1)";
    let rows = session
        .query(
            "looking for roles",
            roles,
            &[(&wanted_roles, Type::TEXT_ARRAY), (&all, Type::BOOL)],
        )
        .await?;
    facts.roles = rows.iter().map(|row| (text(row, 0), row.get(1))).collect();

    facts.tablespaces = names(
        session,
        "SELECT spcname::pg_catalog.text FROM pg_catalog.pg_tablespace",
    )
    .await?;
    facts.access_methods = names(
        session,
        "SELECT amname::pg_catalog.text FROM pg_catalog.pg_am",
    )
    .await?;
    facts.extensions = names(
        session,
        "SELECT name::pg_catalog.text FROM pg_catalog.pg_available_extensions",
    )
    .await?;
    let conversions = "SELECT pg_catalog.pg_encoding_to_char(conforencoding)::pg_catalog.text FROM pg_catalog.pg_conversion \
                       WHERE condefault AND pg_catalog.pg_encoding_to_char(contoencoding) = pg_catalog.current_setting('server_encoding')";
    facts.conversions = names(session, conversions).await?;
    Ok(())
}

async fn names(session: &Session, sql: &str) -> Result<BTreeSet<String>> {
    let rows = session.query("looking at the target", sql, &[]).await?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}

fn text(row: &Row, at: usize) -> String {
    row.get::<_, ReadText>(at).0
}

async fn read_names(session: &Session, wanted: &Wanted, facts: &mut TargetFacts) -> Result<()> {
    let (schemas, names): (Vec<SentText<'_>>, Vec<SentText<'_>>) = wanted
        .names_new
        .keys()
        .map(|(schema, name)| (SentText(schema), SentText(name)))
        .unzip();
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)];
    let rows = session
        .query("looking for names that are taken", TAKEN, params)
        .await?;
    facts.taken = rows
        .iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect();
    Ok(())
}

async fn read_tables(session: &Session, wanted: &Wanted, facts: &mut TargetFacts) -> Result<()> {
    let targets: Vec<SentText<'_>> = wanted
        .tables_there
        .keys()
        .map(|name| SentText(name))
        .collect();
    if targets.is_empty() {
        return Ok(());
    }
    let what = "looking at the tables to be filled";
    let rows = session
        .query(what, COLUMNS, &[(&targets, Type::TEXT_ARRAY)])
        .await?;
    for row in rows {
        let columns: Option<Vec<ReadText>> = row.get(1);
        let columns = columns.unwrap_or_default().into_iter();
        let table = TableFacts {
            columns: columns.map(|column| column.0).collect(),
            has_rows: false,
        };
        facts.tables.insert(text(&row, 0), table);
        facts.has_foreign_keys |= row.get::<_, bool>(2);
    }
    // One round trip for a hundred tables. The names are the archive's own, quoted.
    let existing: Vec<String> = facts.tables.keys().cloned().collect();
    for some in existing.chunks(100) {
        let each = some.iter().enumerate();
        let exists: Vec<String> = each
            .map(|(i, target)| {
                format!("SELECT {i}::pg_catalog.int4 WHERE EXISTS (SELECT FROM {target})")
            })
            .collect();
        for row in session
            .query(what, &exists.join(" UNION ALL "), &[])
            .await?
        {
            let index = usize::try_from(row.get::<_, i32>(0)).expect("counted from 0");
            if let Some(table) = facts.tables.get_mut(&some[index]) {
                table.has_rows = true;
            }
        }
    }
    Ok(())
}
