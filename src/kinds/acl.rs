//! Privileges: an ACL and its base become the REVOKEs and GRANTs that lead from one to the other. Pure.
//! The algorithm is `dumputils.c`'s (18), on privilege words instead of letters, so that a privilege of a newer server passes by name.

use std::collections::BTreeMap;

use super::row::Oid;
use crate::pg::version::{ServerVersion, V17, V18};
use crate::sql::{Grantee, Ident, Role, Sql, sql};
use crate::toc::{Grant, Targets};

/// One item of an ACL: what one role gave to another. Items keep the server's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclItem {
    /// Who receives; 0 is everybody.
    pub grantee: Oid,
    /// Who gave.
    pub grantor: Oid,
    /// Privilege words, and whether with grant option.
    pub privileges: BTreeMap<String, bool>,
}

/// The privileges of one object or column, and what they are compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectAcl {
    /// The object's owner.
    pub owner: Oid,
    /// The object's items. An absent ACL stands here as the default's items.
    pub items: Vec<AclItem>,
    /// What the object has right after creation: the type's default, or what its extension or initdb gave.
    pub base: Vec<AclItem>,
}

/// What `GRANT` needs to know about the object.
#[derive(Debug, Clone, Copy)]
pub struct GrantTarget<'a> {
    /// The keyword after `ON`: `TABLE`.
    pub keyword: &'static str,
    /// The object after the keyword; empty for default privileges, which name none.
    pub address: &'a Sql,
    /// The column, for column privileges.
    pub column: Option<&'a Ident>,
    /// What stands before the verb (default privileges).
    pub prefix: &'a Sql,
}

/// Every privilege that a kind of object had on a server of `version`, by its `GRANT` keyword.
///
/// When an item holds them all it is written `ALL`, so that it covers what a newer target adds.
fn all_privileges(keyword: &str, column: bool, version: ServerVersion) -> &'static [&'static str] {
    const TABLE: [&str; 8] = [
        "DELETE",
        "INSERT",
        "REFERENCES",
        "SELECT",
        "TRIGGER",
        "TRUNCATE",
        "UPDATE",
        "MAINTAIN",
    ];
    match keyword {
        "TABLE" | "TABLES" if column => &["INSERT", "REFERENCES", "SELECT", "UPDATE"],
        "TABLE" | "TABLES" if version >= V17 => &TABLE,
        "TABLE" | "TABLES" => &TABLE[..7],
        "SEQUENCE" | "SEQUENCES" => &["SELECT", "UPDATE", "USAGE"],
        "FUNCTION" | "FUNCTIONS" | "PROCEDURE" => &["EXECUTE"],
        "SCHEMA" | "SCHEMAS" => &["CREATE", "USAGE"],
        "TYPE" | "TYPES" | "LANGUAGE" | "FOREIGN DATA WRAPPER" | "FOREIGN SERVER" => &["USAGE"],
        "DATABASE" => &["CONNECT", "CREATE", "TEMPORARY"],
        "TABLESPACE" => &["CREATE"],
        "PARAMETER" => &["ALTER SYSTEM", "SET"],
        "LARGE OBJECT" | "LARGE OBJECTS" => &["SELECT", "UPDATE"],
        _ => &[],
    }
}

/// The statements that turn `base` into `items`, in the order in which they must run.
///
/// All REVOKEs first, then what the owner gave itself, then the rest in the server's order, in which a grant option
/// precedes the grants that it made possible. A grantor who is not the owner is named.
pub fn grants(
    acl: &ObjectAcl,
    target: &GrantTarget<'_>,
    role: impl Fn(Oid) -> Role,
    version: ServerVersion,
) -> Vec<Grant> {
    let writer = Writer {
        target,
        role: &role,
        version,
        owner: acl.owner,
    };
    let mut out = Vec::new();
    for item in acl.base.iter().filter(|item| !acl.items.contains(item)) {
        out.extend(writer.statements(false, item, None));
    }
    let new = acl.items.iter().filter(|item| !acl.base.contains(item));
    let (own, others): (Vec<_>, Vec<_>) =
        new.partition(|item| item.grantee == acl.owner && item.grantor == acl.owner);
    for item in own.into_iter().chain(others) {
        for option in [false, true] {
            if item.privileges.values().any(|with| *with == option) {
                out.extend(writer.statements(true, item, Some(option)));
            }
        }
    }
    out
}

/// True for a privilege that 12 did not have: 17 brought MAINTAIN.
fn is_new(word: &str) -> bool {
    word == "MAINTAIN"
}

