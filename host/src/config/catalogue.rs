//! `[catalogue]`: public lists that are known, which the user turns on by name, by tag, or all of them.
//!
//! The rows are data, `host/data/sources.toml`, and in the binary. None is on by itself: whose servers are
//! asked is the user's decision.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;

use super::file::Span;
use super::nearest::nearest;
use super::sources::{self, SourceSection, SourceSettings};

const DATA: &str = include_str!("../../data/sources.toml");

/// `[catalogue]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogueSection {
    /// Names, `tag:TAG`, or `all`.
    #[serde(default)]
    pub enable: Vec<String>,
    /// The same, for what is not to be used though it is enabled.
    #[serde(default)]
    pub disable: Vec<String>,
}

/// A public list that is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name, in small letters.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The parser that reads it.
    pub parser: String,
    /// The scheme of entries that name none.
    pub scheme: Option<String>,
    /// `static`, `javascript` or `auto`.
    pub render: String,
    /// A CSS selector that a rendered page is waited for.
    pub wait_for: Option<String>,
    /// What its publisher says of its use; `unknown` where nobody has looked it up.
    pub licence: String,
    /// How often it is worth a fetch.
    pub interval: Span,
    /// What it can be turned on by.
    pub tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    source: Vec<Row>,
}

/// Parsed at the first look. A mistake in the data is found by its test, and is an empty catalogue here.
static ROWS: LazyLock<Vec<Row>> =
    LazyLock::new(|| toml::from_str::<Rows>(DATA).map(|rows| rows.source).unwrap_or_default());

/// All rows.
#[must_use]
pub fn rows() -> &'static [Row] {
    &ROWS
}

impl Row {
    /// As if it stood under `[[sources]]`. It is a stranger's: it is never trusted.
    ///
    /// # Errors
    /// When a field is none that a source can have.
    pub fn settings(&self) -> Result<SourceSettings, String> {
        let section = SourceSection {
            name: self.name.clone(),
            location: self.url.clone(),
            parser: Some(self.parser.clone()),
            scheme: self.scheme.clone(),
            render: Some(self.render.clone()),
            wait_for: self.wait_for.clone(),
            interval: Some(self.interval),
            tags: self.tags.clone(),
            ..SourceSection::default()
        };
        sources::source(section, std::path::Path::new(""))
    }

    fn is_meant(&self, choice: &str) -> bool {
        match choice.strip_prefix("tag:") {
            Some(tag) => self.tags.iter().any(|own| own == tag),
            None => choice == "all" || self.name == choice,
        }
    }
}

/// The rows that choices mean: names, `tag:TAG`, `all`.
///
/// # Errors
/// When a choice means none.
pub fn chosen(choices: &[String]) -> Result<Vec<&'static Row>, String> {
    if let Some(unknown) = choices.iter().find(|choice| !rows().iter().any(|row| row.is_meant(choice))) {
        return Err(unknown_choice(unknown));
    }
    Ok(rows().iter().filter(|row| choices.iter().any(|choice| row.is_meant(choice))).collect())
}

impl CatalogueSection {
    /// The sources that are on.
    ///
    /// # Errors
    /// When a choice means none.
    pub fn meaning(&self) -> Result<Vec<SourceSettings>, String> {
        let off: BTreeSet<&str> = chosen(&self.disable)
            .map_err(|error| format!("catalogue.disable: {error}"))?
            .into_iter()
            .map(|row| row.name.as_str())
            .collect();
        let on = chosen(&self.enable).map_err(|error| format!("catalogue.enable: {error}"))?;
        on.into_iter().filter(|row| !off.contains(row.name.as_str())).map(Row::settings).collect()
    }
}

fn unknown_choice(choice: &str) -> String {
    let (what, known): (_, BTreeSet<String>) = if choice.starts_with("tag:") {
        ("tag", rows().iter().flat_map(|row| &row.tags).map(|tag| format!("tag:{tag}")).collect())
    } else {
        ("source", rows().iter().map(|row| row.name.clone()).collect())
    };
    let guess = nearest(choice, known.iter().map(String::as_str));
    let guess = guess.map_or_else(String::new, |guess| format!("; did you mean {guess:?}?"));
    format!("the catalogue has no {what} {choice:?}{guess}")
}

#[cfg(test)]
mod tests {
    use proxywhirl_engine::source::Location;

    use super::*;

    #[test]
    fn every_row_is_well_formed_and_unique() {
        let rows: Vec<Row> = toml::from_str::<Rows>(DATA).unwrap().source;
        assert!(rows.len() >= 100, "{}", rows.len());
        let names: BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
        let urls: BTreeSet<_> = rows.iter().map(|row| &row.url).collect();
        assert_eq!((names.len(), urls.len()), (rows.len(), rows.len()));
        for row in &rows {
            let name = &row.name;
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
            assert_ne!(name, "all");
            assert!(!row.tags.is_empty() && !row.licence.is_empty(), "{name}");
            assert!(["text", "json", "csv", "html-table"].contains(&row.parser.as_str()), "{name}");
            assert!(row.url.starts_with("https://"), "{name}: lists are fetched over TLS");
            let settings = row.settings().unwrap();
            assert!(matches!(settings.location.parse(), Ok(Location::Http(_))), "{name}");
            assert!(!settings.trust && settings.interval.is_some_and(|it| it.as_secs() >= 600), "{name}");
        }
    }

    #[test]
    fn rows_are_chosen_by_name_by_tag_and_all_at_once() {
        let of = |enable: &[&str], disable: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            CatalogueSection { enable: owned(enable), disable: owned(disable) }.meaning()
        };
        assert!(of(&[], &[]).unwrap().is_empty());
        assert_eq!(of(&["geonode-http", "geonode-http"], &[]).unwrap().len(), 1);
        let github = of(&["tag:github"], &[]).unwrap().len();
        let all = of(&["all"], &[]).unwrap().len();
        assert!(github > 50 && all > github);
        assert_eq!(of(&["all"], &["tag:github"]).unwrap().len(), all - github);
        assert_eq!(
            of(&["geonod-http"], &[]).unwrap_err(),
            "catalogue.enable: the catalogue has no source \"geonod-http\"; did you mean \"geonode-http\"?"
        );
        assert_eq!(
            of(&[], &["tag:qqqqqqqq"]).unwrap_err(),
            "catalogue.disable: the catalogue has no tag \"tag:qqqqqqqq\""
        );
    }
}
