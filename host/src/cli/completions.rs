//! `proxywhirl completions`: the script with which a shell completes what is typed.

use std::path::Path;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;
use super::output::write;
use crate::exit::{Exit, Failure};

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "bash reads it as ~/.local/share/bash-completion/completions/proxywhirl\n\
                        fish as ~/.config/fish/completions/proxywhirl.fish\n\
                        zsh as _proxywhirl in a folder that fpath names")]
pub(super) struct CompletionsArgs {
    /// The shell that is to read it
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Carries out `completions`.
pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // In between, as the generator panics where it cannot write, such as to a pipe that nobody reads any more.
    let mut script: Vec<u8> = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    write(Path::new("-"), &String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
