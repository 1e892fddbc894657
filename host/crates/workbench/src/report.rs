//! What was found out about a plugin, a line for each question.

use std::fmt;

use serde::Serialize;

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Failed,
    /// It could not be asked; the line says why.
    Skipped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        })
    }
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What was asked, or the file that was run.
    pub name: String,
    /// The answer.
    pub status: Status,
    /// The particulars: what was found, what is wrong, why it was skipped. May have several lines.
    pub detail: String,
    /// Why it matters; empty where the author has asked the question.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub why: &'static str,
}

/// Everything that was found out about a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plugin's name; the file's, when it does not load.
    pub plugin: String,
    /// Its version; empty when it does not load.
    pub version: String,
    /// `strategy`, `parser` or `hook`; empty when that could not be told.
    pub kind: &'static str,
    /// In the order in which the questions were asked.
    pub lines: Vec<Line>,
}

/// An answer before it has its question: particulars either way.
pub(crate) type Answer = Result<String, String>;

impl Report {
    /// How many lines have this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.lines.iter().filter(|line| line.status == status).count()
    }

    /// Whether nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.count(Status::Failed) == 0
    }

    /// Adds the answer to a question.
    pub(crate) fn add(&mut self, name: &str, why: &'static str, answer: Answer) {
        let (status, detail) = match answer {
            Ok(detail) => (Status::Ok, detail),
            Err(detail) => (Status::Failed, detail),
        };
        self.lines.push(Line { name: name.to_owned(), status, detail, why });
    }

    /// Adds a question that could not be asked.
    pub(crate) fn skip(&mut self, name: &str, why: &'static str, reason: &str) {
        self.lines.push(Line { name: name.to_owned(), status: Status::Skipped, detail: reason.to_owned(), why });
    }
}

impl fmt::Display for Report {
    /// A line for each question, and why it matters below those that failed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        for line in &self.lines {
            let mut detail = line.detail.lines();
            writeln!(f, "{:<8} {:<width$}  {}", line.status, line.name, detail.next().unwrap_or_default())?;
            for more in detail {
                writeln!(f, "         {more}")?;
            }
            if line.status == Status::Failed && !line.why.is_empty() {
                writeln!(f, "         why it matters: {}", line.why)?;
            }
        }
        let (ok, failed, skipped) = (self.count(Status::Ok), self.count(Status::Failed), self.count(Status::Skipped));
        write!(f, "{} {}: {ok} ok, {failed} failed, {skipped} skipped", self.plugin, self.version)
    }
}
