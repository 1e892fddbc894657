//! SOCKS 4 and 4a (openssh.com/txt/socks4.protocol, socks4a.protocol).
//!
//! Version 4 carries an IPv4 address; 4a sends an address that cannot exist, `0.0.0.1`, and the name behind it.

use bytes::Bytes;
use proxywhirl_core::{Credentials, Fault, Host, Kind, Side, Stage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::dial::within;
use crate::socks::{Conversation, Decoded, NotSocks};
use crate::target::Target;

/// The code of a reply that grants the request.
const GRANTED: u8 = 90;

/// The request to connect; a name makes it 4a.
///
/// # Errors
/// [`Kind::Unsupported`] for addresses that the protocol cannot express.
pub fn encode_request(target: &Target, credentials: Option<&Credentials>) -> Result<Vec<u8>, Fault> {
    let (address, name) = match &target.host {
        // 0.0.0.x means that a name follows.
        Host::V4(address) if matches!(address.octets(), [0, 0, 0, last] if last != 0) => {
            return Err(unsupported(target));
        }
        Host::V4(address) => (address.octets(), None),
        Host::Name(name) => ([0, 0, 0, 1], Some(name)),
        Host::V6(_) | Host::Zoned(_) => return Err(unsupported(target)),
    };
    let mut out = vec![4, 1];
    out.extend_from_slice(&target.port.to_be_bytes());
    out.extend_from_slice(&address);
    if let Some(credentials) = credentials {
        // Credentials hold no control character, so no NUL.
        out.extend_from_slice(credentials.username.as_bytes());
    }
    out.push(0);
    if let Some(name) = name {
        out.extend_from_slice(name.as_bytes());
        out.push(0);
    }
    Ok(out)
}

/// The code of a reply. The address behind it means nothing for CONNECT.
///
/// # Errors
/// When the bytes are no SOCKS 4 reply.
pub fn decode_reply(bytes: &[u8]) -> Result<Decoded<u8>, NotSocks> {
    match bytes {
        [] | [0 | 4] => Ok(Decoded::Needs(2)),
        // Servers that answer with the request's version instead of 0 are many, and some close behind a refusal's code.
        [0 | 4, code @ 91..=93, ..] => Ok(Decoded::Complete(*code, 2)),
        [0 | 4, code @ 90, _, _, _, _, _, _, ..] => Ok(Decoded::Complete(*code, 8)),
        [0 | 4, 90, ..] => Ok(Decoded::Needs(8)),
        [0 | 4, ..] => Err(NotSocks("an unknown SOCKS 4 code")),
        _ => Err(NotSocks("another version than SOCKS 4")),
    }
}

/// What the code of a reply means.
///
/// # Errors
/// The fault that every code but "granted" amounts to.
pub fn judge(code: u8) -> Result<(), Fault> {
    let (stage, kind, words) = match code {
        GRANTED => return Ok(()),
        92 => (Stage::Auth, Kind::Unauthorized, "no identd on our side"),
        93 => (Stage::Auth, Kind::Unauthorized, "user id not accepted"),
        _ => (Stage::Handshake, Kind::Denied, "request rejected or failed"),
    };
    Err(Fault::new(Side::Upstream, stage, kind, words).with_code(code.into()))
}

/// Asks for a tunnel; what came behind the reply is the tunnel's.
///
/// # Errors
/// The fault, when it is refused, cannot be expressed, or the answer does not come before the deadline.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Target,
    credentials: Option<&Credentials>,
    deadline: Instant,
) -> Result<Bytes, Fault> {
    let request = encode_request(target, credentials)?;
    let mut conversation = Conversation::new(stream);
    let exchanged = conversation.exchange(Stage::Handshake, &request, decode_reply);
    judge(within(deadline, Side::Upstream, Stage::Handshake, exchanged).await?)?;
    Ok(conversation.rest())
}

fn unsupported(target: &Target) -> Fault {
    Fault::new(Side::Upstream, Stage::Handshake, Kind::Unsupported, format!("SOCKS 4 cannot express {}", target.host))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dial::tests::answered;

    const REPLY: [u8; 8] = [0, 90, 0, 80, 1, 2, 3, 4];

    async fn shake(answer: &[u8], closes: bool) -> Result<Bytes, Fault> {
        let target = "1.2.3.4:80".parse().unwrap();
        answered(answer, closes, async |stream, deadline| handshake(stream, &target, None, deadline).await).await
    }

    #[test]
    fn addresses_go_by_4_and_names_by_4a() {
        let encode = |target: &str, user: Option<&str>| {
            let credentials = user.map(|user| Credentials::new(user, "ignored").unwrap());
            encode_request(&target.parse().unwrap(), credentials.as_ref())
        };
        assert_eq!(encode("1.2.3.4:80", None).unwrap(), [4, 1, 0, 80, 1, 2, 3, 4, 0]);
        assert_eq!(encode("1.2.3.4:258", Some("me")).unwrap(), b"\x04\x01\x01\x02\x01\x02\x03\x04me\0");
        assert_eq!(encode("h.example:80", Some("me")).unwrap(), b"\x04\x01\0\x50\0\0\0\x01me\0h.example\0");
        for target in ["[::1]:80", "0.0.0.7:80"] {
            assert_eq!(encode(target, None).unwrap_err().kind, Kind::Unsupported, "{target}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_code_has_its_fault() {
        assert_eq!(shake(&REPLY, false).await, Ok(Bytes::new()));
        for (code, stage, kind) in [
            (91, Stage::Handshake, Kind::Denied),
            (92, Stage::Auth, Kind::Unauthorized),
            (93, Stage::Auth, Kind::Unauthorized),
        ] {
            let fault = shake(&[0, code], true).await.unwrap_err();
            assert_eq!((fault.stage, fault.kind, fault.code), (stage, kind, Some(code.into())));
        }
        for garbage in [&b"HTTP/1.1 400"[..], b"\0\0", b"\x05\0", b"\x04\x5e"] {
            let fault = shake(garbage, false).await.unwrap_err();
            assert_eq!((fault.stage, fault.kind), (Stage::Handshake, Kind::Protocol), "{garbage:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_anywhere_is_silent_or_closed() {
        for length in 0..REPLY.len() {
            for (closes, kind) in [(true, Kind::Closed), (false, Kind::Timeout)] {
                let fault = shake(&REPLY[..length], closes).await.unwrap_err();
                assert_eq!((fault.stage, fault.kind), (Stage::Handshake, kind), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_decoder_asks_for_more_than_it_has(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(Decoded::Needs(total)) = decode_reply(&bytes) {
                prop_assert!(total > bytes.len() && total <= 8);
            }
        }
    }
}
