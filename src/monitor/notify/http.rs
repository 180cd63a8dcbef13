//! Posts a message over HTTP or HTTPS, a few times if need be. No text that leaves here shows any part of a URL.

use std::error::Error as StdError;
use std::sync::Arc;

use reqwest::{Client, StatusCode, Url};

use super::Patience;

/// What is posted.
pub(super) enum Body {
    /// As `application/json`.
    Json(serde_json::Value),
    /// As `text/plain`.
    Text(String),
}

/// Why a try failed.
struct Trouble {
    reason: String,
    /// True if another try may go better.
    passing: bool,
}

/// Reads a channel's URL.
pub(super) fn parse(url: &str) -> Result<Url, String> {
    let known = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    let url = Url::parse(url).ok().filter(known);
    url.ok_or_else(|| "its url does not begin with https:// or http:// and a host".to_owned())
}

/// Reads a channel's URL and puts `word` behind its path; what stands behind a question mark stays.
pub(super) fn below(url: &str, word: &str) -> Result<Url, String> {
    let mut url = parse(url)?;
    url.path_segments_mut()
        .expect("URLs with a host have paths")
        .pop_if_empty()
        .push(word);
    Ok(url)
}

/// Posts until it is taken, no longer than `patience` allows.
pub(super) async fn post(url: &Url, body: &Body, patience: Patience) -> Result<(), String> {
    let client = client(url, patience)?;
    let mut pause = patience.pause;
    let mut n_tried = 0;
    loop {
        n_tried += 1;
        match try_once(&client, url, body).await {
            Ok(()) => return Ok(()),
            Err(trouble) if trouble.passing && n_tried < patience.n_tries => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(trouble) if n_tried > 1 => {
                return Err(format!("{}, {n_tried} times", trouble.reason));
            }
            Err(trouble) => return Err(trouble.reason),
        }
    }
}

async fn try_once(client: &Client, url: &Url, body: &Body) -> Result<(), Trouble> {
    let request = client.post(url.clone());
    let request = match body {
        Body::Json(value) => request.json(value),
        Body::Text(text) => request
            .header("content-type", "text/plain; charset=utf-8")
            .body(text.clone()),
    };
    let answer = request.send().await.map_err(|error| Trouble {
        reason: reason(error),
        passing: true,
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    let hint = if status.is_redirection() {
        "; give the URL that it leads to"
    } else {
        ""
    };
    Err(Trouble {
        reason: format!("the service answered {status}{hint}"),
        passing,
    })
}

/// The innermost cause only: the texts around it may name the URL.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn StdError = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() {
        "cannot connect"
    } else {
        "sending failed"
    };
    format!("{what}: {cause}")
}

/// A client for one request: the ring provider and the system's certificates, those of `SSL_CERT_FILE` where it is set. Proxies
/// are those of the usual environment variables. No redirect is followed: it would give the secret to somebody else.
fn client(url: &Url, patience: Patience) -> Result<Client, String> {
    let builder = Client::builder()
        .user_agent(concat!("pgark/", env!("CARGO_PKG_VERSION")))
        .timeout(patience.try_lasts)
        .redirect(reqwest::redirect::Policy::none());
    let builder = builder.tls_backend_preconfigured(tls(url)?);
    builder.build().map_err(reason)
}

fn tls(url: &Url) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    // Without TLS nobody needs certificates, which may well be missing in a container.
    if url.scheme() == "https" {
        let loaded = rustls_native_certs::load_native_certs();
        let (n_added, _) = roots.add_parsable_certificates(loaded.certs);
        if n_added == 0 {
            return Err("the system has no root certificates: install them (the package is usually ca-certificates), or set SSL_CERT_FILE".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has all of them");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
