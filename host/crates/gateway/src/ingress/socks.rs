//! The server's side of SOCKS 4, 4a and 5 (RFC 1928), as functions of bytes.
//!
//! A parser is given what has come so far and answers how much of it is a message, that more is needed, or which reply
//! ends the session. No message is longer than [`MAX_MESSAGE`], so no client can make the gateway keep more.

use std::net::Ipv4Addr;

use proxywhirl_core::{Fault, Host, Kind, Secret, Side};
use proxywhirl_engine::Denial;
use proxywhirl_net::Target;

use super::{target, target_at};
use crate::tunnel::Manner;

/// The longest message: SOCKS 4a with a user name of 255 bytes and a host name of 255.
pub(crate) const MAX_MESSAGE: usize = 8 + 256 + 256;
/// The longest user name and host name that are read.
const MAX_TEXT: usize = 255;

const CONNECT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const PASSWORD: u8 = 2;

/// A message and its length in bytes, or that it is not whole yet.
type Parsed<T> = Result<Option<(T, usize)>, Refusal>;

/// Why a client is sent away: the reply code of SOCKS 5, the words for the log, and what it counts as.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u8,
    pub(crate) why: String,
    pub(crate) denial: Option<Denial>,
}

impl Refusal {
    pub(crate) fn new(code: u8, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), denial: Some(Denial::Malformed) }
    }
}

/// The replies of RFC 1928 §6 that the gateway gives.
pub(crate) mod code {
    pub(crate) const SUCCEEDED: u8 = 0;
    pub(crate) const GENERAL: u8 = 1;
    pub(crate) const NOT_ALLOWED: u8 = 2;
    pub(crate) const NETWORK_UNREACHABLE: u8 = 3;
    pub(crate) const HOST_UNREACHABLE: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    pub(crate) const TTL_EXPIRED: u8 = 6;
    pub(crate) const COMMAND: u8 = 7;
    pub(crate) const ADDRESS_TYPE: u8 = 8;
}

/// How a client of SOCKS 5 says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not at all.
    None,
    /// By user name and password (RFC 1929).
    Password,
}

impl Method {
    /// The answer to a greeting.
    pub(crate) const fn accepted(self) -> [u8; 2] {
        match self {
            Self::None => [5, NO_AUTHENTICATION],
            Self::Password => [5, PASSWORD],
        }
    }
}

/// The answer to a user name with which the gateway can do something.
pub(crate) const PASSWORD_ACCEPTED: [u8; 2] = [1, 0];
/// The answer to one with which it cannot.
pub(crate) const PASSWORD_REFUSED: [u8; 2] = [1, 1];
/// The answer to a greeting that offers nothing that the gateway takes.
pub(crate) const METHODS_REFUSED: [u8; 2] = [5, 0xff];

