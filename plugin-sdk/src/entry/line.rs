//! Whole lines: several entries, tables, and what is said about a proxy beside its address.

use super::range::{Ranged, Ranges};
use super::{Entry, Fault, Host, MAX_BYTES, notes, parse, port, shell, url};
use crate::{Scheme, country, words};

/// What takes each entry of a line, and each fault.
type Found<'f> = &'f mut dyn FnMut(Result<Entry<'_>, Fault>);

/// Reads a line, which is an entry, or in this order:
///
/// | form | example |
/// |---|---|
/// | entries of certain hosts, separated by `,`, `;`, `\|` or white space | `1.2.3.4:80, 1.2.3.5:81` |
/// | a range of addresses | `1.2.3.0/24:8080` |
/// | a shell's variable, or curl's options | `export HTTPS_PROXY="…"`, `curl -x … -U …` |
/// | `SCHEME HOST PORT [USER [PASSWORD]]`, `SCHEME ENTRY` | `http 1.2.3.4 3128 me secret` |
/// | `HOST:PORT:COUNTRY` of several words | `1.2.3.4:80:Hong Kong` |
/// | `[FLAG] ENTRY NOTES` | `1.2.3.4:80 US-H-S! +`, `🇩🇪 1.2.3.4:80 60ms DE [ISP]` |
/// | `HOST PORT NOTES`, also with `,`, `;`, `\|` or tab, then also with user name and password | `1.2.3.4;80` |
/// | at least two entries among other words, each of which is a fault | |
///
/// All these want a certain host: an address, or a name with a dot. A login with white space in it is refused as a
/// whole, and not read from its middle. `found` gets each entry, and a fault
/// for each part that is none; an empty line is a fault. `ranges` bounds what ranges bring in a document.
pub fn line(text: &[u8], default: Scheme, ranges: &mut Ranges, found: Found<'_>) {
    let text = text.trim_ascii();
    let whole = parse(text, default);
    let mut reader = Reader { default, ranges, found };
    match (whole, std::str::from_utf8(text)) {
        (Ok(entry), Ok(text)) if memchr::memchr3(b',', b';', b'|', text.as_bytes()).is_none() => {
            reader.give(text, entry.into());
        }
        (Ok(_), Ok(text)) if reader.pieces(text).are_many() => reader.give_pieces(text),
        (Ok(entry), Ok(text)) => reader.give(text, entry.into()),
        (Err(fault), Ok(text)) => reader.search(text, fault),
        (_, Err(_)) => (reader.found)(Err(Fault::NotText)),
    }
}

impl Ranged<'_> {
    /// With what words after it say; a fault when they say something else.
    fn with_notes(mut self, text: &str) -> Result<Self, Fault> {
        if notes::read(&mut self.entry, text) { Ok(self) } else { Err(Fault::Note) }
    }

    /// With a scheme, where it has none.
    fn or_scheme(mut self, scheme: Option<Scheme>) -> Self {
        self.entry.scheme = self.entry.scheme.or(scheme);
        self
    }
}

/// An entry whose host can hardly be anything else.
fn certain(text: &str, default: Scheme) -> Option<Ranged<'_>> {
    Ranged::parse(text, default).ok().filter(|found| found.entry.host.is_certain())
}

/// How many parts a line has, and how many of them are entries of certain hosts.
#[derive(Debug, Clone, Copy)]
struct Pieces {
    all: usize,
    entries: usize,
    /// Whether each looks like an address.
    alike: bool,
}

impl Pieces {
    const fn are_many(self) -> bool {
        self.entries == self.all && self.all > 1
    }
}

struct Reader<'r> {
    default: Scheme,
    ranges: &'r mut Ranges,
    found: Found<'r>,
}

