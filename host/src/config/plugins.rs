//! `[plugins]`: where plugins are, what each of them may use, and how patiently they are restarted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxywhirl_core::plugin::OnFault;
use proxywhirl_wasm::{Grant, LimitOverrides, PluginSettings};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{LASTING, Span};
use super::size::Size;
use super::words;

/// The least memory.
const PAGE: Size = Size(64 << 10);

/// What follows when a plugin faults.
const ON_FAULT: [(&str, OnFault); 3] =
    [("fallback", OnFault::Fallback), ("reload", OnFault::Reload), ("reject", OnFault::Reject)];

/// `[plugins]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginsSection {
    /// The plugins directory.
    #[schemars(extend("format" = "path"))]
    pub directory: Option<PathBuf>,
    /// Where compiled code is cached.
    #[schemars(extend("format" = "path"))]
    pub cache: Option<PathBuf>,
    /// Whether a running gateway takes over what changes in the directory and in its configuration.
    pub watch: Option<bool>,
    /// Each plugin's own settings.
    #[serde(default)]
    pub settings: BTreeMap<String, PluginSection>,
    /// How patiently plugins are restarted.
    #[serde(default)]
    pub supervision: SupervisionSection,
}

/// `[plugins.settings.NAME]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSection {
    /// Bytes of memory for each instance.
    #[schemars(extend("minimum" = PAGE.0))]
    pub memory: Option<Size>,
    /// For one call.
    #[schemars(extend("pattern" = LASTING))]
    pub call_timeout: Option<Span>,
    /// For one `select` of a strategy, one `sniff` of a parser.
    #[schemars(extend("pattern" = LASTING))]
    pub select_timeout: Option<Span>,
    /// `fallback`, `reload` or `reject`.
    #[schemars(extend("enum" = words::of(&ON_FAULT)))]
    pub on_fault: Option<String>,
    /// Capabilities that it gets, of those that it asks for.
    #[serde(default)]
    pub grant: Vec<String>,
}

/// `[plugins.supervision]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SupervisionSection {
    /// Restarts within the window, before a plugin is quarantined.
    pub restarts: Option<u32>,
    /// The window.
    #[schemars(extend("pattern" = LASTING))]
    pub window: Option<Span>,
    /// How long the first quarantine lasts.
    pub quarantine: Option<Span>,
    /// How long a new version is watched, and taken back at its first fault.
    pub probation: Option<Span>,
}

/// `[plugins]`, as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginsSettings {
    /// The plugins directory.
    pub directory: Option<PathBuf>,
    /// Where compiled code is cached; none for the user's cache directory.
    pub cache: Option<PathBuf>,
    /// Whether a running gateway takes over what changes in the directory and in its configuration.
    pub watch: bool,
    /// Each plugin's own settings, by name.
    pub each: BTreeMap<String, PluginSettings>,
    /// How patiently plugins are restarted.
    pub supervision: SupervisionSettings,
}

/// `[plugins.supervision]`, as it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupervisionSettings {
    /// Restarts within the window, before a plugin is quarantined.
    pub restarts: u32,
    /// The window.
    pub window: Duration,
    /// How long the first quarantine lasts; each further one lasts twice as long.
    pub quarantine: Duration,
    /// How long a new version is watched, and taken back at its first fault.
    pub probation: Duration,
}

impl Default for PluginsSettings {
    fn default() -> Self {
        Self {
            directory: None,
            cache: None,
            watch: true,
            each: BTreeMap::new(),
            supervision: SupervisionSettings::default(),
        }
    }
}

impl Default for SupervisionSettings {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { restarts: 5, window: minute, quarantine: minute, probation: Duration::from_secs(30) }
    }
}

impl PluginsSection {
    /// What it means; relative paths are relative to `folder`.
    ///
    /// # Errors
    /// When a value is out of its range, with its key.
    pub fn meaning(self, folder: &Path) -> Result<PluginsSettings, String> {
        let each = self.settings.into_iter().map(|(name, written)| {
            let settings = written.meaning().map_err(|reason| format!("plugins.settings.{name}.{reason}"))?;
            Ok((name, settings))
        });
        Ok(PluginsSettings {
            directory: self.directory.map(|path| folder.join(path)),
            cache: self.cache.map(|path| folder.join(path)),
            watch: self.watch.unwrap_or(true),
            each: each.collect::<Result<_, String>>()?,
            supervision: self.supervision.meaning()?,
        })
    }
}