/// The reply of SOCKS 5. The bound address is left empty, as a gateway does not know the one of its upstream.
pub(crate) const fn reply5(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// The reply of SOCKS 4: granted or not, nothing between.
pub(crate) const fn reply4(granted: bool) -> [u8; 8] {
    [0, if granted { 90 } else { 91 }, 0, 0, 0, 0, 0, 0]
}

/// Reads the greeting of SOCKS 5: the method to go on with, or that the gateway takes none of what is offered. A client
/// that offers a user name has one, and what it says is worth reading.
pub(crate) fn greeting(bytes: &[u8]) -> Option<(Option<Method>, usize)> {
    let count = usize::from(*bytes.get(1)?);
    let methods = bytes.get(2..2 + count)?;
    let method = if methods.contains(&PASSWORD) {
        Some(Method::Password)
    } else {
        methods.contains(&NO_AUTHENTICATION).then_some(Method::None)
    };
    Some((method, 2 + count))
}

/// Reads user name and password (RFC 1929 §2).
pub(crate) fn password(bytes: &[u8]) -> Parsed<(String, Secret)> {
    let [version, length, rest @ ..] = bytes else { return Ok(None) };
    if *version != 1 {
        return Err(Refusal::new(code::GENERAL, format!("a user name and password of version {version}")));
    }
    let length = usize::from(*length);
    let (Some(user), Some(password)) = (rest.get(..length), rest.get(length)) else { return Ok(None) };
    let end = length + 1 + usize::from(*password);
    let Some(password) = rest.get(length + 1..end) else { return Ok(None) };
    let user = String::from_utf8_lossy(user).into_owned();
    // Of nearly all, a view of the bytes: nothing is left behind.
    let password = Secret::new(&*String::from_utf8_lossy(password));
    Ok(Some(((user, password), 2 + end)))
}

/// Reads the request of SOCKS 5.
pub(crate) fn request5(bytes: &[u8]) -> Parsed<Target> {
    let (command, kind, rest) = match bytes {
        [version, ..] if *version != 5 => {
            return Err(Refusal::new(code::GENERAL, format!("a SOCKS 5 request of version {version}")));
        }
        [_, command, _, kind, rest @ ..] => (*command, *kind, rest),
        _ => return Ok(None),
    };
    if command != CONNECT {
        let why = format!("SOCKS command {command}: only CONNECT (1) is served");
        return Err(Refusal::new(code::COMMAND, why));
    }
    let Some((address, length)) = address5(kind, rest)? else { return Ok(None) };
    let Some([high, low]) = rest.get(length..length + 2) else { return Ok(None) };
    let port = u16::from_be_bytes([*high, *low]);
    let target = match address {
        Address::At(host) => at(host, port)?,
        Address::Named(name) => named(name, port)?,
    };
    Ok(Some((target, 4 + length + 2)))
}

/// Where a client of SOCKS 5 wants to go.
enum Address<'b> {
    At(Host),
    Named(&'b str),
}

/// Reads the address of SOCKS 5, whose form its type says, and its length in bytes.
fn address5(kind: u8, bytes: &[u8]) -> Parsed<Address<'_>> {
    match kind {
        1 => Ok(bytes.first_chunk().map(|octets: &[u8; 4]| (Address::At(Host::V4((*octets).into())), 4))),
        4 => Ok(bytes.first_chunk().map(|octets: &[u8; 16]| (Address::At(Host::V6((*octets).into())), 16))),
        3 => {
            let Some(length) = bytes.first().map(|length| 1 + usize::from(*length)) else { return Ok(None) };
            bytes.get(1..length).map(|name| Ok((Address::Named(text(name)?), length))).transpose()
        }
        _ => Err(Refusal::new(code::ADDRESS_TYPE, format!("SOCKS address type {kind}"))),
    }
}

/// What a client of SOCKS 4 or 4a asks for.
#[derive(Debug)]
pub(crate) struct Request4 {
    pub(crate) target: Target,
    pub(crate) manner: Manner,
    /// Its user name; empty for none.
    pub(crate) user: String,
}

/// Reads the request of SOCKS 4 or 4a.
pub(crate) fn request4(bytes: &[u8]) -> Parsed<Request4> {
    let [_, command, high, low, a, b, c, d, rest @ ..] = bytes else { return Ok(None) };
    if *command != CONNECT {
        let why = format!("SOCKS command {command}: only CONNECT (1) is served");
        return Err(Refusal::new(code::COMMAND, why));
    }
    let port = u16::from_be_bytes([*high, *low]);
    let Some(user) = terminated(rest, "user name")? else { return Ok(None) };
    let address = Ipv4Addr::new(*a, *b, *c, *d);
    // 0.0.0.x, with x not 0, says that a name follows: that is all that 4a adds.
    if !(address.octets().starts_with(&[0, 0, 0]) && *d != 0) {
        let target = at(Host::V4(address), port)?;
        let length = 8 + user.len() + 1;
        let user = String::from_utf8_lossy(user).into_owned();
        return Ok(Some((Request4 { target, manner: Manner::Socks4, user }, length)));
    }
    let Some(name) = terminated(rest.get(user.len() + 1..).unwrap_or_default(), "host name")? else {
        return Ok(None);
    };
    let target = named(text(name)?, port)?;
    let length = 8 + user.len() + 1 + name.len() + 1;
    let user = String::from_utf8_lossy(user).into_owned();
    Ok(Some((Request4 { target, manner: Manner::Socks4a, user }, length)))
}

