//! `ConnSettings`: everything a connection needs, resolved from defaults, environment, service file, connection string and flags.
//! Pure: variables and files come from an [`Environment`]. Using the settings is left to `connect` and `tls`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};

use super::conninfo;
use super::environment::Environment;
use super::keywords::{self, KEYWORDS, Use};
use super::passfile::Passfile;
use super::service;
use super::session::Interpose;

/// Where Debian's and the upstream default socket directories are; a passfile calls both `localhost`.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const DEFAULT_PORT: u16 = 5432;

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
            const NAMES: &'static [&'static str] = &[$($text),*];
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
    password: Option<String>,
    passfile: Arc<Passfile>,
    pub(super) options: Option<String>,
    pub(super) application_name: Option<String>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) keepalives: Keepalives,
    pub(super) tls: TlsSettings,
    pub(super) channel_binding: ChannelBinding,
    pub(super) target: TargetSession,
    pub(super) shuffle: bool,
    pub(super) interpose: Option<Arc<dyn Interpose>>,
    warnings: Vec<String>,
}

impl ConnSettings {
    /// Resolves settings: defaults < `PG*` variables < service file < connection string < flags
    /// (the order of libpq, manual 34.17: a service overrides the variables).
    ///
    /// `target` is a URL, a `key=value` list or a database name; `flags` are libpq keywords with values.
    /// Unknown keywords, unreadable values and what cannot be honoured are [`Error::Usage`].
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

/// Keyword values as text, the strongest source already chosen.
struct Values {
    values: BTreeMap<&'static str, String>,
}

impl Values {
    fn gather(
        environment: &Environment,
        target: Option<&str>,
        flags: &[(&str, &str)],
    ) -> Result<Self> {
        let mut strong = Values {
            values: BTreeMap::new(),
        };
        match target {
            Some(text) if conninfo::is_connection_string(text) => {
                for (key, value) in conninfo::parse(text)? {
                    strong.set("the connection string", &key, value)?;
                }
            }
            Some(name) if !name.is_empty() => {
                strong.set("the command line", "dbname", name.to_owned())?;
            }
            _ => {}
        }
        for (key, value) in flags {
            strong.set("the command line", key, (*value).to_owned())?;
        }
        let mut all = Values {
            values: BTreeMap::new(),
        };
        for keyword in KEYWORDS.iter().filter(|keyword| !keyword.var.is_empty()) {
            if let Some(value) = environment.var(keyword.var) {
                all.set(keyword.var, keyword.name, value.to_owned())?;
            }
        }
        let named = strong.get("service").or_else(|| all.get("service"));
        if let Some(name) = named.map(str::to_owned) {
            let file = strong
                .get("servicefile")
                .or_else(|| all.get("servicefile"))
                .map(PathBuf::from);
            for (key, value) in read_service(environment, file, &name)? {
                all.set(&format!("service {name:?}"), &key, value)?;
            }
        }
        all.values.extend(strong.values);
        Ok(all)
    }

    fn set(&mut self, source: &str, key: &str, value: String) -> Result<()> {
        let Some(keyword) = keywords::find(key) else {
            return Err(Error::Usage(format!(
                "{source}: {key:?} is no connection keyword"
            )));
        };
        match keyword.usage {
            Use::Honoured => {}
            Use::Ignored => return Ok(()),
            Use::Only(accepted) if value.is_empty() || accepted.contains(&value.as_str()) => {
                return Ok(());
            }
            Use::Only([]) => {
                return Err(Error::Usage(format!(
                    "{source}: {key:?} is not supported; leave it out"
                )));
            }
            Use::Only(accepted) => {
                return Err(Error::Usage(format!(
                    "{source}: {key} can only be {}",
                    accepted.join(" or ")
                )));
            }
        }
        match (keyword.name, value.as_str()) {
            // The predecessor of sslmode.
            ("requiressl", "1") => {
                self.values.insert("sslmode", "require".to_owned());
            }
            ("requiressl", _) => {}
            (name, _) => {
                self.values.insert(name, value);
            }
        }
        Ok(())
    }

    /// A value; an empty one asks for the default.
    fn get(&self, key: &'static str) -> Option<&str> {
        self.values
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn choice<T: FromStr<Err = ()>>(
        &self,
        key: &'static str,
        names: &[&str],
        default: T,
    ) -> Result<T> {
        let Some(text) = self.get(key) else {
            return Ok(default);
        };
        text.parse().map_err(|()| {
            Error::Usage(format!("{key} is {text:?}; it can be {}", names.join(", ")))
        })
    }

    fn number<T: FromStr>(&self, key: &'static str) -> Result<Option<T>> {
        let Some(text) = self.get(key) else {
            return Ok(None);
        };
        text.trim()
            .parse()
            .map(Some)
            .map_err(|_| Error::Usage(format!("{key} is {text:?}; it must be a whole number")))
    }

    /// Seconds; nothing, zero and negative mean the default.
    fn seconds(&self, key: &'static str) -> Result<Option<Duration>> {
        let seconds = self.number::<i64>(key)?.unwrap_or(0);
        let seconds = u64::try_from(seconds).ok().filter(|n| *n > 0);
        Ok(seconds.map(Duration::from_secs))
    }

    fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.get(key).map(PathBuf::from)
    }

