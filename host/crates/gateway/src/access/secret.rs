//! What proves a user: a password, or what argon2 makes of it (RFC 9106), in the PHC string format.

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_rustls::rustls::crypto::ring;

/// The most memory that a hash may want to be checked, in KiB.
const MAX_MEMORY: u32 = 1024 * 1024;
/// The most passes over it.
const MAX_PASSES: u32 = 64;

/// What a hash of argon2 looks like.
const EXAMPLE: &str = "$argon2id$v=19$m=19456,t=2,p=1$…$…";

/// What proves a user. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A hash of argon2.
    Hash(Box<str>),
    /// The password itself, as the environment holds it.
    Password(proxywhirl_core::Secret),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Secret {
    /// Reads a hash in the PHC string format.
    ///
    /// # Errors
    /// When it is none, is not of argon2, or would take more than a gateway should spend on a password.
    pub fn hash(text: &str) -> Result<Self, String> {
        if let Some(other) = other_than_argon2(text) {
            return Err(format!("a hash of {other}, and only those of argon2 are taken, such as {EXAMPLE}"));
        }
        let hash = PasswordHash::new(text).map_err(|error| format!("not a hash in the PHC format: {error}"))?;
        if !matches!(hash.algorithm.as_str(), "argon2id" | "argon2i" | "argon2d") || hash.hash.is_none() {
            return Err(format!("not a hash of argon2, such as {EXAMPLE}"));
        }
        let cost = |name: &str| hash.params.get_decimal(name).unwrap_or_default();
        if cost("m") > MAX_MEMORY || cost("t") > MAX_PASSES {
            return Err(format!("a hash that costs more than m={MAX_MEMORY} or t={MAX_PASSES}"));
        }
        Ok(Self::Hash(text.into()))
    }

    /// Whether this is the password. For a hash this takes some 20 ms and 19 MiB: not for a thread that serves.
    pub(super) fn is(&self, password: &str) -> bool {
        match self {
            Self::Hash(text) => PasswordHash::new(text)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
            // Of digests, so that the time tells neither how much of it is right nor how long it is.
            Self::Password(own) => {
                let digest = |text: &str| Sha256::digest(text.as_bytes());
                digest(own.expose()).ct_eq(&digest(password)).into()
            }
        }
    }
}

/// What has made a hash that other programs keep, such as htpasswd; by its beginning, so that nothing of it is shown.
fn other_than_argon2(text: &str) -> Option<&'static str> {
    match text.strip_prefix('$')?.split('$').next()? {
        "2" | "2a" | "2b" | "2x" | "2y" => Some("bcrypt"),
        "1" | "apr1" => Some("MD5"),
        "5" | "6" => Some("SHA-2"),
        "y" | "gy" => Some("yescrypt"),
        _ => None,
    }
}

/// Makes a hash of a password, with a salt of its own.
///
/// # Errors
/// When the password is longer than argon2 takes.
pub fn hash_password(password: &str) -> Result<String, String> {
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// A key that nobody else knows, for as long as the process lives.
///
/// # Errors
/// When the system has no random numbers.
pub(super) fn random_key() -> Result<[u8; 32], String> {
    let mut key = [0; 32];
    let filled = ring::default_provider().secure_random.fill(&mut key);
    filled.map(|()| key).map_err(|_| "the system has no random numbers".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_and_never_the_same_twice() {
        let hash = hash_password("correct horse").unwrap();
        assert_ne!(hash, hash_password("correct horse").unwrap());
        let secret = Secret::hash(&hash).unwrap();
        assert!(secret.is("correct horse") && !secret.is("correct horse ") && !secret.is(""));
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn a_password_is_itself_and_nothing_like_it() {
        let secret = Secret::Password(proxywhirl_core::Secret::new("correct horse"));
        assert!(secret.is("correct horse"));
        for other in ["", "correct hors", "correct horse ", "Correct horse", "incorrect horse"] {
            assert!(!secret.is(other), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_hash_of_argon2_is_refused() {
        for wrong in ["", "secret", "$2b$10$abcdefghijklmnopqrstuu", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ"] {
            assert!(Secret::hash(wrong).is_err(), "{wrong}");
        }
        for (other, told) in [
            (
                "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
                "a hash of bcrypt, and only those of argon2",
            ),
            ("$apr1$r31abcde$HqJZimcKQFAMYayBlzkrA/", "a hash of MD5, and"),
        ] {
            let why = Secret::hash(other).unwrap_err();
            assert!(why.starts_with(told) && why.ends_with("such as $argon2id$v=19$m=19456,t=2,p=1$…$…"), "{why}");
        }
        let dear = hash_password("x").unwrap().replace("m=19456", "m=4194304");
        assert!(Secret::hash(&dear).unwrap_err().contains("costs more"));
    }
}
