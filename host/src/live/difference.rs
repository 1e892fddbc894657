//! What has changed between two readings of a configuration, and which of it can change while the gateway runs.

use std::collections::BTreeSet;

use proxywhirl_gateway::GatewayConfig;

use crate::config::{PluginUse, Settings};

/// What has changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Difference {
    /// Sections that are in force only after a restart.
    pub(super) needs_restart: Vec<&'static str>,
    /// The strategy, if it or its options have changed.
    pub(super) strategy: Option<PluginUse>,
    /// Hooks that are no longer wanted.
    pub(super) removed: Vec<String>,
    /// Hooks that are new.
    pub(super) added: Vec<PluginUse>,
    /// Hooks whose options have changed.
    pub(super) changed: Vec<PluginUse>,
    /// Plugins whose own settings have changed.
    pub(super) settings: Vec<String>,
}

impl Difference {
    /// What `new` says that `old` did not.
    pub(super) fn between(old: &Settings, new: &Settings) -> Self {
        let mut difference = Self { needs_restart: needs_restart(old, new), ..Self::default() };
        if old.strategy != new.strategy {
            difference.strategy = Some(new.strategy.clone());
        }
        difference.hooks(&old.hooks, &new.hooks);
        let (before, after) = (&old.plugins.each, &new.plugins.each);
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        difference.settings = changed.cloned().collect();
        difference
    }

    /// A hook that stays keeps its queue. One name may stand for several hooks, which nobody could tell from each other:
    /// all of them go and come anew.
    fn hooks(&mut self, old: &[PluginUse], new: &[PluginUse]) {
        let of = |hooks: &[PluginUse], name: &str| -> Vec<PluginUse> {
            hooks.iter().filter(|hook| hook.name == name).cloned().collect()
        };
        let names: BTreeSet<&str> = old.iter().chain(new).map(|hook| hook.name.as_str()).collect();
        for name in names {
            match (of(old, name).as_slice(), of(new, name)) {
                (before, after) if before == after => {}
                ([_], after) if after.len() == 1 => self.changed.extend(after),
                (before, after) => {
                    self.removed.extend((!before.is_empty()).then(|| name.to_owned()));
                    self.added.extend(after);
                }
            }
        }
    }
}

fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let (before, after) = (&old.plugins, &new.plugins);
    let is_other = [
        ("listen", old.listen != new.listen),
        ("listeners", old.listeners != new.listeners),
        ("users", old.access.users != new.access.users),
        ("access", (&old.access.clients, &old.access.destinations) != (&new.access.clients, &new.access.destinations)),
        ("bans", old.gateway.bans != new.gateway.bans),
        ("gateway", apart_from_bans(&old.gateway) != apart_from_bans(&new.gateway)),
        ("upstream", (old.verify_upstream, &old.upstream_ca) != (new.verify_upstream, &new.upstream_ca)),
        ("limits", old.limits != new.limits),
        ("pool", (old.capacity, old.allow_private) != (new.capacity, new.allow_private)),
        ("pool.max_banned", old.max_banned.to_bits() != new.max_banned.to_bits()),
        ("health", old.breaker != new.breaker),
        ("store", (&old.store, old.save_interval) != (&new.store, new.save_interval)),
        ("plugins.directory", before.directory != after.directory),
        ("plugins.cache", before.cache != after.cache),
        ("plugins.watch", before.watch != after.watch),
        ("plugins.supervision", before.supervision != after.supervision),
        ("check", old.check != new.check),
        ("geo", old.geo != new.geo),
        ("events", old.events != new.events),
        ("control", old.control != new.control),
        ("fetch", old.fetch != new.fetch),
        ("browser", old.browser != new.browser),
        ("history", old.history != new.history),
        ("sources", old.sources != new.sources),
    ];
    is_other.into_iter().filter_map(|(section, is_other)| is_other.then_some(section)).collect()
}

/// The gateway without the rules that are a section of their own.
fn apart_from_bans(gateway: &GatewayConfig) -> GatewayConfig {
    GatewayConfig { bans: Vec::new(), ..gateway.clone() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ConfigFile;

    fn settings(text: &str) -> Settings {
        let path = Path::new("proxywhirl.toml");
        Settings::from_file(ConfigFile::parse(text, path).unwrap(), path).unwrap()
    }

    fn between(old: &str, new: &str) -> Difference {
        Difference::between(&settings(old), &settings(new))
    }

    fn names(hooks: &[PluginUse]) -> Vec<&str> {
        hooks.iter().map(|hook| hook.name.as_str()).collect()
    }

    #[test]
    fn what_reads_the_same_has_not_changed() {
        let text = "listen = \"127.0.0.1:1\"\n[strategy]\nname = \"random\"\n[[hooks]]\nname = \"a\"\n";
        assert_eq!(between(text, text), Difference::default());
        assert_eq!(between("", "[strategy]\nname = \"round-robin\"\n[strategy.options]\n"), Difference::default());
    }

    #[test]
    fn what_can_change_live_is_told_from_what_needs_a_restart() {
        let difference = between(
            "",
            "listen = \"127.0.0.1:1\"\n[strategy]\nname = \"random\"\n[store]\npath = \"a.db\"\n[gateway]\nattempts = 2\n\
             [plugins]\nwatch = false\n[plugins.settings.random]\nmemory = \"1MiB\"\n[control]\nsocket = false\n",
        );
        assert_eq!(difference.needs_restart, ["listen", "gateway", "store", "plugins.watch", "control"]);
        assert_eq!(difference.strategy, Some(PluginUse::of("random")));
        assert_eq!(difference.settings, ["random"]);
    }

    #[test]
    fn options_of_the_same_strategy_are_a_change() {
        let of = |value: u8| format!("[strategy]\nname = \"a\"\n[strategy.options]\nx = {value}\n");
        assert_eq!(between(&of(1), &of(2)).strategy.unwrap().options, serde_json::json!({"x": 2}));
    }

    #[test]
    fn hooks_come_go_and_change() {
        let of = |name: &str, x: u8| format!("[[hooks]]\nname = \"{name}\"\n[hooks.options]\nx = {x}\n");
        let difference = between(
            &[of("stays", 1), of("goes", 1), of("changes", 1)].concat(),
            &[of("stays", 1), of("comes", 1), of("changes", 2)].concat(),
        );
        assert_eq!(difference.removed, ["goes"]);
        assert_eq!((names(&difference.added), names(&difference.changed)), (vec!["comes"], vec!["changes"]));
    }

    #[test]
    fn hooks_of_the_same_name_go_and_come_together() {
        let of = |x: u8| format!("[[hooks]]\nname = \"twin\"\n[hooks.options]\nx = {x}\n");
        let difference = between(&[of(1), of(2)].concat(), &[of(1), of(3)].concat());
        assert_eq!(
            (difference.removed.as_slice(), names(&difference.added)),
            (["twin".to_owned()].as_slice(), vec!["twin", "twin"])
        );
        assert!(difference.changed.is_empty());
    }
}
