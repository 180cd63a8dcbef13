//! Why a connection was not made, in words with a remedy, and whether trying elsewhere makes sense.

use std::io;
use std::time::Duration;

use rustls::{CertificateError, Error as TlsError};
use tokio_postgres::error::DbError;

use crate::error::BoxError;

use super::settings::TargetSession;
use super::wire::WireError;

/// The cause when the server asks for a password and none is known.
#[derive(Debug, thiserror::Error)]
#[error(
    "no password was given, and no password file has one for this host, port, database and user"
)]
pub(super) struct PasswordMissing;

/// What a failure means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// This host cannot be used now: another may.
    ThisHost,
    /// TLS failed: `prefer` goes on without.
    Tls,
    /// No rule of the server allows this connection; with other encryption one may.
    HostRule,
    /// Nothing else will help.
    Final,
}

/// Whether the same attempt may succeed a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hope {
    /// Not before somebody changes something.
    None,
    /// The network, or a server that is not there: it may come back, if it was ever there.
    Network,
    /// The server said itself that it cannot serve now.
    Server,
}

/// One failed attempt.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) hope: Hope,
    pub(super) problem: String,
    pub(super) remedy: String,
    pub(super) source: Option<BoxError>,
}

impl Refusal {
    fn new(kind: Kind, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Refusal {
            kind,
            hope: Hope::None,
            problem: problem.into(),
            remedy: remedy.into(),
            source: None,
        }
    }

    fn with(mut self, hope: Hope) -> Self {
        self.hope = hope;
        self
    }

    fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// As libpq does: not after a server has spoken for itself, except that it cannot serve now.
    pub(super) fn tries_next_host(&self) -> bool {
        self.kind == Kind::ThisHost
    }

    /// True if the same address with other encryption may do.
    pub(super) fn may_be_about_tls(&self) -> bool {
        matches!(self.kind, Kind::Tls | Kind::HostRule)
    }

    pub(super) fn timeout(limit: Duration) -> Self {
        Refusal::new(
            Kind::ThisHost,
            format!("no connection within {} s", limit.as_secs()),
            "check the address, firewalls, and whether connect_timeout is long enough",
        )
        .with(Hope::Network)
    }

    pub(super) fn no_such_host(problem: &str) -> Self {
        Refusal::new(
            Kind::ThisHost,
            format!("the host name cannot be resolved: {problem}"),
            "check the spelling, or give the address with hostaddr",
        )
    }

    pub(super) fn unsupported(problem: &str) -> Self {
        Refusal::new(
            Kind::Final,
            problem,
            "PostgreSQL 12 and newer servers are supported",
        )
    }

    pub(super) fn wrong_kind(target: TargetSession) -> Self {
        let wanted = match target {
            TargetSession::ReadWrite => "read-write",
            TargetSession::ReadOnly => "read-only",
            TargetSession::Primary => "primary",
            TargetSession::Standby => "standby",
            TargetSession::PreferStandby => "prefer-standby",
            TargetSession::Any => "any",
        };
        Refusal::new(
            Kind::ThisHost,
            format!("the server is not what target_session_attrs={wanted} asks for"),
            "name a host that is, or change target_session_attrs",
        )
    }

    /// The server is not the one that the work began with.
    pub(super) fn another_life() -> Self {
        Refusal::new(
            Kind::Final,
            "the server was restarted or has crashed since the work began, or it is another one",
            "what the work relied on may be lost: see the server's log, and begin again",
        )
    }

    /// The socket or TLS failed.
    pub(super) fn of_wire(error: WireError) -> Self {
        match error {
            WireError::Io(e) => Refusal::of_io(e),
            WireError::NotOffered => Refusal::new(
                Kind::Tls,
                "the server does not offer TLS, which sslmode demands",
                "switch ssl on in the server's configuration, or use sslmode=prefer or disable",
            ),
            WireError::BadName(name) => Refusal::new(
                Kind::Tls,
                format!("{name:?} cannot be the name in a certificate"),
                "use a host name that a certificate can hold",
            ),
            WireError::Handshake(e) => Refusal::of_handshake(e),
        }
    }

