//! A way to a service that breaks: a proxy whose first connections are cut where the test says, and whose later ones hold.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::proxy::Proxy;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// After so many bytes of the client were passed on.
    AfterSent(usize),
    /// When the service begins its answer to a request after so many that were answered.
    AfterAnswers(usize),
}

/// The proxy. It ends when it is dropped.
pub(crate) struct CutProxy {
    proxy: Proxy,
    n_cut: Arc<AtomicUsize>,
}

impl CutProxy {
    /// Starts a proxy to `service`; the n-th connection is cut as the n-th of `cuts` says.
    pub(crate) fn start(service: SocketAddr, cuts: &[Cut]) -> CutProxy {
        let cuts = Mutex::new(cuts.iter().copied().collect::<VecDeque<Cut>>());
        let n_cut = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_cut);
        let proxy = Proxy::start(move |client| {
            let cut = cuts
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let counted = Arc::clone(&counted);
            async move {
                let service = TcpStream::connect(service).await.unwrap();
                if pass(client, service, cut).await {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        CutProxy { proxy, n_cut }
    }

    /// The service's endpoint by way of the proxy.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.proxy.address())
    }

    /// Connections that were cut so far.
    pub(crate) fn n_cut(&self) -> usize {
        self.n_cut.load(Ordering::SeqCst)
    }
}

/// Passes bytes on in both directions; true if the connection was cut on purpose.
async fn pass(client: TcpStream, service: TcpStream, cut: Option<Cut>) -> bool {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_service, mut to_service) = service.into_split();
    let asked = AtomicBool::new(false);
    let upwards = async {
        let (mut buffer, mut n_sent) = (vec![0; 16 << 10], 0);
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            asked.store(true, Ordering::SeqCst);
            n_sent += n;
            if matches!(cut, Some(Cut::AfterSent(limit)) if n_sent > limit) {
                return true;
            }
            if to_service.write_all(&buffer[..n]).await.is_err() {
                // A service may answer before it has read everything, and then reads no more.
                std::future::pending::<()>().await;
            }
        }
        false
    };
    let downwards = async {
        let (mut buffer, mut n_answers) = (vec![0; 16 << 10], 0);
        while let Ok(n @ 1..) = from_service.read(&mut buffer).await {
            // The first bytes after a request begin its answer: requests come one after another.
            if asked.swap(false, Ordering::SeqCst) {
                n_answers += 1;
            }
            if matches!(cut, Some(Cut::AfterAnswers(limit)) if n_answers > limit) {
                return true;
            }
            if to_client.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
        false
    };
    tokio::select! {
        cut = upwards => cut,
        cut = downwards => cut,
    }
}
