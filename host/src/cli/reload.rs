//! `proxywhirl reload`: has the running gateway take over what has changed.

use clap::Args;

use super::ControlArgs;
use super::output::{print, to_json};
use crate::control::api::Reloaded;
use crate::exit::{Exit, Failure};

/// Arguments of `reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Carries out `reload`.
pub(super) async fn run(args: ReloadArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let reloaded: Reloaded = client.post("/v1/reload", &()).await?;
    if args.json {
        print(&to_json(&reloaded)?)?
    } else {
        print(&in_words(&reloaded))?
    }
    Ok(exit(&reloaded))
}

/// What could not be taken over is an input that could not be used.
pub(super) fn exit(reloaded: &Reloaded) -> Exit {
    if reloaded.kept.is_empty() { Exit::Done } else { Exit::Input }
}

/// What came of it, for people.
pub(super) fn in_words(reloaded: &Reloaded) -> String {
    let changed = reloaded.changed.iter().map(|line| format!("changed: {line}"));
    let kept = reloaded.kept.iter().map(|line| format!("stays as it was: {line}"));
    let restart = reloaded.needs_restart.iter().map(|section| format!("needs a restart: {section}"));
    let lines: Vec<_> = changed.chain(kept).chain(restart).collect();
    if lines.is_empty() { "nothing has changed".to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_as_it_was_is_told_and_shows_in_the_exit_code() {
        let mut reloaded = Reloaded::default();
        assert_eq!((in_words(&reloaded).as_str(), exit(&reloaded)), ("nothing has changed", Exit::Done));
        reloaded.changed.push("strategy random".to_owned());
        reloaded.kept.push("mine: trap in configure".to_owned());
        reloaded.needs_restart.push("listen".to_owned());
        insta::assert_snapshot!(in_words(&reloaded), @r"
        changed: strategy random
        stays as it was: mine: trap in configure
        needs a restart: listen
        ");
        assert_eq!(exit(&reloaded), Exit::Input);
    }
}
