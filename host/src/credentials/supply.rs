//! Where credentials are kept: a file, an HTTP endpoint, the environment; and the forms in which they stand there.
//!
//! No error repeats anything of what was read.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use proxywhirl_core::secret::Zeroizing;
use proxywhirl_core::{Credentials, Secret};
use proxywhirl_engine::source::{Fetcher, FetcherConfig, Limits, Location, Source};
use serde_json::Value;

use crate::config::environment::Environment;
use crate::config::{CredentialsSettings, Supply};

/// More than this holds no user name and password.
const MAX_BYTES: u64 = 64 * 1024;

/// How long an endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How deep tables stand in one another: Vault has them in `data` of `data`.
const DEPTH: usize = 3;

/// Reads credentials.
#[derive(Debug)]
pub struct Reader {
    fetcher: Fetcher,
}

impl Default for Reader {
    fn default() -> Self {
        let limits = Limits { bytes: MAX_BYTES, timeout: TIMEOUT, pages: 1 };
        // Without a cache: no disk shall hold what an endpoint says.
        Self { fetcher: Fetcher::new(FetcherConfig { limits, retries: 1, cache: None, ..FetcherConfig::default() }) }
    }
}

impl Reader {
    /// Reads credentials from where they are kept.
    ///
    /// # Errors
    /// Why they cannot be read, with the place, and without anything of what was read.
    pub(super) async fn read(&self, settings: &CredentialsSettings) -> Result<Credentials, String> {
        let username = settings.username.as_deref();
        match &settings.supply {
            None => Err("they are read from nowhere: a command sets them".to_owned()),
            Some(Supply::Environment { password, username: variable }) => {
                from_environment(password, variable.as_deref(), username)
            }
            Some(supply @ Supply::File(path)) => self
                .fetched(Location::File(path.clone()), &[], username)
                .await
                .map_err(|why| format!("{supply}: {why}")),
            Some(Supply::Url(url, headers)) => self.fetched(Location::Http(url.clone()), headers, username).await,
        }
    }

    async fn fetched(
        &self,
        location: Location,
        headers: &[(String, Secret)],
        username: Option<&str>,
    ) -> Result<Credentials, String> {
        let place = location.to_string();
        // Its own word is enough: it may be anywhere.
        let source = Source { headers: headers.to_vec(), trust: true, ..Source::new(location) };
        let fetched = self.fetcher.fetch(&source, &|_| ()).await.map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&fetched.document.body).map_err(|_| format!("{place}: it is not UTF-8"))?;
        parse(text, username).map_err(|why| format!("{place}: {why}"))
    }
}

impl fmt::Display for Supply {
    /// The place without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", Path::display(path)),
            Self::Url(url, _) => Location::Http(url.clone()).fmt(f),
            Self::Environment { password, .. } => write!(f, "environment variable {password}"),
        }
    }
}

impl fmt::Debug for Supply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Supply({self})")
    }
}

fn from_environment(password: &str, variable: Option<&str>, username: Option<&str>) -> Result<Credentials, String> {
    let environment = Environment::read().map_err(|error| error.to_string())?;
    let value = |name: &str| {
        let value = environment.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| format!("the environment has no {name}"))
    };
    let username = match (variable, username) {
        (Some(variable), _) => Some(value(variable)?),
        (None, username) => username,
    };
    let text = value(password)?;
    match username {
        Some(username) => login(username, text),
        None => parse(text, None),
    }
    .map_err(|why| format!("environment variable {password}: {why}"))
}

/// Reads `user:password`, the user name and the password on a line each, a password alone where the user name is known, or
/// JSON with both, as it is or in `data`.
fn parse(text: &str, username: Option<&str>) -> Result<Credentials, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.starts_with('{') {
        return from_json(text, username);
    }
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    match (lines.as_slice(), username) {
        ([], _) => Err("it is empty".to_owned()),
        ([password], Some(username)) => login(username, password),
        ([both], None) => {
            let (user, password) =
                both.split_once(':').ok_or("one line without a colon: write user:password, or set username")?;
            login(user, password)
        }
        ([user, password], None) => login(user, password),
        _ => Err("more lines than a user name and a password".to_owned()),
    }
}

