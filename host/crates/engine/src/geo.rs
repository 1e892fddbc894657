//! Where an address is, and whose: from databases in MaxMind's format that the user has.
//!
//! <https://maxmind.github.io/MaxMind-DB/>. Databases of countries, cities and autonomous systems may be given together; what
//! one does not know another may. Where a proxy comes out counts, and not where it listens: a check tells that address, and
//! without one it is the proxy's own.
//!
//! A country replaces what a list claims. The rest becomes labels: `asn:13335`, `state:CA`, `city:san-francisco`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::Reader;
use proxywhirl_core::{Candidate, Country, Tag};
use serde::Deserialize;

/// The longest name in a label.
const MAX_NAME: usize = 48;

/// Databases.
pub struct Geo {
    readers: Vec<Reader<Vec<u8>>>,
}

impl std::fmt::Debug for Geo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Geo").field("databases", &self.readers.len()).finish()
    }
}

/// A database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct GeoError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What is known of an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The country.
    pub country: Option<Country>,
    /// Its state or province: the code of its subdivision (ISO 3166-2, without the country).
    pub state: Option<String>,
    /// The city's English name.
    pub city: Option<String>,
    /// The number of its autonomous system.
    pub asn: Option<u32>,
}

/// As much of a record as is used, whatever the database's kind.
#[derive(Debug, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country: Option<Code<'a>>,
    #[serde(borrow)]
    subdivisions: Option<Vec<Code<'a>>>,
    #[serde(borrow)]
    city: Option<Named<'a>>,
    autonomous_system_number: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Code<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    names: Option<Names<'a>>,
}

#[derive(Debug, Deserialize)]
struct Names<'a> {
    en: Option<&'a str>,
}

impl Geo {
    /// Opens databases. They are read into memory.
    ///
    /// # Errors
    /// When one cannot be read, or is none.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, GeoError> {
        let open = |path: &P| {
            Reader::open_readfile(path)
                .map_err(|error| GeoError { path: path.as_ref().to_owned(), reason: error.to_string() })
        };
        Ok(Self { readers: paths.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// What is known of an address. A record that is damaged is as good as none.
    #[must_use]
    pub fn place(&self, address: IpAddr) -> Place {
        let mut place = Place::default();
        for reader in &self.readers {
            let Some(record) =
                reader.lookup(address).ok().and_then(|found| found.decode::<Record<'_>>().ok()).flatten()
            else {
                continue;
            };
            let country = record.country.and_then(|country| country.iso_code?.parse().ok());
            place.country = place.country.or(country);
            let state = record.subdivisions.and_then(|states| Some(states.first()?.iso_code?.to_owned()));
            place.state = place.state.or(state);
            let city = record.city.and_then(|city| Some(city.names?.en?.to_owned()));
            place.city = place.city.or(city);
            place.asn = place.asn.or(record.autonomous_system_number);
        }
        place
    }

    /// Labels a candidate with where it comes out; or else with where it listens, if that is an address. One whose login
    /// each request fills in comes out elsewhere each time.
    pub fn label(&self, candidate: &mut Candidate, exit: Option<IpAddr>) {
        if candidate.endpoint.is_template() {
            return;
        }
        let Some(address) = exit.or_else(|| candidate.endpoint.host.ip()) else { return };
        let place = self.place(address);
        candidate.country = place.country.or(candidate.country);
        let labels = [
            place.asn.map(|asn| format!("asn:{asn}")),
            place.state.map(|state| format!("state:{}", word(&state))),
            place.city.map(|city| format!("city:{}", word(&city).to_lowercase())),
        ];
        for label in labels.into_iter().flatten().filter_map(|label| label.parse::<Tag>().ok()) {
            candidate.tags.insert(label);
        }
    }
}

/// A name as a part of a label: letters and digits, with dashes between.
fn word(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").chars().take(MAX_NAME).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proxywhirl_core::Endpoint;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&[0x40 | u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    }

    fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0xe0 | u8::try_from(entries.len()).unwrap()];
        for (key, value) in entries {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        bytes
    }

    fn number(control: u8, value: u32) -> Vec<u8> {
        [&[control | 4][..], &value.to_be_bytes()].concat()
    }

    fn short(value: u16) -> Vec<u8> {
        [&[0xa2][..], &value.to_be_bytes()].concat()
    }

    /// A database that says the same of every IPv4 address: one node, both of whose branches lead to the record.
    fn database(record: &[u8]) -> Vec<u8> {
        let to_record = [0, 0, 1 + 16];
        let metadata = map(&[
            ("binary_format_major_version", short(2)),
            ("binary_format_minor_version", short(0)),
            ("build_epoch", vec![0x01, 0x02, 1]),
            ("database_type", text("Test")),
            ("description", map(&[("en", text("a test"))])),
            ("ip_version", short(4)),
            ("languages", [vec![0x01, 0x04], text("en")].concat()),
            ("node_count", number(0xc0, 1)),
            ("record_size", short(24)),
        ]);
        [&to_record[..], &to_record, &[0; 16], record, b"\xab\xcd\xefMaxMind.com", &metadata].concat()
    }

    fn geo() -> Geo {
        let city = map(&[
            ("country", map(&[("iso_code", text("DE"))])),
            ("subdivisions", [vec![0x01, 0x04], map(&[("iso_code", text("BY"))])].concat()),
            ("city", map(&[("names", map(&[("en", text("Bad Tölz"))]))])),
        ]);
        let network = map(&[("autonomous_system_number", number(0xc0, 64_500))]);
        let readers = [city, network].map(|record| Reader::from_source(database(&record)).unwrap());
        Geo { readers: readers.into() }
    }

    #[test]
    fn several_databases_say_together_where_an_address_is() {
        let place = geo().place("8.8.8.8".parse().unwrap());
        assert_eq!(place.country.unwrap().as_str(), "DE");
        assert_eq!(
            (place.state.as_deref(), place.city.as_deref(), place.asn),
            (Some("BY"), Some("Bad Tölz"), Some(64_500))
        );
        assert_eq!(geo().place("2001:db8::1".parse().unwrap()), Place::default(), "they know IPv4 only");
    }

    #[test]
    fn a_candidate_is_labelled_by_where_it_comes_out() {
        let candidate =
            |url: &str| Candidate { country: Some("US".parse().unwrap()), ..url.parse::<Endpoint>().unwrap().into() };
        let labelled = |url: &str, exit: Option<&str>| {
            let mut candidate = candidate(url);
            geo().label(&mut candidate, exit.map(|exit| exit.parse().unwrap()));
            (candidate.country.unwrap().to_string(), candidate.tags.to_string())
        };
        let german = ("DE".to_owned(), "asn:64500,city:bad-tölz,state:BY".to_owned());
        assert_eq!(labelled("http://1.1.1.1:80", None), german);
        assert_eq!(labelled("http://gate.example:80", Some("1.1.1.1")), german);
        let unlabelled = ("US".to_owned(), String::new());
        assert_eq!(labelled("http://gate.example:80", None), unlabelled);
        assert_eq!(
            labelled("http://me-{session}:x@1.1.1.1:80", Some("1.1.1.1")),
            unlabelled,
            "it is elsewhere each time"
        );
    }

    #[test]
    fn what_is_no_database_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("geo.mmdb");
        std::fs::write(&path, b"nonsense").unwrap();
        let error = Geo::open(&[&path]).unwrap_err().to_string();
        assert!(error.contains("geo.mmdb: "), "{error}");
        assert!(Geo::open(&[folder.path().join("nowhere.mmdb")]).is_err());
    }
}
