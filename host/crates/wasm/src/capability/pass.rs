//! What one component may use: what it imports and asks for, together with what its name was granted.

use std::sync::Arc;

use url::Url;

use crate::capability::account::Account;
use crate::capability::grant::{DEFAULT_QUOTA, Grant};

/// The interfaces that need a grant.
const INTERFACES: [&str; 3] = ["kv", "metrics", "http"];

/// How a plugin stands with one capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The interface: `kv`, `metrics` or `http`.
    pub interface: &'static str,
    /// Whether the component imports it.
    pub imported: bool,
    /// What the manifest asks for. What is no capability for this host is among the last.
    pub wanted: Vec<String>,
    /// Grants that are in force.
    pub granted: Vec<String>,
    /// Grants that are of no use, because nothing that is wanted has to do with them.
    pub unused: Vec<String>,
}

/// [`Access`] in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Something of it is in force.
    Granted,
    /// It is imported and wanted; the user's settings do not grant it.
    NotGranted,
    /// It is imported, but the manifest does not ask for it: the plugin's mistake.
    NotWanted,
    /// It is wanted or granted, but the component does not import it, and so cannot use it.
    NotImported,
}

impl Access {
    /// The whole in a word.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        if !self.imported {
            Standing::NotImported
        } else if self.wanted.is_empty() {
            Standing::NotWanted
        } else if self.granted.is_empty() {
            Standing::NotGranted
        } else {
            Standing::Granted
        }
    }
}

impl Standing {
    /// The words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::NotGranted => "not granted",
            Self::NotWanted => "not asked for",
            Self::NotImported => "not imported",
        }
    }
}

/// What one component may use.
#[derive(Debug)]
pub(crate) struct Pass {
    imported: Vec<&'static str>,
    wanted: Vec<Grant>,
    /// Capabilities of the manifest that this host does not know.
    unknown: Vec<String>,
    pub(crate) account: Arc<Account>,
}

impl Pass {
    /// From what a component imports (names of interfaces with their package) and its manifest asks for.
    pub(crate) fn new(imports: &[String], wanted: &[String], account: Arc<Account>) -> Self {
        let is_imported = |interface: &&str| {
            let name = format!("proxywhirl:plugin/{interface}@");
            imports.iter().any(|import| import.starts_with(&name))
        };
        let mut pass = Self {
            imported: INTERFACES.into_iter().filter(is_imported).collect(),
            wanted: Vec::new(),
            unknown: Vec::new(),
            account,
        };
        for text in wanted {
            match text.parse() {
                Ok(Grant::Http(mut rule)) => {
                    // A plugin may not ask for private addresses: the user grants them to one server by name.
                    rule.private = false;
                    pass.wanted.push(Grant::Http(rule));
                }
                Ok(grant) => pass.wanted.push(grant),
                Err(_) => pass.unknown.push(text.clone()),
            }
        }
        pass
    }

    fn imports(&self, interface: &str) -> bool {
        self.imported.contains(&interface)
    }

    /// Whether anything of the network can be reached, which a call may have to wait for.
    pub(crate) fn waits(&self) -> bool {
        self.imports("http")
    }

    /// The bytes that keys and values may take; none without the capability.
    pub(crate) fn quota(&self) -> Option<u64> {
        let of = |grants: &[Grant]| {
            let quotas = grants.iter().filter_map(|grant| match grant {
                Grant::KeyValues { quota } => Some(quota.unwrap_or(DEFAULT_QUOTA)),
                Grant::Metrics | Grant::Http(_) => None,
            });
            quotas.max()
        };
        let wanted = of(&self.wanted).filter(|_| self.imports("kv"))?;
        Some(wanted.min(of(&self.account.settings().grants)?))
    }

    pub(crate) fn metrics(&self) -> bool {
        self.imports("metrics")
            && self.wanted.contains(&Grant::Metrics)
            && self.account.settings().grants.contains(&Grant::Metrics)
    }

    /// Whether a request may go to a URL, and then whether to a private address; or which rule is against it.
    pub(crate) fn http(&self, url: &Url) -> Result<bool, &'static str> {
        if !matches_any(&self.wanted, url) {
            return Err("the plugin's manifest does not ask for this server");
        }
        let settings = self.account.settings();
        if !matches_any(&settings.grants, url) {
            return Err("the user's settings do not grant this server");
        }
        Ok(settings.grants.iter().any(|grant| matches!(grant, Grant::Http(rule) if rule.private && rule.allows(url))))
    }

    /// How the component stands with each capability that anybody has named.
    pub(crate) fn access(&self) -> Vec<Access> {
        let settings = self.account.settings();
        let mut all: Vec<Access> = INTERFACES
            .into_iter()
            .map(|interface| self.access_to(interface, &settings.grants))
            .filter(|it| it.imported || !it.wanted.is_empty() || !it.unused.is_empty())
            .collect();
        if !self.unknown.is_empty() {
            all.push(Access {
                interface: "unknown",
                imported: false,
                wanted: self.unknown.clone(),
                granted: Vec::new(),
                unused: Vec::new(),
            });
        }
        all
    }

    fn access_to(&self, interface: &'static str, grants: &[Grant]) -> Access {
        let imported = self.imports(interface);
        let wanted: Vec<&Grant> = self.wanted.iter().filter(|it| it.interface() == interface).collect();
        let (mut granted, mut unused) = (Vec::new(), Vec::new());
        for grant in grants.iter().filter(|it| it.interface() == interface) {
            let used = imported && wanted.iter().any(|wanted| meet(wanted, grant));
            if used { &mut granted } else { &mut unused }.push(grant.to_string());
        }
        Access { interface, imported, wanted: wanted.into_iter().map(Grant::to_string).collect(), granted, unused }
    }
}

