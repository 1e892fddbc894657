//! Which plugins are in force: what the files hold, put in order by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxywhirl_core::plugin::PluginKind;

use crate::library::info::{self, Change, LoadProblem, Origin, PluginInfo};
use crate::library::scan::Seen;
use crate::plugin::Plugin;

/// What is in force at a time.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) usable: BTreeMap<String, Loaded>,
    unusable: Vec<Unusable>,
    /// Everything that is wrong, in the order of the files.
    pub(super) problems: Vec<LoadProblem>,
}

/// A plugin in force.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) plugin: Arc<Plugin>,
    origin: Origin,
    overrides: bool,
    stale: Option<LoadProblem>,
}

/// A file of which nothing is in force.
struct Unusable {
    origin: Origin,
    /// What it would be, if it were the only one of its name.
    plugin: Option<Arc<Plugin>>,
    problem: LoadProblem,
}

impl Shelf {
    /// Puts in order what there is. Of files of the same name, the one that is in force stays; if none
    /// is, none is taken: which one was meant, nobody can tell. A file wins over the bundle.
    pub(super) fn arrange<'a>(
        bundle: &'a [Seen],
        files: impl Iterator<Item = &'a Seen>,
        before: &Self,
        general: &[LoadProblem],
    ) -> Self {
        let mut shelf = Self { problems: general.to_vec(), ..Self::default() };
        let own = shelf.by_name(files);
        let bundled = shelf.by_name(bundle.iter());
        for (name, mut twins) in own {
            let overrides = bundled.contains_key(&name);
            if twins.len() > 1 {
                let in_force = before.usable.get(&name).map(|loaded| loaded.origin.clone());
                let kept = twins.iter().position(|twin| Some(&twin.origin) == in_force.as_ref());
                let kept = kept.map(|at| twins.swap_remove(at));
                let origins: Vec<Origin> = kept.iter().chain(&twins).map(|twin| twin.origin.clone()).collect();
                for twin in twins {
                    let other = origins.iter().find(|origin| **origin != twin.origin);
                    shelf.refuse_twin(&name, twin, other);
                }
                twins = kept.into_iter().collect();
            }
            if let Some(seen) = twins.pop() {
                shelf.take(name, seen, overrides);
            }
        }
        for (name, twins) in bundled {
            if let Some(seen) = twins.into_iter().next().filter(|_| !shelf.usable.contains_key(&name)) {
                shelf.take(name, seen, false);
            }
        }
        shelf.problems.sort_by(|a, b| a.file.cmp(&b.file));
        shelf
    }

    /// What can be used, by name; the rest is a problem.
    fn by_name<'a>(&mut self, seen: impl Iterator<Item = &'a Seen>) -> BTreeMap<String, Vec<Seen>> {
        let mut by_name: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in seen {
            if let Some(problem) = &seen.problem {
                self.problems.push(problem.clone());
            }
            match (&seen.plugin, &seen.problem) {
                (Some(plugin), _) => by_name.entry(plugin.name().to_owned()).or_default().push(seen.clone()),
                (None, Some(problem)) => {
                    let problem = problem.clone();
                    self.unusable.push(Unusable { origin: seen.origin.clone(), plugin: None, problem });
                }
                (None, None) => {}
            }
        }
        by_name
    }

    fn take(&mut self, name: String, seen: Seen, overrides: bool) {
        if let Some(plugin) = seen.plugin {
            self.usable.insert(name, Loaded { plugin, origin: seen.origin, overrides, stale: seen.problem });
        }
    }

    fn refuse_twin(&mut self, name: &str, twin: Seen, other: Option<&Origin>) {
        let other = other.map_or_else(|| "another file".to_owned(), |other| other.path().display().to_string());
        let problem = LoadProblem {
            file: twin.origin.path().to_owned(),
            reason: format!("{name} is also the name of {other}"),
            hint: "remove one of the two files".to_owned(),
        };
        self.problems.push(problem.clone());
        self.unusable.push(Unusable { origin: twin.origin, plugin: twin.plugin, problem });
    }

    /// What there is, by name, those with a problem last.
    pub(super) fn list(&self) -> Vec<PluginInfo> {
        let unusable = self.unusable.iter().map(|it| match &it.plugin {
            None => info::unusable(&it.origin, it.problem.clone()),
            Some(plugin) => PluginInfo { problem: Some(it.problem.clone()), ..info::usable(plugin, &it.origin) },
        });
        self.usable.values().map(Loaded::info).chain(unusable).collect()
    }

    /// What of a name is in force, or else what is wrong with it.
    pub(super) fn info(&self, name: &str) -> Option<PluginInfo> {
        let usable = self.usable.get(name).map(Loaded::info);
        usable.or_else(|| self.list().into_iter().find(|info| info.name == name))
    }

    pub(super) fn of_kind(&self, kind: PluginKind) -> impl Iterator<Item = &Arc<Plugin>> {
        self.usable.values().map(|loaded| &loaded.plugin).filter(move |plugin| plugin.kind() == kind)
    }

    /// What is other than before: first what is in force, then what is wrong.
    pub(super) fn changes(&self, before: &Self) -> Vec<Change> {
        let digest = |loaded: &Loaded| loaded.plugin.identity.digest.to_string();
        let mut changes = Vec::new();
        let mut names: Vec<&String> = before.usable.keys().chain(self.usable.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let (old, new) = (before.usable.get(name), self.usable.get(name));
            if old.map(digest) != new.map(digest) {
                let kind = new.or(old).map(|loaded| loaded.plugin.kind());
                let (before, after) = (old.map(digest), new.map(digest));
                changes.push(Change { name: name.clone(), kind, before, after, problem: None });
            }
        }
        for problem in self.problems.iter().filter(|problem| !before.problems.contains(problem)) {
            let hit = self.usable.values().find(|loaded| loaded.stale.as_ref() == Some(problem));
            let broken = self.unusable.iter().find(|it| it.problem == *problem);
            let digest = hit.map(digest);
            changes.push(Change {
                name: hit.map(|it| it.plugin.name().to_owned()).or(broken.map(Unusable::name)).unwrap_or_default(),
                kind: hit.map(|loaded| loaded.plugin.kind()),
                before: digest.clone(),
                after: digest,
                problem: Some(problem.clone()),
            });
        }
        changes
    }
}

impl Loaded {
    fn info(&self) -> PluginInfo {
        let info = info::usable(&self.plugin, &self.origin);
        PluginInfo { overrides: self.overrides, stale: self.stale.clone(), ..info }
    }
}

impl Unusable {
    fn name(&self) -> String {
        self.plugin.as_ref().map_or_else(|| self.origin.stem(), |plugin| plugin.name().to_owned())
    }
}
