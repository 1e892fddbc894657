//! Fields that concern one connection only, and end at each hop (RFC 9110 §7.6.1).

use super::headers::{Headers, marks};

/// What is for the next hop only, whether `Connection` names it or not.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "te",
    "upgrade",
    "http2-settings",
];

/// What `Connection` cannot remove: a client that named its content-length there would make its body the next
/// request of the upstream's connection. A chunked body is passed on as it is, with its field and its trailers.
const KEPT: [&str; 4] = ["content-length", "transfer-encoding", "host", "trailer"];

/// Removes the fields that end at this hop: `Connection` and what it names, `Keep-Alive`, `TE`, `Upgrade`, and the
/// credentials and challenges of proxies. The fields that say where the body ends stay.
pub fn strip_hop_by_hop(headers: &mut Headers) {
    if !headers.may_hold(const { marks(&HOP_BY_HOP) }) {
        return;
    }
    // Lists are short; 64 names bound the work on a head that consists of them.
    let named: Vec<Vec<u8>> = headers
        .get_all("connection")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty() && !among(&KEPT, name) && !among(&HOP_BY_HOP, name))
        .filter(|name| !name.eq_ignore_ascii_case(b"close"))
        .map(<[u8]>::to_vec)
        .take(64)
        .collect();
    headers.retain(|name, _| !among(&HOP_BY_HOP, name) && !named.iter().any(|other| other.eq_ignore_ascii_case(name)));
}

fn among(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stripped(fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value).unwrap();
        }
        strip_hop_by_hop(&mut headers);
        headers.iter().map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let left = stripped(&[
            ("Host", "h"),
            ("Connection", "X-One, close"),
            ("connection", "x-two"),
            ("X-One", "1"),
            ("X-Two", "2"),
            ("X-Three", "3"),
            ("Proxy-Authorization", "Basic eA=="),
            ("TE", "trailers"),
            ("Upgrade", "websocket"),
            ("Proxy-Status", "a"),
        ]);
        assert_eq!(left, ["Host", "X-Three", "Proxy-Status"]);
    }

    #[test]
    fn connection_cannot_remove_what_says_where_the_body_ends() {
        let left = stripped(&[
            ("Host", "h"),
            ("Connection", "Host, Content-Length, Transfer-Encoding, Trailer"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", "x"),
        ]);
        assert_eq!(left, ["Host", "Content-Length", "Transfer-Encoding", "Trailer"]);
    }
}
