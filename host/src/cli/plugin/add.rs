//! `proxywhirl plugin add`: into the plugins directory, once it has been seen to work.

mod fetched;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use proxywhirl_wasm::{Origin, PluginInfo};

use super::chosen::ChosenArgs;
use super::{blocking, lock, trial};
use crate::cli::output::{print, tell};
use crate::config::PluginsSettings;
use crate::exit::{Exit, Failure};
use crate::lock::{Lock, Standing};
use crate::wiring::Registry;

/// Arguments of `plugin add`.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The component: a file, the folder of a plugin's sources that has been built, or an http(s) URL
    #[arg(value_name = "FILE|DIR|URL")]
    from: String,
    /// Accept an update that asks for more than was accepted before
    #[arg(long)]
    accept: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

/// Carries out `plugin add`.
pub(super) async fn run(args: AddArgs) -> Result<Exit, Failure> {
    let components = fetched::components(&args.from).await?;
    blocking(move || {
        let (settings, directory) = args.chosen.with_directory()?;
        fs::create_dir_all(&directory).map_err(|error| environment(&directory, &error))?;
        for component in &components {
            add(&settings, &directory, component, args.accept)?;
        }
        Ok(Exit::Done)
    })
    .await
}

/// Adds one component. It waits in a folder of its own until it has been seen to work, so that no gateway takes it before.
fn add(
    settings: &PluginsSettings,
    directory: &Path,
    component: &fetched::Component,
    accept: bool,
) -> Result<(), Failure> {
    let waiting = Waiting::new(directory, component)?;
    let alone = PluginsSettings { directory: Some(waiting.folder.clone()), ..settings.clone() };
    let registry = Registry::of_directory(&alone)?;
    let known = registry.list().into_iter().next();
    let known = known.ok_or_else(|| Failure::new(Exit::Input, format!("{} is no plugin", component.place)))?;
    let info = known.info;
    if let Some(problem) = &info.problem {
        let message = format!("{}: {}", component.place, problem.reason);
        return Err(Failure::new(Exit::Input, message).hint(problem.hint.clone()));
    }
    let mut locked = Lock::read(directory)?;
    let standing = locked.standing(&info);
    if let (Standing::AsksMore(more), false) = (&standing, accept) {
        return Err(lock::asks_more(&info.name, more));
    }
    // After the lock: what is not accepted is not run.
    let took = trial::start(&registry, &info)?;
    let target = target(settings, directory, &info)?;
    fs::rename(&waiting.file, &target).map_err(|error| environment(&target, &error))?;
    locked.accept(&info);
    locked.write(directory)?;
    tell_asked(&info);
    print(&format!("added {} {} as {}, started in {} ms", info.name, info.version, target.display(), took.as_millis()))
}

/// Where it goes: over the file that has its name already, if there is one.
fn target(settings: &PluginsSettings, directory: &Path, info: &PluginInfo) -> Result<PathBuf, Failure> {
    let present = Registry::of_directory(settings)?.find(&info.name);
    let file = present.and_then(|known| match known.info.origin {
        Origin::File(file) => Some(file),
        Origin::Bundled(_) => None,
    });
    Ok(file.unwrap_or_else(|| directory.join(format!("{}.wasm", info.name))))
}

/// Says what it asks for, and how it gets it.
fn tell_asked(info: &PluginInfo) {
    if info.capabilities.is_empty() {
        return;
    }
    let grants: Vec<_> = info.capabilities.iter().map(|capability| format!("\"{capability}\"")).collect();
    tell(&format!("it asks for {}; to grant it that, put into the configuration:\n", info.capabilities.join(", ")));
    tell(&format!("    [plugins.settings.{}]\n    grant = [{}]\n", info.name, grants.join(", ")));
}

/// A component that waits in a folder of its own; removed with it.
struct Waiting {
    folder: PathBuf,
    file: PathBuf,
}

impl Waiting {
    fn new(directory: &Path, component: &fetched::Component) -> Result<Self, Failure> {
        let folder = directory.join(format!(".adding-{}", std::process::id()));
        let file = folder.join(format!("{}.wasm", component.stem));
        let waiting = Self { folder, file };
        fs::create_dir_all(&waiting.folder)
            .and_then(|()| fs::write(&waiting.file, &component.bytes))
            .map_err(|error| environment(&waiting.file, &error))?;
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Hidden and of no extension that is loaded: if it stays, it is in nobody's way.
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn environment(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Environment, format!("{}: {error}", path.display()))
}
