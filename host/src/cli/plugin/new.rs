//! `proxywhirl plugin new`: a project that builds, passes its tests and can be served as it is.

mod sdk;
mod template;

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use proxywhirl_core::plugin::PluginKind;
use proxywhirl_wasm::build::{Language, check_name};

use crate::cli::output::tell;
use crate::exit::{Exit, Failure};
pub(super) use sdk::restore;

/// Arguments of `plugin new`.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// What the plugin is for
    kind: Kind,
    /// Its name: lower-case letters, digits and hyphens
    name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: Lang,
    /// Where the project's folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Rust: the SDK's folder, instead of a copy of the SDK in the project
    #[arg(long, value_name = "DIR")]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Chooses which proxy serves a request
    Strategy,
    /// Reads proxies out of documents
    Parser,
    /// Hears what happens
    Hook,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lang {
    Rust,
    C,
    Python,
    Javascript,
}

impl From<Kind> for PluginKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Strategy => Self::Strategy,
            Kind::Parser => Self::Parser,
            Kind::Hook => Self::Hook,
        }
    }
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Rust => Self::Rust,
            Lang::C => Self::C,
            Lang::Python => Self::Python,
            Lang::Javascript => Self::JavaScript,
        }
    }
}

/// Carries out `plugin new`.
pub(super) fn run(args: &NewArgs) -> Result<Exit, Failure> {
    let (kind, language) = (PluginKind::from(args.kind), Language::from(args.lang));
    let hint = "for example: fastest, or by-country";
    check_name(&args.name).map_err(|reason| Failure::new(Exit::Usage, reason).hint(hint))?;
    if args.sdk.is_some() && language != Language::Rust {
        let reason = format!("--sdk is for Rust: a plugin in {} depends on no SDK", language.as_str());
        return Err(Failure::new(Exit::Usage, reason));
    }
    let folder = args.path.join(&args.name);
    // A dangling link is in the way as well.
    if fs::symlink_metadata(&folder).is_ok() {
        let reason = format!("{} is there already", folder.display());
        return Err(Failure::new(Exit::Input, reason).hint("take another name, or make it elsewhere with --path"));
    }
    let sdk = args.sdk.as_deref().map(sdk_folder).transpose()?;
    let project = template::Project { name: &args.name, kind, language, sdk: sdk.as_deref() };
    write(&folder, &project).map_err(|error| {
        let reason = format!("{}: {error}", folder.display());
        Failure::new(Exit::Environment, reason)
    })?;
    let shown = folder.display();
    tell(&format!("made {shown}, a {kind} in {}", template::spelled(language)));
    tell(&format!("\nhint: run `proxywhirl plugin build {shown}`, then `proxywhirl plugin test {shown}`"));
    Ok(Exit::Done)
}

/// The absolute path of an SDK's folder.
fn sdk_folder(path: &Path) -> Result<PathBuf, Failure> {
    let missing = || {
        let reason = format!("{} is no folder of the SDK: it has no Cargo.toml", path.display());
        Failure::new(Exit::Input, reason).hint("leave --sdk out: the project then gets a copy of the SDK")
    };
    let folder = path.canonicalize().map_err(|_| missing())?;
    if folder.join("Cargo.toml").is_file() { Ok(folder) } else { Err(missing()) }
}

/// Writes the project. What cannot be finished is removed, so that the command can be tried again.
fn write(folder: &Path, project: &template::Project<'_>) -> std::io::Result<()> {
    let all = || -> std::io::Result<()> {
        for (name, text) in template::files(project) {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, text)?;
        }
        if project.language == Language::Rust && project.sdk.is_none() { sdk::write(folder) } else { Ok(()) }
    };
    all().inspect_err(|_| drop(fs::remove_dir_all(folder)))
}
