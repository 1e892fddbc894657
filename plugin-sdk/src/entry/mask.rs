//! Hides passwords in a text that was refused, so that the refusal can be shown.
//!
//! Such a text follows no grammar, so that one has to guess, and in doubt hides too much.

use super::login::split_host;
use super::{Host, notes, url};
use crate::words;

/// What stands for what was hidden.
const HIDDEN: &str = "***";

/// Words that a secret follows.
const LABELS: [&str; 7] = ["password", "passwd", "pass=", "pwd", "login=", "token", "key="];

/// The text with everything hidden that could be a password.
#[must_use]
pub fn masked(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let labelled = LABELS.iter().filter_map(|label| Some(lower.find(label)? + label.len())).min();
    // The link that changes a proxy's exit holds a key.
    let link = lower.find("[http").map(|start| start + 1);
    match labelled.into_iter().chain(link).min().and_then(|end| text.get(..end)) {
        Some(before) => format!("{}{HIDDEN}", fields(before)),
        None => fields(text),
    }
}

fn fields(text: &str) -> String {
    if let Some(shown) = words_after_scheme(text).or_else(|| table(text)) {
        return shown;
    }
    let (scheme, rest) = url::split_scheme(text);
    let Some(scheme) = scheme else { return login(text) };
    if url::schemes(scheme).is_err() {
        return format!("{scheme}://{HIDDEN}");
    }
    match rest.split_once('?') {
        Some((rest, _)) => format!("{scheme}://{}?{HIDDEN}", login(rest)),
        None => format!("{scheme}://{}", login(rest)),
    }
}

fn login(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((left, right)) => at_sign(left, right),
        None => colons(text),
    }
}

/// `LOGIN@HOST:PORT`, or `HOST:PORT@LOGIN`, or a password with an `@` in it.
fn at_sign(left: &str, right: &str) -> String {
    let right = right.trim_end();
    let shown = match (Address::of(left), Address::of(right.strip_suffix('/').unwrap_or(right))) {
        (Address::None | Address::Name, Address::Certain) => right,
        // A name without a dot and digits after it may as well be a user name and a password.
        (Address::None, Address::Name) if right.contains(':') => right,
        _ => HIDDEN,
    };
    match left.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}@{shown}"),
        None => format!("{left}@{shown}"),
    }
}

/// How much a text looks like `HOST:DIGITS` or `HOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Address {
    None,
    Name,
    Certain,
}

impl Address {
    fn of(text: &str) -> Self {
        let (host, port) = split_host(text).unwrap_or((text, ""));
        match Host::parse(host) {
            Some(host) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                if host.is_certain() {
                    Self::Certain
                } else {
                    Self::Name
                }
            }
            _ => Self::None,
        }
    }
}

/// Fields between colons. The fourth is the password when the first two are an address.
fn colons(text: &str) -> String {
    let Ok((host, rest)) = split_host(text) else {
        return if text.starts_with('[') && text.contains(':') { format!("[{HIDDEN}") } else { text.to_owned() };
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    let parsed = Host::parse(host);
    if number.is_empty() || (parsed.is_none() && super::port(number).is_err()) {
        return format!("{host}:{HIDDEN}");
    }
    let is_certain = parsed.is_some_and(|host| host.is_certain());
    match after.strip_prefix(':').map(|fields| fields.split_once(':').ok_or(fields)) {
        Some(Ok((third, _))) if is_certain => format!("{host}:{number}:{third}:{HIDDEN}"),
        Some(Err(_)) if is_certain => text.to_owned(),
        // What seems to be the port may be the password of `USER:PASSWORD:HOST:PORT`.
        Some(_) => format!("{host}:{HIDDEN}"),
        None if after.contains(':') => format!("{host}:{number}{HIDDEN}"),
        None => text.to_owned(),
    }
}

/// `SCHEME HOST PORT USER PASSWORD`, with or without words before it.
fn words_after_scheme(text: &str) -> Option<String> {
    let mut rest = text;
    let mut left = None;
    loop {
        rest = rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
        match left {
            None if words::scheme(word).is_some() => left = Some(3_u8),
            None => {}
            Some(0) => {
                let shown = text.len() - rest.len();
                return Some(format!("{}{HIDDEN}", text.get(..shown)?));
            }
            Some(words) => left = Some(words - 1),
        }
        rest = after;
    }
}

/// `HOST,PORT,USER,PASSWORD`, with any separator of a table.
fn table(text: &str) -> Option<String> {
    let (host, _) = text.split_at_checked(text.find(notes::is_separator)?)?;
    Host::parse(host)?;
    let separator = text.get(host.len()..)?.chars().next().filter(|&first| first != ' ')?;
    let (last, _) = text.match_indices(separator).nth(2)?;
    Some(format!("{}{separator}{HIDDEN}", text.get(..last)?))
}
