//! Schemas by another name. What is restored comes under the archive's name and is renamed by the server at the end, which
//! mends every reference that the catalog knows. What it does not know are texts: bodies of functions, settings,
//! literals. They are looked for and listed.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use super::journal::{Item, Journal, Line, Note, What};
use super::options::RestoreOptions;
use super::report::{Ledger, Mention, Renamed, chain};
use super::select::{Selection, schema_of};
use super::shared::Shared;
use super::target::TargetFacts;
use super::wanted::Wanted;
use super::work::Unit;
use super::worker::Worker;
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::sql::{Ident, Literal, Sql, sql};
use crate::toc::EntryId;

/// The schema that every new database has.
const PUBLIC: &str = "public";

/// Texts that match `$1`, for which a server cannot know that they name a schema. Literals in expressions count only
/// where they name something in the schema; members of an extension are named as their extension.
const MENTIONS: &str = r"
WITH texts(classid, oid, place, text) AS (
 SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 'its body', p.prosrc FROM pg_catalog.pg_proc p
   JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE l.lanname NOT IN ('internal', 'c')
 UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 'its setting ' || pg_catalog.split_part(s.setting, '=', 1), s.setting
   FROM pg_catalog.pg_proc p, pg_catalog.unnest(p.proconfig) AS s(setting)
 UNION ALL SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid, 'its arguments', pg_catalog.encode(t.tgargs, 'escape')
   FROM pg_catalog.pg_trigger t WHERE t.tgnargs > 0 AND NOT t.tgisinternal
 UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, d.oid, 'its options', d.dictinitoption FROM pg_catalog.pg_ts_dict d
 UNION ALL SELECT 'pg_catalog.pg_database'::pg_catalog.regclass, d.oid, 'its setting ' || pg_catalog.split_part(c.setting, '=', 1)
        || CASE WHEN s.setrole <> 0 THEN ' for role ' || pg_catalog.pg_get_userbyid(s.setrole)::pg_catalog.text ELSE '' END, c.setting
   FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, pg_catalog.unnest(s.setconfig) AS c(setting)
  WHERE d.datname = pg_catalog.current_database()),
literals(classid, oid, place, text) AS (
 SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, d.oid, 'a text in it', pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
 UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid, 'a text in it', pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r WHERE r.oid >= 16384
 UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid, 'a text in it', pg_catalog.pg_get_constraintdef(k.oid)
   FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.oid >= 16384),
found AS (
 SELECT classid, oid, place FROM texts WHERE oid >= 16384 AND text ~* $1
 UNION ALL SELECT classid, oid, place FROM literals WHERE text ~* $2)
SELECT coalesce((SELECT pg_catalog.pg_describe_object(x.refclassid, x.refobjid, 0) FROM pg_catalog.pg_depend x
                  WHERE x.classid = f.classid AND x.objid = f.oid AND x.deptype = 'e' LIMIT 1),
                pg_catalog.pg_describe_object(f.classid, f.oid, 0)) AS object,
       CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_depend x WHERE x.classid = f.classid AND x.objid = f.oid AND x.deptype = 'e')
            THEN 'functions of it' ELSE f.place END AS place
  FROM found f GROUP BY 1, 2 ORDER BY 1, 2";

/// The state of a schema: owner, comment, and whether its privileges were ever touched.
const STATE: &str = "
SELECT pg_catalog.pg_get_userbyid(nspowner)::pg_catalog.text, pg_catalog.obj_description(oid, 'pg_namespace'), nspacl IS NULL
  FROM pg_catalog.pg_namespace WHERE nspname = $1";
/// Its privileges.
const PRIVILEGES: &str = "
SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END, a.is_grantable
  FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a WHERE n.nspname = $1";

/// Finds new names that the archive itself makes senseless.
///
/// Errors: [`Error::Usage`].
pub(super) fn check(selection: &Selection, options: &RestoreOptions) -> Result<()> {
    let schemas: BTreeSet<&str> = selection.iter().filter_map(schema_of).collect();
    let is_old = |name: &str| options.map_schemas.iter().any(|(old, _)| old == name);
    for (old, new) in &options.map_schemas {
        if !schemas.contains(old.as_str()) {
            return Err(Error::Usage(format!(
                "no chosen object of the archive is in schema {old:?}; `pgark show -v` lists what is in it"
            )));
        }
        if schemas.contains(new.as_str()) && !is_old(new) {
            return Err(Error::Usage(format!(
                "schema {old:?} cannot become {new:?}: the archive has a schema of that name; give that another one too, or leave it out"
            )));
        }
    }
    Ok(())
}

