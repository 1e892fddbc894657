//! What was read so far of what a client wants, word by word.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::select::{Filter, Named, Stick};
use proxywhirl_core::{Anonymity, Country, Scheme, Secret, Tag};

use super::keys::{KNOWN, Key, Switch, label, length, yes_or_no};
use super::places::{EUROPEAN_UNION, dashed, state};
use super::{Introduced, Limits, Wanted, session_hash, shown};

/// The longest name of a session: longer ones say nothing more, and are hashed all the same.
const MAX_SESSION: usize = 256;

/// The most values of a request: what a client may make the gateway keep.
const MAX_VALUES: usize = 64;

/// The longest life of a session.
const MAX_LIFE: Duration = Duration::from_hours(30 * 24);

/// The life of a session that is to be another one with each request: no other is as short.
const ONE_REQUEST: Duration = Duration::ZERO;

/// What was read so far.
#[derive(Debug)]
pub(super) struct Draft {
    limits: Limits,
    session: Option<u64>,
    /// What was said of the members that it may have: with other words, a session of the same name is another one.
    words: u64,
    stick: Stick,
    rotate: Option<bool>,
    countries: Vec<Country>,
    tags: Vec<Tag>,
    names: Vec<Named>,
    schemes: Vec<Scheme>,
    anonymity: Option<Anonymity>,
    without_countries: Vec<Country>,
    without_tags: Vec<Tag>,
    without_names: Vec<Named>,
    attempts: Option<u32>,
    hedge: Option<bool>,
    deadline: Option<Duration>,
    explain: Option<bool>,
}

/// Whether a value is wanted, or must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    With,
    Without,
}

