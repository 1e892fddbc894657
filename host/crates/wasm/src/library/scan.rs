//! What files hold: read when they are new or have changed, and remembered while they are broken.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::Gate;
use crate::directory;
use crate::inspect::Unfit;
use crate::library::info::{self, LoadProblem, Origin};
use crate::parallel;
use crate::plugin::{Bytes, Plugin};
use crate::runtime::Runtime;

/// What tells that a file has changed without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// The inode, and when that changed last, where there are such things: a file that was copied over
    /// another may carry its time with it.
    inode: (u64, i64, i64),
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self { length: about.len(), modified: about.modified().ok(), inode: inode(about) }
    }
}

#[cfg(unix)]
fn inode(about: &Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (about.ino(), about.ctime(), about.ctime_nsec())
}

#[cfg(not(unix))]
const fn inode(_: &Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

/// A file, or a component of the bundle.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) origin: Origin,
    /// None for what cannot change.
    stamp: Option<Stamp>,
    /// What it held when it was last whole.
    pub(super) plugin: Option<Arc<Plugin>>,
    /// What is wrong with what it holds now.
    pub(super) problem: Option<LoadProblem>,
}

/// The components that the binary embeds.
pub(super) fn bundle(runtime: &Arc<Runtime>, bundle: &'static [(&'static str, &'static [u8])]) -> Vec<Seen> {
    parallel::map(bundle, |(name, bytes)| {
        let origin = Origin::Bundled((*name).to_owned());
        let loaded = Plugin::load(runtime, &origin.stem(), Bytes::Bundled(bytes));
        seen(origin, None, None, loaded)
    })
}

/// The files of a directory, of which those that are as they were are not read again.
pub(super) fn files(
    runtime: &Arc<Runtime>,
    directory: &Path,
    before: &BTreeMap<PathBuf, Seen>,
) -> std::io::Result<BTreeMap<PathBuf, Seen>> {
    let paths = directory::files(directory)?;
    let seen = parallel::map(&paths, |path| file(runtime, path, before.get(path)));
    Ok(paths.into_iter().zip(seen).collect())
}

/// One file.
pub(super) fn file(runtime: &Arc<Runtime>, path: &Path, before: Option<&Seen>) -> Seen {
    // The stamp is older than what is read: a change in between is seen the next time.
    let stamp = std::fs::metadata(path).ok().map(|about| Stamp::of(&about));
    if let Some(before) = before
        && stamp.is_some()
        && before.stamp == stamp
    {
        return before.clone();
    }
    let origin = Origin::File(path.to_owned());
    let loaded = directory::read(path)
        .and_then(|bytes| Plugin::load(runtime, &origin.stem(), Bytes::Read(bytes.into())))
        .and_then(|plugin| match &runtime.gate {
            Some(gate) => admit(gate, &origin, plugin),
            None => Ok(plugin),
        });
    seen(origin, stamp, before.and_then(|before| before.plugin.clone()), loaded)
}

fn admit(gate: &Gate, origin: &Origin, plugin: Plugin) -> Result<Plugin, Unfit> {
    match gate(&info::usable(&plugin, origin)) {
        Ok(()) => Ok(plugin),
        Err(LoadProblem { reason, hint, .. }) => Err(Unfit::new(reason, hint)),
    }
}

fn seen(origin: Origin, stamp: Option<Stamp>, last: Option<Arc<Plugin>>, loaded: Result<Plugin, Unfit>) -> Seen {
    match loaded {
        Ok(plugin) => {
            // The same bytes are the same plugin, whose code is perhaps compiled already.
            let same = last.filter(|last| last.identity == plugin.identity);
            Seen { origin, stamp, plugin: Some(same.unwrap_or_else(|| Arc::new(plugin))), problem: None }
        }
        Err(Unfit { reason, hint }) => {
            let problem = LoadProblem { file: origin.path().to_owned(), reason, hint };
            Seen { origin, stamp, plugin: last, problem: Some(problem) }
        }
    }
}
