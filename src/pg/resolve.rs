//! Resolving connection settings: defaults, environment, service file, connection string and flags become [`ConnSettings`].
//! Pure: variables and files come from an [`Environment`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::progress::Silent;

use super::conninfo;
use super::environment::Environment;
use super::keywords::{self, KEYWORDS, Use};
use super::passfile::Passfile;
use super::service;
use super::settings::{
    ChannelBinding, ConnSettings, Host, Keepalives, LoadBalance, RootCert, SOCKET_DIRS,
    SslCertMode, SslMode, SslNegotiation, TargetSession, TlsSettings,
};

const DEFAULT_PORT: u16 = 5432;

/// Keyword values as text, the strongest source already chosen.
pub(super) struct Values {
    values: BTreeMap<&'static str, String>,
}

impl Values {
    /// Collects the values of all sources; see [`ConnSettings::resolve`].
    pub(super) fn gather(
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
            for (key, value) in service::read(environment, file, &name)? {
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

    /// Gives the values their types.
    pub(super) fn settings(&self, environment: &Environment) -> Result<ConnSettings> {
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
            contact: Arc::default(),
            told: Arc::new(Silent),
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
