//! Twenty thousand tables in one database: what they cost in queries, time, memory, stored bytes and locks.

use std::fs;
use std::time::{Duration, Instant};

use crate::memory::Run;
use crate::support::{Database, Server, majors, output_of, pgark};

const N_TABLES: u32 = 20_000;
/// On a machine that does nothing else.
const TIME_MAX: Duration = Duration::from_secs(30);
const STORED_MAX: u64 = 20 << 20;

/// How many times longer everything takes because others use the machine too.
fn crowd() -> u32 {
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let waiting: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let n_cores = std::thread::available_parallelism().unwrap().get();
    let mut crowd = 1;
    while f64::from(crowd) * n_cores as f64 <= waiting - 1.0 {
        crowd += 1;
    }
    crowd
}

/// So many tables in one transaction; every twentieth with a sequence, two indexes, a check, a comment and rows, and names to be quoted.
fn make_tables(database: &Database, n_tables: u32) {
    database.psql(&format!(
        "DO $$
         BEGIN
           FOR i IN 1..{n_tables} LOOP
             IF i % 20 = 0 THEN
               EXECUTE format('CREATE TABLE %1$I (id serial PRIMARY KEY, note text DEFAULT %2$L CHECK (note <> %2$L)); COMMENT ON TABLE %1$I IS %2$L;
                               CREATE INDEX %2$I ON %1$I (lower(note)); INSERT INTO %1$I (note) VALUES (%3$L), (%3$L), (%3$L)',
                              'Table ' || i, 'The index of ' || i, 'row of ' || i);
             ELSIF i % 10 = 0 THEN
               EXECUTE format('CREATE TABLE t%1$s (id int, n int); INSERT INTO t%1$s VALUES (%1$s, 1)', i);
             ELSE
               EXECUTE format('CREATE TABLE t%1$s (id int, n int)', i);
             END IF;
           END LOOP;
         END $$"
    ));
}

/// A database of so many tables whose definitions were dumped once.
struct Looked {
    database: Database,
    definitions: Run,
    /// Queries as the server's log has them, but for the locks, which are taken in batches.
    n_queries: usize,
    took: Duration,
}

fn look(server: &Server, n_tables: u32) -> Looked {
    let database = server.create_database(&format!("tables{n_tables}"));
    make_tables(&database, n_tables);
    let name = database.name();
    database.psql(&format!("ALTER DATABASE {name} SET log_statement = 'all'"));
    let (before, definitions) = (server.log_text().len(), Run::new());
    let started = Instant::now();
    definitions.peak(&["dump", "-s", "-d", &database.conninfo()]);
    let took = started.elapsed();
    let log = server.log_text();
    let statements = log[before..]
        .lines()
        .filter(|line| line.contains("execute ") || line.contains("statement: "));
    let (locks, queries): (Vec<_>, Vec<_>) =
        statements.partition(|line| line.contains("LOCK TABLE"));
    assert!(locks.len() <= 1 + n_tables as usize / 2000, "{locks:?}");
    database.psql(&format!("ALTER DATABASE {name} RESET log_statement"));
    Looked {
        n_queries: queries.len(),
        database,
        definitions,
        took,
    }
}

fn set_locks(server: &Server, database: &Database, per_transaction: u32) {
    database.psql(&format!(
        "ALTER SYSTEM SET max_locks_per_transaction = {per_transaction}"
    ));
    server.restart();
}

/// The value that the error's hint names.
fn value_to_set(said: &str) -> u32 {
    let (_, rest) = said
        .split_once("raise max_locks_per_transaction from 10 to ")
        .unwrap_or_else(|| panic!("{said}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn stored_bytes(run: &Run) -> u64 {
    let listed = output_of(pgark().args(["list", "--json", "-r"]).arg(run.repo()));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed[0]["stored_bytes"].as_u64().unwrap()
}

#[test]
fn twenty_thousand_tables_cost_the_queries_of_twenty_and_little_else() {
    let server = Server::start(*majors().last().unwrap());
    let few = look(&server, 20).n_queries;
    let Looked {
        database,
        definitions,
        n_queries,
        took,
    } = look(&server, N_TABLES);
    println!("{few} queries, definitions: {took:?}");
    assert!(few > 50, "the log shows them: {few}");
    assert_eq!(few, n_queries);
    assert!(took < TIME_MAX * crowd(), "{took:?}");
    let (conninfo, all) = (database.conninfo(), Run::new());
    let n_bytes = stored_bytes(&definitions);
    assert!(n_bytes < STORED_MAX, "{n_bytes}");

    // A lock table that is too small is named with a size that works.
    set_locks(&server, &database, 10);
    let refused = pgark()
        .args(["dump", "-d", &conninfo, "-r"])
        .arg(all.repo())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("the server has no room for their locks"),
        "{said}"
    );
    set_locks(&server, &database, value_to_set(&said));
    let started = Instant::now();
    all.peak(&["dump", "-d", &conninfo]);
    println!("with rows: {:?}", started.elapsed());
    let shown = output_of(pgark().args(["list", "--json", "-r"]).arg(all.repo()));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown[0]["tables"], &shown[0]["rows"]),
        (&20_000.into(), &4_000.into())
    );
    let n_bytes = stored_bytes(&all);
    println!("stored: {n_bytes} bytes");
    assert!(n_bytes < STORED_MAX, "{n_bytes}");
}
