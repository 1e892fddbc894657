//! Rows, as they are read: each for itself, so that one that is none costs no other.
//!
//! The bytes may be anybody's. They are bounded, each row is bounded by them, and no reason repeats what stands in a row: it may be
//! a password.

use std::collections::BTreeMap;

use proxywhirl_core::Timestamp;
use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::secret::SEALED;
use proxywhirl_core::store::{Changes, StoredMember};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::RowForm;
use crate::file::form::{self, MemberRow};
use crate::memory::Memory;

/// More than this is not read: a pool of a million proxies has half of it.
pub const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// Rejected rows that are told with their lines, and different reasons that are counted.
const EXAMPLES: usize = 20;

/// The most uses that are believed: more than a JSON number can count.
const MOST_USES: u64 = 1 << 53;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The members, each once, in the order in which they came first.
    pub members: Vec<StoredMember>,
    /// What was no member.
    pub rejected: Rejected,
    /// Lines of a store that say something else: sessions, keys of plugins.
    pub others: u64,
    /// Rows of members that others name before them, but of JSON Lines. The last one counts.
    pub again: u64,
}

/// Rows that were no members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many.
    pub count: u64,
    /// Why: how often each reason was. Without the lines, and without the text.
    pub reasons: BTreeMap<String, u64>,
    /// The first ones.
    pub first: Vec<RejectedRow>,
}

/// A row that was no member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Its line, from 1.
    pub line: u64,
    /// Which row of a JSON document it is, from 1: many may stand in one line.
    pub row: Option<u64>,
    /// Why.
    pub reason: String,
}

/// Where a row is.
#[derive(Clone, Copy)]
struct Place {
    line: u64,
    row: Option<u64>,
}

impl Rejected {
    fn add(&mut self, Place { line, row }: Place, reason: String) {
        self.count += 1;
        let is_room = self.reasons.len() < EXAMPLES || self.reasons.contains_key(&reason);
        let counted = if is_room { reason.clone() } else { "another reason".to_owned() };
        *self.reasons.entry(counted).or_default() += 1;
        if self.first.len() < EXAMPLES {
            self.first.push(RejectedRow { line, row, reason });
        }
    }
}

/// A document ends, or goes on, as none of its form does. What was read before is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct NotRead {
    /// Where, from 1.
    pub line: u64,
    /// What is wrong.
    pub reason: String,
}

/// The fields by which a row is known for one of ours, or a line for one of a store.
#[derive(Deserialize)]
struct Kind {
    url: Option<IgnoredAny>,
    tags: Option<IgnoredAny>,
    batch: Option<IgnoredAny>,
    pool: Option<IgnoredAny>,
    version: Option<IgnoredAny>,
    removed: Option<String>,
    session: Option<IgnoredAny>,
    forgotten: Option<IgnoredAny>,
    owner: Option<IgnoredAny>,
}

impl Kind {
    const fn is_ours(&self) -> bool {
        (self.url.is_some() && self.tags.is_some()) || (self.pool.is_some() && self.version.is_some())
    }

    /// Whether it is a line that a store writes beside members.
    const fn is_of_a_store(&self) -> bool {
        self.batch.is_some()
            || self.pool.is_some()
            || self.session.is_some()
            || self.forgotten.is_some()
            || self.owner.is_some()
    }
}

/// Which of our own forms it is; none when it is none of them.
#[must_use]
pub fn form_of(bytes: &[u8]) -> Option<RowForm> {
    let bytes = without_mark(bytes);
    let line = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?.trim_ascii();
    match bytes.trim_ascii_start().first()? {
        b'[' => {
            let mut walk = Walk::new(bytes);
            walk.step(b'[');
            if walk.next() == Some(b']') {
                return Some(RowForm::Json);
            }
            let row = walk.value().ok()?;
            serde_json::from_slice::<Kind>(row).ok()?.is_ours().then_some(RowForm::Json)
        }
        b'{' if serde_json::from_slice::<Kind>(line).is_ok_and(|kind| kind.is_ours()) => Some(RowForm::JsonLines),
        b'{' => {
            let mut walk = Walk::new(bytes);
            let is_found = walk.find_rows().is_ok_and(|is_found| is_found);
            if !is_found || walk.next() == Some(b']') {
                return is_found.then_some(RowForm::Json);
            }
            let kind: Kind = serde_json::from_slice(walk.value().ok()?).ok()?;
            kind.url.is_some().then_some(RowForm::Json)
        }
        _ => {
            let header = std::str::from_utf8(line).ok()?.to_ascii_lowercase();
            let has = |name: &str| header.split(',').any(|column| column.trim().trim_matches('"') == name);
            ["scheme", "host", "port", "tags"].into_iter().all(has).then_some(RowForm::Csv)
        }
    }
}

