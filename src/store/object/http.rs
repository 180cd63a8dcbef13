//! The HTTP client of all buckets: rustls with ring and the system's root certificates, which works where there is nothing but
//! this program and a file of certificates.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector};

use crate::error::{BoxError, Error, Result};

/// For one request with its answer. A chunk of 12 MiB needs 40 KB/s; a connection that died is noticed much sooner by the system.
const REQUEST: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(10);

/// Gives every part of a service, and every put with headers of its own, the same client and its connections.
#[derive(Debug, Clone)]
pub(super) struct Connector(HttpClient);

impl Connector {
    pub(super) fn new() -> Result<Connector> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(concat!("pgark/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .timeout(REQUEST)
            .connect_timeout(CONNECT)
            .build()
            .map_err(|problem| Error::failed("the HTTP client", problem, ""))?;
        Ok(Connector(HttpClient::new(client)))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.0.clone())
    }
}

/// Trusts what the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` included). Without any certificate only `http://` works, and
/// an error of `https://` says what to do.
fn tls() -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|problem| Error::failed("TLS", BoxError::from(problem), ""))?;
    Ok(config.with_root_certificates(roots()).with_no_client_auth())
}

/// Read once: it takes some milliseconds.
fn roots() -> Arc<rustls::RootCertStore> {
    static ROOTS: OnceLock<Arc<rustls::RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// True if there is no certificate to trust.
pub(super) fn trusts_nobody() -> bool {
    roots().is_empty()
}