    fn settings(&self, environment: &Environment) -> Result<ConnSettings> {
        let user = self
            .get("user")
            .map(str::to_owned)
            .or_else(|| environment.user.clone())
            .ok_or_else(|| {
                Error::Usage("no user name is known; give one with -U or PGUSER".to_owned())
            })?;
        let dbname = self.get("dbname").unwrap_or(&user).to_owned();
        let mut warnings = Vec::new();
        let password = self.get("password").map(str::to_owned);
        let passfile = match password {
            Some(_) => Passfile::default(),
            None => self.passfile(environment, &mut warnings),
        };
        let target = self.choice(
            "target_session_attrs",
            TargetSession::NAMES,
            TargetSession::Any,
        )?;
        let balance = self.choice(
            "load_balance_hosts",
            LoadBalance::NAMES,
            LoadBalance::Disable,
        )?;
        Ok(ConnSettings {
            hosts: self.hosts(environment)?,
            dbname,
            user,
            password,
            passfile: Arc::new(passfile),
            options: self.get("options").map(str::to_owned),
            application_name: self
                .get("application_name")
                .or_else(|| self.get("fallback_application_name"))
                .map(str::to_owned),
            // libpq takes 1 as 2, so that rounding cannot make it nothing.
            connect_timeout: self
                .seconds("connect_timeout")?
                .map(|time| time.max(Duration::from_secs(2))),
            keepalives: self.keepalives()?,
            tls: self.tls(environment)?,
            channel_binding: self.choice(
                "channel_binding",
                ChannelBinding::NAMES,
                ChannelBinding::Prefer,
            )?,
            target,
            shuffle: balance == LoadBalance::Random,
            interpose: None,
            warnings,
        })
    }

    fn hosts(&self, environment: &Environment) -> Result<Vec<Host>> {
        let split = |key| -> Vec<&str> {
            self.get(key)
                .map(|text| text.split(',').map(str::trim).collect())
                .unwrap_or_default()
        };
        let (names, addrs, ports) = (split("host"), split("hostaddr"), split("port"));
        let n_hosts = names.len().max(addrs.len()).max(1);
        for (key, list) in [("host", &names), ("hostaddr", &addrs)] {
            if !list.is_empty() && list.len() != n_hosts {
                return Err(Error::Usage(format!(
                    "{n_hosts} hosts are given but {} values of {key}",
                    list.len()
                )));
            }
        }
        if ports.len() > 1 && ports.len() != n_hosts {
            return Err(Error::Usage(format!(
                "{n_hosts} hosts are given but {} ports; give one port or one for each",
                ports.len()
            )));
        }
        let mut hosts = Vec::new();
        for i in 0..n_hosts {
            let port = ports.get(i).or(ports.first()).copied().unwrap_or("");
            let port = parse_port(port)?;
            let name = names.get(i).copied().unwrap_or("").to_owned();
            let addr = match addrs.get(i).copied().unwrap_or("") {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    Error::Usage(format!(
                        "hostaddr is {text:?}; it must be a numeric IP address"
                    ))
                })?),
            };
            if name.is_empty() && addr.is_none() {
                hosts.extend(default_hosts(environment, port));
            } else {
                hosts.push(Host { name, addr, port });
            }
        }
        Ok(hosts)
    }

    fn keepalives(&self) -> Result<Keepalives> {
        let user_timeout = self.number::<u64>("tcp_user_timeout")?.filter(|n| *n > 0);
        Ok(Keepalives {
            on: self.number::<i64>("keepalives")? != Some(0),
            idle: self.seconds("keepalives_idle")?,
            interval: self.seconds("keepalives_interval")?,
            count: self.number::<u32>("keepalives_count")?.filter(|n| *n > 0),
            user_timeout: user_timeout.map(Duration::from_millis),
        })
    }

    fn tls(&self, environment: &Environment) -> Result<TlsSettings> {
        let root = match self.get("sslrootcert") {
            Some("system") => RootCert::System,
            Some(path) => RootCert::File(PathBuf::from(path)),
            None => RootCert::Default(environment.in_home(".postgresql/root.crt")),
        };
        // With the system's authorities anything weaker would trust anybody's certificate (libpq's rule).
        let default_mode = match root {
            RootCert::System => SslMode::VerifyFull,
            _ => SslMode::Prefer,
        };
        let mode = self.choice("sslmode", SslMode::NAMES, default_mode)?;
        if root == RootCert::System && mode < SslMode::VerifyFull {
            return Err(Error::Usage(
                "sslrootcert=system needs sslmode=verify-full".to_owned(),
            ));
        }
        let negotiation = self.choice(
            "sslnegotiation",
            SslNegotiation::NAMES,
            SslNegotiation::Postgres,
        )?;
        if negotiation == SslNegotiation::Direct && mode < SslMode::Require {
            return Err(Error::Usage(
                "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full".to_owned(),
            ));
        }
        let named_or_home = |key, name| {
            let named = self.path(key).map(|path| (path, true));
            named.or_else(|| environment.in_home(name).map(|path| (path, false)))
        };
        let (tls12, tls13) = self.tls_versions()?;
        Ok(TlsSettings {
            mode,
            negotiation,
            root,
            cert: named_or_home("sslcert", ".postgresql/postgresql.crt"),
            key: named_or_home("sslkey", ".postgresql/postgresql.key").map(|(path, _)| path),
            cert_mode: self.choice("sslcertmode", SslCertMode::NAMES, SslCertMode::Allow)?,
            crl: named_or_home("sslcrl", ".postgresql/root.crl"),
            sni: self.number::<i64>("sslsni")? != Some(0),
            tls12,
            tls13,
        })
    }

    fn tls_versions(&self) -> Result<(bool, bool)> {
        let rank = |key, default| match self.get(key) {
            None => Ok(default),
            Some("TLSv1" | "TLSv1.1") => Ok(11),
            Some("TLSv1.2") => Ok(12),
            Some("TLSv1.3") => Ok(13),
            Some(text) => Err(Error::Usage(format!(
                "{key} is {text:?}; it can be TLSv1.2 or TLSv1.3"
            ))),
        };
        let (min, max) = (
            rank("ssl_min_protocol_version", 12)?,
            rank("ssl_max_protocol_version", 13)?,
        );
        let allowed = |version| min <= version && version <= max;
        if !allowed(12) && !allowed(13) {
            return Err(Error::Usage(
                "the allowed TLS versions leave neither TLSv1.2 nor TLSv1.3".to_owned(),
            ));
        }
        Ok((allowed(12), allowed(13)))
    }

    fn passfile(&self, environment: &Environment, warnings: &mut Vec<String>) -> Passfile {
        let path = self
            .path("passfile")
            .or_else(|| environment.in_home(".pgpass"));
        let Some(path) = path.filter(|path| environment.files.exists(path)) else {
            return Passfile::default();
        };
        if environment.files.is_shared(&path) {
            warnings.push(format!(
                "password file \"{}\" is ignored because group or others may read it; chmod 0600 helps",
                path.display()
            ));
            return Passfile::default();
        }
        match environment.files.text(&path) {
            Ok(text) => Passfile::parse(&text),
            Err(problem) => {
                warnings.push(format!(
                    "password file \"{}\" is ignored: {problem}",
                    path.display()
                ));
                Passfile::default()
            }
        }
    }
}

