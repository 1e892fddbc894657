//! A walk over a JSON value that collects the proxies in it.
//!
//! `serde_json` calls back as it reads, so nothing of the value is kept, and its limit of 128 levels
//! bounds the stack. Where a string stands in the document is known, because it is borrowed from it.

mod scalar;

use proxywhirl_plugin_sdk::fields::{Field, Fields};
use proxywhirl_plugin_sdk::parser::{Collector, Lines};
use proxywhirl_plugin_sdk::{Scheme, entry, words};
use scalar::{Scalar, Text};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// What the walk is over, and where it puts what it finds.
#[derive(Debug)]
pub(crate) struct Walker<'w, 'b> {
    pub(crate) collector: &'w mut Collector,
    pub(crate) lines: Lines<'b>,
    pub(crate) default: Scheme,
}

/// What a value is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The document itself, or a container of proxies by its key.
    Root,
    /// A proxy in an array or on a line; what is none is a rejection.
    Element,
    /// Anything: under a key that says nothing about proxies, such as `tags` or `asn`. Only what is
    /// plainly a proxy counts.
    Anything,
}

/// One value.
#[derive(Debug)]
pub(crate) struct Value<'v, 'w, 'b> {
    pub(crate) walker: &'v mut Walker<'w, 'b>,
    pub(crate) place: Place,
    /// The scheme that a key around it gives.
    pub(crate) section: Option<Scheme>,
}

impl Value<'_, '_, '_> {
    fn string(self, text: &str) {
        let line = self.walker.lines.of(text);
        let default = self.section.unwrap_or(self.walker.default);
        match entry::parse(text.as_bytes(), default) {
            Ok(found) if self.place != Place::Anything || found.host.is_certain() => {
                let mut candidate = found.into_candidate(line);
                candidate.scheme = candidate.scheme.or(self.section);
                self.walker.collector.accept(candidate);
            }
            Err(fault) if self.place == Place::Element => {
                self.walker.collector.reject(line, text.as_bytes(), fault);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.string(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let place = match self.place {
            Place::Root | Place::Element => Place::Element,
            Place::Anything => Place::Anything,
        };
        while items.next_element_seed(Value { walker: &mut *self.walker, place, section: self.section })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let before = self.walker.collector.counts();
        let mut fields = Fields::default();
        let mut line = None;
        while let Some(Text(key)) = entries.next_key()? {
            line.get_or_insert_with(|| self.walker.lines.of(&key));
            if let Some(field) = Field::named(&key) {
                let nested = Value {
                    walker: &mut *self.walker,
                    place: if field == Field::Endpoint { Place::Root } else { Place::Anything },
                    section: self.section,
                };
                let fields = &mut fields;
                entries.next_value_seed(scalar::FieldValue { field, fields, nested })?;
            } else if is_geography(&key) {
                entries.next_value_seed(scalar::Geography(&mut fields))?;
            } else {
                let scheme = words::scheme(&key);
                let place = match (scheme, self.place) {
                    // `"https": "yes"` is no list of HTTPS proxies, but `"https": ["…"]` is.
                    (Some(_), _) => Place::Root,
                    (None, Place::Root) if is_container(&key) => Place::Root,
                    (None, Place::Root | Place::Element | Place::Anything) => Place::Anything,
                };
                let section = scheme.or(self.section);
                entries.next_value_seed(Value { walker: &mut *self.walker, place, section })?;
            }
        }
        let line = line.unwrap_or(0);
        let wanted = match self.place {
            Place::Element => !fields.is_bare() || self.walker.collector.counts() == before,
            Place::Root => fields.names_a_proxy() && self.walker.collector.counts() == before,
            Place::Anything => fields.is_complete(),
        };
        if wanted {
            fields.collect(line, self.section, self.walker.default, self.walker.collector);
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key whose object says where a proxy is.
fn is_geography(key: &str) -> bool {
    ["geo", "geolocation", "location", "geoip"].iter().any(|known| known.eq_ignore_ascii_case(key))
}

/// A key whose value holds the list.
fn is_container(key: &str) -> bool {
    const KEYS: [&str; 9] =
        ["proxies", "data", "results", "result", "items", "list", "proxy_list", "response", "servers"];
    KEYS.iter().any(|known| known.eq_ignore_ascii_case(key))
}

/// The text of a number, for fields that are read as text.
fn text_of(number: impl fmt::Display) -> Cow<'static, str> {
    number.to_string().into()
}

/// Stores a plain value.
fn store<'de>(fields: &mut Fields<'de>, field: Field, value: Scalar<'de>) {
    match (field, value) {
        (_, Scalar::Text(text)) => fields.set(field, text),
        (Field::Port, Scalar::Number(number)) => fields.set_port(number),
        (_, Scalar::Number(number)) => fields.set(field, text_of(number)),
        (Field::Port, Scalar::OddNumber(number)) => fields.set(field, text_of(number)),
        (_, Scalar::OddNumber(_) | Scalar::Nothing) => {}
    }
}
