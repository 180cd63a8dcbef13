//! How tables are cut into cells of blocks, and small tables gathered. Pure; cells of keys are in `key_ranges`.

use crate::archive::index::CellKey;
use crate::pg::version::{ServerVersion, V14};

/// Bytes of a heap block. Servers built otherwise say so in `block_size`; the plan uses the server's value.
pub(super) const BLOCK_BYTES: u64 = 8192;

/// Heap and TOAST bytes that a cell aims at.
pub(super) const CELL_BYTES: u64 = 64 << 20;

/// Up to this size a table is read together with other small ones.
pub(super) const SMALL_BYTES_MAX: u64 = 1 << 20;

/// When a pack of small tables is full.
const PACK_BYTES_MAX: u64 = 16 << 20;
const PACK_TABLES_MAX: usize = 512;

/// What the plan needs to know of a table's storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableSize {
    /// Blocks of the heap.
    pub n_blocks: u32,
    /// Bytes of the heap.
    pub heap_bytes: u64,
    /// Bytes of its TOAST table, without the index.
    pub toast_bytes: u64,
    /// True if the access method is the server's own heap.
    pub is_heap: bool,
}

impl TableSize {
    /// Heap and TOAST.
    pub(super) fn n_bytes(&self) -> u64 {
        self.heap_bytes + self.toast_bytes
    }
}

/// How a table is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    /// In cells of this many blocks, a power of two.
    Cells {
        /// Blocks per cell.
        cell_blocks: u32,
    },
    /// In ranges of a key.
    Keys {
        /// The key.
        key: CellKey,
        /// Why not in cells of blocks.
        because: &'static str,
    },
    /// In one piece, for this reason.
    Whole(String),
}

impl Method {
    /// In one piece, because nothing is gained by more.
    pub(super) fn small() -> Method {
        Method::Whole("it fits in one cell".to_owned())
    }
}

/// Why a table cannot be read in cells of blocks, if it cannot.
pub(super) fn without_blocks(size: &TableSize, server: ServerVersion) -> Option<&'static str> {
    if !size.is_heap {
        return Some("its access method is not heap");
    }
    (server < V14).then_some("servers before 14 scan the whole table for a ctid range")
}

/// Chooses the method for cells of blocks of about `cell_bytes`. `before` is the cell length of the group's previous dump: kept
/// until it is off by four, so that chunks keep their boundaries although the table grows.
pub(super) fn by_blocks(size: &TableSize, before: Option<u32>, cell_bytes: u64) -> Method {
    let ideal = ideal_cell_blocks(size, cell_bytes);
    let cell_blocks = match before {
        Some(before) if before.is_power_of_two() && before / 4 <= ideal && ideal / 4 <= before => {
            before
        }
        _ => ideal,
    };
    if size.n_blocks <= cell_blocks {
        return Method::small();
    }
    Method::Cells { cell_blocks }
}

/// The power of two nearest below `cell_bytes` of heap and TOAST.
fn ideal_cell_blocks(size: &TableSize, cell_bytes: u64) -> u32 {
    let per_block = (size.n_bytes() / u64::from(size.n_blocks.max(1))).max(BLOCK_BYTES);
    let blocks = (cell_bytes / per_block).max(1);
    1 << blocks.ilog2()
}

/// The block ranges of a table's cells; the last one is open, so that no row can lie behind it.
pub(super) fn cells(n_blocks: u32, cell_blocks: u32) -> Vec<(u32, Option<u32>)> {
    assert!(
        cell_blocks.is_power_of_two(),
        "a cell is a power of two of blocks"
    );
    let n_cells = n_blocks.div_ceil(cell_blocks).max(1);
    (0..n_cells)
        .map(|i| {
            let from = i * cell_blocks;
            (from, (i + 1 < n_cells).then(|| from + cell_blocks))
        })
        .collect()
}

/// Gathers small tables, given in name order as (hash of the name, bytes), into packs of indexes.
///
/// Where a pack ends is decided by the names where possible, so that a new table moves few boundaries.
pub(super) fn packs(tables: &[(u64, u64)]) -> Vec<Vec<usize>> {
    let mut packs = Vec::new();
    let mut pack = Vec::new();
    let mut n_bytes = 0;
    for (i, (name_hash, size)) in tables.iter().enumerate() {
        pack.push(i);
        n_bytes += size;
        if name_hash % 256 == 0 || n_bytes >= PACK_BYTES_MAX || pack.len() >= PACK_TABLES_MAX {
            packs.push(std::mem::take(&mut pack));
            n_bytes = 0;
        }
    }
    if !pack.is_empty() {
        packs.push(pack);
    }
    packs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::version::{V13, V18};

    fn method(size: &TableSize, before: Option<u32>) -> Method {
        by_blocks(size, before, CELL_BYTES)
    }

    fn size(n_blocks: u32, toast_bytes: u64) -> TableSize {
        let heap_bytes = u64::from(n_blocks) * BLOCK_BYTES;
        TableSize {
            n_blocks,
            heap_bytes,
            toast_bytes,
            is_heap: true,
        }
    }

    #[test]
    fn a_cell_is_64_mib_of_heap_and_fewer_blocks_where_toast_is_heavy() {
        assert_eq!(
            method(&size(100_000, 0), None),
            Method::Cells { cell_blocks: 8192 }
        );
        // 20 MB of heap, 2 GB of TOAST: still some thirty cells.
        let heavy = size(2560, 2 << 30);
        let Method::Cells { cell_blocks } = method(&heavy, None) else {
            panic!("split")
        };
        assert!(
            (32..=64).contains(&cells(2560, cell_blocks).len()),
            "{cell_blocks}"
        );
    }

    #[test]
    fn the_previous_length_is_kept_until_it_is_off_by_four() {
        assert_eq!(
            method(&size(100_000, 0), Some(2048)),
            Method::Cells { cell_blocks: 2048 }
        );
        assert_eq!(
            method(&size(100_000, 0), Some(1024)),
            Method::Cells { cell_blocks: 8192 }
        );
        assert_eq!(
            method(&size(100_000, 0), Some(3000)),
            Method::Cells { cell_blocks: 8192 }
        );
    }

    #[test]
    fn some_tables_are_read_whole_and_the_plan_says_why() {
        let large = size(100_000, 0);
        assert_eq!(method(&size(100, 0), None), Method::small());
        assert_eq!(without_blocks(&large, V14), None);
        let why = without_blocks(&large, V13).unwrap();
        assert!(why.starts_with("servers before 14"), "{why}");
        let other = TableSize {
            is_heap: false,
            ..large
        };
        let why = without_blocks(&other, V18);
        assert_eq!(why, Some("its access method is not heap"));
    }

    #[test]
    fn cells_cover_every_block_and_the_last_is_open() {
        assert_eq!(cells(20, 8), [(0, Some(8)), (8, Some(16)), (16, None)]);
        assert_eq!(cells(0, 8), [(0, None)]);
    }

    #[test]
    fn packs_hold_every_table_once() {
        let tables: Vec<(u64, u64)> = (0..2000).map(|i| (i * 7 + 1, 10_000)).collect();
        let packs = packs(&tables);
        let all: Vec<usize> = packs.concat();
        assert_eq!(all, (0..2000).collect::<Vec<_>>());
        assert!(packs.iter().all(|pack| pack.len() <= PACK_TABLES_MAX));
    }
}
