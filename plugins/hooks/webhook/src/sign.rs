//! The signature: HMAC-SHA256 (RFC 2104, FIPS 180-4) of the time and the body.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write as _;

/// The value of `ProxyWhirl-Signature`, at a time in seconds since the Unix epoch.
pub(crate) fn header(secret: &str, seconds: u64, body: &[u8]) -> Option<String> {
    // Every length of key is allowed, so there is none only if the library changes its mind.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut value = format!("t={seconds},v1=");
    for byte in mac.finalize().into_bytes() {
        // Writing to a string does not fail.
        write!(value, "{byte:02x}").ok()?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_openssl_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        assert_eq!(
            header("s3cret", 1_700_000_000, br#"{"a":1}"#).as_deref(),
            Some("t=1700000000,v1=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940")
        );
    }
}
