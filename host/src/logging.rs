//! Log lines: on standard error, for people or for machines; and what concerns a plugin also for whoever follows it
//! over the control socket.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::{Exit, Failure};
use crate::talk::{self, LogLines};

/// Lines that wait for who follows; one who is slower misses the oldest, and is told how many.
const FOLLOWED: usize = 1_024;

/// How to log.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What to log: error, warn, info, debug, trace, or by part, such as proxywhirl_gateway=debug
    #[arg(long, global = true, value_name = "FILTER", env = "PROXYWHIRL_LOG", help_heading = "Logging")]
    log: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = "Logging")]
    log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// A JSON object a line
    Json,
}

/// Logging as it was set up.
#[derive(Debug, Clone)]
pub struct Logging {
    /// Whether a person watches standard error, and a progress bar makes sense.
    pub is_watched: bool,
    /// What concerns plugins.
    pub plugin_lines: PluginLines,
}

impl Logging {
    /// Sets logging up, once. A service tells changes of state, and waits for no reader; a command only what somebody should look at.
    ///
    /// # Errors
    /// When the filter cannot be read, or there can be no thread that writes.
    pub fn start(args: &LogArgs, is_service: bool) -> Result<Self, Failure> {
        // What the browser's connection says is told by whoever has asked for a page, in words for people.
        let default = if is_service { "info,chromiumoxide=off" } else { "warn,chromiumoxide=off" };
        let text = args.log.as_deref().unwrap_or(default);
        let filter = filter(text).map_err(|why| {
            Failure::new(Exit::Usage, why)
                .hint("a filter is a level, such as debug, or parts with levels, such as proxywhirl_gateway=debug")
        })?;
        if is_service {
            let is_json = args.log_format == LogFormat::Json;
            talk::queue(is_json).map_err(|error| Failure::new(Exit::Environment, error))?;
        }
        let is_watched = stderr().is_terminal();
        let colours = is_watched && std::env::var_os("NO_COLOR").is_none();
        let plugin_lines = PluginLines::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(|| LogLines).with_ansi(colours);
        let lines = match args.log_format {
            LogFormat::Text => lines.with_target(false).with_filter(filter).boxed(),
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
        };
        let tap = is_service.then(|| plugin_lines.clone().with_filter(filter_fn(concerns_a_plugin)));
        // An error means that a test or an embedding program has set up logging of its own, which is as good.
        drop(tracing_subscriber::registry().with(lines).with(tap).try_init());
        Ok(Self { is_watched, plugin_lines })
    }
}

/// Reads a filter. A word that is no level would be the name of a part, of which alone everything is logged: mistyped, it would turn
/// all logging off.
fn filter(text: &str) -> Result<EnvFilter, String> {
    let is_no_level = |part: &&str| !part.contains('=') && part.parse::<LevelFilter>().is_err();
    // Spans and their fields, in brackets, have commas of their own.
    let mut parts = text.split(',').filter(|_| !text.contains('['));
    if let Some(part) = parts.find(is_no_level) {
        return Err(format!("the log filter has {part:?}, which is no level: error, warn, info, debug, trace or off"));
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// What plugins say, and what is said about them, from debug upwards.
fn concerns_a_plugin(about: &Metadata<'_>) -> bool {
    *about.level() <= tracing::Level::DEBUG && about.fields().field("plugin.name").is_some()
}

/// A line that concerns a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginLine {
    /// The plugin's name.
    pub plugin: String,
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// Whether the plugin said it, and not the host.
    pub own: bool,
    /// What was said, with its particulars.
    pub line: String,
}

/// The lines that concern plugins, for whoever follows them. Clones are the same.
#[derive(Debug, Clone)]
pub struct PluginLines {
    sender: Arc<broadcast::Sender<PluginLine>>,
}

impl Default for PluginLines {
    fn default() -> Self {
        Self { sender: Arc::new(broadcast::Sender::new(FOLLOWED)) }
    }
}

impl PluginLines {
    /// All lines from now on.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<PluginLine> {
        self.sender.subscribe()
    }
}

impl<S: Subscriber> Layer<S> for PluginLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let mut heard = Heard::default();
        event.record(&mut heard);
        let about = event.metadata();
        let level = about.level().as_str().to_ascii_lowercase();
        let line = PluginLine {
            plugin: heard.plugin,
            level,
            own: about.target() == "plugin",
            line: heard.message + &heard.particulars,
        };
        // Nobody follows any more, which is no loss.
        self.sender.send(line).ok();
    }
}

#[derive(Debug, Default)]
struct Heard {
    plugin: String,
    message: String,
    particulars: String,
}

impl Visit for Heard {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "plugin.name" => value.clone_into(&mut self.plugin),
            "message" => value.clone_into(&mut self.message),
            name if value.is_empty() || name == "plugin.version" => {}
            name => self.particulars.push_str(&format!(" {name}={value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_levels() {
        for text in ["info", "WARN", "off", "warn,chromiumoxide=off", "proxywhirl_gateway=debug", ""] {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in ["inof", "warn,proxywhirl_gateway", "proxywhirl_gateway=inof"] {
            assert!(filter(text).is_err(), "{text}");
        }
        assert!(filter("inof").unwrap_err().contains("\"inof\", which is no level"));
    }

    #[test]
    fn who_follows_hears_what_concerns_plugins_and_nothing_else() {
        let lines = PluginLines::default();
        let mut follower = lines.follow();
        let tap = lines.clone().with_filter(filter_fn(concerns_a_plugin));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(tap), || {
            tracing::info!("the gateway's own business");
            tracing::debug!(target: "plugin", { plugin.name = "mine", plugin.version = "1.0.0" }, "hello");
            tracing::error!(plugin.name = "mine", fault.cause = "trap", fault.repeated = 2, "plugin fault");
        });
        let said = |own, level: &str, line: &str| PluginLine {
            plugin: "mine".to_owned(),
            level: level.to_owned(),
            own,
            line: line.to_owned(),
        };
        assert_eq!(follower.try_recv().unwrap(), said(true, "debug", "hello"));
        assert_eq!(
            follower.try_recv().unwrap(),
            said(false, "error", "plugin fault fault.cause=trap fault.repeated=2")
        );
        assert!(follower.try_recv().is_err());
    }
}
