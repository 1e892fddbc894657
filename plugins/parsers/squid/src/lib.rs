//! Squid: the upstream proxies in configurations of squid, 3proxy and HAProxy.
//!
//! **When to use.** `squid.conf` with `cache_peer` lines, `3proxy.cfg` with `parent` lines, `haproxy.cfg`
//! with `server` lines below a `backend` or `listen`:
//!
//! | line | what it says |
//! |---|---|
//! | `cache_peer HOST parent PORT ICP [login=USER:PASSWORD] [tls]` | HTTP, or HTTPS with `tls` or `ssl` |
//! | `parent WEIGHT TYPE HOST PORT [USER [PASSWORD]]` | `http`, `connect`, `socks4`, `socks5`, with a `+` or `b` behind it too |
//! | `server NAME HOST:PORT …` | the document's default, or HTTPS with `ssl` |
//!
//! **Options.** None.
//!
//! Every other line is a setting of these programs, which does not count. A line of these three that is
//! no proxy to go through (a sibling, a reverse proxy's origin, a local service) is a rejection.
//!
//! Reference: <https://www.squid-cache.org/Doc/config/cache_peer/>,
//! <https://3proxy.org/doc/man3/3proxy.cfg.3.html>, <https://docs.haproxy.org/3.0/configuration.html#5>.

mod directive;

use directive::Directive;
use proxywhirl_plugin_sdk::parser::{Collector, Document, Parser};
use proxywhirl_plugin_sdk::{Description, NoOptions};

/// Configurations of squid, 3proxy and HAProxy.
#[derive(Debug)]
pub struct Squid;

impl Parser for Squid {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new(
            "squid",
            env!("CARGO_PKG_VERSION"),
            "Upstream proxies in configurations of squid (cache_peer), 3proxy (parent) and HAProxy (server).",
        )
    }

    /// By a line that only these programs have. A `server` line is anybody's unless a section of HAProxy
    /// stands above it.
    fn sniff(document: &Document<'_>) -> u8 {
        let text = String::from_utf8_lossy(document.body);
        let mut in_section = false;
        for line in text.lines() {
            match Directive::of(line) {
                Some(Directive::CachePeer(_) | Directive::Parent(_)) => return 96,
                Some(Directive::Server(_)) if in_section => return 94,
                Some(Directive::Server(_)) | None => in_section |= directive::is_section(line),
            }
        }
        0
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let text = String::from_utf8_lossy(document.body);
        let mut seen = false;
        for (line, text) in (1..).zip(text.lines()) {
            let Some(directive) = Directive::of(text) else { continue };
            seen = true;
            match directive.candidate(line, document.default_scheme) {
                Ok(candidate) => collector.accept(candidate),
                Err(reason) => collector.reject(line, directive.excerpt().as_bytes(), reason),
            }
        }
        if seen { Ok(()) } else { Err("there is no cache_peer, parent or server line".to_owned()) }
    }
}

proxywhirl_plugin_sdk::export!(parser: Squid);

#[cfg(test)]
mod tests;