/// Reads rows of one of our own forms. What is said to have been after `now` was now.
///
/// # Errors
/// When a JSON document has no end, or something else in it than rows.
pub fn read(bytes: &[u8], form: RowForm, now: Timestamp) -> Result<Rows, NotRead> {
    let mut reading = Reading { members: Memory::new(), rejected: Rejected::default(), others: 0, again: 0, now };
    let bytes = without_mark(bytes);
    match form {
        RowForm::Json => reading.document(bytes)?,
        RowForm::JsonLines => reading.lines(bytes),
        RowForm::Csv => reading.table(bytes),
    }
    let Reading { members, rejected, others, again, .. } = reading;
    // Lines are what was saved one after the other.
    let again = if form == RowForm::JsonLines { 0 } else { again };
    Ok(Rows { members: members.into_members().collect(), rejected, others, again })
}

/// What some programs put before UTF-8.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

struct Reading {
    members: Memory,
    rejected: Rejected,
    others: u64,
    again: u64,
    now: Timestamp,
}

impl Reading {
    fn document(&mut self, bytes: &[u8]) -> Result<(), NotRead> {
        let mut walk = Walk::new(bytes);
        if walk.next() == Some(b'[') {
            walk.step(b'[');
        } else if !walk.find_rows()? {
            return Ok(());
        }
        if walk.step(b']') {
            return Ok(());
        }
        for number in 1.. {
            walk.next();
            let place = Place { line: walk.line, row: Some(number) };
            let row = walk.value()?;
            self.member(place, parsed(row));
            if walk.step(b']') {
                return Ok(());
            }
            if !walk.step(b',') {
                return Err(walk.failed("the list of proxies has no end"));
            }
        }
        Ok(())
    }

    fn lines(&mut self, bytes: &[u8]) {
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let place = Place { line: number, row: None };
            match serde_json::from_slice::<Kind>(line) {
                Err(error) => self.rejected.add(place, reason(&error)),
                Ok(kind) if kind.url.is_some() => self.member(place, parsed(line)),
                Ok(Kind { removed: Some(text), .. }) => self.removed(place, &text),
                Ok(kind) if kind.is_of_a_store() => {
                    self.others += u64::from(kind.session.is_some() || kind.owner.is_some());
                }
                Ok(_) => self.rejected.add(place, "no url".to_owned()),
            }
        }
    }

    fn removed(&mut self, place: Place, text: &str) {
        match form::key(text) {
            Ok(key) => self.members.apply(&Changes { removed: vec![key], ..Changes::default() }),
            Err(_) => self.rejected.add(place, "what is removed is no proxy".to_owned()),
        }
    }

    fn table(&mut self, bytes: &[u8]) {
        let mut table = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let names: Vec<String> = table
            .headers()
            .map_or_else(|_| Vec::new(), |header| header.iter().map(|name| name.trim().to_ascii_lowercase()).collect());
        let mut record = csv::ByteRecord::new();
        // From memory, and of any length: nothing can fail that is not an end.
        while table.read_byte_record(&mut record).unwrap_or(false) {
            let place = Place { line: record.position().map_or(0, csv::Position::line), row: None };
            let row = csv::StringRecord::from_byte_record(record.clone())
                .map_err(|_| "not UTF-8".to_owned())
                .and_then(|record| of_cells(names.iter().map(String::as_str).zip(record.iter())));
            self.member(place, row);
        }
    }

    fn member(&mut self, place: Place, row: Result<MemberRow, String>) {
        match row.and_then(|row| self.believed(row)) {
            Ok(member) => {
                let before = self.members.count();
                self.members.apply(&Changes { upserts: vec![member], ..Changes::default() });
                self.again += u64::from(self.members.count() == before);
            }
            Err(reason) => self.rejected.add(place, reason),
        }
    }

    /// What a row says, as far as it can be.
    fn believed(&self, row: MemberRow) -> Result<StoredMember, String> {
        let mut member = StoredMember::try_from(row)?;
        let is_sealed = |hop: &&Endpoint| {
            hop.credentials.as_deref().is_some_and(|login| login.password.expose().starts_with(SEALED))
        };
        if member.endpoint.hops().iter().any(is_sealed) {
            return Err("its password is sealed: `pool migrate` takes it over, with the key".to_owned());
        }
        if member.statistics.successes.max(member.statistics.failures) > MOST_USES {
            return Err("more uses than can be counted".to_owned());
        }
        member.added = if member.added == Timestamp::default() { self.now } else { member.added.min(self.now) };
        member.statistics.last_used = member.statistics.last_used.min(self.now);
        Ok(member)
    }
}

