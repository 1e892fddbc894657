//! `proxywhirl plugin lock`.

use clap::Args;
use proxywhirl_wasm::Origin;

use super::chosen::ChosenArgs;
use crate::cli::output::{print, table};
use crate::exit::{Exit, Failure};
use crate::lock::{Lock, Standing};
use crate::wiring::{Known, Registry};

/// Arguments of `plugin lock`.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// The plugins to accept [default: all in the directory]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Accept also those that ask for more than was accepted before
    #[arg(long)]
    accept: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

/// Carries out `plugin lock`: accepts all of them, or none.
pub(super) fn run(args: &LockArgs) -> Result<Exit, Failure> {
    let (settings, directory) = args.chosen.with_directory()?;
    let mut lock = Lock::read(&directory)?;
    let registry = Registry::of_directory(&settings)?;
    let chosen: Vec<_> = registry.list().into_iter().filter(|known| is_chosen(args, known)).collect();
    let is_there = |name: &String| chosen.iter().any(|known| known.info.name == *name);
    if let Some(name) = args.names.iter().find(|name| !is_there(name)) {
        let message = format!("no plugin named {name} in {}", directory.display());
        return Err(Failure::new(Exit::Usage, message).hint("`proxywhirl plugin list` shows which plugins there are"));
    }
    let mut rows = Vec::new();
    for known in &chosen {
        let info = &known.info;
        if let (Some(Standing::AsksMore(more)), false) = (&known.standing, args.accept) {
            return Err(asks_more(&info.name, more));
        }
        let is_refused_by_lock = matches!(known.standing, Some(Standing::AsksMore(_)));
        if let (Some(problem), false) = (&info.problem, is_refused_by_lock) {
            return Err(Failure::new(Exit::Input, problem.clone()).hint(problem.hint.clone()));
        }
        let was = lock.entry(&info.name).map_or_else(|| "-".to_owned(), |entry| entry.version.clone());
        lock.accept(info);
        rows.push(vec![
            info.name.clone(),
            was,
            info.version.clone(),
            info.digest.get(..12).unwrap_or_default().to_owned(),
        ]);
    }
    lock.write(&directory)?;
    print(&table(&["NAME", "WAS", "IS", "SHA-256"], rows))?;
    Ok(Exit::Done)
}

/// Without names, all that can be used, and all that the lock refuses.
fn is_chosen(args: &LockArgs, known: &Known) -> bool {
    if !args.names.is_empty() {
        return args.names.contains(&known.info.name);
    }
    let is_file = matches!(known.info.origin, Origin::File(_));
    is_file && (known.info.problem.is_none() || matches!(known.standing, Some(Standing::AsksMore(_))))
}

/// Why an update stops.
pub(super) fn asks_more(name: &str, more: &[String]) -> Failure {
    Failure::new(Exit::Input, format!("{name} asks for more than was accepted: {}", more.join(", ")))
        .hint("if it may ask for that, run the same command with --accept; it gets only what [plugins.settings] grants")
}
