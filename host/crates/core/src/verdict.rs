//! What a check came to.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::candidate::Candidate;
use crate::endpoint::Scheme;
use crate::fault::Fault;
use crate::time::Timestamp;

/// How far a check goes. Each level includes the ones before it and stops at the first failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// It is written as a proxy is written.
    Format,
    /// Its name has an address, and one that it may have.
    Dns,
    /// Something accepts connections there.
    Tcp,
    /// It speaks the protocol of a proxy: its own, or another one that was found out.
    Protocol,
    /// A request through it reaches the judge, and the judge's own answer comes back.
    Http,
    /// A tunnel through it reaches the judge, and TLS in it is the judge's own.
    Tls,
    /// What the judge sees of the client behind it is at least as little as was asked for.
    Anonymity,
    /// The user's own URL answers through it as the user expects.
    Target,
}

impl Level {
    /// Every level, from the shallowest.
    pub const ALL: [Self; 8] =
        [Self::Format, Self::Dns, Self::Tcp, Self::Protocol, Self::Http, Self::Tls, Self::Anonymity, Self::Target];

    /// The level as people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::Protocol => "protocol",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Anonymity => "anonymity",
            Self::Target => "target",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the origin can tell about the client behind a proxy, the more the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Anonymity {
    /// It was never found out.
    #[default]
    Unknown,
    /// The origin sees the client's address.
    Transparent,
    /// The origin sees that there is a proxy, and not for whom.
    Anonymous,
    /// The origin sees neither.
    Elite,
}

impl Anonymity {
    /// The word that people use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Transparent => "transparent",
            Self::Anonymous => "anonymous",
            Self::Elite => "elite",
        }
    }

    /// Reads the word back; everything else is unknown.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        [Self::Transparent, Self::Anonymous, Self::Elite]
            .into_iter()
            .find(|anonymity| anonymity.as_str() == word)
            .unwrap_or_default()
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The level that was asked for.
    pub level: Level,
    /// The deepest level that it passed, or none.
    pub passed: Option<Level>,
    /// Why it went no deeper; none when it passed the level that was asked for.
    pub fault: Option<Fault>,
    /// From the first byte sent to the first byte of the answer, at the deepest level that was measured.
    pub latency: Option<Duration>,
    /// The protocol that it speaks, when that was found out.
    pub protocol: Option<Scheme>,
    /// What the judge could tell about us.
    pub anonymity: Anonymity,
    /// The address that the judge saw.
    pub exit: Option<IpAddr>,
    /// When it ended.
    pub at: Timestamp,
}

impl Verdict {
    /// Whether it passed the level that was asked for.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        self.fault.is_none()
    }
}

/// A candidate that passed its check. The only way to make one is from a verdict that says so.
#[derive(Debug, Clone)]
pub struct Verified {
    candidate: Candidate,
    verdict: Verdict,
}

impl Verified {
    /// Puts a candidate and its verdict together; gives both back when it did not pass.
    ///
    /// # Errors
    /// The candidate and its verdict, when the verdict is not alive.
    #[allow(clippy::result_large_err)] // The error is the argument given back: it is as large as what came in.
    pub fn new(candidate: Candidate, verdict: Verdict) -> Result<Self, (Candidate, Verdict)> {
        if verdict.is_alive() { Ok(Self { candidate, verdict }) } else { Err((candidate, verdict)) }
    }

    /// The candidate.
    #[must_use]
    pub const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Both parts.
    #[must_use]
    pub fn into_parts(self) -> (Candidate, Verdict) {
        (self.candidate, self.verdict)
    }
}
