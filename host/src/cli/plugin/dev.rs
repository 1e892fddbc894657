//! `proxywhirl plugin dev`: from a saved source file to the new plugin in the running gateway, without a command between.

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use proxywhirl_wasm::build::{self, BuildRequest, Built, Progress};

use super::blocking;
use crate::cli::ControlArgs;
use crate::cli::output::{print, tell};
use crate::cli::reload;
use crate::control::Client;
use crate::control::api::{Reloaded, Status};
use crate::exit::{Exit, Failure};
use crate::logging::PluginLine;
use sources::Sources;

/// How often the sources are looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Arguments of `plugin dev`.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The folder of the plugin's sources
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Build it and swap it in once, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    control: ControlArgs,
}

/// Carries out `plugin dev`, until Ctrl-C.
pub(super) async fn run(args: DevArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let status: Status = client.get("/v1/status").await?;
    let directory = status.plugins.ok_or_else(|| {
        Failure::new(Exit::Usage, "the running gateway has no plugins directory to put the plugin into")
            .hint("start it with --plugins DIR")
    })?;
    let mut sources = Sources::of(&args.path);
    let first = renew(&client, &args.path, &directory).await;
    if args.once {
        return first;
    }
    complain(first);
    tell(&format!("watching {}; Ctrl-C ends it", args.path.display()));
    let follower = tokio::spawn(follow(client.clone()));
    let watching = async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            if sources.have_changed() {
                complain(renew(&client, &args.path, &directory).await);
            }
        }
    };
    tokio::select! {
        () = watching => {}
        stopped = tokio::signal::ctrl_c() => stopped.map_err(|error| Failure::new(Exit::Environment, error))?,
    }
    follower.abort();
    Ok(Exit::Done)
}

/// Builds, puts the components into the directory, and has the gateway take them over.
async fn renew(client: &Client, path: &Path, directory: &Path) -> Result<Exit, Failure> {
    let (path, directory) = (path.to_owned(), directory.to_owned());
    blocking(move || built(&path)?.iter().try_for_each(|built| place(built, &directory))).await?;
    let reloaded: Reloaded = client.post("/v1/plugins/reload", &()).await?;
    print(&reload::in_words(&reloaded))?;
    Ok(reload::exit(&reloaded))
}

fn built(path: &Path) -> Result<Vec<Built>, Failure> {
    let request = BuildRequest { path: path.to_owned(), out: None };
    let built = build::build(&request, |progress| match progress {
        Progress::Toolchain(_) | Progress::Unchanged(_) => {}
        Progress::Output(line) => tell(line),
        Progress::Component(name) => tell(&format!("component of {name}")),
    });
    built.map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(Exit::Input, error) }
    })
}

/// Puts a component where the gateway finds it, whole or not at all.
fn place(built: &Built, directory: &Path) -> Result<(), Failure> {
    let target = directory.join(format!("{}.wasm", built.name));
    let temporary = directory.join(format!(".{}.{}", built.name, std::process::id()));
    fs::copy(&built.file, &temporary).and_then(|_| fs::rename(&temporary, &target)).map_err(|error| {
        // Of what is not there, nothing is left.
        drop(fs::remove_file(&temporary));
        Failure::new(Exit::Environment, format!("{}: {error}", target.display()))
    })
}

/// Prints what plugins say, until the gateway ends.
async fn follow(client: Client) {
    let followed = client.follow("/v1/log", |line| match serde_json::from_str::<PluginLine>(line) {
        Ok(PluginLine { plugin, level, line, .. }) => print(&format!("{level:<5} {plugin}: {line}")).is_ok(),
        // How many lines were missed.
        Err(_) => print(line).is_ok(),
    });
    complain(followed.await.map(|()| Exit::Done));
}

/// What is wrong now may be right after the next change.
fn complain(result: Result<Exit, Failure>) {
    if let Err(failure) = result {
        tell(&failure.to_string());
    }
}
