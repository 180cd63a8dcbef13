//! How the contents of large objects are written: pages arrive as rows of (number, byte offset, data) in one COPY into a temporary
//! table that takes none of them, because the condition of the COPY writes each to its object. So nothing is stored twice,
//! and the server needs the memory of one page, whoever restores. What is not this run's to write is left in the table, and refused.

use super::load::Load;
use super::report::Trouble;
use super::worker::Worker;
use crate::archive::index::CopyFormat;
use crate::error::{Error, Result};
use crate::pg::Session;
use crate::sql::{Literal, Sql, sql};

/// Makes the table, and the sequence that counts the pages.
pub(super) const BEFORE: &str = "\
CREATE TEMPORARY TABLE pgark_pages (loid pg_catalog.oid, at pg_catalog.int8, data pg_catalog.bytea);
CREATE TEMPORARY SEQUENCE pgark_n_pages OWNED BY pgark_pages.loid";

/// Takes both away: all loads may be in one transaction.
pub(super) const THEN: &str = "DROP TABLE pg_temp.pgark_pages";

/// How many pages were written, and the first object of which one was not.
const OUTCOME: &str = "\
SELECT CASE WHEN n.is_called THEN n.last_value ELSE 0 END, \
       EXISTS (SELECT FROM pg_temp.pgark_pages), (SELECT p.loid FROM pg_temp.pgark_pages p LIMIT 1) \
  FROM pg_temp.pgark_n_pages n";

/// The objects of the target that a restore must not touch, because others made them.
///
/// Errors: if the connection is lost.
pub(super) async fn foreign(session: &Session) -> Result<Vec<u32>> {
    let query = "SELECT m.oid FROM pg_catalog.pg_largeobject_metadata m ORDER BY m.oid";
    let rows = session.query("large objects", query, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The COPY that writes pages.
///
/// `lo_put` writes nothing where there is no object, but an empty page says how long its object is: it is the last one, and
/// `lo_truncate` makes it. The descriptor is the transaction's only one, so its number is 0.
/// Foreign objects are sought by halving their sorted list: for each page COPY would go through all of `= ANY`, and it
/// cannot negate that (XX000 `cache lookup failed for function 0`, seen on 15).
pub(super) fn copy(format: CopyFormat, foreign: &[u32]) -> String {
    let format = match format {
        CopyFormat::Text => "text",
        CopyFormat::Binary => "binary",
    };
    let foreign = (!foreign.is_empty()).then(|| {
        let list: Vec<String> = foreign.iter().map(u32::to_string).collect();
        let list = format!("{{{}}}", list.join(","));
        let list = sql![Literal(&list), "::pg_catalog.oid[]"];
        sql![
            "WHEN (",
            &list,
            ")[pg_catalog.width_bucket(loid, ",
            &list,
            ")] = loid THEN true "
        ]
    });
    let copy: Sql = sql![
        "COPY pg_temp.pgark_pages (loid, at, data) FROM STDIN (FORMAT ",
        format,
        ") WHERE CASE ",
        foreign,
        "WHEN CASE WHEN pg_catalog.octet_length(data) = 0 \
         THEN pg_catalog.lo_truncate64(pg_catalog.lo_open(loid, 131072), at) + pg_catalog.lo_close(0) = 0 \
         ELSE pg_catalog.lo_put(loid, at, data) IS NOT NULL END \
         THEN pg_catalog.nextval('pg_temp.pgark_n_pages') < 0 ELSE true END"
    ];
    copy.text()
}

/// The number of pages that were written.
///
/// Errors: if a page was refused.
pub(super) async fn n_written(worker: &Worker, load: &Load) -> Result<u64, Trouble> {
    let rows = worker.session().query(&load.object, OUTCOME, &[]).await?;
    let row = rows.first().expect("a sequence has one row");
    if row.get(1) {
        let object: Option<u32> = row.get(2);
        let object = object.map_or_else(|| "NULL".to_owned(), |oid| oid.to_string());
        let problem =
            format!("the archive has a page of number {object}, which this restore did not make");
        return Err(Error::failed(
            &load.object,
            problem,
            "restore into a database without it, after `pgark verify`",
        )
        .into());
    }
    let n_written: i64 = row.get(0);
    Ok(n_written.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_made_is_not_written_to() {
        let alone = copy(CopyFormat::Binary, &[]);
        assert!(
            alone.contains("(FORMAT binary) WHERE CASE WHEN CASE WHEN"),
            "{alone}"
        );
        let beside = copy(CopyFormat::Text, &[5, 7]);
        let list = "'{5,7}'::pg_catalog.oid[]";
        let foreign = format!(
            "WHEN ({list})[pg_catalog.width_bucket(loid, {list})] = loid THEN true WHEN CASE"
        );
        assert!(beside.contains(&foreign), "{beside}");
    }
}
