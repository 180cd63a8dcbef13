//! Connection strings as libpq reads them: URLs and `key=value` lists become keyword and value pairs. No meaning is given to them here.

use crate::error::{Error, Result};

/// A keyword and its value, in the order of the string.
pub(super) type Pair = (String, String);

/// True if the text is a connection string; otherwise it is a database name (`conninfo_uri_parse`'s rule).
pub(super) fn is_connection_string(text: &str) -> bool {
    url_body(text).is_some() || text.contains('=')
}

/// Reads either form.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>> {
    match url_body(text) {
        Some(body) => parse_url(body),
        None => parse_pairs(text),
    }
}

fn url_body(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
}

fn usage(problem: impl std::fmt::Display) -> Error {
    // The string itself may hold a password, so it is never repeated.
    Error::Usage(format!("the connection string cannot be read: {problem}"))
}

/// `key = value`, values with white space or nothing in single quotes, backslash escapes anywhere (manual 34.1.1.1).
fn parse_pairs(text: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let key_end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (key, tail) = rest.split_at(key_end);
        if !is_keyword(key) {
            return Err(usage("a keyword is expected before each \"=\""));
        }
        let Some(tail) = tail.trim_start().strip_prefix('=') else {
            return Err(usage(format_args!("missing \"=\" after {key:?}")));
        };
        let (value, tail) = parse_value(key, tail.trim_start())?;
        pairs.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(pairs)
}

fn is_keyword(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn parse_value<'a>(key: &str, text: &'a str) -> Result<(String, &'a str)> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && quoted.is_none() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted.is_some() {
        return Err(usage(format_args!(
            "the quote in the value of {key:?} is not closed"
        )));
    }
    Ok((value, ""))
}

/// `[user[:password]@][host[:port],…][/dbname][?key=value&…]`, each part percent-encoded (manual 34.1.1.2).
fn parse_url(body: &str) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let (body, query) = body.split_once('?').unwrap_or((body, ""));
    // A slash inside the user part would have to be encoded, so the first one ends the authority.
    let (authority, dbname) = body.split_once('/').unwrap_or((body, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let mut push = |key: &str, value: String| {
        if !value.is_empty() {
            pairs.push((key.to_owned(), value));
        }
    };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        push("user", decode("the user", user)?);
        push("password", decode("the password", password)?);
    }
    let (names, ports) = parse_hosts(hosts)?;
    if names.iter().any(|name| !name.is_empty()) {
        push("host", names.join(","));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        push("port", ports.join(","));
    }
    push("dbname", decode("the database", dbname)?);
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(usage("a parameter after \"?\" has no \"=\""));
        };
        let key = decode("a parameter's name", key)?;
        let value = decode(&format!("the parameter {key:?}"), value)?;
        // What JDBC drivers write.
        if key == "ssl" && value == "true" {
            pairs.push(("sslmode".to_owned(), "require".to_owned()));
        } else {
            pairs.push((key, value));
        }
    }
    Ok(pairs)
}

fn parse_hosts(text: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (name, port) = if let Some(inner) = part.strip_prefix('[') {
            let Some((name, tail)) = inner.split_once(']') else {
                return Err(usage("a \"]\" is missing after an IPv6 address"));
            };
            if !tail.is_empty() && !tail.starts_with(':') {
                return Err(usage("only a port may follow the \"]\" of an IPv6 address"));
            }
            (name, tail.strip_prefix(':').unwrap_or(""))
        } else {
            part.split_once(':').unwrap_or((part, ""))
        };
        names.push(decode("the host", name)?);
        ports.push(decode("the port", port)?);
    }
    Ok((names, ports))
}

fn decode(what: &str, text: &str) -> Result<String> {
    let bad = || {
        usage(format_args!(
            "{what} has a \"%\" that is not followed by two hexadecimal digits, or decodes to no text"
        ))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = digits
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .filter(|byte| *byte != 0)
            .ok_or_else(bad)?;
        bytes.push(byte);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let pairs = parse(text).unwrap();
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(pairs, expected, "{text}");
    }

    #[test]
    fn key_value_lists_are_read_as_libpq_reads_them() {
        check(
            r"host = localhost port=5433  dbname='my db' password='it\'s' user=a\ b options=''",
            &[
                ("host", "localhost"),
                ("port", "5433"),
                ("dbname", "my db"),
                ("password", "it's"),
                ("user", "a b"),
                ("options", ""),
            ],
        );
        check("dbname=a=b", &[("dbname", "a=b")]);
        check("user= dbname=x", &[("user", "dbname=x")]);
    }

    #[test]
    fn urls_are_read_in_all_their_forms() {
        check("postgresql://", &[]);
        check("postgresql://localhost", &[("host", "localhost")]);
        check(
            "postgres://me:p%40ss%3a@localhost:5433/my%20db?sslmode=require&application_name=a%26b",
            &[
                ("user", "me"),
                ("password", "p@ss:"),
                ("host", "localhost"),
                ("port", "5433"),
                ("dbname", "my db"),
                ("sslmode", "require"),
                ("application_name", "a&b"),
            ],
        );
        check(
            "postgresql://h1:123,h2,[::1]:456/db",
            &[
                ("host", "h1,h2,::1"),
                ("port", "123,,456"),
                ("dbname", "db"),
            ],
        );
        check(
            "postgresql://%2Fvar%2Frun%2Fpostgresql/db",
            &[("host", "/var/run/postgresql"), ("dbname", "db")],
        );
        check(
            "postgresql:///db?host=/tmp&ssl=true",
            &[("dbname", "db"), ("host", "/tmp"), ("sslmode", "require")],
        );
        check("postgresql://:5433", &[("port", "5433")]);
    }

    #[test]
    fn unreadable_strings_are_refused_without_repeating_them() {
        for text in [
            "host",
            "password=s3cret host",
            "password='s3cret",
            "= s3cret",
            "postgres://u:s3cret%zz@h",
            "postgres://u:s3cret%00@h",
            "postgres://u:s3cret@[::1",
            "postgres://u:s3cret@h?x",
            "postgres://u:s3cret%ff@h",
            "postgres://u:s3cret@[::1]5",
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn a_bare_name_is_no_connection_string() {
        assert!(!is_connection_string("shop"));
        assert!(is_connection_string("dbname=shop"));
        assert!(is_connection_string("postgresql:///shop"));
    }
}