impl Reader<'_> {
    /// A line that is no entry as a whole.
    fn search(&mut self, text: &str, fault: Fault) {
        let pieces = self.pieces(text);
        if pieces.entries > 0 && pieces.entries == pieces.all {
            return self.give_pieces(text);
        }
        // Whatever else a line with a foreign scheme holds, it is no proxy of ours.
        if let (Some(word), _) = url::split_scheme(text)
            && let Err(fault) = url::schemes(word)
        {
            return (self.found)(Err(fault));
        }
        let one = if text.len() > MAX_BYTES { None } else { one(text, self.default) };
        match one {
            Some(Ok(ranged)) => self.give(text, ranged),
            _ if self.cuts_login(text) => (self.found)(Err(Fault::Space)),
            _ if pieces.entries > 1 || (pieces.entries == 1 && pieces.alike && !is_chain(text)) => {
                self.give_pieces(text);
            }
            _ if is_chain(text) => (self.found)(Err(Fault::Chain)),
            Some(Err(fault)) => (self.found)(Err(fault)),
            None => (self.found)(Err(fault)),
        }
    }

    fn pieces(&self, text: &str) -> Pieces {
        let none = Pieces { all: 0, entries: 0, alike: true };
        text.split(notes::is_separator).filter(|piece| !piece.is_empty()).fold(none, |seen, piece| Pieces {
            all: seen.all + 1,
            entries: seen.entries + usize::from(certain(piece, self.default).is_some()),
            alike: seen.alike && piece.contains(':'),
        })
    }

    /// Whether white space stands in the login of an entry: what seems to be one is the end of a password, `ss@h.example:1`
    /// of `http://u:pa ss@h.example:1`.
    fn cuts_login(&self, text: &str) -> bool {
        let mut beginning = None;
        for piece in text.split_whitespace() {
            if let Some((login, _)) = piece.rsplit_once('@') {
                // Words before an entry with a whole login are a title: `mine: u:p@h.example:1`.
                let is_title = |before: &str| before.ends_with(':') && login.contains(':');
                if beginning.is_some_and(|before| !is_title(before)) {
                    return true;
                }
                beginning = None;
            } else if certain(piece, self.default).is_some() {
                beginning = None;
            } else if piece.contains(':') {
                beginning = Some(piece);
            }
        }
        false
    }

    fn give_pieces(&mut self, text: &str) {
        for piece in text.split(notes::is_separator).filter(|piece| !piece.is_empty()) {
            match Ranged::parse(piece, self.default) {
                Ok(ranged) => self.give(piece, ranged),
                // A piece may be one of a password.
                Err(fault) => (self.found)(Err(fault.hide())),
            }
        }
    }

    /// Gives what a text came to, once for each scheme that the text names.
    fn give(&mut self, text: &str, ranged: Ranged<'_>) {
        let (word, _) = url::split_scheme(text);
        let schemes = word.filter(|word| word.contains('+')).and_then(|word| url::schemes(word).ok());
        let [_, others @ ..] = schemes.unwrap_or_default();
        let times = 1 + others.iter().flatten().count();
        if ranged.addresses > 1
            && let Err(fault) = self.ranges.take(ranged.addresses.saturating_mul(u32::try_from(times).unwrap_or(1)))
        {
            return (self.found)(Err(fault));
        }
        for entry in ranged.entries() {
            for &scheme in std::iter::once(&entry.scheme).chain(others.iter().filter(|other| other.is_some())) {
                (self.found)(Ok(Entry { scheme, ..entry.clone() }));
            }
        }
    }
}

/// The one proxy that a line is about, or why it is none; nothing when it has no form that is known.
fn one(text: &str, default: Scheme) -> Option<Result<Ranged<'_>, Fault>> {
    match Ranged::parse(text, default) {
        Ok(ranged) => return Some(Ok(ranged)),
        Err(fault @ Fault::Prefix) => return Some(Err(fault)),
        Err(_) => {}
    }
    told(text, default)
        .or_else(|| after_scheme(text, default))
        .or_else(|| of_country(text, default).map(|entry| Ok(entry.into())))
        .or_else(|| annotated(text, default))
        .or_else(|| table(text).map(|found| found.map(Into::into)))
}

/// What a shell or curl is told.
fn told(text: &str, default: Scheme) -> Option<Result<Ranged<'_>, Fault>> {
    let told = shell::told(text)?;
    let mut found = match Ranged::parse(&told.entry, default) {
        Ok(found) => found.into_owned().or_scheme(told.scheme),
        Err(fault) => return Some(Err(fault)),
    };
    if let (Some(login), None) = (told.login, &found.entry.username) {
        let (username, password) = login.split_once(':').unwrap_or((&login, ""));
        if username.is_empty() {
            return Some(Err(Fault::NoUsername));
        }
        found.entry.username = Some(username.to_owned().into());
        found.entry.password = Some(password.to_owned().into());
    }
    Some(Ok(found))
}

