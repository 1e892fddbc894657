//! Where a server is, whom to be there, and which pool is meant: `redis://me:secret@127.0.0.1:6379/0?pool=main`.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proxywhirl_core::Host;
use proxywhirl_core::secret::Secret;

/// Where servers listen when nobody says otherwise.
const PORT: u16 = 6379;

/// The pool that is meant when none is named.
const POOL: &str = "default";

/// The longest name of a pool: it is in every key.
const MAX_POOL: usize = 64;

/// The most hosts: one that answers is enough.
const MAX_HOSTS: usize = 32;

/// A pool in a Redis or Valkey server. Its texts have the password masked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedisUrl {
    is_encrypted: bool,
    login: Option<Login>,
    /// At least one; several are nodes of one cluster.
    hosts: Vec<(Host, u16)>,
    database: u32,
    pool: String,
}

/// What one proves to a server. Not the credentials of a proxy: these may be longer than any protocol of proxies can carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Login {
    /// Empty for a password alone.
    user: String,
    password: Secret,
}

impl RedisUrl {
    /// Reads what follows `redis:`. What is wrong is told without the text, which may hold a password.
    pub(crate) fn parse(is_encrypted: bool, rest: &str) -> Result<Self, String> {
        let rest = rest.strip_prefix("//").ok_or("has no // before its host")?;
        // The last one: whoever does not encode a password is understood all the same.
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
        let (place, query) = place.split_once('?').unwrap_or((place, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let hosts = hosts.split(',').map(host).collect::<Result<Vec<_>, _>>()?;
        if hosts.len() > MAX_HOSTS {
            return Err(format!("has more than {MAX_HOSTS} hosts"));
        }
        let database = match database.trim_end_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| "has no number of a database behind its host".to_owned())?,
        };
        let login = login.map(login_of).transpose()?.flatten();
        Ok(Self { is_encrypted, login, hosts, database, pool: pool(query)? })
    }

    /// The name of the pool.
    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    /// The number of the database.
    pub(crate) const fn database(&self) -> u32 {
        self.database
    }

    /// Whether it is spoken to in TLS.
    pub(crate) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether it is the same pool, whoever asks for it.
    #[must_use]
    pub fn is_same_pool(&self, other: &Self) -> bool {
        (self.database, &self.pool) == (other.database, &other.pool)
            && self.hosts.iter().any(|host| other.hosts.contains(host))
    }

    /// For each host, what the client library connects to.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let login = self.login(&|password| utf8_percent_encode(password, NON_ALPHANUMERIC).to_string());
        let address =
            |(host, port): &(Host, u16)| format!("{}://{login}{host}:{port}/{}", self.scheme(), self.database);
        self.hosts.iter().map(address).collect()
    }

    /// The URL with its password, for whoever has to open it later.
    pub(crate) fn exposed(&self) -> String {
        self.url(&|password| utf8_percent_encode(password, NON_ALPHANUMERIC).to_string())
    }

    const fn scheme(&self) -> &'static str {
        if self.is_encrypted { "rediss" } else { "redis" }
    }

    fn login(&self, password: &impl Fn(&str) -> String) -> String {
        let Some(login) = &self.login else { return String::new() };
        let user = utf8_percent_encode(&login.user, NON_ALPHANUMERIC);
        format!("{user}:{}@", password(login.password.expose()))
    }

    fn url(&self, password: &impl Fn(&str) -> String) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let mut url = format!("{}://{}{}", self.scheme(), self.login(password), hosts.join(","));
        if self.database != 0 {
            url.push_str(&format!("/{}", self.database));
        }
        if self.pool != POOL {
            url.push_str(&format!("?pool={}", self.pool));
        }
        url
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url(&|_| "***".to_owned()))
    }
}

fn host(text: &str) -> Result<(Host, u16), String> {
    // The colons within brackets are an address's own.
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let host = name.parse::<Host>().map_err(|error| format!("has no host that can be one: {error}"))?;
    let port = match port {
        None | Some("") => PORT,
        Some(port) => {
            port.parse().ok().filter(|port| *port != 0).ok_or("has a port that is not a number from 1 to 65535")?
        }
    };
    Ok((host, port))
}

