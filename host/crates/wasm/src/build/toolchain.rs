//! A compiler for WebAssembly.
//!
//! In this order: an installed target of the active toolchain; the standard library's source for the
//! active toolchain; a distribution's compiler with its source, such as Debian's `rustc-web` and
//! `rust-web-src`. Source and compiler must be of the same version, so a source never serves another
//! toolchain's compiler; a linker does.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::BuildError;
use super::crates::Crates;
use super::tool::{first_line, is_debian, on_path};
use super::workshop;
use crate::plugin::hex;

/// The target without WASI: what is built for it imports only what it uses of the contract.
const PLAIN: &str = "wasm32-unknown-unknown";
/// The target with WASI, whose linker makes components itself.
const WASI: &str = "wasm32-wasip2";

/// Where distributions put their compiler.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// Names of a linker that distributions ship, the newest first.
pub(crate) const LINKERS: [&str; 8] =
    ["wasm-ld", "wasm-ld-22", "wasm-ld-21", "wasm-ld-20", "wasm-ld-19", "wasm-ld-18", "wasm-ld-17", "wasm-ld-16"];

/// A compiler, and how Cargo is told to use it.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// What it is, for people.
    pub(crate) summary: String,
    /// The target.
    pub(crate) target: &'static str,
    sysroot: PathBuf,
    /// The compiler, when it is not the active one.
    rustc: Option<PathBuf>,
    /// Whether the standard library is built as well.
    from_source: bool,
    /// The linker, when the compiler does not bring it.
    linker: Option<PathBuf>,
}

/// A compiler and what is installed for it.
struct Compiler {
    rustc: PathBuf,
    sysroot: PathBuf,
    host: String,
}

impl Toolchain {
    /// Finds a compiler for the project in a directory, which may name its own toolchain.
    pub(crate) fn find(directory: &Path) -> Result<Self, BuildError> {
        let active = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let active = Compiler::ask(PathBuf::from(active), directory);
        let system = Compiler::ask(PathBuf::from(SYSTEM_RUSTC), directory);
        let system = system.filter(|system| active.as_ref().is_none_or(|active| active.sysroot != system.sysroot));
        let installed = active.as_ref().and_then(Self::installed);
        if let Some(found) = installed.or_else(|| system.as_ref().and_then(Self::installed)) {
            return Ok(found);
        }
        let others: Vec<&Compiler> = active.iter().chain(&system).collect();
        let mut reason = "neither the target wasm32-unknown-unknown nor the standard library's source is installed";
        for compiler in &others {
            if !compiler.sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file() {
                continue;
            }
            match compiler.linker(&others) {
                Some(linker) => return Ok(Self::from_source(compiler, linker, active.as_ref())),
                None => reason = "the standard library's source is installed, but no linker for WebAssembly (lld)",
            }
        }
        let hint = if on_path("rustup").is_some() {
            "rustup target add wasm32-unknown-unknown"
        } else if is_debian() {
            "apt-get install rustc-web rust-web-src lld"
        } else {
            "install Rust from https://rustup.rs, then: rustup target add wasm32-unknown-unknown"
        };
        Err(BuildError::Toolchain { language: "Rust", reason: reason.to_owned(), hint: hint.to_owned() })
    }

    fn installed(compiler: &Compiler) -> Option<Self> {
        let target = [PLAIN, WASI]
            .into_iter()
            .find(|target| compiler.sysroot.join("lib/rustlib").join(target).join("lib").is_dir())?;
        Some(Self {
            summary: format!("{target} of {}", compiler.sysroot.display()),
            target,
            sysroot: compiler.sysroot.clone(),
            rustc: (compiler.rustc == Path::new(SYSTEM_RUSTC)).then(|| compiler.rustc.clone()),
            from_source: false,
            linker: if target == PLAIN { compiler.linker(&[compiler]) } else { None },
        })
    }

