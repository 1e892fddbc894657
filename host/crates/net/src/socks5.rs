//! SOCKS 5 (RFC 1928) with user name and password (RFC 1929).

use std::net::Ipv6Addr;

use bytes::Bytes;
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_core::{Credentials, Fault, Host, Kind, Scheme, Side, Stage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::dial::within;
use crate::socks::{Conversation, Decoded, NotSocks};
use crate::target::Target;

/// How one authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None,
    /// With user name and password.
    Password,
    /// The server accepts none of those offered.
    Unacceptable,
}

/// The greeting: the methods that we can do.
#[must_use]
pub fn encode_greeting(credentials: Option<&Credentials>) -> Vec<u8> {
    match credentials {
        // A server that knows us by our address takes "none", though we have a password.
        Some(_) => vec![5, 2, 0, 2],
        None => vec![5, 1, 0],
    }
}

/// The server's choice of a method.
///
/// # Errors
/// When the bytes are no choice, or one that is never offered.
pub fn decode_choice(bytes: &[u8]) -> Result<Decoded<Method>, NotSocks> {
    match bytes {
        [] | [5] => Ok(Decoded::Needs(2)),
        [5, 0, ..] => Ok(Decoded::Complete(Method::None, 2)),
        [5, 2, ..] => Ok(Decoded::Complete(Method::Password, 2)),
        [5, 0xff, ..] => Ok(Decoded::Complete(Method::Unacceptable, 2)),
        [5, ..] => Err(NotSocks("a method that was not offered")),
        _ => Err(NotSocks("another version than SOCKS 5")),
    }
}

/// The user name and the password.
///
/// # Errors
/// [`Kind::Unsupported`] when one of them is longer than SOCKS can carry: it is never sent in part.
pub fn encode_password(credentials: &Credentials) -> Result<Vec<u8>, Fault> {
    // Room for all of it: what grows leaves pieces behind.
    let mut out = Vec::with_capacity(3 + credentials.username.len() + credentials.password.expose().len());
    out.push(1);
    for text in [&*credentials.username, credentials.password.expose()] {
        out.push(u8::try_from(text.len()).map_err(|_| too_long())?);
        out.extend_from_slice(text.as_bytes());
    }
    Ok(out)
}

/// Whether SOCKS can carry them: what cannot be said needs no connection.
///
/// # Errors
/// As [`encode_password`].
pub(crate) fn can_say(credentials: &Credentials) -> Result<(), Fault> {
    credentials.fit(Scheme::Socks5).map_err(|_| too_long())
}

fn too_long() -> Fault {
    let words = "a user name or password of more than 255 bytes, which SOCKS cannot carry";
    Fault::new(Side::Upstream, Stage::Handshake, Kind::Unsupported, words)
}

/// The status of the authentication: 0 is success.
///
/// # Errors
/// When the bytes are no answer to a password.
pub fn decode_password_status(bytes: &[u8]) -> Result<Decoded<u8>, NotSocks> {
    match bytes {
        // Some servers write their own version instead of the subnegotiation's.
        [] | [1 | 5] => Ok(Decoded::Needs(2)),
        [1 | 5, status, ..] => Ok(Decoded::Complete(*status, 2)),
        _ => Err(NotSocks("another version of the authentication")),
    }
}

