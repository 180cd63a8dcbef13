//! The kept corpus of the fuzzer, all of it through the targets on every run: what was once found stays found, without a fuzzer.
//! `scripts/fuzz` makes it, `docs/reliability.md` says when that was and how long.

mod targets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::targets::TARGETS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn every_kept_input_is_read_or_refused() {
    let mut n_inputs = 0;
    for (name, target) in TARGETS {
        let corpus = folder().join("corpus").join(name);
        let inputs = names_in(&corpus);
        assert!(inputs.len() >= 10, "{name}: {} inputs", inputs.len());
        for input in inputs {
            // The name of what fails is the last that is printed.
            println!("{name}/{input}");
            target(&std::fs::read(corpus.join(&input)).unwrap());
            n_inputs += 1;
        }
    }
    println!("{n_inputs} inputs of {} targets", TARGETS.len());
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, names_in(&folder().join("corpus")));
    let programs: BTreeSet<String> = targets.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(programs, names_in(&folder().join("fuzz_targets")));
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
