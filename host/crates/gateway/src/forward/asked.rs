//! The request as an upstream gets it.

use std::sync::Arc;

use proxywhirl_core::{Fault, Kind, Side, Stage};
use proxywhirl_net::http1::{BodyLength, Headers, RequestHead, ResponseHead, strip_hop_by_hop};
use proxywhirl_net::{RequestForm, Target};
use tokio_util::sync::CancellationToken;

use crate::ingress::http::{Request, authority};

/// What becomes of an upstream's connection when it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It may wait for another request.
    Keep,
    /// It is closed.
    Close,
}

/// What a client asked for, ready to be sent through an upstream of any protocol.
#[derive(Debug, Clone)]
pub(crate) struct Asked<'s> {
    /// The head with the path as its target.
    head: RequestHead,
    /// The target in words.
    pub(super) name: Arc<str>,
    pub(super) target: Target,
    /// How far the body reaches.
    pub(super) body: BodyLength,
    /// The digit behind `HTTP/1.` of the client.
    pub(super) version: u8,
    /// Whether the client wants to send another request.
    keeps_alive: bool,
    /// Until when it may. Borrowed, since those of all clients are one, and each copy of it takes a lock that they share.
    stop: &'s CancellationToken,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) expects: bool,
    /// Whether the client asks for another protocol.
    pub(super) upgrades: bool,
}

impl<'s> Asked<'s> {
    /// What is left of a client's request when all that concerns its own connection is taken off. It is told with its answer when the
    /// gateway stops.
    ///
    /// No `Via` is added, although RFC 9110 §7.6.3 wants one of a gateway: it would tell the origin of a proxy, and
    /// make an anonymous one of every elite upstream.
    pub(crate) fn new(request: Request, stop: &'s CancellationToken) -> Result<Self, Fault> {
        let Request { mut head, target, name, path, body } = request;
        let (version, keeps_alive) = (head.minor_version, head.keeps_alive());
        let upgrade = upgrade(&head, body);
        let waits = body != BodyLength::None && head.headers.has_token("expect", "100-continue");
        let expects = waits && version > 0;
        strip_hop_by_hop(&mut head.headers);
        if head.headers.has_token("expect", "100-continue") {
            // The gateway answers it, so that the body can be kept and sent again; where it cannot be kept, the gateway asks itself.
            head.headers.remove("expect");
        }
        let authority = authority(&name);
        if head.headers.get("host") != Some(authority.as_bytes()) {
            set(&mut head.headers, "Host", authority)?;
        }
        let upgrades = upgrade.is_some();
        if let Some(protocol) = upgrade {
            set(&mut head.headers, "Connection", "Upgrade")?;
            set(&mut head.headers, "Upgrade", protocol)?;
        }
        head.target = path;
        head.minor_version = 1;
        Ok(Self { head, name, target, body, version, keeps_alive, stop, expects, upgrades })
    }

    /// Whether the client may send another request.
    pub(super) fn keeps_alive(&self) -> bool {
        self.keeps_alive && !self.stop.is_cancelled()
    }

    pub(super) fn method(&self) -> &str {
        &self.head.method
    }

    /// Whether an answer goes on in a protocol that the client has asked for (RFC 9110 §7.8); one that does not say in which is taken
    /// at its word.
    pub(super) fn upgrades_to(&self, answer: &ResponseHead) -> bool {
        let Some(asked) = self.head.headers.get("upgrade").filter(|_| self.upgrades) else { return false };
        let mut asked = asked.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        answer.headers.get("upgrade").is_none_or(|to| asked.any(|asked| asked.eq_ignore_ascii_case(to.trim_ascii())))
    }

    /// Whether the client says to the origin who it is.
    pub(super) fn has_login(&self) -> bool {
        self.head.headers.contains("authorization")
    }

    /// Whether sending it twice does no harm (RFC 9110 §9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
    }

    /// What may become of the connection that carries it: one to a proxy that takes any request may carry another one,
    /// by anybody; not so one to the origin, one that may go on in another protocol, and one on which the client proves
    /// who it is for all that follows, as NTLM does.
    pub(super) fn after(&self, form: &RequestForm) -> After {
        let is_own = || self.head.headers.get_all("authorization").any(is_of_connection);
        match form {
            RequestForm::Absolute { .. } if !self.upgrades && !is_own() => After::Keep,
            RequestForm::Absolute { .. } | RequestForm::Origin => After::Close,
        }
    }

    /// The same request of a client that cannot send another one, as it may still send the body that nobody has asked it for.
    pub(super) fn last(&self) -> Self {
        Self { keeps_alive: false, ..self.clone() }
    }

    /// The head in bytes, in the form that the upstream takes.
    pub(super) fn render(&self, form: &RequestForm, after: After) -> Vec<u8> {
        // With a field of its own for the connection only where the client's upgrade has not set it.
        let close = (after == After::Close && !self.upgrades).then_some(("Connection", "close"));
        self.render_with(form, close)
    }

    /// The head in bytes, for an upstream that is to say whether the body may follow.
    pub(super) fn render_expecting(&self, form: &RequestForm) -> Vec<u8> {
        self.render_with(form, [("Expect", "100-continue"), ("Connection", "close")])
    }

    fn render_with<'a>(
        &self,
        form: &'a RequestForm,
        own: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        match form {
            RequestForm::Absolute { proxy_authorization } => {
                let path = if self.head.target == "*" { "" } else { self.head.target.as_str() };
                let credentials = proxy_authorization.as_ref().map(|value| ("Proxy-Authorization", value.expose()));
                let fields = credentials.into_iter().chain(own);
                self.head.write_as(&["http://", authority(&self.name), path], fields, &mut bytes);
            }
            RequestForm::Origin => self.head.write_as(&[&self.head.target], own, &mut bytes),
        }
        bytes
    }
}

