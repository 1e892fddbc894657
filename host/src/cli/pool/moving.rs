//! `pool backup`, `pool restore` and `pool migrate`: copies of a pool, from any store to any other.

use clap::Args;
use proxywhirl_store::{ClearText, Over, StoreUrl, replace};

use super::super::StoreArg;
use super::super::output::tell;
use super::{DbArgs, KeyArgs, environment, existing};
use crate::config::KeyPlace;
use crate::exit::{Exit, Failure};
use crate::secrets;

/// Arguments of `pool backup`.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Where to, such as file:backup.json.gz
    #[arg(value_name = "STORE")]
    to: StoreArg,
    #[command(flatten)]
    over: OverArgs,
}

/// Arguments of `pool restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Where from, such as file:backup.json.gz
    #[arg(value_name = "STORE")]
    from: StoreArg,
    #[command(flatten)]
    over: OverArgs,
}

/// Arguments of `pool migrate`.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// Where from, such as sqlite:pool.db
    #[arg(value_name = "FROM")]
    from: StoreArg,
    /// Where to, such as file:pool.jsonl
    #[arg(value_name = "TO")]
    to: StoreArg,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    over: OverArgs,
}

#[derive(Debug, Args)]
struct OverArgs {
    /// Put the copy in place of what is in the other store
    #[arg(long)]
    force: bool,
}

/// Carries out `pool backup`.
pub(super) fn backup(args: &BackupArgs) -> Result<Exit, Failure> {
    carry(&args.db.url()?, &args.to.url()?, args.db.keys()?, &args.over)
}

/// Carries out `pool restore`.
pub(super) fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    carry(&args.from.url()?, &args.db.url()?, args.db.keys()?, &args.over)
}

/// Carries out `pool migrate`.
pub(super) fn migrate(args: &MigrateArgs) -> Result<Exit, Failure> {
    carry(&args.from.url()?, &args.to.url()?, args.key.place(None)?, &args.over)
}

fn carry(from: &StoreUrl, to: &StoreUrl, keys: Option<KeyPlace>, over: &OverArgs) -> Result<Exit, Failure> {
    let from = existing(from.clone())?;
    for url in [&from, to] {
        if !url.is_lasting() {
            return Err(Failure::new(Exit::Usage, format!("{url} is gone when the command ends"))
                .hint("name a store that lasts, such as file:pool.json or sqlite:pool.db"));
        }
    }
    if from.is_same(to) {
        return Err(Failure::new(Exit::Usage, format!("{from} and {to} are the same store")));
    }
    let keys = secrets::keyring(keys.as_ref())?;
    if over.force && to.is_in_use() {
        // What it has in memory it would save again, over what is restored.
        return Err(Failure::new(Exit::Environment, format!("{to} is used by another process"))
            .hint("stop the gateway that uses it, or restore into another store"));
    }
    let mut source = from.open_to_read().map_err(environment)?.sealed(keys.clone(), &from, ClearText::Expected);
    let over = if over.force { Over::Everything } else { Over::Nothing };
    let Some(copied) = replace(&mut source, to, keys.as_ref(), over).map_err(environment)? else {
        return Err(Failure::new(Exit::Usage, format!("{to} is not empty"))
            .hint("--force puts the copy in place of what is in it; without, name another"));
    };
    tell(&format!("{copied}: from {from} to {to}"));
    Ok(Exit::Done)
}