fn parse_port(text: &str) -> Result<u16> {
    if text.is_empty() {
        return Ok(DEFAULT_PORT);
    }
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| Error::Usage(format!("port is {text:?}; it must be 1 to 65535")))
}

/// The sockets that exist, then the loopback address.
fn default_hosts(environment: &Environment, port: u16) -> Vec<Host> {
    let host = |name: &str| Host {
        name: name.to_owned(),
        addr: None,
        port,
    };
    let sockets = SOCKET_DIRS.map(host).into_iter().filter(|host| {
        host.socket()
            .is_some_and(|socket| environment.files.exists(Path::new(&socket)))
    });
    sockets.chain([host("localhost")]).collect()
}

/// The user's service file, else the system's (manual 34.17).
fn read_service(
    environment: &Environment,
    file: Option<PathBuf>,
    name: &str,
) -> Result<Vec<conninfo::Pair>> {
    let system_dir = environment.var("PGSYSCONFDIR").map(PathBuf::from);
    let explicit = file.is_some();
    let user_file = file.or_else(|| environment.in_home(".pg_service.conf"));
    let system_files = match system_dir {
        Some(dir) => vec![dir.join("pg_service.conf")],
        None => ["/etc/postgresql-common", "/etc/postgresql"]
            .map(|dir| Path::new(dir).join("pg_service.conf"))
            .to_vec(),
    };
    let mut looked = Vec::new();
    for (path, needed) in user_file
        .map(|path| (path, explicit))
        .into_iter()
        .chain(system_files.into_iter().map(|path| (path, false)))
    {
        looked.push(format!("\"{}\"", path.display()));
        if !environment.files.exists(&path) && !needed {
            continue;
        }
        let text = environment.files.text(&path).map_err(|problem| {
            Error::Usage(format!(
                "service file \"{}\" cannot be read: {problem}",
                path.display()
            ))
        })?;
        if let Some(pairs) = service::parse(&text, name, &path.display().to_string())? {
            return Ok(pairs);
        }
    }
    Err(Error::Usage(format!(
        "service {name:?} is not defined in {}",
        looked.join(", ")
    )))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
