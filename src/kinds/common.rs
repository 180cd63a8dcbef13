//! What all kinds share: comments, security labels, owner and grants, rendered once from facts and address.

use super::acl::{self, GrantTarget};
use super::arena::{CatalogId, RenderCx, class};
use super::core::CommentRow;
use super::{Ddl, Object};
use crate::sql::{Ident, Literal, QualifiedName, Sql, sql};
use crate::toc::{Grant, Owner, Part, PartSet};

/// The owner fact of an object, where its kind has owners and one is wanted.
pub fn owner(object: &dyn Ddl, owner: super::row::Oid, cx: &RenderCx<'_>) -> Option<Owner> {
    let facts = object.facts();
    facts.owned.then(|| Owner {
        role: cx.core().role(owner),
        target: sql![facts.keyword, " ", object.address(cx)],
    })
}

/// `COMMENT ON` and `SECURITY LABEL` statements of an object and everything that hangs on its identity.
pub fn after(object: &Object, parts: PartSet, cx: &RenderCx<'_>) -> Vec<(Part, Sql)> {
    let ddl = object.ddl();
    let mut ids = vec![ddl.id()];
    ids.extend(ddl.absorbs());
    let mut out = Vec::new();
    for id in ids {
        if parts.has(Part::Comment) {
            let texts = comments(ddl, id, cx).into_iter();
            out.extend(texts.map(|text| (Part::Comment, text)));
        }
        if parts.has(Part::Label) {
            for label in cx.core().labels.get(&id).into_iter().flatten() {
                let Some(target) = described(ddl, id, label.column, cx) else {
                    continue;
                };
                let provider = Ident::new(&*label.provider);
                let text = sql![
                    "SECURITY LABEL FOR ",
                    &provider,
                    " ON ",
                    target,
                    " IS ",
                    Literal(&label.text)
                ];
                out.push((Part::Label, text));
            }
        }
    }
    out
}

/// The comments of one row. What the object is born with needs no statement, and its absence needs one.
fn comments(ddl: &dyn Ddl, id: CatalogId, cx: &RenderCx<'_>) -> Vec<Sql> {
    let found = cx.core().comments.get(&id).map_or(&[][..], Vec::as_slice);
    let initial = ddl.initial_comment().filter(|_| id == ddl.id());
    if found.is_empty() && initial.is_some() {
        let target = sql![ddl.facts().keyword, " ", ddl.address(cx)];
        return vec![sql!["COMMENT ON ", target, " IS NULL"]];
    }
    let told = found
        .iter()
        .filter(|comment| comment.column != 0 || initial != Some(comment.text.as_str()));
    told.filter_map(|comment| comment_statement(ddl, comment, cx))
        .collect()
}

fn comment_statement(ddl: &dyn Ddl, comment: &CommentRow, cx: &RenderCx<'_>) -> Option<Sql> {
    let id = CatalogId::new(comment.class, comment.oid);
    let target = described(ddl, id, comment.column, cx)?;
    Some(sql!["COMMENT ON ", target, " IS ", Literal(&comment.text)])
}

/// How `COMMENT ON` and `SECURITY LABEL ON` name a described row: the object, one of its columns, or an index behind a key.
fn described(ddl: &dyn Ddl, id: CatalogId, column: i32, cx: &RenderCx<'_>) -> Option<Sql> {
    if column > 0 {
        let name = cx.core().column_name(id.oid, i16::try_from(column).ok()?)?;
        return Some(sql!["COLUMN ", cx.core().relation(id.oid), ".", name]);
    }
    if id == ddl.id() {
        return Some(sql![ddl.facts().keyword, " ", ddl.address(cx)]);
    }
    if id.class == class::CONSTRAINT {
        return constraint_address(id, cx);
    }
    if id.class == class::LARGE_OBJECT {
        return Some(sql!["LARGE OBJECT ", id.oid]);
    }
    if id.class != class::RELATION {
        return None;
    }
    let relation = cx.core().relations.get(&id.oid)?;
    matches!(relation.kind.0, 'i' | 'I').then(|| sql!["INDEX ", cx.core().relation(id.oid)])
}

/// A constraint that is written inside its table or domain.
fn constraint_address(id: CatalogId, cx: &RenderCx<'_>) -> Option<Sql> {
    let all = cx
        .core()
        .constraints
        .values()
        .chain(cx.core().domain_constraints.values());
    let row = all.flatten().find(|row| row.oid == id.oid)?;
    let name = Ident::new(&*row.name);
    if row.relation != 0 {
        return Some(sql![
            "CONSTRAINT ",
            name,
            " ON ",
            cx.core().relation(row.relation)
        ]);
    }
    let domain = cx.catalog.get(CatalogId::ty(row.domain))?;
    Some(sql![
        "CONSTRAINT ",
        name,
        " ON DOMAIN ",
        domain.ddl().address(cx)
    ])
}

