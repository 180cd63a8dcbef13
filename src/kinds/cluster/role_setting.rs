//! Settings of roles in all databases, those of `ALTER ROLE ALL` too. One entry for each, so that a setting that the target
//! does not know takes no other along. Settings in one database are the database's.

use super::{BOOTSTRAP, SharedFacts, form, step};
use crate::kinds::row::{Oid, catalog_row};
use crate::kinds::{KindFacts, settings};
use crate::sql::{Sql, sql};
use crate::toc::{Entry, EntryId, EntryName, Stage};

/// Facts of the kind.
pub const FACTS: KindFacts = KindFacts {
    label: "role setting",
    keyword: "ROLE",
    stage: Stage::PreData,
    priority: 2,
    grant: None,
    owned: false,
    postponable: false,
    catalog: "pg_db_role_setting",
    class: 2964,
};

catalog_row! {
    /// `pg_db_role_setting` of no database, one row per setting.
    pub struct RoleSettingRow from
        "pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS u(setting, place)"
        where "s.setdatabase = 0" order "s.setrole, u.place" {
        /// 0 for all roles.
        role: Oid = col("s.setrole"),
        /// `name=value`
        setting: String = col("u.setting"),
    }
}

/// `ALTER ROLE r ` or `ALTER ROLE ALL `, and the name for people.
pub(super) fn whose(role: Oid, shared: &SharedFacts) -> (Sql, String) {
    if role == 0 {
        return (sql!["ALTER ROLE ALL"], "ALL".to_owned());
    }
    let role = shared.role(role);
    (sql!["ALTER ROLE ", &role], role.0)
}

/// The entry of a setting. The bootstrap superuser has settings like any other role.
pub(super) fn entry(row: &RoleSettingRow, shared: &SharedFacts) -> Entry {
    debug_assert!(row.role == 0 || row.role >= BOOTSTRAP);
    let (alter, role) = whose(row.role, shared);
    let name = EntryName {
        relation: Some(role),
        name: settings::name_of(&row.setting).to_owned(),
        ..EntryName::default()
    };
    let mut entry = Entry::new(EntryId(0), FACTS.label, name, FACTS.stage);
    let set = sql![alter, " ", settings::set_clause(&row.setting)];
    entry.forms = vec![form(vec![step(vec![set])])];
    entry
}
