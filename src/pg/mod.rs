//! Everything that talks to a PostgreSQL server over tokio-postgres.

pub mod version;
