//! How words stand in a user name or a password: the grammars of vendors, so that a client that speaks to one of them can
//! speak to the gateway as it is.
//!
//! Nearly all have a *base*, the name of the user, and then words. Where the sign between words is also the one between a
//! key and its value (`anna-country-de-strict`), what follows a key is its value; where it is another one
//! (`anna+country=de+strict`), each word stands by itself.

use std::fmt;
use std::str::FromStr;

use proxywhirl_core::Secret;
use proxywhirl_core::member::mix;

use super::draft::Draft;
use super::keys::{Key, is_known, label, yes_or_no};
use super::{Limits, Mistake, Wanted, shown};

/// The most words in a name: nobody has more to say.
const MAX_WORDS: usize = 128;

/// The user of a grammar that has no room for one.
const NOBODY: &str = "auto";

/// Where the words stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// In the user name.
    #[default]
    User,
    /// In the password, whose base is the password.
    Password,
}

/// A vendor's grammar, by the vendor's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// `anna-country-de-session-7`, with every name of every key, and the beginnings that vendors give a user name.
    #[default]
    Default,
    /// `brd-customer-ID-zone-Z-country-us-session-X`
    BrightData,
    /// `customer-U-cc-US-st-us_california-sessid-abc-sesstime-10`
    Oxylabs,
    /// `user-U-country-us-city-new_york-session-X-sessionduration-30`; it was called Smartproxy.
    Decodo,
    /// `groups-RESIDENTIAL,session-my_1,country-US`, or `auto`
    Apify,
    /// In the password: `pass_country-br_session-sgn34f3e_lifetime-10m`
    IpRoyal,
    /// `package-ID-country-us-region-ny-sessionid-X-sessionlength-90`
    Soax,
    /// `U-us-fr-1234`, `U-us-rotate`
    Webshare,
    /// `U-res-any-sid-947045456`
    NetNut,
    /// `U-country-us-session-X-lifetime-5`, and Evomi, Massive, Thordata, 922, Ping.
    Geonode,
    /// `username=U+country=us`
    WebScrapingApi,
    /// `john-country-us-residential-!mobile`
    Rama,
    /// `Platform.Account`, with the token as the password
    Resin,
    /// `user+sticky=60s+session_id=abc+rotate=1`
    G3,
}

/// How the words are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A base, then words.
    Words,
    /// Words alone.
    Bare,
    /// A base, then countries, a number for a session, or `rotate`.
    Positions,
    /// A base, a kind of network, a country, then words.
    KindFirst,
    /// A pool, a point, a session.
    Account,
}

/// How words stand in what a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grammar {
    form: Form,
    /// Where the words stand.
    place: Place,
    /// Between words.
    separator: char,
    /// Between a key and its value.
    assignment: char,
    /// What may stand before the base, the longest first.
    prefixes: &'static [&'static str],
    /// Whether the base may be what looks like one of the prefixes.
    is_lenient: bool,
}

/// What a client said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduced {
    /// Its name; empty for none.
    pub user: Box<str>,
    /// Its password; empty for none.
    pub password: Secret,
    /// What it wants.
    pub wanted: Wanted,
    /// Hash of the words about members, 0 for none.
    pub words: u64,
}

impl Introduced {
    /// One that has said nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { user: Box::default(), password: Secret::new(""), wanted: Wanted::default(), words: 0 }
    }

    /// Its session, if it names one: with other words about members, a session of the same name is another one.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        self.wanted.session.map(|session| in_words(session, self.words))
    }
}

