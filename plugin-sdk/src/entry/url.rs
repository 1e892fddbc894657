//! Entries with a scheme: `SCHEME://…`. See the table in [`entry`](super).

use super::{Entry, Fault, Host, ipv4_port, login};
use crate::{Scheme, words};

/// The most schemes that one entry names: `http+socks4+socks5`.
pub(super) const MAX_SCHEMES: usize = 4;

/// The schemes of an entry, in their order.
pub(super) type Schemes = [Option<Scheme>; MAX_SCHEMES];

/// `SCHEME://REST`, when what stands before `://` looks like a scheme at all.
pub(super) fn split_scheme(text: &str) -> (Option<&str>, &str) {
    let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    let length = text.bytes().take_while(|&byte| is_scheme(byte)).count();
    match text.split_at(length) {
        (word, rest) if !word.is_empty() => match rest.strip_prefix("://") {
            Some(rest) => (Some(word), rest),
            None => (None, text),
        },
        _ => (None, text),
    }
}

/// The schemes that the word before `://` names.
pub(super) fn schemes(word: &str) -> Result<Schemes, Fault> {
    let mut schemes = Schemes::default();
    if let Some(scheme) = words::scheme(word) {
        schemes[0] = Some(scheme);
        return Ok(schemes);
    }
    if !word.contains('+') {
        return Err(Fault::scheme(word));
    }
    let is_tls = |part: &str| ["ssl", "tls"].iter().any(|known| known.eq_ignore_ascii_case(part));
    let encrypted = word.split('+').any(is_tls);
    let mut places = schemes.iter_mut();
    for part in word.split('+').filter(|part| !is_tls(part)) {
        let scheme = match words::scheme(part) {
            Some(Scheme::Http | Scheme::Https) if encrypted => Scheme::Https,
            Some(_) if encrypted => return Err(Fault::SocksInTls),
            Some(scheme) => scheme,
            None => return Err(Fault::scheme(word)),
        };
        *places.next().ok_or_else(|| Fault::scheme(word))? = Some(scheme);
    }
    if schemes[0].is_some() { Ok(schemes) } else { Err(Fault::scheme(word)) }
}

/// An entry of the scheme that a word stands for.
pub(super) fn read<'a>(word: &str, rest: &'a str) -> Result<Entry<'a>, Fault> {
    let [scheme, ..] = schemes(word)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if let Some((address, port, used)) = ipv4_port(rest.as_bytes())
        && used == rest.len()
    {
        return Ok(Entry { scheme, ..Entry::at(Host::Ipv4(address), port) });
    }
    if word.contains('+')
        && let Some(entry) = login_in_tag(rest)
    {
        return entry.map(|entry| Entry { scheme, ..entry });
    }
    let entry = login::read_behind_scheme(rest).or_else(|fault| without_options(rest, fault))?;
    // What follows the port may say the scheme once more; the one in front counts.
    Ok(Entry { scheme, ..entry })
}

/// `HOST:PORT#USER:PASSWORD`, which only schemes with a `+` have: others have a tag there.
fn login_in_tag(rest: &str) -> Option<Result<Entry<'_>, Fault>> {
    let (address, tag) = rest.split_once('#')?;
    let (host, port) = login::host_port(address.strip_suffix('/').unwrap_or(address)).ok()?;
    let (username, password) = tag.split_once(':')?;
    if username.is_empty() {
        return Some(Err(Fault::NoUsername));
    }
    let entry = Entry::at(host, port);
    Some(Ok(Entry { username: Some(username.into()), password: Some(password.into()), ..entry }))
}

/// A text that is no entry as a whole, without its options or its tag. Where they begin is not certain,
/// because `#` and `?` are in passwords too: the first place that leaves an entry is the one.
fn without_options(rest: &str, whole: Fault) -> Result<Entry<'_>, Fault> {
    let places = [rest.find('?'), rest.find('#'), rest.rfind('?'), rest.rfind('#')];
    let mut fault = whole;
    for place in places.into_iter().flatten() {
        let text = rest.get(..place).unwrap_or_default();
        match login::read_behind_scheme(text.strip_suffix('/').unwrap_or(text)) {
            Ok(entry) if entry.host.is_certain() => return Ok(entry),
            Err(found @ (Fault::PortRange(_) | Fault::NoPort)) => fault = found,
            Ok(_) | Err(_) => {}
        }
    }
    Err(fault)
}
