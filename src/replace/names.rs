//! Names of the databases that a replacement makes, and the marks by which they are known again. Pure.
//!
//! A database that is being filled carries its mark from birth, because `CREATE DATABASE` is no part of a transaction: a name
//! with the number of the database that it is to replace, and a limit of connections that is computed from this name. One that
//! was replaced carries its mark in the last line of its comment, which the exchange of the names writes in its transaction.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use xxhash_rust::xxh3::xxh3_64;

use crate::sql::{Ident, leading_quoted};

/// The longest name that a server takes (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;
const NEW: &str = "_pgark_new_";
const BEFORE: &str = "_before_";
/// How the last line of a kept database's comment begins.
const MARK: &str = "pgark keeps this database, which was ";
const UNTIL: &str = " until ";

/// The name of a database that is to take the place of `name`, whose OID is `oid`; `random` tells it from others.
pub(super) fn scratch(name: &str, oid: u32, random: u32) -> String {
    joined(name, &format!("{NEW}{oid:08x}{random:08x}"))
}

/// The OID of the database that a scratch database was to replace, if the name and the limit of connections are those of one.
///
/// A limit of -2 is what an interrupted `DROP DATABASE` leaves.
pub(super) fn replaces(name: &str, connection_limit: i32) -> Option<u32> {
    let (_, id) = name.rsplit_once(NEW)?;
    let is_id = id.len() == 16
        && id
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_marked = connection_limit == mark(name) || connection_limit == -2;
    if !is_id || !is_marked {
        return None;
    }
    u32::from_str_radix(&id[..8], 16).ok()
}

/// The limit of connections that marks a scratch database: no server has so many, and nobody would choose just this one.
pub(super) fn mark(name: &str) -> i32 {
    let hash = xxh3_64(name.as_bytes()) & 0x3fff_ffff;
    0x4000_0000 | i32::try_from(hash).expect("it has 30 bits")
}

/// The name under which a database is kept that was replaced at a time.
pub(super) fn kept(name: &str, at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ");
    joined(name, &format!("{BEFORE}{at}"))
}

/// As much of the name as there is room for, and the whole of what follows.
fn joined(name: &str, end: &str) -> String {
    let room = NAME_BYTES_MAX - end.len();
    let mut cut = name.len().min(room);
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{end}", &name[..cut])
}

/// What the comment of a database says that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptMark {
    /// Its comment before that.
    pub(super) comment: Option<String>,
    /// Its name before that.
    pub(super) was: String,
    /// When it was replaced, to the second.
    pub(super) until: Timestamp,
}

impl KeptMark {
    /// The comment with the mark as its last line.
    pub(super) fn text(&self) -> String {
        let before = self.comment.iter().map(|text| format!("{text}\n"));
        let name = Ident::new(&self.was).quoted();
        let before = before.collect::<String>();
        format!("{before}{MARK}{name}{UNTIL}{}", self.until)
    }

    /// Reads a comment; `None` if it has no mark.
    pub(super) fn read(comment: &str) -> Option<KeptMark> {
        // The name may have line breaks, and may even look like a mark: it is the text between quotes that counts.
        let starts = comment.match_indices(MARK).map(|(at, _)| at);
        let is_line = |at: &usize| *at == 0 || comment.as_bytes()[at - 1] == b'\n';
        starts.filter(is_line).find_map(|at| {
            let (was, rest) = leading_quoted(&comment[at + MARK.len()..])?;
            let until = rest.strip_prefix(UNTIL)?.parse().ok()?;
            let comment = (at > 0).then(|| comment[..at - 1].to_owned());
            Some(KeptMark {
                comment,
                was,
                until,
            })
        })
    }

    /// True if a database of this name is the one that was kept, and not one that somebody has given another name, or back its own.
    pub(super) fn is_of(&self, name: &str) -> bool {
        kept(&self.was, self.until) == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-23T07:05:09Z".parse().unwrap()
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(kept("shop", at()), "shop_before_20261123T070509Z");
        let long = "ä".repeat(31);
        for name in [kept(&long, at()), scratch(&long, u32::MAX, 0)] {
            assert!(
                name.len() <= NAME_BYTES_MAX && name.len() >= NAME_BYTES_MAX - 1,
                "{name}"
            );
            assert!(name.starts_with("ää"), "{name}");
        }
    }

    #[test]
    fn a_scratch_database_is_known_by_name_and_limit_together() {
        let name = scratch("a\"b", 16_384, 7);
        assert_eq!(name, "a\"b_pgark_new_0000400000000007");
        assert_eq!(replaces(&name, mark(&name)), Some(16_384));
        assert_eq!(replaces(&name, -2), Some(16_384));
        // A stranger's, whatever it is called.
        assert_eq!(replaces(&name, -1), None);
        assert_eq!(replaces("shop_pgark_new_", mark("shop_pgark_new_")), None);
        assert_eq!(replaces("shop", mark("shop")), None);
        assert!(mark(&name) >= 0x4000_0000);
    }

    #[test]
    fn a_kept_database_is_known_by_its_comment_and_its_name_together() {
        for comment in [
            None,
            Some("the shop\nof \"all\" shops"),
            Some("pgark keeps this database, which was \"x"),
        ] {
            for was in [
                "shop",
                "a\"b",
                "two\nlines",
                "pgark keeps this database, which was \"x\" until never",
            ] {
                let mark = KeptMark {
                    comment: comment.map(str::to_owned),
                    was: was.to_owned(),
                    until: at(),
                };
                let read = KeptMark::read(&mark.text()).unwrap();
                assert_eq!(read, mark);
                assert!(read.is_of(&kept(was, at())));
                // Somebody has given it back its name, and the comment stayed.
                assert!(!read.is_of(was));
            }
        }
        for stranger in [
            "",
            "a comment",
            "pgark keeps this database, which was \"x\" until soon",
        ] {
            assert_eq!(KeptMark::read(stranger), None);
        }
    }
}
