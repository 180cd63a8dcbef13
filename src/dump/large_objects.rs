//! How large objects are measured, cut and read: as rows of (number, byte offset, data), so that they travel like a table.

use crate::error::{Error, Result};
use crate::kinds::large_object::READABLE;
use crate::kinds::row::{CatalogRow, Oid, catalog_row};
use crate::pg::Session;
use crate::sql::{Sql, sql};

/// Bytes of a page (`LOBLKSIZE` of servers with the usual block size).
pub(super) const PAGE_BYTES: u64 = 2048;
/// Most cells of one object: one that is nearly all hole may be very long.
const CELLS_MAX: u64 = 1024;

/// The columns of the rows.
pub(super) const COLUMNS: [&str; 3] = ["loid", "offset", "data"];

catalog_row! {
    /// Whether the pages may be read themselves (superusers, `pg_read_all_data` since 19), and how many bytes they take at most.
    struct PagesRow from "(SELECT 1) AS one" {
        readable: bool = col("pg_catalog.has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')"),
        n_bytes: i64 = col("pg_catalog.pg_relation_size('pg_catalog.pg_largeobject')"),
    }
}

catalog_row! {
    /// The first and the last object.
    struct EndsRow from "pg_catalog.pg_largeobject_metadata m" {
        first: Option<Oid> = col("pg_catalog.min(m.oid)"),
        last: Option<Oid> = col("pg_catalog.max(m.oid)"),
    }
}

catalog_row! {
    /// How many pages an object has, by its last one: a look into the index for each.
    struct PageCountRow from "pg_catalog.pg_largeobject_metadata m" order "m.oid" {
        oid: Oid = col("m.oid"),
        n_pages: i64 = col(
            "COALESCE((SELECT p.pageno::pg_catalog.int8 + 1 FROM pg_catalog.pg_largeobject p WHERE p.loid = m.oid \
              ORDER BY p.pageno DESC LIMIT 1), 0)"
        ),
    }
}

catalog_row! {
    /// The same for whoever may not read the pages: each is opened, asked for its end, and closed, in this order.
    struct LengthRow from "pg_catalog.pg_largeobject_metadata l" where
        "CASE WHEN pg_catalog.has_table_privilege(2613::pg_catalog.oid, 'SELECT') \
         OR pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool THEN true \
         ELSE EXISTS (SELECT FROM pg_catalog.aclexplode(COALESCE(l.lomacl, \
         pg_catalog.acldefault('L'::pg_catalog.\"char\", l.lomowner))) a WHERE a.privilege_type = 'SELECT' \
         AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE'))) END" order "l.oid" {
        oid: Oid = col("l.oid"),
        n_bytes: i64 = col(
            "(SELECT pg_catalog.lo_lseek64(o.fd, 0, 2) + 0 * pg_catalog.lo_close(o.fd) \
              FROM (SELECT pg_catalog.lo_open(l.oid, 262144) OFFSET 0) AS o(fd))"
        ),
    }
}

/// The large objects of a database: what one worker reads at a time, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ObjectsPlan {
    /// Disjoint, in order.
    pub ranges: Vec<ObjectRange>,
    /// True if the pages may be read themselves.
    pub pages_readable: bool,
    /// Bytes of pages, holes included.
    pub n_bytes: u64,
}

/// Whole objects with neighbouring numbers, or some pages of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectRange {
    /// The first number, and the one after the last; `None` is open.
    loids: (Oid, Option<Oid>),
    /// Of one object the first page, and the one after the last; `None` is open.
    pages: Option<(u64, Option<u64>)>,
}

/// Measures the objects and cuts them into ranges of about `cell_bytes`.
pub(super) async fn plan(session: &Session, cell_bytes: u64) -> Result<ObjectsPlan> {
    let pages: PagesRow = one(session).await?;
    let n_bytes = u64::try_from(pages.n_bytes).unwrap_or(0);
    if n_bytes <= cell_bytes {
        let ends: EndsRow = one(session).await?;
        let all = ends
            .first
            .zip(ends.last)
            .map(|(first, last)| whole(first, last));
        return Ok(ObjectsPlan {
            ranges: all.into_iter().collect(),
            pages_readable: pages.readable,
            n_bytes,
        });
    }
    let sizes = if pages.readable {
        let rows = all::<PageCountRow>(session).await?;
        sizes(rows.iter().map(|row| (row.oid, row.n_pages)))
    } else {
        let rows = all::<LengthRow>(session).await?;
        let page_bytes = PAGE_BYTES.cast_signed();
        let n_pages = |n_bytes: i64| n_bytes / page_bytes + i64::from(n_bytes % page_bytes > 0);
        sizes(rows.iter().map(|row| (row.oid, n_pages(row.n_bytes))))
    };
    Ok(ObjectsPlan {
        ranges: ranges(&sizes, cell_bytes / PAGE_BYTES),
        pages_readable: pages.readable,
        n_bytes: sizes.iter().map(|(_, n_pages)| n_pages * PAGE_BYTES).sum(),
    })
}