impl Draft {
    pub(super) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            session: None,
            words: 0,
            stick: Stick { lifetime: None, idle: None, strict: None, renew: false, beside: false },
            rotate: None,
            countries: Vec::new(),
            tags: Vec::new(),
            names: Vec::new(),
            schemes: Vec::new(),
            anonymity: None,
            without_countries: Vec::new(),
            without_tags: Vec::new(),
            without_names: Vec::new(),
            attempts: None,
            hedge: None,
            deadline: None,
            explain: None,
        }
    }

    /// Reads a word and its value: `country` and `de`, `!mobile` and none.
    pub(super) fn read(&mut self, word: &str, value: Option<&str>) -> Result<(), String> {
        let (sign, name) = match word.strip_prefix('!') {
            Some(name) => (Sign::Without, name),
            None => (Sign::With, word),
        };
        match (Key::of(name), value) {
            (Some(Key::Switch(switch)), value) => self.switch(switch, sign, value),
            (Some(key), Some(value)) => {
                let value = value.trim();
                // What is written in several ways is noted when it is known what it is.
                if key.selects() && !key.is_named() {
                    self.note(key, sign, &value.to_lowercase());
                }
                self.key(key, sign, value)
            }
            (Some(_), None) => Err("it stands without a value".to_owned()),
            (None, value) => {
                let Some(label) = label(name) else { return Err(unknown(name)) };
                // A field cannot stand without a value, but it can have an empty one.
                let said = value.map(str::trim).filter(|said| !said.is_empty()).unwrap_or("yes");
                if yes_or_no(said) != Some(true) {
                    return Err(format!(
                        "it takes no value such as {}; !{label} says that it is not wanted",
                        shown(said)
                    ));
                }
                self.words = self.words.wrapping_add(session_hash(&format!("{sign:?} {label}")));
                self.tag(sign, label)
            }
        }
    }

    /// Notes what was said of the members: in any order the same.
    fn note(&mut self, key: Key, sign: Sign, value: &str) {
        self.words = self.words.wrapping_add(session_hash(&format!("{key:?} {sign:?} {value}")));
    }

    fn switch(&mut self, switch: Switch, sign: Sign, value: Option<&str>) -> Result<(), String> {
        let said = match value.map(str::trim) {
            None | Some("") => true,
            Some(value) => yes_or_no(value).ok_or_else(|| format!("{} is neither yes nor no", shown(value)))?,
        };
        let on = said == (sign == Sign::With);
        match switch {
            Switch::Strict => once(&mut self.stick.strict, on),
            Switch::Rotate => once(&mut self.rotate, on),
            Switch::Explain => once(&mut self.explain, on),
            Switch::Hedge => once(&mut self.hedge, on),
        }
    }

    fn key(&mut self, key: Key, sign: Sign, value: &str) -> Result<(), String> {
        match key {
            Key::Country => self.each(sign, value, Self::country),
            Key::Tag => self.each(sign, value, |draft, sign, tag| draft.tag(sign, label(tag).unwrap_or(tag))),
            Key::Asn => self.each(sign, value, Self::asn),
            Key::Label(kind) => self.each(sign, value, |draft, sign, text| {
                draft.named(key, sign, name(kind, text, &dashed(text).to_lowercase())?)
            }),
            Key::State => self.each(sign, value, Self::state),
            Key::City => self.each(sign, value, Self::city),
            Key::Protocol => self.each(sign, value, Self::protocol),
            Key::Switch(switch) => self.switch(switch, sign, Some(value)),
            _ if sign == Sign::Without => Err("it cannot be negated".to_owned()),
            Key::Session => self.session(value),
            Key::HardSession => {
                once(&mut self.stick.strict, true)?;
                self.session(value)
            }
            Key::Length if value == "0" => {
                once(&mut self.stick.lifetime, ONE_REQUEST)?;
                once(&mut self.rotate, true)
            }
            Key::Length => once(&mut self.stick.lifetime, life(value, Duration::from_secs(1))?),
            Key::Lifetime(unit) => once(&mut self.stick.lifetime, life(value, unit)?),
            Key::Idle(unit) => once(&mut self.stick.idle, life(value, unit)?),
            Key::Mode => self.mode(value),
            Key::Anonymity => self.anonymity(value),
            Key::Timeout => self.timeout(value),
            Key::Attempts => self.attempts(value),
            Key::Note => Ok(()),
            Key::Dns if value.eq_ignore_ascii_case("remote") => Ok(()),
            Key::Dns => Err("names are always looked up by the proxy: there is only remote".to_owned()),
        }
    }

    /// Reads each value of a list; one that begins with `!` must not be.
    fn each(
        &mut self,
        sign: Sign,
        list: &str,
        read: impl Fn(&mut Self, Sign, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut values = list.split(',').map(str::trim).filter(|value| !value.is_empty()).peekable();
        if values.peek().is_none() {
            return Err("it stands without a value".to_owned());
        }
        values.try_for_each(|value| match (value.strip_prefix('!'), sign) {
            (Some(value), Sign::With) => read(self, Sign::Without, value),
            (Some(_), Sign::Without) => Err(format!("{} is negated twice", shown(value))),
            (None, sign) => read(self, sign, value),
        })
    }

    fn country(&mut self, sign: Sign, code: &str) -> Result<(), String> {
        // What vendors write for any country.
        if sign == Sign::With && ["any", "all", "random"].iter().any(|word| word.eq_ignore_ascii_case(code)) {
            return Ok(());
        }
        let into = if sign == Sign::With { &mut self.countries } else { &mut self.without_countries };
        if code.eq_ignore_ascii_case("eu") {
            return EUROPEAN_UNION
                .iter()
                .filter_map(|code| code.parse().ok())
                .try_for_each(|country| push(into, country));
        }
        push(into, code.parse().map_err(|error| format!("{}: {error}", shown(code)))?)
    }

    fn tag(&mut self, sign: Sign, tag: &str) -> Result<(), String> {
        let tag: Tag = tag.parse().map_err(|error| format!("{error}"))?;
        push(if sign == Sign::With { &mut self.tags } else { &mut self.without_tags }, tag)
    }

    fn asn(&mut self, sign: Sign, text: &str) -> Result<(), String> {
        let digits = match text.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("as") => text.get(2..).unwrap_or_default(),
            _ => text,
        };
        let number: u32 =
            digits.parse().map_err(|_| format!("{} is no number of an autonomous system", shown(text)))?;
        let tag = format!("asn:{number}");
        let is_another = |other: &Tag| other.as_str().starts_with("asn:") && other.as_str() != tag;
        if sign == Sign::With && self.tags.iter().any(is_another) {
            return Err(one_alone("asn"));
        }
        self.tag(sign, &tag)
    }

    fn state(&mut self, sign: Sign, text: &str) -> Result<(), String> {
        let (country, code, called) = state(text);
        let code = name(Named::STATE, text, &code)?.or(called);
        if let Some(country) = country.filter(|_| sign == Sign::With) {
            self.note(Key::Country, sign, &country.to_lowercase());
            self.country(sign, country)?;
        }
        self.named(Key::State, sign, code)
    }

    fn city(&mut self, sign: Sign, text: &str) -> Result<(), String> {
        let city = name(Named::CITY, text, &dashed(text).to_lowercase())?;
        self.named(Key::City, sign, city)
    }

    /// What is called so, which is the same in whichever way it is written. There is one of each kind that is wanted.
    fn named(&mut self, key: Key, sign: Sign, name: Named) -> Result<(), String> {
        let said = if sign == Sign::With { &self.names } else { &self.without_names };
        if said.contains(&name) {
            return Ok(());
        }
        if sign == Sign::With && said.iter().any(|other| other.kind() == name.kind()) {
            return Err(one_alone(name.kind()));
        }
        self.note(key, sign, name.folded());
        push(if sign == Sign::With { &mut self.names } else { &mut self.without_names }, name)
    }

    fn protocol(&mut self, sign: Sign, name: &str) -> Result<(), String> {
        let socks = [Scheme::Socks4, Scheme::Socks4a, Scheme::Socks5, Scheme::Socks5h];
        let named = match name.to_ascii_lowercase().as_str() {
            "socks" => socks.to_vec(),
            name => vec![name.parse::<Scheme>().map_err(|error| error.to_string())?],
        };
        let wanted = match sign {
            Sign::With => named,
            Sign::Without => {
                [Scheme::Http, Scheme::Https].into_iter().chain(socks).filter(|it| !named.contains(it)).collect()
            }
        };
        wanted.into_iter().try_for_each(|scheme| push(&mut self.schemes, scheme))
    }

    fn session(&mut self, name: &str) -> Result<(), String> {
        if name.is_empty() || name.len() > MAX_SESSION {
            return Err(format!("a session's name has 1 to {MAX_SESSION} bytes"));
        }
        let hash = session_hash(name);
        if self.session.is_some_and(|other| other != hash) {
            return Err("a request belongs to one session".to_owned());
        }
        self.session = Some(hash);
        Ok(())
    }

    fn mode(&mut self, word: &str) -> Result<(), String> {
        let is_strict = match word.to_ascii_lowercase().as_str() {
            "flex" => false,
            "strict" | "norotate" => true,
            _ => return Err(format!("{} is none of flex, strict and norotate", shown(word))),
        };
        once(&mut self.stick.strict, is_strict)
    }

    fn anonymity(&mut self, word: &str) -> Result<(), String> {
        let least = match word.to_ascii_lowercase().as_str() {
            "transparent" => Anonymity::Transparent,
            "anonymous" => Anonymity::Anonymous,
            "elite" | "high" => Anonymity::Elite,
            _ => return Err(format!("{} is none of transparent, anonymous and elite", shown(word))),
        };
        once(&mut self.anonymity, least)
    }

    fn timeout(&mut self, text: &str) -> Result<(), String> {
        let most = self.limits.deadline;
        let wanted = length(text, Duration::from_secs(1)).filter(|wanted| !wanted.is_zero() && *wanted <= most);
        let why = || format!("{} is no time such as 10s, up to {} s", shown(text), most.as_secs_f64());
        once(&mut self.deadline, wanted.ok_or_else(why)?)
    }

    fn attempts(&mut self, text: &str) -> Result<(), String> {
        let most = self.limits.attempts;
        let wanted: Option<u32> = text.parse().ok().filter(|wanted| (1..=most).contains(wanted));
        once(&mut self.attempts, wanted.ok_or_else(|| format!("{} is not in 1 to {most}", shown(text)))?)
    }

    /// The same, with what `other` says going first.
    pub(super) fn overlaid_by(self, other: Self) -> Self {
        fn either<T>(own: Vec<T>, other: Vec<T>) -> Vec<T> {
            if other.is_empty() { own } else { other }
        }
        fn of_each_kind(mut own: Vec<Named>, other: Vec<Named>) -> Vec<Named> {
            own.retain(|name| other.iter().all(|other| other.kind() != name.kind()));
            own.extend(other);
            own
        }
        Self {
            limits: other.limits,
            session: other.session.or(self.session),
            words: self.words.wrapping_add(other.words),
            stick: Stick {
                lifetime: other.stick.lifetime.or(self.stick.lifetime),
                idle: other.stick.idle.or(self.stick.idle),
                strict: other.stick.strict.or(self.stick.strict),
                ..other.stick
            },
            rotate: other.rotate.or(self.rotate),
            countries: either(self.countries, other.countries),
            tags: either(self.tags, other.tags),
            names: of_each_kind(self.names, other.names),
            schemes: either(self.schemes, other.schemes),
            anonymity: other.anonymity.or(self.anonymity),
            without_countries: either(self.without_countries, other.without_countries),
            without_tags: either(self.without_tags, other.without_tags),
            without_names: of_each_kind(self.without_names, other.without_names),
            attempts: other.attempts.or(self.attempts),
            hedge: other.hedge.or(self.hedge),
            deadline: other.deadline.or(self.deadline),
            explain: other.explain.or(self.explain),
        }
    }

    /// What a client said, with the user and the password that are left of it.
    pub(super) fn introduced(self, user: &str, password: &str) -> Introduced {
        Introduced { user: user.into(), password: Secret::new(password), words: self.words, wanted: self.finish() }
    }

    pub(super) fn finish(self) -> Wanted {
        let Self { session, attempts, hedge, deadline, explain, .. } = self;
        let stick = Stick {
            lifetime: self.stick.lifetime.filter(|lifetime| *lifetime != ONE_REQUEST),
            renew: self.rotate == Some(true),
            ..self.stick
        };
        let anonymity = self.anonymity.unwrap_or(Anonymity::Unknown);
        let filter = Filter::new(self.countries, self.tags, self.schemes, anonymity)
            .without(self.without_countries, self.without_tags)
            .named(self.names)
            .not_named(self.without_names);
        let filter = (!filter.is_empty()).then(|| Arc::new(filter));
        Wanted { whose: 0, session, stick, filter, attempts, hedge, deadline, explain, by: None }
    }
}

