//! What has changed between two readings of a configuration, and which of it can change while the gateway runs.

use std::borrow::Cow;
use std::collections::BTreeSet;

use proxywhirl_gateway::GatewayConfig;
use proxywhirl_gateway::access::{Destinations, Login};

use crate::config::{AccessSettings, CredentialsSettings, PluginUse, Settings};
use crate::wiring::{self, Weights};

/// What has changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Difference {
    /// What else has changed and can change now, in words.
    pub(super) live: Vec<String>,
    /// Whether other certificates of proxies are trusted.
    pub(super) trust: bool,
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
    /// Whether sources weigh something else.
    pub(super) weights: bool,
    /// Plugins whose own settings have changed.
    pub(super) settings: Vec<String>,
}

impl Difference {
    /// What `new` says that `old` did not.
    pub(super) fn between(old: &Settings, new: &Settings) -> Self {
        let mut difference = Self {
            live: live(old, new),
            trust: (old.verify_upstream, &old.upstream_ca) != (new.verify_upstream, &new.upstream_ca),
            weights: Weights::of(&old.sources) != Weights::of(&new.sources),
            needs_restart: needs_restart(old, new),
            ..Self::default()
        };
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
        ("core_dumps", old.core_dumps != new.core_dumps),
        ("pool.allow_private", old.allow_private != new.allow_private),
        ("store", (&old.store, &old.store_keys, old.save_interval) != (&new.store, &new.store_keys, new.save_interval)),
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
    ];
    is_other.into_iter().filter_map(|(section, is_other)| is_other.then_some(section)).collect()
}

/// What has changed of that which the gateway takes over for new connections and requests.
fn live(old: &Settings, new: &Settings) -> Vec<String> {
    let is_other = [
        ("listen", old.listen != new.listen),
        ("access", of_access(&old.access) != of_access(&new.access)),
        ("credentials in another order", is_reordered(&old.credentials, &new.credentials)),
        ("bans", old.gateway.bans != new.gateway.bans),
        ("gateway", of_its_own(&old.gateway) != of_its_own(&new.gateway)),
        (
            "upstream",
            (old.verify_upstream, &old.upstream_ca, old.gateway.upstream_idle)
                != (new.verify_upstream, &new.upstream_ca, new.gateway.upstream_idle),
        ),
        ("limits", old.limits != new.limits),
        ("pool", (old.capacity, old.max_banned.to_bits()) != (new.capacity, new.max_banned.to_bits())),
        ("health", old.breaker != new.breaker),
        ("sites", old.sites != new.sites),
        ("history", old.history != new.history),
    ];
    let mut words = named("listener", &old.listeners, &new.listeners, |listener| listener.name.as_str().into());
    words.extend(named("user", &old.access.users, &new.access.users, |user| user.name.as_str().into()));
    words.extend(named("credentials", &old.credentials, &new.credentials, |one| one.name.as_str().into()));
    words.extend(named("source", &old.sources, &new.sources, |source| wiring::shown(source).into()));
    words.extend(is_other.into_iter().filter(|(_, is_other)| *is_other).map(|(section, _)| section.to_owned()));
    words
}

/// All of it but the users, who have names.
const fn of_access(access: &AccessSettings) -> (&Vec<ipnet::IpNet>, &Destinations, Login) {
    let AccessSettings { users: _, clients, destinations, login } = access;
    (clients, destinations, *login)
}

/// Whether those that stay are in another order: of two for the same proxies, the first one counts.
fn is_reordered(old: &[CredentialsSettings], new: &[CredentialsSettings]) -> bool {
    let stay = |all: &[CredentialsSettings], others: &[CredentialsSettings]| {
        let names = all.iter().map(|one| one.name.clone());
        names.filter(|name| others.iter().any(|other| other.name == *name)).collect::<Vec<_>>()
    };
    stay(old, new) != stay(new, old)
}

/// What came, went and changed of what has names.
fn named<T: PartialEq>(what: &str, old: &[T], new: &[T], name: impl Fn(&T) -> Cow<'_, str>) -> Vec<String> {
    let find = |all: &[T], wanted: &T| all.iter().position(|other| name(other) == name(wanted));
    let gone = old.iter().filter(|item| find(new, item).is_none());
    let gone = gone.map(|item| format!("{what} {} is gone", name(item)));
    let others = new.iter().filter_map(|item| match find(old, item).and_then(|at| old.get(at)) {
        None => Some(format!("{what} {} has come", name(item))),
        Some(before) => (before != item).then(|| format!("{what} {}", name(item))),
    });
    gone.chain(others).collect()
}

/// The gateway without what stands in sections of its own.
fn of_its_own(gateway: &GatewayConfig) -> GatewayConfig {
    let upstream_idle = GatewayConfig::default().upstream_idle;
    GatewayConfig { bans: Vec::new(), upstream_idle, ..gateway.clone() }
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
        assert_eq!(difference.needs_restart, ["store", "plugins.watch", "control"]);
        assert_eq!(difference.live, ["listen", "gateway"]);
        assert_eq!(difference.strategy, Some(PluginUse::of("random")));
        assert_eq!(difference.settings, ["random"]);
    }

    #[test]
    fn what_has_names_is_told_by_them() {
        let of = |port: u16, names: [&str; 2]| {
            let hash = proxywhirl_gateway::access::hash_password("x").unwrap();
            let user = |name: &str| format!("[[users]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\n");
            let listener = |name: &str| format!("[[listeners]]\naddress = \"{name}:{port}\"\nname = \"{name}\"\n");
            names.map(|name| user(name) + &listener(name)).concat()
        };
        let difference = between(&of(1, ["stays", "goes"]), &of(2, ["stays", "comes"]));
        assert_eq!(
            difference.live,
            [
                "listener goes is gone",
                "listener stays",
                "listener comes has come",
                "user goes is gone",
                // Another hash of its password.
                "user stays",
                "user comes has come",
            ]
        );
        assert!(difference.needs_restart.is_empty());
    }

    #[test]
    fn limits_and_trust_change_live() {
        let difference = between(
            "",
            "[upstream]\nverify = false\n[health]\nfailures = 3\n[history]\nrequests = 5\n[pool]\nallow_private = true\n\
             capacity = 9\n[access]\ndeny = [\"*:25\"]\n[[bans]]\nname = \"x\"\nstatus = \"403\"\nban = \"1m\"\n",
        );
        assert_eq!(difference.live, ["access", "bans", "upstream", "pool", "health", "history"]);
        assert_eq!((difference.needs_restart.as_slice(), difference.trust), (["pool.allow_private"].as_slice(), true));
        assert_eq!(between("", "[upstream]\nidle_per_proxy = 1\n").live, ["upstream"]);
        assert!(!between("", "[upstream]\nidle_per_proxy = 1\n").trust);
    }

    #[test]
    fn for_how_long_a_login_holds_and_which_credentials_go_first_change_live() {
        let login = between("[access]\nlogin = \"connection\"\n", "[access]\nlogin = \"request\"\n");
        assert_eq!(login.live, ["access"]);
        let of = |names: &[&str]| {
            let all = names.iter().map(|name| format!("[[credentials]]\nname = \"{name}\"\ntag = \"t\"\n"));
            all.collect::<String>()
        };
        assert_eq!(between(&of(&["a", "b"]), &of(&["b", "a"])).live, ["credentials in another order"]);
        assert_eq!(
            between(&of(&["a", "b"]), &of(&["c", "a"])).live,
            ["credentials b is gone", "credentials c has come"]
        );
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
