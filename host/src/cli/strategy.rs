//! `proxywhirl strategy`: looks at and changes how the running gateway chooses.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::ControlArgs;
use super::output::{print, tell, to_json};
use super::serve::parse_json;
use crate::control::api::{SetBy, SetStrategy, Strategy, StrategySet};
use crate::exit::{Exit, Failure};

/// Arguments of `strategy`.
#[derive(Debug, Args)]
pub(super) struct StrategyCommandArgs {
    #[command(subcommand)]
    command: StrategyCommand,
}

#[derive(Debug, Subcommand)]
enum StrategyCommand {
    /// Tell the strategy in force, its options and how its plugin is
    Show(ShowArgs),
    /// Put a strategy in force; no request fails, and if it is no good the one before stays
    Set(SetArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SetArgs {
    /// The strategy: see `proxywhirl plugin list`
    #[arg(value_name = "NAME")]
    name: String,
    /// Its options, as JSON
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    options: Option<Value>,
    /// One of its options: JSON, or text as it is; may be given several times
    #[arg(short, long = "option", value_name = "KEY=VALUE", value_parser = parse_option)]
    option: Vec<(String, Value)>,
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Reads `key=value`; what is no JSON is text.
fn parse_option(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("an option is KEY=VALUE")?;
    Ok((key.to_owned(), parse_json(value).unwrap_or_else(|_| Value::String(value.to_owned()))))
}

impl SetArgs {
    /// All options together; those that were given one by one win.
    fn options(&self) -> Result<Value, Failure> {
        if self.option.is_empty() {
            return Ok(self.options.clone().unwrap_or_default());
        }
        let mut options = match &self.options {
            None => Map::new(),
            Some(Value::Object(options)) => options.clone(),
            Some(other) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("--options {other} is no JSON object to add options to"),
                ));
            }
        };
        options.extend(self.option.iter().cloned());
        Ok(Value::Object(options))
    }
}

/// Carries out `strategy`.
pub(super) async fn run(args: StrategyCommandArgs) -> Result<Exit, Failure> {
    match args.command {
        StrategyCommand::Show(args) => show(args).await,
        StrategyCommand::Set(args) => set(args).await,
    }
}

async fn show(args: ShowArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let strategy: Strategy = client.get("/v1/strategy").await?;
    print(&if args.json { to_json(&strategy)? } else { in_words(&strategy) })?;
    Ok(Exit::Done)
}

async fn set(args: SetArgs) -> Result<Exit, Failure> {
    let wanted = SetStrategy { options: args.options()?, name: args.name };
    let client = args.control.running().await?;
    let set: StrategySet = client.post("/v1/strategy", &wanted).await?;
    if args.json {
        print(&to_json(&set)?)?;
    } else {
        print(&format!(
            "strategy {} {} in force after {:.1} ms; it was {}",
            set.name, set.version, set.took_ms, set.before
        ))?;
        tell("it stays until the configuration names another one, or the gateway ends");
    }
    Ok(Exit::Done)
}

fn in_words(strategy: &Strategy) -> String {
    let set_by = match strategy.set_by {
        SetBy::Configuration => "the configuration",
        SetBy::Command => "a command",
    };
    let options = if strategy.options.is_null() { "the default ones".to_owned() } else { strategy.options.to_string() };
    let mut lines =
        vec![format!("strategy  {}", strategy.name), format!("options   {options}"), format!("set by    {set_by}")];
    if let Some(plugin) = &strategy.plugin {
        if let Some(digest) = plugin.build.digest.get(..12) {
            lines.push(format!("version   {} ({digest})", plugin.build.version));
        }
        lines.push(format!(
            "state     {}, {} faults, {} restarts",
            plugin.state.as_str(),
            plugin.faults,
            plugin.restarts
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(options: Option<Value>, option: &[&str]) -> Result<Value, Failure> {
        let option = option.iter().map(|text| parse_option(text).unwrap()).collect();
        SetArgs { name: "a".to_owned(), options, option, control: ControlArgs::default(), json: false }.options()
    }

    #[test]
    fn options_are_json_or_text_and_the_single_ones_win() {
        assert_eq!(set(None, &[]).unwrap(), Value::Null);
        assert_eq!(set(Some(json!({"a": 1})), &[]).unwrap(), json!({"a": 1}));
        let both = set(Some(json!({"a": 1, "b": 2})), &["a=3", "by=source:user", "list=[1,2]", "on=true"]).unwrap();
        assert_eq!(both, json!({"a": 3, "b": 2, "by": "source:user", "list": [1, 2], "on": true}));
        assert!(set(Some(json!([1])), &["a=3"]).is_err());
        assert!(parse_option("novalue").is_err() && parse_option("=3").is_err());
    }
}
