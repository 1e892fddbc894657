//! `[[listeners]]`: where clients come in, how they speak there, and what they get.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use proxywhirl_core::Endpoint;
use proxywhirl_gateway::Rotation;
use proxywhirl_gateway::wanted::{Dialect, Grammar, Limits, Place, Wanted};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{DURATION, StrategySection};
use super::settings::{PluginUse, json};
use super::words;

/// Ports in one range.
const MAX_PORTS: u16 = 10_000;

/// What every address is, though not all that is this is one.
pub(super) const ADDRESS: &str = r"^(unix:[\s\S]+|[\s\S]+:\+?[0-9]+(-\+?[0-9]+)?)$";

/// Where words may be.
const WORDS_IN: [(&str, Place); 2] = [("user", Place::User), ("password", Place::Password)];

/// When requests get another proxy, where a word says that.
const ROTATIONS: [(&str, Rotation); 5] = [
    ("request", Rotation::Request),
    ("connection", Rotation::Connection),
    ("failure", Rotation::Failure),
    ("client", Rotation::Client),
    ("destination", Rotation::Destination),
];

/// `[[listeners]]`, as it was written.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSection {
    /// `HOST:PORT`, `HOST:FIRST-LAST` or `unix:PATH`.
    #[schemars(extend("pattern" = ADDRESS))]
    pub address: String,
    /// What commands call it.
    pub name: Option<String>,
    /// The vendor's grammar of user names.
    #[schemars(extend("enum" = dialects()))]
    pub dialect: Option<String>,
    /// Between words.
    #[schemars(extend("enum" = Grammar::SEPARATORS))]
    pub separator: Option<char>,
    /// Between a key and its value.
    #[schemars(extend("enum" = assignments()))]
    pub assignment: Option<char>,
    /// Where the words are: `user` or `password`.
    #[schemars(extend("enum" = words::of(&WORDS_IN)))]
    pub words_in: Option<String>,
    /// What every request here wants.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub words: BTreeMap<String, toml::Value>,
    /// The one proxy that requests here go through.
    pub proxy: Option<String>,
    /// The strategy by which requests here get their proxies.
    pub strategy: Option<StrategySection>,
    /// When requests get another proxy.
    #[schemars(extend("pattern" = rotations()))]
    pub rotation: Option<String>,
    /// TLS with clients.
    pub tls: Option<TlsSection>,
}

/// `[listeners.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The certificate, with those that it is signed by, in PEM.
    #[schemars(extend("format" = "path"))]
    pub certificate: PathBuf,
    /// Its key, in PEM.
    #[schemars(extend("format" = "path"))]
    pub key: PathBuf,
}

/// Where clients come in.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerSettings {
    /// Its name: the address, if it has no other.
    pub name: String,
    /// Where it listens.
    pub address: ListenAt,
    /// How clients say what they want.
    pub grammar: Grammar,
    /// What every request here wants.
    pub wanted: Wanted,
    /// When requests get another proxy.
    pub rotation: Rotation,
    /// The strategy by which requests here get their proxies; none for that of the gateway.
    pub strategy: Option<PluginUse>,
    /// TLS with clients.
    pub tls: Option<TlsSection>,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAt {
    /// `HOST:PORT`
    Tcp(String),
    /// Every port from the first to the last.
    Ports(String, u16, u16),
    /// A socket of this machine.
    Unix(PathBuf),
}

