//! A database as an object of its cluster: owner, limits, settings, comment, labels, privileges. How it is made (encoding, locale,
//! tablespace) stays facts of the manifest; what is in it are all the other kinds.

use super::role_setting::whose;
use super::{SharedAcl, SharedFacts, acl_json, form, step};
use crate::error::Result;
use crate::kinds::row::{Oid, catalog_row};
use crate::kinds::{KindFacts, settings};
use crate::sql::{DatabaseName, sql};
use crate::toc::{Entry, EntryId, EntryName, Owner, Part, PartSet, Stage};

/// Facts of databases.
pub const FACTS: KindFacts = KindFacts {
    label: "database",
    keyword: "DATABASE",
    stage: Stage::Database,
    priority: 2,
    grant: Some("DATABASE"),
    owned: true,
    postponable: false,
    catalog: "pg_database",
    class: 1262,
};

/// Facts of their settings.
pub const SETTING: KindFacts = KindFacts {
    label: "database setting",
    keyword: "DATABASE",
    stage: Stage::Database,
    priority: 1,
    grant: None,
    owned: false,
    postponable: false,
    catalog: "pg_db_role_setting",
    class: 2964,
};

catalog_row! {
    /// `pg_database` of the connected database.
    pub struct DatabaseRow from "pg_catalog.pg_database d" where "d.datname = pg_catalog.current_database()" {
        oid: Oid = col("d.oid"),
        name: String = col("d.datname"),
        owner: Oid = col("d.datdba"),
        is_template: bool = col("d.datistemplate"),
        connection_limit: i32 = col("d.datconnlimit"),
        /// Absent for `pg_default`.
        tablespace: Option<String> = col(
            "(SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_tablespace t WHERE t.oid = d.dattablespace AND t.spcname <> 'pg_default')"
        ),
        acl: Option<String> = by(|_| acl_json("COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))")),
        base: Option<String> = by(|_| acl_json("pg_catalog.acldefault('d', d.datdba)")),
    }
}

catalog_row! {
    /// `pg_db_role_setting` of the connected database, one row per setting.
    pub struct DatabaseSettingRow from
        "pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS u(setting, place)"
        where "d.datname = pg_catalog.current_database()" order "s.setrole, u.place" {
        /// 0 for all roles.
        role: Oid = col("s.setrole"),
        /// `name=value`
        setting: String = col("u.setting"),
    }
}

/// What is read of a database as an object of its cluster.
#[derive(Debug)]
pub struct DatabaseRows {
    /// Names, comments, labels.
    pub shared: SharedFacts,
    /// The database.
    pub database: DatabaseRow,
    /// Its settings.
    pub settings: Vec<DatabaseSettingRow>,
}

impl DatabaseRows {
    /// The entries, numbered from `first`, with the parts that are wanted: settings, then the database itself, whose limit on
    /// connections comes last. Pure.
    pub fn entries(&self, first: EntryId, parts: PartSet) -> Result<Vec<Entry>> {
        let mut out: Vec<Entry> = self.settings.iter().map(|row| self.setting(row)).collect();
        out.push(self.whole(parts)?);
        for (number, entry) in (first.0..).zip(&mut out) {
            entry.id = EntryId(number);
        }
        Ok(out)
    }

    fn setting(&self, row: &DatabaseSettingRow) -> Entry {
        let database = DatabaseName(&self.database.name);
        let (alter, role) = if row.role == 0 {
            (sql!["ALTER DATABASE ", database], None)
        } else {
            let (alter, role) = whose(row.role, &self.shared);
            (sql![alter, " IN DATABASE ", database], Some(role))
        };
        let name = EntryName {
            relation: role,
            name: settings::name_of(&row.setting).to_owned(),
            ..EntryName::default()
        };
        let mut entry = Entry::new(EntryId(0), SETTING.label, name, SETTING.stage);
        let set = sql![alter, " ", settings::set_clause(&row.setting)];
        entry.forms = vec![form(vec![step(vec![set])])];
        entry
    }

    fn whole(&self, parts: PartSet) -> Result<Entry> {
        let row = &self.database;
        let address = sql![DatabaseName(&row.name)];
        let target = sql!["DATABASE ", &address];
        let name = EntryName {
            name: row.name.clone(),
            ..EntryName::default()
        };
        let mut entry = Entry::new(EntryId(0), FACTS.label, name, FACTS.stage);
        let mut alter = Vec::new();
        if row.is_template {
            alter.push(sql!["ALTER ", &target, " IS_TEMPLATE = true"]);
        }
        if row.connection_limit != -1 {
            let limit = row.connection_limit;
            alter.push(sql!["ALTER ", &target, " CONNECTION LIMIT = ", limit]);
        }
        if !alter.is_empty() {
            entry.forms = vec![form(vec![step(alter)])];
        }
        entry.tablespace.clone_from(&row.tablespace);
        entry.owner = parts.has(Part::Owner).then(|| Owner {
            role: self.shared.role(row.owner),
            target: target.clone(),
        });
        entry.after = self.shared.after(&FACTS, row.oid, &target);
        entry.after.retain(|after| parts.has(after.part));
        if parts.has(Part::Acl) {
            let acl = SharedAcl {
                owner: row.owner,
                items: row.acl.as_deref(),
                base: row.base.as_deref(),
            };
            entry.grants = self.shared.grants(acl, "DATABASE", &address)?;
        }
        Ok(entry)
    }
}