/// Why a word is refused that is no key.
fn unknown(name: &str) -> String {
    // With Bright Data, a request goes from the vendor's own address then; here, it would go from the gateway's.
    if name.eq_ignore_ascii_case("direct") {
        return "no client can ask to go without a proxy; the tier direct does, where there is one (gateway.escalation)"
            .to_owned();
    }
    format!("nobody knows it; there are {KNOWN}")
}

/// Reads what is called by a name: `name` as it is told, `text` as it was said.
fn name(kind: &'static str, text: &str, name: &str) -> Result<Named, String> {
    Named::new(kind, name).ok_or_else(|| format!("{} is no {kind}: a name has 1 to 64 letters and digits", shown(text)))
}

/// Why a second value is refused of what a proxy has one of: nobody could have both.
fn one_alone(what: &str) -> String {
    format!("a proxy has one {what}: ask for one")
}

/// Notes what there is one of; the same may be said again.
fn once<T: PartialEq>(place: &mut Option<T>, value: T) -> Result<(), String> {
    if place.as_ref().is_some_and(|said| *said != value) {
        return Err("it was said before with another value, by this name or another: leave one out".to_owned());
    }
    *place = Some(value);
    Ok(())
}

fn life(text: &str, unit: Duration) -> Result<Duration, String> {
    let life = length(text, unit).filter(|life| *life >= Duration::from_secs(1) && *life <= MAX_LIFE);
    life.ok_or_else(|| format!("{} is no time such as 10m, from 1s to 30d", shown(text)))
}

fn push<T>(list: &mut Vec<T>, value: T) -> Result<(), String> {
    if list.len() >= MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    list.push(value);
    Ok(())
}
