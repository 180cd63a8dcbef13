//! Extensions with content: every contrib module that the servers ship, with objects that use it; configuration rows of `PostGIS`,
//! `pg_partman` and an extension made for the test; vectors with their indexes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pgark::Selection;
use pgark::dump::DumpOptions;

use crate::round_trip::{dump_to_memory, restore_all, settings};
use crate::support::pair::{Pair, assert_same, assert_whole};
use crate::support::{Database, Major, Server, majors};

/// What a server offers but cannot create, with the reason.
const NOT_CREATED: &[(&str, &str)] = &[
    ("plperl", "needs the Perl that the server was built with"),
    (
        "plpython",
        "needs the Python that the server was built with",
    ),
    ("pltcl", "needs the Tcl that the server was built with"),
    ("postgis", "has a test of its own"),
    ("address_standardizer", "belongs to PostGIS"),
    ("pg_partman", "has a test of its own"),
];

/// Creates every module that the server has; gives their names.
async fn create_all(database: &Database) -> Vec<String> {
    let client = database.connect().await;
    client
        .batch_execute(
            r#"CREATE SCHEMA "Odd Place"; CREATE EXTENSION hstore WITH SCHEMA "Odd Place""#,
        )
        .await
        .unwrap();
    let offered = client
        .query(
            "SELECT name::text FROM pg_available_extensions ORDER BY name",
            &[],
        )
        .await
        .unwrap();
    let mut created = Vec::new();
    for row in offered {
        let name: String = row.get(0);
        if NOT_CREATED.iter().any(|(part, _)| name.contains(part)) {
            continue;
        }
        let create = format!("CREATE EXTENSION IF NOT EXISTS \"{name}\" CASCADE");
        client
            .batch_execute(&create)
            .await
            .unwrap_or_else(|error| panic!("{create}: {error:?}"));
        created.push(name);
    }
    created
}

/// Columns, indexes, constraints, triggers, views, dictionaries, servers and privileges that only extensions make possible.
///
/// No index over `ll_to_earth(…)`: its body finds its types only in the search path of whoever calls it (seen on 15), and a restore's
/// path is empty, as `pg_restore`'s is.
const USERS: &str = r#"
CREATE ROLE contrib_reader;
CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.unaccent(''public.unaccent'', $1)';
CREATE TABLE everything (
  id uuid DEFAULT uuid_generate_v4() PRIMARY KEY,
  code text DEFAULT crypt('x', gen_salt('md5')),
  tags "Odd Place".hstore DEFAULT 'a=>1',
  email citext UNIQUE CHECK (email ~ '@'),
  path ltree, wanted lquery,
  box cube, corner cube GENERATED ALWAYS AS (cube(a::float8, b::float8)) STORED,
  isbn isbn13, measured seg, numbers int[], big lo, spot earth, a int, b int,
  changed timestamptz, who text);
CREATE INDEX ON everything USING gin (tags);
CREATE INDEX ON everything USING gin (who gin_trgm_ops, plain(who) gin_trgm_ops);
CREATE INDEX ON everything USING gist (path, box, measured, numbers gist__intbig_ops (siglen = 64));
CREATE INDEX ON everything USING gist (spot);
CREATE INDEX ON everything USING bloom (a, b) WITH (length = 80, col1 = 2, col2 = 4);
CREATE INDEX ON everything USING gin (a, numbers gin__int_ops);
CREATE INDEX ON everything (soundex(who), isbn);
INSERT INTO everything (id, code, tags, email, path, wanted, box, isbn, measured, numbers, spot, a, b, who)
SELECT uuid_generate_v5(uuid_ns_url(), i::text), 'c' || i, "Odd Place".hstore('k"' || i, NULL) OPERATOR("Odd Place".||) 'x=>"\\y"',
       'Someone' || i || '@example.org', ('top.n' || i)::ltree, '*.n*', cube(i, i + 1), '978-0-393-04002-9', '1.5 .. 2.5', ARRAY[i, i], ll_to_earth(50, i), i, -i, 'Éric ' || i
  FROM generate_series(1, 50) i;
