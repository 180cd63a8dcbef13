//! What people who run backups expect of an evening's work, as they meet it: a backup by hand, the list, copies in a cloud and in cold
//! storage. The other expectations have their tests where their verbs are tested; docs/acceptance.md names all of them.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Database, S3Server, Server, majors, output_of, pgark};

fn shop() -> Option<Database> {
    let shop = Server::shared(majors().pop()?).create_database("shop");
    shop.psql(
        "CREATE TABLE orders (id int PRIMARY KEY, note text);
         INSERT INTO orders SELECT i, md5(i::text) FROM generate_series(1, 5000) AS i",
    );
    Some(shop)
}

/// Runs a command of `pgark` in `folder`, which must succeed, and gives its standard output.
fn run(folder: &TempDir, arguments: &[&str]) -> String {
    output_of(pgark().current_dir(folder.path()).args(arguments))
}

#[test]
fn a_manual_backup_prints_size_and_place_and_the_list_time_size_and_full_path() {
    let Some(shop) = shop() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().canonicalize().unwrap().join("backups");
    let place = place.to_str().unwrap();
    let made = run(&folder, &["dump", "-d", &shop.conninfo()]);
    assert!(made.contains("5,000 rows"), "{made}");
    assert!(made.contains(" KiB new)"), "{made}");
    assert!(made.contains(&format!(" in {place},")), "{made}");
    let name = made.split(':').next().unwrap();
    let listed = run(&folder, &["list"]);
    let line = listed.lines().find(|line| line.starts_with(name)).unwrap();
    let today = &jiff::Timestamp::now().to_string()[..10];
    assert!(line.contains(today) && line.contains(" KiB"), "{line}");
    assert!(
        line.ends_with(&format!("{place}/archives/{name}.json")),
        "{line}"
    );
}

#[test]
fn copies_go_into_the_cloud_and_monthly_ones_into_cold_storage() {
    let Some(shop) = shop() else { return };
    let (folder, s3) = (tempfile::tempdir().unwrap(), S3Server::start());
    let configuration = format!(
        r#"
[[repository]]
name = "main"
place = "./backups"
[[repository]]
name = "cloud"
place = "{}"
[[repository]]
name = "cold"
place = "{}"
storage_class = "GLACIER_IR"
[[job]]
name = "shop"
source = "{}"
repository = "main"
keep = {{ last = 2 }}
[[job.replica]]
repository = "cloud"
keep = {{ last = 3 }}
[[job.replica]]
repository = "cold"
only = {{ monthly = 12 }}
"#,
        S3Server::url("cloud"),
        S3Server::url("cold"),
        shop.conninfo()
    );
    std::fs::write(folder.path().join("pgark.toml"), configuration).unwrap();
    let with_keys = |arguments: &[&str]| {
        let mut command = pgark();
        // What a list of a bucket remembers stays in the test's own folder.
        command.env("XDG_CACHE_HOME", folder.path().join("cache"));
        command.current_dir(folder.path());
        for (name, value) in cloud_variables(&s3) {
            command.env(name, value);
        }
        command.args(arguments);
        command
    };
    for n in 1..=4 {
        shop.psql(&format!("INSERT INTO orders VALUES (-{n}, 'more')"));
        output_of(&mut with_keys(&["run"]));
    }
    let in_place = |place: &str| names(&mut with_keys(&["list", "--json", "-r", place]));
    let (main, cloud, cold) = (in_place("@main"), in_place("@cloud"), in_place("@cold"));
    assert_eq!((main.len(), cloud.len()), (2, 3));
    assert!(
        main.iter().all(|name| cloud.contains(name)),
        "{main:?} {cloud:?}"
    );
    // The first of the month, which the other places have let go since; two months if the test ran over a month's end.
    assert!((1..=2).contains(&cold.len()), "{cold:?}");
    let chunks: Vec<_> = s3
        .puts()
        .into_iter()
        .filter(|put| put.key.contains("/chunks/"))
        .collect();
    for put in &chunks {
        let is_cold = put.key.starts_with("cold/");
        assert_eq!(
            put.storage_class.as_deref() == Some("GLACIER_IR"),
            is_cold,
            "{put:?}"
        );
    }
    assert!(chunks.iter().any(|put| put.key.starts_with("cold/")));
    output_of(&mut with_keys(&["verify", "--all", "-r", "@cold"]));
}

fn cloud_variables(s3: &S3Server) -> [(&'static str, String); 4] {
    [
        ("AWS_ACCESS_KEY_ID", S3Server::KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", S3Server::SECRET.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ENDPOINT_URL", s3.endpoint()),
    ]
}

fn names(list: &mut Command) -> Vec<String> {
    let listed: Vec<Value> = serde_json::from_str(&output_of(list)).unwrap();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    listed.iter().map(name).collect()
}
