//! The settings that make a session's output depend on nothing but the data. Which session gets which set is the caller's choice;
//! they are applied by [`Session::pin`](super::Session::pin), in one round trip and before any transaction.

use crate::sql;
use crate::sql::{Ident, Literal, Sql};

use super::version::{ServerVersion, V14, V17};

/// What a dump session may vary.
#[derive(Debug, Clone, Copy, Default)]
pub struct DumpPins<'a> {
    /// The role to become (`--role`).
    pub role: Option<&'a Ident>,
    /// Lets row security filter rows; without it a filtered table is an error instead of a partial dump.
    pub row_security: bool,
    /// Allows foreign tables to be read; without it a table that became one cannot make the server run foreign code.
    pub foreign_tables: bool,
}

/// Settings of a session that reads (`setup_connection` in `pg_dump.c`, 18, and what else makes bytes differ from day to day).
pub fn pin_dump_session(version: ServerVersion, pins: &DumpPins<'_>) -> Vec<Sql> {
    // First of all: nothing that a user planted on the path may be called.
    let mut list = vec![empty_search_path()];
    list.extend(timeouts(version));
    list.extend([
        sql!["SET standard_conforming_strings = on"],
        sql!["SET datestyle = 'ISO, MDY'"],
        sql!["SET intervalstyle = 'postgres'"],
        sql!["SET timezone = 'UTC'"],
        sql!["SET extra_float_digits = 3"],
        sql!["SET bytea_output = 'hex'"],
        sql!["SET xmlbinary = 'base64'"],
        sql!["SET xmloption = 'content'"],
        sql!["SET lc_monetary = 'C'"],
        sql!["SET quote_all_identifiers = off"],
        sql!["SET synchronize_seqscans = off"],
        // A parallel plan under COPY (SELECT …) returns rows in no order.
        sql!["SET max_parallel_workers_per_gather = 0"],
        sql!["SET jit = off"],
        sql!["SET client_min_messages = 'warning'"],
        sql![
            "SET row_security = ",
            if pins.row_security { "on" } else { "off" }
        ],
        // Exists from 12.20, 13.16, 14.13, 15.8, 16.4 and 17.0 on; a query over no row changes nothing elsewhere.
        sql![
            "SELECT pg_catalog.set_config(name, ",
            Literal(if pins.foreign_tables {
                "view"
            } else {
                "view, foreign-table"
            }),
            ", false) FROM pg_catalog.pg_settings WHERE name = 'restrict_nonsystem_relation_kind'"
        ],
    ]);
    list.push(client_encoding());
    list.extend(pins.role.map(|role| sql!["SET ROLE ", role]));
    list
}

/// What a restore session may vary.
#[derive(Debug, Clone, Copy, Default)]
pub struct RestorePins<'a> {
    /// The encoding of a script's text, such as `UTF8`; a session of our own goes without.
    pub encoding: Option<&'a str>,
    /// The role to become.
    pub role: Option<&'a Ident>,
    /// Lets row security apply to what is loaded.
    pub row_security: bool,
}

/// Settings of a session that writes (`_doSetFixedOutputState` in `pg_backup_archiver.c`, 18, with the value formats of the dump).
pub fn pin_restore_session(version: ServerVersion, pins: &RestorePins<'_>) -> Vec<Sql> {
    let mut list = vec![empty_search_path()];
    list.extend(timeouts(version));
    list.extend([
        sql!["SET standard_conforming_strings = on"],
        sql!["SET default_transaction_read_only = off"],
        sql!["SET default_transaction_isolation = 'read committed'"],
        sql!["SET default_transaction_deferrable = off"],
        sql!["SET check_function_bodies = off"],
        sql!["SET datestyle = 'ISO, MDY'"],
        sql!["SET intervalstyle = 'postgres'"],
        sql!["SET timezone = 'UTC'"],
        sql!["SET extra_float_digits = 3"],
        sql!["SET bytea_output = 'hex'"],
        sql!["SET xmlbinary = 'base64'"],
        sql!["SET xmloption = 'content'"],
        sql!["SET lc_monetary = 'C'"],
        // Without the first an unquoted NULL in an array is the word; with the second `x = NULL` is another condition.
        sql!["SET array_nulls = on"],
        sql!["SET transform_null_equals = off"],
        sql!["SET client_min_messages = 'warning'"],
        sql![
            "SET row_security = ",
            if pins.row_security { "on" } else { "off" }
        ],
    ]);
    list.push(match pins.encoding {
        Some(name) => sql!["SET client_encoding = ", Literal(name)],
        None => client_encoding(),
    });
    list.extend(pins.role.map(|role| sql!["SET ROLE ", role]));
    list
}

/// How text travels; the other sets of settings include it.
///
/// As UTF-8, so that names can be read by people. A database without an encoding has bytes only, which the server would refuse
/// to send as UTF-8. Rows are not concerned: each COPY says their encoding where it is another.
pub fn client_encoding() -> Sql {
    sql![
        "SELECT pg_catalog.set_config('client_encoding', CASE pg_catalog.current_setting('server_encoding') \
         WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, false)"
    ]
}

fn empty_search_path() -> Sql {
    sql!["SELECT pg_catalog.set_config('search_path', '', false)"]
}

/// No limit of a role or database may end the work half way.
fn timeouts(version: ServerVersion) -> Vec<Sql> {
    let mut list = vec![
        sql!["SET statement_timeout = 0"],
        sql!["SET lock_timeout = 0"],
        sql!["SET idle_in_transaction_session_timeout = 0"],
    ];
    if version >= V14 {
        list.push(sql!["SET idle_session_timeout = 0"]);
    }
    if version >= V17 {
        list.push(sql!["SET transaction_timeout = 0"]);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V12, V18};

    fn texts(list: &[Sql]) -> Vec<String> {
        list.iter().map(Sql::text).collect()
    }

    #[test]
    fn the_search_path_is_emptied_before_anything_else() {
        let role = Ident::new("Dump er");
        let pins = DumpPins {
            role: Some(&role),
            ..DumpPins::default()
        };
        let dump = texts(&pin_dump_session(V12, &pins));
        assert!(dump[0].contains("set_config('search_path', ''"));
        assert_eq!(dump.last().unwrap(), "SET ROLE \"Dump er\"");
        let restore = texts(&pin_restore_session(V12, &RestorePins::default()));
        assert!(restore[0].contains("set_config('search_path', ''"));
    }

    #[test]
    fn settings_that_a_server_does_not_know_are_not_sent() {
        let has = |version, name: &str| {
            let list = texts(&pin_dump_session(version, &DumpPins::default()));
            list.iter().any(|text| text.contains(name))
        };
        assert!(!has(V12, "transaction_timeout") && has(V18, "transaction_timeout"));
        assert!(!has(V12, "idle_session_timeout") && has(V14, "idle_session_timeout"));
    }
}
