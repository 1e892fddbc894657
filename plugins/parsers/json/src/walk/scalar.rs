//! Values of fields: texts and numbers, one of them or a list of them.

use super::{Value, store};
use proxywhirl_plugin_sdk::fields::{Field, Fields};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A string, borrowed from the document unless it has escapes.
#[derive(Debug)]
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;

        impl<'de> Visitor<'de> for AsText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }
        }

        deserializer.deserialize_str(AsText)
    }
}

/// A value that is neither an array nor an object.
#[derive(Debug)]
pub(super) enum Scalar<'de> {
    Text(Cow<'de, str>),
    Number(u64),
    /// Negative, or with a fraction.
    OddNumber(f64),
    /// `null`, `true`, `false`.
    Nothing,
}

/// The value of a known key: stored when it is plain, each of it when it is a list of schemes, and
/// walked otherwise, for `"proxy": {"ip": …}` and the like.
pub(super) struct FieldValue<'f, 'de, 'v, 'w, 'b> {
    pub(super) field: Field,
    pub(super) fields: &'f mut Fields<'de>,
    pub(super) nested: Value<'v, 'w, 'b>,
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_, 'de, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> FieldValue<'_, 'de, '_, '_, '_> {
    fn store<E>(self, value: Scalar<'de>) -> Result<(), E> {
        store(self.fields, self.field, value);
        Ok(())
    }
}

impl<'de> Visitor<'de> for FieldValue<'_, 'de, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.store(Scalar::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.store(Scalar::Text(text.to_owned().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.store(Scalar::Number(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.store(Scalar::OddNumber(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.store(Scalar::OddNumber(number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.store(Scalar::Nothing)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.store(Scalar::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        match self.field {
            Field::Scheme => {
                while let Some(word) = items.next_element::<SchemeWord<'de>>()? {
                    if let SchemeWord(Some(word)) = word {
                        self.fields.set(Field::Scheme, word);
                    }
                }
                Ok(())
            }
            Field::Endpoint
            | Field::Host
            | Field::Port
            | Field::Username
            | Field::Password
            | Field::Country
            | Field::Anonymity => self.nested.deserialize(SeqAccessDeserializer::new(items)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        match self.field {
            Field::Country => Geography(self.fields).visit_map(entries),
            Field::Endpoint
            | Field::Host
            | Field::Port
            | Field::Scheme
            | Field::Username
            | Field::Password
            | Field::Anonymity => self.nested.deserialize(MapAccessDeserializer::new(entries)),
        }
    }
}

/// A word in a list of schemes; anything else in it does not count.
struct SchemeWord<'de>(Option<Cow<'de, str>>);

impl<'de> Deserialize<'de> for SchemeWord<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = None;
        Plain(&mut fields).deserialize(deserializer)?;
        Ok(Self(fields))
    }
}

/// Takes a string, and passes over everything else.
struct Plain<'t, 'de>(&'t mut Option<Cow<'de, str>>);

impl<'de> DeserializeSeed<'de> for Plain<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        *self.0 = Some(text.into());
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        *self.0 = Some(text.to_owned().into());
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// `{"country": "DE"}`, `{"code": "DE"}` and the like: only the country is taken from it.
pub(super) struct Geography<'f, 'de>(pub(super) &'f mut Fields<'de>);

impl<'de> DeserializeSeed<'de> for Geography<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Geography<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = entries.next_key()? {
            if Field::named(&key) == Some(Field::Country) {
                let mut text = None;
                entries.next_value_seed(Plain(&mut text))?;
                if let Some(text) = text {
                    self.0.set(Field::Country, text);
                }
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.set(Field::Country, text.to_owned().into());
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
