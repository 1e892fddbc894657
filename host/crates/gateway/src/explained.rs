//! What an answer says of how it came about, for a client that asks: through whom, after how many attempts, and in which
//! session.

use proxywhirl_core::Endpoint;
use proxywhirl_net::http1::{HeadError, Headers};

use crate::config::GatewayConfig;
use crate::wanted::Wanted;

const UPSTREAM: &str = "ProxyWhirl-Upstream";
const ATTEMPTS: &str = "ProxyWhirl-Attempts";
const SESSION: &str = "ProxyWhirl-Session";

/// What a client hears of its request beside the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explained {
    upstream: Option<String>,
    attempts: usize,
    session: Option<u64>,
}

impl Explained {
    /// What there is to say; nothing to a client that does not ask.
    pub(crate) fn of(
        config: &GatewayConfig,
        wanted: &Wanted,
        upstream: Option<&Endpoint>,
        attempts: usize,
    ) -> Option<Self> {
        let is_wanted = wanted.explain.unwrap_or(config.explain);
        is_wanted.then(|| Self { upstream: upstream.map(shown), attempts, session: wanted.session })
    }

    /// Sets the fields, in place of what an upstream said under these names.
    pub(crate) fn set(&self, headers: &mut Headers) -> Result<(), HeadError> {
        for name in [UPSTREAM, ATTEMPTS, SESSION] {
            headers.remove(name);
        }
        self.fields().into_iter().try_for_each(|(name, value)| headers.append(name, value))
    }

    /// The fields, as lines of a head.
    pub(crate) fn lines(&self) -> String {
        self.fields().into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }

    /// Whom the answer came through.
    pub(crate) fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let upstream = self.upstream.iter().map(|upstream| (UPSTREAM, upstream.clone()));
        let session = self.session.map(|session| (SESSION, format!("{session:016x}")));
        upstream.chain([(ATTEMPTS, self.attempts.to_string())]).chain(session).collect()
    }
}

/// An upstream without its credentials.
fn shown(upstream: &Endpoint) -> String {
    if upstream.is_direct() {
        return "direct".to_owned();
    }
    format!("{}://{}:{}", upstream.scheme, upstream.host, upstream.port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_way_without_a_proxy_has_a_name() {
        assert_eq!(shown(&Endpoint::direct()), "direct");
    }

    #[test]
    fn only_who_asks_hears_it_and_nobody_hears_credentials() {
        let (quiet, told) = (GatewayConfig::default(), GatewayConfig { explain: true, ..GatewayConfig::default() });
        let upstream: Endpoint = "socks5://me:secret@[::1]:1080".parse().unwrap();
        let of = |config: &GatewayConfig, explain: Option<bool>| {
            let wanted = Wanted { explain, session: Some(7), ..Wanted::default() };
            Explained::of(config, &wanted, Some(&upstream), 2).map(|explained| explained.lines())
        };
        assert_eq!((of(&quiet, None), of(&told, Some(false))), (None, None));
        let lines = "ProxyWhirl-Upstream: socks5://[::1]:1080\r\nProxyWhirl-Attempts: 2\r\n\
                     ProxyWhirl-Session: 0000000000000007\r\n";
        assert_eq!(of(&quiet, Some(true)).as_deref(), Some(lines));
        assert_eq!(of(&told, None).as_deref(), Some(lines));
    }

    #[test]
    fn what_an_upstream_says_under_these_names_goes() {
        let mut headers = Headers::new();
        headers.append("proxywhirl-upstream", "http://liar:1").unwrap();
        headers.append("X", "1").unwrap();
        let explained = Explained { upstream: None, attempts: 1, session: None };
        explained.set(&mut headers).unwrap();
        let fields: Vec<_> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(fields, ["X", ATTEMPTS]);
    }
}