/// The bytes before a NUL; none when it has not come yet.
fn terminated<'b>(bytes: &'b [u8], what: &str) -> Result<Option<&'b [u8]>, Refusal> {
    match bytes.iter().take(MAX_TEXT + 1).position(|byte| *byte == 0) {
        Some(end) => Ok(bytes.get(..end)),
        None if bytes.len() > MAX_TEXT => {
            Err(Refusal::new(code::GENERAL, format!("a SOCKS {what} of more than {MAX_TEXT} bytes")))
        }
        None => Ok(None),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| Refusal::new(code::GENERAL, "a host name that is not UTF-8"))
}

fn named(host: &str, port: u16) -> Result<Target, Refusal> {
    target(host, port).map_err(|why| Refusal::new(code::GENERAL, why))
}

fn at(host: Host, port: u16) -> Result<Target, Refusal> {
    target_at(host, port).map_err(|why| Refusal::new(code::GENERAL, why))
}

/// The reply of SOCKS 5 that tells a client of a fault.
pub(crate) fn code_of(fault: &Fault) -> u8 {
    match (fault.side, fault.kind) {
        // What a SOCKS upstream said about the origin is passed on as it was.
        (Side::Origin, Kind::Unreachable) if fault.code == Some(u16::from(code::NETWORK_UNREACHABLE)) => {
            code::NETWORK_UNREACHABLE
        }
        (Side::Origin, Kind::Refused) => code::REFUSED,
        (Side::Origin, Kind::Unreachable | Kind::NotFound) => code::HOST_UNREACHABLE,
        (_, Kind::Timeout) => code::TTL_EXPIRED,
        (Side::Client, Kind::Denied) => code::NOT_ALLOWED,
        _ => code::GENERAL,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proxywhirl_core::Stage;

    use super::*;

    fn target5(address: &[u8]) -> Result<String, u8> {
        let bytes = [&[5, 1, 0], address].concat();
        request5(&bytes).map(|parsed| parsed.unwrap().0.to_string()).map_err(|refusal| refusal.code)
    }

    fn request_of(user: &str, ip: [u8; 4], name: &str) -> Vec<u8> {
        let mut bytes = vec![4, 1, 0, 80];
        bytes.extend(ip);
        bytes.extend(user.as_bytes());
        bytes.push(0);
        if ip[..3] == [0, 0, 0] && ip[3] != 0 {
            bytes.extend(name.as_bytes());
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn every_address_type_of_socks5_is_read() {
        assert_eq!(target5(&[1, 3, 0, 0, 1, 0, 80]).unwrap(), "3.0.0.1:80");
        assert_eq!(target5(b"\x03\x0bexample.com\x01\xbb").unwrap(), "example.com:443");
        assert_eq!(target5(b"\x03\x03a.b\x00\x50").unwrap(), "a.b:80");
        assert_eq!(target5(&[&[4][..], &[0; 15], &[1, 0, 80]].concat()).unwrap(), "[::1]:80");
        assert_eq!(target5(b"\x03\x091.2.3.4.5\x00\x50").unwrap_err(), code::GENERAL);
        assert_eq!(target5(b"\x03\x00\x00\x50").unwrap_err(), code::GENERAL);
        assert_eq!(target5(b"\x03\x01\xff\x00\x50").unwrap_err(), code::GENERAL);
        assert_eq!(target5(&[1, 1, 2, 3, 4, 0, 0]).unwrap_err(), code::GENERAL);
        assert_eq!(target5(&[2, 1, 2, 3, 4, 0, 80]).unwrap_err(), code::ADDRESS_TYPE);
    }

    #[test]
    fn only_connect_is_served() {
        for command in [0, 2, 3, 0xf0] {
            assert_eq!(request5(&[5, command, 0, 1, 1, 2, 3, 4, 0, 80]).unwrap_err().code, code::COMMAND);
        }
        assert_eq!(request4(&[4, 2, 0, 80, 1, 2, 3, 4, 0]).unwrap_err().code, code::COMMAND);
    }

    #[test]
    fn a_greeting_must_offer_no_authentication_or_a_user_name_which_is_preferred() {
        assert_eq!(greeting(&[5, 2, 2, 0, 9]), Some((Some(Method::Password), 4)));
        assert_eq!(greeting(&[5, 2, 1, 0]), Some((Some(Method::None), 4)));
        assert_eq!(greeting(&[5, 1, 1]), Some((None, 3)));
        assert_eq!(greeting(&[5, 0]), Some((None, 2)));
    }

    #[test]
    fn a_user_name_and_its_password_are_read() {
        let bytes = b"\x01\x04anna\x06secret\x05";
        assert_eq!(password(bytes).unwrap(), Some((("anna".to_owned(), Secret::new("secret")), 13)));
        assert_eq!(password(b"\x01\x00\x00").unwrap(), Some(((String::new(), Secret::default()), 3)));
        for end in 0..13 {
            assert_eq!(password(&bytes[..end]).unwrap(), None, "{end}");
        }
        assert!(password(b"\x05\x01\x00").is_err());
    }

    #[test]
    fn socks4_carries_an_address_and_4a_a_name() {
        let bytes = request_of("me", [1, 2, 3, 4], "");
        let (request, length) = request4(&bytes).unwrap().unwrap();
        assert_eq!((request.target.to_string().as_str(), request.user.as_str()), ("1.2.3.4:80", "me"));
        assert_eq!((request.manner, length), (Manner::Socks4, bytes.len()));

        let bytes = request_of("", [0, 0, 0, 9], "Example.com");
        let (request, length) = request4(&[&bytes[..], b"GET /"].concat()).unwrap().unwrap();
        assert_eq!((request.target.to_string().as_str(), request.user.as_str()), ("example.com:80", ""));
        assert_eq!((request.manner, length), (Manner::Socks4a, bytes.len()));
    }

    #[test]
    fn a_message_that_was_cut_anywhere_needs_more() {
        let five = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb";
        let four = request_of("me", [0, 0, 0, 1], "example.com");
        let hello = [5, 3, 0, 1, 2];
        for end in 0..five.len() {
            assert_eq!(request5(&five[..end]).unwrap().map(|(_, length)| length), None, "{end}");
        }
        for end in 0..four.len() {
            assert!(request4(&four[..end]).unwrap().is_none(), "{end}");
        }
        for end in 0..hello.len() {
            assert!(greeting(&hello[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn an_endless_name_is_refused_before_the_cap() {
        let endless = [&[4, 1, 0, 80, 1, 2, 3, 4][..], &[b'x'; MAX_MESSAGE]].concat();
        assert!(request4(&endless).is_err());
        let endless = [&[4, 1, 0, 80, 0, 0, 0, 4, 0][..], &[b'x'; MAX_MESSAGE]].concat();
        assert!(request4(&endless).is_err());
        let longest = request_of(&"u".repeat(255), [0, 0, 0, 1], &"n".repeat(255));
        assert_eq!(longest.len(), MAX_MESSAGE);
    }

    #[test]
    fn faults_have_reply_codes() {
        let code = |side, kind| code_of(&Fault::new(side, Stage::Handshake, kind, ""));
        assert_eq!(code(Side::Origin, Kind::Refused), code::REFUSED);
        assert_eq!(code(Side::Origin, Kind::Unreachable), code::HOST_UNREACHABLE);
        assert_eq!(code(Side::Upstream, Kind::Timeout), code::TTL_EXPIRED);
        // That an upstream refuses does not say that the origin does.
        assert_eq!(code(Side::Upstream, Kind::Refused), code::GENERAL);
        assert_eq!(code(Side::Ours, Kind::Exhausted), code::GENERAL);
        let fault = Fault::new(Side::Origin, Stage::Handshake, Kind::Unreachable, "").with_code(3);
        assert_eq!(code_of(&fault), code::NETWORK_UNREACHABLE);
    }
}
