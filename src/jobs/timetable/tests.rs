//! Whether cron, systemd and Kubernetes are told the same: tables, golden files, and the judgement of the programs themselves where they are.

#![allow(
    clippy::print_stdout,
    reason = "a test says in its output what it left out and why"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::*;

fn fields(text: &str) -> Result<Fields, String> {
    Fields::of(&Schedule::parse(text)?)
}

#[test]
fn fields_become_calendar_events() {
    for (cron, events) in [
        ("0 2 * * *", &["*-*-* 02:00:00"][..]),
        ("*/15 * * * *", &["*-*-* *:00,15,30,45:00"]),
        ("30 1-5 * * *", &["*-*-* 01..05:30:00"]),
        ("0 4 1 */3 *", &["*-01,04,07,10-01 04:00:00"]),
        ("0 2 * * 1-5", &["Mon,Tue,Wed,Thu,Fri *-*-* 02:00:00"]),
        ("0 2 * * 0", &["Sun *-*-* 02:00:00"]),
        ("0 2 * * 7,6", &["Sat,Sun *-*-* 02:00:00"]),
        ("0 2 * * 5-7", &["Fri,Sat,Sun *-*-* 02:00:00"]),
        ("0 2 * JAN,feb SUN", &["Sun *-01,02-* 02:00:00"]),
        (
            "5 0 1,15 * 3",
            &["*-*-01,15 00:05:00", "Wed *-*-* 00:05:00"],
        ),
        ("* * * * *", &["*-*-* *:*:00"]),
        (
            "0 0 1-31/2 * *",
            &["*-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 00:00:00"],
        ),
    ] {
        assert_eq!(calendars(&fields(cron).unwrap(), None), events, "{cron}");
    }
    let zoned = calendars(&fields("0 2 * * *").unwrap(), Some("Europe/Berlin"));
    assert_eq!(zoned, ["*-*-* 02:00:00 Europe/Berlin"]);
}

#[test]
fn plain_fields_are_numbers_that_mean_the_same() {
    for (cron, plain) in [
        ("0 2 * * *", "0 2 * * *"),
        ("*/20 2 * jan-mar,dec sun", "0,20,40 2 * 1-3,12 0"),
        ("0 2 * * 6-7", "0 2 * * 0,6"),
        ("0-59 2 1,2 * *", "0-59 2 1,2 * *"),
    ] {
        assert_eq!(fields(cron).unwrap().plain(), plain, "{cron}");
        // The times are the same as well.
        let zone = TimeZone::UTC;
        let [one, other] = [cron, plain].map(|text| {
            let schedule = Schedule::parse(text).unwrap();
            let mut moment: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            (0..50)
                .map(|_| {
                    moment = schedule.next_after(moment, &zone).unwrap();
                    moment
                })
                .collect::<Vec<_>>()
        });
        assert_eq!(one, other, "{cron}");
    }
}

#[test]
fn what_not_every_starter_can_express_is_refused() {
    for cron in [
        "0 2 L * *",
        "0 2 * * 5#2",
        "0 2 15W * *",
        "0 2 */2 * 1",
        "0 2 1 * */2",
    ] {
        assert!(fields(cron).is_err(), "{cron}");
    }
    let config = config();
    let mut job = config.jobs[0].clone();
    job.schedule = Some("0 2 L * *".to_owned());
    let problem = planned(&[&job]).unwrap_err().to_string();
    assert!(
        problem.contains("job \"shop\": schedule: \"0 2 L * *\""),
        "{problem}"
    );
    let mut namesake = config.jobs[0].clone();
    namesake.name = "Shop-drill".to_owned();
    let problem = planned(&[&config.jobs[0], &namesake])
        .unwrap_err()
        .to_string();
    assert!(problem.contains("the same file or object"), "{problem}");
}

const CONFIG: &str = r#"
timezone = "Europe/Berlin"
[[repository]]
name = "main"
place = "/var/backups/50% of it"
[[repository]]
name = "cold"
place = "s3://b/p"
access_key_id = { env = "COLD_ID" }
secret_access_key = { file = "/etc/pgark/cold secret" }
[[notify]]
name = "ops"
kind = "slack"
url = { env = "SLACK_URL" }
[[job]]
name = "shop"
source = "shop"
password = { file = "/etc/pgark/shop-password" }
repository = "main"
schedule = "30 2 1,15 * sun"
notify = ["ops"]
[[job.replica]]
repository = "cold"
[job.drill]
schedule = "0 4 1 */3 *"
"#;

