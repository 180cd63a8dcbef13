//! Reads from a server what the pre-flight check must know of it. Judging it is left to `preflight`.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::forbidden::keeper;
use super::wanted::{Name, Wanted};
use crate::archive::manifest::COLLATION_VERSION;
use crate::error::Result;
use crate::pg::version::{V13, V15, V16, V17};
use crate::pg::{ServerVersion, Session};
use crate::sql::{ReadText, SentText, has_escapes, printable};

/// What is true of the target before the first change.
#[derive(Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of the target by itself"
)]
pub(super) struct TargetFacts {
    pub(super) version: ServerVersion,
    /// The database's encoding.
    pub(super) encoding: String,
    pub(super) in_recovery: bool,
    pub(super) is_superuser: bool,
    /// The restoring role.
    pub(super) role: String,
    /// The wanted roles that exist, and whether the restoring role may give objects to them.
    pub(super) roles: BTreeMap<String, bool>,
    pub(super) tablespaces: BTreeSet<String>,
    /// What stands against putting a tablespace into a directory of the server.
    pub(super) directories: BTreeMap<String, &'static str>,
    pub(super) access_methods: BTreeSet<String>,
    /// True if the role may make databases.
    pub(super) makes_databases: bool,
    /// True if the role may make schemas in the database.
    pub(super) makes_schemas: bool,
    /// True if the role may make objects in `public`.
    pub(super) fills_public: bool,
    /// True if the role may make subscriptions without being a superuser (16 and later).
    pub(super) makes_subscriptions: bool,
    /// The extensions that the server has or can create.
    pub(super) extensions: BTreeMap<String, ExtensionFacts>,
    /// The encodings that the server can turn into the database's.
    pub(super) conversions: BTreeSet<String>,
    pub(super) schemas: BTreeSet<String>,
    /// Kinds of objects that users have made, how many, and some of them.
    pub(super) objects: Vec<(String, i64, String)>,
    /// Names that the archive creates and that are taken.
    pub(super) taken: BTreeSet<Name>,
    /// Tables whose rows are wanted: whether they exist, and whether they have rows.
    pub(super) tables: BTreeMap<String, TableFacts>,
    /// Foreign keys between those tables: the referencing one, the referenced one.
    pub(super) foreign_keys: Vec<(String, String)>,
    /// True if one of those tables has a foreign key.
    pub(super) has_foreign_keys: bool,
    /// True if anything is in the schema `public`.
    pub(super) is_public_used: bool,
    /// True if this restore goes on with an earlier one: what is there is its own.
    pub(super) is_resumed: bool,
    /// True if that has given schemas their new names already.
    pub(super) has_names: bool,
    /// True if a publication is of all tables.
    pub(super) publishes_all: bool,
    /// The database's locale as a manifest has it.
    pub(super) locale: BTreeMap<String, String>,
}

impl TargetFacts {
    /// A server with nothing known to be there.
    pub(super) fn new(version: ServerVersion, encoding: &str) -> TargetFacts {
        TargetFacts {
            version,
            encoding: encoding.to_owned(),
            in_recovery: false,
            is_superuser: false,
            role: String::new(),
            makes_databases: true,
            makes_schemas: true,
            fills_public: true,
            makes_subscriptions: false,
            roles: BTreeMap::new(),
            tablespaces: BTreeSet::new(),
            directories: BTreeMap::new(),
            access_methods: BTreeSet::new(),
            extensions: BTreeMap::new(),
            conversions: BTreeSet::new(),
            schemas: BTreeSet::new(),
            objects: Vec::new(),
            taken: BTreeSet::new(),
            tables: BTreeMap::new(),
            foreign_keys: Vec::new(),
            has_foreign_keys: false,
            is_public_used: false,
            is_resumed: false,
            has_names: false,
            publishes_all: false,
            locale: BTreeMap::new(),
        }
    }
}

impl TargetFacts {
    /// True for a role that a provider or another version brings along: nobody can make one with such a name.
    pub(super) fn is_absent(&self, role: &str) -> bool {
        keeper(role).is_some() && !self.roles.contains_key(role)
    }
}

/// An extension as the server has it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ExtensionFacts {
    /// The version that CREATE EXTENSION would make.
    pub(super) version: Option<String>,
    /// True if only a superuser may create it.
    pub(super) needs_superuser: bool,
    /// Version and schema, if the database has it.
    pub(super) installed: Option<(String, String)>,
}

/// A table that exists.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct TableFacts {
    pub(super) columns: BTreeSet<String>,
    pub(super) has_rows: bool,
}

