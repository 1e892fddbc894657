//! `proxywhirl plugin remove`.

use std::fs;

use clap::Args;
use proxywhirl_wasm::Origin;

use super::chosen::ChosenArgs;
use crate::cli::output::print;
use crate::exit::{Exit, Failure};
use crate::lock::Lock;
use crate::wiring::{Registry, Surroundings};

/// Arguments of `plugin remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The plugin
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    chosen: ChosenArgs,
}

/// Carries out `plugin remove`: takes away the file, and what was accepted of it.
pub(super) fn run(args: &RemoveArgs) -> Result<Exit, Failure> {
    let (settings, directory) = args.chosen.with_directory()?;
    let mut lock = Lock::read(&directory)?;
    let registry = Registry::load(&settings, Surroundings::default())?;
    let name = &args.name;
    let known = registry.find(name);
    let file = known.as_ref().and_then(|known| match &known.info.origin {
        Origin::File(file) => Some(file),
        Origin::Bundled(_) => None,
    });
    let was_locked = lock.forget(name);
    if file.is_none() && !was_locked {
        let is_bundled = known.is_some();
        let message = format!("no plugin named {name} in {}", directory.display());
        let failure = Failure::new(Exit::Usage, message);
        return Err(failure.hint(if is_bundled {
            "it is bundled: it is part of the binary, and does nothing unless it is used"
        } else {
            "`proxywhirl plugin list` shows which plugins there are"
        }));
    }
    if let Some(file) = file {
        fs::remove_file(file)
            .map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", file.display())))?;
    }
    if was_locked {
        lock.write(&directory)?;
    }
    print(&match file {
        Some(file) => format!("removed {}", file.display()),
        None => format!("{name} is no longer in plugins.lock; there was no file of it"),
    })?;
    Ok(Exit::Done)
}