/// The protocol that the client wants to go on in, when the gateway can pass it on: not HTTP/2, whose frames name the
/// connection that they are on.
fn upgrade(head: &RequestHead, body: BodyLength) -> Option<Vec<u8>> {
    let protocol = head.headers.get("upgrade")?;
    let wanted = head.minor_version > 0
        && body == BodyLength::None
        && head.headers.has_token("connection", "upgrade")
        && !head.headers.has_token("upgrade", "h2c");
    wanted.then(|| protocol.to_vec())
}

/// Whether credentials, or a challenge, are for the connection and not for the request: NTLM, and SPNEGO (RFC 4559 §6).
pub(super) fn is_of_connection(value: &[u8]) -> bool {
    let scheme = value.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
    ["ntlm", "negotiate"].iter().any(|other| other.as_bytes().eq_ignore_ascii_case(scheme))
}

/// Sets a field whose value was checked before; a value that cannot stand in a field is a mistake of ours.
pub(super) fn set(headers: &mut Headers, name: &str, value: impl AsRef<[u8]>) -> Result<(), Fault> {
    headers
        .set(name, value)
        .map_err(|error| Fault::new(Side::Ours, Stage::Request, Kind::Protocol, format!("field {name}: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::LazyLock;

    use proxywhirl_core::Secret;

    use super::*;
    use crate::ingress::http::{Errand, read};

    fn asked(line: &str, fields: &[(&str, &str)]) -> Asked<'static> {
        static STAYS: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
        let (method, target) = line.split_once(' ').unwrap();
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value).unwrap();
        }
        let head = RequestHead { method: method.to_owned().into(), target: target.into(), minor_version: 1, headers };
        let Ok(Errand::Forward(request)) = read(head, &mut None) else { panic!("not to be forwarded") };
        Asked::new(request, &STAYS).unwrap()
    }

    fn rendered(asked: &Asked<'_>, form: &RequestForm) -> String {
        String::from_utf8(asked.render(form, After::Close)).unwrap()
    }

    const ABSOLUTE: RequestForm = RequestForm::Absolute { proxy_authorization: None };

    #[test]
    fn the_form_follows_the_upstream() {
        let asked = asked("GET http://Example.com:8080/a?b=c", &[("Host", "other")]);
        let absolute =
            rendered(&asked, &RequestForm::Absolute { proxy_authorization: Some(Secret::new("Basic eDp5")) });
        assert!(absolute.starts_with("GET http://example.com:8080/a?b=c HTTP/1.1\r\nHost: example.com:8080\r\n"));
        assert!(absolute.contains("\r\nProxy-Authorization: Basic eDp5\r\n"), "{absolute}");
        let origin = rendered(&asked, &RequestForm::Origin);
        assert!(origin.starts_with("GET /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\n"), "{origin}");
        assert!(!origin.contains("Proxy-Authorization"), "{origin}");
    }

    #[test]
    fn options_about_the_server_have_no_path() {
        let asked = asked("OPTIONS http://example.com", &[]);
        assert!(rendered(&asked, &ABSOLUTE).starts_with("OPTIONS http://example.com HTTP/1.1\r\n"));
        assert!(rendered(&asked, &RequestForm::Origin).starts_with("OPTIONS * HTTP/1.1\r\n"));
    }

    #[test]
    fn what_concerns_the_clients_connection_stays_here() {
        let fields = [
            ("Host", "example.com"),
            ("Proxy-Authorization", "Basic c2VjcmV0"),
            ("Proxy-Connection", "keep-alive"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("Expect", "100-continue"),
            ("Content-Length", "5"),
            ("X-End", "2"),
        ];
        let asked = asked("POST http://example.com/", &fields);
        assert!(asked.expects);
        let bytes = rendered(&asked, &ABSOLUTE);
        assert_eq!(
            bytes,
            "POST http://example.com/ HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nX-End: 2\r\n\
             Connection: close\r\n\r\n"
        );
    }

    #[test]
    fn an_upgrade_is_passed_on_but_not_to_http2() {
        let websocket = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")];
        let asked_for = asked("GET http://example.com/", &websocket);
        assert!(asked_for.upgrades);
        assert!(rendered(&asked_for, &ABSOLUTE).contains("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
        let http2 = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
        let asked = asked("GET http://example.com/", &http2);
        assert!(!asked.upgrades);
        assert!(!rendered(&asked, &ABSOLUTE).contains("h2c"));
    }
}
