//! What a request wants of its upstream, as its client says it: where it is, how it is labelled, which session the request
//! belongs to and how that sticks, how long and how often to try.
//!
//! A client says it by fields, as in `ProxyWhirl-Country: de`, or in the user name (or the password) with which it speaks to
//! the gateway, for clients that let one set nothing else. How the words stand there is a [`Grammar`]; which words there are
//! is the same for all. A key that nobody knows is an error that names it: whoever mistypes `country` must not be
//! sent through just any.
//!
//! Pure: text in, wishes or the words for the client out. A request that says nothing of this costs one look at its names.

mod draft;
mod fields;
pub mod grammar;
mod keys;
mod places;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::EndpointKey;
use proxywhirl_core::member::mix;
use proxywhirl_core::select::{Filter, Stick};
use proxywhirl_engine::Beside;

use draft::Draft;
pub(crate) use fields::{CREDENTIALS, take_fields};
pub(crate) use grammar::in_words;
pub use grammar::{Dialect, Grammar, Introduced, Place};

/// What a request wants of its upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Whose it is: a hash of the user's name, or of the client's address where there are no users. 0 for nobody's.
    pub whose: u64,
    /// Hash of its session's name.
    pub session: Option<u64>,
    /// How that session sticks.
    pub stick: Stick,
    /// The members that it may use, if not all.
    pub filter: Option<Arc<Filter>>,
    /// Through how many members it is tried at the most; none for as many as the gateway allows.
    pub attempts: Option<u32>,
    /// Whether another member is asked when one is slow; none for what the gateway does anyway.
    pub hedge: Option<bool>,
    /// How long it may take until the head of the answer; none for as long as the gateway allows.
    pub deadline: Option<Duration>,
    /// Whether the answer says through whom it came; none for what the gateway says.
    pub explain: Option<bool>,
    /// The strategy by which it gets its member, where that is another one than the one in force. No client can ask for it.
    pub by: Option<Beside>,
}

/// The most that a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members that a request is tried through.
    pub attempts: u32,
    /// The time until the head of the answer.
    pub deadline: Duration,
}

/// Why what a client wants cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mistake {
    /// In the user name.
    User(String),
    /// In the password, of which the client may be told, and nobody else.
    Password(String),
    /// In a field.
    Field(String),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::User(why) | Self::Password(why) | Self::Field(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Mistake {}

impl Wanted {
    /// Reads words as a configuration has them: keys and values.
    ///
    /// # Errors
    /// When there is a key that nobody knows, or a value that cannot be; the key is named.
    pub fn by_words<'w>(words: impl IntoIterator<Item = (&'w str, &'w str)>, limits: Limits) -> Result<Self, String> {
        let mut draft = Draft::new(limits);
        for (key, value) in words {
            draft.read(key, Some(value)).map_err(|why| format!("{key}: {why}"))?;
        }
        Ok(draft.finish())
    }

    /// The same, from this one member only.
    #[must_use]
    pub fn only(mut self, member: EndpointKey) -> Self {
        let filter = self.filter.take().map(Arc::unwrap_or_clone).unwrap_or_default();
        self.filter = Some(Arc::new(filter.only(member)));
        self
    }

    /// What a client wants behind a door that has wishes of its own: only members that both admit, and where the client
    /// says nothing, what the door says. None when no member can be what both demand.
    #[must_use]
    pub fn behind(self, door: &Self) -> Option<Self> {
        let filter = match (self.filter, &door.filter) {
            (Some(own), Some(doors)) => Some(Arc::new(own.and(doors)?)),
            (own, doors) => own.or_else(|| doors.clone()),
        };
        let Stick { lifetime, idle, strict, renew, beside } = self.stick;
        let (lifetime, idle) = match (lifetime, idle) {
            (None, None) => (door.stick.lifetime, door.stick.idle),
            said => said,
        };
        Some(Self {
            whose: self.whose,
            session: self.session.or(door.session),
            stick: Stick {
                lifetime,
                idle,
                strict: strict.or(door.stick.strict),
                renew: renew || door.stick.renew,
                beside,
            },
            filter,
            attempts: self.attempts.or(door.attempts),
            hedge: self.hedge.or(door.hedge),
            deadline: self.deadline.or(door.deadline),
            explain: self.explain.or(door.explain),
            by: self.by.or_else(|| door.by.clone()),
        })
    }
}

/// The hash under which a session's name is known to strategies and to the store: FNV-1a over the name, and the finalizer
/// of `SplitMix64`, which spreads it over all bits. Never 0, which stands for none.
#[must_use]
pub fn session_hash(name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash).max(1)
}

/// What a client wrote, bounded and in quotes.
fn shown(text: &str) -> String {
    format!("{:?}", crate::ingress::excerpt(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
