//! User mappings on foreign servers.

use super::arena::{CatalogId, Follows, LoadCx, RenderCx, Subject, class};
use super::row::{NoText, Oid, catalog_row};
use super::{Ddl, KindFacts, ObjectKind, common};
use crate::error::Result;
use crate::sql::{Grantee, Ident, Sql, sql};
use crate::toc::{EntryName, Stage};

catalog_row! {
    /// The view `pg_user_mappings`, because the table under it is closed to all but superusers.
    ///
    /// It hides the options from those who may not see them; a role that was granted the table gets them from there. Its query is
    /// in text form, because one that names a forbidden table fails even where it does not look into it.
    pub struct UserMappingRow from "pg_catalog.pg_user_mappings m" where "m.umid >= 16384" {
        oid: Oid = col("m.umid"),
        server_oid: Oid = col("m.srvid"),
        server: String = col("m.srvname"),
        /// 0 is PUBLIC.
        user: Oid = col("m.umuser"),
        options: Option<Vec<String>> = col(
            "CASE WHEN m.umoptions IS NULL AND pg_catalog.has_table_privilege('pg_catalog.pg_user_mapping', 'SELECT') \
               THEN pg_catalog.convert_from(pg_catalog.decode(substring(pg_catalog.query_to_xml( \
                 'SELECT pg_catalog.encode(pg_catalog.convert_to(u.umoptions::pg_catalog.text, \
                    pg_catalog.getdatabaseencoding()), ''hex'') AS o FROM pg_catalog.pg_user_mapping u WHERE u.oid = ' \
                 || m.umid::pg_catalog.text, false, false, '')::pg_catalog.text FROM '<o>([0-9a-f]+)</o>'), 'hex'), \
                 pg_catalog.getdatabaseencoding())::pg_catalog.text[] \
               ELSE m.umoptions END"
        ),
    }
}

/// A user mapping.
#[derive(Debug)]
pub struct UserMapping {
    row: UserMappingRow,
    user: Grantee,
}

impl ObjectKind for UserMapping {
    const FACTS: KindFacts = KindFacts {
        label: "user mapping",
        keyword: "USER MAPPING",
        stage: Stage::PreData,
        priority: 134,
        grant: None,
        owned: false,
        postponable: false,
        catalog: "pg_user_mapping",
        class: class::USER_MAPPING,
    };
    type Row = UserMappingRow;
    type Text = NoText;

    /// The mappings of an extension's server come with the extension.
    fn subject(row: &UserMappingRow, cx: &LoadCx<'_>) -> Option<Subject> {
        let server = CatalogId::new(class::FOREIGN_SERVER, row.server_oid);
        (!cx.core.is_member(server)).then_some(Subject {
            id: CatalogId::new(class::USER_MAPPING, row.oid),
            follows: Follows::Database,
        })
    }

    fn text_oid(_: &NoText) -> Oid {
        0
    }

    fn build(row: UserMappingRow, _: Option<NoText>, cx: &LoadCx<'_>) -> Result<Self> {
        let user = cx.core.grantee(row.user);
        Ok(UserMapping { row, user })
    }
}

impl Ddl for UserMapping {
    fn facts(&self) -> &'static KindFacts {
        &Self::FACTS
    }

    fn id(&self) -> CatalogId {
        CatalogId::new(class::USER_MAPPING, self.row.oid)
    }

    fn name(&self, _: &RenderCx<'_>) -> EntryName {
        let user = match &self.user {
            Grantee::Public => "PUBLIC",
            Grantee::Role(role) => &role.0,
        };
        EntryName {
            name: format!("{user} on {}", self.row.server),
            ..EntryName::default()
        }
    }

    fn address(&self, _: &RenderCx<'_>) -> Sql {
        sql![
            "FOR ",
            &self.user,
            " SERVER ",
            Ident::new(&*self.row.server)
        ]
    }

    fn create(&self, cx: &RenderCx<'_>) -> Vec<Sql> {
        let options = self.row.options.as_deref().unwrap_or_default();
        vec![sql![
            "CREATE USER MAPPING ",
            self.address(cx),
            common::options_list(options).map(|list| sql![" OPTIONS ", list])
        ]]
    }
}
