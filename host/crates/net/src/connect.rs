//! The HTTP CONNECT handshake (RFC 9110 §9.3.6), and HTTP Basic credentials for it (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_core::{Credentials, Fault, Kind, Secret, Side, Stage};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::dial::within;
use crate::fault;
use crate::http1::{HeadError, Headers, ResponseHead, read_response};
use crate::target::Target;

/// The largest answer to CONNECT: refusals carry cookies and challenges, not more.
pub const MAX_ANSWER: usize = 16 * 1024;

/// Interim answers that are skipped; a peer that sends more of them means to keep us busy.
const MAX_INTERIM: usize = 8;

/// What the value of `Proxy-Authorization` begins with.
const SCHEME: &str = "Basic ";

/// The value of `Proxy-Authorization` for these credentials.
#[must_use]
pub fn basic(credentials: &Credentials) -> Secret {
    let parts = [&*credentials.username, ":", credentials.password.expose()];
    // With all the room that they need: what grows leaves pieces behind.
    let mut pair = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    pair.extend(parts);
    let mut value = String::with_capacity(SCHEME.len() + pair.len().div_ceil(3) * 4);
    value.push_str(SCHEME);
    STANDARD.encode_string(pair.as_bytes(), &mut value);
    Secret::new(value)
}

/// So many schemes are named of those that a proxy asks for: what it says is kept for a while.
const MOST_SCHEMES: usize = 4;

