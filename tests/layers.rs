//! The crate's layers: which module may name which other one, and which libraries. Reads the sources, runs nothing.
//! The picture of it is in `docs/architecture.md`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// From the top down. A module may name modules of the layers below its own, and those that `BESIDE` lists.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    // A run of a job uses one verb after the other.
    &["jobs"],
    // What is known of a repository, as a document.
    &["page"],
    // A replacement reads what a database is to its cluster as a dump does, and fills the new one as a restore does.
    // A clone is a dump and a restore at once.
    &["clone", "cluster", "replace"],
    // It asks what the verbs themselves would ask before they begin.
    // A drill is a restore that nobody needed.
    &["doctor", "drill"],
    // It reads what the verbs left behind, and runs of jobs tell by it what became of them.
    &["monitor"],
    &["dump", "restore", "manage"],
    &["catalog", "archive", "graph"],
    &["kinds", "store"],
    // What is chosen is the same question for a dump and a restore, so its rules stand below both, and know entries only.
    &["selection"],
    &["toc"],
    &["pg", "sql"],
    // What a configuration file says, as plain data.
    &["config"],
    // What may pass is tried again by the same rules, at a server and in a store.
    &["retry"],
    &["error", "progress", "human"],
];

/// Pairs within one layer of which the first may name the second.
const BESIDE: &[(&str, &str)] = &[
    ("pg", "sql"),
    // A dump that is asked to rotates after its own success, by the code of prune.
    ("dump", "manage"),
];

/// Pairs that the layers would allow, and why they are forbidden.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("restore", "kinds", "an archive of any kind restores"),
    ("restore", "catalog", "it reads archives, not databases"),
    ("monitor", "pg", "it watches archives, not databases"),
    ("monitor", "dump", "it changes nothing"),
    ("monitor", "restore", "it changes nothing"),
    ("manage", "pg", "archives are proved without a server"),
    ("manage", "kinds", "it knows entries, not kinds"),
    ("archive", "kinds", "it stores text and facts"),
    ("graph", "kinds", "it orders numbers"),
    ("store", "toc", "it keeps bytes"),
    ("kinds", "store", "it renders text"),
];

/// Modules of pure functions: neither asynchronous nor connected.
const PURE: &[&str] = &["sql", "toc", "graph", "selection", "config"];
const ASYNC_CRATES: &[&str] = &[
    "tokio",
    "futures",
    "tokio_postgres",
    "tokio_rustls",
    "async_trait",
];

/// Outside `pg` nobody holds a connection of tokio-postgres: only its rows, messages, errors and types are named.
const OF_DRIVER: &[&str] = &[
    "Row",
    "Error",
    "SimpleQueryMessage",
    "SimpleQueryRow",
    "error",
    "types",
];
const READERS_OF_ROWS: &[&str] = &[
    "kinds", "catalog", "dump", "restore", "replace", "doctor", "drill", "error", "cli",
];

/// A path that a source file names, without what only tests name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    /// The module below the crate's root that names it.
    from: String,
    /// The first two segments: `crate::pg`, `tokio_postgres::Row`.
    path: (String, String),
    /// File and line.
    place: String,
}

#[test]
fn modules_name_only_what_is_below_them() {
    let problems: Vec<String> = uses_of_crate().iter().filter_map(upwards).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().copied().flatten().copied().collect();
    let declared = Regex::new(r"(?m)^pub mod (\w+);").unwrap();
    let root = std::fs::read_to_string(source_root().join("lib.rs")).unwrap();
    let declared: BTreeSet<&str> = declared
        .captures_iter(&root)
        .map(|found| found.extract::<1>().1[0])
        .collect();
    assert_eq!(declared, known);
}

#[test]
fn pure_modules_use_no_asynchronous_library() {
    for used in uses_of_crate() {
        let pure = PURE.contains(&used.from.as_str());
        assert!(
            !(pure && ASYNC_CRATES.contains(&used.path.0.as_str())),
            "{}: {} is pure, but names {}",
            used.place,
            used.from,
            used.path.0
        );
    }
}

#[test]
fn only_pg_holds_connections() {
    for used in uses_of_crate() {
        if used.path.0 != "tokio_postgres" || used.from == "pg" {
            continue;
        }
        assert!(
            READERS_OF_ROWS.contains(&used.from.as_str())
                && OF_DRIVER.contains(&used.path.1.as_str()),
            "{}: {} names tokio_postgres::{}; connections belong to pg",
            used.place,
            used.from,
            used.path.1
        );
    }
}

#[test]
fn the_lints_are_in_force() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap();
    for lint in [
        "unsafe_code = \"forbid\"",
        "missing_docs = \"warn\"",
        "pedantic = {",
        "unwrap_used = ",
    ] {
        assert!(manifest.contains(lint), "Cargo.toml has lost {lint}");
    }
    for file in files_below(&package.join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let opens = text.starts_with("//!");
        assert!(opens, "{} does not say what it owns", file.display());
    }
}

