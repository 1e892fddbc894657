//! What one proves to a proxy, within what every protocol can carry.

use super::{EndpointError, template};
use crate::secret::{SEALED, Secret};

/// What one proves to a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user name; at most 255 bytes (RFC 1929), no control characters.
    pub username: Box<str>,
    /// The password; may be empty.
    pub password: Secret,
}

impl Credentials {
    /// The longest name and the longest password, in bytes: what SOCKS 5 can carry (RFC 1929). Vendors' gateways
    /// put whole sessions into the name, and stay below it.
    pub const MAX: usize = 255;

    /// The longest sealed password, in bytes: nonce, tag and name of the key are with it, in base64.
    const MAX_SEALED: usize = 512;

    /// Credentials whose parts are of a length and of characters that every protocol can carry.
    ///
    /// # Errors
    /// When a part is longer than [`Credentials::MAX`], holds a control character, looks sealed, or has blanks that cannot always be
    /// filled (see [`template`]).
    pub fn new(username: &str, password: &str) -> Result<Self, EndpointError> {
        if password.starts_with(SEALED) {
            return Err(EndpointError::Credentials(
                "a password that is sealed, as stores keep it: read it from its store",
            ));
        }
        Self::of(username, password, Self::MAX)
    }

    /// Credentials as a store keeps them, where the password may be sealed.
    ///
    /// # Errors
    /// As [`Credentials::new`].
    pub fn kept(username: &str, password: &str) -> Result<Self, EndpointError> {
        let most = if password.starts_with(SEALED) { Self::MAX_SEALED } else { Self::MAX };
        Self::of(username, password, most)
    }

    fn of(username: &str, password: &str, most: usize) -> Result<Self, EndpointError> {
        if username.len() > Self::MAX || password.len() > most {
            return Err(EndpointError::Credentials("a user name or password of more than 255 bytes"));
        }
        // A line end would let a list write headers of its own into our requests.
        if username.chars().chain(password.chars()).any(char::is_control) {
            return Err(EndpointError::Credentials("a control character in the user name or password"));
        }
        template::check(username, password)?;
        Ok(Self { username: username.into(), password: Secret::new(password) })
    }
}
