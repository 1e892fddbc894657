//! `proxywhirl plugin`: what one does with plugins, as a user and as an author.

mod build;
mod list;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};

/// Arguments of `plugin`.
#[derive(Debug, Args)]
pub(super) struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// List the plugins: those that are bundled, and those of the plugins directory
    List(list::ListArgs),
    /// Build plugins from their sources: a crate, or a workspace of crates
    Build(build::BuildArgs),
}

/// Carries out `plugin`.
pub(super) async fn run(args: PluginArgs) -> Result<Exit, Failure> {
    match args.command {
        PluginCommand::List(args) => blocking(move || list::run(&args)).await,
        PluginCommand::Build(args) => blocking(move || build::run(&args)).await,
    }
}

/// Runs what blocks on a thread that may.
async fn blocking(work: impl FnOnce() -> Result<Exit, Failure> + Send + 'static) -> Result<Exit, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(Exit::Environment, error))?
}