    fn of_io(error: io::Error) -> Self {
        let hope = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData => Hope::None,
            _ => Hope::Network,
        };
        let (problem, remedy) = match error.kind() {
            io::ErrorKind::ConnectionRefused => (
                "the connection was refused".to_owned(),
                "check that the server runs, listens there (listen_addresses, port) and that no firewall refuses",
            ),
            io::ErrorKind::NotFound => (
                "there is no such socket".to_owned(),
                "check that the server runs and the directory of its sockets (unix_socket_directories), or name a host with -h",
            ),
            io::ErrorKind::PermissionDenied => (
                "the socket may not be used by this operating system user".to_owned(),
                "check unix_socket_permissions, or connect by TCP with -h localhost",
            ),
            io::ErrorKind::InvalidData => (error.to_string(), "check host and port"),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => (
                "the server closed the connection at once".to_owned(),
                "look into the server's log; it may be starting, overloaded, or no PostgreSQL server",
            ),
            _ => (
                format!("the network failed: {error}"),
                "check the address, routes and firewalls",
            ),
        };
        Refusal::new(Kind::ThisHost, problem, remedy)
            .with(hope)
            .because(error)
    }

    fn of_handshake(error: io::Error) -> Self {
        let cause = error
            .get_ref()
            .and_then(|cause| cause.downcast_ref::<TlsError>());
        let (problem, remedy) = match cause {
            Some(TlsError::InvalidCertificate(bad)) => bad_certificate(bad),
            Some(TlsError::AlertReceived(alert)) => (
                format!("the server ended the TLS handshake: {alert:?}"),
                "the server may want a client certificate (sslcert, sslkey) or another TLS version",
            ),
            Some(other) => (
                format!("the TLS handshake failed: {other}"),
                "check sslmode, sslnegotiation and the server's TLS settings",
            ),
            None => (
                "the connection broke during the TLS handshake".to_owned(),
                "check sslnegotiation (direct needs a server from 17) and the server's log",
            ),
        };
        let hope = match cause {
            Some(_) => Hope::None,
            None => Hope::Network,
        };
        Refusal::new(Kind::Tls, problem, remedy)
            .with(hope)
            .because(error)
    }

    /// The server, or tokio-postgres, refused during start-up.
    pub(super) fn of_login(error: tokio_postgres::Error, dbname: &str, has_password: bool) -> Self {
        if let Some(db) = error.as_db_error() {
            return Refusal::of_server(db, dbname).because(error);
        }
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        match cause.as_deref() {
            Some("password missing") if !has_password => Refusal::new(
                Kind::Final,
                "the server asks for a password and none is known",
                "put it into PGPASSWORD or ~/.pgpass, or let pgark ask with -W",
            )
            .because(PasswordMissing),
            Some("server did not use channel binding") => Refusal::new(
                Kind::Final,
                "the server does not bind the password exchange to TLS, which channel_binding=require demands",
                "use channel_binding=prefer, or SCRAM over TLS with an RSA or ECDSA certificate",
            ),
            Some(text @ ("unsupported authentication method" | "unsupported SASL mechanism")) => {
                Refusal::new(
                    Kind::Final,
                    format!("{text}: the server wants GSSAPI, SSPI, OAuth or the like"),
                    "have pg_hba.conf ask this user for scram-sha-256, md5, password or a client certificate",
                )
            }
            _ if error.is_closed() => Refusal::new(
                Kind::ThisHost,
                "the server closed the connection during start-up",
                "look into the server's log",
            )
            .with(Hope::Network),
            cause => {
                let problem = match cause {
                    Some(cause) => format!("{error}: {cause}"),
                    None => error.to_string(),
                };
                Refusal::new(Kind::ThisHost, problem, "look into the server's log")
                    .with(Hope::Network)
                    .because(error)
            }
        }
    }

    fn of_server(db: &DbError, dbname: &str) -> Self {
        let said = format!("the server says: {}", db.message());
        match db.code().code() {
            "28P01" => Refusal::new(
                Kind::Final,
                said,
                "check user and password (PGPASSWORD, ~/.pgpass, -W)",
            ),
            "28000" => Refusal::new(
                Kind::HostRule,
                said,
                "have a line of pg_hba.conf allow this user, database, address and encryption, or check user and sslmode",
            ),
            "3D000" => Refusal::new(
                Kind::Final,
                said,
                format!("check the name \"{dbname}\", or let a restore create it with --create"),
            ),
            "42501" => Refusal::new(
                Kind::Final,
                said,
                format!("GRANT CONNECT ON DATABASE to this user, or check the name \"{dbname}\""),
            ),
            "53300" => Refusal::new(
                Kind::Final,
                said,
                "use fewer jobs (-j), end idle sessions, or raise max_connections or the role's limit",
            )
            .with(Hope::Server),
            "57P03" => Refusal::new(
                Kind::ThisHost,
                said,
                "wait until the server accepts connections, then try again",
            )
            .with(Hope::Server),
            // It ends, or ended this very session, for its own reasons: shutdown, crash of another backend.
            "57P01" | "57P02" => Refusal::new(
                Kind::ThisHost,
                said,
                "wait until the server accepts connections, then try again",
            )
            .with(Hope::Network),
            "08P01" if db.message().contains("unsupported startup parameter") => Refusal::new(
                Kind::Final,
                format!("{said} (this is what PgBouncer says)"),
                "connect to the server directly, or leave out options",
            ),
            _ => Refusal::new(Kind::Final, said, "look into the server's log"),
        }
    }
}

fn bad_certificate(bad: &CertificateError) -> (String, &'static str) {
    match bad {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("the server's certificate is for another host: {bad}"),
            "connect by a name that the certificate holds, or use sslmode=verify-ca",
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("the server's certificate has expired: {bad}"),
            "renew the server's certificate, and check this machine's clock",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!("the server's certificate is not valid yet: {bad}"),
            "check this machine's clock",
        ),
        // An authority of the right name but with another key gives a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "the server's certificate is of no trusted authority".to_owned(),
            "name the authority's certificate with sslrootcert, or put it into ~/.postgresql/root.crt",
        ),
        CertificateError::Revoked => (
            "the server's certificate was revoked".to_owned(),
            "renew the server's certificate",
        ),
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => (
            format!("the revocation list does not tell about the server's certificate: {bad}"),
            "renew the file that sslcrl names; it must cover every authority of the chain",
        ),
        _ => (
            format!("the server's certificate cannot be used: {bad}"),
            "it must be X.509 version 3, and no certificate authority's own; sslmode=require does not look at it",
        ),
    }
}
