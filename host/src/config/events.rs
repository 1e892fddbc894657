//! `[events]`: the gateway's own log of events, a JSON object a line.

use std::path::{Path, PathBuf};

use proxywhirl_core::event::Topic;
use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use super::size::Size;
use super::words;

/// The smallest file that is worth one.
const LEAST_SIZE: Size = Size(4 << 10);

/// The topics, in the schema.
fn topics(schema: &mut Schema) {
    words::each(schema, Topic::ALL.iter().map(|topic| topic.as_str()).collect());
}

/// `[events]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsSection {
    /// The file.
    #[schemars(extend("format" = "path"))]
    pub file: Option<PathBuf>,
    /// The topics that are written; all when none is named.
    #[serde(default)]
    #[schemars(transform = topics)]
    pub topics: Vec<String>,
    /// How large the file grows before another one is begun.
    #[schemars(extend("minimum" = LEAST_SIZE.0))]
    pub max_size: Option<Size>,
    /// How many full files are kept.
    pub keep: Option<u8>,
}

/// The event log, as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLogSettings {
    /// The file.
    pub file: PathBuf,
    /// The topics that are written; empty for all.
    pub topics: Vec<Topic>,
    /// How large the file grows before another one is begun, in bytes.
    pub max_size: u64,
    /// How many full files are kept, as `FILE.1` (the newest) and so on.
    pub keep: u8,
}

impl EventLogSettings {
    /// Everything into this file, with the default sizes.
    #[must_use]
    pub const fn new(file: PathBuf) -> Self {
        Self { file, topics: Vec::new(), max_size: 64 << 20, keep: 3 }
    }
}

impl EventsSection {
    /// What it means, if anything is to be written; a relative path is relative to `folder`.
    ///
    /// # Errors
    /// When there is no such topic, or the size is none.
    pub fn meaning(self, folder: &Path) -> Result<Option<EventLogSettings>, String> {
        let topic = |name: &String| {
            Topic::ALL.into_iter().find(|topic| topic.as_str() == name).ok_or_else(|| {
                let known: Vec<_> = Topic::ALL.iter().map(|topic| topic.as_str()).collect();
                format!("events.topics: there is no topic {name:?}; there are {}", known.join(", "))
            })
        };
        let topics = self.topics.iter().map(topic).collect::<Result<_, _>>()?;
        if self.max_size.is_some_and(|size| size.0 < LEAST_SIZE.0) {
            return Err("events.max_size must be at least 4KiB".to_owned());
        }
        let Some(file) = self.file else { return Ok(None) };
        let default = EventLogSettings::new(folder.join(file));
        let max_size = self.max_size.map_or(default.max_size, |size| size.0);
        Ok(Some(EventLogSettings { topics, max_size, keep: self.keep.unwrap_or(default.keep), ..default }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Result<Option<EventLogSettings>, String> {
        toml::from_str::<EventsSection>(text).map_err(|error| error.message().to_owned())?.meaning(Path::new("/log"))
    }

    #[test]
    fn without_a_file_nothing_is_written() {
        assert_eq!(meaning("").unwrap(), None);
    }

    #[test]
    fn a_file_takes_some_topics_or_all() {
        let settings = meaning("file = \"e.jsonl\"\ntopics = [\"pool-empty\"]\nmax_size = \"1MiB\"\nkeep = 0").unwrap();
        let expected = EventLogSettings {
            file: "/log/e.jsonl".into(),
            topics: vec![Topic::PoolEmpty],
            max_size: 1 << 20,
            keep: 0,
        };
        assert_eq!(settings, Some(expected));
        assert!(meaning("file = \"e.jsonl\"").unwrap().unwrap().topics.is_empty());
    }

    #[test]
    fn a_topic_that_is_none_is_told_with_those_that_there_are() {
        let error = meaning("file = \"e\"\ntopics = [\"birthday\"]").unwrap_err();
        assert!(error.contains("\"birthday\"") && error.contains("pool-empty"), "{error}");
        assert!(meaning("file = \"e\"\nmax_size = 10").unwrap_err().contains("4KiB"));
    }
}
