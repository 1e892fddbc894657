//! The binary `proxywhirl`.

use std::process::ExitCode;

use clap::Parser;
use proxywhirl::cli::Cli;
use proxywhirl::exit::Exit;
use proxywhirl::talk::{LastWords, tell};

/// A fifth less memory for each silent tunnel than with the system's: host/docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Clap itself ends the program on wrong usage (2) and after --help and --version (0).
    let cli = Cli::parse();
    let _last_words = LastWords;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&format!("error: the runtime does not start: {error}"));
            return Exit::Environment.into();
        }
    };
    let exit = runtime.block_on(cli.run()).unwrap_or_else(|failure| {
        tell(&failure.to_string());
        failure.exit
    });
    // A read of standard input that waits for ever must not keep the program.
    runtime.shutdown_background();
    exit.into()
}
