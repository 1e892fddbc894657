//! `proxywhirl plugin`: what one does with plugins, as a user and as an author.

mod add;
mod bench;
mod build;
mod check;
mod chosen;
mod dev;
mod doctor;
mod enable;
mod info;
mod list;
mod lock;
mod new;
mod remove;
mod schema;
mod test;
mod trial;
mod workbench;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use crate::logging::Logging;

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
    /// Tell all about a plugin: what it asks for, what it gets, the options that it takes
    Info(info::InfoArgs),
    /// Find out how plugins are: those of the running gateway, or, when none runs, by starting each of them
    Doctor(doctor::DoctorArgs),
    /// Put a plugin into the plugins directory, once it has been seen to work, and lock what it asks for
    Add(add::AddArgs),
    /// Take a plugin out of the plugins directory
    Remove(remove::RemoveArgs),
    /// Accept the plugins in the plugins directory as they are, in plugins.lock
    Lock(lock::LockArgs),
    /// End the quarantine of a plugin of the running gateway, or that it is disabled
    Enable(enable::EnableArgs),
    /// Make a project for a new plugin
    New(new::NewArgs),
    /// Build plugins from their sources, in Rust, C, Python or JavaScript
    Build(build::BuildArgs),
    /// Find out whether a plugin keeps to what the host relies on, and say what does not
    Check(check::CheckArgs),
    /// Run the tests beside a plugin: scenarios of a strategy, fixtures of a parser, recorded events of a hook
    Test(test::TestArgs),
    /// Measure what calls of a plugin cost, each against a baseline of the same run
    Bench(bench::BenchArgs),
    /// Build a plugin whenever its sources change, swap it into the running gateway, and follow its log
    Dev(dev::DevArgs),
}

/// Carries out `plugin`.
pub(super) async fn run(args: PluginArgs, logging: &Logging) -> Result<Exit, Failure> {
    match args.command {
        PluginCommand::List(args) => blocking(move || list::run(&args)).await,
        PluginCommand::Info(args) => blocking(move || info::run(&args)).await,
        PluginCommand::Doctor(args) => doctor::run(args, logging.clone()).await,
        PluginCommand::Add(args) => add::run(args).await,
        PluginCommand::Remove(args) => blocking(move || remove::run(&args)).await,
        PluginCommand::Lock(args) => blocking(move || lock::run(&args)).await,
        PluginCommand::Enable(args) => enable::run(args).await,
        PluginCommand::New(args) => blocking(move || new::run(&args)).await,
        PluginCommand::Build(args) => blocking(move || build::run(&args)).await,
        PluginCommand::Check(args) => blocking(move || check::run(&args)).await,
        PluginCommand::Test(args) => blocking(move || test::run(&args)).await,
        PluginCommand::Bench(args) => blocking(move || bench::run(&args)).await,
        PluginCommand::Dev(args) => dev::run(args).await,
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(Exit::Environment, error))?
}