/// What on the target stands against the new names.
pub(super) fn findings(options: &RestoreOptions, facts: &TargetFacts) -> Vec<String> {
    let mut findings = Vec::new();
    let is_old = |name: &str| options.map_schemas.iter().any(|(old, _)| old == name);
    for (old, new) in &options.map_schemas {
        let [quoted, new_quoted] = [old, new].map(|name| Ident::new(name).quoted());
        if is_in_the_way(old, facts) && !options.single_transaction && !facts.is_resumed {
            findings.push(format!(
                "schema {quoted} is on the target, and what is restored comes under that name before it becomes {new_quoted}; \
                 with --single-transaction it is set aside where nobody sees it; or restore into another database"
            ));
        }
        // A schema that is set aside comes back to its name.
        let is_taken = facts.schemas.contains(new) && (!is_old(new) || is_in_the_way(new, facts));
        if is_taken && !facts.is_resumed {
            findings.push(format!(
                "schema {quoted} cannot become {new_quoted}, which exists already; choose another name"
            ));
        }
    }
    findings
}

/// True if the target has the schema and its own objects would be renamed too.
fn is_in_the_way(schema: &str, facts: &TargetFacts) -> bool {
    facts.schemas.contains(schema) && (schema != PUBLIC || facts.is_public_used)
}

/// What must be done to the target's schemas before the restore.
#[derive(Debug, Default)]
pub(super) struct Beforehand {
    /// To be made, because chosen objects are in them and their own definition is not chosen.
    make: Vec<Ident>,
    /// To be set aside until the restored ones have their new names; in one transaction nobody sees it.
    aside: Vec<Ident>,
}

impl Beforehand {
    /// Looks at what is there.
    pub(super) fn new(
        wanted: &Wanted,
        facts: &TargetFacts,
        options: &RestoreOptions,
    ) -> Beforehand {
        let mut beforehand = Beforehand::default();
        if facts.has_names {
            return beforehand;
        }
        for (old, _) in &options.map_schemas {
            let is_aside = is_in_the_way(old, facts) && !facts.is_resumed;
            if is_aside {
                beforehand.aside.push(Ident::new(old));
            }
            if !wanted.schemas_new.contains(old) && (is_aside || !facts.schemas.contains(old)) {
                beforehand.make.push(Ident::new(old));
            }
        }
        beforehand
    }
}

/// What is done before and after the restore for new names of schemas.
pub(super) struct Renaming<'a> {
    pairs: &'a [(String, String)],
    /// Schemas that were set aside.
    aside: Vec<Ident>,
    /// Makes a schema `public` as the target's was.
    public_again: Vec<String>,
}

