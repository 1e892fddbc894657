//! The workbench against guests that are wrong in one way each, and against what the plugins of the bundle are like.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod baseline;
mod conformance;
mod projects;
mod recordings;
mod scenarios;

use std::path::Path;
use std::time::Duration;

use proxywhirl_guests::Guest;

use crate::{Line, Report, Status, Subject, Thoroughness, Workplace};

/// As thorough as a test has time for.
const QUICK: Thoroughness =
    Thoroughness { calls: 40_000, patience: Duration::from_secs(60), mutations: 200, members: 2_000 };

/// With little time for those that never answer; a check gives ten times as much.
fn place() -> Workplace {
    let mut place = Workplace::default();
    for limits in [&mut place.limits.strategy, &mut place.limits.hook] {
        limits.call = limits.call.min(Duration::from_millis(100));
    }
    place
}

fn subject(guest: &Guest) -> Subject {
    Subject::from_bytes("guest", guest.build())
}

fn check(guest: &Guest) -> Report {
    crate::check(&subject(guest), &place(), &QUICK).unwrap()
}

/// The line of a name.
fn line<'a>(report: &'a Report, name: &str) -> &'a Line {
    report.lines.iter().find(|line| line.name == name).unwrap_or_else(|| panic!("no line {name}:\n{report}"))
}

/// Asserts that a line failed, and says something.
fn failed(report: &Report, name: &str, part: &str) {
    let line = line(report, name);
    assert!(line.status == Status::Failed && line.detail.contains(part), "{name} must fail with {part:?}:\n{report}");
}

/// A project's folder with files in `tests`, and a component.
fn project(component: &[u8], files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("dist")).unwrap();
    std::fs::create_dir(folder.path().join("tests")).unwrap();
    std::fs::write(folder.path().join("dist/guest.wasm"), component).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join("tests").join(name), text).unwrap();
    }
    folder
}

fn test(folder: &Path) -> Report {
    crate::test(folder, &place(), &crate::TestRequest::default()).unwrap()
}
