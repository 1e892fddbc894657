//! Log lines: on standard error, for people or for machines.

use std::io::{IsTerminal, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure};

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
#[derive(Debug, Clone, Copy)]
pub struct Logging {
    /// Whether a person watches standard error, and a progress bar makes sense.
    pub is_watched: bool,
}

impl Logging {
    /// Sets logging up, once. A service tells changes of state; a command only what somebody should look at.
    ///
    /// # Errors
    /// When the filter cannot be read.
    pub fn start(args: &LogArgs, is_service: bool) -> Result<Self, Failure> {
        let text = args.log.as_deref().unwrap_or(if is_service { "info" } else { "warn" });
        let filter = EnvFilter::try_new(text).map_err(|error| {
            Failure::new(Exit::Usage, error)
                .hint("a filter is a level, such as debug, or parts with levels, such as proxywhirl_gateway=debug")
        })?;
        let is_watched = stderr().is_terminal();
        let colours = is_watched && std::env::var_os("NO_COLOR").is_none();
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(colours);
        // An error means that a test or an embedding program has set up logging of its own, which is as good.
        let set = match args.log_format {
            LogFormat::Text => builder.with_target(false).try_init(),
            LogFormat::Json => builder.json().try_init(),
        };
        drop(set);
        Ok(Self { is_watched })
    }
}
