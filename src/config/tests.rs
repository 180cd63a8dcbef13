//! What a configuration may say, and what its errors say.

use super::*;

const WHOLE: &str = r#"
timezone = "Europe/Berlin"

[[repository]]
name = "main"
place = "/var/backups/pgark"

[[repository]]
name = "cold"
place = "s3://backups/cold"
region = "eu-central-1"
storage_class = "GLACIER_IR"
access_key_id = { env = "COLD_ID" }
secret_access_key = { file = "/run/secrets/cold" }
object_lock = { mode = "governance", period = "30d" }

[[notify]]
name = "ops"
kind = "slack"
url = { env = "SLACK_URL" }
on = ["failure", "recovery"]

[[notify]]
name = "mail"
kind = "exec"
command = ["mail", "-s", "pgark", "ops@example.com"]

[[job]]
name = "shop"
source = "host=db.example.com dbname=shop user=backup"
password = { env = "SHOP_PASSWORD" }
repository = "main"
schedule = "0 2 * * *"
rpo = "26h"
notify = ["ops", "mail"]
select = { exclude_table_data = ["log.*"] }
keep = { last = 10, monthly = 12, min = 3 }
verify = "full"
hooks = { before = [["/usr/local/bin/pause"]], timeout = "1min" }

[[job.replica]]
repository = "cold"
only = { monthly = 1 }
keep = { monthly = 24 }

[job.drill]
schedule = "0 4 1 */3 *"
rto = "15min"

[[job.drill.check]]
name = "there are orders"
sql = "SELECT count(*) > 0 FROM orders"
expect = "t"
"#;

#[test]
fn a_whole_configuration_is_read() {
    let config = Config::parse(WHOLE, "pgark.toml").unwrap();
    let job = config.job("shop").unwrap();
    assert_eq!(job.keep.last, Some(10));
    assert_eq!(job.replicas[0].only.monthly, Some(1));
    assert_eq!(job.drill.as_ref().unwrap().checks[0].expect, "t");
    assert_eq!(job.rpo.unwrap().to_string(), "1d 2h");
    assert_eq!(
        config.repository("cold").unwrap().storage_class.as_deref(),
        Some("GLACIER_IR")
    );
    let ops = config.channel("ops").unwrap();
    assert!(ops.wants(Occasion::Recovery) && !ops.wants(Occasion::Trend));
    let mail = config.channel("mail").unwrap();
    assert!(mail.wants(Occasion::Trend) && !mail.wants(Occasion::Success));
}

#[test]
fn mistakes_are_named_all_at_once_with_their_place() {
    let text = WHOLE
        .replace("repository = \"cold\"", "repository = \"cald\"")
        .replace("\"0 2 * * *\"", "\"0 2 * *\"")
        .replace("last = 10", "last = 0")
        .replace("Europe/Berlin", "Europe/Bärlin")
        .replace("name = \"mail\"", "name = \"ops\"");
    let error = Config::parse(&text, "pgark.toml").unwrap_err().to_string();
    for part in [
        "timezone: \"Europe/Bärlin\"",
        "there is no repository \"cald\"",
        "has not five fields",
        "last = 0",
        "notify \"ops\" is there twice",
        "there is no [[notify]] \"mail\"",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(error.matches("pgark.toml: ").count(), 6, "{error}");
}

#[test]
fn an_unknown_word_is_named_with_its_line() {
    let wrong = WHOLE.replace("rpo =", "rop =");
    let line = 1 + wrong
        .lines()
        .position(|line| line.starts_with("rop"))
        .unwrap();
    let error = Config::parse(&wrong, "pgark.toml").unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, crate::Error::Usage(_)));
    assert!(
        text.contains("unknown field `rop`") && text.contains(&format!("line {line}: ")),
        "{text}"
    );
}

#[test]
fn secrets_are_never_in_the_file() {
    let text = WHOLE.replace(
        "password = { env = \"SHOP_PASSWORD\" }",
        "password = \"hunter2\"",
    );
    let error = Config::parse(&text, "pgark.toml").unwrap_err().to_string();
    assert!(error.contains("does not stand here itself"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    for source in [
        "postgres://backup:hunter2@db/shop",
        "host=db password=hunter2",
        "postgres://db/shop?password=hunter2",
    ] {
        let text = WHOLE.replace("host=db.example.com dbname=shop user=backup", source);
        let error = Config::parse(&text, "pgark.toml").unwrap_err().to_string();
        assert!(error.contains("a connection holds a password"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let secret = Secret::Env("X".to_owned());
    assert_eq!(secret.read(|_| Some("a\n".to_owned())).unwrap(), "a");
    let missing = secret.read(|_| None).unwrap_err().to_string();
    assert_eq!(missing, "environment variable X: is not set");
}

#[test]
fn a_check_is_a_line_or_a_table() {
    let read = |text| SqlCheck::parse(text).map(|c| format!("{}|{}|{}", c.name, c.sql, c.expect));
    assert_eq!(
        read("paid: SELECT sum(x)::text FROM t WHERE a = 1 = 17.50").unwrap(),
        "paid|SELECT sum(x)::text FROM t WHERE a = 1|17.50"
    );
    assert_eq!(read("none: SELECT 'a' = ").unwrap(), "none|SELECT 'a'|");
    for wrong in [
        "",
        "a",
        "a: SELECT 1",
        ": SELECT 1 = 1",
        "a:  = 1",
        "a:SELECT 1 = 1",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let file = "[[check]]\nname = 'n'\nsql = 'SELECT 1'\nexpect = '1'\n";
    assert_eq!(SqlCheck::parse_file(file, "c.toml").unwrap()[0].expect, "1");
    let error = SqlCheck::parse_file("[[check]]\nname = 'n'\n", "c.toml").unwrap_err();
    assert!(error.to_string().starts_with("c.toml: "), "{error}");
}
