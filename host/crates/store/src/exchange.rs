//! Members as rows that people carry from one pool to another: what `pool export` writes as JSON, JSON Lines and CSV, and what
//! `pool import` reads of it.
//!
//! A row is the one of a JSON document, as a file of a store is one, with the parts of its URL beside it, so that everything that
//! is kept of a member comes back: tags, country, anonymity, how its uses went, when it joined. That is for lists of one's own: a list
//! of somebody else's is the business of parsers, whose candidates have no tags.

mod read;

use std::io::{self, Write};

use proxywhirl_core::endpoint::Endpoint;
use proxywhirl_core::store::StoredMember;
use serde::Serialize;

use crate::file::form::MemberRow;
pub use read::{MAX_BYTES, NotRead, Rejected, RejectedRow, Rows, form_of, read};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// One JSON array of objects, or the document of a store.
    Json,
    /// A JSON object a line.
    JsonLines,
    /// Comma-separated values with a header.
    Csv,
}

impl RowForm {
    /// Its name, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::JsonLines => "JSON Lines",
            Self::Csv => "CSV",
        }
    }
}

/// The columns of CSV. What a chain is has no column: it stands where a host would, which is no host to anybody.
const COLUMNS: [&str; 15] = [
    "scheme",
    "host",
    "port",
    "username",
    "password",
    "country",
    "anonymity",
    "tags",
    "source",
    "health_status",
    "total_successes",
    "total_failures",
    "average_response_time_ms",
    "created_at",
    "last_used_at",
];

/// A member as JSON: the row of the document, whose URL has the credentials in it, and the parts of the URL.
#[derive(Serialize)]
struct Exported<'a> {
    /// None for a chain, and so are the next two: who took those of one hop for the proxy would go another way.
    scheme: Option<&'a str>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(flatten)]
    row: MemberRow,
}

impl<'a> Exported<'a> {
    fn new(member: &'a StoredMember) -> Self {
        let endpoint = alone(&member.endpoint);
        Self {
            scheme: endpoint.map(|endpoint| endpoint.scheme.as_str()),
            host: endpoint.map(|endpoint| endpoint.host.to_string()),
            port: endpoint.map(|endpoint| endpoint.port),
            row: MemberRow::new(member).at(member.endpoint.to_url()),
        }
    }
}

fn alone(endpoint: &Endpoint) -> Option<&Endpoint> {
    endpoint.via.is_none().then_some(endpoint)
}

/// Writes rows, one after the other.
#[derive(Debug)]
pub struct RowsWriter<W: Write> {
    out: Out<W>,
    rows: usize,
}

#[derive(Debug)]
enum Out<W: Write> {
    Json(W),
    JsonLines(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> RowsWriter<W> {
    /// Begins to write.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(form: RowForm, mut out: W) -> io::Result<Self> {
        let out = match form {
            RowForm::Json => {
                out.write_all(b"[")?;
                Out::Json(out)
            }
            RowForm::JsonLines => Out::JsonLines(out),
            RowForm::Csv => {
                let mut out = csv::Writer::from_writer(out);
                out.write_record(COLUMNS)?;
                Out::Csv(Box::new(out))
            }
        };
        Ok(Self { out, rows: 0 })
    }

    /// Writes a member.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, member: &StoredMember) -> io::Result<()> {
        let is_first = self.rows == 0;
        self.rows += 1;
        match &mut self.out {
            Out::Json(out) => {
                out.write_all(if is_first { b"\n" } else { b",\n" })?;
                serde_json::to_writer(out, &Exported::new(member))?;
            }
            Out::JsonLines(out) => {
                serde_json::to_writer(&mut *out, &Exported::new(member))?;
                out.write_all(b"\n")?;
            }
            Out::Csv(out) => out.write_record(cells(member))?,
        }
        Ok(())
    }

