//! Where clients come in: addresses, ranges of ports, sockets of this machine, each with what is particular about it.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proxywhirl_gateway::access::Access;
use proxywhirl_gateway::wanted::session_hash;
use proxywhirl_gateway::{Door, Drained, Gateway, Turns};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::net::{bind, local_address};
use crate::config::Settings;
use crate::config::listeners::{ListenAt, ListenerSettings, TlsSection};
use crate::exit::{Exit, Failure};

/// A place where clients come in, and nobody has been let in yet.
pub struct Entrance {
    /// What commands call it.
    pub name: String,
    /// Where it listens, as a client has to know it.
    pub place: String,
    listener: Listener,
    door: Door,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A socket in the file system: it goes with its listener.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever has removed it before did what this does.
        std::fs::remove_file(&self.0).ok();
    }
}

impl Entrance {
    /// When requests here get another proxy.
    #[must_use]
    pub fn turns(&self) -> Arc<Turns> {
        Arc::clone(&self.door.turns)
    }

    /// Where a client that knows nothing of this gateway can use it: without TLS and without a password.
    #[must_use]
    pub fn plain_address(&self) -> Option<&str> {
        let is_plain = matches!(self.listener, Listener::Tcp(_)) && self.door.tls.is_none();
        (is_plain && self.door.access.is_open()).then_some(self.place.as_str())
    }

    /// Whether other machines can reach it.
    fn is_exposed(&self) -> bool {
        match &self.listener {
            Listener::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| !address.ip().to_canonical().is_loopback())
            }
            Listener::Unix(..) => false,
        }
    }

    async fn serve(self, gateway: Gateway, shutdown: CancellationToken) -> Drained {
        let gateway = gateway.behind(self.door);
        match self.listener {
            Listener::Tcp(listener) => gateway.serve(listener, shutdown).await,
            Listener::Unix(listener, _file) => gateway.serve_unix(listener, shutdown).await,
        }
    }
}

/// Listens everywhere that the settings say.
///
/// # Errors
/// When an address cannot be had, a certificate cannot be used, or other machines could use the gateway without a password
/// and nobody said that they may.
pub async fn open(settings: &Settings) -> Result<Vec<Entrance>, Failure> {
    let access = Arc::new(settings.access.access().map_err(|why| Failure::new(Exit::Environment, why))?);
    let mut entrances = Vec::new();
    if let Some(address) = &settings.listen {
        let door = Door { access: Arc::clone(&access), ..Door::default() };
        entrances.push(tcp(address.clone(), address, door).await?);
    }
    for listener in &settings.listeners {
        entrances.extend(of(listener, &access).await?);
    }
    let exposed = entrances.iter().find(|entrance| entrance.is_exposed() && access.is_open());
    match exposed {
        Some(entrance) if !settings.insecure => Err(Failure::new(
            Exit::Usage,
            format!("other machines can reach {}, and nobody would have to log in", entrance.place),
        )
        .hint("name users in the configuration ([[users]], see `proxywhirl user hash`), listen at 127.0.0.1, or say --insecure")),
        Some(entrance) => {
            tracing::warn!(listen = entrance.place, "other machines can reach this address, and nobody has to log in");
            Ok(entrances)
        }
        None => Ok(entrances),
    }
}

/// Serves the clients of all of them until the token is cancelled, then lets them finish.
pub(super) async fn serve(gateway: &Gateway, entrances: Vec<Entrance>, shutdown: &CancellationToken) -> Drained {
    let mut serving = JoinSet::new();
    for entrance in entrances {
        serving.spawn(entrance.serve(gateway.clone(), shutdown.clone()));
    }
    let mut all = Drained { ended: 0, cut: 0 };
    while let Some(drained) = serving.join_next().await {
        match drained {
            Ok(drained) => {
                all.ended += drained.ended;
                all.cut += drained.cut;
            }
            Err(error) => tracing::error!(%error, "a listener has panicked"),
        }
    }
    all
}

async fn of(listener: &ListenerSettings, access: &Arc<Access>) -> Result<Vec<Entrance>, Failure> {
    let tls = listener.tls.as_ref().map(acceptor).transpose()?;
    let door = |name: &str| Door {
        grammar: listener.grammar,
        wanted: listener.wanted.clone(),
        access: Arc::clone(access),
        tls: tls.clone(),
        turns: Arc::new(Turns::new(listener.rotation, name)),
    };
    let name = listener.name.clone();
    match &listener.address {
        ListenAt::Tcp(address) => Ok(vec![tcp(name.clone(), address, door(&name)).await?]),
        ListenAt::Unix(path) => Ok(vec![unix(name.clone(), path, door(&name)).await?]),
        ListenAt::Ports(host, first, last) => {
            let mut entrances = Vec::new();
            for port in *first..=*last {
                let address = format!("{host}:{port}");
                let mut door = door(&address);
                // What makes a range worth having: a port is a session.
                door.wanted.session = door.wanted.session.or(Some(session_hash(&format!("port {address}"))));
                entrances.push(tcp(name.clone(), &address, door).await?);
            }
            Ok(entrances)
        }
    }
}

async fn tcp(name: String, address: &str, door: Door) -> Result<Entrance, Failure> {
    let listener = bind(address).await?;
    let place = local_address(&listener)?;
    Ok(Entrance { name, place: place.to_string(), listener: Listener::Tcp(listener), door })
}

async fn unix(name: String, path: &Path, door: Door) -> Result<Entrance, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Environment, format!("cannot listen at {}: {error}", path.display()))
    };
    // What a gateway left that was killed: nobody answers there.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let place = format!("unix:{}", path.display());
    Ok(Entrance { name, place, listener: Listener::Unix(listener, file), door })
}

/// TLS with clients.
fn acceptor(files: &TlsSection) -> Result<TlsAcceptor, Failure> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display| {
        Failure::new(Exit::Input, format!("{} cannot be used for TLS: {why}", file.display()))
    };
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&files.certificate, &error))?;
    if certificates.is_empty() {
        return Err(wrong(&files.certificate, &"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| wrong(&files.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Where entrances are, in one line: those of a range are told by the first and the last of them.
#[must_use]
pub fn places(entrances: &[Entrance]) -> String {
    let mut places: Vec<String> = Vec::new();
    for group in entrances.chunk_by(|one, other| one.name == other.name) {
        match group {
            [only] => places.push(only.place.clone()),
            [first, .., last] => {
                let port = last.place.parse::<SocketAddr>().map_or(0, |address| address.port());
                places.push(format!("{}-{port}", first.place));
            }
            [] => {}
        }
    }
    places.join(", ")
}
