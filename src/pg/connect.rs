//! Making sessions: names resolved, hosts tried in order, TLS as asked, the server greeted and judged. Wording failures is in `refusal`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio_postgres::config::{self, Config};
use tokio_postgres::{Client, Connection, SimpleQueryMessage, SimpleQueryRow};

use crate::error::{Error, Result};
use crate::retry::Trying;

use super::cancel::Route;
use super::contact;
use super::refusal::{Hope, Kind, Refusal};
use super::session::{Greeting, Session};
use super::settings::{ChannelBinding, ConnSettings, Host, SslMode, TargetSession};
use super::tap::{Tap, TapHandle};
use super::tls;
use super::version::{ServerVersion, V12};
use super::wire::{Address, Encryption, HandOver, TappedWire, Wire};

/// What is asked of every server first; one round trip. The port is null on a Unix socket.
const GREETING: &str = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.pg_backend_pid(), \
     pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'), \
     pg_catalog.inet_server_port(), pg_catalog.current_setting('server_encoding')";

/// What distinguishes a server's life from the next one: its start, and the time since which it counts, which a recovery from a crash
/// sets anew without a start.
const LIFE: &str = ", pg_catalog.concat_ws(' ', EXTRACT(EPOCH FROM pg_catalog.pg_postmaster_start_time()), \
     EXTRACT(EPOCH FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time()))";

/// Opens a session. `purpose` is a part of the `application_name` (`pgark dump`) unless the user chose a name.
///
/// What may pass is tried again, see [`ConnSettings::with_connect_retry`]. Every failure is an [`Error::Connect`] that says what to do
/// about it.
pub async fn connect(settings: &ConnSettings, purpose: &str) -> Result<Session> {
    let settings = &settings.with_application_name(&format!("pgark {purpose}"));
    let mut trying = Trying::new(contact::PATIENCE, Arc::clone(&settings.told));
    let began = Instant::now();
    loop {
        let failures = match Box::pin(try_hosts(settings)).await {
            Ok(session) => return Ok(session),
            Err(failures) => failures,
        };
        let hope = hope_of(&failures);
        let error = report(settings, failures, trying.tries());
        trying.go_on_for(settings.contact.left(hope, began, Instant::now()));
        if !trying
            .again(format!("connecting to {settings}"), &error)
            .await
        {
            return Err(error);
        }
    }
}

/// Tries each host once.
async fn try_hosts(settings: &ConnSettings) -> Result<Session, Vec<(Host, Refusal)>> {
    let passes: &[TargetSession] = match settings.target {
        TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        ref target => std::slice::from_ref(target),
    };
    let mut failures: Vec<(Host, Refusal)> = Vec::new();
    for target in passes {
        failures.clear();
        for host in order(settings) {
            match try_host(settings, &host, *target).await {
                Ok(session) => return Ok(session),
                Err(refusal) => {
                    let is_final = !refusal.tries_next_host();
                    failures.push((host, refusal));
                    if is_final {
                        return Err(failures);
                    }
                }
            }
        }
    }
    Err(failures)
}

/// What may be hoped for after all hosts have refused. Where one has ended the search, it alone counts.
fn hope_of(failures: &[(Host, Refusal)]) -> Hope {
    match failures.last() {
        Some((_, last)) if !last.tries_next_host() => last.hope,
        _ => {
            let hopes = failures.iter().map(|(_, refusal)| refusal.hope);
            hopes.max().unwrap_or(Hope::None)
        }
    }
}

/// True if the error means that a password is needed and none was given, so that asking for one makes sense.
pub fn wants_password(error: &Error) -> bool {
    matches!(error, Error::Connect { source: Some(source), .. }
        if source.downcast_ref::<super::refusal::PasswordMissing>().is_some())
}

fn order(settings: &ConnSettings) -> Vec<Host> {
    let mut hosts = settings.hosts.clone();
    if settings.shuffle {
        shuffle(&mut hosts);
    }
    hosts
}

/// Fisher and Yates with the standard library's random hash keys: fair enough to spread connections.
fn shuffle<T>(items: &mut [T]) {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new();
    for i in (1..items.len()).rev() {
        let pick = random.hash_one(i) % (i as u64 + 1);
        items.swap(i, usize::try_from(pick).unwrap_or(i));
    }
}

