//! What `plugin check`, `plugin test` and `plugin bench` have in common.

use std::path::{Path, PathBuf};

use clap::Args;
use proxywhirl_wasm::Origin;
use proxywhirl_workbench::{Subject, WorkbenchError, Workplace};

use super::chosen::ChosenArgs;
use crate::bundle::BUNDLE;
use crate::exit::{Exit, Failure};
use crate::wiring::{Registry, Surroundings, cache_directory};

/// Which plugin is looked at.
#[derive(Debug, Args)]
pub(super) struct SubjectArgs {
    /// A component (.wasm), a project's folder, or the name of a plugin
    #[arg(value_name = "PATH|NAME", default_value = ".")]
    subject: PathBuf,
    #[command(flatten)]
    chosen: ChosenArgs,
}

impl SubjectArgs {
    /// The component, and what it runs with.
    pub(super) fn open(&self) -> Result<(Subject, Workplace), Failure> {
        let settings = self.chosen.settings()?;
        let cache = settings.cache.clone().or_else(cache_directory);
        let place = Workplace { cache, ..Workplace::default() };
        let name = self.subject.to_string_lossy();
        let is_name = !self.subject.exists() && !name.contains(std::path::MAIN_SEPARATOR) && !name.ends_with(".wasm");
        if !is_name {
            return Ok((Subject::open(&self.subject).map_err(failure)?, place));
        }
        let known = Registry::load(&settings, Surroundings::default())?.find(&name).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no plugin and no file named {name}"))
                .hint("`proxywhirl plugin list` shows which plugins there are")
        })?;
        let subject = match &known.info.origin {
            Origin::File(file) => Subject::open(file).map_err(failure)?,
            Origin::Bundled(file) => {
                let bundled = BUNDLE.iter().find(|(name, _)| name == file);
                let bytes = bundled.map(|(_, bytes)| bytes.to_vec()).unwrap_or_default();
                Subject::from_bytes(&name, bytes)
            }
        };
        Ok((subject, place))
    }
}

/// Why nothing could be looked at, with what helps.
pub(super) fn failure(error: WorkbenchError) -> Failure {
    let hint = error.hint().map(str::to_owned);
    let exit = match &error {
        WorkbenchError::File { verb: "written", .. } | WorkbenchError::Host(_) => Exit::Environment,
        WorkbenchError::NoTests(_) => Exit::Usage,
        WorkbenchError::File { .. } | WorkbenchError::NoComponent { .. } | WorkbenchError::Unfit(_) => Exit::Input,
    };
    Failure { hint, ..Failure::new(exit, error) }
}

/// A path as it is shown: relative where that is shorter.
pub(super) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let relative = path.strip_prefix(&here).ok().filter(|path| !path.as_os_str().is_empty());
    relative.unwrap_or(path).display().to_string()
}
