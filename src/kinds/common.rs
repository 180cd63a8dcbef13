//! What all kinds share: comments, security labels, owner and grants, rendered once from facts and address.

use super::acl::{self, GrantTarget, ObjectAcl};
use super::arena::{CatalogId, RenderCx, class};
use super::core::{CommentRow, ConstraintRow, LabelRow};
use super::{Ddl, Object};
use crate::pg::version::{V17, V18};
use crate::sql::{Ident, Literal, QualifiedName, Sql, sql};
use crate::toc::{After, Grant, Owner, Part, PartSet, Targets};

/// The owner fact of an object, where its kind has owners and one is wanted.
pub fn owner(object: &dyn Ddl, owner: super::row::Oid, cx: &RenderCx<'_>) -> Option<Owner> {
    let facts = object.facts();
    facts.owned.then(|| Owner {
        role: cx.core().role(owner),
        target: sql![facts.keyword, " ", object.address(cx)],
    })
}

/// `COMMENT ON` and `SECURITY LABEL` statements of an object and everything that hangs on its identity.
pub fn after(object: &Object, parts: PartSet, cx: &RenderCx<'_>) -> Vec<After> {
    let ddl = object.ddl();
    let mut out = Vec::new();
    for address in ddl.addresses(cx) {
        let described = Described {
            ddl,
            id: ddl.id(),
            address: &address.object,
            cx,
        };
        described.statements(parts, &address.targets, &mut out);
    }
    let address = ddl.address(cx);
    for id in ddl.absorbs() {
        let described = Described {
            ddl,
            id,
            address: &address,
            cx,
        };
        described.statements(parts, &comment_targets(id, cx), &mut out);
    }
    out
}

/// A row that may have comments and labels: an object, or something that comes with it.
struct Described<'a> {
    ddl: &'a dyn Ddl,
    id: CatalogId,
    /// The object's.
    address: &'a Sql,
    cx: &'a RenderCx<'a>,
}

impl Described<'_> {
    fn statements(&self, parts: PartSet, targets: &Targets, out: &mut Vec<After>) {
        let after = |part, sql| After {
            part,
            sql,
            targets: targets.clone(),
        };
        if parts.has(Part::Comment) {
            let comments = self.comments().into_iter();
            out.extend(comments.map(|sql| after(Part::Comment, sql)));
        }
        if parts.has(Part::Label) {
            let labels = self.labels().into_iter();
            out.extend(labels.map(|sql| after(Part::Label, sql)));
        }
    }

    fn labels(&self) -> Vec<Sql> {
        let labels = self.cx.core().labels.get(&self.id).into_iter().flatten();
        let statement = |label: &LabelRow| {
            let target = self.target(label.column)?;
            let provider = Ident::new(&*label.provider);
            let text = Literal(&label.text);
            Some(sql![
                "SECURITY LABEL FOR ",
                &provider,
                " ON ",
                target,
                " IS ",
                text
            ])
        };
        labels.filter_map(statement).collect()
    }

    /// The comments of the row. What the object is born with needs no statement, and its absence needs one.
    fn comments(&self) -> Vec<Sql> {
        let found = self.cx.core().comments.get(&self.id);
        let found = found.map_or(&[][..], Vec::as_slice);
        let is_object = self.id == self.ddl.id();
        let initial = self.ddl.initial_comment().filter(|_| is_object);
        if found.is_empty() && initial.is_some() {
            let target = self.target(0);
            return vec![sql!["COMMENT ON ", target, " IS NULL"]];
        }
        let told = found
            .iter()
            .filter(|comment| comment.column != 0 || initial != Some(comment.text.as_str()));
        let statement = |comment: &CommentRow| {
            let target = self.target(comment.column)?;
            Some(sql!["COMMENT ON ", target, " IS ", Literal(&comment.text)])
        };
        told.filter_map(statement).collect()
    }

    /// How `COMMENT ON` and `SECURITY LABEL ON` name the row: the object, one of its columns, or an index behind a key.
    fn target(&self, column: i32) -> Option<Sql> {
        let (id, cx) = (self.id, self.cx);
        if column > 0 {
            let name = cx.core().column_name(id.oid, i16::try_from(column).ok()?)?;
            return Some(sql!["COLUMN ", cx.core().relation(id.oid), ".", name]);
        }
        if id == self.ddl.id() {
            return Some(sql![self.ddl.facts().keyword, " ", self.address]);
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
}

/// A NOT NULL is an object, which can have a comment, since 18; that of a domain since 17.
fn comment_targets(id: CatalogId, cx: &RenderCx<'_>) -> Targets {
    let row = if id.class == class::CONSTRAINT {
        constraint(id, cx)
    } else {
        None
    };
    let since = row
        .filter(|row| row.kind == 'n')
        .map(|row| if row.relation == 0 { V17 } else { V18 });
    let lost = since.and(row).map(|row| {
        format!(
            "the comment on NOT NULL {}",
            Ident::new(&*row.name).quoted()
        )
    });
    Targets {
        since,
        until: None,
        lost,
    }
}

fn constraint<'a>(id: CatalogId, cx: &RenderCx<'a>) -> Option<&'a ConstraintRow> {
    let core = &cx.catalog.core;
    let domains = core.domain_constraints.values();
    let mut all = core.constraints.values().chain(domains).flatten();
    all.find(|row| row.oid == id.oid)
}

