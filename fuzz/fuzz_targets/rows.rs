//! Rows in text and in binary give the same fingerprint however their bytes are split.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::archive::fingerprint::RowReader;
use pgark::archive::index::CopyFormat;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    for format in [CopyFormat::Text, CopyFormat::Binary] {
        let mut whole = RowReader::new(format);
        whole.push(bytes);
        let mut split = RowReader::new(format);
        for part in bytes.chunks(usize::from(step) + 1) {
            split.push(part);
        }
        assert_eq!(whole.whole_rows(), split.whole_rows());
        assert_eq!(whole.finish(), split.finish());
    }
});
