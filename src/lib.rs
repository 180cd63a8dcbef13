//! pgark: a native logical dumper for PostgreSQL.
