//! `proxywhirl plugin enable`.

use clap::Args;

use crate::cli::ControlArgs;
use crate::cli::output::print;
use crate::exit::{Exit, Failure};

/// Arguments of `plugin enable`.
#[derive(Debug, Args)]
pub(super) struct EnableArgs {
    /// The plugin
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    control: ControlArgs,
}

/// Carries out `plugin enable`.
pub(super) async fn run(args: EnableArgs) -> Result<Exit, Failure> {
    let name = &args.name;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Failure::new(Exit::Usage, format!("{name:?} is no name of a plugin")));
    }
    let client = args.control.running().await?;
    let _: serde_json::Value = client.post(&format!("/v1/plugins/{name}/enable"), &()).await?;
    print(&format!("{name} is started again when it is next needed"))?;
    Ok(Exit::Done)
}
