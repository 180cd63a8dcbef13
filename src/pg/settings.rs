//! `ConnSettings`: everything a connection needs, as values. Where they come from is in `resolve`, using them in `connect` and `tls`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::progress::Progress;

use super::contact::Contact;
use super::environment::Environment;
use super::passfile::Passfile;
use super::resolve::Values;
use super::session::Interpose;

/// Where Debian's and the upstream default socket directories are; a passfile calls both `localhost`.
pub(super) const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// A host name or address, or the directory of a socket; empty if only `addr` was given.
    pub name: String,
    /// The address to use instead of looking `name` up.
    pub addr: Option<IpAddr>,
    /// The port, which is also part of a socket's file name.
    pub port: u16,
}

impl Host {
    /// The socket file if this host is a Unix socket. A name that starts with `@` is an abstract socket.
    pub fn socket(&self) -> Option<String> {
        let is_socket = self.addr.is_none() && self.name.starts_with(['/', '@']);
        is_socket.then(|| format!("{}/.s.PGSQL.{}", self.name, self.port))
    }

    /// The host part of password file lines that concern this host.
    fn passfile_name(&self) -> String {
        match self.addr {
            Some(addr) if self.name.is_empty() => addr.to_string(),
            _ if SOCKET_DIRS.contains(&self.name.as_str()) => "localhost".to_owned(),
            _ => self.name.clone(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.socket(), self.addr) {
            (Some(socket), _) => write!(f, "socket \"{socket}\""),
            (None, Some(addr)) if self.name.is_empty() => {
                write!(f, "host \"{addr}\", port {}", self.port)
            }
            (None, Some(addr)) => {
                write!(f, "host \"{}\" ({addr}), port {}", self.name, self.port)
            }
            (None, None) => write!(f, "host \"{}\", port {}", self.name, self.port),
        }
    }
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            pub(super) const NAMES: &'static [&'static str] = &[$($text),*];
        }

        impl FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(()),
                }
            }
        }
    };
}

choices! {
    /// How much TLS is asked for, weakest first (manual 34.19, table 34.1).
    SslMode {
        /// Never TLS.
        Disable = "disable",
        /// TLS only if the server refuses to go without.
        Allow = "allow",
        /// TLS if the server has it.
        Prefer = "prefer",
        /// TLS, any certificate.
        Require = "require",
        /// TLS, a certificate of a trusted authority.
        VerifyCa = "verify-ca",
        /// TLS, a certificate of a trusted authority for this host name.
        VerifyFull = "verify-full",
    }
}

choices! {
    /// How TLS begins.
    SslNegotiation {
        /// With a request in PostgreSQL's protocol.
        Postgres = "postgres",
        /// At once (servers from 17).
        Direct = "direct",
    }
}

choices! {
    /// Whether a client certificate is sent.
    SslCertMode {
        /// Never.
        Disable = "disable",
        /// If there is one and the server asks.
        Allow = "allow",
        /// Always.
        Require = "require",
    }
}

choices! {
    /// Whether SCRAM must be bound to the TLS connection.
    ChannelBinding {
        /// Never.
        Disable = "disable",
        /// If the server offers it.
        Prefer = "prefer",
        /// Always, or the connection fails.
        Require = "require",
    }
}

choices! {
    /// What kind of server is acceptable.
    TargetSession {
        /// Any.
        Any = "any",
        /// One whose transactions may write by default.
        ReadWrite = "read-write",
        /// One whose transactions may not write by default.
        ReadOnly = "read-only",
        /// Not in recovery.
        Primary = "primary",
        /// In recovery.
        Standby = "standby",
        /// In recovery if there is one, else any.
        PreferStandby = "prefer-standby",
    }
}

choices! {
    /// In which order several hosts are tried.
    LoadBalance {
        /// As given.
        Disable = "disable",
        /// Shuffled.
        Random = "random",
    }
}

/// Where the trusted authorities come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootCert {
    /// `~/.postgresql/root.crt`, if there is one.
    Default(Option<PathBuf>),
    /// The operating system's authorities.
    System,
    /// This file, which must exist when certificates are verified.
    File(PathBuf),
}

/// What TLS needs.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// How much TLS.
    pub mode: SslMode,
    /// How it begins.
    pub negotiation: SslNegotiation,
    /// Whom to trust.
    pub root: RootCert,
    /// The client certificate's file and whether it was named by the user.
    pub cert: Option<(PathBuf, bool)>,
    /// The client key's file.
    pub key: Option<PathBuf>,
    /// Whether the certificate is sent.
    pub cert_mode: SslCertMode,
    /// A file of revocation lists and whether it was named by the user.
    pub crl: Option<(PathBuf, bool)>,
    /// Whether the host name is sent in the clear (SNI).
    pub sni: bool,
    /// Whether TLS 1.2 is allowed.
    pub tls12: bool,
    /// Whether TLS 1.3 is allowed.
    pub tls13: bool,
}

