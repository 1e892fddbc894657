//! The entries of the list `proxies:`, each a mapping in braces or in lines of its own.

use crate::scalar;
use std::borrow::Cow;

/// A mapping in braces takes no more than this many bytes: what is longer has no end.
const MAX_FLOW: usize = 16_384;

/// The keys of an entry that matter. Of several values for one key the first counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Where it stands, counted from 1.
    pub(crate) line: u32,
    pub(crate) kind: Option<Cow<'a, str>>,
    pub(crate) server: Option<Cow<'a, str>>,
    pub(crate) port: Option<Cow<'a, str>>,
    pub(crate) username: Option<Cow<'a, str>>,
    pub(crate) password: Option<Cow<'a, str>>,
    pub(crate) tls: bool,
    /// Whether the document ends within it.
    pub(crate) is_cut: bool,
}

impl<'a> Entry<'a> {
    fn set(&mut self, key: &str, value: Cow<'a, str>) {
        let place = match key {
            "type" => &mut self.kind,
            "server" => &mut self.server,
            "port" => &mut self.port,
            "username" => &mut self.username,
            "password" => &mut self.password,
            "tls" => return self.tls |= matches!(&*value, "true" | "True" | "TRUE"),
            _ => return,
        };
        place.get_or_insert(value);
    }

    /// Sets a key to the scalar that a text begins with, and tells what follows it. A tag, an anchor or
    /// an alias is not what it stands for.
    fn read(&mut self, key: &str, text: &'a str, in_flow: bool) -> &'a str {
        let (value, rest) = scalar::read(text, in_flow);
        if !text.starts_with(['&', '*', '!']) {
            self.set(key, value);
        }
        rest
    }

    /// What to show of it: no credentials.
    pub(crate) fn excerpt(&self) -> String {
        let server = self.server.as_deref().unwrap_or_default();
        match &self.port {
            Some(port) if !server.is_empty() => format!("{server}:{port}"),
            _ => server.to_owned(),
        }
    }
}

/// Whether a document has a list of proxies.
pub(crate) fn has_list(text: &str) -> bool {
    text.lines().any(|line| header(line).is_some())
}

/// How far a line is indented that begins the list. Old configurations write `Proxy:`.
fn header(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let rest = text.strip_prefix("proxies:").or_else(|| text.strip_prefix("Proxy:"))?;
    let rest = rest.trim();
    (rest.is_empty() || rest.starts_with(['#', '['])).then_some(line.len() - text.len())
}

/// Goes over the entries of the lists of a document.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    rest: &'a str,
    line: u32,
    /// How far the header of the list is indented that the entries stand in.
    list: Option<usize>,
}

impl<'a> Entries<'a> {
    pub(crate) const fn of(text: &'a str) -> Self {
        Self { rest: text, line: 1, list: None }
    }

    /// Takes a line.
    fn take_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line = self.line.saturating_add(1);
        line
    }

    /// The next line, if it is one of the block whose lines are indented at least so far; blank lines
    /// and comments are passed over.
    fn peek_in_block(&mut self, indent: usize) -> Option<&'a str> {
        while !self.rest.is_empty() {
            let line = self.rest.split('\n').next().unwrap_or_default();
            let text = line.trim_start();
            if !text.is_empty() && !text.starts_with('#') {
                return (line.len() - text.len() >= indent).then_some(line);
            }
            self.take_line();
        }
        None
    }

    /// The entry that begins with a line `- …`, which was not taken yet.
    fn entry(&mut self, dash: usize) -> Entry<'a> {
        let mut entry = Entry { line: self.line, ..Entry::default() };
        let all = self.rest;
        let after = all.get(dash + 1..).unwrap_or_default();
        let content = after.trim_start_matches([' ', '\t']);
        if content.starts_with('{') {
            let end = flow(content, &mut entry);
            let taken = all.len() - content.len() + end;
            let lines = all.get(..taken).unwrap_or_default().matches('\n').count();
            self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            self.rest = all.get(taken..).unwrap_or_default();
            self.take_line();
            return entry;
        }
        let line = self.take_line();
        let first = line.get(dash + 1..).unwrap_or_default();
        let mut keys = match first.trim_start() {
            "" => None,
            text if text.starts_with(['#', '&', '\r']) => None,
            text => {
                pair(text, &mut entry);
                Some(line.len() - text.len())
            }
        };
        while let Some(line) = self.peek_in_block(dash + 1) {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            // Keys of nested mappings are further to the right.
            if *keys.get_or_insert(indent) == indent {
                pair(text, &mut entry);
            }
            self.take_line();
        }
        entry
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        while !self.rest.is_empty() {
            let indent = self.list.unwrap_or(0);
            let item = self.list.and_then(|_| self.peek_in_block(indent)).and_then(|line| {
                let text = line.trim_start();
                let is_item =
                    text == "-" || text.starts_with("- ") || text.starts_with("-\t") || text.starts_with("-\r");
                is_item.then_some(line.len() - text.len())
            });
            if let Some(dash) = item {
                return Some(self.entry(dash));
            }
            // Anything else ends the list, and may begin one.
            self.list = header(self.take_line());
        }
        None
    }
}

/// `KEY: VALUE` in a line of its own.
fn pair<'a>(text: &'a str, entry: &mut Entry<'a>) {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let Some((key, value)) = line.split_once(':') else { return };
    entry.read(key.trim().trim_matches(['"', '\'']), value.trim_start(), false);
}

/// Reads a mapping in braces, which may go over lines, and tells where it ends.
fn flow<'a>(text: &'a str, entry: &mut Entry<'a>) -> usize {
    let text = text.get(..text.floor_char_boundary(MAX_FLOW)).unwrap_or(text);
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if let Some(after) = rest.strip_prefix('}') {
            return text.len() - after.len();
        }
        match flow_pair(rest, entry) {
            Some(next) if !begins_entry(rest) => rest = next,
            _ => {
                entry.is_cut = true;
                // The next line may begin an entry that is whole.
                return text.find('\n').unwrap_or(text.len());
            }
        }
    }
}

/// Reads `KEY: VALUE` within braces, and tells what follows; none when there is no end.
fn flow_pair<'a>(text: &'a str, entry: &mut Entry<'a>) -> Option<&'a str> {
    let (key, rest) = if text.starts_with(['"', '\'']) {
        scalar::read(text, true)
    } else {
        let end = text.find([':', ',', '}', '\n'])?;
        let (key, rest) = text.split_at_checked(end)?;
        (key.trim().into(), rest)
    };
    let Some(value) = rest.trim_start().strip_prefix(':') else {
        // A key without a value.
        return if rest.is_empty() { None } else { Some(rest) };
    };
    let value = value.trim_start();
    if value.starts_with(['{', '[']) {
        return passed_over(value);
    }
    let rest = entry.read(&key, value, true);
    // Whatever stands between a quoted scalar and the comma is no YAML.
    let end = rest.find([',', '}', '\n'])?;
    rest.get(end..)
}

/// Whether the next entry begins here, which nothing within braces looks like: those around it have no
/// end. Without this, each entry without an end would be read up to the limit.
fn begins_entry(text: &str) -> bool {
    text.starts_with("- ")
}

/// What follows a nested value.
fn passed_over(text: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\n') if begins_entry(text.get(at + 1..)?.trim_start()) => return None,
            (None, '"' | '\'') => quote = Some(letter),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth -= 1;
                if depth == 0 {
                    return text.get(at + 1..);
                }
            }
            (None, _) => {}
        }
    }
    None
}
