//! Notices that the configuration file, `.env` or the plugins directory has changed.
//!
//! It looks once a second at times, sizes and numbers of files, which works on every file system, and costs a few
//! hundred system calls at the most. A change is acted on when two looks in a row have seen the same: a file that is
//! still being written is not read.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::{Asked, Live, blocking};
use crate::control::api::Reloaded;
use crate::exit::Failure;
use crate::lock::Lock;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// Files of a directory that are looked at.
const MOST: usize = 4_096;

/// What tells one content of a file from another, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

type Look = BTreeMap<PathBuf, Stamp>;

/// What is watched, and what it looked like.
#[derive(Debug, Clone)]
pub struct Watched {
    configs: Vec<PathBuf>,
    directory: Option<PathBuf>,
    acted_on: Look,
    last: Look,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Configuration,
    Plugins,
}

impl Watched {
    /// Watches what changes from now on. To miss nothing, before any of it is read.
    #[must_use]
    pub fn from_now(configs: Vec<PathBuf>, directory: Option<&Path>) -> Self {
        let mut watched =
            Self { configs, directory: directory.map(ToOwned::to_owned), acted_on: Look::new(), last: Look::new() };
        watched.acted_on = watched.look();
        watched.last.clone_from(&watched.acted_on);
        watched
    }

    /// Has the gateway take over what changes, until the token is cancelled, also where a file hangs that is looked at or read.
    pub async fn watch(self, live: Arc<Live>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow(&live)).await;
    }

    async fn follow(mut self, live: &Live) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looking = self.clone();
            let Ok(look) = blocking(move || looking.look()).await else { continue };
            // A failure has been told where it happened.
            match self.settled(look) {
                Some(News::Configuration) => tell(live.reload(Asked::Unheard).await),
                Some(News::Plugins) => tell(live.refresh().await),
                None => {}
            }
        }
    }

    fn look(&self) -> Look {
        let files = self.directory.as_deref().map(plugin_files).unwrap_or_default();
        let paths = files.into_iter().chain(self.configs.iter().cloned());
        paths.filter_map(|path| stamp(&path).map(|stamp| (path, stamp))).collect()
    }

    /// What has changed and stays as it is since the last look.
    fn settled(&mut self, look: Look) -> Option<News> {
        let is_settled = look == self.last;
        self.last = look;
        if !is_settled || self.last == self.acted_on {
            return None;
        }
        let of = |look: &Look| self.configs.iter().map(|path| look.get(path).cloned()).collect::<Vec<_>>();
        let news = if of(&self.last) == of(&self.acted_on) { News::Plugins } else { News::Configuration };
        self.acted_on.clone_from(&self.last);
        Some(news)
    }
}

fn tell(reloaded: Result<Reloaded, Failure>) {
    if let Ok(reloaded) = reloaded {
        tracing::debug!(changed = reloaded.changed.len(), kept = reloaded.kept.len(), "looked at what changed");
    }
}

fn plugin_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.take(MOST).filter_map(Result::ok).map(|entry| entry.path());
    let lock = Lock::path(directory);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "wasm") || *path == lock).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some(Stamp { modified: about.modified().ok(), bytes: about.len(), inode: about.ino() })
}

/// Has the gateway read its configuration again at SIGHUP, as daemons do, until the token is cancelled.
///
/// # Errors
/// When the operating system does not let signals be heard.
pub fn reload_on_signal(live: Arc<Live>, shutdown: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = hangups.recv() => {}
            }
            tracing::info!("reading the configuration again, by signal");
            tell(live.reload(Asked::Unheard).await);
        }
    });
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Looks twice, as a change that has settled is seen.
    fn settle(watched: &mut Watched) -> Option<News> {
        let look = watched.look();
        assert_eq!(watched.settled(look.clone()), None, "still being written, for all one knows");
        watched.settled(look)
    }

    #[test]
    fn a_change_is_news_once_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("proxywhirl.toml");
        fs::write(&config, "").unwrap();
        let mut watched = Watched::from_now(vec![config.clone()], Some(folder.path()));
        let look = watched.look();
        assert_eq!(watched.settled(look), None, "nothing has changed");
        fs::write(folder.path().join("mine.wasm"), "1").unwrap();
        assert_eq!(settle(&mut watched), Some(News::Plugins));
        let look = watched.look();
        assert_eq!(watched.settled(look), None, "it has been acted on");
        fs::write(&config, "listen = \"127.0.0.1:1\"").unwrap();
        assert_eq!(settle(&mut watched), Some(News::Configuration));
        fs::write(Lock::path(folder.path()), "").unwrap();
        assert_eq!(settle(&mut watched), Some(News::Plugins));
        fs::remove_file(folder.path().join("mine.wasm")).unwrap();
        assert_eq!(settle(&mut watched), Some(News::Plugins));
    }

    #[test]
    fn other_files_and_missing_directories_are_nobodys_business() {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Watched::from_now(Vec::new(), Some(folder.path()));
        fs::write(folder.path().join("notes.txt"), "1").unwrap();
        fs::write(folder.path().join(".mine.wasm.tmp"), "1").unwrap();
        let look = watched.look();
        assert_eq!((watched.settled(look), watched.look().len()), (None, 0));
        let nowhere = Watched::from_now(vec!["/nowhere/at/all.toml".into()], Some(Path::new("/nowhere/at/all")));
        assert!(nowhere.look().is_empty());
    }
}
