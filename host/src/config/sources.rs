//! `[[sources]]`: where proxies come from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proxywhirl_core::{Scheme, Secret, Tag, Tags};
use proxywhirl_engine::source::{Follow, Render};
use schemars::JsonSchema;
use serde::Deserialize;

use super::catalogue::CatalogueSection;
use super::file::{LASTING, Span};
use super::settings::json;
use super::words;

/// A list that is fetched more often than this is a load for its publisher and news for nobody.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// As much as a strategy takes.
const MOST_WEIGHT: f64 = 1e6;

/// Which pages are read.
const FOLLOW: [(&str, Follow); 3] = [("no", Follow::No), ("same-origin", Follow::SameOrigin), ("any", Follow::Any)];

/// `[[sources]]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// Its name, for tags and messages.
    pub name: String,
    /// A URL, a file name, or `-`.
    pub location: String,
    /// The parser's name; found out when it is not said.
    pub parser: Option<String>,
    /// The parser's options.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub options: BTreeMap<String, toml::Value>,
    /// The scheme of entries that name none.
    #[schemars(extend("pattern" = any_scheme()))]
    pub scheme: Option<String>,
    /// Labels for what comes from it.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether what comes from it is used as it is, unproven.
    #[serde(default)]
    pub trust: bool,
    /// Headers of the request that fetches it.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// The user name of the request that fetches it.
    pub username: Option<String>,
    /// The password to that.
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// Whether a browser makes the list: `static`, `javascript` or `auto`.
    #[schemars(extend("enum" = Render::ALL.map(Render::as_str)))]
    pub render: Option<String>,
    /// A CSS selector: the rendered page is ready when an element matches.
    pub wait_for: Option<String>,
    /// Which of the pages that it names are read: `no`, `same-origin` or `any`.
    #[schemars(extend("enum" = words::of(&FOLLOW)))]
    pub follow: Option<String>,
    /// How often it is fetched.
    #[schemars(extend("pattern" = LASTING))]
    pub interval: Option<Span>,
    /// The share of requests of what comes from it, for strategies that weigh.
    #[schemars(range(min = 0.0, max = MOST_WEIGHT))]
    pub weight: Option<f64>,
}

/// Where proxies come from.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceSettings {
    /// Its name.
    pub name: String,
    /// A URL, a file name, or `-`.
    pub location: String,
    /// The parser's name; found out when it is not said.
    pub parser: Option<String>,
    /// The parser's options, as JSON.
    pub options: serde_json::Value,
    /// The scheme of entries that name none.
    pub scheme: Option<Scheme>,
    /// Labels for what comes from it.
    pub tags: Tags,
    /// Whether what comes from it is used as it is, unproven.
    pub trust: bool,
    /// Headers of the request that fetches it.
    pub headers: BTreeMap<String, Secret>,
    /// User name and password of that request.
    pub login: Option<(String, Secret)>,
    /// Whether a browser makes the list.
    pub render: Render,
    /// A CSS selector: the rendered page is ready when an element matches.
    pub wait_for: Option<String>,
    /// Which of the pages that it names are read.
    pub follow: Follow,
    /// How often it is fetched; none for the scheduler's own opinion.
    pub interval: Option<Duration>,
    /// A factor for what comes from it, from 0 to a million, for strategies that weigh by tag.
    pub weight: Option<f64>,
}

impl SourceSettings {
    /// A source with nothing said but its location; it is named after it, and not trusted.
    #[must_use]
    pub fn at(location: &str) -> Self {
        Self {
            name: location.to_owned(),
            location: location.to_owned(),
            parser: None,
            options: serde_json::Value::Null,
            scheme: None,
            tags: Tags::default(),
            trust: false,
            headers: BTreeMap::new(),
            login: None,
            render: Render::default(),
            wait_for: None,
            follow: Follow::default(),
            interval: None,
            weight: None,
        }
    }
}

/// The user's own sources, then those of the catalogue that are on.
pub(super) fn meaning(
    own: Vec<SourceSection>,
    catalogue: &CatalogueSection,
    folder: &Path,
) -> Result<Vec<SourceSettings>, String> {
    let mut all = own.into_iter().map(|written| source(written, folder)).collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    if let Some(twice) = all.iter().find(|source| !names.insert(source.name.as_str())) {
        return Err(format!("there are two sources named {:?}", twice.name));
    }
    let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    // One's own source of the same name is what is meant.
    all.extend(catalogue.meaning()?.into_iter().filter(|row| !names.contains(&row.name)));
    Ok(all)
}

