//! The words that clients may say: keys with all the names that vendors gave them, switches, and labels that need no key.

use std::time::Duration;

/// What a key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Country,
    State,
    City,
    Asn,
    /// A name of this kind.
    Label(&'static str),
    Anonymity,
    Protocol,
    /// A label as it stands: a tag, or what makes up a pool.
    Tag,
    Session,
    /// A session that must not move.
    HardSession,
    /// How long a session lasts; a bare number counts this unit.
    Lifetime(Duration),
    /// How long a session may go unused; a bare number counts this unit.
    Idle(Duration),
    /// Whether a session may move, in a word.
    Mode,
    Timeout,
    Attempts,
    /// How long a session lasts, in seconds; 0 for one request.
    Length,
    /// Who looks names up.
    Dns,
    /// What a customer notes for the vendor's invoice: nothing to choose by.
    Note,
    Switch(Switch),
}

/// A key that may stand without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    Strict,
    Rotate,
    Explain,
    Hedge,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Every name of every key. A bare number is what it is with the vendor that the name comes from.
const NAMES: &[(&str, Key)] = &[
    ("country", Key::Country),
    ("cc", Key::Country),
    ("state", Key::State),
    ("st", Key::State),
    ("region", Key::State),
    ("city", Key::City),
    ("asn", Key::Asn),
    ("isp", Key::Label("isp")),
    ("carrier", Key::Label("isp")),
    ("zip", Key::Label("zip")),
    ("os", Key::Label("os")),
    ("ip", Key::Label("ip")),
    ("gip", Key::Label("gip")),
    ("anonymity", Key::Anonymity),
    ("protocol", Key::Protocol),
    ("scheme", Key::Protocol),
    ("tag", Key::Tag),
    ("pool", Key::Tag),
    ("group", Key::Tag),
    ("groups", Key::Tag),
    ("zone", Key::Tag),
    ("session", Key::Session),
    ("sessid", Key::Session),
    ("sid", Key::Session),
    ("sessionid", Key::Session),
    ("session_id", Key::Session),
    ("hardsession", Key::HardSession),
    ("sessid_oneip", Key::HardSession),
    ("sesstime", Key::Lifetime(MINUTE)),
    ("sessionduration", Key::Lifetime(MINUTE)),
    ("lifetime", Key::Lifetime(MINUTE)),
    ("sessionttl", Key::Lifetime(MINUTE)),
    ("sessionlength", Key::Length),
    ("ttl", Key::Lifetime(SECOND)),
    ("sticky", Key::Idle(SECOND)),
    ("sessionmode", Key::Mode),
    ("timeout", Key::Timeout),
    ("attempts", Key::Attempts),
    ("dns", Key::Dns),
    ("c_tag", Key::Note),
    ("strict", Key::Switch(Switch::Strict)),
    ("oneip", Key::Switch(Switch::Strict)),
    ("rotate", Key::Switch(Switch::Rotate)),
    ("explain", Key::Switch(Switch::Explain)),
    ("hedge", Key::Switch(Switch::Hedge)),
];

/// One name of each key, for those who asked for one that is not there.
pub(super) const KNOWN: &str = "country, state, city, asn, isp, zip, os, anonymity, protocol, tag, pool, session, \
                                hardsession, lifetime, sticky, sessionmode, strict, rotate, hedge, timeout, attempts, explain, \
                                residential, mobile and datacenter";

/// Labels that need no key, with all their names.
const LABELS: &[(&str, &str)] = &[
    ("residential", "residential"),
    ("resi", "residential"),
    ("res", "residential"),
    ("mobile", "mobile"),
    ("mob", "mobile"),
    ("datacenter", "datacenter"),
    ("dc", "datacenter"),
];

impl Key {
    /// Whether it says which members will do.
    pub(super) const fn selects(self) -> bool {
        match self {
            Self::Country | Self::State | Self::City | Self::Asn | Self::Label(_) => true,
            Self::Anonymity | Self::Protocol | Self::Tag => true,
            Self::Session | Self::HardSession | Self::Lifetime(_) | Self::Length | Self::Idle(_) | Self::Mode => false,
            Self::Timeout | Self::Attempts | Self::Dns | Self::Note | Self::Switch(_) => false,
        }
    }

    /// Whether its value is a name, which is the same in whichever way it is written.
    pub(super) const fn is_named(self) -> bool {
        matches!(self, Self::State | Self::City | Self::Label(_))
    }

    /// The key of this name, in any case.
    pub(super) fn of(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, key)| *key)
    }
}

/// The label that this word stands for.
pub(super) fn label(word: &str) -> Option<&'static str> {
    LABELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, label)| *label)
}

/// Whether a word that may be negated is one that a grammar can begin with.
pub(super) fn is_known(word: &str) -> bool {
    let word = word.strip_prefix('!').unwrap_or(word);
    Key::of(word).is_some() || label(word).is_some()
}

/// Yes or no, in words.
pub(super) fn yes_or_no(word: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    if is(&["1", "true", "yes", "on"]) { Some(true) } else { is(&["0", "false", "no", "off"]).then_some(false) }
}

/// A length of time: a number, and `ms`, `s`, `m`, `h` or `d`; without one it counts `unit`.
pub(super) fn length(text: &str, unit: Duration) -> Option<Duration> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: u32 = number.parse().ok()?;
    let unit = match suffix.to_ascii_lowercase().as_str() {
        "" => unit,
        "ms" => Duration::from_millis(1),
        "s" | "sec" => SECOND,
        "m" | "min" => MINUTE,
        "h" => Duration::from_hours(1),
        "d" => Duration::from_hours(24),
        _ => return None,
    };
    unit.checked_mul(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_counts_the_unit_of_its_key() {
        assert_eq!(length("10", MINUTE), Some(Duration::from_mins(10)));
        assert_eq!(length("10s", MINUTE), Some(Duration::from_secs(10)));
        assert_eq!(length("250ms", SECOND), Some(Duration::from_millis(250)));
        assert_eq!(length("7D", SECOND), Some(Duration::from_hours(7 * 24)));
        for wrong in ["", "m", "-1", "1.5h", "10 years", "99999999999", "٣"] {
            assert_eq!(length(wrong, SECOND), None, "{wrong}");
        }
    }

    #[test]
    fn no_name_stands_twice_and_none_is_a_label() {
        for (index, (name, _)) in NAMES.iter().enumerate() {
            assert!(label(name).is_none(), "{name}");
            assert!(NAMES.iter().skip(index + 1).all(|(other, _)| other != name), "{name}");
        }
    }
}