    fn from_source(compiler: &Compiler, linker: PathBuf, active: Option<&Compiler>) -> Self {
        let is_active = active.is_some_and(|active| active.sysroot == compiler.sysroot);
        Self {
            summary: format!(
                "{PLAIN}, with the standard library built from the source in {}",
                compiler.sysroot.display()
            ),
            target: PLAIN,
            sysroot: compiler.sysroot.clone(),
            rustc: (!is_active).then(|| compiler.rustc.clone()),
            from_source: true,
            linker: Some(linker),
        }
    }

    /// Where Cargo builds. All projects of a user share a directory for each toolchain, so that the
    /// standard library is built once; what a project has of its own is told apart by a wrapper's path.
    #[cfg(unix)]
    pub(crate) fn target_directory(&self, _: &Crates) -> Result<PathBuf, BuildError> {
        let mut hash = Sha256::new();
        let rustc = self.rustc.clone().unwrap_or_else(|| PathBuf::from("rustc"));
        let version = first_line(Command::new(rustc).arg("--version")).unwrap_or_default();
        for part in [self.sysroot.as_os_str().as_encoded_bytes(), version.as_bytes(), self.target.as_bytes()] {
            hash.update(part);
            hash.update([0]);
        }
        let name = hex(&hash.finalize());
        workshop::toolchain(&format!("rust-{}", name.get(..12).unwrap_or(&name)))
    }

    /// Without a shell, each workspace has its own.
    #[cfg(not(unix))]
    pub(crate) fn target_directory(&self, crates: &Crates) -> Result<PathBuf, BuildError> {
        Ok(crates.target.clone())
    }

    /// Tells Cargo.
    pub(crate) fn apply(&self, command: &mut Command, crates: &Crates, target: &Path) -> io::Result<()> {
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        if self.from_source {
            // Building the standard library is not stable; what is built with it is the same code.
            command.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
        }
        if let Some(linker) = &self.linker {
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", self.flags(crates, target));
        Self::wrap(command, crates, target, &self.sysroot)
    }

    /// Puts our script between Cargo and the compiler; it says why itself. A second one, which does
    /// nothing, has a path of this workspace's: Cargo hashes it into what tells the workspace's crates
    /// apart, without which two projects of one name would take each other's files for their own.
    #[cfg(unix)]
    fn wrap(command: &mut Command, crates: &Crates, target: &Path, sysroot: &Path) -> io::Result<()> {
        let wrappers = target.join("wrappers");
        fs::create_dir_all(&wrappers)?;
        let name = hex(&Sha256::digest(crates.root.as_os_str().as_encoded_bytes()));
        let own = wrappers.join(format!("{}.sh", name.get(..16).unwrap_or(&name)));
        script(&own, "#!/bin/sh\nexec \"$@\"\n")?;
        let all = wrappers.join("rustc.sh");
        script(&all, include_str!("wrapper.sh"))?;
        command.env("RUSTC_WRAPPER", all).env("RUSTC_WORKSPACE_WRAPPER", own);
        command.env("PLUGIN_FOREIGN_RUST", sysroot.join("lib/rustlib/src"));
        command.env("PLUGIN_WORKSPACE", &crates.root);
        command.env("PLUGIN_CHECKOUT", crates.root.parent().unwrap_or(&crates.root));
        if let Some(home) = cargo_home() {
            command.env("PLUGIN_FOREIGN_CARGO", home);
        }
        Ok(())
    }

    /// Without a shell, components are the same only for checkouts in the same place.
    #[cfg(not(unix))]
    fn wrap(_: &mut Command, _: &Crates, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    /// The compiler's flags, divided as Cargo wants them. They take this machine's paths out of what
    /// is built: panic messages hold the names of source files. They are the same for all projects that
    /// share a directory, or each would build the standard library anew; a project's own paths are the
    /// wrapper's business.
    fn flags(&self, crates: &Crates, target: &Path) -> OsString {
        let mut flags = OsString::new();
        // The last one that fits counts, so the most general comes first.
        let mut prefixes: Vec<(PathBuf, &str)> = Vec::new();
        if cfg!(not(unix)) {
            if let Some(checkout) = crates.root.parent() {
                prefixes.push((checkout.to_owned(), "/checkout"));
            }
            prefixes.push((crates.root.clone(), "/workspace"));
        }
        if let Some(home) = cargo_home() {
            prefixes.push((home, "/cargo"));
        }
        prefixes.push((target.to_owned(), "/target"));
        prefixes.push((self.sysroot.join("lib/rustlib/src/rust"), "/rust"));
        for (prefix, replacement) in prefixes {
            if !flags.is_empty() {
                flags.push("\x1f");
            }
            flags.push("--remap-path-prefix=");
            flags.push(prefix);
            flags.push("=");
            flags.push(replacement);
        }
        flags
    }
}

/// Writes a script so that whoever runs it sees all of it. One that is right already stays: Cargo asks
/// the compiler anew when its wrapper has changed.
#[cfg(unix)]
fn script(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, text)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755))?;
    fs::rename(&temporary, path)
}

