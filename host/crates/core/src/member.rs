//! A proxy in the pool.

use std::sync::Arc;

use crate::candidate::Country;
use crate::endpoint::{Endpoint, EndpointKey};
use crate::live::Live;
use crate::store::StoredMember;
use crate::symbol::Symbol;
use crate::tag::{Labels, Tags};
use crate::time::Timestamp;
use crate::verdict::Anonymity;

/// The identity of a member: a hash of its [`EndpointKey`], the same on every machine and after every
/// restart. Sessions and weights are bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub u64);

impl MemberId {
    /// The identity of an endpoint. FNV-1a over the key's text, then the finalizer of SplitMix64,
    /// which spreads it over all bits; among a million members the chance of any two being equal is
    /// below one in 30 million, and equal ones only share their sessions.
    #[must_use]
    pub fn of(key: &EndpointKey) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in key.to_string().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(mix(hash))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input reaches every bit of the output.
#[must_use]
#[inline]
pub const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A proxy in the pool: what is known of it, and its live state, which all its versions share.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its identity.
    pub id: MemberId,
    /// Its place in the table. Places are used again: see [`Member::generation`].
    pub slot: u32,
    /// How many members had this place before: slot and generation together name one member.
    pub generation: u32,
    /// How many members had joined before it.
    pub joined: u64,
    /// When it joined.
    pub added: Timestamp,
    /// Where it listens.
    pub endpoint: Arc<Endpoint>,
    /// What it is labelled with. In one pointer, because a million members have one each.
    pub labels: Arc<Labels>,
    /// Where it is said to be.
    pub country: Option<Country>,
    /// The symbol of its country, for plugins.
    pub country_symbol: Symbol,
    /// What an origin can tell about the client behind it.
    pub anonymity: Anonymity,
    /// What changes at every request.
    pub live: Arc<Live>,
}

impl Member {
    /// Its labels.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.labels.tags
    }

    /// The form in which it is kept.
    #[must_use]
    pub fn to_stored(&self) -> StoredMember {
        StoredMember {
            endpoint: Endpoint::clone(&self.endpoint),
            tags: self.labels.tags.clone(),
            country: self.country,
            anonymity: self.anonymity,
            added: self.added,
            statistics: self.live.statistics(),
            health: self.live.health(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The allocator has classes of 64, 80, 96, 112, 128, 160, 192, … bytes, and an `Arc` counts in 16.
    #[test]
    fn it_takes_eighty_bytes_of_a_million_members_each() {
        assert_eq!(size_of::<Member>() + 16, 80);
    }

    #[test]
    fn an_identity_never_changes() {
        let id = |url: &str| MemberId::of(&url.parse::<Endpoint>().unwrap().key());
        // Stored sessions depend on this number: it must be the same in every version.
        assert_eq!(id("http://user:a@1.2.3.4:80"), MemberId(6_932_860_896_782_075_632));
        assert_eq!(id("http://user:a@1.2.3.4:80"), id("http://user:b@1.2.3.4:80"));
        assert_ne!(id("http://user:a@1.2.3.4:80"), id("socks5://user:a@1.2.3.4:80"));
    }
}
