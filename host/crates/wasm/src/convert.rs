//! The domain's words and the contract's.

use proxywhirl_core::endpoint::Scheme;
use proxywhirl_core::verdict::Anonymity;

use crate::bindings::shared::proxywhirl::plugin::types;

pub(crate) const fn scheme_out(scheme: Scheme) -> types::Scheme {
    match scheme {
        Scheme::Http => types::Scheme::Http,
        Scheme::Https => types::Scheme::Https,
        Scheme::Socks4 => types::Scheme::Socks4,
        Scheme::Socks4a => types::Scheme::Socks4a,
        Scheme::Socks5 => types::Scheme::Socks5,
        Scheme::Socks5h => types::Scheme::Socks5h,
    }
}

/// The scheme, when it is one that the host speaks.
pub(crate) const fn scheme_in(scheme: types::Scheme) -> Option<Scheme> {
    match scheme {
        types::Scheme::Http => Some(Scheme::Http),
        types::Scheme::Https => Some(Scheme::Https),
        types::Scheme::Socks4 => Some(Scheme::Socks4),
        types::Scheme::Socks4a => Some(Scheme::Socks4a),
        types::Scheme::Socks5 => Some(Scheme::Socks5),
        types::Scheme::Socks5h => Some(Scheme::Socks5h),
        types::Scheme::Other => None,
    }
}

pub(crate) const fn anonymity_out(anonymity: Anonymity) -> types::Anonymity {
    match anonymity {
        Anonymity::Unknown => types::Anonymity::Unknown,
        Anonymity::Transparent => types::Anonymity::Transparent,
        Anonymity::Anonymous => types::Anonymity::Anonymous,
        Anonymity::Elite => types::Anonymity::Elite,
    }
}

pub(crate) const fn anonymity_in(anonymity: types::Anonymity) -> Anonymity {
    match anonymity {
        types::Anonymity::Transparent => Anonymity::Transparent,
        types::Anonymity::Anonymous => Anonymity::Anonymous,
        types::Anonymity::Elite => Anonymity::Elite,
        types::Anonymity::Unknown | types::Anonymity::Other => Anonymity::Unknown,
    }
}
