//! `proxywhirl plugin build`.

use std::path::{Path, PathBuf};

use clap::Args;
use proxywhirl_wasm::build::{self, BuildError, BuildRequest, Progress};

use super::new;
use crate::cli::output::{print, table, tell};
use crate::exit::{Exit, Failure};

/// Arguments of `plugin build`.
#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// The folder of a project, of a workspace of crates, or of several projects
    #[arg(value_name = "PATH", default_value = ".")]
    path: PathBuf,
    /// Where the components go [default: dist in each project or workspace]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Carries out `plugin build`.
pub(super) fn run(args: &BuildArgs) -> Result<Exit, Failure> {
    restore_sdk(&args.path)?;
    let request = BuildRequest { path: args.path.clone(), out: args.out.clone() };
    let built = build::build(&request, |progress| match progress {
        Progress::Toolchain(text) => tell(&format!("toolchain: {text}")),
        Progress::Output(line) => tell(line),
        Progress::Unchanged(name) => tell(&format!("{name} is unchanged")),
        Progress::Component(name) => tell(&format!("component of {name}")),
    })
    .map_err(|error| {
        let hint = error.hint().map(str::to_owned);
        let exit = if matches!(error, BuildError::Toolchain { .. }) { Exit::Environment } else { Exit::Input };
        Failure { hint, ..Failure::new(exit, error) }
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

/// Puts the SDK's copy back into crates that want one and have none.
fn restore_sdk(path: &Path) -> Result<(), Failure> {
    // What is wrong with the path, the build says.
    for project in build::projects(path).unwrap_or_default() {
        let restored = new::restore(&project)
            .map_err(|error| Failure::new(Exit::Environment, format!("{}: {error}", project.display())))?;
        if restored {
            tell(&format!("the SDK of this binary is now in {}", project.display()));
        }
    }
    Ok(())
}