/// Which logins a proxy asks for, in words, where none of them is the Basic that is spoken here (RFC 9110 §11.7.1).
#[must_use]
pub fn other_login(headers: &Headers) -> Option<String> {
    let mut asked: Vec<&str> = Vec::new();
    for value in headers.get_all("proxy-authenticate") {
        let mut is_quoted = false;
        let parts = value.split(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        for scheme in parts.filter_map(scheme) {
            if scheme.eq_ignore_ascii_case(SCHEME.trim_end()) {
                return None;
            }
            if asked.len() < MOST_SCHEMES {
                asked.push(scheme);
            }
        }
    }
    (!asked.is_empty()).then(|| format!("it asks for {}, which is not supported: Basic only", asked.join(" or ")))
}

/// The scheme with which a part of a challenge begins; none for one that is a parameter of the scheme before.
fn scheme(part: &[u8]) -> Option<&str> {
    let part = part.trim_ascii();
    let end = part.iter().position(u8::is_ascii_whitespace).unwrap_or(part.len());
    let (word, rest) = part.split_at_checked(end)?;
    let is_scheme = !word.is_empty()
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !rest.trim_ascii_start().starts_with(b"=");
    let name = word.get(..word.len().min(20)).filter(|_| is_scheme)?;
    std::str::from_utf8(name).ok()
}

/// The request for a tunnel to a target. It says nothing about us but what is needed.
#[must_use]
pub fn encode_request(target: &Target, credentials: Option<&Credentials>) -> Vec<u8> {
    let authority = target.authority();
    let mut out = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(credentials) = credentials {
        out.push_str("Proxy-Authorization: ");
        out.push_str(basic(credentials).expose());
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// What an answer to CONNECT means: the tunnel stands, or a fault.
///
/// # Errors
/// The fault that every status but 2xx amounts to.
pub fn judge(answer: &ResponseHead) -> Result<(), Fault> {
    let (stage, kind) = match answer.status {
        200..=299 => return Ok(()),
        100..=199 => (Stage::Handshake, Kind::Protocol),
        // No origin speaks HTTP here: some proxies mean 407 by 401.
        401 | 407 => (Stage::Auth, Kind::Unauthorized),
        _ => (Stage::Handshake, Kind::Denied),
    };
    let reason: String = answer.reason.chars().filter(|c| !c.is_control()).take(80).collect();
    let mut words = format!("CONNECT answered {} {reason}", answer.status).trim_end().to_owned();
    if let Some(other) = other_login(&answer.headers) {
        words = format!("{words}: {other}");
    }
    Err(Fault::new(Side::Upstream, stage, kind, words).with_code(answer.status))
}

/// Asks for a tunnel. What the peer sent behind its answer is the beginning of the tunnel's stream.
///
/// # Errors
/// The fault, when the tunnel is refused, the answer is not HTTP, or it does not come before the deadline.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Target,
    credentials: Option<&Credentials>,
    deadline: Instant,
) -> Result<Bytes, Fault> {
    within(deadline, Side::Upstream, Stage::Handshake, async {
        let request = Zeroizing::new(encode_request(target, credentials));
        let sent = async {
            stream.write_all(&request).await?;
            stream.flush().await
        };
        sent.await.map_err(|error| fault::upstream(Stage::Handshake, &error))?;
        let mut buffer = BytesMut::new();
        for _ in 0..=MAX_INTERIM {
            let answer = read_response(stream, &mut buffer, MAX_ANSWER).await.map_err(unreadable)?;
            // 101 ends HTTP on the connection, and nobody asked for it.
            if !(100..200).contains(&answer.status) || answer.status == 101 {
                judge(&answer)?;
                return Ok(buffer.freeze());
            }
        }
        Err(Fault::new(Side::Upstream, Stage::Handshake, Kind::Protocol, "interim answers without an end"))
    })
    .await
}

fn unreadable(error: HeadError) -> Fault {
    let kind = match &error {
        HeadError::Closed => Kind::Closed,
        HeadError::TooLarge => Kind::TooLarge,
        HeadError::Malformed(_) => Kind::Protocol,
        HeadError::Io(error) => return fault::upstream(Stage::Handshake, error),
    };
    Fault::new(Side::Upstream, Stage::Handshake, kind, format!("answer to CONNECT: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::duplex;

    use super::*;
    use crate::dial::tests::answered;

    fn target() -> Target {
        "example.org:443".parse().unwrap()
    }

    async fn shake(answer: &[u8], closes: bool) -> Result<Bytes, Fault> {
        answered(answer, closes, async |stream, deadline| handshake(stream, &target(), None, deadline).await).await
    }

    #[test]
    fn the_request_names_the_target_and_carries_the_credentials() {
        let credentials = Credentials::new("us er", "p:w").unwrap();
        assert_eq!(
            encode_request(&"[2001:db8::1]:443".parse().unwrap(), Some(&credentials)),
            b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
              Proxy-Authorization: Basic dXMgZXI6cDp3\r\n\r\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_the_answer_is_the_tunnels() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Connection established\r\nX: y\r\n\r\nSSH-2.0";
        let (mut ours, mut theirs) = duplex(1024);
        theirs.write_all(answer).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let prefix = handshake(&mut ours, &target(), None, deadline).await.unwrap();
        assert_eq!(&prefix[..], b"SSH-2.0");
        // A length means nothing in the answer to CONNECT.
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(&shake(answer, false).await.unwrap()[..], b"");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_has_its_status_as_code() {
        for (answer, stage, kind, code) in [
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Stage::Auth, Kind::Unauthorized, Some(407)),
            ("HTTP/1.1 503 No\x01\r\n\r\n", Stage::Handshake, Kind::Protocol, None),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Stage::Handshake, Kind::Denied, Some(503)),
            ("HTTP/1.1 302\r\nLocation: http://login\r\n\r\n", Stage::Handshake, Kind::Denied, Some(302)),
            ("HTTP/1.1 101 Switching\r\n\r\n", Stage::Handshake, Kind::Protocol, Some(101)),
            ("\x05\0", Stage::Handshake, Kind::Protocol, None),
        ] {
            let fault = shake(answer.as_bytes(), false).await.unwrap_err();
            assert_eq!(
                (fault.side, fault.stage, fault.kind, fault.code),
                (Side::Upstream, stage, kind, code),
                "{answer:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_is_not_spoken_is_named() {
        let told = async |fields: &str| {
            let answer = format!("HTTP/1.1 407 No\r\n{fields}\r\n");
            shake(answer.as_bytes(), false).await.unwrap_err().detail.to_string()
        };
        let digest = "Proxy-Authenticate: Digest realm=\"a, Basic b\", qop = \"auth\",nonce=\"x\"\r\n";
        let why = "CONNECT answered 407 No: it asks for Digest, which is not supported: Basic only";
        assert_eq!(told(digest).await, why);
        let two = "Proxy-Authenticate: Negotiate, NTLM\r\n";
        assert!(told(two).await.contains("it asks for Negotiate or NTLM, which"));
        let many = format!("Proxy-Authenticate: {}\r\n", "Digest, ".repeat(500));
        assert!(told(&many).await.contains("it asks for Digest or Digest or Digest or Digest, which"));
        assert_eq!(told(&format!("{}Proxy-Authenticate: Basic\r\n", many)).await, "CONNECT answered 407 No");
        for spoken in
            ["", "Proxy-Authenticate: NTLM, basic realm=\"x\"\r\n", &format!("{digest}Proxy-Authenticate: Basic\r\n")]
        {
            assert_eq!(told(spoken).await, "CONNECT answered 407 No", "{spoken}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_without_an_end_are_cut() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(MAX_INTERIM + 1);
        assert_eq!(shake(interim.as_bytes(), false).await.unwrap_err().kind, Kind::Protocol);
        let bomb = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(MAX_ANSWER / 6));
        assert_eq!(shake(bomb.as_bytes(), false).await.unwrap_err().kind, Kind::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_anywhere_is_silent_or_closed() {
        let whole = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        for length in 0..whole.len() {
            for (closes, kind) in [(true, Kind::Closed), (false, Kind::Timeout)] {
                let fault = shake(&whole[..length], closes).await.unwrap_err();
                assert_eq!((fault.stage, fault.kind), (Stage::Handshake, kind), "{length}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_times_out_too() {
        let (mut ours, _theirs) = duplex(4);
        let deadline = Instant::now() + Duration::from_secs(5);
        let fault = handshake(&mut ours, &target(), None, deadline).await.unwrap_err();
        assert_eq!((fault.stage, fault.kind), (Stage::Handshake, Kind::Timeout));
    }

    proptest! {
        #[test]
        fn no_status_and_reason_panic(status in 100..=999_u16, reason in "\\PC{0,100}") {
            let head = ResponseHead { status, reason: reason.into(), minor_version: 1, headers: crate::http1::Headers::new() };
            prop_assert_eq!(judge(&head).is_ok(), (200..300).contains(&status));
        }
    }
}