/// What a session is with these words about members: 0 for none.
pub(crate) fn in_words(session: u64, words: u64) -> u64 {
    if words == 0 { session } else { mix(session ^ words).max(1) }
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Default,
        Self::BrightData,
        Self::Oxylabs,
        Self::Decodo,
        Self::Apify,
        Self::IpRoyal,
        Self::Soax,
        Self::Webshare,
        Self::NetNut,
        Self::Geonode,
        Self::WebScrapingApi,
        Self::Rama,
        Self::Resin,
        Self::G3,
    ];

    /// The name in configurations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::BrightData => "brightdata",
            Self::Oxylabs => "oxylabs",
            Self::Decodo => "decodo",
            Self::Apify => "apify",
            Self::IpRoyal => "iproyal",
            Self::Soax => "soax",
            Self::Webshare => "webshare",
            Self::NetNut => "netnut",
            Self::Geonode => "geonode",
            Self::WebScrapingApi => "webscrapingapi",
            Self::Rama => "rama",
            Self::Resin => "resin",
            Self::G3 => "g3",
        }
    }

    /// The names that are read, with one by which a vendor was called before.
    pub fn named() -> impl Iterator<Item = (&'static str, Self)> {
        Self::ALL.into_iter().map(|dialect| (dialect.as_str(), dialect)).chain([("smartproxy", Self::Decodo)])
    }

    /// Its grammar.
    #[must_use]
    pub const fn grammar(self) -> Grammar {
        let dashes = Grammar {
            form: Form::Words,
            place: Place::User,
            separator: '-',
            assignment: '-',
            prefixes: &[],
            is_lenient: false,
        };
        match self {
            Self::Default => Grammar {
                prefixes: &["brd-customer-", "lum-customer-", "customer-", "package-"],
                is_lenient: true,
                ..dashes
            },
            Self::BrightData => Grammar { prefixes: &["brd-customer-", "lum-customer-"], ..dashes },
            Self::Oxylabs => Grammar { prefixes: &["customer-"], ..dashes },
            Self::Decodo => Grammar { prefixes: &["user-"], ..dashes },
            Self::Apify => Grammar { form: Form::Bare, separator: ',', ..dashes },
            Self::IpRoyal => Grammar { place: Place::Password, separator: '_', ..dashes },
            Self::Soax => Grammar { prefixes: &["package-"], ..dashes },
            Self::Webshare => Grammar { form: Form::Positions, ..dashes },
            Self::NetNut => Grammar { form: Form::KindFirst, ..dashes },
            Self::Geonode | Self::Rama => dashes,
            Self::WebScrapingApi => Grammar { separator: '+', assignment: '=', prefixes: &["username="], ..dashes },
            Self::Resin => Grammar { form: Form::Account, separator: '.', ..dashes },
            Self::G3 => Grammar { separator: '+', assignment: '=', ..dashes },
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::named().find(|(own, _)| *own == name).map(|(_, dialect)| dialect).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("{} is none of {names}", shown(name))
        })
    }
}

impl Default for Grammar {
    fn default() -> Self {
        Dialect::Default.grammar()
    }
}

impl Grammar {
    /// The signs that may stand between words.
    pub const SEPARATORS: [char; 5] = ['-', ',', '_', '+', ';'];

    /// The signs that may stand between a key and its value, beside those.
    pub const ASSIGNMENTS: [char; 2] = ['=', '~'];

    /// The same with other signs between words, and between a key and its value.
    #[must_use]
    pub const fn with_signs(self, separator: char, assignment: char) -> Self {
        Self { separator, assignment, ..self }
    }

    /// The same with the words in another place.
    #[must_use]
    pub const fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Between words, and between a key and its value.
    #[must_use]
    pub const fn signs(&self) -> (char, char) {
        (self.separator, self.assignment)
    }

    /// Reads what a client says of itself.
    ///
    /// # Errors
    /// When there is a key that nobody knows, or a value that cannot be; the key is named.
    pub fn introduce(&self, user: &str, password: &str, limits: Limits) -> Result<Introduced, Mistake> {
        let (user, password, draft) = self.read(user, password, limits)?;
        Ok(draft.introduced(user, password))
    }