struct Writer<'a> {
    target: &'a GrantTarget<'a>,
    role: &'a dyn Fn(Oid) -> Role,
    version: ServerVersion,
    owner: Oid,
}

impl Writer<'_> {
    /// One statement, or two where a privilege is younger than the others.
    fn statements(&self, grant: bool, item: &AclItem, option: Option<bool>) -> Vec<Grant> {
        let words: Vec<&str> = item
            .privileges
            .iter()
            .filter(|(_, with)| option.is_none_or(|option| **with == option))
            .map(|(word, _)| word.as_str())
            .collect();
        let grantee = if item.grantee == 0 {
            Grantee::Public
        } else {
            Grantee::Role((self.role)(item.grantee))
        };
        let statement = |privileges: Vec<Sql>, targets: Targets| Grant {
            grant,
            privileges,
            target: if self.target.address.is_empty() {
                sql![self.target.keyword]
            } else {
                sql![self.target.keyword, " ", self.target.address]
            },
            grantee: grantee.clone(),
            with_grant_option: option == Some(true),
            grantor: (grant && item.grantor != self.owner).then(|| (self.role)(item.grantor)),
            prefix: self.target.prefix.clone(),
            targets,
        };
        if self.is_all(&words) {
            let column = self.column();
            let targets = self.targets(grant, "", &grantee);
            return vec![statement(vec![sql!["ALL", column]], targets)];
        }
        let (new, old): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| is_new(word));
        let mut out = Vec::new();
        for words in [old, new] {
            if let Some(first) = words.first() {
                let targets = self.targets(grant, first, &grantee);
                out.push(statement(self.privileges(&words), targets));
            }
        }
        out
    }

    fn is_all(&self, words: &[&str]) -> bool {
        let column = self.target.column.is_some();
        let all = all_privileges(self.target.keyword, column, self.version);
        !all.is_empty() && all.iter().all(|word| words.contains(word))
    }

    /// The targets that know the privilege, and the kind of object by that keyword.
    fn targets(&self, grant: bool, word: &str, grantee: &Grantee) -> Targets {
        let to = match grantee {
            Grantee::Public => "PUBLIC".to_owned(),
            Grantee::Role(role) => Ident::new(&*role.0).quoted(),
        };
        let (since, what) = if self.target.keyword == "LARGE OBJECTS" {
            (V18, "default privileges on large objects".to_owned())
        } else if is_new(word) {
            (V17, format!("the privilege {word}"))
        } else {
            return Targets::default();
        };
        Targets {
            since: Some(since),
            until: None,
            // What is not there need not be taken away.
            lost: grant.then(|| format!("{what} for {to}")),
        }
    }

    fn column(&self) -> Option<Sql> {
        self.target.column.map(|column| sql![" (", column, ")"])
    }

    fn privileges(&self, words: &[&str]) -> Vec<Sql> {
        let column = self.column();
        words
            .iter()
            .map(|word| sql![PrivilegeWord(word), &column])
            .collect()
    }
}

/// A privilege word as `aclexplode` spells it: capital letters and spaces, nothing else passes.
struct PrivilegeWord<'a>(&'a str);

impl crate::sql::Fragment for PrivilegeWord<'_> {
    fn append(&self, out: &mut Sql) {
        if self.0.bytes().all(|b| b.is_ascii_uppercase() || b == b' ') {
            out.push_keyword(self.0);
        } else {
            Ident::new(self.0).append(out);
        }
    }
}

/// One row of `aclexplode`, in array order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplodedRow {
    /// Who gave.
    pub grantor: Oid,
    /// Who receives; 0 is everybody.
    pub grantee: Oid,
    /// The privilege's word.
    pub privilege: String,
    /// With grant option.
    pub grantable: bool,
}

/// Gathers the rows of one ACL into items.
pub fn items_of(rows: impl IntoIterator<Item = ExplodedRow>) -> Vec<AclItem> {
    let mut items: Vec<AclItem> = Vec::new();
    for row in rows {
        let same = |item: &AclItem| item.grantee == row.grantee && item.grantor == row.grantor;
        if !items.last().is_some_and(same) {
            let (grantee, grantor) = (row.grantee, row.grantor);
            items.push(AclItem {
                grantee,
                grantor,
                privileges: BTreeMap::new(),
            });
        }
        let item = items.last_mut().expect("one was just pushed");
        item.privileges.insert(row.privilege, row.grantable);
    }
    items
}

