//! Listeners that belong to somebody. A [`Listening`] owns its accept loop, and the loop owns the sessions that
//! it started, so dropping the one handle ends them all; there is no task without an owner.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Sessions at once on one listener. Past it the kernel's backlog holds new connections back.
const MAX_SESSIONS: usize = 8_192;
/// The kernel's usual ceiling; benchmarks open their connections in one burst.
const BACKLOG: u32 = 4_096;
/// How long the accept loop rests when the process is out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(10);

/// A listening socket with its sessions; dropping it closes both.
#[derive(Debug)]
pub(crate) struct Listening {
    addr: SocketAddr,
    tasks: JoinSet<()>,
}

impl Listening {
    /// Binds `addr` (a loopback address) and serves each connection with `session`.
    pub(crate) fn bind<F, S>(addr: SocketAddr, session: F) -> io::Result<Self>
    where
        F: Fn(TcpStream, SocketAddr) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        Self::listen(reserve(addr)?, session)
    }

    /// Serves on a socket that is bound but does not listen yet.
    pub(crate) fn listen<F, S>(socket: TcpSocket, session: F) -> io::Result<Self>
    where
        F: Fn(TcpStream, SocketAddr) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, session));
        Ok(Self { addr, tasks })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops listening; when it returns, the port refuses connections.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept<F, S>(listener: TcpListener, session: F)
where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut sessions = JoinSet::new();
    loop {
        while sessions.try_join_next().is_some() {}
        if sessions.len() >= MAX_SESSIONS {
            sessions.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A socket that refuses the option is still a socket; it is only slower.
                stream.set_nodelay(true).ok();
                sessions.spawn(session(stream, peer));
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

/// Binds a socket without listening: the port is ours, and refuses connections.
pub(crate) fn reserve(addr: SocketAddr) -> io::Result<TcpSocket> {
    if !addr.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("listen address {addr} is not a loopback address"),
        ));
    }
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A port that was just given up has connections in TIME_WAIT; without this it could not be taken back.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr).map_err(|error| io::Error::new(error.kind(), format!("bind {addr}: {error}")))?;
    Ok(socket)
}

/// A port on `127.0.0.1` on which nothing listens, as long as this guard lives: connecting is refused at once, and
/// no other test can be given the port meanwhile.
#[derive(Debug)]
pub struct ClosedPort {
    addr: SocketAddr,
    _socket: TcpSocket,
}

impl ClosedPort {
    /// The address that refuses connections.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Reserves a port on `127.0.0.1` on which nothing listens.
///
/// # Errors
/// When no socket can be bound.
pub fn closed_port() -> io::Result<ClosedPort> {
    let socket = reserve(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(ClosedPort { addr: socket.local_addr()?, _socket: socket })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_refuses_connections() {
        let port = closed_port().unwrap();
        let error = TcpStream::connect(port.addr()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_stopped_listener_refuses_connections() {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listening = Listening::bind(addr, |_, _| async {}).unwrap();
        let addr = listening.addr();
        TcpStream::connect(addr).await.unwrap();
        listening.stop().await;
        TcpStream::connect(addr).await.unwrap_err();
    }

    #[test]
    fn an_address_outside_loopback_is_refused() {
        let error = reserve(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
