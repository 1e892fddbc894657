//! Proxies as shells and curl are told them: `export HTTPS_PROXY="…"`, `curl -x … -U …`.

use super::notes;
use crate::{Scheme, words};

/// What such a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told<'a> {
    /// The proxy, as an entry.
    pub(super) entry: &'a str,
    /// `USER:PASSWORD`, as it is.
    pub(super) login: Option<&'a str>,
    /// The scheme that the option's name says.
    pub(super) scheme: Option<Scheme>,
}

/// The proxy that a line tells a shell or curl; none when it is no such line.
pub(super) fn told(line: &str) -> Option<Told<'_>> {
    variable(line).or_else(|| curl(line))
}

/// `HTTP_PROXY=…`, in any case, with `export`, `set` or nothing before it.
fn variable(line: &str) -> Option<Told<'_>> {
    let (name, value) = line.split_once('=')?;
    let mut words = name.split_whitespace().rev();
    let name = words.next()?;
    let before = words.next();
    let is_setter = |word| ["export", "set", "env", "setx"].contains(&word);
    if words.next().is_some() || !before.is_none_or(is_setter) || !is_variable(name) {
        return None;
    }
    let value = unquoted(value.trim());
    Some(Told { entry: value, login: None, scheme: None })
}

fn is_variable(name: &str) -> bool {
    let name = name.strip_prefix("$env:").unwrap_or(name);
    ["http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "socks_proxy", "proxy"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// The options of curl, with or without the word `curl` before them.
fn curl(line: &str) -> Option<Told<'_>> {
    let mut words = line.split_whitespace().peekable();
    let first = *words.peek()?;
    if first == "curl" {
        words.next();
    } else if !first.starts_with('-') {
        return None;
    }
    let mut told = None;
    let mut login = None;
    while let Some(word) = words.next() {
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (word, None),
        };
        let scheme = match option {
            "-x" | "--proxy" | "--proxy-server" => None,
            "--socks4" | "--socks4a" | "--socks5" => option.strip_prefix("--").and_then(words::scheme),
            "--socks5-hostname" => Some(Scheme::Socks5h),
            "-U" | "--proxy-user" => {
                login = Some(unquoted(attached.or_else(|| words.next())?));
                continue;
            }
            _ => continue,
        };
        let entry = unquoted(attached.or_else(|| words.next())?);
        told.get_or_insert(Told { entry, login: None, scheme });
    }
    told.map(|told| Told { login, ..told })
}

/// Without a pair of quotes around it.
fn unquoted(text: &str) -> &str {
    let text = text.trim_matches(notes::is_separator);
    let inner = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}
