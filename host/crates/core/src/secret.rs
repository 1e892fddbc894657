//! A text that must not be seen: a password.
//!
//! It is masked by its type, so that no log line, error, event or snapshot can show it by accident; whoever needs the text
//! says so with [`Secret::expose`]. When it is dropped, its memory is overwritten, so that what is freed, swapped or dumped
//! later does not hold it. It can be read from a file, and not written to one: whoever writes it exposes it.

use std::fmt;
use std::hash::{Hash, Hasher};

pub use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

/// What a password begins with that a store keeps sealed. None that comes from elsewhere may.
pub const SEALED: &str = "sealed-1:";

/// A text whose `Debug` and `Display` are `***`. As large as a `Box<str>`: a million members may have one each.
#[derive(Clone, Default)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text. What it was copied from is the caller's to forget.
    pub fn new(text: impl Into<SecretString>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the wire and for the store.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether it is empty, which is no secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl Hash for Secret {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expose().hash(state);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_the_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn it_takes_no_more_room_than_its_text_and_is_overwritten_when_it_is_dropped() {
        fn is_overwritten<T: secrecy::zeroize::ZeroizeOnDrop>(_: &T) {}
        assert_eq!(size_of::<Secret>(), size_of::<Box<str>>());
        is_overwritten(&Secret::new("hunter2").0);
    }
}