impl<'a> Renaming<'a> {
    /// Does what is to be done beforehand, and looks at what will have to be made again.
    ///
    /// Errors: if the target cannot be asked, or a schema cannot be made or set aside.
    pub(super) async fn prepare(
        worker: &mut Worker,
        shared: &Shared,
        pairs: &'a [(String, String)],
        beforehand: Beforehand,
    ) -> Result<Renaming<'a>> {
        let Beforehand { make, aside } = beforehand;
        let away = aside.iter().enumerate();
        let away = away.map(|(at, schema)| (schema, rename(schema, &name_aside(at))));
        let made = make.iter();
        let made = made.map(|schema| (schema, sql!["CREATE SCHEMA ", schema].text()));
        for (schema, statement) in away.chain(made) {
            let object = format!("schema {}", schema.quoted());
            let unit = Unit::plain(EntryId(0), vec![statement]);
            let outcome = worker.run_alone(shared, &object, &unit).await;
            outcome.map_err(|trouble| trouble.error)?;
        }
        let is_public = |name: &str| name == PUBLIC;
        let has_public = pairs.iter().any(|(old, _)| is_public(old))
            && !aside.iter().any(|schema| is_public(schema.as_str()));
        let public_again = if has_public {
            public_again(worker.session(), shared).await?
        } else {
            Vec::new()
        };
        Ok(Renaming {
            pairs,
            aside,
            public_again,
        })
    }

    /// Gives the schemas their new names, all at once. A failure goes to the ledger.
    ///
    /// Errors: if the target cannot be asked.
    pub(super) async fn finish(
        &self,
        worker: &mut Worker,
        shared: &Shared,
        ledger: &mut Ledger,
    ) -> Result<Vec<Renamed>> {
        if self.pairs.is_empty() {
            return Ok(Vec::new());
        }
        let line = Line::lasting(Item::new(EntryId(0), What::Names, 0));
        if shared.journal.get().is_some_and(Journal::has_names) {
            return Ok(self.pairs.iter().map(renamed).collect());
        }
        let old: Vec<&str> = self.pairs.iter().map(|(old, _)| old.as_str()).collect();
        let there =
            "SELECT nspname::pg_catalog.text FROM pg_catalog.pg_namespace WHERE nspname = ANY ($1)";
        let rows = worker
            .session()
            .query("looking for schemas", there, &[(&old, Type::TEXT_ARRAY)])
            .await?;
        let there: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
        let pairs: Vec<&(String, String)> = self
            .pairs
            .iter()
            .filter(|(old, _)| there.contains(old))
            .collect();
        let mut statements = renames(&pairs);
        let back = self.aside.iter().enumerate();
        statements.extend(back.map(|(at, schema)| rename(&name_aside(at), schema)));
        if there.contains(PUBLIC) {
            statements.extend(self.public_again.iter().cloned());
        }
        let unit = Unit {
            lines: vec![line],
            ..Unit::plain(EntryId(0), statements)
        };
        let object = "new names of schemas";
        if let Err(trouble) = worker.run_alone(shared, object, &unit).await {
            ledger.fail_object(object, &trouble);
            return Ok(Vec::new());
        }
        Ok(pairs.into_iter().map(renamed).collect())
    }
}

fn renamed((from, to): &(String, String)) -> Renamed {
    Renamed {
        from: from.clone(),
        to: to.clone(),
    }
}

/// The statements that make `public` as it was before the restore began. A run that goes on finds them in the journal.
async fn public_again(session: &Session, shared: &Shared) -> Result<Vec<String>> {
    let notes = shared.journal.get().map(|journal| &journal.notes);
    let known = notes
        .into_iter()
        .flatten()
        .find_map(|(_, note)| match note {
            Note::PublicAgain(statements) => Some(statements.clone()),
            _ => None,
        });
    if let Some(statements) = known {
        return Ok(statements);
    }
    let statements = state_of_public(session).await?;
    let statements: Vec<String> = statements.iter().map(Sql::text).collect();
    if shared.journals() {
        let note = Note::PublicAgain(statements.clone()).insert(EntryId(0));
        session.batch("schema public", "the journal", &note).await?;
    }
    Ok(statements)
}

/// Looks for texts that still name the schemas by their old names. Where that cannot be done it is a warning.
pub(super) async fn mentions(
    worker: &Worker,
    renamed: &[Renamed],
    ledger: &mut Ledger,
) -> Vec<Mention> {
    let mut mentions = Vec::new();
    for Renamed { from, .. } in renamed {
        match mentions_of(worker.session(), from).await {
            Ok(found) => mentions.extend(found),
            Err(error) => ledger.warnings.push(format!(
                "texts that still name schema {from:?} could not be looked for: {}",
                chain(&error)
            )),
        }
    }
    mentions
}

fn rename(from: &Ident, to: &Ident) -> String {
    sql!["ALTER SCHEMA ", from, " RENAME TO ", to].text()
}

/// The name of a schema that is set aside.
fn name_aside(at: usize) -> Ident {
    Ident::new(format!("pgark_aside_{at}"))
}

