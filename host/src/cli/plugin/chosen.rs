//! Which plugins a command is about.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::PluginDirArgs;
use crate::cli::config::configured;
use crate::config::PluginsSettings;
use crate::exit::{Exit, Failure};

/// Which plugins a command is about.
#[derive(Debug, Clone, Args)]
pub(super) struct ChosenArgs {
    #[command(flatten)]
    plugins: PluginDirArgs,
    /// The configuration that names the directory, and what plugins are granted
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
}

impl ChosenArgs {
    /// The configuration, if one is named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// What is configured; what the command line says wins.
    pub(super) fn settings(&self) -> Result<PluginsSettings, Failure> {
        let configured = configured(self.config.as_deref())?.plugins;
        Ok(PluginsSettings { directory: self.plugins.plugins.clone().or(configured.directory), ..configured })
    }

    /// The same, for a command that is about a directory.
    pub(super) fn with_directory(&self) -> Result<(PluginsSettings, PathBuf), Failure> {
        let settings = self.settings()?;
        let directory = settings.directory.clone().ok_or_else(|| {
            Failure::new(Exit::Usage, "which plugins directory?")
                .hint("name it: --plugins DIR, or PROXYWHIRL_PLUGINS, or a --config with [plugins] directory")
        })?;
        Ok((settings, directory))
    }
}
