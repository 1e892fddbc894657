//! How the program ends: documented exit codes, stable for scripts.

use std::fmt;
use std::process::ExitCode;

/// What an exit code means. The numbers are part of the interface: `host/docs/exit-codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, and there are results.
    Done,
    /// 1: it ran, and there is no result: no proxy found, none alive, the request failed.
    NoResult,
    /// 2: the command line or the configuration is wrong.
    Usage,
    /// 3: a source, a plugin or another input could not be read.
    Input,
    /// 4: the machine does not allow it: an address in use, a database that is locked or corrupt.
    Environment,
}

impl Exit {
    const ALL: [Self; 5] = [Self::Done, Self::NoResult, Self::Usage, Self::Input, Self::Environment];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NoResult => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::Environment => 4,
        }
    }

    /// What a number means, if it is one of ours.
    #[must_use]
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| exit.code() == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command ended early: one sentence, its causes, and perhaps what to do.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What happened, with its place; lower case, no full stop.
    pub message: String,
    /// What helps: the rest of the line `hint: …`.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure from an error and all its causes.
    pub fn new(exit: Exit, error: impl Into<Box<dyn std::error::Error>>) -> Self {
        let error = error.into();
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own text.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self { exit, message, hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n\nhint: {hint}"))
    }
}
