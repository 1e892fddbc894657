//! The SDK in a new crate: a copy of its sources with the contract, because there is no registry that has
//! it and a project must build on a machine that has nothing but the binary and a toolchain.

use std::fs;
use std::io;
use std::path::Path;

use toml::{Table, Value};

/// The SDK's sources and the contract, by their paths in the checkout.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// The manifest that the SDK takes versions from.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");

/// Where the copy lies in a project.
pub(super) const FOLDER: &str = ".proxywhirl/plugin-sdk";

/// Writes the copy into a project.
pub(super) fn write(project: &Path) -> io::Result<()> {
    let folder = project.join(".proxywhirl");
    for (name, text) in SDK {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if *name == "plugin-sdk/Cargo.toml" {
            let manifest = standalone(text, WORKSPACE).map_err(io::Error::other)?;
            fs::write(path, manifest)?;
        } else {
            fs::write(path, text)?;
        }
    }
    Ok(())
}

/// Writes the copy again where a crate wants it and it is missing: after a checkout that leaves it out, or
/// because its author has removed it to get that of this binary.
pub(in crate::cli::plugin) fn restore(project: &Path) -> io::Result<bool> {
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap_or_default();
    if !manifest.contains(FOLDER) || project.join(FOLDER).exists() {
        return Ok(false);
    }
    write(project).map(|()| true)
}

/// The SDK's manifest without what it inherits, and without what only its own tests need.
fn standalone(manifest: &str, workspace: &str) -> Result<String, toml::de::Error> {
    let mut manifest: Table = manifest.parse()?;
    let workspace: Table = workspace.parse()?;
    let inherited = |part: &str, name: &str| workspace.get("workspace")?.get(part)?.get(name).cloned();
    if let Some(Value::Table(package)) = manifest.get_mut("package") {
        for (name, value) in package.iter_mut() {
            if inherits(value)
                && let Some(own) = inherited("package", name)
            {
                *value = own;
            }
        }
    }
    if let Some(Value::Table(dependencies)) = manifest.get_mut("dependencies") {
        for (name, value) in dependencies.iter_mut() {
            if inherits(value)
                && let Some(own) = inherited("dependencies", name)
            {
                *value = merged(own, value);
            }
        }
    }
    for part in ["dev-dependencies", "lints", "bench"] {
        manifest.remove(part);
    }
    Ok(manifest.to_string())
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The workspace's dependency with the features that the member adds.
fn merged(own: Value, member: &Value) -> Value {
    let Some(Value::Array(more)) = member.get("features") else { return own };
    let mut table = own.as_table().cloned().unwrap_or_else(|| Table::from_iter([("version".to_owned(), own)]));
    let features = table.entry("features").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(features) = features {
        features.extend(more.iter().cloned());
    }
    Value::Table(table)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_inherits_nothing() {
        let (_, manifest) = SDK.iter().find(|(name, _)| *name == "plugin-sdk/Cargo.toml").unwrap();
        let text = standalone(manifest, WORKSPACE).unwrap();
        assert!(!text.contains("workspace"), "{text}");
        let table: Table = text.parse().unwrap();
        assert!(table["dependencies"]["wit-bindgen"]["version"].is_str(), "{text}");
        assert_eq!(table["package"]["edition"].as_str(), Some("2024"));
    }

    #[test]
    fn features_that_a_member_adds_are_kept() {
        let text = standalone(
            "[dependencies]\na = { workspace = true, features = [\"x\"] }\n",
            "[workspace.dependencies]\na = \"1\"\n",
        )
        .unwrap();
        let table: Table = text.parse().unwrap();
        assert_eq!(table["dependencies"]["a"]["version"].as_str(), Some("1"));
        assert_eq!(table["dependencies"]["a"]["features"][0].as_str(), Some("x"));
    }

    #[test]
    fn a_copy_that_is_missing_is_written_again() {
        let project = tempfile::tempdir().unwrap();
        assert!(!restore(project.path()).unwrap());
        fs::write(project.path().join("Cargo.toml"), format!("path = \"{FOLDER}\"")).unwrap();
        assert!(restore(project.path()).unwrap());
        assert!(project.path().join(".proxywhirl/wit/types.wit").is_file());
        assert!(project.path().join(FOLDER).join("src/lib.rs").is_file());
        assert!(!restore(project.path()).unwrap());
    }
}