impl ListenAt {
    /// Whether both would have the same port of the same host, or the same socket. Port 0 is any that is free.
    fn meets(&self, other: &Self) -> bool {
        match (self.ports(), other.ports()) {
            (Some((host, first, last)), Some((other, other_first, other_last))) => {
                host.eq_ignore_ascii_case(other) && first > 0 && first <= other_last && other_first <= last
            }
            (None, None) => self == other,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn ports(&self) -> Option<(&str, u16, u16)> {
        match self {
            Self::Tcp(address) => {
                let (host, port) = address.rsplit_once(':')?;
                let port = port.parse().ok()?;
                Some((host, port, port))
            }
            Self::Ports(host, first, last) => Some((host, *first, *last)),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Ports(host, first, last) => write!(f, "{host}:{first}-{last}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether two places would listen at the same address: the second could not.
///
/// # Errors
/// When they would, with the second.
pub fn differ(listen: Option<&str>, listeners: &[ListenerSettings]) -> Result<(), String> {
    let listen = listen.map(|address| ListenAt::Tcp(address.to_owned()));
    let of_listeners = listeners.iter().map(|listener| (format!("listener {:?}", listener.name), &listener.address));
    let places: Vec<_> = listen.iter().map(|address| ("listen".to_owned(), address)).chain(of_listeners).collect();
    for (index, (name, place)) in places.iter().enumerate() {
        if let Some((before, at)) = places.iter().take(index).find(|(_, other)| place.meets(other)) {
            return Err(format!("{name}: address {place} is that of {before} too, {at}"));
        }
    }
    Ok(())
}

/// What the sections mean; relative paths are relative to `folder`.
///
/// # Errors
/// When a value is none, or two listeners have the same name.
pub fn meaning(sections: Vec<ListenerSection>, limits: Limits, folder: &Path) -> Result<Vec<ListenerSettings>, String> {
    let mut names = BTreeSet::new();
    sections
        .into_iter()
        .map(|section| {
            let address = section.address.clone();
            let listener = section.meaning(limits, folder).map_err(|why| format!("listener {address:?}: {why}"))?;
            if names.insert(listener.name.clone()) {
                return Ok(listener);
            }
            Err(format!("there are two listeners {:?}: give them different names", listener.name))
        })
        .collect()
}

impl ListenerSection {
    fn meaning(self, limits: Limits, folder: &Path) -> Result<ListenerSettings, String> {
        let address = address(&self.address, folder)?;
        let words: Vec<(String, String)> = self
            .words
            .iter()
            .map(|(key, value)| Ok((key.clone(), word(key, value)?)))
            .collect::<Result<_, String>>()?;
        let words = words.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut wanted = Wanted::by_words(words, limits).map_err(|why| format!("words: {why}"))?;
        if let Some(proxy) = &self.proxy {
            // What is wrong is told without the text, which may hold a password.
            let endpoint: Endpoint = proxy.parse().map_err(|error| format!("proxy: {error}"))?;
            wanted = wanted.only(endpoint.key());
        }
        let rotation = match (self.rotation.as_deref(), wanted.session, &address) {
            (Some(_), Some(_), _) => {
                let why = "rotation: `words` give each request here the same session, so that none is left that rotates: leave one out";
                return Err(why.to_owned());
            }
            (Some(text), None, _) => rotation(text)?,
            // What makes a range worth having: a port is a session.
            (None, None, ListenAt::Ports(..)) => Rotation::Port,
            (None, _, _) => Rotation::Request,
        };
        let strategy = self.strategy.clone().map(|written| match written.name {
            Some(name) => {
                Ok(PluginUse { name, options: json(written.options).map_err(|why| format!("strategy.{why}"))? })
            }
            None => Err("strategy: it has no name: say which, as in strategy = { name = \"random\" }".to_owned()),
        });
        let strategy = strategy.transpose()?;
        if let (Some(used), Some(_)) = (&strategy, &self.proxy) {
            return Err(format!(
                "strategy: there is nothing for {} to choose from: `proxy` is one, leave one of both out",
                used.name
            ));
        }
        Ok(ListenerSettings {
            name: self.name.clone().unwrap_or_else(|| self.address.clone()),
            address,
            grammar: self.grammar()?,
            wanted,
            rotation,
            strategy,
            tls: self
                .tls
                .map(|tls| TlsSection { certificate: folder.join(tls.certificate), key: folder.join(tls.key) }),
        })
    }

    fn grammar(&self) -> Result<Grammar, String> {
        let dialect = self.dialect.as_deref().map_or(Ok(Dialect::Default), str::parse);
        let mut grammar = dialect.map_err(|why| format!("dialect: {why}"))?.grammar();
        let (separator, assignment) = grammar.signs();
        let signs = (self.separator.unwrap_or(separator), self.assignment.or(self.separator).unwrap_or(assignment));
        let listed = |signs: &[char]| signs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        if !Grammar::SEPARATORS.contains(&signs.0) && self.separator.is_some() {
            return Err(format!("separator: {:?} is none of {}", signs.0, listed(&Grammar::SEPARATORS)));
        }
        let assignments = assignments();
        if !assignments.contains(&signs.1) {
            return Err(format!("assignment: {:?} is none of {}", signs.1, listed(&assignments)));
        }
        grammar = grammar.with_signs(signs.0, signs.1);
        let place = self.words_in.as_deref().map(|word| words::chosen(word, &WORDS_IN)).transpose();
        let place = place.map_err(|why| format!("words_in: {why}"))?;
        Ok(place.map_or(grammar, |place| grammar.at(place)))
    }
}

/// The names of dialects.
fn dialects() -> Vec<&'static str> {
    Dialect::named().map(|(name, _)| name).collect()
}

/// The signs that may stand between a key and its value.
fn assignments() -> Vec<char> {
    [&Grammar::SEPARATORS[..], &Grammar::ASSIGNMENTS[..]].concat()
}

/// Reads an address.
pub(super) fn address(text: &str, folder: &Path) -> Result<ListenAt, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("address must have the path of a socket behind unix:".to_owned());
        }
        return Ok(ListenAt::Unix(folder.join(path)));
    }
    let whole = "address must be HOST:PORT, HOST:FIRST-LAST or unix:PATH, such as 127.0.0.1:8080, [::1]:8080 or \
                 127.0.0.1:24000-24099";
    let (host, ports) = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or(whole)?;
    let port = |text: &str| text.parse::<u16>().map_err(|_| whole.to_owned());
    let Some((first, last)) = ports.split_once('-') else {
        port(ports)?;
        return Ok(ListenAt::Tcp(text.to_owned()));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 || last < first || last - first >= MAX_PORTS {
        return Err(format!("address: {ports} is no range of 1 to {MAX_PORTS} ports"));
    }
    Ok(ListenAt::Ports(host.to_owned(), first, last))
}

/// A value as clients write it.
fn word(key: &str, value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(on) => Ok(on.to_string()),
        toml::Value::Array(values) => {
            Ok(values.iter().map(|value| word(key, value)).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => {
            Err(format!("words: {key}: a value is text, a whole number, true, false, or a list of those"))
        }
    }
}

/// Reads when requests get another proxy: `request`, `10 requests`, `5m`, `connection`, `failure`.
pub(super) fn rotation(text: &str) -> Result<Rotation, String> {
    if let Ok(rotation) = words::chosen(text, &ROTATIONS) {
        return Ok(rotation);
    }
    let wrong = || {
        let words = words::of(&ROTATIONS).join(", ");
        format!("rotation: {text:?} is none of {words}, a number as in \"10 requests\", and a time as in \"5m\"")
    };
    match text.strip_suffix(" requests").or_else(|| text.strip_suffix(" request")) {
        Some(number) => number.parse().ok().filter(|number| *number > 0).map(Rotation::Requests).ok_or_else(wrong),
        None => {
            let pause = humantime::parse_duration(text).map_err(|_| wrong())?;
            if pause.is_zero() { Err(wrong()) } else { Ok(Rotation::Every(pause)) }
        }
    }
}

/// What every rotation is, though a number may be too large, and a time nothing.
pub(super) fn rotations() -> String {
    format!(r"^({})$|^\+?0*[1-9][0-9]* requests?$|{DURATION}", words::of(&ROTATIONS).join("|"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::super::settings::tests::settings;
    use super::*;

    fn listeners(text: &str) -> Result<Vec<ListenerSettings>, String> {
        settings(&format!("[[listeners]]\n{text}"))
            .map(|settings| settings.listeners)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn listeners_take_the_place_of_the_default_address_but_not_of_one_that_is_named() {
        let one = "[[listeners]]\naddress = \"[::1]:0\"\n";
        assert_eq!(settings(one).unwrap().listen, None);
        assert_eq!(settings(&format!("listen = \"127.0.0.1:1\"\n{one}")).unwrap().listen.unwrap(), "127.0.0.1:1");
        assert_eq!(settings("").unwrap().listen.unwrap(), "127.0.0.1:8080");
    }

    #[test]
    fn no_two_listen_at_one_address() {
        let error = |text: &str| settings(text).unwrap_err().reason;
        let own = "listen = \"127.0.0.1:9000\"\n[[listeners]]\naddress = \"127.0.0.1:9000\"\n";
        assert_eq!(
            error(own),
            "listener \"127.0.0.1:9000\": address 127.0.0.1:9000 is that of listen too, 127.0.0.1:9000"
        );
        let range = "[[listeners]]\naddress = \"a:10-20\"\n[[listeners]]\nname = \"b\"\naddress = \"A:20\"\n";
        assert_eq!(error(range), "listener \"b\": address A:20 is that of listener \"a:10-20\" too, a:10-20");
        let socket =
            "[[listeners]]\nname = \"a\"\naddress = \"unix:s\"\n[[listeners]]\nname = \"b\"\naddress = \"unix:s\"\n";
        assert!(error(socket).starts_with("listener \"b\": address unix:"));
        for fine in [
            "listen = \"a:0\"\n[[listeners]]\naddress = \"a:0\"\n",
            "listen = \"a:21\"\n[[listeners]]\naddress = \"a:10-20\"\n",
            "listen = \"a:1\"\n[[listeners]]\naddress = \"b:1\"\n",
        ] {
            assert!(settings(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn an_address_is_one_port_many_or_a_socket() {
        let at = |text: &str| listeners(&format!("address = \"{text}\"\n")).map(|all| all[0].address.clone());
        assert_eq!(at("127.0.0.1:8080").unwrap(), ListenAt::Tcp("127.0.0.1:8080".to_owned()));
        assert_eq!(at("[::1]:24000-24099").unwrap(), ListenAt::Ports("[::1]".to_owned(), 24_000, 24_099));
        assert_eq!(at("unix:a.sock").unwrap(), ListenAt::Unix("/etc/proxywhirl/a.sock".into()));
        for wrong in ["8080", ":8080", "127.0.0.1", "a:b", "a:2-1", "a:0-9", "a:1-20000", "unix:"] {
            assert!(at(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn rotation_is_by_requests_time_connection_or_failure() {
        let of =
            |text: &str| listeners(&format!("address = \"a:1\"\nrotation = \"{text}\"\n")).map(|all| all[0].rotation);
        assert_eq!(of("10 requests").unwrap(), Rotation::Requests(10));
        assert_eq!(of("1 request").unwrap(), Rotation::Requests(1));
        assert_eq!(of("5m").unwrap(), Rotation::Every(Duration::from_mins(5)));
        assert_eq!(of("connection").unwrap(), Rotation::Connection);
        assert_eq!([of("client").unwrap(), of("destination").unwrap()], [Rotation::Client, Rotation::Destination]);
        for wrong in ["0 requests", "0s", "always", "-1 requests"] {
            assert!(of(wrong).unwrap_err().contains("rotation"), "{wrong}");
        }
    }

    #[test]
    fn a_port_of_a_range_is_a_session_unless_it_rotates_and_a_session_by_words_does_not() {
        let of = |text: &str| listeners(&format!("address = \"a:1-3\"\n{text}\n")).map(|all| all[0].rotation);
        assert_eq!(of("").unwrap(), Rotation::Port);
        assert_eq!(of("rotation = \"request\"").unwrap(), Rotation::Request);
        assert_eq!(of("rotation = \"3 requests\"").unwrap(), Rotation::Requests(3));
        assert_eq!(of("words = { session = \"a\" }").unwrap(), Rotation::Request);
        let wrong = of("words = { session = \"a\" }\nrotation = \"failure\"").unwrap_err();
        assert!(wrong.contains("rotation") && wrong.contains("words"), "{wrong}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_listener() {
        let error = |text: &str| listeners(&format!("address = \"a:1\"\n{text}")).unwrap_err();
        insta::assert_snapshot!(error("dialect = \"luminati\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: listener "a:1": dialect: "luminati" is none of default, brightdata, oxylabs, decodo, apify, iproyal, soax, webshare, netnut, geonode, webscrapingapi, rama, resin, g3"#);
        insta::assert_snapshot!(error("separator = \"x\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: listener "a:1": separator: 'x' is none of - , _ + ;"#);
        insta::assert_snapshot!(error("words = { country = \"germany\" }\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: listener "a:1": words: country: "germany": not a two-letter country code"#);
        assert!(error("words = { contry = \"de\" }\n").contains("words: contry: nobody knows it; there are country, "));
        let told = error("proxy = \"ftp://user:secret@a:1\"\n");
        assert!(told.contains("proxy: unknown scheme ftp") && !told.contains("secret"), "{told}");
        insta::assert_snapshot!(error("[[listeners]]\naddress = \"a:1\"\n"), @r#"configuration /etc/proxywhirl/proxywhirl.toml: there are two listeners "a:1": give them different names"#);
    }
}
