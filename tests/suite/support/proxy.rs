//! A listener on a port of its own whose connections a test passes on as it likes. What is done with them is in `cut` and `faulty`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

/// A running proxy, on a thread of its own. It ends, with all its connections, when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Proxy {
    /// Starts a proxy that gives each connection of a client to `pass`.
    pub(crate) fn start<F>(pass: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Proxy
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let pass = Arc::new(pass);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                let accept = async {
                    loop {
                        let (client, _) = listener.accept().await.unwrap();
                        tokio::spawn(pass(client));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Proxy {
            address: listening.recv().unwrap(),
            stop: Some(stop),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
