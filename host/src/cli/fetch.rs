//! `proxywhirl fetch`: reads proxy lists and prints the proxies in them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use proxywhirl_core::Level;

use super::checking::{self, Checked};
use super::output::{Format, Row, RowWriter, tell};
use super::sources::{self, Input};
use super::{CheckingArgs, LevelArg, PluginDirArgs, ReadArgs, UpstreamArgs};
use crate::exit::{Exit, Failure};
use crate::logging::Logging;

/// Arguments of `fetch`.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Lists: files, URLs, or - for standard input
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// Print only the proxies that pass this check
    #[arg(long, value_enum, default_value = "none")]
    check: FetchLevel,
    /// Where to write; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How to write
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    checking: CheckingArgs,
    #[command(flatten)]
    upstream: UpstreamArgs,
    #[command(flatten)]
    plugins: PluginDirArgs,
}

/// How far `fetch` checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FetchLevel {
    /// Not at all
    None,
    /// It is written as a proxy is written
    Format,
    /// Something accepts connections there
    Tcp,
    /// A request through it reaches the judge, and the judge's own answer comes back
    Http,
}

impl FetchLevel {
    fn level(self) -> Option<Level> {
        match self {
            Self::None => None,
            Self::Format => Some(LevelArg::Format.into()),
            Self::Tcp => Some(LevelArg::Tcp.into()),
            Self::Http => Some(LevelArg::Http.into()),
        }
    }
}

/// Carries out `fetch`.
pub(super) async fn run(args: FetchArgs, logging: &Logging) -> Result<Exit, Failure> {
    let inputs: Vec<_> = args.sources.into_iter().map(Input::Named).collect();
    let found = sources::read(&inputs, &args.read, &args.plugins, Some(logging)).await?;
    if let Some(failure) = found.failure() {
        return Err(failure);
    }
    let mut writer = RowWriter::open(&args.output, args.format)?;
    let Some(level) = args.check.level() else {
        for candidate in &found.candidates {
            writer.row(&Row::new(candidate, None))?;
        }
        let rows = writer.finish()?;
        found.tell();
        return Ok(if rows == 0 { Exit::NoResult } else { Exit::Done });
    };
    found.tell();
    let plan = checking::Plan::new(&args.checking, &args.upstream, level, &found.candidates).await?;
    let mut dead = 0_usize;
    plan.run(found.candidates, logging, |Checked { candidate, verdict }| {
        if verdict.is_alive() {
            return writer.row(&Row::new(candidate, Some(verdict)));
        }
        dead += 1;
        Ok(())
    })
    .await?;
    let rows = writer.finish()?;
    tell(&format!("{rows} passed the check {level}, {dead} did not"));
    Ok(if rows == 0 { Exit::NoResult } else { Exit::Done })
}