CREATE TRIGGER keep_object BEFORE UPDATE OR DELETE ON everything FOR EACH ROW EXECUTE FUNCTION lo_manage(big);
CREATE TRIGGER keep_time BEFORE UPDATE ON everything FOR EACH ROW EXECUTE FUNCTION moddatetime(changed);
CREATE TRIGGER keep_name BEFORE INSERT ON everything FOR EACH ROW EXECUTE FUNCTION insert_username(who);
CREATE TRIGGER tell AFTER INSERT ON everything FOR EACH ROW EXECUTE FUNCTION triggered_change_notification('channel');
ALTER TABLE everything DISABLE TRIGGER keep_name;
CREATE TABLE bookings (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO bookings VALUES (1, '[2020-01-01, 2020-01-02)'), (1, '[2020-01-02, 2020-01-03)');
CREATE SEQUENCE counted;
CREATE TABLE numbered (n int);
CREATE TRIGGER number BEFORE INSERT ON numbered FOR EACH ROW EXECUTE FUNCTION autoinc(n, counted);
CREATE TABLE referring (room int);
CREATE TRIGGER refer BEFORE INSERT ON referring FOR EACH ROW EXECUTE FUNCTION check_primary_key('room', 'bookings', 'room');
CREATE VIEW crossed AS SELECT * FROM crosstab('SELECT 1, 2, 3', 'SELECT 2') AS ct(row_name int, two int);
CREATE VIEW sampled AS SELECT * FROM bookings TABLESAMPLE system_rows(10);
CREATE VIEW timed AS SELECT * FROM bookings TABLESAMPLE system_time(100);
CREATE VIEW collected AS SELECT int_array_aggregate(a) AS all_a FROM everything;
CREATE VIEW busy AS SELECT query, calls FROM pg_stat_statements;
CREATE VIEW cached AS SELECT count(*) FROM pg_buffercache;
CREATE VIEW secure AS SELECT ssl_is_used() AS used;
CREATE VIEW found AS SELECT xpath_string('<a>1</a>', '/a') AS x, (pgstattuple('bookings')).table_len AS length;
CREATE MATERIALIZED VIEW near AS SELECT who, earth_distance(spot, ll_to_earth(0, 0)) AS distance FROM everything WITH NO DATA;
CREATE FUNCTION tagged("Odd Place".hstore) RETURNS citext LANGUAGE sql AS $$ SELECT ($1 OPERATOR("Odd Place".->) 'a')::citext $$;
ALTER FUNCTION tagged DEPENDS ON EXTENSION hstore;
ALTER MATERIALIZED VIEW near DEPENDS ON EXTENSION earthdistance;
CREATE DOMAIN short_path AS ltree CHECK (nlevel(VALUE) < 5);
CREATE AGGREGATE unions (cube) (SFUNC = cube_union, STYPE = cube);
CREATE TEXT SEARCH DICTIONARY my_unaccent (TEMPLATE = unaccent, RULES = 'unaccent');
CREATE TEXT SEARCH DICTIONARY my_xsyn (TEMPLATE = xsyn_template, RULES = 'xsyn_sample', MATCHSYNONYMS = true);
CREATE TEXT SEARCH DICTIONARY my_int (TEMPLATE = intdict_template, MAXLEN = 4);
CREATE TEXT SEARCH CONFIGURATION mine (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR word WITH my_unaccent, my_xsyn, simple;
ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR int WITH my_int, intdict;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere', extensions 'cube, ltree', fetch_size '7');
CREATE USER MAPPING FOR contrib_reader SERVER far OPTIONS (user 'x''y', password 'secret');
CREATE FOREIGN TABLE far_table (id int OPTIONS (column_name 'ID'), path ltree) SERVER far OPTIONS (schema_name 's', table_name 't');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE passwd (line text) SERVER files OPTIONS (filename '/nowhere', format 'csv', header 'true');
CREATE SERVER linked FOREIGN DATA WRAPPER dblink_fdw OPTIONS (dbname 'nowhere');
COMMENT ON EXTENSION cube IS 'ours now';
GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO contrib_reader;
REVOKE EXECUTE ON FUNCTION gen_salt(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION gen_salt(text) TO contrib_reader WITH GRANT OPTION;
REVOKE SELECT ON pg_stat_statements FROM PUBLIC;
GRANT SELECT (query) ON pg_stat_statements TO contrib_reader;
REVOKE USAGE ON TYPE citext FROM PUBLIC;
GRANT USAGE ON FOREIGN DATA WRAPPER file_fdw TO contrib_reader;
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_contrib_module_comes_back_with_what_uses_it() {
    for major in majors().into_iter().filter(|major| major.number() >= 14) {
        let pair = Pair::start(major);
        let source = pair.source.create_database("contrib");
        let created = create_all(&source).await;
        println!("PostgreSQL {major}: {} modules", created.len());
        assert!(created.len() > 40, "{created:?}");
        source.batch(USERS).await;
        let (_, restored, target) = pair.take_across(&source).await;
        assert_whole("contrib", &restored);
        assert_same("contrib", &source, &target, &[]).await;
        let excluded = target.connect().await;
        let overlap = "INSERT INTO bookings VALUES (1, '[2020-01-01, 2020-01-02)')";
        assert!(excluded.batch_execute(overlap).await.is_err());
        let privileges = "SELECT count(*) FROM pg_extension";
        assert_eq!(source.psql(privileges), target.psql(privileges));
    }
}

/// The server of the packages, if it has the extension. Where servers are required, so are the packages.
fn with_package(name: &str) -> Option<Pair> {
    let major = majors().into_iter().find(|major| major.number() == 15)?;
    let pair = Pair::start(major);
    let query = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'");
    if pair.source.create_database("offered").psql(&query) == "1\n" {
        return Some(pair);
    }
    let required = std::env::var("PGARK_REQUIRE_PG").is_ok_and(|value| value == "1");
    assert!(!required, "{name} is not installed; run scripts/servers 15");
    println!("left out: {name} is not installed; run scripts/servers 15");
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geometries_and_the_users_own_reference_systems_come_back() {
    let Some(pair) = with_package("postgis") else {
        return;
    };
    let source = pair.source.create_database("postgis");
    source
        .batch(
            "CREATE EXTENSION postgis;
             INSERT INTO spatial_ref_sys SELECT 990001, 'mine', 1, srtext, proj4text FROM spatial_ref_sys WHERE srid = 4326;
             CREATE TABLE places (id int PRIMARY KEY, at geometry(Point, 4326), area geography(Polygon, 4326), odd geometry(PointZ, 990001), r box2d);
             INSERT INTO places SELECT i, ST_SetSRID(ST_MakePoint(i, i / 2.0), 4326), ST_Buffer(ST_MakePoint(i, 5)::geography, 1000),
                    ST_SetSRID(ST_MakePoint(1, 2, i), 990001), ST_MakeBox2D(ST_Point(0, 0), ST_Point(i, i)) FROM generate_series(1, 80) i;
             CREATE INDEX ON places USING gist (at);
             CREATE INDEX ON places USING spgist (odd);
             CREATE INDEX ON places USING brin (area);
             CREATE VIEW distances AS SELECT a.id, ST_Distance(a.at, b.at) AS d FROM places a JOIN places b ON a.id = b.id + 1;
             ALTER TABLE places ADD CHECK (ST_IsValid(at));",
        )
        .await;
    let (_, restored, target) = pair.take_across(&source).await;
    assert_whole("postgis", &restored);
    assert_same("postgis", &source, &target, &[]).await;
    let facts = "SELECT count(*), count(*) FILTER (WHERE srid = 990001) FROM spatial_ref_sys;
                 SELECT round(sum(d)::numeric, 3), (SELECT sum(ST_Z(odd)) FROM places) FROM distances";
    assert_eq!(source.psql(facts), target.psql(facts));
    assert!(target.psql(facts).contains("|1\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_under_management_come_back_with_their_configuration() {
    let Some(pair) = with_package("pg_partman") else {
        return;
    };
    let source = pair.source.create_database("partman");
    source
        .batch(
            "CREATE SCHEMA partman;
             CREATE EXTENSION pg_partman SCHEMA partman;
             CREATE TABLE events (id bigint, at timestamptz NOT NULL, note text) PARTITION BY RANGE (at);
             CREATE TABLE events_template (LIKE events);
             ALTER TABLE events_template ADD PRIMARY KEY (id);
             SELECT partman.create_parent('public.events', 'at', 'native', 'daily', p_template_table := 'public.events_template');
             INSERT INTO events SELECT i, now() + i * interval '1 hour', 'n' FROM generate_series(1, 60) i;
             UPDATE partman.part_config SET retention = '30 days';",
        )
        .await;
    let (_, restored, target) = pair.take_across(&source).await;
    assert_whole("partman", &restored);
    assert_same("partman", &source, &target, &[]).await;
    let rows = "SELECT parent_table, retention, template_table FROM partman.part_config; SELECT count(*) FROM events";
    assert_eq!(
        target.psql(rows),
        "public.events|30 days|public.events_template\n60\n"
    );
    target.psql("SELECT partman.run_maintenance()");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_come_back_with_their_indexes() {
    if !majors().contains(&Major::V18) {
        return;
    }
    let pair = Pair {
        source: Server::start_oracle(),
        target: Server::start_oracle(),
    };
    let source = pair.source.create_database("vectors");
    source
        .batch(
            "CREATE EXTENSION vector;
             CREATE TABLE items (id bigserial PRIMARY KEY, whole vector(3), half halfvec(4), sparse sparsevec(1000), bits bit(8), parts vector[]);
             INSERT INTO items (whole, half, sparse, bits, parts)
             SELECT ARRAY[i, i / 3.0, -i]::real[]::vector, ARRAY[1, 2, 3, i]::real[]::halfvec, ('{' || i || ':1.5}/1000')::sparsevec, i::bit(8),
                    ARRAY['[1,2]', NULL]::vector[] FROM generate_series(1, 300) i;
             CREATE INDEX ON items USING hnsw (whole vector_l2_ops) WITH (m = 8, ef_construction = 32);
             CREATE INDEX ON items USING ivfflat (whole vector_cosine_ops) WITH (lists = 10);
             CREATE INDEX ON items USING hnsw ((half::halfvec(4)) halfvec_ip_ops);
             CREATE INDEX ON items USING hnsw (sparse sparsevec_l1_ops);
             CREATE INDEX ON items USING hnsw (bits bit_hamming_ops);
             CREATE FUNCTION nearest(vector) RETURNS bigint LANGUAGE sql AS 'SELECT id FROM public.items ORDER BY whole OPERATOR(public.<->) $1 LIMIT 1';",
        )
        .await;
    let (_, restored, target) = pair.take_across(&source).await;
    assert_whole("vector", &restored);
    assert_same("vector", &source, &target, &[]).await;
    assert_eq!(target.psql("SELECT nearest('[7,2,-7]')"), "7\n");
}

/// An extension with configuration of every sort: a condition, a foreign key against the order of names, a sequence.
fn write_shelf(dir: &Path) {
    let extension = dir.join("extension");
    fs::create_dir(&extension).unwrap();
    let control = "default_version = '1.0'\nrelocatable = true\ncomment = 'shelves'\n";
    let script = "
CREATE TABLE owner_of_shelf (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE a_shelf (id serial PRIMARY KEY, owner int REFERENCES owner_of_shelf, parent int REFERENCES a_shelf, built_in bool NOT NULL DEFAULT false);
CREATE TABLE cache_of_shelves (id int);
INSERT INTO owner_of_shelf VALUES (0, 'the extension');
INSERT INTO a_shelf VALUES (0, 0, NULL, true);
SELECT pg_catalog.pg_extension_config_dump('a_shelf', 'WHERE NOT built_in');
SELECT pg_catalog.pg_extension_config_dump('owner_of_shelf', 'WHERE id <> 0');
SELECT pg_catalog.pg_extension_config_dump('a_shelf_id_seq', '');
";
    fs::write(extension.join("shelf.control"), control).unwrap();
    fs::write(extension.join("shelf--1.0.sql"), script).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_rows_come_back_in_the_order_of_their_keys_with_their_sequences() {
    // A folder of extensions beside the server's own can be named since 18.
    if !majors().contains(&Major::V18) {
        return;
    }
    let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    write_shelf(dir.path());
    let path = format!("$system:{}", dir.path().display());
    let server = Server::start_with(Major::V18, &[("extension_control_path", &path)]);
    let source = server.create_database("shelf");
    source
        .batch(
            r#"CREATE SCHEMA "Shelf"; CREATE EXTENSION shelf SCHEMA "Shelf"; SET search_path = "Shelf";
               INSERT INTO owner_of_shelf VALUES (1, 'me');
               INSERT INTO a_shelf (owner, parent) VALUES (1, NULL), (1, 1), (0, 0), (NULL, 2);
               INSERT INTO cache_of_shelves VALUES (1);"#,
        )
        .await;
    let facts = r#"SET search_path = "Shelf"; TABLE owner_of_shelf; TABLE a_shelf; SELECT last_value, is_called FROM a_shelf_id_seq; SELECT count(*) FROM cache_of_shelves"#;
    let expected = "0|the extension\n1|me\n0|0||t\n1|1||f\n2|1|1|f\n3|0|0|f\n4||2|f\n4|t\n0\n";
    for schema_only in [false, true] {
        let options = DumpOptions {
            selection: Selection {
                schema_only,
                ..Selection::default()
            },
            ..DumpOptions::default()
        };
        let archive = dump_to_memory(&settings(&source.conninfo()), &options)
            .await
            .unwrap();
        let target = server.create_database("shelf_again");
        let restored = restore_all(&archive, &settings(&target.conninfo()), 4)
            .await
            .unwrap();
        assert_whole("shelf", &restored);
        assert_eq!(target.psql(facts), expected, "schema only: {schema_only}");
        target.psql(r#"INSERT INTO "Shelf".a_shelf (owner) VALUES (1)"#);
    }
}
