//! Lists what the binary embeds: the components under `plugins/dist/`, the templates of `plugin new`, and
//! the sources of the SDK with the contract, which a new crate gets a copy of.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let host = Path::new(&manifest);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    let mut components = files(&host.join("../plugins/dist"))?;
    components.retain(|(name, _)| name.ends_with(".wasm") && !name.contains('/'));
    for (name, _) in &mut components {
        name.truncate(name.len() - ".wasm".len());
    }
    fs::write(out.join("bundle.rs"), table(&components, "include_bytes!", ".as_slice()")?)?;
    let templates = files(&host.join("templates"))?;
    fs::write(out.join("templates.rs"), table(&templates, "include_str!", "")?)?;
    let mut sdk = Vec::new();
    for part in ["plugin-sdk", "wit"] {
        let below = files(&host.join("..").join(part))?;
        sdk.extend(below.into_iter().map(|(name, path)| (format!("{part}/{name}"), path)));
    }
    // Tests and benchmarks are not what a plugin depends on.
    sdk.retain(|(name, _)| name.starts_with("wit/") || name.contains("/src/") || name.ends_with("/Cargo.toml"));
    fs::write(out.join("sdk.rs"), table(&sdk, "include_str!", "")?)
}

/// The files below a directory, with their names relative to it, in order.
fn files(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut open = vec![(String::new(), directory.to_owned())];
    let mut files = Vec::new();
    while let Some((prefix, folder)) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // The first build of all, from which `plugin build` fills the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() && name != "target" {
                open.push((format!("{prefix}{name}/"), path));
            } else if path.is_file() {
                println!("cargo::rerun-if-changed={}", path.display());
                files.push((format!("{prefix}{name}"), path));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A slice of names and contents.
fn table(files: &[(String, PathBuf)], include: &str, after: &str) -> io::Result<String> {
    let mut table = String::from("&[\n");
    for (name, path) in files {
        writeln!(table, "    ({name:?}, {include}({path:?}){after}),").map_err(io::Error::other)?;
    }
    table.push(']');
    Ok(table)
}