const WHAT: &str = "large objects";

async fn all<T: CatalogRow>(session: &Session) -> Result<Vec<T>> {
    let rows = session
        .query(WHAT, &T::query(session.version()), &[])
        .await?;
    let read = |row| T::from_row(row).map_err(Error::sql(WHAT, "reading their sizes"));
    rows.iter().map(read).collect()
}

async fn one<T: CatalogRow>(session: &Session) -> Result<T> {
    let rows = all::<T>(session).await?;
    Ok(rows
        .into_iter()
        .next()
        .expect("a query without a condition has its row"))
}

fn sizes(rows: impl Iterator<Item = (Oid, i64)>) -> Vec<(Oid, u64)> {
    rows.map(|(oid, n)| (oid, u64::try_from(n).unwrap_or(0)))
        .collect()
}

fn whole(first: Oid, last: Oid) -> ObjectRange {
    ObjectRange {
        loids: (first, last.checked_add(1)),
        pages: None,
    }
}

/// Cuts objects, given as (number, pages) in order, into ranges of about `cell_pages`.
///
/// An object that is longer is cut at multiples of a power of two. Where ranges of others end is decided by their numbers,
/// with a chance in proportion to their pages: one more or one less moves few boundaries, and the chunks stay what they were.
fn ranges(objects: &[(Oid, u64)], cell_pages: u64) -> Vec<ObjectRange> {
    let cell_pages = 1 << cell_pages.max(1).ilog2();
    let mut out = Vec::new();
    let mut run: Option<(Oid, Oid, u64)> = None;
    let close = |run: &mut Option<(Oid, Oid, u64)>, out: &mut Vec<ObjectRange>| {
        out.extend(run.take().map(|(first, last, _)| whole(first, last)));
    };
    for (oid, n_pages) in objects {
        let n_before = run.map_or(0, |(_, _, n_before)| n_before);
        if *n_pages > cell_pages || n_before + n_pages > 2 * cell_pages {
            close(&mut run, &mut out);
        }
        if *n_pages > cell_pages {
            out.extend(cells(*oid, *n_pages, cell_pages));
            continue;
        }
        let (first, _, n_before) = run.unwrap_or((*oid, *oid, 0));
        run = Some((first, *oid, n_before + n_pages));
        let hash = xxhash_rust::xxh3::xxh3_64(&oid.to_be_bytes());
        if n_before + n_pages >= cell_pages / 4 && hash % cell_pages < (*n_pages).max(1) {
            close(&mut run, &mut out);
        }
    }
    close(&mut run, &mut out);
    out
}

/// The cells of one object; the last one is open, so that no page can lie behind it.
fn cells(oid: Oid, n_pages: u64, cell_pages: u64) -> impl Iterator<Item = ObjectRange> {
    let cell_pages = cell_pages.max(n_pages.div_ceil(CELLS_MAX).next_power_of_two());
    let n_cells = n_pages.div_ceil(cell_pages);
    (0..n_cells).map(move |cell| {
        let from = cell * cell_pages;
        ObjectRange {
            pages: Some((from, (cell + 1 < n_cells).then_some(from + cell_pages))),
            ..whole(oid, oid)
        }
    })
}

/// Keeps the server from sorting what an index has in order, and from reading all pages for some: it knows nothing of the
/// ranges beforehand. With `false` it may again.
pub(super) fn by_index(by_index: bool) -> String {
    let value = if by_index { "off" } else { "DEFAULT" };
    let set = |name: &&str| format!("SET LOCAL {name} = {value}");
    let names = ["enable_seqscan", "enable_bitmapscan", "enable_sort"];
    names.iter().map(set).collect::<Vec<_>>().join(";\n")
}

impl ObjectRange {
    /// What is read, for messages.
    pub(super) fn step(&self) -> String {
        match (self.pages, self.loids) {
            (Some((from, _)), (oid, _)) => {
                format!("COPY OUT of number {oid} from byte {}", from * PAGE_BYTES)
            }
            (None, (first, _)) => format!("COPY OUT of numbers from {first}"),
        }
    }

    /// A condition on a column that holds numbers.
    fn loids(&self, column: &'static str) -> Sql {
        let (from, to) = self.loids;
        let to = to.map(|to| sql![" AND ", column, " < ", to]);
        sql![column, " >= ", from, to]
    }

    /// Reads the range in order. In binary: the pages are half as long, and nobody has to write or read digits.
    ///
    /// Pages keep holes as holes. Without the right to read pages, `lo_get` gives 256 KiB at a time until the range or an
    /// object ends, if it may be read at all, and they are cut into pieces of a page, so that both ways give the same rows of the same objects.
    pub(super) fn copy_statement(&self, pages_readable: bool) -> Sql {
        if pages_readable {
            self.copy_pages()
        } else {
            self.copy_pieces()
        }
    }

