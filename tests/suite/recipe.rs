//! The recipe in `docs/format.md`: an archive comes back with `sha256sum`, `zstd`, `jq` and `psql` alone, exactly as a reader
//! of the document would type it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use pgark::progress::Silent;
use pgark::{ChunkSettings, ConnSettings, DumpOptions, Environment, LocalStore, Repository, dump};
use tempfile::TempDir;

use crate::support::compare::{CompareOptions, Side, compare, report};
use crate::support::{Database, Server, majors, oracle};

/// What the document asks for, and the ordinary tools that it takes for granted.
const TOOLS: &[&str] = &[
    "bash",
    "sha256sum",
    "zstd",
    "jq",
    "cat",
    "cut",
    "head",
    "mktemp",
    "rm",
    "sed",
    "sort",
    "tail",
    "tr",
];

/// Something of all that the recipe treats in a way of its own.
const SOURCE: &str = r#"
CREATE SCHEMA "Odd ""one";
CREATE TYPE "Odd ""one".mood AS ENUM ('sad', 'glad');
CREATE SEQUENCE ticket START 7;
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
    feels "Odd ""one".mood DEFAULT 'glad', upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE TABLE "Odd ""one"."Order" (id bigint PRIMARY KEY DEFAULT nextval('ticket'), customer int REFERENCES customer,
    note text, data bytea, CHECK (id > 0));
CREATE INDEX ON "Odd ""one"."Order" (customer) WHERE note IS NOT NULL;
CREATE TABLE no_columns ();
CREATE TABLE nobody (id int);
CREATE TABLE log (at date NOT NULL, line text) PARTITION BY RANGE (at);
CREATE TABLE log_2025 PARTITION OF log FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE log_2026 PARTITION OF log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE VIEW glad AS SELECT c.id, count(o.id) AS n FROM customer c LEFT JOIN "Odd ""one"."Order" o ON o.customer = c.id
    WHERE feels = 'glad' GROUP BY c.id;
CREATE MATERIALIZED VIEW totals AS SELECT customer, count(*) AS n FROM "Odd ""one"."Order" GROUP BY customer;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'stamped; ' || NEW.note; RETURN NEW; END $$;
INSERT INTO customer (name, feels) SELECT 'customer ' || i, CASE WHEN i % 3 = 0 THEN 'sad' ELSE 'glad' END::"Odd ""one".mood
    FROM generate_series(1, 50) AS i;
INSERT INTO customer (name) VALUES (E'tab\there, \\ and\nnewline; "quotes"'), ('\.'), ('ü €');
INSERT INTO "Odd ""one"."Order" (customer, note, data)
    SELECT 1 + i % 50, NULLIF('note ' || i % 7, 'note 3'), decode(md5(i::text), 'hex') FROM generate_series(1, 3000) AS i;
INSERT INTO no_columns SELECT FROM generate_series(1, 4);
INSERT INTO log SELECT date '2025-06-01' + i, 'line ' || i FROM generate_series(1, 400) AS i;
REFRESH MATERIALIZED VIEW totals;
CREATE TRIGGER stamp BEFORE INSERT ON "Odd ""one"."Order" FOR EACH ROW EXECUTE FUNCTION stamp();
COMMENT ON TABLE customer IS 'it''s the people';
SELECT lo_from_bytea(4711, decode(repeat('00ff7f5c', 5000), 'hex'));
COMMENT ON LARGE OBJECT 4711 IS 'a scan';
"#;

