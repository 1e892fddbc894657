//! Names to addresses, each of which is checked. The connector gets what was checked and nothing else,
//! so that a name that changes its mind between the check and the connection gains nothing by it.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::capability::address::{Reach, reach};

/// Resolves by the machine's resolver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    /// Whether addresses of private networks are allowed.
    pub(super) private: bool,
}

/// An address that a request may not go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forbidden {
    address: IpAddr,
    what: &'static str,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.address, self.what)
    }
}

impl Error for Forbidden {}

/// Whether a request may go to an address.
pub(super) fn check(address: IpAddr, private: bool) -> Result<(), Forbidden> {
    match reach(address) {
        Reach::Public => Ok(()),
        Reach::Private(_) if private => Ok(()),
        Reach::Private(what) | Reach::Nobody(what) => Err(Forbidden { address, what }),
    }
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // All of them: a name that leads to both sides of a wall is how one gets over it.
            for address in &found {
                check(address.ip(), private)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_needs_a_grant_and_an_impossible_one_gets_none() {
        let check = |text: &str, private| check(text.parse().unwrap(), private);
        assert_eq!(check("8.8.8.8", false), Ok(()));
        assert_eq!(check("10.0.0.1", true), Ok(()));
        let text = check("169.254.169.254", false).unwrap_err().to_string();
        assert!(text.starts_with("169.254.169.254 is a link-local address"), "{text}");
        assert!(check("0.0.0.0", true).is_err() && check("224.0.0.1", true).is_err());
    }
}