fn login_of(login: &str) -> Result<Option<Login>, String> {
    let decoded = |text| match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("has a user name or password that is no UTF-8".to_owned()),
    };
    let Some((user, password)) = login.split_once(':') else {
        return if login.is_empty() {
            Ok(None)
        } else {
            Err("has a user name without a password; a password alone has a colon before it".to_owned())
        };
    };
    let (user, password) = (decoded(user)?, Secret::new(decoded(password)?));
    Ok(Some(Login { user, password }).filter(|login| !login.user.is_empty() || !login.password.expose().is_empty()))
}

fn pool(query: &str) -> Result<String, String> {
    let mut pool = POOL.to_owned();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some(("pool", name)) = pair.split_once('=') else {
            return Err("has behind its ? something else than pool=NAME".to_owned());
        };
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !(1..=MAX_POOL).contains(&name.len()) || !is_name(name) {
            return Err(format!("has a name of a pool that is none: letters, digits, -, _ and ., at most {MAX_POOL}"));
        }
        name.clone_into(&mut pool);
    }
    Ok(pool)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(rest: &str) -> RedisUrl {
        RedisUrl::parse(false, rest).unwrap()
    }

    #[test]
    fn it_says_where_the_server_is_and_hides_the_password() {
        for (rest, shown, addresses) in [
            ("//h", "redis://h:6379", &["redis://h:6379/0"][..]),
            ("//H:1/", "redis://h:1", &["redis://h:1/0"]),
            ("//[::1]", "redis://[::1]:6379", &["redis://[::1]:6379/0"]),
            ("//[::1]:7/2", "redis://[::1]:7/2", &["redis://[::1]:7/2"]),
            ("//:p%40ss@h", "redis://:***@h:6379", &["redis://:p%40ss@h:6379/0"]),
            ("//me:a/b?c@d@h/3?pool=x.y", "redis://me:***@h:6379/3?pool=x.y", &["redis://me:a%2Fb%3Fc%40d@h:6379/3"]),
            (
                "//a:1,b,1.2.3.4:3",
                "redis://a:1,b:6379,1.2.3.4:3",
                &["redis://a:1/0", "redis://b:6379/0", "redis://1.2.3.4:3/0"],
            ),
            ("//@h?pool=default", "redis://h:6379", &["redis://h:6379/0"]),
        ] {
            let url = read(rest);
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.addresses(), addresses);
            assert!(!format!("{url:?}").contains("ss@") && !format!("{url:?}").contains("a/b"), "{url:?}");
            let again = url.exposed();
            assert_eq!(read(again.strip_prefix("redis:").unwrap()), url, "{again}");
        }
        assert!(RedisUrl::parse(true, "//h").unwrap().addresses()[0].starts_with("rediss://h"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (rest, reason) in [
            (":hunter2@h", "has no // before its host"),
            ("//", "has no host that can be one"),
            ("//:hunter2@", "has no host that can be one"),
            ("//:hunter2@h h", "has no host that can be one"),
            ("//:hunter2@h:0", "has a port that is not a number from 1 to 65535"),
            ("//:hunter2@h:x", "has a port that is not"),
            ("//:hunter2@h/x", "has no number of a database"),
            ("//hunter2@h", "has a user name without a password"),
            ("//:hunter2%ff@h", "has a user name or password that is no UTF-8"),
            ("//:hunter2@h?ppol=a", "has behind its ? something else than pool=NAME"),
            ("//:hunter2@h?pool=a{b}", "has a name of a pool that is none"),
            ("//:hunter2@h?pool=", "has a name of a pool that is none"),
        ] {
            let error = RedisUrl::parse(false, rest).unwrap_err();
            assert!(error.starts_with(reason) && !error.contains("hunter2"), "{rest}: {error}");
        }
        assert!(
            RedisUrl::parse(false, &format!("//{}", vec!["h"; 33].join(","))).unwrap_err().contains("more than 32")
        );
    }

    #[test]
    fn a_pool_is_the_same_whoever_asks_for_it() {
        assert!(read("//:a@h,i").is_same_pool(&read("//b:c@i:6379/0")));
        assert!(!read("//h").is_same_pool(&read("//h/1")));
        assert!(!read("//h").is_same_pool(&read("//h?pool=other")));
        assert!(!read("//h").is_same_pool(&read("//h:1")));
    }
}
