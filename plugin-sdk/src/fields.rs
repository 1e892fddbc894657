//! What the columns of tables and the keys of objects are called, and how their values become
//! candidates. Names are compared by their ASCII letters and digits, so that `IP Address`,
//! `ip_address` and `ipAddress` are one.

use crate::entry::{self, Fault, Host};
use crate::parser::{Candidate, Collector, Row};
use crate::{Anonymity, Scheme, address, country, words};
use std::borrow::Cow;

/// What a value says about a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A whole entry, such as `http://1.2.3.4:80`.
    Endpoint,
    /// An address or a name; at times a whole entry.
    Host,
    /// A port.
    Port,
    /// One scheme or several.
    Scheme,
    /// A user name, as it is.
    Username,
    /// A password, as it is.
    Password,
    /// A country; only two-letter codes count.
    Country,
    /// An anonymity.
    Anonymity,
}

/// The longest name that is known.
const MAX_NAME: usize = 16;

impl Field {
    /// The field that a column or key of this name holds.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut letters = [0_u8; MAX_NAME];
        let mut length = 0;
        for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
            *letters.get_mut(length)? = byte.to_ascii_lowercase();
            length += 1;
        }
        match letters.get(..length)? {
            b"proxy" | b"url" | b"proxyurl" | b"endpoint" | b"ipport" | b"hostport" | b"proxyipport"
            | b"addressport" | b"ipaddressport" | b"proxyaddressport" => Some(Self::Endpoint),
            b"ip" | b"host" | b"address" | b"server" | b"hostname" | b"ipaddress" | b"ipadress" | b"addr"
            | b"proxyip" | b"proxyhost" | b"proxyaddress" => Some(Self::Host),
            b"port" | b"proxyport" | b"serverport" => Some(Self::Port),
            b"protocol" | b"protocols" | b"type" | b"types" | b"scheme" | b"schemes" | b"proxytype" => {
                Some(Self::Scheme)
            }
            b"username" | b"user" | b"login" => Some(Self::Username),
            b"password" | b"pass" | b"pwd" => Some(Self::Password),
            b"country" | b"countrycode" | b"cc" | b"code" | b"countryiso" | b"isocode" => Some(Self::Country),
            b"anonymity" | b"anonymitylevel" | b"level" | b"anonlevel" => Some(Self::Anonymity),
            _ => None,
        }
    }
}

/// The values of one row or object. Of several values for one field the first valid one counts.
///
/// Values are bytes until they are needed as text, because most of them never are: an address is
/// read as it is, and so are the words for schemes, countries and anonymity.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a> {
    endpoint: Option<Cow<'a, [u8]>>,
    host: Option<Cow<'a, [u8]>>,
    port: Option<Port<'a>>,
    schemes: Schemes,
    username: Option<Cow<'a, [u8]>>,
    password: Option<Cow<'a, [u8]>>,
    country: Option<[u8; 2]>,
    anonymity: Option<Anonymity>,
}

/// A port, as text or as a number of a format that has numbers.
#[derive(Debug, Clone)]
enum Port<'a> {
    Text(Cow<'a, [u8]>),
    Number(u64),
}

impl Port<'_> {
    fn check(&self) -> Result<u16, Fault> {
        match self {
            Self::Text(text) => entry::port(&String::from_utf8_lossy(text)),
            Self::Number(number) => match u16::try_from(*number) {
                Ok(0) | Err(_) => Err(Fault::PortRange(number.to_string())),
                Ok(port) => Ok(port),
            },
        }
    }

    /// The port, when it is plainly one; what is wrong with it, [`Self::check`] says.
    #[inline]
    fn plain(&self) -> Option<u16> {
        match self {
            Self::Number(number) => u16::try_from(*number).ok().filter(|&port| port != 0),
            Self::Text(text) if text.len() > 5 => None,
            Self::Text(text) => {
                let number = text.iter().try_fold(0_u32, |number, byte| {
                    let digit = byte.wrapping_sub(b'0');
                    (digit <= 9).then(|| number * 10 + u32::from(digit))
                });
                number.and_then(|number| u16::try_from(number).ok()).filter(|&port| port != 0)
            }
        }
    }
}