    /// The name of the user, the password, and what is wanted.
    pub(super) fn read<'t>(
        &self,
        user: &'t str,
        password: &'t str,
        limits: Limits,
    ) -> Result<(&'t str, &'t str, Draft), Mistake> {
        let mut draft = Draft::new(limits);
        match self.place {
            Place::User => {
                let base = self.words("the proxy user name", user, &mut draft).map_err(Mistake::User)?;
                Ok((base, password, draft))
            }
            Place::Password => {
                let base = self.words("the proxy password", password, &mut draft).map_err(Mistake::Password)?;
                Ok((user, base, draft))
            }
        }
    }

    /// Reads the words of a text; what is left is its base.
    fn words<'t>(&self, place: &str, text: &'t str, draft: &mut Draft) -> Result<&'t str, String> {
        if text.split(self.separator).nth(MAX_WORDS).is_some() {
            return Err(format!("{place} has more than {MAX_WORDS} words"));
        }
        if self.form == Form::Account {
            return account(place, text, draft);
        }
        let (base, rest) = match self.form {
            Form::Bare if text.eq_ignore_ascii_case(NOBODY) => (NOBODY, ""),
            Form::Bare => (NOBODY, text),
            Form::Words | Form::Positions | Form::KindFirst | Form::Account => {
                let text = self.without_prefix(text);
                text.split_once(self.separator).unwrap_or((text, ""))
            }
        };
        let mut words = rest.split(self.separator);
        if rest.is_empty() {
            return Ok(base);
        }
        match self.form {
            Form::Positions => words.try_for_each(|word| position(place, word, draft))?,
            Form::KindFirst => self.kind_first(place, words, draft)?,
            Form::Words | Form::Bare | Form::Account => self.each(place, words, draft)?,
        }
        Ok(base)
    }

    fn without_prefix<'t>(&self, text: &'t str) -> &'t str {
        let stripped = |prefix: &&str| {
            let (head, rest) = text.split_at_checked(prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then_some(rest).filter(|rest| !rest.is_empty())
        };
        let Some(rest) = self.prefixes.iter().find_map(stripped) else { return text };
        // Somebody may be called `user`.
        let is_base = self.is_lenient && rest.split(self.separator).next().is_some_and(is_known);
        if is_base { text } else { rest }
    }

    fn each<'t>(
        &self,
        place: &str,
        mut words: impl Iterator<Item = &'t str> + Clone,
        draft: &mut Draft,
    ) -> Result<(), String> {
        while let Some(word) = words.next() {
            if self.separator != self.assignment {
                let (key, value) =
                    word.split_once(self.assignment).map_or((word, None), |(key, value)| (key, Some(value)));
                read(place, key, value, draft)?;
                continue;
            }
            let name = word.strip_prefix('!').unwrap_or(word);
            let mut ahead = words.clone();
            let next = ahead.next();
            let value = match Key::of(name) {
                Some(Key::Switch(_)) => next.filter(|next| yes_or_no(next).is_some()),
                None if label(name).is_some() => None,
                Some(_) | None => next,
            };
            if value.is_some() {
                words = ahead;
            }
            read(place, word, value, draft)?;
        }
        Ok(())
    }

    fn kind_first<'t>(
        &self,
        place: &str,
        words: impl Iterator<Item = &'t str> + Clone,
        draft: &mut Draft,
    ) -> Result<(), String> {
        let mut words = words.peekable();
        if let Some(kind) = words.next_if(|word| label(word).is_some()) {
            read(place, kind, None, draft)?;
        }
        if let Some(country) = words.next_if(|word| !is_known(word)) {
            read(place, "country", Some(country), draft)?;
        }
        self.each(place, words, draft)
    }
}

/// Reads a word where its form says what it is.
fn position(place: &str, word: &str, draft: &mut Draft) -> Result<(), String> {
    if !word.is_empty() && word.bytes().all(|digit| digit.is_ascii_digit()) {
        return read(place, "session", Some(word), draft);
    }
    match word.split_once('_') {
        Some((key, value)) => read(place, key, Some(value), draft),
        None if word.len() == 2 => read(place, "country", Some(word), draft),
        None => read(place, word, None, draft),
    }
}

/// Reads a pool and the session in it.
fn account<'t>(place: &str, text: &'t str, draft: &mut Draft) -> Result<&'t str, String> {
    let (platform, account) = text.split_once('.').unwrap_or((text, ""));
    if !account.is_empty() {
        read(place, "session", Some(account), draft)?;
    }
    if !platform.is_empty() && !platform.eq_ignore_ascii_case("default") {
        read(place, "pool", Some(platform), draft)?;
    }
    Ok(platform)
}

fn read(place: &str, word: &str, value: Option<&str>, draft: &mut Draft) -> Result<(), String> {
    draft.read(word, value).map_err(|why| format!("{place} has the key {}: {why}", shown(word)))
}
