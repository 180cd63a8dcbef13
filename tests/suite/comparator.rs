//! Tests of the comparison that other tests rely on.

use std::path::PathBuf;

use crate::support::compare::{CompareOptions, Side, Snapshot, compare, report};

#[tokio::test]
async fn two_databases() {
    let pg_dump = PathBuf::from(std::env::var("PGARK_PG_DUMP").unwrap());
    let (a, b) = (std::env::var("A").unwrap(), std::env::var("B").unwrap());
    let a = Side { conninfo: &a, pg_dump: &pg_dump };
    let b = Side { conninfo: &b, pg_dump: &pg_dump };
    let options = CompareOptions { strict: std::env::var("S").is_ok(), cross_version: std::env::var("X").is_ok(), ..Default::default() };
    let t = std::time::Instant::now();
    let s = Snapshot::take(&a, &options).await.unwrap();
    println!("{:?} {} {}", t.elapsed(), s.facts().n_objects(), s.facts().n_values());
    println!("{}", report(&compare(&a, &b, &options).await));
}