/// A constraint that is written inside its table or domain.
fn constraint_address(id: CatalogId, cx: &RenderCx<'_>) -> Option<Sql> {
    let row = constraint(id, cx)?;
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

/// The grants of an object, of its columns and of its row type: the object's first, because a table's REVOKE takes column
/// privileges along.
pub fn grants_of(ddl: &dyn Ddl, cx: &RenderCx<'_>) -> Vec<Grant> {
    let Some(keyword) = ddl.facts().grant else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for address in ddl.addresses(cx) {
        let mut grants = grants_at(&address.grant, keyword, ddl.id(), cx);
        if address.targets != Targets::default() {
            for grant in &mut grants {
                grant.targets = address.targets.clone();
            }
        }
        out.extend(grants);
    }
    out
}

fn grants_at(address: &Sql, keyword: &'static str, id: CatalogId, cx: &RenderCx<'_>) -> Vec<Grant> {
    let prefix = Sql::default();
    let statements = |acl: &ObjectAcl, keyword: &'static str, column: Option<&Ident>| {
        let target = GrantTarget {
            keyword,
            address,
            column,
            prefix: &prefix,
        };
        acl::grants(acl, &target, |oid| cx.core().role(oid), cx.server)
    };
    let own = |id: CatalogId| cx.core().acls.range((id, i32::MIN)..=(id, i32::MAX));
    let mut out = Vec::new();
    for (_, acl) in own(id).filter(|((_, column), _)| *column == 0) {
        out.extend(statements(acl, keyword, None));
    }
    for ((_, column), acl) in own(id) {
        if let Some(name) = acl_column_name(id, *column, cx) {
            out.extend(statements(acl, keyword, Some(&name)));
        }
    }
    if let Some(row_type) = row_type(id, keyword, cx) {
        for (_, acl) in own(row_type) {
            out.extend(statements(acl, "TYPE", None));
        }
    }
    out
}

/// The type of a relation's rows, which has the relation's name and may have privileges of its own.
fn row_type(id: CatalogId, keyword: &str, cx: &RenderCx<'_>) -> Option<CatalogId> {
    let is_relation = id.class == class::RELATION && keyword == "TABLE";
    let relation = cx.core().relations.get(&id.oid).filter(|_| is_relation)?;
    Some(CatalogId::ty(relation.row_type))
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
    use crate::kinds::arena::Catalog;
    use crate::kinds::core::Core;
    use crate::kinds::schema::{Schema, SchemaRow};

    #[test]
    fn labels_name_their_provider_and_object() {
        let id = CatalogId::new(class::NAMESPACE, 20_001);
        let label = LabelRow {
            class: id.class,
            oid: id.oid,
            column: 0,
            provider: "my p".into(),
            text: "it's".into(),
        };
        let mut core = Core::default();
        core.labels.insert(id, vec![label]);
        let catalog = Catalog::new(core);
        let cx = RenderCx {
            catalog: &catalog,
            server: V18,
        };
        let row = SchemaRow {
            oid: id.oid,
            name: "s".into(),
            owner: 10,
        };
        let schema = Object::Schema(Box::new(Schema { row }));
        let found = after(&schema, PartSet::ALL, &cx);
        let text = r#"SECURITY LABEL FOR "my p" ON SCHEMA "s" IS 'it''s'"#;
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].part, found[0].sql.text().as_str()),
            (Part::Label, text)
        );
    }

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
