//! One socket to one server, with or without TLS: opening it, the TLS request and handshake. What is said over it is left to others.

use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::settings::{Host, Keepalives, SslNegotiation};
use super::tap::{BackendKey, Tap};
use super::tls;

/// Protocol code 1234.5679 asks for TLS, 1234.5678 for a cancel (manual 55.7).
const TLS_REQUEST: u32 = (1234 << 16) + 5679;
const CANCEL_REQUEST: u32 = (1234 << 16) + 5678;

/// Where exactly to connect.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// A socket file; `@` at the start stands for the abstract namespace.
    Unix(String),
    /// A resolved address.
    Tcp(SocketAddr),
}

/// How TLS takes part.
#[derive(Clone)]
pub(super) enum Encryption {
    /// Not at all.
    Off,
    /// If the server has it.
    IfOffered(Arc<ClientConfig>),
    /// Or no connection.
    Required(Arc<ClientConfig>, SslNegotiation),
}

/// How far opening came.
#[derive(Debug)]
pub(super) enum WireError {
    /// No socket, or it broke.
    Io(io::Error),
    /// The server does not offer TLS.
    NotOffered,
    /// The TLS handshake failed.
    Handshake(io::Error),
    /// The host name cannot stand in a certificate.
    BadName(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Io(e) => write!(f, "{e}"),
            WireError::NotOffered => f.write_str("the server does not offer TLS"),
            WireError::Handshake(e) => write!(f, "the TLS handshake failed: {e}"),
            WireError::BadName(name) => {
                write!(f, "{name:?} cannot be the name in a certificate")
            }
        }
    }
}

impl From<io::Error> for WireError {
    fn from(e: io::Error) -> Self {
        WireError::Io(e)
    }
}

/// An open connection before anything was said on it.
pub(super) enum Wire {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket; never encrypted.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Wire {
    /// True if it is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Wire::Tls(_))
    }

    /// Opens a connection and, where asked, TLS on it.
    pub(super) async fn open(
        host: &Host,
        address: &Address,
        encryption: &Encryption,
        keepalives: &Keepalives,
    ) -> Result<Wire, WireError> {
        let address = match address {
            Address::Unix(path) => {
                let path = match path.strip_prefix('@') {
                    Some(name) => format!("\0{name}"),
                    None => path.clone(),
                };
                return Ok(Wire::Unix(UnixStream::connect(path).await?));
            }
            Address::Tcp(address) => *address,
        };
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        keep_alive(&socket, keepalives)?;
        let config = match encryption {
            Encryption::Off => return Ok(Wire::Tcp(socket)),
            Encryption::IfOffered(config) => {
                if !request_tls(&mut socket).await? {
                    return Ok(Wire::Tcp(socket));
                }
                config
            }
            Encryption::Required(config, negotiation) => {
                if *negotiation == SslNegotiation::Postgres && !request_tls(&mut socket).await? {
                    return Err(WireError::NotOffered);
                }
                config
            }
        };
        let name = match host.name.as_str() {
            "" => ServerName::from(address.ip()),
            name => ServerName::try_from(name.to_owned())
                .map_err(|_| WireError::BadName(name.to_owned()))?,
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        let stream = connector
            .connect(name, socket)
            .await
            .map_err(WireError::Handshake)?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    /// Sends a cancel request and waits until the server has closed the connection, that is, has acted on it.
    pub(super) async fn request_cancel(mut self, key: BackendKey) -> io::Result<()> {
        let mut message = Vec::with_capacity(16);
        message.extend(16_u32.to_be_bytes());
        message.extend(CANCEL_REQUEST.to_be_bytes());
        message.extend(key.pid.to_be_bytes());
        message.extend(key.secret.to_be_bytes());
        self.write_all(&message).await?;
        self.flush().await?;
        // The server answers nothing; an unclean end is as good as a clean one.
        let _ = self.read(&mut [0]).await;
        Ok(())
    }

    fn channel_binding(&self) -> ChannelBinding {
        let Wire::Tls(stream) = self else {
            return ChannelBinding::none();
        };
        let certificates = stream.get_ref().1.peer_certificates();
        certificates
            .and_then(<[_]>::first)
            .and_then(tls::server_end_point)
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// Asks for TLS; exactly one byte is read, so nothing that was sent in the clear can be taken for a part of the session.
async fn request_tls(socket: &mut TcpStream) -> Result<bool, WireError> {
    let mut message = [0; 8];
    message[..4].copy_from_slice(&8_u32.to_be_bytes());
    message[4..].copy_from_slice(&TLS_REQUEST.to_be_bytes());
    socket.write_all(&message).await?;
    match socket.read_u8().await? {
        b'S' => Ok(true),
        // `E`: the server could not even start a backend; the same will be said again in the clear.
        b'N' | b'E' => Ok(false),
        byte => Err(WireError::Io(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the answer to the TLS request is {byte:#04x}: this is no PostgreSQL server"),
        ))),
    }
}

fn keep_alive(socket: &TcpStream, keepalives: &Keepalives) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if keepalives.on {
        let mut probes = TcpKeepalive::new();
        if let Some(idle) = keepalives.idle {
            probes = probes.with_time(idle);
        }
        if let Some(interval) = keepalives.interval {
            probes = probes.with_interval(interval);
        }
        if let Some(count) = keepalives.count {
            probes = probes.with_retries(count);
        }
        socket.set_keepalive(true)?;
        socket.set_tcp_keepalive(&probes)?;
    }
    #[cfg(target_os = "linux")]
    if keepalives.user_timeout.is_some() {
        socket.set_tcp_user_timeout(keepalives.user_timeout)?;
    }
    Ok(())
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Tcp(s) => Pin::new(s).poll_read(cx, out),
            Wire::Unix(s) => Pin::new(s).poll_read(cx, out),
            Wire::Tls(s) => Pin::new(s).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Wire::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Wire::Tls(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Tcp(s) => Pin::new(s).poll_flush(cx),
            Wire::Unix(s) => Pin::new(s).poll_flush(cx),
            Wire::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// A tapped wire that tells tokio-postgres its channel binding. For tokio-postgres it is always "the TLS stream", plain or not.
pub(super) struct TappedWire(Tap<Wire>);

/// Hands the finished wire over where tokio-postgres would start TLS.
pub(super) struct HandOver;

impl TlsConnect<Tap<Wire>> for HandOver {
    type Stream = TappedWire;
    type Error = io::Error;
    type Future = Ready<io::Result<TappedWire>>;

    fn connect(self, tap: Tap<Wire>) -> Self::Future {
        ready(Ok(TappedWire(tap)))
    }
}

impl TlsStream for TappedWire {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.inner().channel_binding()
    }
}

impl AsyncRead for TappedWire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, out)
    }
}

impl AsyncWrite for TappedWire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