    /// A page without bytes counts only as the last one, where it says how long the object is (`inv_truncate` leaves such).
    fn copy_pages(&self) -> Sql {
        let pages = self.pages.map(|(from, to)| {
            let to = to.map(|to| sql![" AND p.pageno < ", to]);
            sql![" AND p.pageno >= ", from, to]
        });
        sql![
            "COPY (SELECT p.loid, p.pageno::pg_catalog.int8 * 2048, p.data FROM pg_catalog.pg_largeobject p WHERE ",
            self.loids("p.loid"),
            pages,
            " AND (pg_catalog.octet_length(p.data) > 0 OR NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject n \
             WHERE n.loid = p.loid AND n.pageno > p.pageno)) ORDER BY p.loid, p.pageno) TO STDOUT (FORMAT binary)"
        ]
    }

    fn copy_pieces(&self) -> Sql {
        let (from, to) = self.pages.unwrap_or((0, None));
        let from = from * PAGE_BYTES;
        let goes_on = to.map(|to| sql![" AND place + 262144 < ", to * PAGE_BYTES]);
        let ends = to.map(|to| sql![" AND p.place + o.place < ", to * PAGE_BYTES]);
        sql![
            "COPY (WITH RECURSIVE piece(loid, place, data) AS (SELECT l.oid, ",
            from,
            "::pg_catalog.int8, pg_catalog.lo_get(l.oid, ",
            from,
            ", 262144) FROM pg_catalog.pg_largeobject_metadata l WHERE ",
            READABLE,
            " AND ",
            self.loids("l.oid"),
            " UNION ALL SELECT loid, place + 262144, pg_catalog.lo_get(loid, place + 262144, 262144) FROM piece \
             WHERE pg_catalog.length(data) = 262144",
            goes_on,
            ") SELECT p.loid, p.place + o.place, pg_catalog.substr(p.data, o.place + 1, 2048) FROM piece p \
             CROSS JOIN LATERAL pg_catalog.generate_series(0, pg_catalog.length(p.data) - 1, 2048) AS o(place) WHERE true",
            ends,
            " ORDER BY 1, 2) TO STDOUT (FORMAT binary)"
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_half_open() {
        let some = whole(5, 8).copy_statement(true).text();
        assert!(
            some.contains("WHERE p.loid >= 5 AND p.loid < 9 AND (pg_catalog.octet_length"),
            "{some}"
        );
        let last = whole(5, Oid::MAX).copy_statement(false).text();
        assert!(last.contains("END AND l.oid >= 5 UNION ALL"), "{last}");
        let cell = cells(7, 9, 4).nth(1).unwrap();
        let pages = cell.copy_statement(true).text();
        assert!(
            pages.contains("p.loid >= 7 AND p.loid < 8 AND p.pageno >= 4 AND p.pageno < 8 AND"),
            "{pages}"
        );
        let pieces = cell.copy_statement(false).text();
        assert!(
            pieces.contains("SELECT l.oid, 8192::pg_catalog.int8"),
            "{pieces}"
        );
        assert!(pieces.contains("place + 262144 < 16384"), "{pieces}");
        assert!(pieces.contains("p.place + o.place < 16384"), "{pieces}");
    }

    #[test]
    fn a_long_object_is_cut_at_multiples_and_the_last_cell_is_open() {
        let cut = ranges(&[(1, 2), (7, 9), (8, 1)], 4);
        let pages: Vec<_> = cut.iter().map(|range| range.pages).collect();
        let cells = [Some((0, Some(4))), Some((4, Some(8))), Some((8, None))];
        assert_eq!(pages[1..4], cells);
        assert_eq!((cut[0], cut[4]), (whole(1, 1), whole(8, 8)));
        // A terabyte that is hole has no more cells than a gigabyte that is not.
        assert!(ranges(&[(1, 1 << 29)], 4).len() as u64 <= CELLS_MAX);
    }

    #[test]
    fn one_object_less_moves_few_boundaries() {
        let objects: Vec<(Oid, u64)> = (0..4000)
            .map(|oid| (oid * 3 + 1, u64::from(oid % 5)))
            .collect();
        let before = ranges(&objects, 64);
        let mut fewer = objects.clone();
        fewer.remove(1000);
        let after = ranges(&fewer, 64);
        let same = before.iter().filter(|range| after.contains(range)).count();
        assert!(
            before.len() > 40 && same + 4 > before.len(),
            "{same} of {}",
            before.len()
        );
        // Disjoint, and every object is in one.
        let holds = |range: &ObjectRange, oid: Oid| {
            range.loids.0 <= oid && range.loids.1.is_none_or(|to| oid < to)
        };
        for (oid, _) in &objects {
            assert_eq!(
                before.iter().filter(|range| holds(range, *oid)).count(),
                1,
                "{oid}"
            );
        }
    }

    #[test]
    fn lengths_are_asked_of_what_may_be_read() {
        assert!(LengthRow::query(crate::pg::version::V18).contains(READABLE));
    }
}
