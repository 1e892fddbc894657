//! Clash: the proxies of a configuration of Clash or mihomo.
//!
//! **When to use.** YAML with a list `proxies:`: configurations, proxy providers, answers of subscription
//! services. Of its types `http` and `socks5` are proxies that are spoken here, with `server`, `port`,
//! `username`, `password`, and `tls: true`, which makes HTTPS of HTTP. All others (`ss`, `vmess`, `trojan`,
//! …) are tunnels: each is a rejection that names its type.
//!
//! **Options.** None.
//!
//! Only the part of YAML that these lists are written in is read: mappings in braces or in lines of their
//! own, scalars in quotes or plain. By hand, because names in them are often no YAML (`[HK] 01`, `@free`),
//! at which a reader of YAML gives up the document, while here one bad entry must not cost the others.
//! Anchors and aliases are not followed, so nothing can grow; nested values are passed over, so nothing can
//! be too deep; the time is linear in the document's length.
//!
//! Reference: <https://wiki.metacubex.one/en/config/proxies/>.

mod entries;
mod scalar;

use entries::{Entries, Entry, has_list};
use proxywhirl_plugin_sdk::entry::{self, Fault, Host};
use proxywhirl_plugin_sdk::parser::{Candidate, Collector, Document, Parser};
use proxywhirl_plugin_sdk::{Anonymity, Description, NoOptions, Scheme};

/// The proxies of a configuration of Clash.
#[derive(Debug)]
pub struct Clash;

impl Parser for Clash {
    type Options = NoOptions;

    fn describe() -> Description {
        Description::new(
            "clash",
            env!("CARGO_PKG_VERSION"),
            "The HTTP and SOCKS5 proxies of a Clash or mihomo configuration (YAML).",
        )
    }

    fn sniff(document: &Document<'_>) -> u8 {
        let text = String::from_utf8_lossy(document.body);
        if !has_list(&text) {
            return 0;
        }
        match Entries::of(&text).next() {
            Some(entry) if entry.server.is_some() || entry.kind.is_some() => 97,
            Some(_) => 20,
            None => 40,
        }
    }

    fn parse(document: &Document<'_>, _: &NoOptions, collector: &mut Collector) -> Result<(), String> {
        let text = String::from_utf8_lossy(document.body);
        if !has_list(&text) {
            return Err("there is no list `proxies:`".to_owned());
        }
        for entry in Entries::of(&text) {
            let line = entry.line;
            match candidate(&entry) {
                Ok(candidate) => collector.accept(candidate),
                Err(reason) => collector.reject(line, entry.excerpt().as_bytes(), reason),
            }
        }
        Ok(())
    }
}

/// An entry as a candidate, or why it is none.
fn candidate(entry: &Entry<'_>) -> Result<Candidate, String> {
    if entry.is_cut {
        return Err("a mapping without an end".to_owned());
    }
    let kind = entry.kind.as_deref().ok_or("no type")?;
    let scheme = match (kind, entry.tls) {
        ("http", false) => Scheme::Http,
        ("http", true) | ("https", _) => Scheme::Https,
        ("socks5", false) => Scheme::Socks5,
        ("socks5", true) => return Err(Fault::SocksInTls.to_string()),
        _ => return Err(format!("type {} is neither http nor socks5", word(kind))),
    };
    let server = entry.server.as_deref().ok_or_else(|| Fault::NoHost.to_string())?;
    let host = Host::parse(server).ok_or_else(|| Fault::NotAHost(server.to_owned()).to_string())?;
    let port = entry::port(entry.port.as_deref().unwrap_or_default()).map_err(|fault| fault.to_string())?;
    let username = entry.username.as_deref().filter(|username| !username.is_empty());
    let password = entry.password.as_deref().filter(|_| username.is_some());
    if username.is_none() && entry.password.as_deref().is_some_and(|password| !password.is_empty()) {
        return Err(Fault::NoUsername.to_string());
    }
    Ok(Candidate {
        scheme: Some(scheme),
        host: host.into(),
        port,
        username: username.map(str::to_owned),
        password: password.map(str::to_owned),
        country: String::new(),
        anonymity: Anonymity::Unknown,
        line: entry.line,
    })
}

/// A type as a reason shows it: a stranger's text does not get far.
fn word(kind: &str) -> String {
    kind.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').take(20).collect()
}

proxywhirl_plugin_sdk::export!(parser: Clash);

#[cfg(test)]
mod tests;
