//! `[[credentials]]`: user names and passwords in place of those that proxies came with, and where they come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_core::{Credentials, Host, Secret, Tag};
use proxywhirl_engine::ingest::tag_of;
use proxywhirl_engine::logins::Covered;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::file::{LASTING, Span};

/// What is read more often is a load for who keeps it.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// `[[credentials]]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsSection {
    /// Its name, for commands and messages.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Whose: the proxies with this tag.
    pub tag: Option<String>,
    /// Those of this source.
    pub source: Option<String>,
    /// Those at this host.
    pub host: Option<String>,
    /// The file that holds them.
    #[schemars(extend("format" = "path"))]
    pub file: Option<PathBuf>,
    /// The URL that answers with them.
    pub url: Option<String>,
    /// Headers of the request to that.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The environment variable that holds the user name.
    pub username_env: Option<String>,
    /// The user name, where only a password comes.
    pub username: Option<String>,
    /// How often they are read again.
    #[schemars(extend("pattern" = LASTING))]
    pub interval: Option<Span>,
    /// Whether they are read again when a proxy refuses them.
    pub on_407: Option<bool>,
}

/// Credentials in place of those that proxies came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsSettings {
    /// Its name.
    pub name: String,
    /// Whose they are.
    pub covered: Covered,
    /// Where they come from; none when a command sets them.
    pub supply: Option<Supply>,
    /// The user name, where only a password comes.
    pub username: Option<String>,
    /// How often they are read again; none when that is not a matter of time.
    pub interval: Option<Duration>,
    /// Whether they are read again when a proxy refuses them.
    pub on_407: bool,
}

/// Where credentials come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Supply {
    /// A file.
    File(PathBuf),
    /// An HTTP endpoint, and the fields of the request to it.
    Url(Url, Vec<(String, Secret)>),
    /// Environment variables, also of `.env`: that with the password, and that with the user name.
    Environment {
        /// The variable with the password.
        password: String,
        /// The variable with the user name.
        username: Option<String>,
    },
}

/// What all sections mean.
pub(super) fn meaning(
    written: Vec<CredentialsSection>,
    sources: &[&str],
    folder: &Path,
) -> Result<Vec<CredentialsSettings>, String> {
    let mut names = BTreeSet::new();
    let mut all = Vec::with_capacity(written.len());
    for section in written {
        let name = section.name.clone();
        if name.is_empty() {
            return Err("credentials \"\": name: it is empty".to_owned());
        }
        if !names.insert(name.clone()) {
            return Err(format!("credentials {name:?}: name: there are two of this name"));
        }
        all.push(section.meaning(sources, folder).map_err(|why| format!("credentials {name:?}: {why}"))?);
    }
    Ok(all)
}

impl CredentialsSection {
    fn meaning(self, sources: &[&str], folder: &Path) -> Result<CredentialsSettings, String> {
        let (tag, host) = (self.tag(sources)?, self.host()?);
        let url = self.url.as_deref().map(endpoint).transpose()?;
        let has_headers = !self.headers.is_empty();
        let supply = match (self.file, url, self.password_env) {
            (Some(file), None, None) => Some(Supply::File(folder.join(file))),
            (None, Some(url), None) => Some(Supply::Url(url, self.headers.into_iter().collect())),
            (None, None, Some(password)) => Some(Supply::Environment { password, username: self.username_env.clone() }),
            (None, None, None) => None,
            _ => return Err("file, url and password_env are three places, and there is one".to_owned()),
        };
        // With whatever password stands there, it could not be used.
        if let Some(username) = &self.username {
            Credentials::new(username, "").map_err(|error| format!("username: {error}"))?;
        }
        let is_url = matches!(supply, Some(Supply::Url(..)));
        let is_environment = matches!(supply, Some(Supply::Environment { .. }));
        if has_headers && !is_url {
            return Err("headers mean nothing without url".to_owned());
        }
        if self.username_env.is_some() && !is_environment {
            return Err("username_env means nothing without password_env".to_owned());
        }
        let interval = self.interval.map(|span| span.0);
        if interval.is_some_and(|interval| interval < SHORTEST_INTERVAL) {
            return Err(format!("interval must be {} at the least", humantime::format_duration(SHORTEST_INTERVAL)));
        }
        if supply.is_none() && self.interval.is_some() {
            return Err("interval means nothing without file, url or password_env".to_owned());
        }
        if supply.is_none() && self.on_407.is_some() {
            return Err("on_407 means nothing without file, url or password_env".to_owned());
        }
        // Last, since it is about the whole of an entry.
        if tag.is_none() && host.is_none() {
            return Err("it says not whose they are: set tag, source or host".to_owned());
        }
        let covered = Covered { tag, host, proxy: None };
        let (username, on_407) = (self.username, self.on_407.unwrap_or(true));
        Ok(CredentialsSettings { name: self.name, covered, supply, username, interval, on_407 })
    }

