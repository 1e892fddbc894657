//! What commands print: rows in the format that was asked for, and tables for people.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, TableStyle};
use proxywhirl_core::{Candidate, Verdict};
use proxywhirl_engine::events::milliseconds;
use serde::Serialize;

use crate::exit::{Exit, Failure};
pub(super) use crate::talk::tell;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A URL a line
    Text,
    /// One JSON array of objects
    Json,
    /// A JSON object a line
    Jsonl,
    /// Comma-separated values with a header
    Csv,
}

/// A proxy as it is printed. The fields are part of the interface.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    /// The URL, with its credentials; those of a chain with arrows between.
    pub(super) url: String,
    /// None for a chain, and so are the next four: who took those of one hop for the proxy would go another way.
    scheme: Option<&'static str>,
    host: Option<String>,
    port: Option<u16>,
    username: Option<&'a str>,
    password: Option<&'a str>,
    country: Option<String>,
    anonymity: &'static str,
    tags: Vec<String>,
    /// Whether it passed its check; absent when it was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    alive: Option<bool>,
    /// The deepest level that it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    /// Milliseconds to the first byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    /// The address that the judge saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl<'a> Row<'a> {
    /// A candidate, with its verdict if it was checked.
    pub(super) fn new(candidate: &'a Candidate, verdict: Option<&Verdict>) -> Self {
        let endpoint = &candidate.endpoint;
        let alone = endpoint.via.is_none().then_some(endpoint);
        let credentials = alone.and_then(|endpoint| endpoint.credentials.as_deref());
        Self {
            url: endpoint.to_url(),
            scheme: alone.map(|endpoint| endpoint.scheme.as_str()),
            host: alone.map(|endpoint| endpoint.host.to_string()),
            port: alone.map(|endpoint| endpoint.port),
            username: credentials.map(|credentials| &*credentials.username),
            password: credentials.map(|credentials| credentials.password.expose()),
            country: candidate.country.map(|country| country.to_string()),
            anonymity: candidate.anonymity.as_str(),
            tags: candidate.tags.iter().map(ToString::to_string).collect(),
            alive: verdict.map(Verdict::is_alive),
            level: verdict.and_then(|verdict| verdict.passed).map(proxywhirl_core::Level::as_str),
            latency_ms: verdict.and_then(|verdict| verdict.latency).map(milliseconds),
            exit: verdict.and_then(|verdict| verdict.exit).map(|exit| exit.to_string()),
            fault: verdict.and_then(|verdict| verdict.fault.as_ref()).map(ToString::to_string),
        }
    }

    const CSV_HEADER: &'static str =
        "scheme,host,port,username,password,country,anonymity,tags,alive,level,latency_ms,exit,fault";

    fn to_csv(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        [
            self.scheme.unwrap_or_default().to_owned(),
            // There is no column for chains: one that stands here is no host to anybody.
            self.host.clone().unwrap_or_else(|| quoted(&self.url)),
            self.port.map_or_else(String::new, |port| port.to_string()),
            quoted(self.username.unwrap_or_default()),
            quoted(self.password.unwrap_or_default()),
            self.country.clone().unwrap_or_default(),
            self.anonymity.to_owned(),
            quoted(&self.tags.join(" ")),
            self.alive.map_or_else(String::new, |alive| alive.to_string()),
            self.level.unwrap_or_default().to_owned(),
            number(self.latency_ms),
            self.exit.clone().unwrap_or_default(),
            quoted(self.fault.as_deref().unwrap_or_default()),
        ]
        .join(",")
    }
}

/// A CSV field (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// Opens a file to be written, or standard output for `-`.
pub(super) fn create(path: &Path) -> Result<BufWriter<Box<dyn Write>>, Failure> {
    let out: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout())
    } else {
        Box::new(private(path).map_err(|error| failure(path, &error))?)
    };
    Ok(BufWriter::new(out))
}

/// Where rows go, one after the other.
pub(super) struct RowWriter {
    out: BufWriter<Box<dyn Write>>,
    format: Format,
    rows: usize,
    place: PathBuf,
}

impl RowWriter {
    /// Opens a file, or standard output for `-`.
    pub(super) fn open(path: &Path, format: Format) -> Result<Self, Failure> {
        let mut writer = Self { out: create(path)?, format, rows: 0, place: path.to_owned() };
        if format == Format::Csv {
            writer.line(Row::CSV_HEADER)?;
        }
        Ok(writer)
    }

    /// Writes a row.
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), Failure> {
        let line = match self.format {
            Format::Text => row.url.clone(),
            Format::Csv => row.to_csv(),
            Format::Jsonl => to_json(row)?,
            Format::Json => format!("{}{}", if self.rows == 0 { "[\n" } else { ",\n" }, to_json(row)?),
        };
        self.rows += 1;
        if self.format == Format::Json { self.text(&line) } else { self.line(&line) }
    }

    /// Writes what is left; how many rows there were.
    pub(super) fn finish(mut self) -> Result<usize, Failure> {
        if self.format == Format::Json {
            self.line(if self.rows == 0 { "[]" } else { "\n]" })?;
        }
        self.out.flush().or_else(|error| ignore_closed(&self.place, &error))?;
        Ok(self.rows)
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.text(text)?;
        self.text("\n")
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).or_else(|error| ignore_closed(&self.place, &error))
    }
}

/// A reader that has seen enough, such as `head`, is no failure.
pub(super) fn ignore_closed(path: &Path, error: &io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(failure(path, error)) }
}

/// A file or directory that cannot be written.
pub(super) fn failure(path: &Path, error: &io::Error) -> Failure {
    Failure { exit: Exit::Environment, message: format!("writing {}: {error}", path.display()), hint: None }
}

/// Writes a text to a file, or to standard output for `-`.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        let mut out = io::stdout();
        return out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_else(|error| ignore_closed(path, &error));
    }
    private(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| failure(path, &error))
}

/// A file for its owner alone, because there may be passwords in what is written. One that is there keeps its mode: whoever made it
/// has said who may read it.
fn private(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Anything as JSON on one line.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(Exit::Environment, error))
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    let path = Path::new("standard output");
    writeln!(out, "{text}").and_then(|()| out.flush()).or_else(|error| ignore_closed(path, &error))
}

/// A number with its noun: `1 proxy`, `2 proxies`.
pub(super) fn count(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A table for people: readable without colours, as wide as the terminal.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table.add_rows(rows);
    let text = table.to_string();
    text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_for_its_owner_alone_unless_the_file_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let candidate = Candidate::from("http://u:hunter2@1.2.3.4:80".parse::<proxywhirl_core::Endpoint>().unwrap());
        let (rows, text) = (folder.path().join("rows.txt"), folder.path().join("text.txt"));
        let mut writer = RowWriter::open(&rows, Format::Text).unwrap();
        writer.row(&Row::new(&candidate, None)).unwrap();
        writer.finish().unwrap();
        write(&text, "http://u:hunter2@1.2.3.4:80").unwrap();
        assert_eq!((mode(&rows), mode(&text)), (0o600, 0o600));
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o640)).unwrap();
        write(&text, "shorter").unwrap();
        assert_eq!((mode(&text), std::fs::read_to_string(&text).unwrap().as_str()), (0o640, "shorter"));
    }
}
