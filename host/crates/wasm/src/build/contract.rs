//! The contract as text, and the world of one project: only the interfaces that it asks for, so that a
//! component of an interpreter, which imports all of its world, asks for nothing that it does not use.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use proxywhirl_core::plugin::PluginKind;

use super::project_file::ProjectFile;
use crate::inspect::CONTRACT;

/// The files of the package `proxywhirl:plugin`.
pub(crate) const FILES: [(&str, &str); 5] = [
    ("types.wit", include_str!("../../../../../wit/types.wit")),
    ("strategy.wit", include_str!("../../../../../wit/strategy.wit")),
    ("parser.wit", include_str!("../../../../../wit/parser.wit")),
    ("hook.wit", include_str!("../../../../../wit/hook.wit")),
    ("capabilities.wit", include_str!("../../../../../wit/capabilities.wit")),
];

/// The world's name, and with it that of the bindings in C. Not `plugin`, which is the author's module.
pub(crate) const WORLD: &str = "bindings";

/// The interfaces that a project imports besides types.
fn imports(project: &ProjectFile) -> Vec<&str> {
    let mut imports = vec!["log", "clock", "random"];
    if project.kind != PluginKind::Parser {
        imports.push("symbols");
    }
    for capability in &project.capabilities {
        let name = capability.split(':').next().unwrap_or_default();
        if !imports.contains(&name) {
            imports.push(name);
        }
    }
    imports
}

/// The text of the project's world.
pub(crate) fn world(project: &ProjectFile) -> String {
    let mut text = format!("package proxywhirl:author;\n\nworld {WORLD} {{\n");
    let mut exports = vec!["about", project.kind.as_str()];
    if project.handover {
        exports.push("handover");
    }
    for (way, interfaces) in [("import", imports(project)), ("export", exports)] {
        for interface in interfaces {
            // Writing into a string cannot fail.
            writeln!(text, "    {way} proxywhirl:plugin/{interface}@{CONTRACT};").ok();
        }
    }
    text.push_str("}\n");
    text
}

/// Lays out the world with the package that it speaks of, as every toolchain reads it.
pub(crate) fn lay_out(project: &ProjectFile, directory: &Path) -> io::Result<()> {
    let package = directory.join("deps/plugin");
    fs::create_dir_all(&package)?;
    for (name, text) in FILES {
        fs::write(package.join(name), text)?;
    }
    fs::write(directory.join("world.wit"), world(project))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::build::project_file::Language;
    use wit_bindgen_core::wit_parser::Resolve;

    pub(crate) fn project(kind: PluginKind, language: Language) -> ProjectFile {
        ProjectFile {
            name: "example".to_owned(),
            kind,
            language,
            version: "0.1.0".to_owned(),
            summary: "An example.".to_owned(),
            options_schema: "options.json".into(),
            capabilities: Vec::new(),
            handover: false,
        }
    }

    #[test]
    fn the_binary_has_every_file_of_the_contract() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../wit");
        let mut there: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        there.sort();
        let mut here: Vec<_> = FILES.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
        here.sort();
        assert_eq!(there, here);
    }

    #[test]
    fn a_world_has_what_the_project_asks_for_and_no_more() {
        let mut hook = project(PluginKind::Hook, Language::Python);
        hook.capabilities = vec!["kv:4096".to_owned(), "http:https://a".to_owned(), "http:https://b".to_owned()];
        hook.handover = true;
        let text = world(&hook);
        assert_eq!(text.matches("/http@").count(), 1);
        assert!(text.contains("import proxywhirl:plugin/kv@0.1.0;") && !text.contains("/metrics@"));
        assert!(text.contains("export proxywhirl:plugin/handover@0.1.0;"));
        assert!(!world(&project(PluginKind::Parser, Language::C)).contains("symbols"));
    }

    #[test]
    fn every_world_is_one_that_a_toolchain_reads() {
        for kind in [PluginKind::Strategy, PluginKind::Parser, PluginKind::Hook] {
            let directory = tempfile::tempdir().unwrap();
            lay_out(&project(kind, Language::JavaScript), directory.path()).unwrap();
            let mut resolve = Resolve::default();
            let (package, _) = resolve.push_dir(directory.path()).unwrap();
            resolve.select_world(&[package], Some(WORLD)).unwrap();
        }
    }
}
