//! `proxywhirl user`: what a configuration needs to know of users.

use std::io::{BufRead as _, IsTerminal as _};

use clap::{Args, Subcommand};
use proxywhirl_core::secret::Zeroizing;
use proxywhirl_gateway::access::hash_password;

use super::output::{print, tell};
use crate::exit::{Exit, Failure};

/// The longest password: SOCKS has room for no longer one.
const MAX_PASSWORD: usize = 255;

/// Arguments of `user`.
#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Read a password from standard input and print its hash, for `password_hash` of [[users]]
    Hash,
}

/// Carries out `user`.
pub(super) fn run(args: &UserArgs) -> Result<Exit, Failure> {
    match args.command {
        UserCommand::Hash => hash(),
    }
}

fn hash() -> Result<Exit, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        tell("the password, and Enter (it is shown while you type; a pipe shows nothing):");
    }
    let mut line = Zeroizing::new(String::with_capacity(MAX_PASSWORD + 3));
    let mut limited = std::io::Read::take(stdin.lock(), MAX_PASSWORD as u64 + 3);
    limited.read_line(&mut line).map_err(|error| Failure::new(Exit::Input, format!("standard input: {error}")))?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(Failure::new(Exit::Usage, format!("a password has 1 to {MAX_PASSWORD} bytes, on one line"))
            .hint("as in: printf %s \"$PASSWORD\" | proxywhirl user hash"));
    }
    print(&hash_password(password).map_err(|error| Failure::new(Exit::Environment, error))?)?;
    Ok(Exit::Done)
}
