//! The keywords of libpq (18), where each comes from and what pgark does with it: the one table that `settings` reads.

/// What a keyword means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is honoured.
    Honoured,
    /// It changes nothing that matters here, and leaving it out is harmless.
    Ignored,
    /// Only these values (which switch it off) are accepted, because ignoring the others would weaken or break what was asked for.
    Only(&'static [&'static str]),
}

/// One keyword.
#[derive(Debug)]
pub(super) struct Keyword {
    pub(super) name: &'static str,
    /// The environment variable, or `""`.
    pub(super) var: &'static str,
    pub(super) usage: Use,
}

const fn word(name: &'static str, var: &'static str, usage: Use) -> Keyword {
    Keyword { name, var, usage }
}

use Use::{Honoured, Ignored, Only};

/// All keywords (manual 34.1.2 and 34.15).
pub(super) const KEYWORDS: &[Keyword] = &[
    word("service", "PGSERVICE", Honoured),
    word("servicefile", "PGSERVICEFILE", Honoured),
    word("host", "PGHOST", Honoured),
    word("hostaddr", "PGHOSTADDR", Honoured),
    word("port", "PGPORT", Honoured),
    word("dbname", "PGDATABASE", Honoured),
    word("user", "PGUSER", Honoured),
    word("password", "PGPASSWORD", Honoured),
    word("passfile", "PGPASSFILE", Honoured),
    word("options", "PGOPTIONS", Honoured),
    word("application_name", "PGAPPNAME", Honoured),
    word("fallback_application_name", "", Honoured),
    word("connect_timeout", "PGCONNECT_TIMEOUT", Honoured),
    word("keepalives", "", Honoured),
    word("keepalives_idle", "", Honoured),
    word("keepalives_interval", "", Honoured),
    word("keepalives_count", "", Honoured),
    word("tcp_user_timeout", "", Honoured),
    word("sslmode", "PGSSLMODE", Honoured),
    word("requiressl", "PGREQUIRESSL", Honoured),
    word("sslnegotiation", "PGSSLNEGOTIATION", Honoured),
    word("sslrootcert", "PGSSLROOTCERT", Honoured),
    word("sslcert", "PGSSLCERT", Honoured),
    word("sslkey", "PGSSLKEY", Honoured),
    word("sslcertmode", "PGSSLCERTMODE", Honoured),
    word("sslcrl", "PGSSLCRL", Honoured),
    word("sslsni", "PGSSLSNI", Honoured),
    word("channel_binding", "PGCHANNELBINDING", Honoured),
    word("target_session_attrs", "PGTARGETSESSIONATTRS", Honoured),
    word("load_balance_hosts", "PGLOADBALANCEHOSTS", Honoured),
    word(
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        Honoured,
    ),
    word(
        "ssl_max_protocol_version",
        "PGSSLMAXPROTOCOLVERSION",
        Honoured,
    ),
    // The encoding belongs to the dump: data travels in the server's own.
    word("client_encoding", "PGCLIENTENCODING", Ignored),
    // TLS compression is off everywhere; libpq ignores it too.
    word("sslcompression", "PGSSLCOMPRESSION", Ignored),
    // Kerberos is never used, so its details do not matter.
    word("krbsrvname", "PGKRBSRVNAME", Ignored),
    word("gsslib", "PGGSSLIB", Ignored),
    word("gssdelegation", "PGGSSDELEGATION", Ignored),
    word("authtype", "PGAUTHTYPE", Ignored),
    word("tty", "PGTTY", Ignored),
    word("gssencmode", "PGGSSENCMODE", Only(&["disable", "prefer"])),
    word(
        "min_protocol_version",
        "PGMINPROTOCOLVERSION",
        Only(&["3.0"]),
    ),
    word(
        "max_protocol_version",
        "PGMAXPROTOCOLVERSION",
        Only(&["3.0", "3.2", "latest"]),
    ),
    word("replication", "", Only(&["false", "off", "no", "0"])),
    word("require_auth", "PGREQUIREAUTH", Only(&[])),
    word("requirepeer", "PGREQUIREPEER", Only(&[])),
    word("sslcrldir", "PGSSLCRLDIR", Only(&[])),
    word("sslpassword", "", Only(&[])),
    word("sslkeylogfile", "", Only(&[])),
    word("scram_client_key", "", Only(&[])),
    word("scram_server_key", "", Only(&[])),
    word("oauth_issuer", "", Only(&[])),
    word("oauth_client_id", "", Only(&[])),
    word("oauth_client_secret", "", Only(&[])),
    word("oauth_scope", "", Only(&[])),
];

/// Finds a keyword.
pub(super) fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}