/// TCP keepalives; `None` leaves the operating system's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalives {
    /// Whether they are sent at all.
    pub on: bool,
    /// Idle time before the first.
    pub idle: Option<Duration>,
    /// Time between them.
    pub interval: Option<Duration>,
    /// How many may be lost.
    pub count: Option<u32>,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Option<Duration>,
}

/// Everything a connection needs. Neither `Debug` nor `Display` ever shows a password.
#[derive(Clone)]
pub struct ConnSettings {
    pub(super) hosts: Vec<Host>,
    pub(super) dbname: String,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) passfile: Arc<Passfile>,
    pub(super) options: Option<String>,
    pub(super) application_name: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalives: Keepalives,
    pub(super) tls: TlsSettings,
    pub(super) channel_binding: ChannelBinding,
    pub(super) target: TargetSession,
    pub(super) shuffle: bool,
    pub(super) interpose: Option<Arc<dyn Interpose>>,
    pub(super) warnings: Vec<String>,
    pub(super) contact: Arc<Contact>,
    pub(super) told: Arc<dyn Progress>,
}

impl ConnSettings {
    /// Resolves settings: defaults < `PG*` variables < service file < connection string < flags
    /// (the order of libpq, manual 34.17: a service overrides the variables).
    ///
    /// `target` is a URL, a `key=value` list or a database name; `flags` are libpq keywords with values.
    /// Unknown keywords, unreadable values and what cannot be honoured are [`Error::Usage`](crate::Error::Usage).
    pub fn resolve(
        environment: &Environment,
        target: Option<&str>,
        flags: &[(&str, &str)],
    ) -> Result<Self> {
        let given = Values::gather(environment, target, flags)?;
        given.settings(environment)
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_dbname(&self, name: &str) -> Self {
        let mut settings = self.clone();
        name.clone_into(&mut settings.dbname);
        settings
    }

    /// The same with a password, as typed in by the user; it goes before any password file.
    #[must_use]
    pub fn with_password(&self, password: &str) -> Self {
        let mut settings = self.clone();
        settings.password = Some(password.to_owned());
        settings
    }

    /// The same with an `application_name`, unless the user chose one.
    #[must_use]
    pub fn with_application_name(&self, name: &str) -> Self {
        let mut settings = self.clone();
        settings
            .application_name
            .get_or_insert_with(|| name.to_owned());
        settings
    }

    /// The same for which a connection that cannot be made is tried again for so long, whatever hinders it; zero means never.
    ///
    /// Without this it is tried again for twenty seconds if the server itself says that it is starting or full, or if it was reached
    /// before by the same settings.
    #[must_use]
    pub fn with_connect_retry(&self, limit: Duration) -> Self {
        let mut settings = self.clone();
        settings.contact = Arc::new(Contact::new(Some(limit), false));
        settings
    }

    /// The same for a work of several connections that must all be to one server in one life: once there was one, a server that was
    /// restarted or has crashed meanwhile is refused, because it may have lost what the work relies on, such as rows of unlogged tables.
    #[must_use]
    pub fn for_one_life(&self) -> Self {
        let mut settings = self.clone();
        settings.contact = Arc::new(Contact::new(self.contact.retry, true));
        settings
    }

    /// The same with somebody who hears of each connection that is tried again.
    #[must_use]
    pub fn telling(&self, told: Arc<dyn Progress>) -> Self {
        let mut settings = self.clone();
        settings.told = told;
        settings
    }

    /// The same with something to be asked before each statement; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_interpose(&self, interpose: Arc<dyn Interpose>) -> Self {
        let mut settings = self.clone();
        settings.interpose = Some(interpose);
        settings
    }

    /// The database's name.
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The hosts in the order they are tried.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// What was ignored although somebody wrote it, such as a password file that others can read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The password for one host: the one given, else the password file's.
    pub(super) fn password_for(&self, host: &Host) -> Option<&str> {
        self.password.as_deref().or_else(|| {
            self.passfile
                .password(&host.passfile_name(), host.port, &self.dbname, &self.user)
        })
    }

    /// Host, database and user as error messages name them.
    pub(super) fn target_text(&self, host: &Host) -> String {
        format!(
            "{host}, database \"{}\", user \"{}\"",
            self.dbname, self.user
        )
    }
}

impl fmt::Display for ConnSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if i == 0 { "" } else { " or " })?;
        }
        write!(f, ", database \"{}\", user \"{}\"", self.dbname, self.user)
    }
}

impl fmt::Debug for ConnSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnSettings")
            .field("hosts", &self.hosts)
            .field("dbname", &self.dbname)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
