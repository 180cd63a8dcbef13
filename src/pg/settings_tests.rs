//! Settings from every source, without touching the process or the disk.

use super::*;
use crate::Error;
use crate::pg::environment::fake::environment;

fn resolve(vars: &[(&str, &str)], files: &[(&str, &str)], target: &str) -> ConnSettings {
    ConnSettings::resolve(&environment(vars, files), Some(target), &[]).unwrap()
}

fn refused(target: &str) -> String {
    let outcome = ConnSettings::resolve(&environment(&[], &[]), Some(target), &[]);
    match outcome {
        Err(Error::Usage(text)) => text,
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn each_source_overrides_the_one_before() {
    let files = [(
        "/home/me/.pg_service.conf",
        "[s]\nhost=service\nport=2\nuser=service\ndbname=service\n",
    )];
    let vars = [
        ("PGHOST", "env"),
        ("PGPORT", "1"),
        ("PGUSER", "env"),
        ("PGDATABASE", "env"),
        ("PGAPPNAME", "env"),
        ("PGSERVICE", "s"),
    ];
    let settings = ConnSettings::resolve(
        &environment(&vars, &files),
        Some("user=string dbname=string"),
        &[("dbname", "flag")],
    )
    .unwrap();
    assert_eq!(settings.application_name.as_deref(), Some("env"));
    assert_eq!(
        settings.to_string(),
        "host \"service\", port 2, database \"flag\", user \"string\""
    );
}

#[test]
fn nothing_given_means_the_local_server_and_the_own_name() {
    let settings = resolve(&[], &[("/tmp/.s.PGSQL.5432", "")], "");
    assert_eq!(
        settings.to_string(),
        "socket \"/tmp/.s.PGSQL.5432\" or host \"localhost\", port 5432, database \"me\", user \"me\""
    );
    let settings = resolve(&[("PGPORT", "6000")], &[("/tmp/.s.PGSQL.5432", "")], "");
    assert_eq!(settings.hosts.len(), 1);
    assert_eq!(settings.hosts[0].name, "localhost");
}

#[test]
fn ordinary_libpq_strings_are_understood() {
    for target in [
        "host=localhost sslmode=verify-full",
        "host=localhost sslmode=verify-ca",
        "host=localhost sslmode=allow",
        "host=localhost target_session_attrs=primary",
        "host=localhost target_session_attrs=standby",
        "host=localhost target_session_attrs=prefer-standby",
        "host=localhost passfile=/none",
        "host=localhost sslrootcert=/ca.crt sslcert=/c.crt sslkey=/c.key sslcrl=/c.crl",
        "host=localhost client_encoding=auto",
        "host=localhost keepalives_count=3",
        "host=localhost gssencmode=disable",
        "host=localhost replication=false",
        "host=localhost fallback_application_name=x",
        "host=localhost krbsrvname=postgres",
        "host=localhost options='-c statement_timeout=0'",
        "host=/var/run/postgresql",
        "host=@abstract",
        "host=localhost tcp_user_timeout=1000 load_balance_hosts=random sslnegotiation=postgres",
        "host=a,b port=1,2 hostaddr=127.0.0.1,::1 connect_timeout=5 channel_binding=require",
        "postgresql://u:p@h1:1,h2:2/db?sslmode=require&connect_timeout=10&target_session_attrs=read-write",
    ] {
        resolve(&[], &[], target);
    }
    let settings = resolve(&[], &[], "shop");
    assert_eq!(settings.dbname(), "shop");
    let system = resolve(&[], &[], "host=h sslrootcert=system");
    assert_eq!(system.tls.mode, SslMode::VerifyFull);
    let old = resolve(&[("PGREQUIRESSL", "1")], &[], "host=h");
    assert_eq!(old.tls.mode, SslMode::Require);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    for (target, word) in [
        ("hots=localhost", "\"hots\""),
        ("host=h gssencmode=require", "gssencmode"),
        ("host=h require_auth=scram-sha-256", "require_auth"),
        ("host=h requirepeer=postgres", "requirepeer"),
        ("host=h replication=database", "replication"),
        ("host=h sslpassword=x", "sslpassword"),
        ("host=h min_protocol_version=3.2", "min_protocol_version"),
        ("host=h sslmode=verify_full", "verify-full"),
        ("host=h port=0", "port"),
        ("host=h port=x", "port"),
        ("host=h connect_timeout=soon", "connect_timeout"),
        ("host=h hostaddr=name", "hostaddr"),
        ("host=a,b port=1,2,3", "ports"),
        ("host=a,b hostaddr=127.0.0.1", "hostaddr"),
        ("host=h sslrootcert=system sslmode=require", "verify-full"),
        ("host=h sslnegotiation=direct", "sslmode"),
        ("host=h ssl_max_protocol_version=TLSv1.1", "TLSv1.2"),
        ("service=nowhere", "nowhere"),
    ] {
        let text = refused(target);
        assert!(text.contains(word), "{target}: {text}");
    }
}

#[test]
fn several_hosts_share_or_have_ports() {
    let text = |target| resolve(&[], &[], target).to_string();
    assert_eq!(
        text("host=a,b port=6000"),
        "host \"a\", port 6000 or host \"b\", port 6000, database \"me\", user \"me\""
    );
    assert_eq!(
        text("host=a,,/s hostaddr=127.0.0.1,::1, port=,6001,"),
        "host \"a\" (127.0.0.1), port 5432 or host \"::1\", port 6001 or socket \"/s/.s.PGSQL.5432\", database \"me\", user \"me\""
    );
}

#[test]
fn passwords_come_from_the_string_or_the_passfile_of_each_host() {
    let line =
        "a:5432:*:me:one\nlocalhost:5432:*:me:two\n/other:5432:*:me:three\n*:*:other:me:four\n";
    let files = [("/home/me/.pgpass", line)];
    let settings = resolve(&[], &files, "host=a,/tmp,/other,b");
    let passwords: Vec<_> = settings
        .hosts
        .iter()
        .map(|host| settings.password_for(host))
        .collect();
    assert_eq!(passwords, [Some("one"), Some("two"), Some("three"), None]);
    let other = settings.with_dbname("other");
    assert_eq!(other.password_for(&other.hosts[3]), Some("four"));
    let given = resolve(&[("PGPASSWORD", "env")], &files, "host=a");
    assert_eq!(given.password_for(&given.hosts[0]), Some("env"));
    let named = resolve(&[("PGPASSFILE", "/p")], &[("/p", "*:*:*:*:five")], "host=a");
    assert_eq!(named.password_for(&named.hosts[0]), Some("five"));
}

#[test]
fn a_passfile_that_others_can_read_is_ignored_with_a_warning() {
    let settings = resolve(&[], &[("/home/me/.pgpass!", "*:*:*:*:x")], "host=a");
    assert_eq!(settings.password_for(&settings.hosts[0]), None);
    assert!(settings.warnings()[0].contains("/home/me/.pgpass"));
}

#[test]
fn services_are_looked_for_in_the_named_file_the_home_and_the_system() {
    let system = ("/sys/pg_service.conf", "[s]\nhost=system\n");
    let vars = [("PGSYSCONFDIR", "/sys")];
    let host = |vars: &[(&str, &str)], files: &[(&str, &str)], target| {
        resolve(vars, files, target).hosts[0].name.clone()
    };
    assert_eq!(host(&vars, &[system], "service=s"), "system");
    let home = ("/home/me/.pg_service.conf", "[s]\nhost=home\n");
    assert_eq!(host(&vars, &[system, home], "service=s"), "home");
    let named = ("/x", "[s]\nhost=named\n");
    let with_file = [("PGSERVICEFILE", "/x"), ("PGSERVICE", "s")];
    assert_eq!(host(&with_file, &[home, named], ""), "named");
    assert_eq!(host(&with_file, &[home, named], "host=string"), "string");
}

#[test]
fn no_text_shows_a_password() {
    let settings = resolve(
        &[],
        &[("/home/me/.pgpass", "*:*:*:*:s3cret")],
        "postgres://u:s3cret@h/d",
    )
    .with_password("s3cret");
    let texts = [
        format!("{settings:?}"),
        format!("{settings:#?}"),
        settings.to_string(),
        settings.target_text(&settings.hosts[0]),
        format!("{:?}", environment(&[("PGPASSWORD", "s3cret")], &[])),
    ];
    for text in texts {
        assert!(!text.contains("s3cret"), "{text}");
    }
}