#[tokio::test]
async fn the_recipe_of_the_document_restores_an_archive() {
    for major in majors() {
        let server = Server::shared(major);
        let source = server.create_database("recipe");
        source.batch(SOURCE).await;
        let folder = TempDir::new().unwrap();
        let archive = dump_into(&source, folder.path()).await;

        let target = server.create_database("recipe_copy");
        let output = run_recipe(folder.path(), &archive, &target);
        assert!(
            output.status.success(),
            "PostgreSQL {major}: {}",
            text(&output)
        );

        let pg_dump = oracle("pg_dump");
        let (left, right) = (source.conninfo(), target.conninfo());
        let side = |conninfo| Side {
            conninfo,
            pg_dump: &pg_dump,
        };
        let found = compare(&side(&left), &side(&right), &CompareOptions::default()).await;
        assert!(found.is_empty(), "PostgreSQL {major}: {}", report(&found));
        let keys = "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'u', 'f') AND convalidated AND conrelid >= 16384";
        assert_eq!(target.psql(keys).trim(), "4", "PostgreSQL {major}");
        let pages = "SELECT md5(lo_get(4711)) = md5(decode(repeat('00ff7f5c', 5000), 'hex'))";
        assert_eq!(target.psql(pages).trim(), "t", "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn the_recipe_refuses_damage_before_it_changes_anything() {
    let major = *majors().last().expect("a server to test on");
    let server = Server::shared(major);
    let source = server.create_database("recipe");
    source.batch(SOURCE).await;
    let folder = TempDir::new().unwrap();
    let archive = dump_into(&source, folder.path()).await;
    let manifest = PathBuf::from(format!("archives/{archive}.json"));
    for file in chunk_files(folder.path()).into_iter().chain([manifest]) {
        let path = folder.path().join(&file);
        let right = std::fs::read(&path).unwrap();
        let mut wrong = right.clone();
        wrong[right.len() / 2] ^= 1;
        std::fs::write(&path, wrong).unwrap();
        let target = server.create_database("recipe_damaged");
        let output = run_recipe(folder.path(), &archive, &target);
        assert!(
            !output.status.success(),
            "{}: {}",
            file.display(),
            text(&output)
        );
        let objects = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
        assert_eq!(target.psql(objects).trim(), "0", "{}", file.display());
        std::fs::write(&path, right).unwrap();
    }
}

async fn dump_into(source: &Database, folder: &Path) -> String {
    let store = LocalStore::create(folder).await.unwrap();
    let repository = Repository::open_or_create(Arc::new(store), ChunkSettings::default())
        .await
        .unwrap();
    let conninfo = source.conninfo();
    let settings = ConnSettings::resolve(&Environment::of_process(), Some(&conninfo), &[]).unwrap();
    let options = DumpOptions::default();
    let dumped = dump(&settings, &repository, &options, Arc::new(Silent))
        .await
        .unwrap();
    dumped.name.to_string()
}

/// The fenced script of the document's last section.
fn recipe() -> &'static str {
    let document = include_str!("../../docs/format.md");
    let (_, section) = document
        .split_once("\n## Taking an archive out by hand\n")
        .expect("the section with the recipe");
    let (_, script) = section.split_once("\n```bash\n").expect("a script in bash");
    script.split_once("\n```").expect("the script's end").0
}

/// Runs the recipe where there is nothing but the tools that it names.
fn run_recipe(folder: &Path, archive: &str, target: &Database) -> Output {
    let tools = TempDir::new().unwrap();
    for tool in TOOLS {
        symlink(program(tool), tools.path().join(tool)).unwrap();
    }
    symlink(oracle("psql"), tools.path().join("psql")).unwrap();
    let script = tools.path().join("recipe");
    std::fs::write(&script, recipe()).unwrap();
    Command::new(program("bash"))
        .arg(&script)
        .env_clear()
        .env("PATH", tools.path())
        .env("LC_ALL", "C.UTF-8")
        .env("REPO", folder)
        .env("ARCHIVE", archive)
        .env("TARGET", target.conninfo())
        .output()
        .unwrap()
}

fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is missing; scripts/test installs it"))
}

fn chunk_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for shelf in std::fs::read_dir(folder.join("chunks")).unwrap() {
        for file in std::fs::read_dir(shelf.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            files.push(path.strip_prefix(folder).unwrap().to_owned());
        }
    }
    assert!(files.len() >= 3, "streams and rows: {files:?}");
    files
}

fn text(output: &Output) -> String {
    let (out, problems) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(problems)
    )
}
