//! The bench that measures pgark beside its peers: that it works from end to end, and that what it computes is right. It measures
//! nothing here.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn benches() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
}

/// What a program said on standard output and on standard error.
fn said_by(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}: {said}{complaints}");
    (said, complaints)
}

#[test]
fn medians_targets_table_plot_and_link_are_right() {
    let mut tests = Command::new("python3");
    tests
        .args(["-B", "-m", "unittest", "discover", "-s", "benches", "-t"])
        .arg(benches())
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let (_, report) = said_by(&mut tests);
    let n_tests = report
        .lines()
        .find_map(|line| line.strip_prefix("Ran ")?.split(' ').next());
    let n_tests: u32 = n_tests.unwrap().parse().unwrap();
    assert!(n_tests >= 20, "{report}");
}

#[test]
fn a_try_of_the_bench_dumps_restores_checks_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    // The server's user must be able to enter it.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let out = folder.path().join("out");
    let mut compare = Command::new(benches().join("compare"));
    compare
        .args(["--quick", "--work", "small,small-restore,toast"])
        // Thousands of small syncs would wait for whatever else uses the disk.
        .args(["--set", "fsync=off"])
        .args(["--pgark", env!("CARGO_BIN_EXE_pgark"), "--cache"])
        .arg(folder.path().join("cache"))
        .arg("--out")
        .arg(&out);
    let (table, _) = said_by(&mut compare);
    assert_eq!(
        table,
        std::fs::read_to_string(out.join("table.md")).unwrap()
    );
    assert!(table.contains("settings: fsync = off, "), "{table}");
    for begin in [
        "| 100 small tables, dump | wall, s | pg_dump -Z0 | ",
        "| 100 small tables, restore | wall, s | pg_restore of -Z0 | ",
    ] {
        let row = table.lines().find(|line| line.starts_with(begin));
        let row = row.unwrap_or_else(|| panic!("{begin}\n{table}"));
        assert!(row.contains("| ≤ 0.5 |"), "{row}");
    }
    let results = std::fs::read_to_string(out.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let works = results["works"].as_array().unwrap();
    assert_eq!(works.len(), 3);
    for work in works {
        assert_eq!(work["failures"], serde_json::json!({}));
        for side in work["samples"].as_object().unwrap().values() {
            assert_eq!(side.as_array().unwrap().len(), 1, "{side}");
            assert!(side[0]["wall_s"].as_f64().unwrap() > 0.0, "{side}");
        }
    }
    let dumped = &works[2]["samples"]["pgark"][0];
    assert!(dumped["raw_bytes"].as_f64().unwrap() > 64e6, "{dumped}");
    let plot = std::fs::read_to_string(out.join("plot.svg")).unwrap();
    assert!(plot.contains("100 small tables, restore"), "{plot}");
}
