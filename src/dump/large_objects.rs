//! How large objects are listed and read: as rows of (number, byte offset, data), so that they travel like a table.

use crate::error::{Error, Result};
use crate::kinds::large_object::READABLE;
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;
use crate::sql::{Sql, sql};

/// Large objects per range; ranges are read side by side.
const OBJECTS_PER_RANGE: u32 = 2000;

/// The columns of the rows.
pub(super) const COLUMNS: [&str; 3] = ["loid", "offset", "data"];

catalog_row! {
    /// Every 2000th number.
    struct RangeStart from
        "(SELECT m.oid, pg_catalog.row_number() OVER (ORDER BY m.oid) AS place \
          FROM pg_catalog.pg_largeobject_metadata m) AS n"
        where "n.place % 2000 = 1" order "n.oid" {
        oid: Oid = col("n.oid"),
    }
}

catalog_row! {
    /// Whether the pages may be read themselves (superusers, `pg_read_all_data` since 19).
    struct PagesReadable from "(SELECT 1) AS one" {
        readable: bool = col("pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')"),
    }
}

/// Where ranges begin, and whether the pages may be read.
pub(super) async fn ranges(session: &Session) -> Result<(Vec<Oid>, bool)> {
    const { assert!(OBJECTS_PER_RANGE == 2000, "the query names it") };
    let what = "large objects";
    let version = session.version();
    let reading = || Error::sql(what, "reading the list");
    let rows = session
        .query(what, &RangeStart::query(version), &[])
        .await?;
    let starts: Result<Vec<RangeStart>> = rows
        .iter()
        .map(|row| RangeStart::from_row(row).map_err(reading()))
        .collect();
    let rows = session
        .query(what, &PagesReadable::query(version), &[])
        .await?;
    let readable = match rows.first() {
        Some(row) => PagesReadable::from_row(row).map_err(reading())?.readable,
        None => false,
    };
    Ok((
        starts?.into_iter().map(|start| start.oid).collect(),
        readable,
    ))
}

/// Reads the objects of a range in order.
///
/// Pages keep holes as holes. Without the right to read pages, `lo_get` gives 256 KiB at a time until an
/// object ends, if it may be read at all, and they are cut into pieces of a page, so that both ways give the same rows of the same objects.
pub(super) fn copy_statement((from, to): (Oid, Option<Oid>), pages_readable: bool) -> Sql {
    let upper = |column: &'static str| to.map(|to| sql![" AND ", column, " < ", to]);
    if pages_readable {
        return sql![
            "COPY (SELECT loid, pageno::pg_catalog.int8 * 2048, data FROM pg_catalog.pg_largeobject WHERE loid >= ",
            from,
            upper("loid"),
            " ORDER BY loid, pageno) TO STDOUT"
        ];
    }
    sql![
        "COPY (WITH RECURSIVE piece(loid, place, data) AS (\
         SELECT l.oid, 0::pg_catalog.int8, pg_catalog.lo_get(l.oid, 0, 262144) \
         FROM pg_catalog.pg_largeobject_metadata l WHERE ",
        READABLE,
        " AND l.oid >= ",
        from,
        upper("l.oid"),
        " UNION ALL SELECT loid, place + 262144, pg_catalog.lo_get(loid, place + 262144, 262144) FROM piece \
         WHERE pg_catalog.length(data) = 262144) \
         SELECT p.loid, p.place + o.place, pg_catalog.substr(p.data, o.place + 1, 2048) FROM piece p \
         CROSS JOIN LATERAL pg_catalog.generate_series(0, pg_catalog.length(p.data) - 1, 2048) AS o(place) \
         ORDER BY 1, 2) TO STDOUT"
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_half_open() {
        let text = copy_statement((5, Some(9)), true).text();
        assert!(
            text.contains("WHERE loid >= 5 AND loid < 9 ORDER BY"),
            "{text}"
        );
        assert!(
            copy_statement((5, None), false)
                .text()
                .contains("END AND l.oid >= 5 UNION ALL")
        );
    }
}
