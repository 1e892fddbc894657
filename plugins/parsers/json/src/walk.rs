//! A walk over a JSON value that collects the proxies in it, as it streams by.

mod keys;
mod mapped;

use crate::paths::Paths;
use crate::scan::{Broken, Scanner};
use keys::{Key, Keys};
use proxywhirl_plugin_sdk::fields::{Field, Fields};
use proxywhirl_plugin_sdk::parser::{Collector, Row};
use proxywhirl_plugin_sdk::{Scheme, bytes, entry};
use std::borrow::Cow;

/// What the walk is over, and where it puts what it finds.
#[derive(Debug)]
pub(crate) struct Walker<'w, 'b> {
    pub(crate) scan: Scanner<'b>,
    pub(crate) collector: &'w mut Collector,
    pub(crate) default: Scheme,
    /// Whether the path to the list led to one.
    pub(crate) found_root: bool,
    paths: &'w Paths,
    keys: Keys<'b>,
}

/// What a value is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The document itself, or a container of proxies by its key.
    Root,
    /// A proxy in an array or on a line; what is none is a rejection.
    Element,
    /// The list `outbounds` of sing-box, and what is in it. Those without a server lead nowhere or to
    /// others: no proxies, and no rejections.
    Outbounds,
    /// Anything: under a key that says nothing about proxies, such as `tags` or `asn`. Only what is
    /// plainly a proxy counts.
    Anything,
}

/// Where the walk is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    pub(crate) place: Place,
    /// The scheme that a key around it gives.
    pub(crate) section: Option<Scheme>,
    pub(crate) depth: u32,
}

impl Here {
    const fn inside(self, place: Place) -> Self {
        Self { place, depth: self.depth + 1, ..self }
    }
}

impl<'w, 'b> Walker<'w, 'b> {
    pub(crate) fn new(body: &'b [u8], paths: &'w Paths, default: Scheme, collector: &'w mut Collector) -> Self {
        Self { scan: Scanner::new(body), collector, default, found_root: false, paths, keys: Keys::default() }
    }

    /// Walks the value that begins here: the document, or one of its lines.
    pub(crate) fn document(&mut self, place: Place) -> Result<(), Broken> {
        let here = Here { place, section: None, depth: 0 };
        if self.paths.is_empty() { self.value(here) } else { self.root(here, 0) }
    }

    fn value(&mut self, here: Here) -> Result<(), Broken> {
        match self.scan.peek() {
            Some(b'"') => {
                let text = self.scan.string()?;
                self.text(&text, here);
                Ok(())
            }
            Some(b'{') => self.object(here),
            Some(b'[') => {
                let place = if here.place == Place::Root { Place::Element } else { here.place };
                self.scan.enter(here.depth)?;
                let mut first = true;
                while self.scan.next_element(&mut first)? {
                    self.value(here.inside(place))?;
                }
                Ok(())
            }
            Some(_) | None => self.scan.skip(here.depth),
        }
    }

    fn text(&mut self, text: &[u8], here: Here) {
        let line = self.scan.line();
        if let Some((address, port, used)) = entry::ipv4_port(text)
            && used == text.len()
        {
            return self.collector.accept_row(Row { scheme: here.section, ..Row::new(address, port, line) });
        }
        match here.place {
            Place::Outbounds => return,
            Place::Anything if !may_be_plain(text) => return,
            Place::Root | Place::Element | Place::Anything => {}
        }
        match entry::parse(text, here.section.unwrap_or(self.default)) {
            Ok(found) if here.place != Place::Anything || found.host.is_certain() => {
                let mut candidate = found.into_candidate(line);
                candidate.scheme = candidate.scheme.or(here.section);
                self.collector.accept(candidate);
            }
            Err(fault) if here.place == Place::Element => self.collector.reject(line, text, fault),
            Ok(_) | Err(_) => {}
        }
    }

    fn object(&mut self, here: Here) -> Result<(), Broken> {
        let before = self.collector.counts();
        let mut fields = Fields::default();
        let mut line = 0;
        let mut ordinal = 0;
        self.scan.enter(here.depth)?;
        while self.scan.next_key(&mut (ordinal == 0))? {
            if ordinal == 0 {
                line = self.scan.line();
            }
            let key = self.keys.read(&mut self.scan, here.depth, ordinal)?;
            ordinal += 1;
            match key {
                Key::Field(field) => self.field(field, &mut fields, here)?,
                Key::Geography => self.geography(&mut fields, here.depth + 1)?,
                // `"https": "yes"` is no list of HTTPS proxies, but `"https": ["…"]` is.
                Key::Scheme(scheme) => self.value(Here { section: Some(scheme), ..here.inside(Place::Root) })?,
                Key::Container if here.place == Place::Root => self.value(here.inside(Place::Root))?,
                Key::Outbounds if here.place == Place::Root => self.value(here.inside(Place::Outbounds))?,
                Key::Version if here.place == Place::Outbounds => self.version(&mut fields, here.depth + 1)?,
                Key::Container | Key::Outbounds | Key::Version | Key::Other => self.anything(here)?,
            }
        }
        let found_inside = self.collector.counts() != before;
        let wanted = match here.place {
            Place::Element => !fields.is_bare() || !found_inside,
            Place::Root => fields.names_a_proxy() && !found_inside,
            Place::Outbounds => fields.names_a_proxy(),
            Place::Anything => fields.is_complete(),
        };
        if wanted {
            fields.collect(line, here.section, self.default, self.collector);
        }
        Ok(())
    }

