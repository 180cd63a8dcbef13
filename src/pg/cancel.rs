//! Cancelling: a request on a connection of its own that ends what another session is running.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

use super::settings::{Host, Keepalives};
use super::tap::BackendKey;
use super::wire::{Address, Encryption, Wire};

/// How long a cancel request may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a session's server is, as needed to reach it again.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) host: Host,
    pub(super) address: Address,
    pub(super) encryption: Encryption,
    pub(super) keepalives: Keepalives,
}

/// Ends the statement that a session is running, from anywhere.
#[derive(Clone)]
pub struct Canceller {
    route: Route,
    key: Option<BackendKey>,
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

impl Canceller {
    pub(super) fn new(route: Route, key: Option<BackendKey>) -> Self {
        Canceller { route, key }
    }

    /// Sends a cancel request on a connection of its own, encrypted as the session is; at most ten seconds.
    ///
    /// Success means that the server has got the request, not that a statement was running.
    pub async fn cancel(&self) -> Result<()> {
        let Some(key) = self.key else {
            return Ok(());
        };
        let attempt = async {
            let Route {
                host,
                address,
                encryption,
                keepalives,
            } = &self.route;
            let wire = Wire::open(host, address, encryption, keepalives)
                .await
                .map_err(|e| e.to_string())?;
            wire.request_cancel(key).await.map_err(|e| e.to_string())
        };
        let outcome = tokio::time::timeout(CANCEL_TIMEOUT, attempt).await;
        outcome
            .unwrap_or_else(|_| Err("no answer within ten seconds".to_owned()))
            .map_err(|problem| {
                Error::failed(
                    &self.route.host,
                    format_args!("the cancel request could not be delivered: {problem}"),
                    "end the backend with pg_terminate_backend",
                )
            })
    }
}
