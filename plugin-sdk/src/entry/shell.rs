//! Proxies as shells and curl are told them: `export HTTPS_PROXY="…"`, `curl -x … -U …`.

use super::notes;
use crate::{Scheme, words};
use std::borrow::Cow;

/// What such a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told<'a> {
    /// The proxy, as an entry.
    pub(super) entry: Cow<'a, str>,
    /// `USER:PASSWORD`, as it is.
    pub(super) login: Option<String>,
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
    Some(Told { entry: value.into(), login: None, scheme: None })
}

fn is_variable(name: &str) -> bool {
    let name = name.strip_prefix("$env:").unwrap_or(name);
    ["http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "socks_proxy", "proxy"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// The options of curl, with or without the word `curl` before them.
fn curl(line: &str) -> Option<Told<'static>> {
    if !line.starts_with('-') && line.split_whitespace().next() != Some("curl") {
        return None;
    }
    let mut words = unshelled(line)?.into_iter();
    let mut told = None;
    let mut login = None;
    while let Some(word) = words.next() {
        let (option, attached) = match (word.split_once('='), word.split_at_checked(2)) {
            (Some((option, value)), _) if option.starts_with("--") => (option, Some(value)),
            (_, Some((option @ ("-x" | "-U"), value))) if !value.is_empty() => (option, Some(value)),
            _ => (word.as_str(), None),
        };
        let scheme = match option {
            "-x" | "--proxy" | "--proxy-server" => None,
            "--socks4" | "--socks4a" | "--socks5" => option.strip_prefix("--").and_then(words::scheme),
            "--socks5-hostname" => Some(Scheme::Socks5h),
            "-U" | "--proxy-user" => {
                login = Some(attached.map(str::to_owned).or_else(|| words.next())?);
                continue;
            }
            _ => continue,
        };
        let entry = attached.map(str::to_owned).or_else(|| words.next())?;
        let entry = entry.trim_matches(notes::is_separator).to_owned();
        told.get_or_insert(Told { entry: entry.into(), login: None, scheme });
    }
    told.map(|told| Told { login, ..told })
}

/// The words of a line as a shell reads them (POSIX.1-2017, 2.2 Quoting), up to the command's end; none when a quote is
/// left open.
fn unshelled(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // Within a word they may belong to a password that somebody has pasted without quotes.
            ';' | '|' | '&' if word.is_none() => break,
            ';' if letters.peek().is_none_or(|next| next.is_whitespace()) => break,
            _ if letter.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '\'' => break,
                        letter => word.push(letter),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => match letters.next()? {
                            letter @ ('$' | '`' | '"' | '\\') => word.push(letter),
                            letter => word.extend(['\\', letter]),
                        },
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Some(words)
}

/// Without a pair of quotes around it.
fn unquoted(text: &str) -> &str {
    let text = text.trim_matches(notes::is_separator);
    let inner = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}
