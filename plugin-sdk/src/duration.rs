//! Durations in options: `"90s"`, `"1h 30m"`, `"250ms"`, or a number of seconds.
//!
//! Written by hand, because a library for it would be a third of a small component. In a struct of
//! options: `#[serde(deserialize_with = "duration::read")]`, or [`read_optional`] for an `Option`. In a
//! schema: [`PATTERN`] for the text.

use serde::de::{Deserializer, Error, Visitor};
use std::fmt;
use std::time::Duration;

/// What a text must match, for a JSON Schema.
pub const PATTERN: &str = r"^[0-9]+(\.[0-9]+)?(us|ms|s|m|h|d|w)( ?[0-9]+(\.[0-9]+)?(us|ms|s|m|h|d|w))*$";

/// The longest duration; beyond it, arithmetic with microseconds could end.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Units, in seconds.
const UNITS: [(&str, f64); 7] =
    [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// A duration from text: one or more numbers, each with its unit.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("not a duration such as \"90s\" or \"1h 30m\": {text:?}");
    let mut rest = text.trim();
    let mut sum = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        sum += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        rest = after.trim_start();
    }
    seconds(sum).map_err(|_| wrong())
}

/// A duration from a number of seconds.
fn seconds(number: f64) -> Result<Duration, String> {
    let duration = Duration::try_from_secs_f64(number).ok().filter(|&duration| duration <= LONGEST);
    duration.ok_or_else(|| format!("not a number of seconds from 0 to a hundred years: {number}"))
}

/// Reads a duration, for `#[serde(deserialize_with = "duration::read")]`.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Reader)
}

/// Reads a duration that may be left out or `null`, for
/// `#[serde(default, deserialize_with = "duration::read_optional")]`.
pub fn read_optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserializer.deserialize_any(OptionalReader)
}

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"90s\", or a number of seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Duration, E> {
        seconds(number).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Duration, E> {
        seconds(number as f64).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Duration, E> {
        seconds(number as f64).map_err(E::custom)
    }
}

struct OptionalReader;

impl Visitor<'_> for OptionalReader {
    type Value = Option<Duration>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Reader.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Reader.visit_str(text).map(Some)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Reader.visit_f64(number).map(Some)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Reader.visit_u64(number).map(Some)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Reader.visit_i64(number).map(Some)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Options {
        #[serde(deserialize_with = "read")]
        ttl: Duration,
        #[serde(default, deserialize_with = "read_optional")]
        idle: Option<Duration>,
    }

    fn options(text: &str) -> Result<(Duration, Option<Duration>), String> {
        serde_json::from_str(text).map(|Options { ttl, idle }| (ttl, idle)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_duration_is_numbers_with_units() {
        for (text, milliseconds) in [
            ("90s", 90_000),
            ("1h", 3_600_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("1d", 86_400_000),
            ("1w", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("7us"), Ok(Duration::from_micros(7)));
    }

    #[test]
    fn nonsense_is_refused_and_quoted() {
        for text in ["", " ", "5", "h", "5 parsecs", "-1s", "1..5s", ".s", "999999999999w", "5é"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn options_take_text_and_numbers_of_seconds() {
        let minute = Duration::from_secs(60);
        assert_eq!(options(r#"{"ttl":"1m"}"#), Ok((minute, None)));
        assert_eq!(options(r#"{"ttl":60,"idle":0.5}"#), Ok((minute, Some(Duration::from_millis(500)))));
        assert_eq!(options(r#"{"ttl":60.0,"idle":null}"#), Ok((minute, None)));
        assert_eq!(options(r#"{"ttl":"60s","idle":"1m"}"#), Ok((minute, Some(minute))));
        for wrong in [r#"{"ttl":-1}"#, r#"{"ttl":1e300}"#, r#"{"ttl":true}"#, r#"{"ttl":null}"#, r#"{"ttl":"soon"}"#] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }
}