    fn tag(&self, sources: &[&str]) -> Result<Option<Tag>, String> {
        let tag = self.tag.as_ref().map(|tag| tag.parse::<Tag>()).transpose();
        let tag = tag.map_err(|error| format!("tag: {error}"))?;
        let of_source = |source: &String| {
            if !sources.contains(&source.as_str()) {
                let known = if sources.is_empty() { "none at all".to_owned() } else { sources.join(", ") };
                return Err(format!("source: there is no source {source:?}: there is {known}"));
            }
            tag_of(source).ok_or_else(|| format!("source: the proxies of a source {source:?} have no tag of its own"))
        };
        match (tag, self.source.as_ref().map(of_source).transpose()?) {
            (Some(_), Some(_)) => Err("tag and source are two tags, and there is one".to_owned()),
            (tag, of_source) => Ok(tag.or(of_source)),
        }
    }

    fn host(&self) -> Result<Option<Host>, String> {
        let host = self.host.as_ref().map(|host| host.parse::<Host>()).transpose();
        host.map_err(|error| format!("host: {error}"))
    }
}

/// A URL that can be asked. What is wrong with it is told without its text, which may hold a password.
fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("url: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("url: {}: is neither http nor https", url.scheme()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::tests::settings;

    fn error(text: &str) -> String {
        settings(&format!("[[credentials]]\nname = \"v\"\n{text}\n")).unwrap_err().reason
    }

    #[test]
    fn what_is_written_is_taken_over() {
        let text = "[[sources]]\nname = \"own\"\nlocation = \"own.txt\"\n\
                    [[credentials]]\nname = \"a\"\nsource = \"own\"\nhost = \"gate.example\"\nfile = \"login\"\ninterval = \"10m\"\n\
                    [[credentials]]\nname = \"b\"\ntag = \"paid\"\nurl = \"https://vault.example/x\"\nheaders = { X-Key = \"k\" }\n\
                    on_407 = false\n\
                    [[credentials]]\nname = \"c\"\ntag = \"paid\"\npassword_env = \"P\"\nusername = \"me\"\n\
                    [[credentials]]\nname = \"d\"\ntag = \"free\"\n";
        let all = settings(text).unwrap().credentials;
        let [file, url, environment, none] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(file.covered.in_words(), "tag source:own, host gate.example");
        assert_eq!(file.supply, Some(Supply::File("/etc/proxywhirl/login".into())));
        assert_eq!((file.interval, file.on_407), (Some(Duration::from_mins(10)), true));
        assert!(
            matches!(&url.supply, Some(Supply::Url(place, fields)) if place.host_str() == Some("vault.example") && fields.len() == 1)
        );
        assert!(!url.on_407 && url.interval.is_none());
        let wanted = Supply::Environment { password: "P".to_owned(), username: None };
        assert_eq!((&environment.supply, environment.username.as_deref()), (&Some(wanted), Some("me")));
        assert_eq!(none.supply, None);
    }

    #[test]
    fn a_source_is_known_by_the_tag_that_its_proxies_have() {
        let of = |source: &str| {
            let text = format!(
                "[[sources]]\nname = \"{source}\"\nlocation = \"own.txt\"\n[[credentials]]\nname = \"v\"\nsource = \"{source}\"\n"
            );
            settings(&text).map(|settings| settings.credentials[0].covered.in_words()).map_err(|error| error.reason)
        };
        assert_eq!(of("my list").unwrap(), "tag source:my-list");
        assert_eq!(of(&"x".repeat(80)).unwrap().len(), "tag ".len() + 64);
        assert_eq!(
            of("fetched").unwrap_err(),
            "credentials \"v\": source: the proxies of a source \"fetched\" have no tag of its own"
        );
    }

    #[test]
    fn what_cannot_be_is_told() {
        assert!(error("tag = \"x\"\nfile = \"x\"\nusername = \"me-{sesion}\"").contains("username: "));
        insta::assert_snapshot!(error("file = \"x\""), @r#"credentials "v": it says not whose they are: set tag, source or host"#);
        insta::assert_snapshot!(error("source = \"x\""), @r#"credentials "v": source: there is no source "x": there is none at all"#);
        insta::assert_snapshot!(error("tag = \"x\"\nsource = \"v\"\n[[sources]]\nname = \"v\"\nlocation = \"l\""), @r#"credentials "v": tag and source are two tags, and there is one"#);
        insta::assert_snapshot!(error("tag = \"x\"\nfile = \"x\"\nurl = \"http://h/\""), @r#"credentials "v": file, url and password_env are three places, and there is one"#);
        insta::assert_snapshot!(error("tag = \"x\"\nurl = \"ftp://me:hunter2@h/\""), @r#"credentials "v": url: ftp: is neither http nor https"#);
        insta::assert_snapshot!(error("tag = \"x\"\ninterval = \"1m\""), @r#"credentials "v": interval means nothing without file, url or password_env"#);
        insta::assert_snapshot!(error("tag = \"x\"\nfile = \"x\"\ninterval = \"1ms\""), @r#"credentials "v": interval must be 1s at the least"#);
        insta::assert_snapshot!(error("tag = \"x\"\nfile = \"x\"\nusername_env = \"U\""), @r#"credentials "v": username_env means nothing without password_env"#);
        insta::assert_snapshot!(error("tag = \"x\"\nfile = \"x\"\nheaders = { a = \"b\" }"), @r#"credentials "v": headers mean nothing without url"#);
        insta::assert_snapshot!(error("tag = \"x\"\n[[credentials]]\nname = \"v\"\ntag = \"y\""), @r#"credentials "v": name: there are two of this name"#);
    }
}
