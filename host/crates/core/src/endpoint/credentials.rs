//! What one proves to a proxy, within what its protocol can carry.

use super::{EndpointError, Scheme, template};
use crate::secret::{SEALED, Secret};

/// What one proves to a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user name; at most [`Credentials::MAX`] bytes, no control characters.
    pub username: Box<str>,
    /// The password; may be empty.
    pub password: Secret,
}

impl Credentials {
    /// The longest name and the longest password, in bytes: both together fit into the head of a request. Vendors' gateways put whole
    /// sessions into the name, and some take tokens for passwords.
    pub const MAX: usize = 4_096;

    /// The same through SOCKS, where a byte says how long they are (RFC 1929).
    pub const MAX_SOCKS: usize = 255;

    /// The longest sealed password, in bytes: nonce, tag and name of the key are with it, in base64.
    const MAX_SEALED: usize = 6_144;

    /// Credentials whose parts are of a length and of characters that HTTP can carry. Whether they [fit](Credentials::fit) a proxy is
    /// known with its scheme.
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

    /// Whether a proxy with this scheme can be told them, whatever their blanks are filled with. A password that is sealed did when it was
    /// sealed.
    ///
    /// # Errors
    /// When SOCKS cannot carry a part: it is longer than [`Credentials::MAX_SOCKS`].
    pub fn fit(&self, scheme: Scheme) -> Result<(), EndpointError> {
        let password = self.password.expose();
        let is_too_long = |text: &str| template::longest(text) > Self::MAX_SOCKS;
        if scheme.is_http() || !is_too_long(&self.username) && (password.starts_with(SEALED) || !is_too_long(password))
        {
            return Ok(());
        }
        Err(EndpointError::Credentials("a user name or password of more than 255 bytes, which SOCKS cannot carry"))
    }

    fn of(username: &str, password: &str, most: usize) -> Result<Self, EndpointError> {
        if username.len() > Self::MAX || password.len() > most {
            return Err(EndpointError::Credentials("a user name or password of more than 4,096 bytes"));
        }
        // A line end would let a list write headers of its own into our requests.
        if username.chars().chain(password.chars()).any(char::is_control) {
            return Err(EndpointError::Credentials("a control character in the user name or password"));
        }
        template::check(username, password)?;
        Ok(Self { username: username.into(), password: Secret::new(password) })
    }
}