/// `SCHEME HOST PORT [USER [PASSWORD]]`, or a scheme before an entry.
fn after_scheme(text: &str, default: Scheme) -> Option<Result<Ranged<'_>, Fault>> {
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let scheme = words::scheme(word)?;
    let mut fields = rest.split_whitespace();
    let (first, second) = (fields.next()?, fields.next());
    if let Some(ranged) = certain(first, default) {
        let after = rest.trim_start().get(first.len()..).unwrap_or_default();
        return Some(ranged.with_notes(after).map(|ranged| ranged.or_scheme(Some(scheme))));
    }
    let host = Host::parse(first).filter(Host::is_certain)?;
    let port = match port(second?) {
        Ok(port) => port,
        Err(fault) => return Some(Err(fault)),
    };
    let (username, password) = (fields.next(), fields.next());
    if fields.next().is_some() {
        return Some(Err(Fault::Note));
    }
    let (username, password) = (username.map(Into::into), password.map(Into::into));
    Some(Ok(Entry { scheme: Some(scheme), username, password, ..Entry::at(host, port) }.into()))
}

/// `HOST:PORT:COUNTRY`, with a name of several words, even if it is not one that is known.
fn of_country(text: &str, default: Scheme) -> Option<Entry<'_>> {
    let (address, name) = text.rsplit_once(':')?;
    let name = name.trim();
    let is_name = name.starts_with(|first: char| first.is_uppercase())
        && name.contains(' ')
        && name.chars().all(|letter| letter.is_alphabetic() || " ,.'()-&".contains(letter));
    let entry = parse(address.as_bytes(), default).ok().filter(|entry| entry.host.is_certain())?;
    let country = country::named(name);
    ((is_name || country.is_some()) && entry.username.is_none()).then_some(Entry { country, ..entry })
}

/// An entry and what is said about it; a flag may stand before it.
fn annotated(text: &str, default: Scheme) -> Option<Result<Ranged<'_>, Fault>> {
    let (flag, text) = match text.split_once(char::is_whitespace) {
        Some((first, rest)) if notes::flag(first).is_some() => (first, rest.trim_start()),
        _ => ("", text),
    };
    let split = |end: usize| {
        let (first, notes) = text.split_at_checked(end)?;
        match Ranged::parse(first, default) {
            // Only behind a host is a number a port.
            Err(fault @ Fault::PortRange(_)) => Some((Err(fault), notes)),
            found => found.ok().filter(|found| found.entry.host.is_certain()).map(|found| (Ok(found), notes)),
        }
    };
    let (found, notes) = text
        .find(char::is_whitespace)
        .and_then(split)
        .or_else(|| text.find(notes::is_separator).and_then(split))
        .or_else(|| split(text.len()))?;
    // A code after the address is more to the point than the flag.
    Some(found.and_then(|found| found.with_notes(notes)).and_then(|found| found.with_notes(flag)))
}

/// `HOST PORT` and what is said about it, or credentials.
fn table(text: &str) -> Option<Result<Entry<'_>, Fault>> {
    let (host, rest) = text.split_at_checked(text.find(notes::is_separator)?)?;
    let host = Host::parse(host).filter(Host::is_certain)?;
    let rest = rest.trim_start_matches(notes::is_separator);
    let (number, more) = rest.split_at_checked(rest.find(notes::is_separator).unwrap_or(rest.len()))?;
    let port = match port(number) {
        Ok(port) => port,
        Err(fault @ Fault::PortRange(_)) => return Some(Err(fault)),
        Err(_) => return None,
    };
    let mut entry = Entry::at(host, port);
    if notes::read(&mut entry, more) {
        return Some(Ok(entry));
    }
    let separator = more.chars().next().filter(|&first| first != ' ')?;
    let mut fields = more.split(separator).skip(1).map(str::trim);
    let login = (fields.next()?, fields.next()?, fields.next());
    match login {
        (username, password, None) if !username.is_empty() => Some(Ok(Entry {
            username: Some(username.into()),
            password: Some(password.into()),
            ..Entry::at(entry.host, port)
        })),
        _ => Some(Err(Fault::Note)),
    }
}

/// `tls://h:443,http://me:secret@`: schemes one behind the other, of which one has no address.
fn is_chain(text: &str) -> bool {
    let mut links = text.split(',').map(str::trim).filter(|link| link.contains("://"));
    let has_no_address = |link: &str| {
        let (word, rest) = url::split_scheme(link);
        rest.ends_with('@') || rest.is_empty() || word.is_some_and(|word| url::schemes(word).is_err())
    };
    text.matches("://").nth(1).is_some() && links.any(has_no_address)
}