impl PluginSection {
    fn meaning(self) -> Result<PluginSettings, String> {
        let positive = |key: &str, span: Option<Span>| match span {
            Some(Span(Duration::ZERO)) => Err(format!("{key} must be longer than nothing")),
            span => Ok(span.map(|span| span.0)),
        };
        let memory = match self.memory {
            Some(Size(bytes)) if bytes < PAGE.0 => return Err(format!("memory {bytes} is less than a page, 64KiB")),
            Some(Size(bytes)) => Some(usize::try_from(bytes).map_err(|_| format!("memory {bytes} is too much"))?),
            None => None,
        };
        let limits = LimitOverrides {
            memory,
            call: positive("call_timeout", self.call_timeout)?,
            select: positive("select_timeout", self.select_timeout)?,
            answer: None,
        };
        let on_fault = self.on_fault.as_deref().map_or(Ok(OnFault::default()), |word| words::chosen(word, &ON_FAULT));
        let on_fault = on_fault.map_err(|why| format!("on_fault {why}"))?;
        let grant = |text: &String| text.parse::<Grant>().map_err(|error| format!("grant: {error}"));
        Ok(PluginSettings { limits, on_fault, grants: self.grant.iter().map(grant).collect::<Result<_, _>>()? })
    }
}

impl SupervisionSection {
    fn meaning(self) -> Result<SupervisionSettings, String> {
        let default = SupervisionSettings::default();
        let span = |written: Option<Span>, default: Duration| written.map_or(default, |span| span.0);
        let window = span(self.window, default.window);
        if window.is_zero() {
            return Err("plugins.supervision.window must be longer than nothing".to_owned());
        }
        Ok(SupervisionSettings {
            restarts: self.restarts.unwrap_or(default.restarts),
            window,
            quarantine: span(self.quarantine, default.quarantine),
            probation: span(self.probation, default.probation),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Result<PluginsSettings, String> {
        toml::from_str::<PluginsSection>(text)
            .map_err(|error| error.message().to_owned())?
            .meaning(Path::new("/etc/pw"))
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(meaning("").unwrap(), PluginsSettings::default());
    }

    #[test]
    fn each_plugin_has_settings_of_its_own() {
        let settings = meaning(
            "directory = \"plugins\"\nwatch = false\n[settings.webhook]\nmemory = \"8MiB\"\ncall_timeout = \"2s\"\n\
             select_timeout = \"5ms\"\non_fault = \"reject\"\ngrant = [\"kv:4096\", \"metrics\"]\n\
             [supervision]\nrestarts = 2\nprobation = \"1s\"\n",
        )
        .unwrap();
        let limits = LimitOverrides {
            memory: Some(8 << 20),
            call: Some(Duration::from_secs(2)),
            select: Some(Duration::from_millis(5)),
            answer: None,
        };
        let grants = ["kv:4096", "metrics"].map(|grant| grant.parse().unwrap()).to_vec();
        let expected = PluginSettings { limits, on_fault: OnFault::Reject, grants };
        assert_eq!(settings.each["webhook"], expected);
        assert_eq!((settings.directory.as_deref(), settings.watch), (Some(Path::new("/etc/pw/plugins")), false));
        assert_eq!((settings.supervision.restarts, settings.supervision.probation), (2, Duration::from_secs(1)));
        assert_eq!(settings.supervision.quarantine, Duration::from_secs(60));
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_key() {
        for (text, told) in [
            ("[settings.a]\non_fault = \"panic\"\n", "plugins.settings.a.on_fault \"panic\" is none of"),
            ("[settings.a]\nmemory = 10\n", "plugins.settings.a.memory 10 is less than a page"),
            ("[settings.a]\nmemory = \"lots\"\n", "not a size such as"),
            ("[settings.a]\ngrant = [\"files\"]\n", "plugins.settings.a.grant"),
            ("[settings.a]\ncall_timeout = \"0s\"\n", "plugins.settings.a.call_timeout must be longer"),
            ("[settings.a]\ngrants = []\n", "unknown field `grants`"),
            ("[supervision]\nwindow = \"0s\"\n", "plugins.supervision.window"),
        ] {
            let error = meaning(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
