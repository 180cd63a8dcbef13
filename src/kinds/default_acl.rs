//! Default privileges. Nothing is created: each row is a list of `ALTER DEFAULT PRIVILEGES`, run with the other grants, because
//! earlier they would change the privileges of everything that is restored.

use super::acl::{self, ExplodedRow, GrantTarget, ObjectAcl};
use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{Letter, NoText, Oid, catalog_row};
use super::{Ddl, DraftForm, KindFacts, ObjectKind};
use crate::error::Result;
use crate::sql::{Ident, Sql, sql};
use crate::toc::{EntryName, Grant, Stage};

catalog_row! {
    /// `pg_default_acl` with its items and the built-in default's, each exploded into four parallel arrays in item order.
    pub struct DefaultAclRow from
        "pg_catalog.pg_default_acl d \
         CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(e.grantor ORDER BY e.place) AS grantors, \
             pg_catalog.array_agg(e.grantee ORDER BY e.place) AS grantees, \
             pg_catalog.array_agg(e.privilege ORDER BY e.place) AS privileges, \
             pg_catalog.array_agg(e.grantable ORDER BY e.place) AS grantables \
           FROM pg_catalog.aclexplode(d.defaclacl) WITH ORDINALITY \
             AS e(grantor, grantee, privilege, grantable, place)) own \
         CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(e.grantor ORDER BY e.place) AS grantors, \
             pg_catalog.array_agg(e.grantee ORDER BY e.place) AS grantees, \
             pg_catalog.array_agg(e.privilege ORDER BY e.place) AS privileges, \
             pg_catalog.array_agg(e.grantable ORDER BY e.place) AS grantables \
           FROM pg_catalog.aclexplode(pg_catalog.acldefault( \
             CASE d.defaclobjtype WHEN 'S' THEN 's' ELSE d.defaclobjtype END, d.defaclrole)) WITH ORDINALITY \
             AS e(grantor, grantee, privilege, grantable, place)) base" {
        oid: Oid = col("d.oid"),
        role: Oid = col("d.defaclrole"),
        /// 0 for all schemas.
        schema: Oid = col("d.defaclnamespace"),
        /// r tables, S sequences, f functions, T types, n schemas, L large objects.
        objects: Letter = col("d.defaclobjtype"),
        grantors: Option<Vec<Oid>> = col("own.grantors"),
        grantees: Option<Vec<Oid>> = col("own.grantees"),
        privileges: Option<Vec<String>> = col("own.privileges"),
        grantables: Option<Vec<bool>> = col("own.grantables"),
        base_grantors: Option<Vec<Oid>> = col("base.grantors"),
        base_grantees: Option<Vec<Oid>> = col("base.grantees"),
        base_privileges: Option<Vec<String>> = col("base.privileges"),
        base_grantables: Option<Vec<bool>> = col("base.grantables"),
    }
}

/// What one role's new objects of one kind get, everywhere or in one schema.
#[derive(Debug)]
pub struct DefaultAcl {
    oid: Oid,
    role: Oid,
    schema: Oid,
    objects: Letter,
    acl: ObjectAcl,
}

fn exploded(
    grantors: Option<Vec<Oid>>,
    grantees: Option<Vec<Oid>>,
    privileges: Option<Vec<String>>,
    grantables: Option<Vec<bool>>,
) -> Vec<acl::AclItem> {
    let who = grantors
        .into_iter()
        .flatten()
        .zip(grantees.into_iter().flatten());
    let what = privileges
        .into_iter()
        .flatten()
        .zip(grantables.into_iter().flatten());
    acl::items_of(
        who.zip(what)
            .map(|((grantor, grantee), (privilege, grantable))| ExplodedRow {
                grantor,
                grantee,
                privilege,
                grantable,
            }),
    )
}

impl ObjectKind for DefaultAcl {
    const FACTS: KindFacts = KindFacts {
        label: "default privileges",
        keyword: "DEFAULT PRIVILEGES",
        stage: Stage::Privileges,
        priority: 200,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_default_acl",
        class: class::DEFAULT_ACL,
    };
    type Row = DefaultAclRow;
    type Text = NoText;

