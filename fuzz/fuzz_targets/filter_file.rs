//! Any filter file is read, or refused with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::selection::filter_file::{apply, parse};
use pgark::selection::{Selection, Side};

fuzz_target!(|text: &str| {
    for side in [Side::Dump, Side::Restore] {
        if let Ok(rules) = parse(text, "filter") {
            let mut selection = Selection::default();
            if apply(rules, "filter", side, &mut selection).is_ok() {
                let _ = selection.check(side);
            }
        }
    }
});
