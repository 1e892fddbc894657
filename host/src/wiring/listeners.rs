//! Where clients come in: addresses, ranges of ports, sockets of this machine, each with what is particular about it.
//!
//! They come and go while the gateway runs ([`Entrances`]): a place that is wanted as before keeps its socket, whatever else
//! about it has changed.

mod running;
mod spot;

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use proxywhirl_gateway::access::Access;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::net::{bind, local_address};
use crate::config::Settings;
use crate::exit::{Exit, Failure};
use crate::socket_file::SocketFile;
pub use running::{Change, Entrances};
pub use spot::tls_refused;
use spot::{At, Spot};

/// A place where clients come in, and nobody has been let in yet.
pub struct Entrance {
    spot: Spot,
    /// Where it listens, as a client has to know it.
    place: String,
    listener: Listener,
}

/// All places, and who may come in.
pub struct Opened {
    entrances: Vec<Entrance>,
    access: Arc<Access>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Bound),
}

/// A socket in the file system: its file goes with its listener.
struct Bound(SocketFile);

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl Listener {
    /// Whether other machines can reach it.
    fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| !address.ip().to_canonical().is_loopback())
            }
            Self::Unix(..) => false,
        }
    }

    /// The file of its socket.
    fn file(&self) -> Option<&SocketFile> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(_, bound) => Some(&bound.0),
        }
    }
}

/// Where the settings want clients to come in, and what files say about it.
pub struct Spots(Vec<Spot>);

/// Reads what files say about where clients are to come in. Blocks.
///
/// # Errors
/// When a certificate cannot be used.
pub fn spots(settings: &Settings) -> Result<Spots, Failure> {
    spot::all(settings).map(Spots)
}

/// Listens everywhere that the settings say.
///
/// # Errors
/// When an address cannot be had, a certificate cannot be used, or other machines could use the gateway without a password
/// and nobody said that they may.
pub async fn open(settings: &Settings) -> Result<Opened, Failure> {
    let access = Arc::new(settings.access.access().map_err(|why| Failure::new(Exit::Environment, why))?);
    let mut entrances = Vec::new();
    for spot in spot::all(settings)? {
        entrances.push(listen(spot).await?);
    }
    let exposed = entrances.iter().filter(|entrance| entrance.listener.is_exposed());
    may_be_reached(settings, exposed.map(|entrance| entrance.place.as_str()))?;
    Ok(Opened { entrances, access })
}

/// Whether other machines may reach these places.
fn may_be_reached<'a>(settings: &Settings, mut exposed: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let Some(place) = exposed.next().filter(|_| settings.access.users.is_empty()) else { return Ok(()) };
    if settings.insecure {
        tracing::warn!(listen = place, "other machines can reach this address, and nobody has to log in");
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        format!("other machines can reach {place}, and nobody would have to log in"),
    )
    .hint("name users in the configuration ([[users]], see `proxywhirl user hash`), listen at 127.0.0.1, or say --insecure"))
}

async fn listen(spot: Spot) -> Result<Entrance, Failure> {
    let (listener, place) = match &spot.at {
        At::Tcp(address) => {
            let listener = bind(address).await?;
            let place = local_address(&listener)?.to_string();
            (Listener::Tcp(listener), place)
        }
        At::Unix(path) => (unix(path).await?, format!("unix:{}", path.display())),
    };
    Ok(Entrance { spot, place, listener })
}

async fn unix(path: &Path) -> Result<Listener, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Environment, format!("cannot listen at {}: {error}", path.display()))
    };
    // What a gateway left that was killed: nobody answers there.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let bound = Bound(SocketFile::at(path).map_err(failed)?);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listener::Unix(listener, bound))
}

/// Where entrances are, in one line: those of a range are told by the first and the last of them.
fn in_one_line<'a>(places: &[(&'a str, &'a str)]) -> String {
    let mut told: Vec<String> = Vec::new();
    for group in places.chunk_by(|(one, _), (other, _)| one == other) {
        match group {
            [(_, only)] => told.push((*only).to_owned()),
            [(_, first), .., (_, last)] => {
                let port = last.parse::<SocketAddr>().map_or(0, |address| address.port());
                told.push(format!("{first}-{port}"));
            }
            [] => {}
        }
    }
    told.join(", ")
}
