//! What one plugin, by its name, was granted and has used: over all its versions and instances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::capability::bucket::Bucket;
use crate::capability::metrics::Series;
use crate::config::PluginSettings;

/// Requests that a plugin may send at once.
const HTTP_BURST: f64 = 20.0;
/// Requests that it may send a second, on average.
const HTTP_RATE: f64 = 10.0;

/// One plugin's account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: Box<str>,
    /// Replaced as a whole by whoever changes the configuration; read at each use of a capability.
    settings: RwLock<Arc<PluginSettings>>,
    /// The metrics that it has. Held while one is recorded.
    pub(crate) series: Mutex<Series>,
    /// Its requests to web servers. Held for a few instructions.
    pub(crate) requests: Mutex<Bucket>,
    /// The capabilities of which was told already that it lacks them. Held for a few instructions.
    told: Mutex<BTreeSet<&'static str>>,
}

impl Account {
    fn new(name: &str, settings: PluginSettings) -> Self {
        Self {
            name: name.into(),
            settings: RwLock::new(Arc::new(settings)),
            series: Mutex::default(),
            requests: Mutex::new(Bucket::new(HTTP_BURST, HTTP_RATE)),
            told: Mutex::default(),
        }
    }

    pub(crate) fn settings(&self) -> Arc<PluginSettings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells once that the plugin used a capability that it was not granted.
    pub(crate) fn tell_denied(&self, interface: &'static str) {
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(interface) {
            tracing::warn!(target: "plugin", { plugin.name = &*self.name, capability = interface }, "used a capability that it was not granted");
        }
    }
}

/// The accounts of all plugins, by name, whether there are plugins of that name or not.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// Held for one look-up by whoever loads a plugin or changes its settings.
    by_name: Mutex<BTreeMap<Box<str>, Arc<Account>>>,
}

impl Accounts {
    pub(crate) fn new(settings: &BTreeMap<String, PluginSettings>) -> Self {
        let accounts = settings
            .iter()
            .map(|(name, settings)| (Box::from(name.as_str()), Arc::new(Account::new(name, settings.clone()))));
        Self { by_name: Mutex::new(accounts.collect()) }
    }

    /// The account of a name, which is opened if there is none.
    pub(crate) fn of(&self, name: &str) -> Arc<Account> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let account =
            by_name.entry(name.into()).or_insert_with(|| Arc::new(Account::new(name, PluginSettings::default())));
        Arc::clone(account)
    }

    /// Changes the settings of a name; whether they were others before.
    pub(crate) fn set(&self, name: &str, settings: PluginSettings) -> bool {
        let account = self.of(name);
        let mut current = account.settings.write().unwrap_or_else(PoisonError::into_inner);
        if **current == settings {
            return false;
        }
        *current = Arc::new(settings);
        drop(current);
        account.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
        true
    }
}
