//! Restores of archives made by hand: what ends up in the database, what is refused before anything changes, and what a
//! failing object does to the others.

use std::fmt::Write as _;
use std::sync::Arc;

use pgark::archive::index::CopyFormat;
use pgark::archive::{Archive, Fingerprint};
use pgark::error::Error;
use pgark::progress::Silent;
use pgark::restore::{Check, RestoreOptions, RestoreReport, restore};
use pgark::selection::Selection;
use pgark::store::{MemoryStore, Store};
use serde_json::{Value, json};

use crate::archives::HandMade;
use crate::round_trip::settings;
use crate::support::{Database, Server, majors};

async fn run(
    archive: &Archive,
    database: &Database,
    options: &RestoreOptions,
) -> pgark::Result<RestoreReport> {
    restore(
        archive,
        &settings(&database.conninfo()),
        options,
        Arc::new(Silent),
    )
    .await
}

fn options() -> RestoreOptions {
    RestoreOptions {
        jobs: 3,
        check: Check::Content,
        ..RestoreOptions::default()
    }
}

fn step(sql: &str, locks: &[(u32, &str)]) -> Value {
    json!({"sql": [sql], "locks": locks})
}

fn form(sql: &str) -> Value {
    json!({"forms": [{"steps": [step(sql, &[])]}]})
}

fn with(mut value: Value, more: &Value) -> Value {
    for (key, part) in more.as_object().unwrap() {
        value[key] = part.clone();
    }
    value
}

fn table_data(target: &str, table: Option<u32>) -> Value {
    let mut data = json!({"of": "table", "target": target});
    if let Some(table) = table {
        data["table"] = json!(table);
    }
    let needs: Vec<u32> = table.into_iter().collect();
    json!({"data": data, "needs": needs})
}

/// Orders in three segments, the rows wide enough for several chunks in each.
fn orders() -> Vec<String> {
    let segment = |first: u32| {
        let mut text = String::new();
        for i in first..first + 5_000 {
            let note = "x\\ty\\\\ ".repeat((i % 30) as usize);
            writeln!(
                text,
                "{i}\t{}\t2026-11-{:02}\t{note}",
                i % 3 + 1,
                i % 28 + 1
            )
            .unwrap();
        }
        text
    };
    vec![segment(0), segment(5_000), segment(10_000)]
}

const CUSTOMERS: &str = "1\tAnn\n2\tB\\\\ob\n3\t\\N\n";

