//! The judge: an origin of ours that says how a request looked when it arrived.
//!
//! The one who asks sends two random texts, one in the query and one in a header field. The judge's
//! answer carries a proof made of both. So an answer from a cache is old and shows it, a page that
//! repeats the URL proves nothing, and a proxy that drops header fields is found out. The proof is no
//! secret: a proxy made to deceive this very program could compute it. It keeps out all that were not.

mod server;
mod tls;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use proxywhirl_core::Host;
use proxywhirl_net::Target;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

pub use server::{Judge, JudgeConfig};
pub use tls::{BadCertificate, JudgeTls};

/// The header field that carries the second text.
pub const NONCE_FIELD: &str = "X-Judge-Nonce";
/// Where a judge answers when its URL names no path.
const PATH: &str = "/judge";

/// Where a judge listens: `http://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgeUrl {
    target: Target,
    /// The path, and the query up to the nonce: `/judge?`.
    prefix: String,
}

/// The text is no judge's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a judge's URL: {0}")]
pub struct NotAJudge(String);

impl JudgeUrl {
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn path(&self, challenge: &Challenge) -> String {
        format!("{}nonce={}", self.prefix, challenge.query)
    }
}

impl From<std::net::SocketAddr> for JudgeUrl {
    fn from(addr: std::net::SocketAddr) -> Self {
        Self { target: Target::from((addr.ip(), addr.port())), prefix: format!("{PATH}?") }
    }
}

impl FromStr for JudgeUrl {
    type Err = NotAJudge;

    fn from_str(text: &str) -> Result<Self, NotAJudge> {
        let bad = |reason: &str| NotAJudge(reason.to_owned());
        let url = Url::parse(text).map_err(|error| NotAJudge(error.to_string()))?;
        if url.scheme() != "http" {
            return Err(bad("it begins with http://, because proxies are asked to forward the request in the open"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it has credentials in it, and a judge wants none"));
        }
        let host: Host = url.host_str().unwrap_or_default().parse().map_err(|error| NotAJudge(format!("{error}")))?;
        let target = Target { host, port: url.port_or_known_default().unwrap_or(80) };
        let path = if url.path() == "/" { PATH } else { url.path() };
        let prefix = url.query().map_or_else(|| format!("{path}?"), |query| format!("{path}?{query}&"));
        Ok(Self { target, prefix })
    }
}

impl fmt::Display for JudgeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.target.authority(), self.prefix.trim_end_matches(['?', '&']))
    }
}

/// What a judge saw of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where the connection came from.
    pub peer: IpAddr,
    /// The header fields, in order.
    pub headers: Vec<(String, String)>,
    /// The SHA-256 of the certificate with which it serves TLS on the same port, if it does.
    pub certificate: Option<[u8; 32]>,
}

/// A judge's answer, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    nonce: String,
    proof: String,
    peer: IpAddr,
    method: String,
    headers: Vec<(String, String)>,
    /// Microseconds since the Unix epoch.
    at: u64,
    /// The SHA-256 of its certificate in hexadecimal digits, when it serves TLS on the same port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

/// Two random texts that a judge's answer must prove to have been made for.
#[derive(Debug)]
pub(super) struct Challenge {
    query: String,
    field: String,
}

impl Challenge {
    pub(super) fn new() -> Self {
        // Only to be new each time: who answers sees them anyway.
        let text = || format!("{:032x}", fastrand::u128(..));
        Self { query: text(), field: text() }
    }

    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// What the judge saw, if it was the judge who answered.
    pub(super) fn verify(&self, body: &[u8]) -> Result<Sighting, String> {
        let answer: Answer = serde_json::from_slice(body).map_err(|_| "not the judge's JSON".to_owned())?;
        if answer.nonce != self.query {
            return Err("it was made for another request".to_owned());
        }
        if answer.proof == proof(&self.query, "") {
            return Err("a header field of the request was lost on the way".to_owned());
        }
        if answer.proof != proof(&self.query, &self.field) {
            return Err("it proves nothing".to_owned());
        }
        let certificate = match answer.certificate.as_deref().map(from_hexadecimal) {
            Some(None) => return Err("its certificate's digest is none".to_owned()),
            Some(Some(digest)) => Some(digest),
            None => None,
        };
        Ok(Sighting { peer: answer.peer, headers: answer.headers, certificate })
    }
}

/// What only someone can say who saw both texts and is a judge.
fn proof(query: &str, field: &str) -> String {
    let digest = Sha256::digest(format!("proxywhirl judge 1\n{query}\n{field}"));
    hexadecimal(&digest)
}

fn hexadecimal(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn from_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_has_a_plain_url() {
        let path = |text: &str| {
            let judge: JudgeUrl = text.parse().unwrap();
            let challenge = Challenge { query: "q".to_owned(), field: String::new() };
            format!("{}{}", judge.target(), judge.path(&challenge))
        };
        assert_eq!(path("http://judge.example"), "judge.example:80/judge?nonce=q");
        assert_eq!(path("http://[::1]:9000/"), "[::1]:9000/judge?nonce=q");
        assert_eq!(path("http://1.2.3.4:9000/a/b?c=d"), "1.2.3.4:9000/a/b?c=d&nonce=q");
        for text in ["judge.example", "https://judge.example", "http://u:p@judge.example", "socks5://1.2.3.4", ""] {
            assert!(text.parse::<JudgeUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_an_answer_to_this_challenge_is_the_judge_s() {
        let challenge = Challenge::new();
        let answer = |nonce: &str, proof: String| {
            let peer = "1.2.3.4".parse().unwrap();
            let (method, headers, certificate) = ("GET".to_owned(), Vec::new(), None);
            serde_json::to_vec(&Answer { nonce: nonce.to_owned(), proof, peer, method, headers, at: 1, certificate })
                .unwrap()
        };
        let error = |body: &[u8]| challenge.verify(body).unwrap_err();
        let right = proof(&challenge.query, &challenge.field);
        assert!(challenge.verify(&answer(&challenge.query, right.clone())).is_ok());
        assert!(error(&answer("other", right)).contains("another request"));
        assert!(error(&answer(&challenge.query, challenge.query.clone())).contains("proves nothing"));
        assert!(error(&answer(&challenge.query, proof(&challenge.query, ""))).contains("lost on the way"));
        assert!(error(b"<html>free wifi</html>").contains("not the judge's JSON"));
        assert_ne!(Challenge::new().query, Challenge::new().query);
    }
}