/// The last failure is the error; the others are named after it.
fn report(settings: &ConnSettings, mut failures: Vec<(Host, Refusal)>, tries: u32) -> Error {
    let (host, refusal) = failures
        .pop()
        .expect("there is at least one host, and each leaves a session or a failure");
    let mut problem = refusal.problem;
    for (other, refusal) in failures {
        problem = format!("{problem}; before that {other}: {}", refusal.problem);
    }
    if tries > 1 {
        problem = format!("{problem} (tried {tries} times)");
    }
    Error::Connect {
        target: settings.target_text(&host),
        problem,
        remedy: refusal.remedy,
        source: refusal.source,
    }
}

async fn try_host(
    settings: &ConnSettings,
    host: &Host,
    target: TargetSession,
) -> Result<Session, Refusal> {
    let addresses = resolve(settings, host).await?;
    let mut last = None;
    for address in addresses {
        let attempt = try_address(settings, host, &address, target);
        let outcome = match settings.connect_timeout {
            Some(limit) => tokio::time::timeout(limit, attempt)
                .await
                .unwrap_or_else(|_| Err(Refusal::timeout(limit))),
            None => attempt.await,
        };
        match outcome {
            Ok(session) => return Ok(session),
            Err(refusal) if refusal.tries_next_host() => last = Some(refusal),
            Err(refusal) => return Err(refusal),
        }
    }
    Err(last.unwrap_or_else(|| Refusal::no_such_host("the name has no address")))
}

async fn resolve(settings: &ConnSettings, host: &Host) -> Result<Vec<Address>, Refusal> {
    if let Some(path) = host.socket() {
        return Ok(vec![Address::Unix(path)]);
    }
    if let Some(addr) = host.addr {
        return Ok(vec![Address::Tcp(SocketAddr::new(addr, host.port))]);
    }
    let lookup = tokio::net::lookup_host((host.name.as_str(), host.port));
    let limit = settings.connect_timeout.unwrap_or(Duration::MAX);
    let mut found: Vec<SocketAddr> = tokio::time::timeout(limit, lookup)
        .await
        .map_err(|_| Refusal::timeout(limit))?
        .map_err(|e| Refusal::no_such_host(&e.to_string()))?
        .collect();
    if settings.shuffle {
        shuffle(&mut found);
    }
    Ok(found.into_iter().map(Address::Tcp).collect())
}

/// One address, with the second attempts that `allow` and `prefer` mean.
async fn try_address(
    settings: &ConnSettings,
    host: &Host,
    address: &Address,
    target: TargetSession,
) -> Result<Session, Refusal> {
    let attempt = |encryption| try_once(settings, host, address, target, encryption);
    let mode = match address {
        Address::Unix(_) => SslMode::Disable,
        Address::Tcp(_) => settings.tls.mode,
    };
    if mode == SslMode::Disable {
        return attempt(Encryption::Off).await;
    }
    let config = tls_config(settings)?;
    let required = Encryption::Required(Arc::clone(&config), settings.tls.negotiation);
    let (first, second) = match mode {
        SslMode::Allow => (Encryption::Off, required),
        SslMode::Prefer => (Encryption::IfOffered(config), Encryption::Off),
        _ => return attempt(required).await,
    };
    match attempt(first).await {
        Err(refusal) if refusal.may_be_about_tls() => {
            attempt(second).await.map_err(|again| match again.kind {
                // The first attempt's words are the better ones when the second got no further.
                Kind::Tls | Kind::HostRule => refusal,
                _ => again,
            })
        }
        outcome => outcome,
    }
}

fn tls_config(settings: &ConnSettings) -> Result<Arc<ClientConfig>, Refusal> {
    tls::client_config(&settings.tls).map_err(|e| Refusal {
        kind: Kind::Final,
        hope: Hope::None,
        problem: e.problem,
        remedy: e.remedy,
        source: None,
    })
}

