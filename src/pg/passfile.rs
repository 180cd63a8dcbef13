//! The password file: `host:port:database:user:password` lines (manual 34.16). Only parsing and matching; reading is done in `resolve`.

use std::fmt;

/// The entries of a password file, in its order.
#[derive(Clone, Default)]
pub(super) struct Passfile {
    entries: Vec<[String; 5]>,
}

impl fmt::Debug for Passfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passfile({} entries)", self.entries.len())
    }
}

impl Passfile {
    /// Reads all lines that have five fields; comments and other lines are passed over, as in libpq.
    pub(super) fn parse(text: &str) -> Self {
        let entries = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(fields)
            .collect();
        Passfile { entries }
    }

    /// The password of the first entry that matches.
    pub(super) fn password(&self, host: &str, port: u16, dbname: &str, user: &str) -> Option<&str> {
        let wanted = [host, &port.to_string(), dbname, user];
        self.entries.iter().find_map(|[h, p, d, u, password]| {
            let matches = [h, p, d, u]
                .iter()
                .zip(wanted)
                .all(|(field, value)| *field == "*" || *field == value);
            // libpq passes over an entry with an empty password.
            (matches && !password.is_empty()).then_some(password.as_str())
        })
    }
}

/// Splits at colons; a backslash keeps the next character. The password needs no escapes: it ends with the line.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields: [String; 5] = Default::default();
    let mut at = 0;
    let mut chars = line.trim_end_matches('\r').chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => fields[at].extend(chars.next()),
            ':' if at < 4 => at += 1,
            ':' => break,
            c => fields[at].push(c),
        }
    }
    (at == 4).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_line_wins() {
        let file = Passfile::parse(concat!(
            "# comment:5432:a:b:no\n",
            "short:line\n",
            "db.example:5433:shop:ann:one\r\n",
            "db.example:*:shop:ann:two\n",
            r"fe80\:\:1:*:*:ann:t\:h\\ree",
            "\n*:*:*:bob:four\n",
            "*:*:*:carl:\n",
        ));
        let look = |host, port, dbname, user| file.password(host, port, dbname, user);
        assert_eq!(look("db.example", 5433, "shop", "ann"), Some("one"));
        assert_eq!(look("db.example", 5432, "shop", "ann"), Some("two"));
        assert_eq!(look("fe80::1", 1, "x", "ann"), Some(r"t:h\ree"));
        assert_eq!(look("any", 1, "x", "bob"), Some("four"));
        assert_eq!(look("any", 1, "x", "carl"), None);
        assert_eq!(look("any", 1, "x", "ann"), None);
        assert!(!format!("{file:?}").contains("four"));
    }
}
