//! Which protocol a proxy speaks, found out by asking in each.
//!
//! The question is the beginning of the protocol's own handshake, and the answer counts when it is one of that protocol,
//! whatever it says: a refusal shows the protocol as well as a consent. A web server speaks HTTP, too; that it is no proxy
//! is found out by the next level.

use bytes::BytesMut;
use proxywhirl_core::{Endpoint, Fault, Kind, Scheme, Side, Stage};
use proxywhirl_net::{Dialer, Stream, Target, connect, http1, socks4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::probe::{self, dialled};

/// The most that is read of an HTTP answer.
const MAX_HEAD: usize = 16 * 1024;

/// What a proxy may speak, told apart by how it begins: SOCKS 4a and 5h only name their targets in another way.
const OTHERS: [Scheme; 4] = [Scheme::Http, Scheme::Socks5, Scheme::Socks4, Scheme::Https];

/// Whether a failure looks as if the other side spoke another protocol.
pub(super) const fn looks_foreign(fault: &Fault) -> bool {
    matches!(fault.side, Side::Upstream)
        && matches!(fault.stage, Stage::Tls | Stage::Handshake | Stage::FirstByte | Stage::Request | Stage::Auth)
        && matches!(fault.kind, Kind::Protocol | Kind::Closed | Kind::Reset | Kind::TooLarge | Kind::Tls)
}

/// The protocols that a proxy may speak which was taken for another.
pub(super) fn others(scheme: Scheme) -> impl Iterator<Item = Scheme> {
    OTHERS.into_iter().filter(move |other| *other != scheme)
}

/// The protocol that a proxy speaks, of those that it was not taken for. All are tried at once, because one that waits for
/// more than it is asked would use up the time of the others.
pub(super) async fn detect(dialer: &Dialer, endpoint: &Endpoint, target: &Target, deadline: Instant) -> Option<Scheme> {
    let tries = others(endpoint.scheme).map(|scheme| {
        Box::pin(async move {
            let asked = Endpoint { scheme, ..endpoint.clone() };
            speaks(dialer, &asked, target, deadline).await.map(|()| scheme)
        })
    });
    futures_util::future::select_ok(tries).await.ok().map(|(scheme, _)| scheme)
}

/// Asks a proxy in its own protocol.
pub(super) async fn speaks(
    dialer: &Dialer,
    endpoint: &Endpoint,
    target: &Target,
    deadline: Instant,
) -> Result<(), Fault> {
    let mut stream = dialled(deadline, dialer.connect(endpoint)).await?;
    let asked = async {
        match endpoint.scheme {
            Scheme::Http | Scheme::Https => http(&mut stream, endpoint, target).await,
            Scheme::Socks4 | Scheme::Socks4a => socks_4(&mut stream, endpoint, target).await,
            Scheme::Socks5 | Scheme::Socks5h => socks_5(&mut stream).await,
        }
    };
    probe::before(deadline, Stage::Handshake, asked).await
}

async fn http(stream: &mut Stream, endpoint: &Endpoint, target: &Target) -> Result<(), Fault> {
    let request = connect::encode_request(target, endpoint.credentials.as_deref());
    send(stream, &request).await?;
    let mut buffer = BytesMut::new();
    let head = http1::read_response(stream, &mut buffer, MAX_HEAD).await;
    head.map(|_| ()).map_err(|error| probe::fault(Stage::Handshake, error))
}

/// Version 5 and one method, none; the answer names a method, or 255 for none of these (RFC 1928 §3).
async fn socks_5(stream: &mut Stream) -> Result<(), Fault> {
    send(stream, &[5, 1, 0]).await?;
    match read(stream).await? {
        [5, 0..=3 | 255] => Ok(()),
        _ => Err(foreign("SOCKS 5")),
    }
}

async fn socks_4(stream: &mut Stream, endpoint: &Endpoint, target: &Target) -> Result<(), Fault> {
    let request = socks4::encode_request(target, endpoint.credentials.as_deref())?;
    send(stream, &request).await?;
    match read::<8>(stream).await? {
        [0, 90..=93, ..] => Ok(()),
        _ => Err(foreign("SOCKS 4")),
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), Fault> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| probe::fault(Stage::Handshake, error.into()))
}

async fn read<const N: usize>(stream: &mut Stream) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    match stream.read_exact(&mut bytes).await {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Fault::new(Side::Upstream, Stage::Handshake, Kind::Closed, "closed before its answer was complete"))
        }
        Err(error) => Err(probe::fault(Stage::Handshake, error.into())),
    }
}

fn foreign(protocol: &str) -> Fault {
    Fault::new(Side::Upstream, Stage::Handshake, Kind::Protocol, format!("the answer is not {protocol}"))
}