async fn try_once(
    settings: &ConnSettings,
    host: &Host,
    address: &Address,
    target: TargetSession,
    encryption: Encryption,
) -> Result<Session, Refusal> {
    let wire = Wire::open(host, address, &encryption, &settings.keepalives)
        .await
        .map_err(Refusal::of_wire)?;
    let is_tls = wire.is_tls();
    let (tap, handle) = Tap::new(wire);
    let password = settings.password_for(host);
    let (client, connection) = log_in(settings, password, tap)
        .await
        .map_err(|e| Refusal::of_login(e, &settings.dbname, password.is_some()))?;
    let route = Route {
        host: host.clone(),
        address: address.clone(),
        // A cancel request goes the way that worked.
        encryption: if is_tls { encryption } else { Encryption::Off },
        keepalives: settings.keepalives,
    };
    greet(settings, client, connection, handle, route, target).await
}

async fn log_in(
    settings: &ConnSettings,
    password: Option<&str>,
    tap: Tap<Wire>,
) -> Result<(Client, Connection<Tap<Wire>, TappedWire>), tokio_postgres::Error> {
    let mut config = Config::new();
    config
        .user(&settings.user)
        .dbname(&settings.dbname)
        // The wire is ready: these two make tokio-postgres ask `HandOver` for it without a word to the server.
        .ssl_mode(config::SslMode::Require)
        .ssl_negotiation(config::SslNegotiation::Direct)
        .channel_binding(match settings.channel_binding {
            ChannelBinding::Disable => config::ChannelBinding::Disable,
            ChannelBinding::Prefer => config::ChannelBinding::Prefer,
            ChannelBinding::Require => config::ChannelBinding::Require,
        });
    if let Some(password) = password {
        config.password(password);
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    if let Some(name) = &settings.application_name {
        config.application_name(name);
    }
    config.connect_raw(tap, HandOver).await
}

async fn greet(
    settings: &ConnSettings,
    client: Client,
    connection: Connection<Tap<Wire>, TappedWire>,
    tap: TapHandle,
    route: Route,
    target: TargetSession,
) -> Result<Session, Refusal> {
    let mut session = Session::start(client, connection, tap, route, &settings.dbname);
    let life = if settings.contact.one_life { LIFE } else { "" };
    let messages = session
        .client()
        .simple_query(&format!("{GREETING}{life}"))
        .await
        .map_err(|e| Refusal::of_login(session.cause_of(e), &settings.dbname, true))?;
    let (version, greeting) = read_greeting(&messages)
        .ok_or_else(|| Refusal::unsupported("the server does not answer like PostgreSQL"))?;
    if version < V12 {
        return Err(Refusal::unsupported(&format!(
            "the server is PostgreSQL {version}, which is older than 12"
        )));
    }
    let fits = match target {
        TargetSession::Any | TargetSession::PreferStandby => true,
        TargetSession::ReadWrite => !greeting.read_only && !greeting.in_recovery,
        TargetSession::ReadOnly => greeting.read_only || greeting.in_recovery,
        TargetSession::Primary => !greeting.in_recovery,
        TargetSession::Standby => greeting.in_recovery,
    };
    if !fits {
        return Err(Refusal::wrong_kind(target));
    }
    if !settings.contact.reached(read_life(&messages)) {
        return Err(Refusal::another_life());
    }
    session.greeted(version, greeting, settings.interpose.clone());
    Ok(session)
}

fn first_row(messages: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// The answer to [`LIFE`], where it was asked for.
fn read_life(messages: &[SimpleQueryMessage]) -> Option<String> {
    let row = first_row(messages)?;
    row.try_get(6).ok()?.map(str::to_owned)
}

fn read_greeting(messages: &[SimpleQueryMessage]) -> Option<(ServerVersion, Greeting)> {
    let row = first_row(messages)?;
    let version = ServerVersion(row.try_get(0).ok()??.parse().ok()?);
    let greeting = Greeting {
        backend_pid: row.try_get(1).ok()??.parse().ok()?,
        in_recovery: row.try_get(2).ok()?? == "t",
        read_only: row.try_get(3).ok()?? == "on",
        server_port: row.try_get(4).ok()?.and_then(|port| port.parse().ok()),
        server_encoding: row.try_get(5).ok()??.to_owned(),
    };
    Some((version, greeting))
}