/// The schemes that are listed, each once, in their order, and the first word that is none.
#[derive(Debug, Clone, Default)]
struct Schemes {
    listed: [Option<Scheme>; 6],
    /// What is to be taken for what.
    narrowed: Option<(Scheme, Scheme)>,
    unknown: Option<String>,
}

impl Schemes {
    fn add_all(&mut self, words: &[u8]) {
        match words::scheme_in(words) {
            Some(scheme) => self.add(scheme),
            None => {
                let listed = words.split(|byte| b",/|; +".contains(byte)).map(<[u8]>::trim_ascii);
                for word in listed.filter(|word| !word.is_empty()) {
                    match words::scheme_in(word) {
                        Some(scheme) => self.add(scheme),
                        None => _ = self.unknown.get_or_insert_with(|| String::from_utf8_lossy(word).into_owned()),
                    }
                }
            }
        }
    }

    fn add(&mut self, scheme: Scheme) {
        for place in &mut self.listed {
            match place {
                Some(known) if *known == scheme => return,
                Some(_) => {}
                None => {
                    *place = Some(scheme);
                    return;
                }
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// Stores a value. An empty one stands for none.
    pub fn set(&mut self, field: Field, value: Cow<'a, str>) {
        self.set_value(
            field,
            match value {
                Cow::Borrowed(text) => text.as_bytes().into(),
                Cow::Owned(text) => text.into_bytes().into(),
            },
        );
    }

    /// Stores a value that should be UTF-8. An empty one stands for none.
    #[inline]
    pub fn set_bytes(&mut self, field: Field, value: &'a [u8]) {
        self.set_value(field, value.into());
    }

    fn set_value(&mut self, field: Field, value: Cow<'a, [u8]>) {
        let text = value.trim_ascii();
        if text.is_empty() {
            return;
        }
        match field {
            Field::Endpoint => _ = self.endpoint.get_or_insert(value),
            Field::Host => _ = self.host.get_or_insert(value),
            Field::Port => _ = self.port.get_or_insert(Port::Text(value)),
            Field::Scheme => self.schemes.add_all(text),
            Field::Username => _ = self.username.get_or_insert(value),
            Field::Password => _ = self.password.get_or_insert(value),
            Field::Country => self.country = self.country.or_else(|| country::code_in(text)),
            Field::Anonymity => self.anonymity = self.anonymity.or_else(|| words::anonymity_in(text)),
        }
    }

    /// Says one scheme more exactly, now or once it is listed: SOCKS, of which version.
    pub fn narrow(&mut self, from: Scheme, to: Scheme) {
        self.schemes.narrowed = Some((from, to));
    }

    /// Stores a port that is a number already.
    pub fn set_port(&mut self, port: u64) {
        self.port.get_or_insert(Port::Number(port));
    }

    /// Whether it says where a proxy listens, or tries to.
    #[must_use]
    pub const fn names_a_proxy(&self) -> bool {
        self.endpoint.is_some() || self.host.is_some()
    }

    /// Whether it is all there that says where a proxy listens.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.endpoint.is_some() || (self.host.is_some() && self.port.is_some())
    }

    /// Whether nothing was stored that could be a proxy: neither host nor port.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        !self.names_a_proxy() && self.port.is_none()
    }

    /// Gives the collector one candidate for each scheme that is listed, or a rejection. A scheme
    /// of the entry itself counts more than a listed one, and that more than `section`, which is the
    /// scheme of the part of the document that it stands in.
    pub fn collect(mut self, line: u32, section: Option<Scheme>, default: Scheme, collector: &mut Collector) {
        if let Some((from, to)) = self.schemes.narrowed {
            self.schemes.listed.iter_mut().filter(|place| **place == Some(from)).for_each(|place| *place = Some(to));
        }
        match self.row(line, section) {
            Some(row) => self.collect_rows(row, collector),
            None => self.collect_candidates(line, section, default, collector),
        }
    }

    /// The row that most are: an IPv4 address and a port, no credentials, and a scheme that is known
    /// or none.
    #[inline]
    fn row(&self, line: u32, section: Option<Scheme>) -> Option<Row> {
        let (Some(host), Some(port)) = (&self.host, &self.port) else { return None };
        let address = address::ipv4(host)?;
        let [first, ..] = self.schemes.listed;
        let is_plain =
            self.username.is_none() && self.password.is_none() && (first.is_some() || self.schemes.unknown.is_none());
        is_plain.then_some(Row {
            scheme: first.or(section),
            country: self.country,
            anonymity: self.anonymity.unwrap_or(Anonymity::Unknown),
            ..Row::new(address, port.plain()?, line)
        })
    }

    #[inline]
    fn collect_rows(&self, row: Row, collector: &mut Collector) {
        let [_, more @ ..] = self.schemes.listed;
        for &scheme in more.iter().flatten() {
            collector.accept_row(Row { scheme: Some(scheme), ..row });
        }
        collector.accept_row(row);
    }

    fn collect_candidates(self, line: u32, section: Option<Scheme>, default: Scheme, collector: &mut Collector) {
        match self.candidate(line, section.unwrap_or(default)) {
            Ok(mut candidate) => {
                if candidate.scheme.is_some() {
                    return collector.accept(candidate);
                }
                if let (None, Some(word)) = (self.schemes.listed[0], &self.schemes.unknown) {
                    return collector.reject(line, &self.excerpt(), Fault::Scheme(word.clone()));
                }
                let [first, more @ ..] = self.schemes.listed;
                for &scheme in more.iter().flatten() {
                    collector.accept(Candidate { scheme: Some(scheme), ..candidate.clone() });
                }
                candidate.scheme = first.or(section);
                collector.accept(candidate);
            }
            Err(fault) => collector.reject(line, &self.excerpt(), fault),
        }
    }

    fn candidate(&self, line: u32, default: Scheme) -> Result<Candidate, Fault> {
        let default = self.schemes.listed[0].unwrap_or(default);
        let mut candidate = match (&self.host, &self.port, &self.endpoint) {
            (Some(host), Some(port), _) => {
                let text = String::from_utf8_lossy(host);
                let text = text.trim();
                match Host::parse(text) {
                    Some(host) => Candidate { host: host.into(), ..Row::new(0, port.check()?, line).into() },
                    // Some write the whole entry here too, and the port once more.
                    None => match entry::parse(text.as_bytes(), default) {
                        Ok(entry) => entry.into_candidate(line),
                        Err(_) => return Err(Fault::NotAHost(text.to_owned())),
                    },
                }
            }
            (_, _, Some(text)) | (Some(text), None, None) => entry::parse(text, default)?.into_candidate(line),
            (None, _, None) => return Err(Fault::NoHost),
        };
        let owned = |text: &Cow<'_, [u8]>| String::from_utf8_lossy(text).into_owned();
        if let Some(username) = &self.username {
            candidate.username = Some(owned(username));
            candidate.password = self.password.as_ref().map(owned);
        } else if self.password.is_some() && candidate.username.is_none() {
            return Err(Fault::NoUsername);
        }
        if let Some([first, second]) = self.country {
            candidate.country = String::from_iter([char::from(first), char::from(second)]);
        }
        candidate.anonymity = self.anonymity.unwrap_or(Anonymity::Unknown);
        Ok(candidate)
    }

    /// What to show of a row that is refused: where the proxy would be.
    #[must_use]
    pub fn excerpt(&self) -> Vec<u8> {
        let address = self.host.as_ref().or(self.endpoint.as_ref());
        let mut text = address.map(|text| text.trim_ascii().to_owned()).unwrap_or_default();
        if let Some(port) = self.port.as_ref() {
            text.push(b':');
            match port {
                Port::Text(port) => text.extend(port.trim_ascii()),
                Port::Number(port) => text.extend(port.to_string().into_bytes()),
            }
        }
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::parser::Parsed;

    fn collect(values: &[(&str, &str)]) -> Parsed {
        let mut fields = Fields::default();
        for &(name, value) in values {
            fields.set(Field::named(name).expect(name), value.into());
        }
        let mut collector = Collector::default();
        fields.collect(7, None, Scheme::Http, &mut collector);
        collector.into_parsed()
    }

    #[test]
    fn names_are_compared_by_letters_and_digits() {
        for name in ["ip", "IP Address", "ip_address", "ipAddress", "Host"] {
            assert_eq!(Field::named(name), Some(Field::Host), "{name}");
        }
        assert_eq!(Field::named("anonymityLevel"), Some(Field::Anonymity));
        for name in ["", "Https", "last checked", "a very long name of a column"] {
            assert_eq!(Field::named(name), None, "{name}");
        }
    }

    #[test]
    fn each_listed_scheme_is_a_candidate_of_its_own() {
        let parsed = collect(&[("ip", "1.2.3.4"), ("port", "80"), ("protocols", "socks4, SOCKS5,socks4")]);
        let mut schemes: Vec<_> = parsed.candidates.iter().map(|one| one.scheme).collect();
        schemes.sort_unstable_by_key(|scheme| scheme.map(|scheme| scheme as u8));
        assert_eq!(schemes, [Some(Scheme::Socks4), Some(Scheme::Socks5)]);
    }

    #[test]
    fn an_unknown_scheme_alone_is_a_rejection() {
        let parsed = collect(&[("ip", "1.2.3.4"), ("port", "80"), ("type", "vmess")]);
        assert_eq!(parsed.rejections[0].reason, "not a scheme of a proxy: vmess");
        assert_eq!(parsed.rejections[0].excerpt, "1.2.3.4:80");
        let parsed = collect(&[("ip", "1.2.3.4"), ("port", "80"), ("type", "vmess,http")]);
        assert_eq!((parsed.candidates.len(), parsed.rejected), (1, 0));
    }

    #[test]
    fn a_host_may_hold_the_port_and_an_endpoint_everything() {
        assert_eq!(collect(&[("server", "1.2.3.4:81")]).candidates[0].port, 81);
        let parsed = collect(&[("proxy", "socks5://u:p@1.2.3.4:81"), ("type", "http")]);
        assert_eq!(parsed.candidates[0].scheme, Some(Scheme::Socks5));
        assert_eq!(parsed.candidates[0].password.as_deref(), Some("p"));
    }

    #[test]
    fn faults_name_the_place_and_hide_the_password() {
        let reason = |values: &[_]| collect(values).rejections[0].reason.clone();
        assert_eq!(reason(&[("ip", "1.2.3.4")]), "no port");
        assert_eq!(reason(&[("port", "80")]), "no host");
        assert_eq!(reason(&[("ip", "1.2.3"), ("port", "80")]), "not a host: 1.2.3");
        assert_eq!(reason(&[("ip", "1.2.3.4"), ("port", "70000")]), "port 70000 is not in 1..65535");
        let parsed = collect(&[("ip", "1.2.3.4"), ("port", "80"), ("pass", "secret")]);
        assert!(!format!("{:?}", parsed.rejections).contains("secret"));
    }

    #[test]
    fn a_country_is_its_code_and_names_are_left_out() {
        let parsed = collect(&[("ip", "::1"), ("port", "80"), ("country", "Romania"), ("cc", "ro")]);
        assert_eq!(parsed.candidates[0].country, "RO");
        assert_eq!(parsed.candidates[0].host, crate::parser::Host::Ipv6((0, 1)));
    }
}
