//! What a newcomer reads first, as snapshots: so that every change of the interface is seen.

use proxywhirl_tests::{proxywhirl, run};

/// Each command, as it is typed.
pub(super) const COMMANDS: [&str; 68] = [
    "",
    "serve",
    "fetch",
    "sources",
    "sources list",
    "sources test",
    "sources add",
    "sources remove",
    "check",
    "get",
    "pool",
    "pool list",
    "pool add",
    "pool remove",
    "pool stats",
    "pool import",
    "pool export",
    "pool backup",
    "pool restore",
    "pool migrate",
    "strategy",
    "strategy show",
    "strategy set",
    "refresh",
    "status",
    "requests",
    "explain",
    "reload",
    "rotate",
    "user",
    "user hash",
    "users",
    "plugin",
    "plugin list",
    "plugin info",
    "plugin doctor",
    "plugin add",
    "plugin remove",
    "plugin lock",
    "plugin enable",
    "plugin build",
    "plugin new",
    "plugin check",
    "plugin test",
    "plugin bench",
    "plugin dev",
    "config",
    "config show",
    "config check",
    "config init",
    "config schema",
    "sites",
    "bans",
    "bans list",
    "bans lift",
    "credentials",
    "credentials list",
    "credentials set",
    "credentials unset",
    "credentials refresh",
    "secrets",
    "secrets init",
    "secrets rotate",
    "secrets status",
    "judge",
    "demo",
    "completions",
    "man",
];

#[test]
fn every_command_explains_itself() {
    for command in COMMANDS {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let ran = run(proxywhirl(&words).env("COLUMNS", "100"));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command} --help");
        let name = if command.is_empty() { "proxywhirl".to_owned() } else { command.replace(' ', "-") };
        insta::assert_snapshot!(name, ran.stdout);
    }
}

#[test]
fn the_snapshots_are_of_all_commands_that_there_are() {
    for command in ["", "sources", "pool", "strategy", "plugin", "user", "config", "bans"] {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = run(&mut proxywhirl(words)).stdout;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
            let whole = format!("{command} {name}");
            assert!(COMMANDS.contains(&whole.trim()), "no snapshot of `{} --help`", whole.trim());
        }
    }
}

#[test]
fn the_version_is_told() {
    let ran = run(&mut proxywhirl(["--version"]));
    assert_eq!((ran.code, ran.stdout), (Some(0), concat!("proxywhirl ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
}
