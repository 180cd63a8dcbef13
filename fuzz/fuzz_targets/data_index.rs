//! A line of the data index is read or refused; its ranges never leave their chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::archive::index::TableIndex;
use pgark::archive::rows_at::RowsAt;

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = serde_json::from_slice::<TableIndex>(bytes) else {
        return;
    };
    for (number, segment) in index.segments.iter().enumerate() {
        let _ = RowsAt::of(segment, number).words(index.cell_key.as_ref()).to_string();
        for piece in &segment.pieces {
            if let Some(range) = piece.range() {
                assert!(range.start <= range.end && range.end as u64 <= piece.chunk_bytes);
            }
        }
    }
});
