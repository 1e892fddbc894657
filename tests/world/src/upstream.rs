//! A proxy server of one protocol, which serves well or fails in a chosen way ([`Behaviour`]), and counts what it did.

mod dial;
mod forward;
mod http;
mod meter;
mod mischief;
mod options;
mod socks;
mod tunnel;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::behaviour::Behaviour;
use crate::listen::{Listening, reserve};
use crate::wire::Wire;
pub use meter::Counters;
use meter::Meter;
pub use options::{Anonymity, Credentials, Destinations, Protocol, UpstreamOptions};

/// How long a client may take for a TLS or SOCKS handshake, or for a request's head on a kept connection.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// A running upstream; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Upstream {
    shared: Arc<Shared>,
    addr: SocketAddr,
    door: tokio::sync::Mutex<Door>,
}

/// The upstream's port. It stays ours while the upstream is dead, so that it can come back on it.
#[derive(Debug)]
enum Door {
    Open(Listening),
    Shut(TcpSocket),
    /// The port could not be taken back; the next change of behaviour tries again.
    Lost,
}

/// What the sessions of an upstream share. The behaviour is written by the handle, the meter by the sessions.
#[derive(Debug)]
struct Shared {
    options: UpstreamOptions,
    behaviour: Mutex<Behaviour>,
    meter: Meter,
}

/// One connection from a client.
struct Session {
    shared: Arc<Shared>,
    peer: SocketAddr,
    /// Its number, from 1, among all of the upstream's connections.
    number: u64,
}

impl Upstream {
    /// Starts an upstream.
    ///
    /// # Errors
    /// When the address is not a loopback address or cannot be bound, and when [`Protocol::Https`] has no certificate.
    // Asynchronous because sockets register with the runtime that it must be called in.
    pub async fn start(options: UpstreamOptions) -> io::Result<Self> {
        if options.protocol == Protocol::Https && options.tls.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "https upstream has no certificate"));
        }
        let socket = reserve(options.bind)?;
        let addr = socket.local_addr()?;
        let behaviour = options.behaviour;
        let shared = Arc::new(Shared { options, behaviour: Mutex::new(behaviour), meter: Meter::default() });
        let door = if behaviour == Behaviour::Dead { Door::Shut(socket) } else { Door::Open(open(socket, &shared)?) };
        Ok(Self { shared, addr, door: tokio::sync::Mutex::new(door) })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The protocol that it speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.shared.options.protocol
    }

    /// The credentials that it wants, if any.
    #[must_use]
    pub fn credentials(&self) -> Option<&Credentials> {
        self.shared.options.credentials.as_ref()
    }

    /// `scheme://[user:password@]address:port`, as a proxy list or `curl --proxy` has it.
    #[must_use]
    pub fn url(&self) -> String {
        let userinfo = self.credentials().map_or_else(String::new, Credentials::userinfo);
        format!("{}://{userinfo}{}", self.protocol(), self.addr)
    }

    /// How it behaves now.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.shared.behaviour()
    }

    /// Changes how it behaves, from the next request or handshake on. When this returns, a dead upstream refuses
    /// connections (its open ones end) and one that is no longer dead accepts them on the port that it had.
    ///
    /// # Errors
    /// When the port cannot be taken again.
    pub async fn set_behaviour(&self, behaviour: Behaviour) -> io::Result<()> {
        let mut door = self.door.lock().await;
        self.shared.set_behaviour(behaviour);
        let dead = behaviour == Behaviour::Dead;
        *door = match (std::mem::replace(&mut *door, Door::Lost), dead) {
            (Door::Open(listening), true) => {
                listening.stop().await;
                Door::Shut(reserve(self.addr)?)
            }
            (Door::Shut(socket), false) => Door::Open(open(socket, &self.shared)?),
            (Door::Lost, true) => Door::Shut(reserve(self.addr)?),
            (Door::Lost, false) => Door::Open(open(reserve(self.addr)?, &self.shared)?),
            (door @ Door::Open(_), false) | (door @ Door::Shut(_), true) => door,
        };
        Ok(())
    }

    /// What it did since it started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.meter.counters()
    }

    /// Who logged in with which password by HTTP or SOCKS5, for each request or handshake, oldest first. The last 10,000
    /// are kept.
    #[must_use]
    pub fn logins(&self) -> Vec<(String, String)> {
        self.shared.meter.logins()
    }

    /// What was asked of it, oldest first: `METHOD target` of each HTTP request, `CONNECT host:port` of each SOCKS
    /// request, the refused ones too. The last 10,000 are kept.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.shared.meter.seen()
    }
}

impl Shared {
    fn behaviour(&self) -> Behaviour {
        // A panic elsewhere leaves a behaviour that is still a behaviour.
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_behaviour(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }
}

fn open(socket: TcpSocket, shared: &Arc<Shared>) -> io::Result<Listening> {
    let shared = Arc::clone(shared);
    Listening::listen(socket, move |stream, peer| {
        let number = shared.meter.connected();
        let session = Session { shared: Arc::clone(&shared), peer, number };
        serve(stream, session)
    })
}

async fn serve(stream: TcpStream, session: Session) {
    if session.shared.behaviour() == Behaviour::Silent {
        return Wire::new(stream).hold_open().await;
    }
    match (session.shared.options.protocol, session.shared.options.tls.clone()) {
        (Protocol::Https, Some(config)) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            if let Ok(Ok(stream)) = tokio::time::timeout(CLIENT_TIMEOUT, handshake).await {
                http::serve(Wire::new(stream), &session).await;
            }
        }
        (Protocol::Http | Protocol::Https, _) => http::serve(Wire::new(stream), &session).await,
        (Protocol::Socks4 | Protocol::Socks4a | Protocol::Socks5 | Protocol::Socks5h, _) => {
            socks::serve(Wire::new(stream), &session).await;
        }
    }
}
