//! SOCKS5 (RFC 1928) with user name and password (RFC 1929), from the server's side.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;

use super::super::dial::Target;
use super::super::tunnel::Said;
use super::super::{Destinations, Session};
use super::{Handshake, expect};
use crate::behaviour::Behaviour;
use crate::wire::{Stream, Wire};

const NO_AUTH: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;

const SUCCEEDED: u8 = 0;
const REFUSED: u8 = 5;
const BAD_COMMAND: u8 = 7;
const BAD_ADDRESS_TYPE: u8 = 8;
const GENERAL_FAILURE: u8 = 1;

pub(super) async fn read<S: Stream>(wire: &mut Wire<S>, session: &Session) -> io::Result<Handshake> {
    if let Some(refusal) = authenticate(wire, session).await? {
        return Ok(refusal);
    }
    let mut head = [0; 4];
    wire.reader.read_exact(&mut head).await?;
    let [version, command, _, address_type] = head;
    expect(version, 5, "version is not socks5")?;
    let host = match address_type {
        1 => {
            let mut octets = [0; 4];
            wire.reader.read_exact(&mut octets).await?;
            Ipv4Addr::from(octets).to_string()
        }
        3 => {
            let name = read_text(wire).await?;
            if session.shared.options.destinations == Destinations::AddressesOnly {
                return Ok(refused(BAD_ADDRESS_TYPE));
            }
            String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?
        }
        4 => {
            let mut octets = [0; 16];
            wire.reader.read_exact(&mut octets).await?;
            Ipv6Addr::from(octets).to_string()
        }
        _ => return Ok(refused(BAD_ADDRESS_TYPE)),
    };
    let port = wire.reader.read_u16().await?;
    if command != 1 {
        return Ok(refused(BAD_COMMAND));
    }
    if port == 0 || host.is_empty() {
        return Ok(refused(GENERAL_FAILURE));
    }
    Ok(Handshake::Wants(Target { host, port }))
}

/// The greeting and what follows from it; a refusal when the client is not let in.
async fn authenticate<S: Stream>(wire: &mut Wire<S>, session: &Session) -> io::Result<Option<Handshake>> {
    let version = wire.reader.read_u8().await?;
    expect(version, 5, "version is not socks5")?;
    let offered = read_text(wire).await?;
    let options = &session.shared.options;
    let wanted = options.credentials.as_ref();
    let portal = session.shared.behaviour() == Behaviour::AlwaysOk;
    let method = match wanted {
        None if offered.contains(&NO_AUTH) && !options.any_login => NO_AUTH,
        _ if (wanted.is_some() || options.any_login) && !portal && offered.contains(&PASSWORD) => PASSWORD,
        _ if portal && offered.contains(&NO_AUTH) => NO_AUTH,
        _ if portal && offered.contains(&PASSWORD) => PASSWORD,
        _ => {
            if wanted.is_some() || options.any_login {
                session.shared.meter.auth_failed();
            }
            return Ok(Some(Handshake::Refused(vec![5, NO_METHOD])));
        }
    };
    wire.send(&[5, method]).await?;
    if method == NO_AUTH {
        return Ok(None);
    }
    let version = wire.reader.read_u8().await?;
    expect(version, 1, "version of the password exchange is not 1")?;
    let user = read_text(wire).await?;
    let password = read_text(wire).await?;
    let is_right =
        wanted.is_some_and(|wanted| wanted.user.as_bytes() == user && wanted.password.as_bytes() == password);
    if portal || options.any_login || is_right {
        session.shared.meter.logged_in(&String::from_utf8_lossy(&user), &String::from_utf8_lossy(&password));
        wire.send(&[1, 0]).await?;
        return Ok(None);
    }
    session.shared.meter.auth_failed();
    Ok(Some(Handshake::Refused(vec![1, 1])))
}

pub(super) fn words(said: Said) -> Vec<u8> {
    match said {
        Said::Open(bound) => reply(SUCCEEDED, bound),
        Said::Refused(_) => reply(REFUSED, None),
        Said::Failed(fault) => reply(fault.socks5_code(), None),
    }
}

fn refused(code: u8) -> Handshake {
    Handshake::Refused(reply(code, None))
}

fn reply(code: u8, bound: Option<SocketAddr>) -> Vec<u8> {
    let bound = bound.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let mut out = vec![5, code, 0];
    match bound.ip() {
        IpAddr::V4(ip) => {
            out.push(1);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&bound.port().to_be_bytes());
    out
}

/// Bytes after a byte that says how many.
async fn read_text<S: Stream>(wire: &mut Wire<S>) -> io::Result<Vec<u8>> {
    let length = wire.reader.read_u8().await?;
    let mut text = vec![0; usize::from(length)];
    wire.reader.read_exact(&mut text).await?;
    Ok(text)
}
