//! Sites: the registrable domains that requests go to, as symbols.
//!
//! A site is what can be registered below a public suffix (<https://publicsuffix.org>): `example.co.uk` for
//! `www.example.co.uk`; an address is its own. Two names of a site ban and slow down together, which is what a strategy
//! learns. Nothing is looked up, interned or counted unless the strategy in force tells sites apart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use proxywhirl_core::symbol::{Symbol, Symbols};

/// Sites that get a symbol: what comes after has none, and shares the plan for everybody. A client that asks for ever
/// new names must not fill the table of symbols.
const MOST: usize = 4_096;

/// The longest host name (RFC 1035).
const LONGEST: usize = 253;

/// The sites that requests went to.
#[derive(Debug)]
pub(super) struct Sites {
    /// Whether the strategy tells sites apart. Written by its thread.
    wanted: AtomicBool,
    symbols: Arc<Symbols>,
    /// Written when a site comes for the first time. Held for a few instructions.
    known: RwLock<HashMap<Box<str>, Site>>,
}

#[derive(Debug)]
struct Site {
    symbol: Symbol,
    /// Requests, of which half are forgotten with each look.
    hits: AtomicU64,
}

impl Sites {
    pub(super) fn new(symbols: Arc<Symbols>) -> Self {
        Self { wanted: AtomicBool::new(false), symbols, known: RwLock::default() }
    }

    /// Says whether the strategy tells sites apart.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// The symbol of a target's site; none when nobody wants it, or when there are too many.
    pub(super) fn of(&self, target: &str) -> Symbol {
        if !self.wanted.load(Ordering::Relaxed) {
            return Symbol::NONE;
        }
        let site = registrable(target);
        if site.is_empty() || site.len() > LONGEST {
            return Symbol::NONE;
        }
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(site) {
            known.hits.fetch_add(1, Ordering::Relaxed);
            return known.symbol;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(site) {
            return known.symbol;
        }
        if known.len() >= MOST {
            return Symbol::NONE;
        }
        let symbol = self.symbols.intern(site);
        known.insert(site.into(), Site { symbol, hits: AtomicU64::new(1) });
        symbol
    }

    /// The sites that most requests go to, by symbol; and forgets half of the requests.
    pub(super) fn busiest(&self, most: usize) -> Vec<Symbol> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut busy: Vec<(u64, Symbol)> = Vec::new();
        for site in known.values().filter(|site| site.symbol != Symbol::NONE) {
            let hits = site.hits.load(Ordering::Relaxed);
            if hits > 0 {
                busy.push((hits, site.symbol));
                site.hits.fetch_sub(hits / 2, Ordering::Relaxed);
            }
        }
        busy.sort_unstable_by(|a, b| b.cmp(a));
        busy.into_iter().take(most).map(|(_, symbol)| symbol).collect()
    }
}

/// The registrable domain of `host:port`, or the host itself when it is an address or has none.
#[must_use]
pub fn registrable(target: &str) -> &str {
    // Byte by byte, since ports are short: whoever searches for a character sets up more than it reads.
    let last = |text: &str, of: u8| text.bytes().rposition(|byte| byte == of);
    let host = match last(target, b':').and_then(|colon| target.get(..colon)) {
        Some(host) if host.starts_with('[') || last(host, b':').is_none() => host,
        Some(_) | None => target,
    };
    let label = last(host, b'.').map_or(0, |dot| dot + 1);
    let is_number = host.bytes().skip(label).all(|byte| byte.is_ascii_digit());
    let is_address = host.starts_with('[') || is_number || last(host, b':').is_some();
    if is_address { host } else { psl::domain_str(host).unwrap_or(host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_what_can_be_registered() {
        for (target, site) in [
            ("www.example.com:443", "example.com"),
            ("a.b.example.co.uk:80", "example.co.uk"),
            ("example.com", "example.com"),
            ("localhost:8080", "localhost"),
            ("co.uk:80", "co.uk"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:80", "[::1]"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(registrable(target), site, "{target}");
        }
    }

    #[test]
    fn nothing_is_interned_until_somebody_wants_it() {
        let symbols = Arc::new(Symbols::default());
        let sites = Sites::new(Arc::clone(&symbols));
        assert_eq!(sites.of("www.example.com:443"), Symbol::NONE);
        sites.want(true);
        let symbol = sites.of("www.example.com:443");
        assert_eq!(symbols.resolve(symbol).as_deref(), Some("example.com"));
        assert_eq!(sites.of("example.com:80"), symbol);
    }

    #[test]
    fn sites_are_bounded_and_the_busiest_come_first() {
        let sites = Sites::new(Arc::default());
        sites.want(true);
        for n in 0..MOST {
            assert_ne!(sites.of(&format!("site{n}.com:80")), Symbol::NONE);
        }
        assert_eq!(sites.of("another.com:80"), Symbol::NONE);
        for _ in 0..3 {
            sites.of("site9.com:80");
        }
        sites.of("site7.com:80");
        let (nine, seven) = (sites.of("site9.com:80"), sites.of("site7.com:80"));
        assert_eq!(sites.busiest(2), [nine, seven]);
    }
}
