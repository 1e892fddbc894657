//! Fixtures of a parser: documents, and what is in them.
//!
//! `tests/NAME.input.EXT` is the document, `tests/NAME.options.json` its options, and `tests/NAME.expected.json` what the
//! parser must make of it. What that file says nothing about is not compared.

use std::fs;
use std::path::{Path, PathBuf};

use proxywhirl_core::Scheme;
use proxywhirl_core::plugin::{Document, Entry, FaultCause, Parsed};
use serde_json::{Map, Value, json};
use similar::TextDiff;

use crate::report::Answer;
use crate::rotation::with_scene;
use crate::subject::{Loaded, WorkbenchError};

/// The longest document, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Lines of a difference that are shown.
const SHOWN: usize = 60;

/// A document and where its answer is.
#[derive(Debug)]
pub(crate) struct Case {
    /// What stands before `.input.`.
    pub(crate) name: String,
    input: PathBuf,
    options: PathBuf,
    expected: PathBuf,
}

/// The fixtures of a project, by name.
pub(crate) fn cases(project: &Path) -> Result<Vec<Case>, WorkbenchError> {
    let folder = project.join("tests");
    let mut cases = Vec::new();
    for file in files(&folder)? {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        let Some((name, _)) = name.split_once(".input.") else { continue };
        cases.push(Case {
            name: name.to_owned(),
            options: folder.join(format!("{name}.options.json")),
            expected: folder.join(format!("{name}.expected.json")),
            input: file.clone(),
        });
    }
    Ok(cases)
}

/// The files of a folder in alphabetical order; none when there is no folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, WorkbenchError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(|error| WorkbenchError::read(folder, error))?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// A file's text or bytes, if it is not too large.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, WorkbenchError> {
    let failed = |error| WorkbenchError::read(file, error);
    let length = fs::metadata(file).map_err(failed)?.len();
    if length > MAX_BYTES {
        let reason = format!("{length} bytes, the limit is {MAX_BYTES}");
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason)));
    }
    fs::read(file).map_err(failed)
}

/// All documents of a project, for checks.
pub(crate) fn documents(project: &Path) -> Result<Vec<Document>, WorkbenchError> {
    cases(project)?.iter().map(Case::document).collect()
}

/// A document as a source would hand it over.
pub(crate) fn document(name: &str, body: &[u8], options: &str) -> Document {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let content_type = match extension {
        "txt" => "text/plain",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "html" | "htm" => "text/html",
        "xml" => "application/xml",
        "yaml" | "yml" => "application/yaml",
        _ => "",
    };
    Document {
        url: format!("https://fixtures.example/{name}"),
        content_type: content_type.to_owned(),
        body: body.into(),
        options: options.to_owned(),
        default_scheme: Scheme::Http,
    }
}

impl Case {
    fn document(&self) -> Result<Document, WorkbenchError> {
        let options = if self.options.is_file() {
            String::from_utf8_lossy(&read(&self.options)?).into_owned()
        } else {
            "{}".to_owned()
        };
        let file = self.input.file_name().unwrap_or_default().to_string_lossy().replacen(".input.", ".", 1);
        Ok(document(&file, &read(&self.input)?, &options))
    }

    /// Parses the document and compares, or writes what is in it.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(crate) fn run(&self, loaded: &Loaded, bless: bool) -> Result<Answer, WorkbenchError> {
        let document = self.document()?;
        let found = match answer(loaded, document) {
            Ok(found) => found,
            Err(reason) => return Ok(Err(reason)),
        };
        let text = canonical(&found);
        if bless {
            return self.bless(&text);
        }
        if !self.expected.is_file() {
            let hint = "no expected answer; `proxywhirl plugin test --bless` writes what follows";
            return Ok(Err(format!("{hint}\n{}", shortened(&text))));
        }
        let expected = read(&self.expected)?;
        Ok(compare(&found, &expected))
    }

    fn bless(&self, text: &str) -> Result<Answer, WorkbenchError> {
        let before = fs::read_to_string(&self.expected).unwrap_or_default();
        if before == text {
            return Ok(Ok("as before".to_owned()));
        }
        fs::write(&self.expected, text).map_err(|error| WorkbenchError::write(&self.expected, error))?;
        Ok(Ok(format!("written: {}", self.expected.display())))
    }
}

/// What the parser says, as JSON; an error when it breaks, or does not take the options.
fn answer(loaded: &Loaded, mut document: Document) -> Result<Value, String> {
    let name = loaded.name();
    document.options =
        loaded.plugins.check_options(loaded.kind, name, &document.options).map_err(|error| error.to_string())?;
    let parser = loaded.plugins.parser(name).map_err(|error| error.to_string())?;
    let sure = parser.sniff(&document).map_err(|fault| with_scene(&fault))?;
    let mut found = Map::new();
    found.insert("sure".to_owned(), json!(sure));
    match parser.parse(&document) {
        Ok(parsed) => found.extend(fields(parsed)),
        Err(fault) if fault.cause == FaultCause::Refused => {
            found.insert("error".to_owned(), json!(fault.detail));
        }
        Err(fault) => return Err(with_scene(&fault)),
    }
    Ok(Value::Object(found))
}

