//! `proxywhirl man`: the manual, of what `--help` says.

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::output::{failure, tell, write};
use crate::exit::{Exit, Failure};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, such as /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Carries out `man`.
pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    // `help` says nothing that the pages do not.
    let command = Cli::command().disable_help_subcommand(true);
    if let Some(folder) = &args.out {
        let written = create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.map_err(|error| failure(folder, &error))?;
        tell(&format!("the pages are written to {}", folder.display()));
        return Ok(Exit::Done);
    }
    let (path, mut page): (_, Vec<u8>) = (Path::new("-"), Vec::new());
    Man::new(command).render(&mut page).map_err(|error| failure(path, &error))?;
    write(path, &String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
