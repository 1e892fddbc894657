//! `proxywhirl man`: the manual, of what `--help` says.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::output::{failure, tell, write};
use crate::exit::{Exit, Failure};

/// What each page is of. Commands below the first have no version of their own.
const SOURCE: &str = concat!("proxywhirl ", env!("CARGO_PKG_VERSION"));

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "Read it with man-db:  proxywhirl man | man -l -")]
pub(super) struct ManArgs {
    /// Write a page for each command into this directory, such as /usr/local/share/man/man1
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Carries out `man`.
pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    // `help` says nothing that the pages do not.
    let mut command = Cli::command().disable_help_subcommand(true);
    // So that each command knows those that it is typed after.
    command.build();
    if let Some(folder) = &args.out {
        fs::create_dir_all(folder).map_err(|error| failure(folder, &error))?;
        write_pages(&command, folder)?;
        tell(&format!("the pages are written to {}", folder.display()));
        return Ok(Exit::Done);
    }
    let (path, mut page): (_, Vec<u8>) = (Path::new("-"), Vec::new());
    Man::new(command).source(SOURCE).render(&mut page).map_err(|error| failure(path, &error))?;
    write(path, &String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}

/// Writes the page of a command, and those of the commands below it that `--help` shows.
fn write_pages(command: &Command, folder: &Path) -> Result<(), Failure> {
    let man = Man::new(command.clone()).source(SOURCE);
    let (path, mut page): (_, Vec<u8>) = (folder.join(man.get_filename()), Vec::new());
    man.render(&mut page).and_then(|()| fs::write(&path, &page)).map_err(|error| failure(&path, &error))?;
    let mut shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.try_for_each(|command| write_pages(command, folder))
}