/// The grants of an object and of its columns: the object's first, because a table's REVOKE takes column privileges along.
pub fn object_grants(object: &Object, cx: &RenderCx<'_>) -> Vec<Grant> {
    let ddl = object.ddl();
    let Some(keyword) = ddl.facts().grant else {
        return Vec::new();
    };
    let id = ddl.id();
    let address = ddl.grant_address(cx);
    let prefix = Sql::default();
    let mut out = Vec::new();
    for ((_, column), acl) in cx.core().acls.range((id, i32::MIN)..=(id, i32::MAX)) {
        if *column != 0 {
            continue;
        }
        let target = GrantTarget {
            keyword,
            address: &address,
            column: None,
            prefix: &prefix,
        };
        out.extend(acl::grants(
            acl,
            &target,
            |oid| cx.core().role(oid),
            cx.server,
        ));
    }
    for ((_, column), acl) in cx.core().acls.range((id, i32::MIN)..=(id, i32::MAX)) {
        let Some(name) = acl_column_name(id, *column, cx) else {
            continue;
        };
        let target = GrantTarget {
            keyword,
            address: &address,
            column: Some(&name),
            prefix: &prefix,
        };
        out.extend(acl::grants(
            acl,
            &target,
            |oid| cx.core().role(oid),
            cx.server,
        ));
    }
    out
}

/// System columns (`pg_sysatt`, fixed numbers) can be granted too.
fn acl_column_name(id: CatalogId, column: i32, cx: &RenderCx<'_>) -> Option<Ident> {
    let name = match column {
        0 => return None,
        -1 => "ctid",
        -2 => "xmin",
        -3 => "cmin",
        -4 => "xmax",
        -5 => "cmax",
        -6 => "tableoid",
        number => {
            let name = cx.core().acl_columns.get(&(id.oid, number)).cloned();
            return name.map(Ident::new);
        }
    };
    Some(Ident::new(name))
}

/// A grant as the statement that does it. Used for scripts and tests; a restore sends the same text.
pub fn grant_text(grant: &Grant) -> Sql {
    grant.statement()
}

/// A name in a schema.
pub fn qualified(schema: super::row::Oid, name: &str, cx: &RenderCx<'_>) -> QualifiedName {
    cx.core().qualified(schema, name)
}

/// `ALTER … DEPENDS ON EXTENSION` for each extension with which an object is to go (`pg_depend.deptype` x).
///
/// `keyword` and `address` name the object as that `ALTER` takes it.
pub fn depends_on_extension(
    id: CatalogId,
    keyword: &'static str,
    address: &Sql,
    cx: &RenderCx<'_>,
) -> Vec<Sql> {
    let rows = cx.core().depends_of(id);
    rows.filter(|row| row.kind == 'x' && row.ref_class == class::EXTENSION)
        .filter_map(|row| cx.core().extensions.get(&row.ref_oid))
        .map(|name| {
            let name = Ident::new(&**name);
            sql![
                "ALTER ",
                keyword,
                " ",
                address,
                " DEPENDS ON EXTENSION ",
                name
            ]
        })
        .collect()
}

/// `WITH (a = 'b', toast.c = 'd')` from `reloptions`, the table's own first; `None` if there are none.
///
/// A name may have a namespace (`toast.x`, an extension's `ns.x`); each value is quoted, which every option accepts.
pub fn with_options(options: &[String], toast_options: &[String]) -> Option<Sql> {
    options_set(options, toast_options).map(|list| sql![" WITH ", list])
}

/// `(a = 'b', …)` of `reloptions` or `attoptions`, as `WITH` and `SET` take it; `None` if there are none.
pub fn options_set(options: &[String], toast_options: &[String]) -> Option<Sql> {
    let plain = options.iter().map(|option| option_text("", option));
    let toast = toast_options
        .iter()
        .map(|option| option_text("toast.", option));
    let all: Vec<Sql> = plain.chain(toast).collect();
    (!all.is_empty()).then(|| sql!["(", Sql::list(all), ")"])
}

/// One option, `name=value` as the catalog has it, as `WITH` and `SET` take it.
pub(super) fn option_text(prefix: &'static str, option: &str) -> Sql {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let name = Sql::join(name.split('.').map(Ident::new), ".");
    sql![prefix, name, "=", Literal(value)]
}

/// `(a = 'b', …)` of FDW-like options: names quoted, values literals, sorted by name.
pub fn options_list(options: &[String]) -> Option<Sql> {
    let mut pairs: Vec<(&str, &str)> = options
        .iter()
        .map(|option| option.split_once('=').unwrap_or((option, "")))
        .collect();
    pairs.sort_unstable();
    let list = pairs
        .iter()
        .map(|(name, value)| sql![Ident::new(*name), " ", Literal(value)]);
    (!options.is_empty()).then(|| sql!["(", Sql::list(list), ")"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_quoted_on_both_sides() {
        let own = ["fillfactor=70".to_owned(), "my.opt=a'b".to_owned()];
        let toast = ["autovacuum_enabled=off".to_owned()];
        assert_eq!(
            with_options(&own, &toast).unwrap().text(),
            r#" WITH ("fillfactor"='70', "my"."opt"='a''b', toast."autovacuum_enabled"='off')"#
        );
        assert!(with_options(&[], &[]).is_none());
    }
}