/// The baseline of schema `public`, whatever the server's version: the owner may do all, everybody may use (15's default).
pub fn public_schema_base(owner: Oid) -> Vec<AclItem> {
    let item = |grantee, words: &[&str]| AclItem {
        grantee,
        grantor: owner,
        privileges: words
            .iter()
            .map(|word| ((*word).to_owned(), false))
            .collect(),
    };
    vec![item(owner, &["CREATE", "USAGE"]), item(0, &["USAGE"])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V15, V17, V18};

    const OWNER: Oid = 1;

    fn item(grantee: Oid, grantor: Oid, words: &[(&str, bool)]) -> AclItem {
        let privileges = words
            .iter()
            .map(|(word, with)| ((*word).to_owned(), *with))
            .collect();
        AclItem {
            grantee,
            grantor,
            privileges,
        }
    }

    fn text(acl: &ObjectAcl, version: ServerVersion) -> Vec<String> {
        let (address, prefix) = (sql!["t"], Sql::default());
        let target = GrantTarget {
            keyword: "TABLE",
            address: &address,
            column: None,
            prefix: &prefix,
        };
        grants(acl, &target, |oid| Role(format!("r{oid}")), version)
            .iter()
            .map(|grant| grant.statement().text())
            .collect()
    }

    const ALL_15: [(&str, bool); 7] = [
        ("SELECT", false),
        ("INSERT", false),
        ("UPDATE", false),
        ("DELETE", false),
        ("TRUNCATE", false),
        ("REFERENCES", false),
        ("TRIGGER", false),
    ];

    #[test]
    fn an_owner_reduced_to_select_is_revoked_first() {
        let acl = ObjectAcl {
            owner: OWNER,
            items: vec![item(OWNER, OWNER, &[("SELECT", false)])],
            base: vec![item(OWNER, OWNER, &ALL_15)],
        };
        assert_eq!(
            text(&acl, V15),
            [
                r#"REVOKE ALL ON TABLE t FROM "r1""#,
                r#"GRANT SELECT ON TABLE t TO "r1""#
            ]
        );
        // On 18 the seven words are no longer all there is.
        assert!(text(&acl, V18)[0].starts_with("REVOKE DELETE, INSERT"));
    }

    #[test]
    fn grant_chains_keep_their_order_and_name_their_grantor() {
        let acl = ObjectAcl {
            owner: OWNER,
            items: vec![
                item(OWNER, OWNER, &ALL_15),
                item(2, OWNER, &[("INSERT", false), ("SELECT", true)]),
                item(0, 2, &[("SELECT", false)]),
            ],
            base: vec![item(OWNER, OWNER, &ALL_15)],
        };
        assert_eq!(
            text(&acl, V15),
            [
                r#"GRANT INSERT ON TABLE t TO "r2""#,
                r#"GRANT SELECT ON TABLE t TO "r2" WITH GRANT OPTION"#,
                r#"SET SESSION AUTHORIZATION "r2"; GRANT SELECT ON TABLE t TO PUBLIC; RESET SESSION AUTHORIZATION"#
            ]
        );
    }

    #[test]
    fn a_younger_privilege_is_a_statement_of_its_own_and_lost_where_it_is_unknown() {
        let acl = ObjectAcl {
            owner: OWNER,
            items: vec![item(2, OWNER, &[("MAINTAIN", false), ("SELECT", false)])],
            base: Vec::new(),
        };
        assert_eq!(
            text(&acl, V18),
            [
                r#"GRANT SELECT ON TABLE t TO "r2""#,
                r#"GRANT MAINTAIN ON TABLE t TO "r2""#
            ]
        );
        let (address, prefix) = (sql!["t"], Sql::default());
        let target = GrantTarget {
            keyword: "TABLE",
            address: &address,
            column: None,
            prefix: &prefix,
        };
        let grants = grants(&acl, &target, |oid| Role(format!("r{oid}")), V18);
        let targets: Vec<_> = grants.iter().map(|grant| &grant.targets).collect();
        assert!(targets[0].serve(V15) && !targets[1].serve(V15) && targets[1].serve(V17));
        let lost = Some("the privilege MAINTAIN for \"r2\"");
        assert_eq!(targets[1].lost.as_deref(), lost);
    }

    #[test]
    fn nothing_to_do_gives_no_statement() {
        let items = vec![item(OWNER, OWNER, &ALL_15)];
        assert!(
            text(
                &ObjectAcl {
                    owner: OWNER,
                    base: items.clone(),
                    items
                },
                V15
            )
            .is_empty()
        );
    }

    #[test]
    fn everything_revoked_differs_from_never_touched() {
        let acl = ObjectAcl {
            owner: OWNER,
            items: vec![],
            base: vec![item(OWNER, OWNER, &ALL_15)],
        };
        assert_eq!(text(&acl, V15), [r#"REVOKE ALL ON TABLE t FROM "r1""#]);
    }
}
