//! Builds the plugins of a crate or workspace: `cargo run --example build -- PATH [OUT]`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use proxywhirl_wasm::build::{BuildRequest, Progress, build};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let path = arguments.next().ok_or("usage: build PATH [OUT]")?.into();
    let request = BuildRequest { path, out: arguments.next().map(Into::into) };
    let built = build(&request, |progress| match progress {
        Progress::Toolchain(text) | Progress::Cargo(text) | Progress::Component(text) => eprintln!("{text}"),
    })?;
    for plugin in built {
        println!("{} {} {} bytes {}", plugin.kind, plugin.name, plugin.bytes, plugin.file.display());
    }
    Ok(())
}
