//! `proxywhirl sources`: the sources of a configuration file, and the catalogue.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{edit, list, test};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;

/// Arguments of `sources`.
#[derive(Debug, Args)]
pub(crate) struct SourcesArgs {
    #[command(subcommand)]
    command: SourcesCommand,
}

#[derive(Debug, Subcommand)]
enum SourcesCommand {
    /// List the sources that are on, or with --all the catalogue too
    List(list::ListArgs),
    /// Fetch and parse one source, and say what was found; nothing is kept
    Test(test::TestArgs),
    /// Put a source into the configuration file: a URL or file of your own, or one of the catalogue
    Add(edit::AddArgs),
    /// Take a source out of the configuration file
    Remove(edit::RemoveArgs),
}

/// The configuration file, for commands that read it.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "PROXYWHIRL_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file, if one is named.
    pub(super) fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Carries out `sources`.
pub(crate) async fn run(args: SourcesArgs, logging: &Logging) -> Result<Exit, Failure> {
    match args.command {
        SourcesCommand::List(args) => list::run(&args).await,
        SourcesCommand::Test(args) => test::run(args, logging).await,
        SourcesCommand::Add(args) => edit::add(&args),
        SourcesCommand::Remove(args) => edit::remove(&args),
    }
}