    /// Writes what is left; how many rows there were.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<usize> {
        match self.out {
            Out::Json(mut out) => {
                out.write_all(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?;
                out.flush()?;
            }
            Out::JsonLines(mut out) => out.flush()?,
            Out::Csv(mut out) => out.flush()?,
        }
        Ok(self.rows)
    }
}

/// A member in the order of [`COLUMNS`].
fn cells(member: &StoredMember) -> [String; COLUMNS.len()] {
    let credentials = member.endpoint.credentials.as_deref();
    // An empty cell is no user name, so an empty one is said in a URL, as chains are.
    let endpoint = alone(&member.endpoint).filter(|_| credentials.is_none_or(|login| !login.username.is_empty()));
    let credentials = endpoint.and(credentials);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let row = MemberRow::new(member);
    let said = row.said();
    [
        endpoint.map(|endpoint| endpoint.scheme.to_string()).unwrap_or_default(),
        endpoint.map_or_else(|| member.endpoint.to_url(), |endpoint| endpoint.host.to_string()),
        endpoint.map(|endpoint| endpoint.port.to_string()).unwrap_or_default(),
        credentials.map(|login| login.username.to_string()).unwrap_or_default(),
        credentials.map(|login| login.password.expose().to_owned()).unwrap_or_default(),
        member.country.map(|country| country.to_string()).unwrap_or_default(),
        member.anonymity.as_str().to_owned(),
        member.tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        text(&said.source),
        member.health.as_str().to_owned(),
        member.statistics.successes.to_string(),
        member.statistics.failures.to_string(),
        text(&said.latency),
        said.created,
        text(&said.used),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proxywhirl_core::Timestamp;
    use proxywhirl_core::live::{Health, Statistics};
    use proxywhirl_core::tag::Tags;
    use proxywhirl_core::verdict::Anonymity;

    use super::*;
    use crate::conformance::member;

    const FORMS: [RowForm; 3] = [RowForm::Json, RowForm::JsonLines, RowForm::Csv];

    /// Later than every time in these tests, and one that RFC 3339 can write.
    const NOW: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);

    fn written(form: RowForm, members: &[StoredMember]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = RowsWriter::new(form, &mut bytes).unwrap();
        members.iter().for_each(|member| writer.row(member).unwrap());
        assert_eq!(writer.finish().unwrap(), members.len());
        bytes
    }

    fn again(form: RowForm, members: &[StoredMember]) -> Vec<StoredMember> {
        let bytes = written(form, members);
        // Nothing is of no form.
        let expected = Some(form).filter(|_| !bytes.is_empty());
        assert_eq!(form_of(&bytes), expected, "{}", String::from_utf8_lossy(&bytes));
        let rows = read(&bytes, form, NOW).unwrap();
        assert_eq!(rows.rejected, Rejected::default(), "{}", String::from_utf8_lossy(&bytes));
        rows.members
    }

    #[test]
    fn every_kind_of_proxy_comes_back_with_all_that_is_known_of_it() {
        let mut bare = member("http://gate.example:80");
        bare.tags = Tags::default();
        bare.country = None;
        bare.anonymity = Anonymity::Unknown;
        bare.statistics = Statistics::default();
        bare.health = Health::Unknown;
        let urls = [
            "http://:@1.1.1.1:1",
            "http://a:@1.1.1.1:2",
            "socks5h://us%3Aer:p%2C%22%40ss@[fe80::1%eth0]:1081",
            "http://me[-cc-{country}]-{session}:x@gate.example:80",
            "socks5://u:p@a.example:1080 -> https://v:q@b.example:443 -> http://1.2.3.4:8080",
        ];
        let all: Vec<_> = urls.iter().map(|url| member(url)).chain([bare]).collect();
        for form in FORMS {
            assert_eq!(again(form, &all), all, "{form:?}");
            assert_eq!(again(form, &all[..0]), [], "{form:?}");
        }
    }

    #[test]
    fn who_reads_them_otherwise_finds_what_was_always_there() {
        let json = written(RowForm::Json, &[member("http://me:se%40cret@1.2.3.4:80")]);
        let rows: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let row = &rows[0];
        assert_eq!(row["url"], "http://me:se%40cret@1.2.3.4:80");
        assert_eq!((&row["scheme"], &row["host"], &row["port"]), (&"http".into(), &"1.2.3.4".into(), &80.into()));
        assert_eq!((&row["username"], &row["password"]), (&"me".into(), &"se@cret".into()));
        assert_eq!((&row["country"], &row["anonymity"]), (&"DE".into(), &"elite".into()));
        assert_eq!(row["tags"], serde_json::json!(["eu", "source:user"]));
        let csv = String::from_utf8(written(RowForm::Csv, &[member("http://me:a%2Cb@1.2.3.4:80")])).unwrap();
        assert!(csv.starts_with("scheme,host,port,username,password,country,anonymity,tags,"), "{csv}");
        assert!(
            csv.contains("\nhttp,1.2.3.4,80,me,\"a,b\",DE,elite,eu source:user,user,degraded,7,3,123.456,2025-"),
            "{csv}"
        );
    }

    proptest! {
        #[test]
        fn any_member_comes_back_of_any_form(
            members in proptest::collection::vec(any_member(), 0..8),
        ) {
            for form in FORMS {
                // Of two that are the same proxy the later one counts.
                let mut distinct: Vec<StoredMember> = Vec::new();
                for member in &members {
                    distinct.retain(|other| other.endpoint.key() != member.endpoint.key());
                    distinct.push(member.clone());
                }
                prop_assert_eq!(again(form, &distinct), distinct, "{:?}", form);
            }
        }
    }

    fn any_member() -> impl Strategy<Value = StoredMember> {
        let login = proptest::option::of((
            "[^\\x00-\\x1f\\x7f-\\x9f{}\\[\\]]{0,12}",
            "[^\\x00-\\x1f\\x7f-\\x9f{}\\[\\]]{0,12}",
        ));
        let scheme = prop::sample::select(vec!["http", "https", "socks4", "socks4a", "socks5", "socks5h"]);
        let host = prop::sample::select(vec!["192.0.2.1", "gate.example", "[2001:db8::1]", "[fe80::1%eth0]"]);
        let tags = proptest::collection::vec("[!-+\\--~äß]{1,64}", 0..6);
        let times = (1_u64..2_000_000_000_000_000, 0_u64..2_000_000_000_000_000);
        let uses = (any::<u32>(), any::<u32>(), proptest::option::of(0_u64..100_000_000_000));
        let words = (0_usize..4, 0_usize..5, proptest::option::of("[A-Z]{2}"), any::<bool>());
        (login, scheme, host, 1_u16.., tags, times, uses, words).prop_filter_map(
            "a member",
            |(login, scheme, host, port, tags, (added, last_used), (successes, failures, latency), words)| {
                let mut endpoint: Endpoint = format!("{scheme}://{host}:{port}").parse().ok()?;
                endpoint.credentials = login
                    .map(|(name, password)| proxywhirl_core::Credentials::new(&name, &password).map(Box::new))
                    .transpose()
                    .ok()?;
                let (anonymity, health, country, is_chain) = words;
                if is_chain {
                    let first: Endpoint = "socks5://u:p%20q@a.example:1080".parse().ok()?;
                    endpoint.via = Some(Box::new(first));
                }
                Some(StoredMember {
                    endpoint,
                    tags: tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
                    country: country.and_then(|country| country.parse().ok()),
                    anonymity: Anonymity::from_word(["", "transparent", "anonymous", "elite"].get(anonymity)?),
                    added: Timestamp::from_micros(added),
                    statistics: Statistics {
                        successes: successes.into(),
                        failures: failures.into(),
                        latency: latency.map(Duration::from_micros),
                        last_used: Timestamp::from_micros(last_used),
                    },
                    health: Health::from_word(["", "healthy", "degraded", "unhealthy", "dead"].get(health)?),
                })
            },
        )
    }
}
