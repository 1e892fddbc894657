//! `proxywhirl plugin build`.

use std::path::PathBuf;

use clap::Args;
use proxywhirl_wasm::build::{self, BuildRequest, Progress};

use crate::cli::output::{print, table, tell};
use crate::exit::{Exit, Failure};

/// Arguments of `plugin build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The folder of the crate or workspace
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Where the components go [default: dist in that folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Carries out `plugin build`.
pub(super) fn run(args: &BuildArgs) -> Result<Exit, Failure> {
    let request = BuildRequest { path: args.path.clone(), out: args.out.clone() };
    let built = build::build(&request, |progress| match progress {
        Progress::Toolchain(text) => tell(&format!("toolchain: {text}")),
        Progress::Cargo(line) => tell(line),
        Progress::Component(name) => tell(&format!("component of {name}")),
    })
    .map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        Failure { hint, ..Failure::new(Exit::Input, error) }
    })?;
    let rows = built.iter().map(|built| {
        let digest = built.digest.chars().take(12).collect();
        vec![
            built.name.clone(),
            built.kind.to_string(),
            built.bytes.to_string(),
            digest,
            built.file.display().to_string(),
        ]
    });
    print(&table(&["NAME", "KIND", "BYTES", "SHA-256", "FILE"], rows.collect()))?;
    Ok(Exit::Done)
}