#[test]
fn a_wrong_import_would_be_noticed() {
    let text = "use crate::pg::Session;\n// crate::cli\nfn f() { crate::dump::dump(); }\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}\n";
    let mut uses = Vec::new();
    read_text("restore", "restore/x.rs", &without_tests(text).0, &mut uses);
    let problems: Vec<String> = uses.iter().filter_map(upwards).collect();
    assert_eq!(
        problems,
        ["restore/x.rs:3: restore names dump, which is beside or above it"]
    );
    let (_, files) = without_tests(
        "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\n#[cfg(test)]\npub(crate) mod faulty;\n",
    );
    assert_eq!(files, ["x_tests", "faulty"]);
}

fn layer_of(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("module {module} has no layer"))
}

/// What is wrong with a use, if anything.
fn upwards(used: &Use) -> Option<String> {
    let (place, from) = (&used.place, used.from.as_str());
    if used.path.0 != "crate" {
        return None;
    }
    let to = match used.path.1.as_str() {
        "Error" | "Result" => "error",
        module => module,
    };
    if from == to {
        return None;
    }
    let forbidden = FORBIDDEN.iter().find(|pair| (pair.0, pair.1) == (from, to));
    if let Some((_, _, why)) = forbidden {
        return Some(format!("{place}: {from} names {to}, but {why}"));
    }
    let below = layer_of(to) > layer_of(from) || BESIDE.contains(&(from, to));
    (!below).then(|| format!("{place}: {from} names {to}, which is beside or above it"))
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every path that the product's own code names.
fn uses_of_crate() -> Vec<Use> {
    let root = source_root();
    let mut files = BTreeMap::new();
    let mut of_tests: Vec<PathBuf> = Vec::new();
    for file in files_below(&root) {
        let text = std::fs::read_to_string(&file).unwrap();
        let (text, test_modules) = without_tests(&text);
        let folder = file.parent().unwrap();
        let stem = file.file_stem().unwrap();
        for module in test_modules {
            of_tests.push(folder.join(&module));
            of_tests.push(folder.join(stem).join(&module));
        }
        files.insert(file, text);
    }
    let mut uses = Vec::new();
    for (file, text) in &files {
        let is_test = of_tests
            .iter()
            .any(|module| file.with_extension("") == *module || file.starts_with(module));
        let place = file.strip_prefix(&root).unwrap().with_extension("");
        let module = place
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        if !is_test && !matches!(module, "lib" | "main") {
            read_text(module, &file.display().to_string(), text, &mut uses);
        }
    }
    assert!(uses.len() > 300, "only {} paths were found", uses.len());
    uses
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Blanks what is compiled only for tests, as rustfmt writes it; also the names of files that are.
fn without_tests(text: &str) -> (String, Vec<String>) {
    static MODULE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bmod (\w+);").unwrap());
    static PATH: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"#\[path = "(.*)\.rs"\]"#).unwrap());
    let (mut kept, mut files) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", &line[..indent]);
            let mut named = None;
            kept.push('\n');
            for line in lines.by_ref() {
                kept.push('\n');
                if let Some(found) = PATH.captures(line) {
                    named = Some(found[1].to_owned());
                } else if let Some(found) = MODULE.captures(line) {
                    files.push(named.unwrap_or_else(|| found[1].to_owned()));
                    break;
                } else if line == end || (line.ends_with(';') && !line[indent..].starts_with(' ')) {
                    break;
                }
            }
        } else {
            if !line.trim_start().starts_with("//") {
                kept.push_str(line);
            }
            kept.push('\n');
        }
    }
    (kept, files)
}

/// Collects `crate::x` and `library::x` with their lines. Braces right after `crate::` are refused, so that lines stay readable.
fn read_text(module: &str, file: &str, text: &str, uses: &mut Vec<Use>) {
    static PATH: LazyLock<Regex> = LazyLock::new(|| {
        let libraries = ASYNC_CRATES.join("|");
        Regex::new(&format!(r"\b(crate|{libraries})(?:::(\w+|\{{[^}}]*\}}))")).unwrap()
    });
    for found in PATH.captures_iter(text) {
        let line = text[..found.get(0).unwrap().start()].matches('\n').count() + 1;
        let place = format!("{file}:{line}");
        for name in found[2].trim_matches(['{', '}']).split(',') {
            let name = name.trim().split([':', ' ']).next().unwrap();
            assert!(
                &found[1] != "crate" || !found[2].starts_with('{'),
                "{place}: write one `use crate::` for each module"
            );
            if !name.is_empty() {
                uses.push(Use {
                    from: module.to_owned(),
                    path: (found[1].to_owned(), name.to_owned()),
                    place: place.clone(),
                });
            }
        }
    }
}