/// Objects that users have made, one row per kind: label, number, examples. The numbers below 16384 are the system's
/// (`FirstNormalObjectId`). Extensions and their members do not count: whoever runs the server may have made them for us.
const USER_OBJECTS: &str = "
WITH members AS MATERIALIZED (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'),
objects(label, classid, oid, name) AS (
 SELECT 'schema', 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, nspname::pg_catalog.text FROM pg_catalog.pg_namespace
  WHERE nspname NOT IN ('public', 'pgark_restore') AND nspname !~ '^pg_(toast_)?temp_'
 UNION ALL SELECT 'relation', 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, n.nspname || '.' || c.relname
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r','p','v','m','f','S') AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)|^pgark_restore$'
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
                                  AND pg_catalog.to_regclass(w.name) = k.conrelid))
FROM pg_catalog.unnest($1) AS w(name)
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(w.name) AND a.attnum > 0 AND NOT a.attisdropped
WHERE pg_catalog.to_regclass(w.name) IS NOT NULL GROUP BY w.name";

/// Foreign keys between the tables of `$1`, given as SQL names. A partitioned table stands for its leaves, which have the rows.
const FOREIGN_KEYS: &str = "
WITH wanted AS MATERIALIZED (SELECT w.name, pg_catalog.to_regclass(w.name)::pg_catalog.oid AS oid FROM pg_catalog.unnest($1) AS w(name)),
keys AS MATERIALIZED (SELECT DISTINCT conrelid, confrelid FROM pg_catalog.pg_constraint WHERE contype = 'f'),
tables AS MATERIALIZED (SELECT conrelid AS oid FROM keys UNION SELECT confrelid FROM keys),
leaves AS MATERIALIZED (SELECT t.oid, t.oid AS leaf FROM tables t
  UNION SELECT t.oid, p.relid FROM tables t, pg_catalog.pg_partition_tree(t.oid) p WHERE p.isleaf)
SELECT DISTINCT f.name, r.name FROM keys k
  JOIN leaves fl ON fl.oid = k.conrelid JOIN wanted f ON f.oid = fl.leaf
  JOIN leaves rl ON rl.oid = k.confrelid JOIN wanted r ON r.oid = rl.leaf";

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
        // All that is the database's own is the new one's: the role will own it.
        (facts.makes_schemas, facts.fills_public) = (true, true);
        for extension in facts.extensions.values_mut() {
            extension.installed = None;
        }
        facts.schemas.insert("public".to_owned());
        return Ok(facts);
    }
    facts.schemas = names(
        session,
        "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace",
    )
    .await?;
    read_database(session, &mut facts).await?;
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
    read_role(session, wanted, facts).await?;
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
    read_extensions(session, facts).await?;
    let conversions = "SELECT pg_catalog.pg_encoding_to_char(conforencoding)::pg_catalog.text FROM pg_catalog.pg_conversion \
                       WHERE condefault AND pg_catalog.pg_encoding_to_char(contoencoding) = pg_catalog.current_setting('server_encoding')";
    facts.conversions = names(session, conversions).await?;
    read_directories(session, wanted, facts).await
}

/// Directories for tablespaces; only a superuser may ask, and only he may make a tablespace.
async fn read_directories(
    session: &Session,
    wanted: &Wanted,
    facts: &mut TargetFacts,
) -> Result<()> {
    let paths: Vec<&str> = wanted.directories.keys().map(String::as_str).collect();
    if paths.is_empty() || !facts.is_superuser {
        return Ok(());
    }
    // A server puts its tablespace into PG_<major>_<catalog version> there.
    let query = "SELECT w.path, COALESCE(s.isdir, false), CASE WHEN s.isdir THEN EXISTS ( \
                 SELECT FROM pg_catalog.pg_ls_dir(w.path) AS f(name) WHERE f.name LIKE 'PG\\_' || $2 || '\\_%') ELSE false END \
                 FROM pg_catalog.unnest($1) AS w(path), LATERAL pg_catalog.pg_stat_file(w.path, true) AS s";
    let major = session.version().major().to_string();
    let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&paths, Type::TEXT_ARRAY), (&major, Type::TEXT)];
    let what = "looking for the tablespaces' directories";
    for row in session.query(what, query, params).await? {
        let problem = match (row.get(1), row.get(2)) {
            (false, _) => {
                "there is no such directory on the server; make it, owned by the server's user"
            }
            (true, true) => {
                "a server of this major version has a tablespace there already; empty it, or move it away"
            }
            (true, false) => continue,
        };
        facts.directories.insert(row.get(0), problem);
    }
    Ok(())
}

