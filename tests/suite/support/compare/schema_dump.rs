//! What `pg_dump --schema-only` says of a database, item by item. The order of items is left out:
//! independent items change places when OIDs do.

use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use regex::Regex;
use tokio::process::Command;

use super::facts::Facts;
use super::session::Problem;

/// The line that opens an item, between two lines of `--`.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^-- Name: (.*); Type: ([A-Z ]+); Schema: (.*); Owner: (.*?)(?:; Tablespace: (.*))?$",
    )
    .expect("a valid pattern")
});

/// An option that servers since the minor releases of November 2026 write into every column, and
/// that tools before them take for the user's.
static INTERNAL_OPTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(, )?pg_attver='?[^,)]*").expect("a valid pattern"));

/// Runs `pg_dump` of `conninfo` and takes its script apart. With `database`, the quoted name of
/// the database, the script also makes the database, and the name is blanked out.
pub(super) async fn read_schema_dump(
    pg_dump: &Path,
    conninfo: &str,
    database: Option<&str>,
) -> Result<Facts, Problem> {
    let mut command = Command::new(pg_dump);
    // A database may be set to read literals otherwise, and its script is then written otherwise.
    command.env("PGOPTIONS", "-c standard_conforming_strings=on");
    command
        .args(["--schema-only", "--dbname", conninfo])
        .stdin(Stdio::null());
    if database.is_some() {
        command.arg("--create");
    }
    let output = command
        .output()
        .await
        .map_err(|error| format!("running {}: {error}", pg_dump.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{} of {conninfo:?}: {said}", pg_dump.display()));
    }
    // An SQL_ASCII database may hold bytes that are not UTF-8: lossy on both sides alike.
    let script = String::from_utf8_lossy(&output.stdout);
    Ok(script_facts(&script, database))
}

/// Takes a script apart into items.
pub(super) fn script_facts(script: &str, database: Option<&str>) -> Facts {
    let lines: Vec<&str> = script.lines().collect();
    let is_header = |at: usize| {
        lines[at].starts_with("-- Name: ")
            && at > 0
            && lines[at - 1] == "--"
            && lines.get(at + 1) == Some(&"--")
    };
    let starts: Vec<usize> = (0..lines.len()).filter(|&at| is_header(at)).collect();
    let mut facts = Facts::default();
    let head = &lines[..starts.first().map_or(lines.len(), |start| start - 1)];
    facts.add("pg_dump preamble", "text", Some(statements(head).0));
    let mut access_method = statements(head).1;
    for (nth, &start) in starts.iter().enumerate() {
        let end = starts.get(nth + 1).map_or(lines.len(), |next| next - 1);
        let (mut text, next_access_method) = statements(&lines[start + 2..end]);
        let mut header = lines[start].to_owned();
        let of_database = header.contains("; Type: DATABASE")
            || header.starts_with("-- Name: DATABASE ") && header.contains("; Schema: -;");
        if let (Some(name), true) = (database, of_database) {
            text = without_database_name(&text, name);
            header = without_database_name(&header, name);
        }
        add_item(&mut facts, &header, text, access_method.as_deref());
        access_method = next_access_method.or(access_method);
    }
    facts
}

/// Blanks out the name of the database, `quoted` where needed, in an item about it.
fn without_database_name(text: &str, quoted: &str) -> String {
    let bare = match quoted
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'))
    {
        Some(inside) => inside.replace("\"\"", "\""),
        None => quoted.to_owned(),
    };
    text.replace(&format!("DATABASE {quoted}"), "DATABASE <database>")
        .replace(&format!("-- Name: {bare};"), "-- Name: <database>;")
        .replace(
            &format!("datname = '{}'", bare.replace('\'', "''")),
            "datname = <database>",
        )
}

fn add_item(facts: &mut Facts, header: &str, text: String, access_method: Option<&str>) {
    let Some(parts) = HEADER.captures(header) else {
        facts.add(&format!("pg_dump {header}"), "text", Some(text));
        return;
    };
    let (name, kind, schema) = (&parts[1], &parts[2], &parts[3]);
    let object = match schema {
        "-" => format!("pg_dump {kind} {name}"),
        schema => format!("pg_dump {kind} {schema}.{name}"),
    };
    facts.add(&object, "owner", Some(parts[4].to_owned()));
    facts.add(
        &object,
        "tablespace",
        parts.get(5).map(|name| name.as_str().to_owned()),
    );
    if matches!(kind, "TABLE" | "MATERIALIZED VIEW") {
        facts.add(&object, "access method", access_method.map(str::to_owned));
    }
    // Grants stand in the order of the list's items, which has no meaning.
    let text = if matches!(kind, "ACL" | "DEFAULT ACL") {
        let mut grants: Vec<&str> = text.lines().collect();
        grants.sort_unstable();
        grants.join("\n")
    } else if kind == "POLICY" {
        with_sorted_roles(&text)
    } else {
        text
    };
    facts.add(&object, "text", Some(text));
}

/// The text of one item without what belongs to the tool, and the table access method that is set
/// for the items after it.
fn statements(lines: &[&str]) -> (String, Option<String>) {
    let mut kept: Vec<String> = Vec::new();
    let mut access_method = None;
    for line in lines {
        if let Some(set) = line.strip_prefix("SET default_table_access_method = ") {
            access_method = Some(set.trim_end_matches(';').to_owned());
            continue;
        }
        let of_the_tool = [
            "\\restrict ",
            "\\unrestrict ",
            "\\connect ",
            "\\encoding ",
            "SET default_tablespace = ",
        ]
        .iter()
        .any(|prefix| line.starts_with(prefix));
        let version =
            line.starts_with("-- Dumped ") || line.starts_with("-- PostgreSQL database dump");
        if of_the_tool || version {
            continue;
        }
        let line = without_internal_option(line);
        if !line.ends_with("SET ();") {
            kept.push(line);
        }
    }
    let text = kept.join("\n");
    (
        text.trim_matches(|c| c == '\n' || c == '-').to_owned(),
        access_method,
    )
}

/// A policy's roles in the order of their names: `pg_dump` prints them in the order in which the cluster's catalog of roles
/// happens to hold them, which no restore of a database can give.
fn with_sorted_roles(statement: &str) -> String {
    let end = [" USING (", " WITH CHECK ("]
        .iter()
        .filter_map(|clause| statement.find(clause))
        .min();
    let end = end.unwrap_or_else(|| statement.trim_end_matches(';').len());
    match statement[..end].rfind(" TO ") {
        Some(to) if statement.starts_with("CREATE POLICY ") => {
            let start = to + " TO ".len();
            let mut roles: Vec<&str> = statement[start..end].split(", ").collect();
            roles.sort_unstable();
            format!(
                "{}{}{}",
                &statement[..start],
                roles.join(", "),
                &statement[end..]
            )
        }
        _ => statement.to_owned(),
    }
}

fn without_internal_option(line: &str) -> String {
    if !line.contains("pg_attver=") {
        return line.to_owned();
    }
    INTERNAL_OPTION
        .replace(line, "")
        .replace("SET (, ", "SET (")
}

#[test]
fn an_option_of_the_server_and_the_order_of_items_do_not_count() {
    let item = |name: &str, text: &str| {
        format!("--\n-- Name: {name}; Type: TABLE; Schema: s; Owner: o\n--\n\n{text}\n\n\n")
    };
    let set = |options: &str| format!("ALTER TABLE ONLY s.t ALTER COLUMN a SET ({options});");
    let plain = [
        item("t", &set("n_distinct=5")),
        item("u", "CREATE TABLE s.u ();"),
    ]
    .concat();
    let text = [set("pg_attver='3', n_distinct=5"), set("pg_attver='4'")].join("\n");
    let other = [item("u", "CREATE TABLE s.u ();"), item("t", &text)].concat();
    let differences = |other: &str| {
        let (left, right) = (script_facts(&plain, None), script_facts(other, None));
        left.differences(&right, false, |_, text| text.to_owned())
    };
    assert_eq!(differences(&other), []);
    let heap = other.replacen(
        "--\n",
        "SET default_table_access_method = heap2;\n\n--\n",
        1,
    );
    let found = differences(&heap);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].what, "pg_dump TABLE s.t: access method");
}
