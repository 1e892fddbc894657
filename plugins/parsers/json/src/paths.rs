//! Options that say where in a document the list is, and where in its items the fields are.

use proxywhirl_plugin_sdk::fields::Field;
use serde::Deserialize;

/// Paths of fields that are told apart while an item is read, a bit for each.
pub(crate) type Live = u16;

/// What users may set. A path is keys with dots between them, and numbers for places in arrays, counted
/// from 0; an empty one is not set.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where the list is; without it, the document is the list, or each of its lines an item.
    root: String,
    /// Where in an item a whole entry is, such as `http://1.2.3.4:80`.
    endpoint: String,
    /// Where in an item the host is.
    host: String,
    /// Where in an item the port is.
    port: String,
    /// Where in an item its scheme is, or a list of them.
    scheme: String,
    /// Where in an item the user name is.
    username: String,
    /// Where in an item the password is.
    password: String,
    /// Where in an item the country is.
    country: String,
    /// Where in an item the anonymity is.
    anonymity: String,
}

/// The same, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    root: Vec<String>,
    fields: Vec<(Field, Vec<String>)>,
}

impl From<&Options> for Paths {
    fn from(options: &Options) -> Self {
        let fields = [
            (Field::Endpoint, &options.endpoint),
            (Field::Host, &options.host),
            (Field::Port, &options.port),
            (Field::Scheme, &options.scheme),
            (Field::Username, &options.username),
            (Field::Password, &options.password),
            (Field::Country, &options.country),
            (Field::Anonymity, &options.anonymity),
        ];
        let set = fields.into_iter().filter(|(_, path)| !path.is_empty());
        Self { root: keys(&options.root), fields: set.map(|(field, path)| (field, keys(path))).collect() }
    }
}

fn keys(path: &str) -> Vec<String> {
    if path.is_empty() { Vec::new() } else { path.split('.').map(str::to_owned).collect() }
}

impl Paths {
    /// Whether none is set.
    pub(crate) const fn is_empty(&self) -> bool {
        self.root.is_empty() && self.fields.is_empty()
    }

    /// Whether only the list's is set.
    pub(crate) const fn has_no_fields(&self) -> bool {
        self.fields.is_empty()
    }

    /// The key on the way to the list; none when this is it.
    pub(crate) fn to_root(&self, level: usize) -> Option<&[u8]> {
        self.root.get(level).map(String::as_bytes)
    }

    /// Whether a field has a path.
    pub(crate) fn say(&self, field: Field) -> bool {
        self.fields.iter().any(|(said, _)| *said == field)
    }

    /// Those that go on with this key, of the ones that have come as far as this level; and the field
    /// whose path ends here.
    pub(crate) fn follow(&self, live: Live, level: usize, key: &[u8]) -> (Live, Option<Field>) {
        let mut next = 0;
        let mut ends = None;
        for (place, (field, path)) in self.fields.iter().enumerate() {
            let bit = 1 << place;
            if live & bit != 0 && path.get(level).is_some_and(|known| known.as_bytes() == key) {
                if path.len() == level + 1 {
                    ends = ends.or(Some(*field));
                } else {
                    next |= bit;
                }
            }
        }
        (next, ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_followed_key_by_key() {
        let options = Options { host: "node.addr".to_owned(), port: "node.port".to_owned(), ..Options::default() };
        let paths = Paths::from(&options);
        assert!(!paths.is_empty() && paths.say(Field::Port) && !paths.say(Field::Scheme));
        let (live, ends) = paths.follow(Live::MAX, 0, b"node");
        assert_eq!((live, ends), (0b11, None));
        assert_eq!(paths.follow(live, 1, b"port"), (0, Some(Field::Port)));
        assert_eq!(paths.follow(live, 1, b"x"), (0, None));
        assert!(Paths::from(&Options::default()).is_empty());
    }
}
