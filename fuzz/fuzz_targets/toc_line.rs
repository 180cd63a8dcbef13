//! A line of the TOC is an entry or refused; an entry is written and read again as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::toc::Entry;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = serde_json::from_slice::<Entry>(bytes) {
        let text = serde_json::to_vec(&entry).expect("an entry is plain data");
        let again: Entry = serde_json::from_slice(&text).expect("what was written is read");
        assert_eq!(entry, again);
        let _ = (entry.name.to_string(), entry.is_idle());
    }
});