fn matches_any(grants: &[Grant], url: &Url) -> bool {
    grants.iter().any(|grant| matches!(grant, Grant::Http(rule) if rule.allows(url)))
}

/// Whether two grants of an interface have anything in common.
fn meet(wanted: &Grant, granted: &Grant) -> bool {
    match (wanted, granted) {
        (Grant::Http(wanted), Grant::Http(granted)) => wanted.meets(granted),
        _ => wanted.interface() == granted.interface(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::capability::account::Accounts;
    use crate::config::PluginSettings;

    fn pass(imports: &[&str], wanted: &[&str], grants: &[&str]) -> Pass {
        let accounts = Accounts::new(&std::collections::BTreeMap::new());
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        accounts.set("p", PluginSettings { grants, ..PluginSettings::default() });
        let imports: Vec<String> = imports.iter().map(|name| format!("proxywhirl:plugin/{name}@0.1.0")).collect();
        let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
        Pass::new(&imports, &wanted, accounts.of("p"))
    }

    #[test]
    fn a_capability_needs_three_agreements() {
        for (imports, wanted, grants, has) in [
            (&["kv", "metrics"][..], &["kv", "metrics"][..], &["kv", "metrics"][..], true),
            (&[], &["kv", "metrics"], &["kv", "metrics"], false),
            (&["kv", "metrics"], &[], &["kv", "metrics"], false),
            (&["kv", "metrics"], &["kv", "metrics"], &[], false),
        ] {
            let pass = pass(imports, wanted, grants);
            assert_eq!((pass.quota().is_some(), pass.metrics()), (has, has), "{imports:?} {wanted:?} {grants:?}");
        }
    }

    #[test]
    fn the_quota_is_the_smaller_of_what_is_wanted_and_granted() {
        for (wanted, granted, quota) in [
            ("kv", "kv", DEFAULT_QUOTA),
            ("kv:5000000", "kv", DEFAULT_QUOTA),
            ("kv", "kv:5000000", DEFAULT_QUOTA),
            ("kv:5000000", "kv:6000000", 5_000_000),
            ("kv:100", "kv:6000000", 100),
        ] {
            assert_eq!(pass(&["kv"], &[wanted], &[granted]).quota(), Some(quota), "{wanted} {granted}");
        }
    }

    #[test]
    fn a_server_must_be_wanted_and_granted_and_only_the_user_makes_it_private() {
        let url = Url::parse("https://hooks.example/a").unwrap();
        let of = |wanted: &str, granted: &str| pass(&["http"], &[wanted], &[granted]).http(&url);
        assert_eq!(of("http:*", "http:https://hooks.example"), Ok(false));
        assert_eq!(of("http:https://hooks.example", "http:https://hooks.example+private"), Ok(true));
        assert_eq!(of("http:https://hooks.example+private", "http:https://hooks.example"), Ok(false));
        assert!(of("http:https://other.example", "http:https://hooks.example").unwrap_err().contains("manifest"));
        assert!(of("http:*", "http:https://other.example").unwrap_err().contains("settings"));
    }

    #[test]
    fn a_grant_that_is_taken_away_is_gone_at_once() {
        let accounts = Accounts::new(&std::collections::BTreeMap::new());
        let settings = PluginSettings { grants: vec![Grant::Metrics], ..PluginSettings::default() };
        assert!(accounts.set("p", settings.clone()) && !accounts.set("p", settings));
        let pass =
            Pass::new(&["proxywhirl:plugin/metrics@0.1.0".to_owned()], &["metrics".to_owned()], accounts.of("p"));
        assert!(pass.metrics());
        accounts.set("p", PluginSettings::default());
        assert!(!pass.metrics());
    }

    #[test]
    fn what_is_told_of_a_capability_says_who_does_not_agree() {
        let access = pass(
            &["kv", "http", "metrics"],
            &["http:https://a.example", "kv", "telepathy"],
            &["http:https://*.example", "http:https://b.test", "metrics"],
        )
        .access();
        let told: Vec<_> = access.iter().map(|it| (it.interface, it.standing().as_str())).collect();
        assert_eq!(
            told,
            [("kv", "not granted"), ("metrics", "not asked for"), ("http", "granted"), ("unknown", "not imported")]
        );
        assert_eq!(access[2].granted, ["http:https://*.example"]);
        assert_eq!(access[2].unused, ["http:https://b.test"]);
        assert_eq!(access[3].wanted, ["telepathy"]);
        assert!(pass(&[], &[], &[]).access().is_empty());
    }
}
