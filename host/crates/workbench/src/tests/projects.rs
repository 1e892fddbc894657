//! Folders: where components and tests are found, and what fixtures are compared with.

use std::fs;

use proxywhirl_guests::Guest;

use super::{line, place, project, test};
use crate::{Status, Subject, TestRequest, WorkbenchError, projects};

/// A parser that finds 1.2.3.4:80 in line 7 of every document.
fn finds_one() -> Guest {
    let text = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("\\{byte:02x}")).collect() };
    // ok(parsed): one candidate, at 4,200; no rejections; none counted; no pages.
    let parsed: Vec<u8> = [0_u32, 4_200, 1, 0, 0, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    // As the canonical ABI lays a candidate out: no scheme at 0, the host's case at 8 and its address at 16, the port at
    // 32, nothing else until the line at 72.
    let mut candidate = [0_u8; 80];
    candidate[8] = 1;
    candidate[16..20].copy_from_slice(&0x0102_0304_u32.to_le_bytes());
    candidate[32..34].copy_from_slice(&80_u16.to_le_bytes());
    candidate[72..76].copy_from_slice(&7_u32.to_le_bytes());
    Guest::parser("guest")
        .extra(&format!("(data (i32.const 4096) \"{}\")", text(&parsed)))
        .extra(&format!("(data (i32.const 4200) \"{}\")", text(&candidate)))
        .with("parse", "i32.const 4096")
}

#[test]
fn a_fixture_without_an_answer_fails_until_it_is_blessed() {
    let folder = project(&Guest::parser("guest").build(), &[("list.input.txt", "1.2.3.4:80\n")]);
    let report = test(folder.path());
    assert!(line(&report, "list").detail.contains("--bless"), "{report}");
    let bless = TestRequest { bless: true, ..TestRequest::default() };
    assert!(crate::test(folder.path(), &place(), &bless).unwrap().passed());
    let written = fs::read_to_string(folder.path().join("tests/list.expected.json")).unwrap();
    assert!(written.contains("\"sure\": 50") && written.contains("\"proxies\": []"), "{written}");
    assert!(test(folder.path()).passed());
    let other = finds_one().build();
    fs::write(folder.path().join("dist/guest.wasm"), other).unwrap();
    let report = test(folder.path());
    let line = line(&report, "list");
    assert_eq!(line.status, Status::Failed, "{report}");
    assert!(line.detail.contains("\n+") && line.detail.contains("1.2.3.4"), "{report}");
}

#[test]
fn a_component_is_found_in_its_project_and_in_the_workspace_around_it() {
    let folder = project(&Guest::strategy("guest").build(), &[]);
    assert!(Subject::open(folder.path()).is_ok());
    let member = folder.path().join("strategies/guest");
    fs::create_dir_all(&member).unwrap();
    assert!(Subject::open(&member).is_ok(), "dist/guest.wasm is above it");
    let other = folder.path().join("strategies/other");
    fs::create_dir_all(&other).unwrap();
    let error = Subject::open(&other).unwrap_err();
    assert!(matches!(error, WorkbenchError::NoComponent { .. }) && error.hint().unwrap().contains("plugin build"));
    assert!(Subject::open(&folder.path().join("nothing.wasm")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn projects_are_found_below_a_folder_of_plugins() {
    let folder = tempfile::tempdir().unwrap();
    for project in ["strategies/b", "strategies/a", "hooks/c", "target/d", "strategies/rust-only"] {
        fs::create_dir_all(folder.path().join(project).join("tests")).unwrap();
        let file = if project.ends_with("only") { "tests/native.rs" } else { "tests/story.toml" };
        fs::write(folder.path().join(project).join(file), "").unwrap();
    }
    let found: Vec<String> = projects(folder.path())
        .unwrap()
        .iter()
        .map(|project| project.strip_prefix(folder.path()).unwrap().display().to_string())
        .collect();
    assert_eq!(found, ["hooks/c", "strategies/a", "strategies/b"]);
    assert_eq!(projects(&folder.path().join("hooks/c")).unwrap().len(), 1);
    assert!(matches!(projects(&folder.path().join("target")), Ok(found) if found.len() == 1));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(projects(empty.path()), Err(WorkbenchError::NoTests(_))));
}
