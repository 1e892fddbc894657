//! `proxywhirl man`.

use std::collections::BTreeSet;
use std::fs;

use proxywhirl_tests::{file, folder, proxywhirl, run};

use super::help::COMMANDS;
use super::{run_in, transcript};

/// A page with the hyphens as they are read.
fn read(page: &str) -> String {
    page.replace("\\-", "-")
}

#[test]
fn the_page_names_every_command() {
    let ran = run(&mut proxywhirl(["man"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let page = read(&ran.stdout);
    assert!(page.contains(".TH proxywhirl 1 "), "{page}");
    for command in COMMANDS.iter().filter(|command| !command.is_empty() && !command.contains(' ')) {
        assert!(page.contains(&format!("proxywhirl-{command}")), "nothing of {command}: {page}");
    }
}

#[test]
fn each_command_has_a_page_of_its_own() {
    let folder = folder();
    insta::assert_snapshot!(transcript(&run_in(&folder, &["man", "--out", "share/man1"])), @"
    the pages are written to share/man1
    exit code 0
    ");
    let written = folder.path().join("share/man1");
    let pages: BTreeSet<String> =
        fs::read_dir(&written).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    let page_of = |command: &str| format!("{}.1", format!("proxywhirl {command}").trim().replace(' ', "-"));
    assert_eq!(pages, BTreeSet::from(COMMANDS.map(page_of)));
    let page = read(&fs::read_to_string(written.join("proxywhirl-pool-list.1")).unwrap());
    let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
    assert!(title.starts_with(".TH proxywhirl-pool-list 1 "), "{title}");
    assert!(title.contains(concat!("\"proxywhirl ", env!("CARGO_PKG_VERSION"), "\"")), "{title}");
    assert!(page.contains("--show-passwords") && page.contains("PROXYWHIRL_CONTROL"), "{page}");
}

#[test]
fn where_no_page_can_be_written_is_told() {
    let folder = folder();
    file(&folder, "taken", "");
    insta::assert_snapshot!(transcript(&run_in(&folder, &["man", "--out", "taken"])), @"
    error: writing taken: File exists (os error 17)
    exit code 4
    ");
    fs::create_dir_all(folder.path().join("man1/proxywhirl-pool-list.1")).unwrap();
    insta::assert_snapshot!(transcript(&run_in(&folder, &["man", "--out", "man1"])), @"
    error: writing man1/proxywhirl-pool-list.1: Is a directory (os error 21)
    exit code 4
    ");
}