/// The request to connect.
#[must_use]
pub fn encode_request(target: &Target) -> Vec<u8> {
    let mut out = vec![5, 1, 0];
    match &target.host {
        Host::V4(address) => {
            out.push(1);
            out.extend_from_slice(&address.octets());
        }
        Host::V6(address) => push_v6(&mut out, *address),
        Host::Zoned(zoned) => push_v6(&mut out, zoned.addr),
        Host::Name(name) => {
            let (length, bytes) = counted(name.as_bytes());
            out.extend_from_slice(&[3, length]);
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(&target.port.to_be_bytes());
    out
}

fn push_v6(out: &mut Vec<u8>, address: Ipv6Addr) {
    out.push(4);
    out.extend_from_slice(&address.octets());
}

/// The code of a reply, once its bound address has been read too: what follows is the tunnel's.
///
/// # Errors
/// When the bytes are no SOCKS 5 reply.
pub fn decode_reply(bytes: &[u8]) -> Result<Decoded<u8>, NotSocks> {
    let (code, total) = match bytes {
        [] | [5] => return Ok(Decoded::Needs(2)),
        // Servers often close behind the code of a refusal, without the rest of the reply.
        [5, code, ..] if *code != 0 => return Ok(Decoded::Complete(*code, 2)),
        [5, _] | [5, _, _] | [5, _, _, 3] => return Ok(Decoded::Needs(5)),
        [5, code, _, 1, ..] => (*code, 4 + 4 + 2),
        [5, code, _, 3, length, ..] => (*code, 4 + 1 + usize::from(*length) + 2),
        [5, code, _, 4, ..] => (*code, 4 + 16 + 2),
        [5, ..] => return Err(NotSocks("an unknown address type in the reply")),
        _ => return Err(NotSocks("another version than SOCKS 5")),
    };
    Ok(if bytes.len() < total { Decoded::Needs(total) } else { Decoded::Complete(code, total) })
}

/// What the code of a reply means (RFC 1928 §6).
///
/// # Errors
/// The fault that every code but "succeeded" amounts to.
pub fn judge(code: u8) -> Result<(), Fault> {
    let (side, kind, words) = match code {
        0 => return Ok(()),
        1 => (Side::Upstream, Kind::Denied, "general failure"),
        2 => (Side::Upstream, Kind::Denied, "not allowed by the rules"),
        3 => (Side::Origin, Kind::Unreachable, "network unreachable"),
        4 => (Side::Origin, Kind::Unreachable, "host unreachable"),
        5 => (Side::Origin, Kind::Refused, "connection refused"),
        6 => (Side::Origin, Kind::Timeout, "TTL expired"),
        7 => (Side::Upstream, Kind::Denied, "command not supported"),
        8 => (Side::Upstream, Kind::Denied, "address type not supported"),
        _ => (Side::Upstream, Kind::Denied, "a code of its own"),
    };
    Err(Fault::new(side, Stage::Handshake, kind, words).with_code(code.into()))
}

/// Asks for a tunnel; what came behind the reply is the tunnel's.
///
/// # Errors
/// The fault, when it is refused, or an answer does not come before the deadline.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Target,
    credentials: Option<&Credentials>,
    deadline: Instant,
) -> Result<Bytes, Fault> {
    let mut conversation = Conversation::new(stream);
    let greeting = encode_greeting(credentials);
    let chosen = conversation.exchange(Stage::Handshake, &greeting, decode_choice);
    let method = within(deadline, Side::Upstream, Stage::Handshake, chosen).await?;
    match (method, credentials) {
        (Method::None, _) => {}
        (Method::Password, Some(credentials)) => {
            let authenticated = authenticate(&mut conversation, credentials);
            within(deadline, Side::Upstream, Stage::Auth, authenticated).await?;
        }
        (Method::Password, None) => {
            // It had to refuse, but what it means is clear.
            return Err(Fault::new(Side::Upstream, Stage::Auth, Kind::Unauthorized, "credentials wanted").with_code(2));
        }
        (Method::Unacceptable, _) => {
            let words = if credentials.is_some() { "no method accepted" } else { "credentials wanted" };
            return Err(Fault::new(Side::Upstream, Stage::Auth, Kind::Unauthorized, words).with_code(0xff));
        }
    }
    let request = encode_request(target);
    let requested = conversation.exchange(Stage::Handshake, &request, decode_reply);
    judge(within(deadline, Side::Upstream, Stage::Handshake, requested).await?)?;
    Ok(conversation.rest())
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    conversation: &mut Conversation<'_, S>,
    credentials: &Credentials,
) -> Result<(), Fault> {
    let proof = Zeroizing::new(encode_password(credentials)?);
    match conversation.exchange(Stage::Auth, &proof, decode_password_status).await? {
        0 => Ok(()),
        status => {
            let words = "user name or password not accepted";
            Err(Fault::new(Side::Upstream, Stage::Auth, Kind::Unauthorized, words).with_code(status.into()))
        }
    }
}

/// A length and so many bytes; at most 255, which hosts never exceed.
fn counted(bytes: &[u8]) -> (u8, &[u8]) {
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    (length, bytes.get(..usize::from(length)).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::dial::tests::answered;
    use crate::socks::MAX_MESSAGE;

    async fn shake(answer: &[u8], credentials: Option<(&str, &str)>, closes: bool) -> Result<Bytes, Fault> {
        let credentials = credentials.map(|(user, password)| Credentials::new(user, password).unwrap());
        let target = "h.example:80".parse().unwrap();
        let credentials = credentials.as_ref();
        answered(answer, closes, async |stream, deadline| handshake(stream, &target, credentials, deadline).await).await
    }

    #[test]
    fn messages_are_those_of_the_rfcs() {
        let encode = |target: &str| encode_request(&target.parse().unwrap());
        assert_eq!(encode("1.2.3.4:80"), [5, 1, 0, 1, 1, 2, 3, 4, 0, 80]);
        assert_eq!(encode("h.example:258"), b"\x05\x01\0\x03\x09h.example\x01\x02");
        assert_eq!(encode("[::1]:80"), [5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80]);
        let password = |user: &str, password: &str| encode_password(&Credentials::new(user, password).unwrap());
        assert_eq!(password("me", "pw!").unwrap(), b"\x01\x02me\x03pw!");
        let longest = "x".repeat(Credentials::MAX_SOCKS);
        assert_eq!(password(&longest, &longest).unwrap().len(), 3 + 510);
        let longer = "x".repeat(Credentials::MAX_SOCKS + 1);
        assert_eq!(password(&longer, "").unwrap_err().kind, Kind::Unsupported);
        assert_eq!(password("", &longer).unwrap_err().kind, Kind::Unsupported);
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_cannot_be_said_are_not_said_in_part() {
        let longer = "x".repeat(Credentials::MAX_SOCKS + 1);
        let fault = shake(b"\x05\x02\x01\0\x05\0\0\x01\0\0\0\0\0\0", Some(("u", &longer)), false).await.unwrap_err();
        assert_eq!((fault.stage, fault.kind), (Stage::Handshake, Kind::Unsupported));
    }

    #[tokio::test(start_paused = true)]
    async fn both_methods_lead_to_a_tunnel_that_begins_behind_the_reply() {
        let replies = [&b"\x05\0\0\x01\0\0\0\0\0\0"[..], b"\x05\0\0\x03\x02ab\0\0", b"\x05\0\0\x03\0\0\0"];
        let v6 = [&b"\x05\0\0\x04"[..], &[0; 18]].concat();
        for reply in replies.into_iter().chain([&v6[..]]) {
            let open = [b"\x05\0", reply].concat();
            assert_eq!(shake(&open, Some(("u", "p")), false).await, Ok(Bytes::new()));
            let authenticated = [b"\x05\x02\x01\0", reply].concat();
            assert_eq!(shake(&authenticated, Some(("u", "p")), false).await, Ok(Bytes::new()));
            let target = "h.example:80".parse().unwrap();
            let followed = [b"\x05\0", reply, b"x"].concat();
            let next = answered(&followed, false, async |stream, deadline| {
                let mut next = handshake(stream, &target, None, deadline).await?.to_vec();
                if next.is_empty() {
                    next.push(tokio::io::AsyncReadExt::read_u8(stream).await.unwrap());
                }
                Ok(next)
            });
            assert_eq!(next.await, Ok(b"x".to_vec()), "byte by byte");
            let (mut ours, mut theirs) = tokio::io::duplex(1 << 10);
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &followed).await.unwrap();
            let rest = handshake(&mut ours, &target, None, Instant::now() + Duration::from_secs(5)).await;
            assert_eq!(rest, Ok(Bytes::from_static(b"x")), "all at once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_are_not_accepted_or_missing_are_unauthorized() {
        let user = Some(("u", "p"));
        for (answer, credentials, code) in [
            (&b"\x05\xff"[..], None, 0xff),
            (b"\x05\xff", user, 0xff),
            (b"\x05\x02", None, 2),
            (b"\x05\x02\x01\x01", user, 1),
            (b"\x05\x02\x05\x07", user, 7),
        ] {
            let fault = shake(answer, credentials, false).await.unwrap_err();
            let expected = (Side::Upstream, Stage::Auth, Kind::Unauthorized, Some(code));
            assert_eq!((fault.side, fault.stage, fault.kind, fault.code), expected, "{answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_code_has_its_fault_even_when_the_rest_is_missing() {
        for (code, side, kind) in [
            (1, Side::Upstream, Kind::Denied),
            (2, Side::Upstream, Kind::Denied),
            (3, Side::Origin, Kind::Unreachable),
            (4, Side::Origin, Kind::Unreachable),
            (5, Side::Origin, Kind::Refused),
            (6, Side::Origin, Kind::Timeout),
            (7, Side::Upstream, Kind::Denied),
            (8, Side::Upstream, Kind::Denied),
            (0xf4, Side::Upstream, Kind::Denied),
        ] {
            let fault = shake(&[5, 0, 5, code], None, true).await.unwrap_err();
            let found = (fault.side, fault.stage, fault.kind, fault.code);
            assert_eq!(found, (side, Stage::Handshake, kind, Some(code.into())));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn garbage_is_a_protocol_fault() {
        for answer in
            [&b"HTTP/1.1 400"[..], b"\0\x5a", b"\x05\x01", b"\x05\x02\x02\0", b"\x05\0\x04\0", b"\x05\0\x05\0\0\x02\0"]
        {
            let fault = shake(answer, Some(("u", "p")), false).await.unwrap_err();
            assert_eq!((fault.stage, fault.kind), (Stage::Handshake, Kind::Protocol), "{answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_anywhere_is_silent_or_closed_at_its_stage() {
        let whole = b"\x05\x02\x01\0\x05\0\0\x03\x02ab\0\0";
        for length in 0..whole.len() {
            let stage = if (2..4).contains(&length) { Stage::Auth } else { Stage::Handshake };
            for (closes, kind) in [(true, Kind::Closed), (false, Kind::Timeout)] {
                let fault = shake(&whole[..length], Some(("u", "p")), closes).await.unwrap_err();
                assert_eq!((fault.stage, fault.kind), (stage, kind), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_a_decoder_asks_for_more_than_it_has(
            bytes in prop::collection::vec(prop_oneof![0..9_u8, any::<u8>()], 0..20),
        ) {
            let needs = [
                decode_choice(&bytes).map(|decoded| matches!(decoded, Decoded::Needs(n) if n <= bytes.len())),
                decode_password_status(&bytes).map(|decoded| matches!(decoded, Decoded::Needs(n) if n <= bytes.len())),
                decode_reply(&bytes).map(|decoded| {
                    matches!(decoded, Decoded::Needs(n) if n <= bytes.len() || n > MAX_MESSAGE)
                }),
            ];
            prop_assert!(!needs.contains(&Ok(true)));
        }
    }
}