fn parsed(row: &[u8]) -> Result<MemberRow, String> {
    serde_json::from_slice(row).map_err(|error| reason(&error))
}

/// Why a row cannot be read, without what stands in it.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line").map_or(text.as_str(), |(text, _)| text);
    if error.is_data() {
        // `invalid type: integer 5, expected a string`, and what a field says of its own text.
        return match (text.split_once(", expected "), text.starts_with("missing field")) {
            (Some((_, wanted)), _) => form::unlike(wanted),
            (None, true) => text.to_owned(),
            (None, false) => "a field has a text that it cannot have".to_owned(),
        };
    }
    format!("not JSON: {text}")
}

/// The row that stands in the cells of a line.
fn of_cells<'a>(cells: impl Iterator<Item = (&'a str, &'a str)>) -> Result<MemberRow, String> {
    let cells: BTreeMap<&str, &str> = cells.filter(|(_, text)| !text.is_empty()).collect();
    let cell = |name: &str| cells.get(name).copied();
    let url = match (cell("scheme"), cell("host"), cell("port")) {
        // A chain, or what no other column says.
        (_, Some(url), _) if url.contains("://") => url.to_owned(),
        (Some(scheme), Some(host), Some(port)) => format!("{scheme}://{host}:{port}"),
        _ => return Err("no scheme, host and port".to_owned()),
    };
    let mut row = Map::from_iter([("url".to_owned(), Value::from(url))]);
    let texts =
        ["username", "password", "country", "anonymity", "source", "health_status", "created_at", "last_used_at"];
    for (name, text) in texts.into_iter().filter_map(|name| Some((name, cell(name)?))) {
        row.insert(name.to_owned(), text.into());
    }
    if let Some(tags) = cell("tags") {
        row.insert("tags".to_owned(), tags.split_whitespace().collect());
    }
    for (name, text) in ["total_successes", "total_failures"].into_iter().filter_map(|name| Some((name, cell(name)?))) {
        row.insert(name.to_owned(), text.parse::<u64>().map_err(|_| format!("{name} is no number"))?.into());
    }
    if let Some(text) = cell("average_response_time_ms") {
        let number = text.parse::<f64>().map_err(|_| "average_response_time_ms is no number".to_owned())?;
        row.insert("average_response_time_ms".to_owned(), number.into());
    }
    serde_json::from_value(Value::Object(row)).map_err(|error| reason(&error))
}

/// Goes through a JSON text from value to value, and counts lines.
struct Walk<'a> {
    bytes: &'a [u8],
    place: usize,
    line: u64,
}

