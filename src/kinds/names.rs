//! Names of functions and other schema objects as raw rows have them: schema and name from the snapshot, never a
//! `regproc` text, which follows the server's caches. Tables are named through [`super::core::Core::relation`].

use postgres_types::{FromSql, Type};

use crate::sql::{Fragment, QualifiedName, Sql};

/// A name in a schema, read from one `text[]` column of two elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogName(pub QualifiedName);

impl<'a> FromSql<'a> for CatalogName {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let parts = Vec::<String>::from_sql(ty, raw)?;
        match <[String; 2]>::try_from(parts) {
            Ok([schema, name]) => Ok(CatalogName(QualifiedName::new(schema, name))),
            Err(parts) => Err(format!("a name has a schema and a name, not {parts:?}").into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT_ARRAY
    }
}

impl Fragment for CatalogName {
    fn append(&self, out: &mut Sql) {
        self.0.append(out);
    }
}

/// The column that reads the function with the OID `oid` (an SQL expression) as `Option<CatalogName>`.
pub(crate) fn function_name(oid: &str) -> String {
    named("pg_proc", "proname", "pronamespace", oid)
}

/// The same for a row of another catalog with a name and a schema.
pub(crate) fn named(catalog: &str, name: &str, schema: &str, oid: &str) -> String {
    format!(
        "(SELECT ARRAY[x_n.nspname::pg_catalog.text, x.{name}::pg_catalog.text] FROM pg_catalog.{catalog} x \
         JOIN pg_catalog.pg_namespace x_n ON x_n.oid = x.{schema} WHERE x.oid = {oid})"
    )
}