fn fields(parsed: Parsed) -> impl Iterator<Item = (String, Value)> {
    let rejections: Vec<Value> = parsed
        .rejections
        .iter()
        .map(|it| json!({"line": it.line, "excerpt": it.excerpt, "reason": it.reason}))
        .collect();
    let proxies: Vec<Value> = parsed.entries.iter().map(entry).collect();
    [
        ("proxies".to_owned(), json!(proxies)),
        ("rejected".to_owned(), json!(parsed.rejected)),
        ("rejections".to_owned(), json!(rejections)),
        ("follow".to_owned(), json!(parsed.follow)),
    ]
    .into_iter()
}

/// An entry; what it does not say is left out.
fn entry(it: &Entry) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    if it.line > 0 {
        put("line", json!(it.line));
    }
    if let Some(scheme) = it.scheme {
        put("scheme", json!(scheme.as_str()));
    }
    match &it.host {
        Ok(host) => put("host", json!(host.to_string())),
        Err(text) => put("not_a_host", json!(text)),
    }
    put("port", json!(it.port));
    match &it.credentials {
        Ok(None) => {}
        Ok(Some(credentials)) => {
            put("username", json!(credentials.username));
            put("password", json!(credentials.password.expose()));
        }
        Err(reason) => put("bad_credentials", json!(reason)),
    }
    if let Some(country) = it.country {
        put("country", json!(country.as_str()));
    }
    if it.anonymity != proxywhirl_core::Anonymity::Unknown {
        put("anonymity", json!(it.anonymity.as_str()));
    }
    Value::Object(fields)
}

/// One text for one answer: fields in a fixed order, an entry a line, so that differences are readable.
fn canonical(found: &Value) -> String {
    let mut parts = Vec::new();
    for name in ["sure", "error", "proxies", "rejected", "rejections", "follow"] {
        let Some(value) = found.get(name) else { continue };
        match value.as_array().filter(|rows| !rows.is_empty()) {
            Some(rows) => {
                let rows: Vec<String> = rows.iter().map(|row| format!("    {row}")).collect();
                parts.push(format!("  \"{name}\": [\n{}\n  ]", rows.join(",\n")));
            }
            None => parts.push(format!("  \"{name}\": {value}")),
        }
    }
    format!("{{\n{}\n}}\n", parts.join(",\n"))
}

fn compare(found: &Value, expected: &[u8]) -> Answer {
    let expected: Value =
        serde_json::from_slice(expected).map_err(|error| format!("the expected answer is not JSON: {error}"))?;
    let Some(named) = expected.as_object() else { return Err("the expected answer is no JSON object".to_owned()) };
    if !named.contains_key("proxies") && !named.contains_key("error") {
        return Err("the expected answer has neither `proxies` nor `error`".to_owned());
    }
    let mut relevant = found.as_object().cloned().unwrap_or_default();
    relevant.retain(|name, _| named.contains_key(name));
    let found = Value::Object(relevant);
    if found == expected {
        let count = found.get("proxies").and_then(Value::as_array).map_or(0, Vec::len);
        return Ok(format!("{count} proxies"));
    }
    let (expected, found) = (canonical(&expected), canonical(&found));
    let diff = TextDiff::from_lines(&expected, &found);
    let text = diff.unified_diff().context_radius(1).header("expected", "found").to_string();
    if text.is_empty() {
        return Err("the expected answer has a field that no answer has".to_owned());
    }
    Err(format!("other than expected\n{}", shortened(&text)))
}

fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().take(SHOWN).collect();
    let more = text.lines().count().saturating_sub(SHOWN);
    if more == 0 { lines.join("\n") } else { format!("{}\n… and {more} lines more", lines.join("\n")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found() -> Value {
        json!({"sure": 90, "proxies": [{"line": 1, "host": "1.2.3.4", "port": 80}], "rejected": 0, "rejections": [], "follow": []})
    }

    #[test]
    fn the_same_answer_in_another_layout_is_the_same() {
        let text = canonical(&found());
        assert!(compare(&found(), text.as_bytes()).is_ok());
        assert!(compare(&found(), found().to_string().as_bytes()).is_ok());
        assert_eq!(text.lines().filter(|line| line.contains("1.2.3.4")).count(), 1);
    }

    #[test]
    fn what_the_expectation_does_not_name_is_not_compared() {
        assert!(compare(&found(), br#"{"proxies":[{"host":"1.2.3.4","line":1,"port":80}]}"#).is_ok());
        assert!(compare(&found(), b"{}").unwrap_err().contains("neither"));
        assert!(compare(&found(), b"[").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn a_difference_shows_both_lines() {
        let error = compare(&found(), br#"{"proxies":[{"host":"1.2.3.4","line":1,"port":81}]}"#).unwrap_err();
        assert!(error.lines().any(|line| line.starts_with('-') && line.contains("81")), "{error}");
        assert!(error.lines().any(|line| line.starts_with('+') && line.contains("80")), "{error}");
    }
}