    fn subject(row: &DefaultAclRow, _: &LoadCx<'_>) -> Option<Subject> {
        let follows = match row.schema {
            0 => Follows::Database,
            schema => Follows::Schema(schema),
        };
        Some(Subject {
            id: CatalogId::new(class::DEFAULT_ACL, row.oid),
            follows,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: DefaultAclRow, _: Option<NoText>, _: &LoadCx<'_>) -> Result<Self> {
        let items = exploded(row.grantors, row.grantees, row.privileges, row.grantables);
        // A schema's row adds to the built-in default; a row for all schemas replaces it.
        let base = match row.schema {
            0 => exploded(
                row.base_grantors,
                row.base_grantees,
                row.base_privileges,
                row.base_grantables,
            ),
            _ => Vec::new(),
        };
        Ok(DefaultAcl {
            oid: row.oid,
            role: row.role,
            schema: row.schema,
            objects: row.objects,
            acl: ObjectAcl {
                owner: row.role,
                items,
                base,
            },
        })
    }
}

impl DefaultAcl {
    fn keyword(&self) -> &'static str {
        match self.objects.0 {
            'S' => "SEQUENCES",
            'f' => "FUNCTIONS",
            'T' => "TYPES",
            'n' => "SCHEMAS",
            'L' => "LARGE OBJECTS",
            _ => "TABLES",
        }
    }
}

impl Ddl for DefaultAcl {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::DEFAULT_ACL, self.oid)
    }

    fn name(&self, cx: &RenderCx<'_>) -> EntryName {
        let objects = self.keyword().to_lowercase();
        EntryName {
            schema: (self.schema != 0).then(|| cx.core().schema_name(self.schema)),
            relation: None,
            name: format!("{objects} of {}", cx.core().role(self.role).0),
        }
    }

    fn address(&self, cx: &RenderCx<'_>) -> Sql {
        let schema = (self.schema != 0).then(|| {
            let name = Ident::new(cx.core().schema_name(self.schema));
            sql![" IN SCHEMA ", name]
        });
        sql!["FOR ROLE ", cx.core().role(self.role), schema]
    }

    fn create(&self, _: &RenderCx<'_>) -> Vec<Sql> {
        Vec::new()
    }

    fn forms(&self, _: &RenderCx<'_>) -> Vec<DraftForm> {
        Vec::new()
    }

    fn drop(&self, _: &RenderCx<'_>) -> Option<Sql> {
        None
    }

    fn own_grants(&self, cx: &RenderCx<'_>) -> Option<Vec<Grant>> {
        let prefix = sql!["ALTER DEFAULT PRIVILEGES ", self.address(cx), " "];
        let target = GrantTarget {
            keyword: self.keyword(),
            address: &Sql::default(),
            column: None,
            prefix: &prefix,
        };
        let role = |oid| cx.core().role(oid);
        Some(acl::grants(&self.acl, &target, role, cx.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::arena::Catalog;
    use crate::pg::version::V15;

    fn statements(schema: Oid, words: &[&str]) -> Vec<String> {
        let n = words.len();
        let row = DefaultAclRow {
            oid: 20000,
            role: 5,
            schema,
            objects: Letter('f'),
            grantors: Some(vec![5; n]),
            grantees: Some(vec![7; n]),
            privileges: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            grantables: Some(vec![false; n]),
            base_grantors: Some(vec![5]),
            base_grantees: Some(vec![0]),
            base_privileges: Some(vec!["EXECUTE".into()]),
            base_grantables: Some(vec![false]),
        };
        let mut catalog = Catalog::default();
        catalog.core.roles = [(5, "o".to_owned()), (7, "r".to_owned())].into();
        let cx = LoadCx {
            core: &catalog.core,
            relations: &std::collections::BTreeMap::new(),
            server: V15,
        };
        let object = DefaultAcl::build(row, None, &cx).unwrap();
        let cx = RenderCx {
            catalog: &catalog,
            server: V15,
        };
        let grants = object.own_grants(&cx).unwrap();
        grants
            .iter()
            .map(|grant| grant.statement().text())
            .collect()
    }

    #[test]
    fn a_row_for_all_schemas_replaces_the_default_and_a_schemas_row_adds_to_it() {
        assert_eq!(
            statements(0, &["EXECUTE"]),
            [
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o" REVOKE ALL ON FUNCTIONS FROM PUBLIC"#,
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o" GRANT ALL ON FUNCTIONS TO "r""#
            ]
        );
        assert_eq!(
            statements(9, &["EXECUTE"]),
            [
                r#"ALTER DEFAULT PRIVILEGES FOR ROLE "o" IN SCHEMA "schema 9" GRANT ALL ON FUNCTIONS TO "r""#
            ]
        );
    }
}
