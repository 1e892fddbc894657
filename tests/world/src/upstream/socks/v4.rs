//! SOCKS4 and its extension 4a (names instead of addresses), from the server's side.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use super::super::dial::Target;
use super::super::tunnel::Said;
use super::super::{Protocol, Session};
use super::{Handshake, expect};
use crate::behaviour::Behaviour;
use crate::wire::{Stream, Wire};

const GRANTED: u8 = 0x5a;
const REJECTED: u8 = 0x5b;
const WRONG_USER: u8 = 0x5d;

/// Bytes of a user id or a name with its terminating zero.
const MAX_TEXT: u64 = 256;

pub(super) async fn read<S: Stream>(wire: &mut Wire<S>, session: &Session) -> io::Result<Handshake> {
    let options = &session.shared.options;
    let mut head = [0; 8];
    wire.reader.read_exact(&mut head).await?;
    let [version, command, high, low, a, b, c, d] = head;
    expect(version, 4, "version is not socks4")?;
    let user = read_text(wire).await?;
    let port = u16::from_be_bytes([high, low]);
    let host = match [a, b, c, d] {
        [0, 0, 0, 1..=255] => {
            let name = read_text(wire).await?;
            if options.protocol == Protocol::Socks4 {
                return Ok(Handshake::Refused(reply(REJECTED)));
            }
            String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?
        }
        octets => Ipv4Addr::from(octets).to_string(),
    };
    let portal = session.shared.behaviour() == Behaviour::AlwaysOk;
    let admitted = portal || options.credentials.as_ref().is_none_or(|wanted| wanted.user.as_bytes() == user);
    if !admitted {
        session.shared.meter.auth_failed();
        return Ok(Handshake::Refused(reply(WRONG_USER)));
    }
    if command != 1 || port == 0 || host.is_empty() {
        return Ok(Handshake::Refused(reply(REJECTED)));
    }
    Ok(Handshake::Wants(Target { host, port }))
}

pub(super) fn words(said: Said) -> Vec<u8> {
    match said {
        Said::Open(_) => reply(GRANTED),
        Said::Refused(_) | Said::Failed(_) => reply(REJECTED),
    }
}

fn reply(code: u8) -> Vec<u8> {
    vec![0, code, 0, 0, 0, 0, 0, 0]
}

/// Text up to a zero.
async fn read_text<S: Stream>(wire: &mut Wire<S>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    (&mut wire.reader).take(MAX_TEXT).read_until(0, &mut text).await?;
    if text.pop() == Some(0) {
        Ok(text)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "text without a terminating zero"))
    }
}
