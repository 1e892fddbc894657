//! What keys mean. Objects of one list have the same keys in the same order, so a key is compared
//! with the one that stood in its place in the object before, and looked up only when it is another.

use crate::scan::{Broken, Scanner};
use proxywhirl_plugin_sdk::fields::Field;
use proxywhirl_plugin_sdk::{Scheme, words};

/// Keys of an object that are remembered.
const ORDINALS: usize = 32;

/// Depths that are told apart: an object in an object must not take the place of its keys.
const DEPTHS: usize = 4;

/// What a key says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// It is a field of the proxy.
    Field(Field),
    /// It is an object that says where the proxy is.
    Geography,
    /// Its proxies are of this scheme.
    Scheme(Scheme),
    /// It holds the list.
    Container,
    /// It holds the list of a configuration of sing-box.
    Outbounds,
    /// A version, of SOCKS where that has one.
    Version,
    /// Nothing.
    Other,
}

/// The keys that were read last, by the depth of their object and their place in it.
#[derive(Debug, Default)]
pub(super) struct Keys<'b> {
    seen: Vec<Option<(&'b [u8], Key)>>,
}

impl<'b> Keys<'b> {
    /// Reads the key that the scanner stands before, and its colon.
    #[inline]
    pub(super) fn read(&mut self, scan: &mut Scanner<'b>, depth: u32, ordinal: usize) -> Result<Key, Broken> {
        let place = (depth as usize % DEPTHS) * ORDINALS + ordinal;
        let known = self.seen.get(place).copied().flatten().filter(|_| ordinal < ORDINALS);
        if let Some((quoted, key)) = known
            && scan.pass_key(quoted)
        {
            return Ok(key);
        }
        self.look_up(scan, place, ordinal)
    }

    fn look_up(&mut self, scan: &mut Scanner<'b>, place: usize, ordinal: usize) -> Result<Key, Broken> {
        let (text, quoted) = scan.key()?;
        let key = std::str::from_utf8(&text).map_or(Key::Other, named);
        if ordinal < ORDINALS {
            self.seen.resize((ORDINALS * DEPTHS).max(self.seen.len()), None);
            if let Some(seen) = self.seen.get_mut(place) {
                *seen = Some((quoted, key));
            }
        }
        Ok(key)
    }
}

fn named(key: &str) -> Key {
    const CONTAINERS: [&str; 9] =
        ["proxies", "data", "results", "result", "items", "list", "proxy_list", "response", "servers"];
    let is = |known: &&str| known.eq_ignore_ascii_case(key);
    if let Some(field) = Field::named(key) {
        return Key::Field(field);
    }
    if let Some(scheme) = words::scheme(key) {
        return Key::Scheme(scheme);
    }
    match () {
        () if ["geo", "geolocation", "location", "geoip"].iter().any(is) => Key::Geography,
        () if CONTAINERS.iter().any(is) => Key::Container,
        () if is(&"outbounds") => Key::Outbounds,
        () if is(&"version") => Key::Version,
        () => Key::Other,
    }
}
