//! A script is split into the same statements however its bytes arrive.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgark::sql::script::{Item, ScriptError, Splitter};

/// What the script consists of; the pieces of rows joined, because they are cut as they come.
fn items(parts: impl Iterator<Item = Vec<u8>>) -> (Vec<Item>, Option<ScriptError>) {
    let mut splitter = Splitter::default();
    let mut items = Vec::new();
    for part in parts {
        splitter.push(&part);
        if let Err(error) = take(&mut splitter, &mut items) {
            return (items, Some(error));
        }
    }
    splitter.finish();
    let ended = take(&mut splitter, &mut items);
    (items, ended.err())
}

fn take(splitter: &mut Splitter, items: &mut Vec<Item>) -> Result<(), ScriptError> {
    while let Some(item) = splitter.next_item()? {
        match (items.last_mut(), item) {
            (Some(Item::CopyData(before)), Item::CopyData(more)) => before.extend(more),
            (_, item) => items.push(item),
        }
    }
    Ok(())
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let split = items(bytes.chunks(usize::from(step) + 1).map(<[u8]>::to_vec));
    let whole = items(std::iter::once(bytes.to_vec()));
    assert_eq!(split, whole);
});
