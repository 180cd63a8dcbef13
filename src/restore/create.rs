//! Makes the database that is restored to, as the source's was.

use std::collections::BTreeMap;

use crate::archive::manifest::Source;
use crate::error::{Error, Result};
use crate::pg::version::{V15, V16, V17};
use crate::pg::{ConnSettings, ServerVersion, Session, connect};
use crate::sql::{Ident, Literal, Sql, sql};

/// The database from which others are made.
const MAINTENANCE: &str = "postgres";

/// Connects to the server beside the database that is to be made, and finds out whether that exists.
pub(super) async fn look(settings: &ConnSettings) -> Result<(Session, bool)> {
    let session = connect(&settings.with_dbname(MAINTENANCE), "restore").await?;
    let rows = session
        .query(
            "looking for the database",
            "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1",
            &[(&settings.dbname(), tokio_postgres::types::Type::TEXT)],
        )
        .await?;
    Ok((session, !rows.is_empty()))
}

/// Makes the database.
pub(crate) async fn create(
    session: &Session,
    name: &str,
    source: &Source,
    tablespace: Option<&str>,
) -> Result<()> {
    let tablespace = tablespace.map(|name| sql![" TABLESPACE ", Ident::new(name)]);
    let statement = statement(name, source, session.version());
    let statement = sql![statement, tablespace];
    let object = format!("database {}", Ident::new(name).quoted());
    let outcome = session
        .batch(&object, "CREATE DATABASE", &statement.text())
        .await;
    outcome.map_err(|error| Error::Failed {
        object,
        problem: format!("cannot be made with the source's encoding and locale ({})", statement.text()),
        remedy: "make the database yourself, with a locale that the server has, and restore into it without --create".to_owned(),
        source: Some(error.into()),
    })
}

fn statement(name: &str, source: &Source, version: ServerVersion) -> Sql {
    let locale = &source.locale;
    let mut out = sql![
        "CREATE DATABASE ",
        Ident::new(name),
        " TEMPLATE template0 ENCODING ",
        Literal(&source.encoding),
        option(locale, &["collate", "lc_collate"], " LC_COLLATE "),
        option(locale, &["ctype", "lc_ctype"], " LC_CTYPE ")
    ];
    let provider = locale.get("provider").map_or("", String::as_str);
    match provider {
        "i" | "icu" if version >= V15 => {
            let rules = option(locale, &["icu_rules"], " ICU_RULES ").filter(|_| version >= V16);
            let icu = option(locale, &["icu_locale", "locale"], " ICU_LOCALE ");
            out = sql![out, " LOCALE_PROVIDER icu", icu, rules];
        }
        "b" | "builtin" if version >= V17 => {
            let builtin = option(locale, &["builtin_locale", "locale"], " BUILTIN_LOCALE ");
            out = sql![out, " LOCALE_PROVIDER builtin", builtin];
        }
        "c" | "libc" if version >= V15 => out = sql![out, " LOCALE_PROVIDER libc"],
        _ => {}
    }
    out
}

/// The first of the names that the source has, as an option.
fn option(locale: &BTreeMap<String, String>, names: &[&str], word: &'static str) -> Option<Sql> {
    let value = names.iter().find_map(|name| locale.get(*name))?;
    (!value.is_empty()).then(|| sql![word, Literal(value)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::V14;

    fn source(locale: &[(&str, &str)]) -> Source {
        let now = jiff::Timestamp::UNIX_EPOCH;
        Source {
            server_version: V16,
            server_version_text: String::new(),
            system_identifier: "1".into(),
            database: "d".into(),
            encoding: "UTF8".into(),
            locale: locale
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            extensions: BTreeMap::new(),
            snapshot_lsn: None,
            started: now,
            finished: now,
        }
    }

    #[test]
    fn the_locale_is_given_as_the_version_understands_it() {
        let source = source(&[
            ("collate", "C"),
            ("ctype", "C.UTF-8"),
            ("provider", "i"),
            ("icu_locale", "de"),
            ("icu_rules", "&a<b"),
        ]);
        let begin = "CREATE DATABASE \"d\"\"x\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'";
        let text = |version| statement("d\"x", &source, version).text();
        assert_eq!(text(V14), begin);
        assert_eq!(
            text(V15),
            format!("{begin} LOCALE_PROVIDER icu ICU_LOCALE 'de'")
        );
        assert_eq!(
            text(V16),
            format!("{begin} LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a<b'")
        );
    }
}
