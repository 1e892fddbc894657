//! The lines that name a proxy to go through.

use proxywhirl_plugin_sdk::entry::{self, Entry, Fault, Host};
use proxywhirl_plugin_sdk::parser::Candidate;
use proxywhirl_plugin_sdk::{Scheme, words};
use std::borrow::Cow;

/// A line that names a proxy, and the words behind its first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directive<'a> {
    /// Squid's.
    CachePeer(Vec<&'a str>),
    /// 3proxy's.
    Parent(Vec<&'a str>),
    /// HAProxy's.
    Server(Vec<&'a str>),
}

/// Whether a line begins a section of HAProxy that holds servers.
pub(crate) fn is_section(line: &str) -> bool {
    let mut words = line.split_whitespace();
    matches!(words.next(), Some("backend" | "listen")) && words.next().is_some()
}

impl<'a> Directive<'a> {
    /// The directive of a line; none for settings, comments and anything else.
    pub(crate) fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let words: Vec<_> = words.take_while(|word| !word.starts_with('#')).collect();
        match (first, words.as_slice()) {
            ("cache_peer", [_, _, ..]) => Some(Self::CachePeer(words)),
            ("parent", [weight, _, _, ..]) if is_number(weight) => Some(Self::Parent(words)),
            ("server", [_, address, ..]) if address.contains(':') => Some(Self::Server(words)),
            _ => None,
        }
    }

    /// As a candidate, or why it is none.
    pub(crate) fn candidate(&self, line: u32, default: Scheme) -> Result<Candidate, String> {
        let entry = match self {
            Self::CachePeer(words) => cache_peer(words),
            Self::Parent(words) => parent(words),
            Self::Server(words) => server(words, default),
        };
        entry.map(|entry| entry.into_candidate(line))
    }

    /// What to show of it: no credentials.
    pub(crate) fn excerpt(&self) -> String {
        match self {
            Self::CachePeer(words) => format!("cache_peer {}", first(words, 3)),
            Self::Parent(words) => format!("parent {}", first(words, 4)),
            Self::Server(words) => format!("server {}", first(words, 2)),
        }
    }
}

fn first(words: &[&str], count: usize) -> String {
    words.iter().take(count).copied().collect::<Vec<_>>().join(" ")
}

/// `HOST TYPE PORT ICP [OPTIONS]`.
fn cache_peer<'a>(words: &[&'a str]) -> Result<Entry<'a>, String> {
    let (host, kind, number) = (word(words, 0), word(words, 1), word(words, 2));
    if kind != "parent" {
        return Err("a cache_peer that is no parent".to_owned());
    }
    let options = words.get(4..).unwrap_or_default();
    if options.contains(&"originserver") {
        return Err("an origin server".to_owned());
    }
    let is_tls = options.iter().any(|option| matches!(*option, "tls" | "ssl"));
    let scheme = if is_tls { Scheme::Https } else { Scheme::Http };
    let port = entry::port(number).map_err(|fault| fault.to_string())?;
    let entry = Entry { scheme: Some(scheme), ..at(host, port)? };
    let login = options.iter().find_map(|option| option.strip_prefix("login="));
    // A word that is no pair stands for the credentials of whoever asks.
    match login.filter(|login| login.contains(':') && !login.starts_with('*')) {
        Some(login) => {
            // Squid reads URL escapes here, and so does the grammar for URLs.
            let url = format!("http://{login}@192.0.2.1:1");
            let found = entry::parse(url.as_bytes(), scheme).map_err(|fault| fault.to_string())?;
            let owned = |part: Option<Cow<'_, str>>| part.map(|part| part.into_owned().into());
            let (username, password) = (owned(found.username), owned(found.password));
            Ok(Entry { username, password, ..entry })
        }
        None => Ok(entry),
    }
}

fn at(host: &str, port: u16) -> Result<Entry<'_>, String> {
    let host = Host::parse(host).ok_or_else(|| Fault::NotAHost(host.to_owned()).to_string())?;
    Ok(Entry::at(host, port))
}

fn word<'a>(words: &[&'a str], place: usize) -> &'a str {
    words.get(place).copied().unwrap_or_default()
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// `WEIGHT TYPE HOST PORT [USER [PASSWORD]]`.
fn parent<'a>(words: &[&'a str]) -> Result<Entry<'a>, String> {
    let kind = word(words, 1);
    let base = kind.trim_end_matches(['+', 'b']);
    let scheme = if base == "connect" { Some(Scheme::Http) } else { words::scheme(base) };
    let scheme = scheme.ok_or_else(|| Fault::Scheme(kind.to_owned()).to_string())?;
    let port = entry::port(word(words, 3)).map_err(|fault| fault.to_string())?;
    let entry = at(word(words, 2), port)?;
    let field = |place: usize| words.get(place).map(|&word| word.into());
    Ok(Entry { scheme: Some(scheme), username: field(4), password: field(5), ..entry })
}

/// `NAME HOST:PORT [OPTIONS]`.
fn server<'a>(words: &[&'a str], default: Scheme) -> Result<Entry<'a>, String> {
    if words.contains(&"disabled") {
        return Err("a server that is disabled".to_owned());
    }
    let address: &'a str = words.get(1).copied().unwrap_or_default();
    let entry = entry::parse(address.as_bytes(), default).map_err(|fault| fault.to_string())?;
    let scheme = words.contains(&"ssl").then_some(Scheme::Https);
    Ok(Entry { scheme: entry.scheme.or(scheme), ..entry })
}