    /// The value of a key that says nothing. Nearly all are names, dates and numbers.
    #[inline]
    fn anything(&mut self, here: Here) -> Result<(), Broken> {
        match self.scan.peek() {
            Some(b'"') => {
                let text = self.scan.string()?;
                if may_be_plain(&text) {
                    self.text(&text, here.inside(Place::Anything));
                }
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.scan.number().map(drop),
            Some(_) | None => self.value(here.inside(Place::Anything)),
        }
    }

    /// The value of a known key: stored when it is plain, each of it when it is a list of schemes, and
    /// walked otherwise, for `"proxy": {"ip": …}` and the like.
    #[inline]
    fn field(&mut self, field: Field, fields: &mut Fields<'b>, here: Here) -> Result<(), Broken> {
        match self.scan.peek() {
            Some(b'"') => {
                store(fields, field, self.scan.string()?);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => {
                store_number(fields, field, self.scan.number()?);
                Ok(())
            }
            Some(b'[') if field == Field::Scheme => self.list(field, fields, here.depth + 1),
            Some(b'{') if field == Field::Country => self.geography(fields, here.depth + 1),
            Some(b'[' | b'{') => {
                let place = if field == Field::Endpoint { Place::Root } else { Place::Anything };
                self.value(here.inside(place))
            }
            Some(_) | None => self.scan.literal(),
        }
    }

    /// The strings of a list, each as a value.
    fn list(&mut self, field: Field, fields: &mut Fields<'b>, depth: u32) -> Result<(), Broken> {
        self.scan.enter(depth)?;
        let mut first = true;
        while self.scan.next_element(&mut first)? {
            match self.scan.peek() {
                Some(b'"') => store(fields, field, self.scan.string()?),
                Some(_) | None => self.scan.skip(depth + 1)?,
            }
        }
        Ok(())
    }

    /// `{"country": "DE"}`, `{"code": "DE"}` and the like: only the country is taken from it.
    fn geography(&mut self, fields: &mut Fields<'b>, depth: u32) -> Result<(), Broken> {
        if self.scan.peek() == Some(b'"') {
            store(fields, Field::Country, self.scan.string()?);
            return Ok(());
        }
        if self.scan.peek() != Some(b'{') {
            return self.scan.skip(depth);
        }
        self.scan.enter(depth)?;
        let mut ordinal = 0;
        while self.scan.next_key(&mut (ordinal == 0))? {
            let key = self.keys.read(&mut self.scan, depth, ordinal)?;
            ordinal += 1;
            match (key, self.scan.peek()) {
                (Key::Field(Field::Country), Some(b'"')) => store(fields, Field::Country, self.scan.string()?),
                _ => self.scan.skip(depth + 1)?,
            }
        }
        Ok(())
    }

    /// The version of SOCKS that an outbound of the type `socks` speaks.
    fn version(&mut self, fields: &mut Fields<'b>, depth: u32) -> Result<(), Broken> {
        if self.scan.peek() != Some(b'"') {
            return self.scan.skip(depth);
        }
        match &*self.scan.string()? {
            b"4" => fields.narrow(Scheme::Socks5, Scheme::Socks4),
            b"4a" => fields.narrow(Scheme::Socks5, Scheme::Socks4a),
            _ => {}
        }
        Ok(())
    }
}

/// Whether a text under a key that says nothing may plainly be a proxy: an address and a port, a URL,
/// or something that ends in a port. Most are names and dates, and there are many.
#[inline]
fn may_be_plain(text: &[u8]) -> bool {
    let Some((_, [_, after @ ..])) = text.split_at_checked(bytes::find_any(text, [b':'])) else { return false };
    let last = text.iter().rposition(|byte| !byte.is_ascii_digit()).and_then(|place| text.split_at_checked(place));
    after.starts_with(b"//") || matches!(last, Some((_, [b':', _, ..]))) || entry::ipv4_port(text).is_some()
}

/// Stores a string, whose bytes are UTF-8.
#[inline]
fn store<'b>(fields: &mut Fields<'b>, field: Field, text: Cow<'b, [u8]>) {
    match text {
        Cow::Borrowed(text) => fields.set_bytes(field, text),
        Cow::Owned(text) => fields.set(field, String::from_utf8_lossy(&text).into_owned().into()),
    }
}

/// Stores a number. Some write a port as `8080.0`; any other number that is no natural one can only be
/// a port that is wrong.
#[inline]
fn store_number<'b>(fields: &mut Fields<'b>, field: Field, number: &'b [u8]) {
    if number.iter().all(u8::is_ascii_digit) {
        return fields.set_bytes(field, number);
    }
    let natural = match number.split_at_checked(bytes::find_any(number, [b'.'])) {
        Some((natural, [_, zeros @ ..])) if zeros.iter().all(|&digit| digit == b'0') => natural,
        _ => number,
    };
    if field == Field::Port || natural.iter().all(u8::is_ascii_digit) {
        fields.set_bytes(field, natural);
    }
}
