//! Listeners, signals, and what it takes to dial.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use proxywhirl_net::{Dialer, DialerConfig, TlsConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};

/// Listens at `HOST:PORT`; port 0 takes a free one.
///
/// # Errors
/// When the address is none, is in use, or may not be used.
pub async fn bind(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let kind = error.kind();
        let (exit, hint) = if kind == ErrorKind::AddrInUse {
            (Exit::Environment, "another program listens there: choose another address, or port 0 for a free one")
        } else if kind == ErrorKind::PermissionDenied {
            (Exit::Environment, "ports below 1024 need privileges: choose a higher one")
        } else if kind == ErrorKind::InvalidInput {
            (Exit::Usage, "an address is HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
        } else {
            (Exit::Environment, "choose an address of this machine, such as 127.0.0.1:8080")
        };
        Failure::new(exit, format!("cannot listen at {address}: {error}")).hint(hint)
    })
}

/// Where a listener listens.
///
/// # Errors
/// When the operating system does not tell.
pub fn local_address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::new(Exit::Environment, error))
}

/// Cancels the token at SIGINT and SIGTERM. What a second signal does, for whom stopping takes too long, is said by `again`.
pub fn stop_on_signal(token: CancellationToken, again: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    // Now, and not when the task has its turn: whoever is told that this listens may send one at once.
    let signals = Signals::new();
    tokio::spawn(async move {
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                tracing::warn!(error = %error, "signals cannot be heard: end the program by killing it");
                return;
            }
        };
        signals.next().await;
        tracing::info!("stopping: open connections may finish; a second signal ends them");
        token.cancel();
        signals.next().await;
        again();
    })
}

/// SIGINT and SIGTERM that come from now on.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Ctrl-C from now on.
#[cfg(not(unix))]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// Whom to believe in TLS to proxies.
///
/// # Errors
/// When the file with certificates cannot be read.
pub fn tls_config(verify: bool, ca_file: Option<&Path>) -> Result<TlsConfig, Failure> {
    let extra_ca_pem = ca_file.map(std::fs::read).transpose().map_err(|error| {
        let file = ca_file.map(|file| file.display().to_string()).unwrap_or_default();
        Failure::new(Exit::Input, format!("certificates {file} cannot be read: {error}"))
    })?;
    Ok(TlsConfig { verify, extra_ca_pem })
}

/// What dials proxies.
///
/// # Errors
/// When the certificates are none.
pub fn dialer(tls: TlsConfig, connect_timeout: Duration) -> Result<Dialer, Failure> {
    Dialer::new(DialerConfig { connect_timeout, tls }).map_err(|error| Failure::new(Exit::Input, error))
}