impl<'a> Walk<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, place: 0, line: 1 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.place..).unwrap_or_default()
    }

    /// The next byte that is no white space; that is left behind.
    fn next(&mut self) -> Option<u8> {
        while let Some(byte) = self.rest().first() {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.pass(1);
        }
        None
    }

    fn pass(&mut self, count: usize) {
        let passed = self.rest().get(..count).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').map(|_| 1).sum::<u64>();
        self.place += count;
    }

    /// Passes a byte, if it is the next one.
    fn step(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        if is_next {
            self.pass(1);
        }
        is_next
    }

    /// Passes a value; its text.
    fn value(&mut self) -> Result<&'a [u8], NotRead> {
        self.next();
        let rest = self.rest();
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
        let passed = values.next().unwrap_or(Ok(IgnoredAny));
        let length = values.byte_offset();
        if let Err(error) = passed {
            return Err(NotRead { line: self.line + error.line() as u64 - 1, reason: reason(&error) });
        }
        if length == 0 {
            return Err(self.failed("the document ends too early"));
        }
        self.pass(length);
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// Goes into the rows of a document, behind the bracket; whether there are any.
    fn find_rows(&mut self) -> Result<bool, NotRead> {
        if !self.step(b'{') || self.step(b'}') {
            return Ok(false);
        }
        loop {
            let is_found = self.value()? == b"\"proxies\"";
            if !self.step(b':') {
                return Err(self.failed("a field without a value"));
            }
            if is_found {
                return Ok(self.step(b'['));
            }
            self.value()?;
            if !self.step(b',') {
                return Ok(false);
            }
        }
    }

    fn failed(&self, reason: &str) -> NotRead {
        NotRead { line: self.line, reason: reason.to_owned() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn rows(text: &str) -> Rows {
        read(text.as_bytes(), form_of(text.as_bytes()).unwrap(), NOW).unwrap()
    }

    fn urls(rows: &Rows) -> Vec<String> {
        rows.members.iter().map(|member| member.endpoint.to_url()).collect()
    }

    #[test]
    fn lists_of_others_are_none_of_ours() {
        for text in [
            "",
            "http://1.2.3.4:80\n",
            "ip,port,country\n1.2.3.4,80,DE\n",
            "scheme,host,port\nhttp,1.2.3.4,80\n",
            r#"[{"ip":"1.2.3.4","port":80,"tags":["paid"]}]"#,
            r#"[{"url":"http://1.2.3.4:80","country":"Germany"}]"#,
            r#"["http://1.2.3.4:80"]"#,
            r#"{"proxies":[{"name":"a","type":"http","server":"1.2.3.4","port":80}]}"#,
            r#"{"outbounds":[]}"#,
            "{\"url\":\"http://1.2.3.4:80\"}\n",
            "[",
            "{",
            "{\"a\"",
        ] {
            assert_eq!(form_of(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_stores_write_is_read_too() {
        let document = "\u{feff}{\n \"version\": 1, \"pool_name\": \"a\",\n \"proxies\": [\n  {\"url\": \"http://1.2.3.4:80\",\n   \
                        \"source\": \"own\"},\n  {\"url\": \"http://1.2.3.5\", \"tags\": [\"a b\"]}],\n \"config\": {}}";
        let found = rows(document);
        assert_eq!(urls(&found), ["http://1.2.3.4:80"]);
        assert!(found.members[0].tags.contains("source:own"));
        assert_eq!(found.members[0].added, NOW);
        assert_eq!((found.rejected.first[0].line, found.rejected.first[0].row), (6, Some(2)), "{:?}", found.rejected);
        let lines = "{\"pool\":\"default\",\"version\":1}\n{\"batch\":2}\n{\"url\":\"http://1.2.3.4:80\"}\n{\"url\":\"http://1.2.3.5:80\"}\n\
                     {\"removed\":\"http://1.2.3.4:80\"}\n{\"session\":\"0\",\"member\":\"0\"}\n{\"owner\":\"p\",\"version\":1}\n";
        let found = rows(lines);
        assert_eq!((urls(&found), found.others), (vec!["http://1.2.3.5:80".to_owned()], 2));
        assert_eq!(rows("{\"version\":1,\"proxies\":[]}"), Rows::default());
    }

    #[test]
    fn a_row_that_is_none_costs_no_other_and_is_told_with_its_line_and_without_its_text() {
        let text = "[\n{\"url\":\"http://1.2.3.4:80\",\"tags\":[]},\n{\"url\":\"http://1.2.3.5:80\",\"tags\":[],\"password\":1234512345},\n\
                    {\"tags\":[]},\n{\"url\":\"http://u:sealed-1:0a0a0a0a:AAAA@1.2.3.6:80\",\"tags\":[]},\n\
                    {\"url\":\"http://1.2.3.7:80\",\"created_at\":\"hunter2\"},\n{\"url\":\"http://1.2.3.8:80\",\"total_failures\":99999999999999999},\n\
                    {\"url\":\"http://1.2.3.9:80\",\"average_response_time_ms\":-1}, 7,\n{\"url\":\"http://1.2.4.1:80\"}]";
        let found = rows(text);
        assert_eq!(
            (urls(&found), found.again),
            (vec!["http://1.2.3.4:80".to_owned(), "http://1.2.4.1:80".to_owned()], 0)
        );
        assert_eq!(rows("[{\"url\":\"http://1.2.3.4:80\",\"tags\":[]},{\"url\":\"http://1.2.3.4:80\"}]").again, 1);
        let told: Vec<String> = found
            .rejected
            .first
            .iter()
            .map(|it| format!("{}, line {}: {}", it.row.unwrap(), it.line, it.reason))
            .collect();
        assert_eq!(
            told,
            [
                "2, line 3: a field is not a string",
                "3, line 4: missing field `url`",
                "4, line 5: its password is sealed: `pool migrate` takes it over, with the key",
                "5, line 6: a field has a text that it cannot have",
                "6, line 7: more uses than can be counted",
                "7, line 8: average_response_time_ms is no time that can be",
                "8, line 8: not an object",
            ]
        );
        let csv = "scheme,host,port,tags,total_failures\nhttp,1.2.3.4,80,a b,7\nhttp,1.2.3.5,,x\n,,\nhttp,1.2.3.6,80,,x\nhttp,1.2.3.7,80\n";
        let found = rows(csv);
        assert_eq!(urls(&found), ["http://1.2.3.4:80", "http://1.2.3.7:80"]);
        assert_eq!(found.members[0].tags.to_string(), "a,b");
        assert_eq!(found.rejected.first.iter().map(|it| it.line).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn a_document_that_is_cut_off_is_told_with_its_line() {
        let row = "{\"url\":\"http://1.2.3.4:80\",\"tags\":[]}";
        let error = read(format!("[\n{row},\n{{\"url\":").as_bytes(), RowForm::Json, NOW).unwrap_err();
        assert_eq!(error.line, 3, "{error}");
        let error = read(format!("[\n{row}\n").as_bytes(), RowForm::Json, NOW).unwrap_err();
        assert_eq!(error.to_string(), "line 3: the list of proxies has no end");
        let nested = format!("[{{\"tags\":[],\"url\":{}", "[".repeat(100_000));
        assert!(read(nested.as_bytes(), RowForm::Json, NOW).is_err());
    }

    #[test]
    fn reasons_and_lines_are_bounded() {
        let bad: String = (0..10_000).map(|n| format!("{{\"url\":\"x{n}://1.2.3.4\",\"tags\":[]}}\n")).collect();
        let found = rows(&bad);
        assert_eq!(found.rejected.count, 10_000);
        assert!(found.rejected.reasons.len() <= EXAMPLES + 1 && found.rejected.first.len() == EXAMPLES);
        assert_eq!(found.rejected.reasons.values().sum::<u64>(), 10_000);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}:,\"a-z0-9 \\n]{0,80}") {
            for bytes in [bytes.as_slice(), text.as_bytes(), format!("[{{\"url\":\"\",\"tags\":[]}}{text}").as_bytes()] {
                std::hint::black_box(form_of(bytes));
                for form in [RowForm::Json, RowForm::JsonLines, RowForm::Csv] {
                    drop(read(bytes, form, NOW));
                }
            }
        }
    }
}
