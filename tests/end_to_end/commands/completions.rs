//! `proxywhirl completions`.

use std::collections::BTreeSet;
use std::process::Command;

use proxywhirl_tests::{Ran, file, folder, proxywhirl, run};

use super::help::COMMANDS;

#[test]
fn the_script_is_for_the_shell_that_is_named() {
    for (shell, beginning) in [
        ("bash", "_proxywhirl() {"),
        ("zsh", "#compdef proxywhirl\n"),
        ("fish", "# Print an optspec for argparse"),
        ("elvish", "use builtin;"),
        ("powershell", "using namespace System.Management.Automation\n"),
    ] {
        let ran = run(&mut proxywhirl(["completions", shell]));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ran.stdout.trim_start().starts_with(beginning), "{shell}: {}", ran.stdout);
    }
}

#[test]
fn the_script_of_fish_offers_the_name_of_every_command() {
    let script = run(&mut proxywhirl(["completions", "fish"])).stdout;
    for name in COMMANDS.iter().filter_map(|command| command.split_whitespace().last()) {
        assert!(script.contains(&format!(" -a \"{name}\"")), "{name} is not offered: {script}");
    }
}

#[test]
fn bash_completes_every_command() {
    let folder = folder();
    let script = file(&folder, "proxywhirl", run(&mut proxywhirl(["completions", "bash"])).stdout);
    let ran = run(Command::new("bash").args(["-n", &script]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // As bash does it when somebody presses the tab key behind what is typed.
    let program = r#"source "$0"
        for typed; do
            COMP_WORDS=(proxywhirl $typed "")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _proxywhirl proxywhirl "" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]/#/$typed }"
        done"#;
    let ran = run(Command::new("bash").args(["-c", program, &script]).args(COMMANDS));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let completed: BTreeSet<&str> = ran.stdout.lines().map(str::trim).collect();
    for command in COMMANDS.into_iter().filter(|command| !command.is_empty()) {
        assert!(completed.contains(command), "{command} is not completed: {}", ran.stderr);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for words in [&["completions", "bash"][..], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran: Ran = proxywhirl(words).stdout(writer).output().unwrap().into();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
    }
}
