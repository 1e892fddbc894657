//! Why a source gave no document: the place, and the fact.

use std::fmt;
use std::io;
use std::time::Duration;

use super::render::RenderError;

/// Why a source gave no document.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", Place { name, location })]
pub struct SourceError {
    /// The source's name.
    pub name: String,
    /// Its location, without credentials.
    pub location: String,
    /// What went wrong.
    pub cause: Cause,
}

/// What went wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It is larger than it may be, and reading stopped there.
    #[error("larger than {}, which is the most that is read of a source", Size(*cap))]
    TooLarge {
        /// The most that is read, in bytes.
        cap: u64,
    },
    /// It took longer than it may.
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    /// The server said no.
    #[error("the server answered {0}")]
    Status(String),
    /// It was sent from one place to the next for too long.
    #[error("more than {0} redirects")]
    Redirects(usize),
    /// HTTP failed.
    #[error("{0}")]
    Http(String),
    /// A header field cannot be sent.
    #[error("header {0:?} cannot be sent: it has a character that HTTP does not allow")]
    Header(String),
    /// The path is a folder.
    #[error("is a folder; name a file in it")]
    Folder,
    /// It is compressed, and damaged.
    #[error("cannot be decompressed: {0}")]
    Gzip(io::Error),
    /// It is compressed and whole, and something else follows.
    #[error("cannot be decompressed: something that is not gzip follows its end")]
    Trailing,
    /// It is compressed, in more parts than a list has.
    #[error("cannot be decompressed: it has more than {0} members")]
    Members(usize),
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It leads to an address that a stranger has no business to send us to.
    #[error("leads to {host}, which is not of the internet ({class}); a source that is trusted may")]
    Private {
        /// The host.
        host: String,
        /// What kind of address it is.
        class: &'static str,
    },
    /// The browser did not give the page.
    #[error(transparent)]
    Render(#[from] RenderError),
}

pub(super) struct Place<'a> {
    name: &'a str,
    location: &'a str,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name == self.location {
            write!(f, "source {}", self.name)
        } else {
            write!(f, "source {} ({})", self.name, self.location)
        }
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1024 * 1024;
        if self.0 >= MIB && self.0.is_multiple_of(MIB) {
            write!(f, "{} MiB", self.0 / MIB)
        } else {
            write!(f, "{} bytes", self.0)
        }
    }
}