/// A small shop. `hook` may add entries before the archive is finished.
async fn shop(store: &Arc<MemoryStore>, hook: impl FnOnce(&mut HandMade)) -> Archive {
    let mut made = HandMade::new(Arc::clone(store) as Arc<dyn Store>).await;
    let schema = made.entry(
        "schema",
        "s",
        "pre_data",
        &with(
            form("CREATE SCHEMA \"s\""),
            &json!({"after": [{"part": "comment", "sql": "COMMENT ON SCHEMA \"s\" IS 'it''s'"}]}),
        ),
    );
    let customers = made.entry(
        "table",
        "s.customers",
        "pre_data",
        &with(
            form("CREATE TABLE \"s\".\"customers\" (\"id\" integer NOT NULL, \"name\" text)"),
            &json!({
                "needs": [schema], "tablespace": "", "access_method": "heap",
                "owner": {"role": "postgres", "target": "TABLE \"s\".\"customers\""},
                "grants": [{"grant": true, "privileges": ["SELECT"], "target": "TABLE \"s\".\"customers\"", "grantee": "public"}],
            }),
        ),
    );
    let orders_table = made.entry(
        "table",
        "s.orders",
        "pre_data",
        &with(
            form("CREATE TABLE \"s\".\"orders\" (\"id\" bigint, \"customer\" integer, \"day\" date, \"note\" text)"),
            &json!({"needs": [schema]}),
        ),
    );
    let sequence = made.entry(
        "sequence",
        "s.ids",
        "pre_data",
        &with(
            form("CREATE SEQUENCE \"s\".\"ids\""),
            &json!({"needs": [schema]}),
        ),
    );
    let matview = made.entry(
        "materialized view",
        "s.days",
        "pre_data",
        &with(
            form("CREATE MATERIALIZED VIEW \"s\".\"days\" AS SELECT day, pg_catalog.count(*) AS n FROM \"s\".\"orders\" GROUP BY day WITH NO DATA"),
            &json!({"needs": [orders_table]}),
        ),
    );
    made.entry(
        "view",
        "s.names",
        "pre_data",
        &with(
            form("CREATE VIEW \"s\".\"names\" AS SELECT name FROM \"s\".\"customers\""),
            &json!({"needs": [customers]}),
        ),
    );
    let large = made.entry(
        "large object",
        "4711",
        "pre_data",
        &form("SELECT pg_catalog.lo_create(4711)"),
    );
    let customers_rows = made.entry(
        "table data",
        "s.customers",
        "data",
        &table_data("\"s\".\"customers\"", Some(customers)),
    );
    let orders_rows = made.entry(
        "table data",
        "s.orders",
        "data",
        &table_data("\"s\".\"orders\"", Some(orders_table)),
    );
    made.entry(
        "sequence value",
        "s.ids",
        "data",
        &with(
            form("SELECT pg_catalog.setval('\"s\".\"ids\"', 42, true)"),
            &json!({"needs": [sequence]}),
        ),
    );
    let pages = made.entry(
        "large objects",
        "pages",
        "data",
        &json!({"data": {"of": "large_objects"}, "needs": [large]}),
    );
    let key = made.entry(
        "constraint",
        "s.customers.customers_pkey",
        "post_data",
        &json!({
            "needs": [customers],
            "forms": [{"steps": [
                with(step("CREATE UNIQUE INDEX \"customers_pkey\" ON \"s\".\"customers\" (\"id\")", &[(customers, "share")]), &json!({"builds_index": true})),
                step("ALTER TABLE ONLY \"s\".\"customers\" ADD CONSTRAINT \"customers_pkey\" PRIMARY KEY USING INDEX \"customers_pkey\"", &[(customers, "access_exclusive")]),
            ]}],
            "after": [{"part": "comment", "sql": "COMMENT ON CONSTRAINT \"customers_pkey\" ON \"s\".\"customers\" IS 'key'"}],
        }),
    );
    made.entry(
        "index",
        "s.orders.orders_day",
        "post_data",
        &json!({
            "needs": [orders_table],
            "forms": [
                {"since": 190_000, "steps": [step("CREATE FUTURE INDEX", &[])]},
                {"lost": "nothing but a test", "steps": [with(step("CREATE INDEX \"orders_day\" ON \"s\".\"orders\" (\"day\")", &[(orders_table, "share")]), &json!({"builds_index": true}))]},
            ],
        }),
    );
    let both: &[(u32, &str)] = &[
        (orders_table, "share_row_exclusive"),
        (customers, "share_row_exclusive"),
    ];
    let validate: &[(u32, &str)] = &[
        (orders_table, "share_update_exclusive"),
        (customers, "row_share"),
    ];
    made.entry(
        "foreign key",
        "s.orders.orders_customer",
        "post_data",
        &json!({
            "needs": [orders_table, key],
            "forms": [{"steps": [
                step("ALTER TABLE ONLY \"s\".\"orders\" ADD CONSTRAINT \"orders_customer\" FOREIGN KEY (\"customer\") REFERENCES \"s\".\"customers\" (\"id\") NOT VALID", both),
                step("ALTER TABLE \"s\".\"orders\" VALIDATE CONSTRAINT \"orders_customer\"", validate),
            ]}],
        }),
    );
    made.entry(
        "materialized view data",
        "s.days",
        "final",
        &with(
            form("REFRESH MATERIALIZED VIEW \"s\".\"days\""),
            &json!({"needs": [matview, orders_table]}),
        ),
    );
    hook(&mut made);
    made.rows(orders_rows, &["id", "customer", "day", "note"], &orders())
        .await;
    made.rows(customers_rows, &["id", "name"], &[CUSTOMERS.to_owned()])
        .await;
    let page = "61".repeat(2048);
    made.rows(
        pages,
        &["loid", "at", "data"],
        &[
            format!("4711\t0\t\\\\x{page}\n"),
            "4711\t2048\t\\\\x626300\n".to_owned(),
        ],
    )
    .await;
    made.finish("shop-1").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_archive_comes_back() {
    for major in majors() {
        let store = Arc::new(MemoryStore::new());
        let archive = shop(&store, |_| {}).await;
        let database = Server::shared(major).create_database("restore");
        let report = run(&archive, &database, &options()).await.unwrap();
        assert!(report.is_complete(), "{report:#?}");
        assert_eq!((report.n_tables, report.n_rows), (2, 15_005), "{report:#?}");
        let checked = report.checked.as_ref().unwrap();
        assert_eq!(checked.n_tables, 2, "{report:#?}");
        assert_eq!(checked.not_compared, [], "{report:#?}");
        assert_eq!(report.lost.len(), 1);
        assert_eq!(report.warnings, Vec::<String>::new());
        let facts = database.psql(
            "SELECT count(*), count(DISTINCT note) FROM s.orders;
             SELECT sum(n) FROM s.days;
             SELECT last_value, is_called FROM s.ids;
             SELECT conname, contype, convalidated FROM pg_constraint WHERE contype <> 'n' AND connamespace = 's'::regnamespace ORDER BY 1;
             SELECT relacl FROM pg_class WHERE oid = 's.customers'::regclass;
             SELECT obj_description('s'::regnamespace), name FROM s.names WHERE name LIKE 'B%';
             SELECT length(lo_get(4711)), count(*) FROM pg_largeobject;
             SELECT relname FROM pg_class WHERE relnamespace = 's'::regnamespace AND relkind IN ('r', 'm') AND reltuples > 0 ORDER BY 1;
             SELECT count(*) FROM pg_index WHERE indrelid IN ('s.orders'::regclass, 's.customers'::regclass) AND indisvalid",
        );
        assert_eq!(
            facts,
            "15000|30\n15000\n42|t\ncustomers_pkey|p|t\norders_customer|f|t\n{postgres=arwdDxt/postgres,=r/postgres}\n\
             it's|B\\ob\n2051|2\ncustomers\ndays\norders\n2\n"
                .replace("arwdDxt", if major.number() >= 17 { "arwdDxtm" } else { "arwdDxt" }),
            "PostgreSQL {major}"
        );
    }
}

/// What users have made in the database, and roughly what is in it.
fn state_of(database: &Database) -> String {
    database.psql(
        "SELECT count(*) FROM pg_class WHERE oid >= 16384;
         SELECT count(*) FROM pg_namespace;
         SELECT count(*) FROM pg_largeobject_metadata",
    )
}

async fn assert_untouched(
    archive: &Archive,
    database: &Database,
    options: &RestoreOptions,
) -> Error {
    let before = state_of(database);
    let error = run(archive, database, options).await.unwrap_err();
    assert_eq!(state_of(database), before, "{error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_changes_nothing() {
    let Some(major) = majors().pop() else { return };
    let server = Server::shared(major);
    let database = server.create_database("damage");
    let keys = {
        let store = Arc::new(MemoryStore::new());
        shop(&store, |_| {}).await;
        store.list("chunks").await.unwrap()
    };
    assert!(keys.len() > 5, "{keys:?}");
    for (index, stored) in keys.iter().enumerate() {
        for damage in ["removed", "flipped", "short"] {
            let store = Arc::new(MemoryStore::new());
            let archive = shop(&store, |_| {}).await;
            let mut bytes = store.get(&stored.key).await.unwrap().unwrap().to_vec();
            store.delete(&stored.key).await.unwrap();
            match damage {
                "flipped" => {
                    let at = index * 7 % bytes.len();
                    bytes[at] ^= 1;
                    store.put_new(&stored.key, bytes.into()).await.unwrap();
                }
                "short" => {
                    bytes.pop();
                    store.put_new(&stored.key, bytes.into()).await.unwrap();
                }
                _ => {}
            }
            let error = assert_untouched(&archive, &database, &options()).await;
            assert!(matches!(error, Error::Corrupt { .. }), "{damage}: {error}");
            assert!(
                error.to_string().contains(stored.key.as_str()),
                "{damage}: {error}"
            );
            if damage != "flipped" {
                let quick = RestoreOptions {
                    verify_chunks: false,
                    ..options()
                };
                assert_untouched(&archive, &database, &quick).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_findings_come_in_one_report_before_any_change() {
    let Some(major) = majors().pop() else { return };
    let database = Server::shared(major).create_database("refusal");
    database
        .batch("CREATE TABLE public.old (a int); CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT lo_create(1)")
        .await;
    let store = Arc::new(MemoryStore::new());
    let archive = shop(&store, |made| {
        made.entry(
            "table",
            "s.owned",
            "pre_data",
            &with(
                form("CREATE TABLE \"s\".\"owned\" ()"),
                &json!({
                    "owner": {"role": "pgark_no body", "target": "TABLE \"s\".\"owned\""},
                    "tablespace": "pgark_nowhere",
                    "access_method": "pgark_am",
                }),
            ),
        );
        made.entry(
            "extension",
            "pgark_none",
            "pre_data",
            &form("CREATE EXTENSION pgark_none"),
        );
        made.entry(
            "policy",
            "s.owned.p",
            "post_data",
            &json!({"forms": [{"until": 120_000, "steps": [step("x", &[])]}]}),
        );
    })
    .await;
    let lost = store.list("chunks").await.unwrap().pop().unwrap();
    let is_toc = archive
        .manifest()
        .toc
        .iter()
        .chain(&archive.manifest().data_index)
        .any(|chunk| chunk.key() == lost.key);
    let text = assert_untouched(&archive, &database, &options())
        .await
        .to_string();
    for finding in [
        "not empty: it has 1 function (public.f), 1 large object (1), 1 relation (public.old)",
        "role \"pgark_no body\" does not exist; it owns table s.owned",
        "tablespace \"pgark_nowhere\" does not exist",
        "extension \"pgark_none\" is not available",
        "policy s.owned p cannot be made",
    ] {
        assert!(text.contains(finding), "{finding} is not in\n{text}");
    }
    if !is_toc {
        store.delete(&lost.key).await.unwrap();
        let error = assert_untouched(&archive, &database, &options()).await;
        assert!(
            error.to_string().contains("the archive is damaged"),
            "{error}"
        );
        assert!(matches!(error, Error::Refused { .. }));
    }
    // What is left out is not asked for.
    let only = RestoreOptions {
        selection: Selection {
            tables: vec!["customers".into()],
            ..Selection::default()
        },
        ..options()
    };
    let text = assert_untouched(&archive, &database, &only)
        .await
        .to_string();
    assert!(
        text.contains("schema \"s\" does not exist") && !text.contains("pgark_no"),
        "{text}"
    );
    let none = RestoreOptions {
        selection: Selection {
            tables: vec!["customer".into()],
            ..Selection::default()
        },
        ..options()
    };
    let error = assert_untouched(&archive, &database, &none).await;
    assert!(
        matches!(&error, Error::Usage(text) if text.contains("\"customer\"")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_object_takes_only_its_dependents_with_it() {
    for major in majors() {
        let database = Server::shared(major).create_database("failing");
        let store = Arc::new(MemoryStore::new());
        let mut made = HandMade::new(Arc::clone(&store) as Arc<dyn Store>).await;
        made.entry(
            "table",
            "public.a",
            "pre_data",
            &form("CREATE TABLE public.a (x int)"),
        );
        let bad = made.entry(
            "table",
            "public.b",
            "pre_data",
            &form("CREATE TABLE public.b (x nosuchtype)"),
        );
        made.entry(
            "view",
            "public.v",
            "pre_data",
            &with(
                form("CREATE VIEW public.v AS SELECT x FROM public.b"),
                &json!({"needs": [bad]}),
            ),
        );
        let last = made.entry(
            "table",
            "public.c",
            "pre_data",
            &form("CREATE TABLE public.c (x int)"),
        );
        let a = made.entry(
            "table data",
            "public.a",
            "data",
            &table_data("public.a", Some(0)),
        );
        let b = made.entry(
            "table data",
            "public.b",
            "data",
            &table_data("public.b", Some(bad)),
        );
        let c = made.entry(
            "table data",
            "public.c",
            "data",
            &table_data("public.c", Some(last)),
        );
        made.entry(
            "index",
            "public.c.i",
            "post_data",
            &with(
                form("CREATE INDEX i ON public.c (x)"),
                &json!({"needs": [last]}),
            ),
        );
        let missing = made.entry(
            "index",
            "public.a.i",
            "post_data",
            &with(
                form("CREATE INDEX ia ON public.a (nosuchcolumn)"),
                &json!({"needs": [0]}),
            ),
        );
        made.entry(
            "statistics",
            "public.a.j",
            "post_data",
            &with(form("SELECT 1"), &json!({"needs": [missing]})),
        );
        made.entry(
            "index",
            "public.a.k",
            "post_data",
            &with(
                form("CREATE INDEX ka ON public.a (x)"),
                &json!({"needs": [0]}),
            ),
        );
        let columns: &[&str] = &["x"];
        made.packed(&[
            (a, columns, "1\n2\n".into()),
            (b, columns, "1\n".into()),
            // The server will not take the second row.
            (c, columns, "1\nx\n".into()),
        ])
        .await;
        let archive = made.finish("bad").await;
        let report = run(&archive, &database, &options()).await.unwrap();
        let failed: Vec<(&str, Option<&str>)> = report
            .failed
            .iter()
            .map(|one| (one.object.as_str(), one.sqlstate.as_deref()))
            .collect();
        assert_eq!(
            failed,
            [
                ("table public.b", Some("42704")),
                ("table data public.c", Some("22P02")),
                ("index public.a i", Some("42703"))
            ],
            "{report:#?}"
        );
        assert!(
            report.failed[1]
                .context
                .as_deref()
                .unwrap_or_default()
                .contains("line 2"),
            "{report:#?}"
        );
        assert!(
            report.failed[2]
                .statement
                .as_deref()
                .unwrap_or_default()
                .contains("nosuchcolumn"),
            "{report:#?}"
        );
        let mut skipped: Vec<(&str, &str)> = report
            .skipped
            .iter()
            .map(|one| (one.object.as_str(), one.reason.as_str()))
            .collect();
        skipped.sort_unstable();
        assert_eq!(
            skipped,
            [
                (
                    "index public.c i",
                    "needs table data public.c, which is not there"
                ),
                (
                    "statistics public.a j",
                    "needs index public.a i, which is not there"
                ),
                (
                    "table data public.b",
                    "needs table public.b, which is not there"
                ),
                ("view public.v", "needs table public.b, which is not there"),
            ]
        );
        assert_eq!(
            (report.n_entries, report.n_tables, report.n_rows),
            (4, 1, 2),
            "{report:#?}"
        );
        assert_eq!(database.psql("SELECT count(*) FROM a; SELECT count(*) FROM c; SELECT count(*) FROM pg_class WHERE relname IN ('ka', 'i', 'ia')"), "2\n0\n1\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_objects_and_rows_go_into_a_database_that_is_in_use() {
    let Some(major) = majors().pop() else { return };
    let database = Server::shared(major).create_database("partial");
    let store = Arc::new(MemoryStore::new());
    let archive = shop(&store, |_| {}).await;
    database
        .batch("CREATE SCHEMA s; CREATE TABLE s.other (a int)")
        .await;
    let only = RestoreOptions {
        selection: Selection {
            tables: vec!["s.customers".into()],
            ..Selection::default()
        },
        ..options()
    };
    let report = run(&archive, &database, &only).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(database.psql("SELECT count(*) FROM s.customers; SELECT to_regclass('s.orders'); SELECT to_regclass('s.customers_pkey')"), "3\n\ns.customers_pkey\n");
    // A second time the name is taken.
    let error = assert_untouched(&archive, &database, &only).await;
    assert!(
        error
            .to_string()
            .contains("table s.customers: the name is taken"),
        "{error}"
    );
    // Rows only: into empty tables that have the columns.
    let mut rows = only.clone();
    rows.selection.data_only = true;
    let error = assert_untouched(&archive, &database, &rows).await;
    assert!(error.to_string().contains("has rows already"), "{error}");
    database
        .batch("TRUNCATE s.customers; ALTER TABLE s.customers RENAME COLUMN name TO title")
        .await;
    let error = assert_untouched(&archive, &database, &rows).await;
    assert!(error.to_string().contains("no column \"name\""), "{error}");
    database
        .batch("ALTER TABLE s.customers RENAME COLUMN title TO name")
        .await;
    let report = run(&archive, &database, &rows).await.unwrap();
    assert!(report.is_complete() && report.n_rows == 3, "{report:#?}");
    // Definitions without rows.
    let empty = Server::shared(major).create_database("definitions");
    let bare = RestoreOptions {
        selection: Selection {
            schema_only: true,
            ..Selection::default()
        },
        ..options()
    };
    let report = run(&archive, &empty, &bare).await.unwrap();
    assert!(report.is_complete() && report.n_rows == 0, "{report:#?}");
    assert_eq!(empty.psql("SELECT count(*) FROM s.orders; SELECT relispopulated FROM pg_class WHERE relname = 'days'"), "0\nf\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_made_only_if_it_is_not_there() {
    for major in majors() {
        let server = Server::start(major);
        let store = Arc::new(MemoryStore::new());
        let archive = shop(&store, |_| {}).await;
        let create = RestoreOptions {
            create: true,
            ..options()
        };
        let quoted = settings(&server.conninfo("'made \"new'"));
        let report = restore(&archive, &quoted, &create, Arc::new(Silent))
            .await
            .unwrap();
        assert!(report.is_complete(), "{report:#?}");
        let error = restore(&archive, &quoted, &create, Arc::new(Silent))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("exists already"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_rows_rows_through_a_root_and_foreign_grants() {
    for major in majors() {
        let server = Server::start(major);
        let database = server.create_database("special");
        database
            .batch("CREATE ROLE giver; CREATE ROLE taker; CREATE ROLE boss; GRANT boss TO postgres")
            .await;
        let store = Arc::new(MemoryStore::new());
        let mut made = HandMade::new(Arc::clone(&store) as Arc<dyn Store>).await;
        let binary = made.entry(
            "table",
            "public.b",
            "pre_data",
            &with(
                form("CREATE TABLE public.b (x int, y text)"),
                &json!({"grants": [
                    {"grant": true, "privileges": ["SELECT"], "target": "TABLE public.b", "grantee": {"role": "giver"}, "with_grant_option": true},
                    {"grant": true, "privileges": ["SELECT"], "target": "TABLE public.b", "grantee": {"role": "taker"}, "grantor": "giver"},
                    {"grant": true, "privileges": ["INSERT"], "target": "TABLE public.b", "grantee": {"role": "taker"}},
                ]}),
            ),
        );
        made.entry(
            "table",
            "public.p",
            "pre_data",
            &form("CREATE TABLE public.p (x int) PARTITION BY LIST (x)"),
        );
        let one = made.entry(
            "table",
            "public.p1",
            "pre_data",
            &form("CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN (1)"),
        );
        let two = made.entry(
            "table",
            "public.p2",
            "pre_data",
            &form("CREATE TABLE public.p2 PARTITION OF public.p FOR VALUES IN (2)"),
        );
        let rows = made.entry(
            "table data",
            "public.b",
            "data",
            &table_data("public.b", Some(binary)),
        );
        let via = |target: &str, table: u32| {
            let mut entry = table_data(target, Some(table));
            entry["data"]["via_root"] = json!("public.p");
            entry
        };
        let rows_one = made.entry("table data", "public.p1", "data", &via("public.p1", one));
        let rows_two = made.entry("table data", "public.p2", "data", &via("public.p2", two));
        let tuple = |x: u8| {
            let mut bytes = vec![0, 2, 0, 0, 0, 4, 0, 0, 0, x, 0, 0, 0, 2];
            bytes.extend_from_slice(b"\xc3\xa4");
            bytes
        };
        let mut fingerprint = Fingerprint::default();
        for x in [1, 2] {
            fingerprint.add_row(&tuple(x)[2..]);
        }
        let parts = vec![([tuple(1), tuple(2)].concat(), 2)];
        made.index(rows, &["x", "y"], CopyFormat::Binary, parts, fingerprint)
            .await;
        // As after an enum's hashes changed: each leaf's rows belong into the other.
        made.rows(rows_one, &["x"], &["2\n2\n".into()]).await;
        made.rows(rows_two, &["x"], &["1\n".into()]).await;
        let archive = made.finish("special").await;
        let report = run(&archive, &database, &options()).await.unwrap();
        assert!(report.is_complete(), "{report:#?}");
        assert_eq!(report.checked.as_ref().unwrap().n_tables, 2, "{report:#?}");
        let acl = "SELECT count(*), max(y) FROM b; SELECT count(*) FROM p2; SELECT a.grantor::regrole, a.grantee::regrole, a.privilege_type FROM pg_class, aclexplode(relacl) a WHERE relname = 'b' AND a.grantee = 'taker'::regrole ORDER BY 3";
        assert_eq!(
            database.psql(acl),
            "2|ä\n2\npostgres|taker|INSERT\ngiver|taker|SELECT\n"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_differ_from_the_archive_are_found() {
    let Some(major) = majors().pop() else { return };
    let database = Server::shared(major).create_database("differs");
    let store = Arc::new(MemoryStore::new());
    let mut made = HandMade::new(Arc::clone(&store) as Arc<dyn Store>).await;
    made.entry("function", "public.f()", "pre_data", &form("CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x := 0; RETURN NEW; END'"));
    let table = made.entry("table", "public.t", "pre_data", &json!({"forms": [{"steps": [{"sql": [
        "CREATE TABLE public.t (x int)", "CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f()"]}]}]}));
    let rows = made.entry(
        "table data",
        "public.t",
        "data",
        &table_data("public.t", Some(table)),
    );
    made.rows(rows, &["x"], &["1\n2\n".into()]).await;
    let archive = made.finish("differs").await;
    let report = run(&archive, &database, &options()).await.unwrap();
    assert!(
        !report.is_complete() && report.failed.is_empty(),
        "{report:#?}"
    );
    assert_eq!(
        report.checked.unwrap().different[0].object,
        "table data public.t"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_is_a_clear_error_and_a_lost_connection_is_made_again() {
    let Some(major) = majors().pop() else { return };
    let server = Server::start(major);
    let database = server.create_database("lost");
    let store = Arc::new(MemoryStore::new());
    let archive = shop(&store, |made| {
        // The first run of this ends its own backend; the sequence, which no rollback sets back, remembers it.
        let sql = "SELECT CASE WHEN pg_catalog.nextval('\"s\".\"ids\"') < 100 AND pg_catalog.setval('\"s\".\"ids\"', 500) > 0 \
                   THEN pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()) END";
        made.entry("statistics", "s.orders.x", "post_data", &with(form(sql), &json!({"needs": [2, 9]})));
    })
    .await;
    let report = run(&archive, &database, &options()).await.unwrap();
    assert!(report.is_complete(), "{report:#?}");
    server.crash();
    let error = run(&archive, &database, &options()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    server.restart();

    let other = server.create_database("crash");
    let store = Arc::new(MemoryStore::new());
    let archive = shop(&store, |made| {
        made.entry(
            "statistics",
            "s.orders.x",
            "post_data",
            &with(
                form("SELECT pg_catalog.pg_sleep(60)"),
                &json!({"needs": [2]}),
            ),
        );
    })
    .await;
    let target = settings(&other.conninfo());
    let running =
        tokio::spawn(async move { restore(&archive, &target, &options(), Arc::new(Silent)).await });
    wait_for_sleep(&other).await;
    server.crash();
    let error = running.await.unwrap().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the connection was lost and cannot be made again"),
        "{error}"
    );
}

/// Waits until a backend sleeps.
async fn wait_for_sleep(database: &Database) {
    let client = database.connect().await;
    for _ in 0..600 {
        let row = client
            .query_one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid() AND datname = current_database()", &[])
            .await
            .unwrap();
        if row.get::<_, i64>(0) > 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("nothing sleeps");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_restore_stops_on_the_server() {
    let Some(major) = majors().pop() else { return };
    let database = Server::shared(major).create_database("dropped");
    let store = Arc::new(MemoryStore::new());
    let archive = shop(&store, |made| {
        made.entry(
            "statistics",
            "s.orders.x",
            "post_data",
            &with(
                form("SELECT pg_catalog.pg_sleep(60)"),
                &json!({"needs": [2]}),
            ),
        );
    })
    .await;
    let target = settings(&database.conninfo());
    let running =
        tokio::spawn(async move { restore(&archive, &target, &options(), Arc::new(Silent)).await });
    wait_for_sleep(&database).await;
    running.abort();
    let client = database.connect().await;
    let mut left = 1;
    for _ in 0..250 {
        let row = client
            .query_one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active'", &[])
            .await
            .unwrap();
        left = row.get::<_, i64>(0);
        if left == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(left, 0);
}