impl Compiler {
    fn ask(rustc: PathBuf, directory: &Path) -> Option<Self> {
        let ask = |arguments: &[&str]| first_line(Command::new(&rustc).current_dir(directory).args(arguments));
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        let host = ask(&["--print", "host-tuple"])?;
        Some(Self { rustc, sysroot, host })
    }

    /// Its own linker, that of another compiler, or one of the machine's.
    fn linker(&self, others: &[&Self]) -> Option<PathBuf> {
        let of = |it: &Self| it.sysroot.join("lib/rustlib").join(&it.host).join("bin/rust-lld");
        let brought = std::iter::once(self).chain(others.iter().copied()).map(of).find(|path| path.is_file());
        brought.or_else(|| LINKERS.into_iter().find_map(on_path))
    }
}

fn cargo_home() -> Option<PathBuf> {
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    own.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn compiler(root: &Path, parts: &[&str]) -> Compiler {
        for part in parts {
            let path = root.join(part);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        Compiler { rustc: "rustc".into(), sysroot: root.to_owned(), host: "host".to_owned() }
    }

    #[test]
    fn the_target_without_wasi_is_preferred() {
        let root = tempfile::tempdir().unwrap();
        assert!(Toolchain::installed(&compiler(root.path(), &[])).is_none());
        let wasi = compiler(root.path(), &["lib/rustlib/wasm32-wasip2/lib/libstd.rlib"]);
        assert_eq!(Toolchain::installed(&wasi).unwrap().target, WASI);
        let both = compiler(root.path(), &["lib/rustlib/wasm32-unknown-unknown/lib/libstd.rlib"]);
        let found = Toolchain::installed(&both).unwrap();
        assert_eq!((found.target, found.from_source), (PLAIN, false));
    }

    #[test]
    fn a_linker_of_another_toolchain_serves() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = compiler(own.path(), &[]);
        let other = compiler(other.path(), &["lib/rustlib/host/bin/rust-lld"]);
        assert_eq!(own.linker(&[&other]), Some(other.sysroot.join("lib/rustlib/host/bin/rust-lld")));
    }

    #[test]
    fn the_flags_name_what_is_shared_and_nothing_of_a_project() {
        let toolchain = Toolchain {
            summary: String::new(),
            target: PLAIN,
            sysroot: "/usr".into(),
            rustc: None,
            from_source: true,
            linker: None,
        };
        let flags = |root: &str| {
            let crates = Crates { root: root.into(), target: "/c/target".into(), libraries: Vec::new() };
            toolchain.flags(&crates, Path::new("/cache/rust")).into_string().unwrap()
        };
        let one = flags("/c/plugins");
        let one: Vec<&str> = one.split('\x1f').collect();
        assert!(one.contains(&"--remap-path-prefix=/cache/rust=/target"), "{one:?}");
        assert_eq!(one.last(), Some(&"--remap-path-prefix=/usr/lib/rustlib/src/rust=/rust"));
        #[cfg(unix)]
        assert_eq!(flags("/c/plugins"), flags("/elsewhere"), "each project would build the standard library");
    }
}
