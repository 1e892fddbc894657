//! Hides passwords in a text that was refused, so that the refusal can be shown.
//!
//! Such a text follows no grammar, so that one has to guess, and in doubt hides too much.

use super::{Host, host_port, port, split_host, split_scheme};
use crate::words;

/// What stands for what was hidden.
const HIDDEN: &str = "***";

/// The text with everything hidden that could be a password.
#[must_use]
pub fn masked(text: &str) -> String {
    if let Some(shown) = proxychains(text) {
        return shown;
    }
    let (scheme, rest) = split_scheme(text);
    let shown = match rest.rsplit_once('@') {
        Some((left, right)) => at_sign(left, right),
        None => colons(rest),
    };
    match scheme {
        Some(scheme) => format!("{scheme}://{shown}"),
        None => shown,
    }
}

/// `LOGIN@HOST:PORT`, or `HOST:PORT@LOGIN`, or a password with an `@` in it.
fn at_sign(left: &str, right: &str) -> String {
    let right = right.trim_end();
    let (host, port) = split_host(right.strip_suffix('/').unwrap_or(right)).unwrap_or((right, ""));
    let is_address = port.bytes().all(|byte| byte.is_ascii_digit())
        && Host::parse(host).is_some_and(|host| {
            // A name without a dot and digits after it may as well be a user name and a password.
            host.is_certain() || (!port.is_empty() && host_port(left).is_err())
        });
    let left = match left.split_once(':') {
        Some((user, _)) => format!("{user}:{HIDDEN}"),
        None => left.to_owned(),
    };
    format!("{left}@{}", if is_address { right } else { HIDDEN })
}

/// Fields between colons. The fourth is the password when the first two are an address.
fn colons(text: &str) -> String {
    let Ok((host, rest)) = split_host(text) else { return text.to_owned() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    let is_port = port(number).is_ok() || (!number.is_empty() && Host::parse(host).is_some());
    if !is_port {
        return format!("{host}:{HIDDEN}");
    }
    match after.strip_prefix(':').and_then(|fields| fields.split_once(':')) {
        Some((third, _)) if Host::parse(host).is_some() => {
            format!("{host}:{number}:{third}:{HIDDEN}")
        }
        Some(_) => format!("{host}:{HIDDEN}"),
        None => text.to_owned(),
    }
}

/// `SCHEME HOST PORT USER PASSWORD`.
fn proxychains(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_ascii_whitespace().take(5).collect();
    match words.as_slice() {
        [scheme, host, port, user, _] if words::scheme(scheme).is_some() => {
            Some(format!("{scheme} {host} {port} {user} {HIDDEN}"))
        }
        _ => None,
    }
}