fn from_json(text: &str, username: Option<&str>) -> Result<Credentials, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("no JSON, at line {}", error.line()))?;
    let mut table = Some(&value);
    for _ in 0..=DEPTH {
        let Some(here) = table else { break };
        let field = |names: &[&str]| names.iter().find_map(|name| here.get(name)).and_then(Value::as_str);
        if let Some(password) = field(&["password", "pass"]) {
            let password = Zeroizing::new(password.to_owned());
            let username = field(&["username", "user", "login"]).or(username).ok_or("a password without a username")?;
            return login(username, &password);
        }
        table = here.get("data");
    }
    Err("JSON without a password".to_owned())
}

fn login(username: &str, password: &str) -> Result<Credentials, String> {
    Credentials::new(username, password).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, username: Option<&str>) -> Result<String, String> {
        let credentials = parse(text, username)?;
        Ok(format!("{} {}", credentials.username, credentials.password.expose()))
    }

    #[test]
    fn user_and_password_in_the_forms_that_there_are() {
        for text in [
            "me:hunter:2",
            "\u{feff}# rotated today\r\n\r\nme:hunter:2\r\n",
            "me\nhunter:2\n",
            "{\"username\": \"me\", \"password\": \"hunter:2\", \"ttl\": 60}",
            "{\"data\": {\"data\": {\"user\": \"me\", \"pass\": \"hunter:2\"}, \"metadata\": {}}}",
        ] {
            assert_eq!(read(text, None).as_deref(), Ok("me hunter:2"), "{text}");
        }
        assert_eq!(read("hunter:2\n", Some("me")).as_deref(), Ok("me hunter:2"));
        assert_eq!(read("{\"password\": \"hunter:2\"}", Some("me")).as_deref(), Ok("me hunter:2"));
    }

    #[test]
    fn what_is_no_login_is_told_without_a_word_of_it() {
        for (text, username, why) in [
            ("", None, "empty"),
            ("hunter2", None, "without a colon"),
            ("me\nhunter2\nmore", None, "more lines"),
            ("me\nhunter2", Some("me"), "more lines"),
            ("{\"hunter2", None, "no JSON"),
            ("{\"secret\": \"hunter2\"}", None, "without a password"),
            ("{\"password\": \"hunter2\"}", None, "without a username"),
            ("me-{hunter2}:x", None, "none of {session}"),
        ] {
            let told = read(text, username).unwrap_err();
            assert!(told.contains(why) && !told.contains("hunter2"), "{text}: {told}");
        }
    }

    #[tokio::test]
    async fn a_place_is_named_where_nothing_can_be_read() {
        let reader = Reader::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        let settings = |supply| CredentialsSettings {
            name: "v".to_owned(),
            covered: proxywhirl_engine::logins::Covered::default(),
            supply: Some(supply),
            username: None,
            interval: None,
            on_407: true,
        };
        let file = settings(Supply::File(path.clone()));
        assert!(reader.read(&file).await.unwrap_err().contains("login"));
        std::fs::write(&path, "me:hunter2").unwrap();
        assert_eq!(reader.read(&file).await.unwrap(), login("me", "hunter2").unwrap());
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(reader.read(&file).await.is_err());
        let none = settings(Supply::Environment { password: "NO_SUCH_VARIABLE".to_owned(), username: None });
        assert_eq!(reader.read(&none).await.unwrap_err(), "the environment has no NO_SUCH_VARIABLE");
        let gone = "http://me:hunter2@127.0.0.1:1/login?token=hunter2".parse().unwrap();
        let told = reader.read(&settings(Supply::Url(gone, Vec::new()))).await.unwrap_err();
        assert!(told.contains("127.0.0.1:1/login") && !told.contains("hunter2"), "{told}");
    }
}