/// The locale, and whether something is in `public`.
async fn read_database(session: &Session, facts: &mut TargetFacts) -> Result<()> {
    let version = session.version();
    let since = |oldest, text: &'static str, older: &'static str| {
        if version >= oldest { text } else { older }
    };
    let provider = since(V15, "d.datlocprovider::pg_catalog.text", "'c'");
    let icu = since(
        V15,
        "d.daticulocale::pg_catalog.text",
        "NULL::pg_catalog.text",
    );
    let locale = since(V17, "d.datlocale::pg_catalog.text", icu);
    let actual = since(
        V15,
        "pg_catalog.pg_database_collation_actual_version(d.oid)",
        "NULL::pg_catalog.text",
    );
    let sql = format!(
        "SELECT d.datcollate::pg_catalog.text, d.datctype::pg_catalog.text, {provider}::pg_catalog.text, {locale}, {actual}, \
         EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
                 AND x.refobjid = pg_catalog.to_regnamespace('public')), \
         EXISTS (SELECT FROM pg_catalog.pg_publication WHERE puballtables) \
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    );
    let rows = session.query("looking at the database", &sql, &[]).await?;
    let keys = ["collate", "ctype", "provider", "locale", COLLATION_VERSION];
    for row in &rows {
        for (at, key) in keys.into_iter().enumerate() {
            let value: Option<String> = row.get(at);
            facts
                .locale
                .extend(value.map(|value| (key.to_owned(), value)));
        }
        facts.is_public_used = row.get(keys.len());
        facts.publishes_all = row.get(keys.len() + 1);
    }
    Ok(())
}

/// What the restoring role may do.
async fn read_role(session: &Session, wanted: &Wanted, facts: &mut TargetFacts) -> Result<()> {
    // pg_create_subscription is a role since 16; to name one that is not there would be an error.
    let rights = "SELECT r.rolsuper, r.rolsuper OR r.rolcreatedb, \
                  pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
                  COALESCE((SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE') FROM pg_catalog.pg_namespace n \
                            WHERE n.nspname = 'public'), true), \
                  EXISTS (SELECT FROM pg_catalog.pg_roles s WHERE s.rolname = 'pg_create_subscription' \
                          AND pg_catalog.pg_has_role(r.oid, s.oid, 'USAGE')), r.rolname::pg_catalog.text \
                  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
    for row in session.query("looking at the user", rights, &[]).await? {
        facts.is_superuser = row.get(0);
        facts.makes_databases = row.get(1);
        facts.makes_schemas = row.get(2);
        facts.fills_public = row.get(3);
        facts.makes_subscriptions = row.get(4);
        facts.role = text(&row, 5);
    }
    // From 16 on being a member is not enough to become the role, or to give it things.
    let how = if session.version() >= V16 {
        "SET"
    } else {
        "MEMBER"
    };
    // A name that a server with an encoding would not take as a parameter may be in its cluster all the same.
    let all = wanted.roles.keys().any(|role| has_escapes(role));
    let wanted_roles: Vec<SentText<'_>> = wanted
        .roles
        .keys()
        .filter(|role| !has_escapes(role))
        .map(|role| SentText(role))
        .collect();
    let roles = format!(
        "SELECT rolname::pg_catalog.text, pg_catalog.pg_has_role(current_user, oid, '{how}') \
         FROM pg_catalog.pg_roles WHERE $2 OR rolname = ANY ($1)"
    );
    let rows = session
        .query(
            "looking for roles",
            &roles,
            &[(&wanted_roles, Type::TEXT_ARRAY), (&all, Type::BOOL)],
        )
        .await?;
    facts.roles = rows.iter().map(|row| (text(row, 0), row.get(1))).collect();
    Ok(())
}

async fn read_extensions(session: &Session, facts: &mut TargetFacts) -> Result<()> {
    let trusted = if session.version() >= V13 {
        "v.trusted"
    } else {
        "false"
    };
    let query = format!(
        "SELECT COALESCE(a.name, e.extname)::pg_catalog.text, a.default_version, COALESCE(v.superuser AND NOT {trusted}, false), \
                e.extversion, n.nspname::pg_catalog.text \
         FROM pg_catalog.pg_available_extensions a \
         LEFT JOIN pg_catalog.pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version \
         FULL JOIN pg_catalog.pg_extension e ON e.extname = a.name \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
    );
    for row in session.query("looking for extensions", &query, &[]).await? {
        let installed: (Option<String>, Option<String>) = (row.get(3), row.get(4));
        let extension = ExtensionFacts {
            version: row.get(1),
            needs_superuser: row.get(2),
            installed: installed.0.zip(installed.1),
        };
        facts.extensions.insert(row.get(0), extension);
    }
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
    let keys = session
        .query(what, FOREIGN_KEYS, &[(&targets, Type::TEXT_ARRAY)])
        .await?;
    facts.foreign_keys = keys
        .iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect();
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
