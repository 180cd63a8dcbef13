//! Restores under other names: roles are mapped wherever they stand, schemas are renamed by the server, and what it cannot
//! mend is listed.

use pgark::restore::RestoreOptions;
use pgark::selection::{Omit, Selection};

use crate::round_trip::{archive_of, options, run};
use crate::support::{Server, majors};

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(old, new)| ((*old).into(), (*new).into()))
        .collect()
}

/// Every place that a role can stand in.
const WITH_ROLES: &str = r#"
CREATE ROLE "new ""own"; CREATE ROLE new_reader;
CREATE ROLE "old own"; CREATE ROLE old_reader; CREATE ROLE old_other;
CREATE SCHEMA s AUTHORIZATION "old own"; GRANT USAGE ON SCHEMA s TO old_reader;
CREATE TABLE s.t (a int, b text); ALTER TABLE s.t OWNER TO "old own"; INSERT INTO s.t VALUES (1, 'x');
GRANT SELECT ON s.t TO old_reader WITH GRANT OPTION; GRANT UPDATE (b) ON s.t TO old_reader;
SET SESSION AUTHORIZATION old_reader; GRANT SELECT ON s.t TO old_other; RESET SESSION AUTHORIZATION;
ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t TO old_reader, old_other USING (true);
ALTER DEFAULT PRIVILEGES FOR ROLE "old own" IN SCHEMA s GRANT SELECT ON TABLES TO old_reader;
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER srv FOREIGN DATA WRAPPER w;
CREATE USER MAPPING FOR old_reader SERVER srv OPTIONS (x 'y');
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION s.f() OWNER TO old_reader;
REVOKE ALL ON FUNCTION s.f() FROM PUBLIC;
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_get_other_names_wherever_they_stand() {
    for major in majors() {
        let server = Server::start(major);
        let source = server.create_database("source");
        source.psql(WITH_ROLES);
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        let mapped = RestoreOptions {
            map_roles: pairs(&[("old own", "new \"own"), ("old_reader", "new_reader")]),
            ..options()
        };
        let report = run(&archive, &target, &mapped).await.unwrap();
        assert!(report.is_complete(), "{report:#?}");
        let wanted = source
            .pg_dump(&["--restrict-key=x"])
            .replace("\"old own\"", "\"new \"\"own\"")
            .replace("Owner: old own", "Owner: new \"own")
            .replace("USER MAPPING old_reader", "USER MAPPING new_reader")
            .replace("old_reader", "new_reader");
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        // The order of grants follows the roles' names and numbers.
        assert_eq!(
            sorted(&target.pg_dump(&["--restrict-key=x"])),
            sorted(&wanted),
            "{major}"
        );

        let unknown = RestoreOptions {
            map_roles: pairs(&[("nobody", "new_reader")]),
            ..options()
        };
        let error = run(&archive, &target, &unknown).await.unwrap_err();
        assert!(
            matches!(&error, pgark::Error::Usage(text) if text.contains("\"nobody\"")),
            "{error}"
        );
        // Names of the target are what the preliminary check looks for.
        let absent = RestoreOptions {
            map_roles: pairs(&[("old own", "not there")]),
            ..options()
        };
        let empty = server.create_database("empty");
        let error = run(&archive, &empty, &absent)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("role \"not there\" does not exist") && !error.contains("\"old own\""),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_taken_on_owns_what_comes_without_owners() {
    for major in majors() {
        let server = Server::start(major);
        let source = server.create_database("source");
        source.psql("CREATE ROLE keeper; CREATE ROLE gone; CREATE SCHEMA s AUTHORIZATION gone; CREATE TABLE s.t AS SELECT 1 AS a; CREATE VIEW s.v AS SELECT * FROM s.t");
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        target.psql(&format!(
            "GRANT CREATE ON DATABASE \"{}\" TO keeper",
            target.name()
        ));
        let as_keeper = RestoreOptions {
            role: Some("keeper".into()),
            selection: Selection::default().without([Omit::Owners]),
            ..options()
        };
        let report = run(&archive, &target, &as_keeper).await.unwrap();
        assert!(report.is_complete(), "{report:#?}");
        let owners = "SELECT DISTINCT nspowner::regrole FROM pg_namespace WHERE nspname = 's' \
                      UNION SELECT relowner::regrole FROM pg_class WHERE relnamespace = 's'::regnamespace";
        assert_eq!(target.psql(owners), "keeper\n", "{major}");
    }
}

/// Two schemas that know each other in every way that a catalog records, and in some that it does not.
const WITH_SCHEMAS: &str = r#"
CREATE SCHEMA a; CREATE SCHEMA "B b";
CREATE TYPE a.mood AS ENUM ('sad', 'ok');
CREATE SEQUENCE a.ids;
CREATE TABLE a.t (id int PRIMARY KEY DEFAULT nextval('a.ids'), m a.mood DEFAULT 'ok');
CREATE TABLE "B b".kid (id int REFERENCES a.t, late int DEFAULT nextval(('a.ids'::text)::regclass));
INSERT INTO a.t (m) VALUES ('sad'), ('ok'); INSERT INTO "B b".kid VALUES (1, 5);
CREATE VIEW "B b".v AS SELECT t.*, k.late FROM a.t JOIN "B b".kid k USING (id);
CREATE FUNCTION a.text_body() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM "B b".kid';
CREATE FUNCTION a.setting() RETURNS int LANGUAGE sql SET search_path = 'a' AS 'SELECT 1';
CREATE FUNCTION a.harmless() RETURNS text LANGUAGE sql AS $$SELECT 'aa.b'::text$$;
CREATE TABLE public.plain AS SELECT 7 AS n;
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_get_other_names_and_texts_that_keep_the_old_ones_are_listed() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        source.psql(WITH_SCHEMAS);
        let archive = archive_of(&source).await;
        let target = server.create_database("target");
        let public = "SELECT nspowner::regrole, nspacl, obj_description(oid) FROM pg_namespace WHERE nspname = 'public'";
        let before = target.psql(public);
        // Two names are swapped, the third is the one that every database has.
        let mapped = RestoreOptions {
            map_schemas: pairs(&[("a", "B b"), ("B b", "a"), ("public", "Pub")]),
            ..options()
        };
        let report = run(&archive, &target, &mapped).await.unwrap();
        assert!(report.is_complete(), "{report:#?}");
        assert_eq!(report.renamed.len(), 3);
        assert_eq!(
            target.psql(
                "SELECT * FROM a.v; SELECT n FROM \"Pub\".plain; SELECT nextval('\"B b\".ids')"
            ),
            "1|sad|5\n7\n3\n"
        );
        assert_eq!(target.psql(public), before, "{major}");
        let mentions: Vec<String> = report
            .mentions
            .iter()
            .map(|m| format!("{}|{}|{}", m.schema, m.object, m.place))
            .collect();
        assert_eq!(
            mentions,
            [
                "a|default value for column late of table a.kid|a text in it",
                "a|function \"B b\".setting()|its setting search_path",
                "B b|function \"B b\".text_body()|its body",
            ],
            "{major}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_table_comes_back_beside_what_is_there_under_another_schema() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let source = server.create_database("source");
    source.psql(WITH_SCHEMAS);
    let archive = archive_of(&source).await;
    let target = server.create_database("target");
    target.psql("CREATE SCHEMA other; CREATE TABLE other.t (a int)");
    let one = RestoreOptions {
        selection: Selection {
            tables: vec!["public.plain".into()],
            ..Selection::default()
        },
        map_schemas: pairs(&[("public", "yesterday")]),
        ..options()
    };
    let report = run(&archive, &target, &one).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(
        target.psql("SELECT n FROM yesterday.plain; SELECT to_regnamespace('public')"),
        "7\npublic\n"
    );
    // A schema that is neither chosen nor there is made for the time.
    let kid = RestoreOptions {
        selection: Selection {
            tables: vec!["\"B b\".kid".into()],
            schema_only: true,
            ..Selection::default()
        },
        map_schemas: pairs(&[("B b", "kids")]),
        ..options()
    };
    target.psql("CREATE SCHEMA a; CREATE TABLE a.t (id int PRIMARY KEY); CREATE SEQUENCE a.ids");
    let report = run(&archive, &target, &kid).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(target.psql("SELECT count(*) FROM kids.kid"), "0\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_transaction_a_copy_comes_beside_the_schema_itself() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("source");
        source.psql("CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, a text DEFAULT 'x'); INSERT INTO s.t VALUES (1); CREATE VIEW s.v AS SELECT * FROM s.t; CREATE TABLE public.p AS SELECT 7 AS n");
        let archive = archive_of(&source).await;
        let before = source.pg_dump(&[]);
        let beside = |tables: &[&str], list: &[(&str, &str)]| RestoreOptions {
            selection: Selection {
                tables: tables.iter().map(|table| (*table).to_owned()).collect(),
                ..Selection::default()
            },
            map_schemas: pairs(list),
            single_transaction: true,
            ..options()
        };
        let one = beside(&["s.t", "p"], &[("s", "old_s"), ("public", "old_public")]);
        let report = run(&archive, &source, &one).await.unwrap();
        assert!(report.is_complete(), "{report:#?}");
        assert_eq!(
            source.psql(
                "SELECT * FROM old_s.t; SELECT n FROM old_public.p; SELECT count(*) FROM s.v"
            ),
            "1|x\n7\n1\n"
        );
        source.psql("DROP SCHEMA old_s, old_public CASCADE");
        assert_eq!(source.pg_dump(&[]), before, "{major}");
        // A view without its table fails, and with it everything.
        let view = beside(&["s.v"], &[("s", "old_s")]);
        let report = run(&archive, &source, &view).await.unwrap();
        assert!(
            report.rolled_back && report.renamed.is_empty(),
            "{report:#?}"
        );
        // The name that comes back is taken.
        let taken = beside(&["s.t", "p"], &[("s", "public"), ("public", "s")]);
        let error = run(&archive, &source, &taken).await.unwrap_err();
        assert!(
            error.to_string().contains("which exists already"),
            "{error}"
        );
        assert_eq!(source.pg_dump(&[]), before, "{major}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_in_the_way_of_a_new_schema_are_found_first() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let source = server.create_database("source");
    source.psql(WITH_SCHEMAS);
    let archive = archive_of(&source).await;
    let target = server.create_database("target");
    target.psql("CREATE SCHEMA a; CREATE SCHEMA there; CREATE TABLE public.mine (a int)");
    let before = target.pg_dump(&["--restrict-key=x"]);
    let mapped = |list: &[(&str, &str)]| RestoreOptions {
        selection: Selection {
            schemas: list.iter().map(|(old, _)| format!("\"{old}\"")).collect(),
            ..Selection::default()
        },
        map_schemas: pairs(list),
        ..options()
    };
    for (list, wanted) in [
        (&[("a", "fresh")][..], "schema \"a\" is on the target"),
        (&[("B b", "there")], "which exists already"),
        (&[("public", "pub")], "schema \"public\" is on the target"),
        (&[("B b", "B b")], "has that name already"),
        (
            &[("a", "x"), ("B b", "x")],
            "two schemas cannot both become",
        ),
        (&[("a", "pg_x")], "cannot be the name of a schema"),
    ] {
        let error = run(&archive, &target, &mapped(list)).await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{list:?}: {error}");
    }
    let absent = RestoreOptions {
        map_schemas: pairs(&[("nowhere", "x")]),
        ..options()
    };
    let error = run(&archive, &target, &absent).await.unwrap_err();
    assert!(error.to_string().contains("\"nowhere\""), "{error}");
    let taken = RestoreOptions {
        map_schemas: pairs(&[("a", "B b")]),
        ..options()
    };
    let error = run(&archive, &target, &taken).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the archive has a schema of that name"),
        "{error}"
    );
    assert_eq!(target.pg_dump(&["--restrict-key=x"]), before);
}