/// What a source means. A relative path is relative to `folder`.
///
/// # Errors
/// When a value is none that it can have.
pub(super) fn source(written: SourceSection, folder: &Path) -> Result<SourceSettings, String> {
    let place = format!("source {:?}", written.name);
    let at = |error: String| format!("{place}: {error}");
    let mut tags = Tags::default();
    for tag in &written.tags {
        tags.insert(tag.parse::<Tag>().map_err(|error| at(format!("tags: {error}")))?);
    }
    let is_file = written.location != "-" && !written.location.contains("://");
    let login = match (written.username, written.password) {
        (Some(user), password) => Some((user, password.unwrap_or_default())),
        (None, Some(_)) => return Err(at("password means nothing without username".to_owned())),
        (None, None) => None,
    };
    Ok(SourceSettings {
        scheme: written
            .scheme
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| format!("{place}: scheme: {error}"))?,
        options: json(written.options).map_err(at)?,
        location: if is_file {
            folder.join(&written.location).to_string_lossy().into_owned()
        } else {
            written.location
        },
        parser: written.parser,
        tags,
        trust: written.trust,
        headers: written.headers,
        login,
        render: written.render.map_or(Ok(Render::default()), |word| word.parse()).map_err(at)?,
        wait_for: written.wait_for,
        follow: follow(written.follow.as_deref()).map_err(at)?,
        interval: interval(written.interval).map_err(at)?,
        weight: weight(written.weight).map_err(at)?,
        name: written.name,
    })
}

fn follow(written: Option<&str>) -> Result<Follow, String> {
    let follow = written.map_or(Ok(Follow::default()), |word| words::chosen(word, &FOLLOW));
    follow.map_err(|why| format!("follow {why}"))
}

/// A scheme in any case, for the schema.
pub(super) fn any_scheme() -> String {
    let letter = |letter: char| match letter.is_ascii_alphabetic() {
        true => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        false => letter.to_string(),
    };
    let words = Scheme::ALL.map(Scheme::as_str).into_iter().chain(["socks"]);
    let words: Vec<String> = words.map(|word| word.chars().map(letter).collect()).collect();
    format!("^({})$", words.join("|"))
}

fn interval(written: Option<Span>) -> Result<Option<Duration>, String> {
    match written {
        Some(Span(interval)) if interval < SHORTEST_INTERVAL => {
            Err(format!("interval must be {} at the least", humantime::format_duration(SHORTEST_INTERVAL)))
        }
        written => Ok(written.map(|span| span.0)),
    }
}

fn weight(written: Option<f64>) -> Result<Option<f64>, String> {
    match written {
        Some(weight) if !(0.0..=MOST_WEIGHT).contains(&weight) => Err("weight must be in 0 to 1000000".to_owned()),
        written => Ok(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(text: &str) -> Result<SourceSettings, String> {
        source(
            toml::from_str(&format!("name = \"x\"\nlocation = \"https://lists.example/a\"\n{text}")).unwrap(),
            Path::new(""),
        )
    }

    #[test]
    fn everything_that_can_be_said_of_a_source_is_meant() {
        let source = means(
            "render = \"auto\"\nwait_for = \"#list\"\nfollow = \"any\"\ninterval = \"30m\"\nusername = \"u\"\npassword = \"p\"\nweight = 2",
        )
        .unwrap();
        assert_eq!((source.render, source.follow), (Render::Auto, Follow::Any));
        assert_eq!((source.interval, source.weight), (Some(Duration::from_secs(1800)), Some(2.0)));
        assert!(source.login.is_some() && !format!("{source:?}").contains("\"p\""));
    }

    #[test]
    fn what_it_cannot_be_is_told_with_its_name() {
        let error = |text: &str| means(text).unwrap_err();
        insta::assert_snapshot!(error("render = \"js\""), @r#"source "x": render "js" is none of static, javascript, auto"#);
        insta::assert_snapshot!(error("follow = \"all\""), @r#"source "x": follow "all" is none of no, same-origin, any"#);
        insta::assert_snapshot!(error("interval = \"1s\""), @r#"source "x": interval must be 10s at the least"#);
        insta::assert_snapshot!(error("weight = -1.0"), @r#"source "x": weight must be in 0 to 1000000"#);
        insta::assert_snapshot!(error("weight = nan"), @r#"source "x": weight must be in 0 to 1000000"#);
        insta::assert_snapshot!(error("password = \"p\""), @r#"source "x": password means nothing without username"#);
    }

    #[test]
    fn ones_own_source_goes_before_the_catalogues_and_no_two_have_one_name() {
        let own = || SourceSection {
            name: "geonode-http".to_owned(),
            location: "own.txt".to_owned(),
            ..SourceSection::default()
        };
        let catalogue = CatalogueSection { enable: vec!["geonode-http".to_owned()], disable: Vec::new() };
        let sources = meaning(vec![own()], &catalogue, Path::new("")).unwrap();
        assert_eq!(sources.iter().map(|source| source.location.as_str()).collect::<Vec<_>>(), ["own.txt"]);
        let error = meaning(vec![own(), own()], &catalogue, Path::new("")).unwrap_err();
        assert_eq!(error, "there are two sources named \"geonode-http\"");
    }
}