/// The statements for all pairs. Where one's new name is another's old one, all go over names that nobody has.
fn renames(pairs: &[&(String, String)]) -> Vec<String> {
    let is_old = |name: &str| pairs.iter().any(|(old, _)| old == name);
    if !pairs.iter().any(|(_, new)| is_old(new)) {
        let plain = pairs.iter();
        return plain
            .map(|(old, new)| rename(&Ident::new(old), &Ident::new(new)))
            .collect();
    }
    let between = |at: usize| Ident::new(format!("pgark_between_{at}"));
    let there = pairs.iter().enumerate();
    let there = there.map(|(at, (old, _))| rename(&Ident::new(old), &between(at)));
    let back = pairs.iter().enumerate();
    there
        .chain(back.map(|(at, (_, new))| rename(&between(at), &Ident::new(new))))
        .collect()
}

async fn state_of_public(session: &Session) -> Result<Vec<Sql>> {
    let what = "looking at schema public";
    let rows = session.query(what, STATE, &[(&PUBLIC, Type::TEXT)]).await?;
    let Some(row) = rows.first() else {
        return Ok(Vec::new());
    };
    let schema = Ident::new(PUBLIC);
    let owner = Ident::new(row.get::<_, String>(0));
    let mut statements = vec![
        sql!["CREATE SCHEMA ", &schema],
        sql!["ALTER SCHEMA ", &schema, " OWNER TO ", &owner],
    ];
    if let Some(comment) = row.get::<_, Option<String>>(1) {
        statements.push(sql![
            "COMMENT ON SCHEMA ",
            &schema,
            " IS ",
            Literal(&comment)
        ]);
    }
    if !row.get::<_, bool>(2) {
        statements.push(sql!["REVOKE ALL ON SCHEMA ", &schema, " FROM ", &owner]);
        for row in session
            .query(what, PRIVILEGES, &[(&PUBLIC, Type::TEXT)])
            .await?
        {
            let word = match row.get::<_, String>(0).as_str() {
                "CREATE" => "CREATE",
                _ => "USAGE",
            };
            let grantee = row.get::<_, Option<String>>(1);
            let grantee = grantee.map_or(sql!["PUBLIC"], |role| sql![Ident::new(role)]);
            let option = row.get::<_, bool>(2).then_some(" WITH GRANT OPTION");
            statements.push(sql![
                "GRANT ",
                word,
                " ON SCHEMA ",
                &schema,
                " TO ",
                grantee,
                option
            ]);
        }
    }
    Ok(statements)
}

async fn mentions_of(session: &Session, schema: &str) -> Result<Vec<Mention>> {
    let word = format!("(^|[^[:alnum:]_$]){}($|[^[:alnum:]_$])", literally(schema));
    // From the beginning, so that quotes are counted; a constant of a reg type is no text, and is mended.
    let in_literal = format!(
        "^[^']*('[^']*'[^']*)*'([^']*[^[:alnum:]_$'])?{}\"?\\.[^']*'(?!::reg)",
        literally(schema)
    );
    let rows = session
        .query(
            "looking for texts that name a renamed schema",
            MENTIONS,
            &[(&word, Type::TEXT), (&in_literal, Type::TEXT)],
        )
        .await?;
    let mention = |row: &tokio_postgres::Row| Mention {
        object: row.get(0),
        place: row.get(1),
        schema: schema.to_owned(),
    };
    Ok(rows.iter().map(mention).collect())
}

/// A pattern that matches just the text, in the server's regular expressions.
fn literally(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(pairs: &[(&str, &str)]) -> Vec<String> {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        renames(&pairs.iter().collect::<Vec<_>>())
    }

    #[test]
    fn names_that_swap_go_over_others() {
        assert_eq!(
            statements(&[("a", "x"), ("b", "y")]),
            [
                "ALTER SCHEMA \"a\" RENAME TO \"x\"",
                "ALTER SCHEMA \"b\" RENAME TO \"y\""
            ]
        );
        let swapped = statements(&[("a", "b"), ("b", "a")]);
        assert_eq!(swapped.len(), 4);
        assert!(
            swapped[..2]
                .iter()
                .all(|s| s.contains("RENAME TO \"pgark_between_"))
        );
        assert!(swapped[2].ends_with("RENAME TO \"b\"") && swapped[3].ends_with("RENAME TO \"a\""));
    }

    #[test]
    fn a_name_is_no_pattern() {
        assert_eq!(literally("a_b1é"), "a_b1é");
        assert_eq!(literally("a.b c\""), "a\\.b\\ c\\\"");
    }
}
