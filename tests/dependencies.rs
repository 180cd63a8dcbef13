//! The dependencies against the rules of `deny.toml`, as far as they can be checked without a network: licences, sources, checksums,
//! crates that are banned, and crates that are there twice. Advisories are left to cargo-deny, which fetches them.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use toml::Value;

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    Value::Table(
        text.parse()
            .unwrap_or_else(|error| panic!("{name}: {error}")),
    )
}

/// The texts at a place of `deny.toml`; of tables their member `crate`.
fn rules(section: &str, list: &str) -> BTreeSet<String> {
    let rules = read("deny.toml");
    let found = rules[section][list].as_array().unwrap().iter();
    let found: BTreeSet<String> = found
        .map(|rule| {
            if let Some(reason) = rule.get("reason") {
                assert!(!reason.as_str().unwrap().is_empty(), "{rule}");
            }
            rule.get("crate")
                .unwrap_or(rule)
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(!found.is_empty());
    found
}

/// The packages of a lock file; the first is what it is for.
fn locked(name: &str) -> Vec<Value> {
    read(name)["package"].as_array().unwrap().clone()
}

fn text<'a>(package: &'a Value, member: &str) -> Option<&'a str> {
    package.get(member).and_then(Value::as_str)
}

/// What cargo knows of the packages that are built on this machine.
fn packages() -> Vec<Json> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Json = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The machine for which the compiler compiles.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// True if what is allowed fulfils a licence expression (SPDX; a slash is the old form of OR). AND binds closer.
fn fulfils(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let fulfilled = any(&mut words, allowed);
    assert!(words.is_empty(), "{expression}");
    fulfilled
}

fn any(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut fulfilled = all(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        fulfilled |= all(words, allowed);
    }
    fulfilled
}

fn all(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut fulfilled = one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        fulfilled &= one(words, allowed);
    }
    fulfilled
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let word = words.pop().expect("a licence");
    if word == "(" {
        let fulfilled = any(words, allowed);
        assert_eq!(words.pop(), Some(")"));
        return fulfilled;
    }
    if words.last() == Some(&"WITH") {
        words.pop();
        let exception = words.pop().expect("an exception");
        return allowed.contains(&format!("{word} WITH {exception}"));
    }
    allowed.contains(word)
}

#[test]
fn expressions_of_licences_are_read() {
    let allowed: BTreeSet<String> = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND (GPL-3.0 OR ISC)", true),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(fulfils(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_is_allowed_and_every_allowed_one_is_used() {
    let allowed = rules("licenses", "allow");
    let packages = packages();
    assert!(packages.len() > 200, "{}", packages.len());
    let mut expressions = String::new();
    for package in &packages {
        let (name, licence) = (
            package["name"].as_str().unwrap(),
            package["license"].as_str(),
        );
        let licence = licence.unwrap_or_else(|| panic!("{name} names no licence"));
        assert!(fulfils(licence, &allowed), "{name}: {licence}");
        expressions.push_str(licence);
        expressions.push('\n');
    }
    for one in &allowed {
        assert!(expressions.contains(one), "no crate needs {one} any more");
    }
}

#[test]
fn every_crate_comes_from_the_registry_with_a_checksum() {
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let own = ["pgark", "pgark-fuzz"];
        let mut sources = BTreeSet::new();
        for package in locked(lock) {
            let name = text(&package, "name").unwrap();
            let source = text(&package, "source");
            if own.contains(&name) {
                assert_eq!(source, None, "{lock}: {name}");
                continue;
            }
            let source = source.unwrap_or_else(|| panic!("{lock}: {name} has no source"));
            assert!(source.starts_with("registry+"), "{lock}: {name}: {source}");
            sources.insert(source.to_owned());
            let checksum = text(&package, "checksum").unwrap_or_default();
            let is_sha256 = checksum.len() == 64 && checksum.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(is_sha256, "{lock}: {name} has no checksum");
        }
        assert_eq!(
            sources.len(),
            1,
            "{lock}: more than one registry: {sources:?}"
        );
    }
    let policy = read("deny.toml");
    for unknown in ["unknown-registry", "unknown-git"] {
        assert_eq!(policy["sources"][unknown].as_str(), Some("deny"));
    }
}

#[test]
fn no_banned_crate_is_there_and_only_listed_ones_are_there_twice() {
    let banned = rules("bans", "deny");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in locked("Cargo.lock") {
        let (name, version) = (
            text(&package, "name").unwrap(),
            text(&package, "version").unwrap(),
        );
        assert!(!banned.contains(name), "{name} is banned");
        versions
            .entry(name.to_owned())
            .or_default()
            .insert(version.to_owned());
    }
    let skipped = rules("bans", "skip");
    let mut unused = skipped.clone();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let listed: Vec<String> = versions
            .iter()
            .map(|version| format!("{name}@{version}"))
            .filter(|one| skipped.contains(one))
            .collect();
        assert!(
            listed.len() + 1 >= versions.len(),
            "{name} is there as {versions:?}"
        );
        for one in listed {
            unused.remove(&one);
        }
    }
    assert!(unused.is_empty(), "no longer there twice: {unused:?}");
    assert_eq!(
        read("deny.toml")["bans"]["multiple-versions"].as_str(),
        Some("deny")
    );
}

#[test]
fn no_dependency_is_asked_for_in_any_version() {
    let manifest = read("Cargo.toml");
    let tables = [
        Some(&manifest["dependencies"]),
        Some(&manifest["dev-dependencies"]),
        manifest["target"]
            .get("cfg(unix)")
            .and_then(|unix| unix.get("dependencies")),
    ];
    for (name, wanted) in tables
        .into_iter()
        .flatten()
        .flat_map(|table| table.as_table().unwrap())
    {
        let version = wanted.get("version").unwrap_or(wanted).as_str();
        let version = version.unwrap_or_else(|| panic!("{name} has no version"));
        assert!(
            !version.contains('*') && wanted.get("git").is_none(),
            "{name}: {version}"
        );
    }
}