fn config() -> Config {
    Config::parse(CONFIG, "pgark.toml").unwrap()
}

fn table(starter: Starter) -> Timetable {
    let config = config();
    let planned = planned(&[&config.jobs[0]]).unwrap();
    let paths = Paths {
        program: Path::new("/usr/local/bin/pgark"),
        config: Path::new("/etc/pgark/it's 100%.toml"),
    };
    timetable(starter, &planned, &config, paths)
}

/// All files and steps of a starter are those of a file, renewed with `UPDATE_GOLDEN=1`.
#[test]
fn files_are_the_golden_ones() {
    for (starter, name) in [
        (Starter::Cron, "cron"),
        (Starter::Systemd, "systemd"),
        (Starter::Kubernetes, "kubernetes"),
    ] {
        let table = table(starter);
        let mut text = String::new();
        for file in &table.files {
            write!(text, "==> {} <==\n{}", file.name, file.text).unwrap();
        }
        writeln!(text, "==> steps <==\n{}", table.steps.join("\n")).unwrap();
        let golden =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/schedule/{name}.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
            std::fs::write(&golden, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, expected, "{}", golden.display());
    }
}

/// The program's own judgement, where it is installed.
fn run(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new(program)
        .args(arguments)
        .env("TZ", "UTC")
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

#[test]
fn systemd_has_the_same_next_times() {
    let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
    for cron in [
        "0 2 * * *",
        "*/15 8-10 * * 1-5",
        "0 4 1 */3 *",
        "59 23 * 12 sun",
    ] {
        let schedule = Schedule::parse(cron).unwrap();
        let event = &calendars(&Fields::of(&schedule).unwrap(), Some("UTC"))[0];
        let Some((fine, said)) = run(
            "systemd-analyze",
            &[
                "calendar",
                "--base-time=2026-03-10 12:00:00 UTC",
                "--iterations=3",
                event,
            ],
        ) else {
            println!("left out: systemd-analyze is not installed");
            return;
        };
        assert!(fine, "{event}: {said}");
        let mut moment = now;
        for _ in 0..3 {
            moment = schedule.next_after(moment, &TimeZone::UTC).unwrap();
            let shown = moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
            assert!(
                said.contains(&shown),
                "{cron} as {event}: {shown} is not in {said}"
            );
        }
    }
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for file in table(Starter::Systemd).files {
        let path = folder.path().join(&file.name);
        // The program must be there for the judgement.
        let text = file.text.replace("/usr/local/bin/pgark", "/bin/true");
        std::fs::write(&path, text).unwrap();
        paths.push(path.display().to_string());
    }
    let arguments = [
        &["verify", "--man=no"][..],
        &paths.iter().map(String::as_str).collect::<Vec<_>>(),
    ]
    .concat();
    let Some((_, said)) = run("systemd-analyze", &arguments) else {
        println!("left out: systemd-analyze is not installed");
        return;
    };
    // A machine without a running systemd has complaints of its own; those about our units name them.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("pgark-"))
        .collect();
    assert!(ours.is_empty(), "{}", ours.join("\n"));
}

#[test]
fn kubernetes_manifests_are_yaml_with_the_fields_that_matter() {
    let script = "
import sys, json
try:
    import yaml
except ImportError:
    sys.exit(77)
print(json.dumps(yaml.safe_load(sys.argv[1])))";
    for file in table(Starter::Kubernetes).files {
        let Some((fine, said)) = run("python3", &["-c", script, &file.text]) else {
            println!("left out: python3 is not installed");
            return;
        };
        if said.is_empty() && !fine {
            println!("left out: python3 has no yaml");
            return;
        }
        assert!(fine, "{said}");
        let value: serde_json::Value = serde_json::from_str(&said).unwrap();
        let spec = &value["spec"];
        assert_eq!(spec["timeZone"], "Europe/Berlin");
        assert_eq!(spec["concurrencyPolicy"], "Forbid");
        let pod = &spec["jobTemplate"]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["restartPolicy"], "Never");
        assert!(container["args"][1].is_string());
        assert_eq!(
            container["env"][0]["valueFrom"]["secretKeyRef"]["name"],
            "pgark-secrets"
        );
        let volumes: Vec<&str> = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(
                volumes.contains(&mount["name"].as_str().unwrap()),
                "{mount}"
            );
        }
    }
}
