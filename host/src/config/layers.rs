//! Where the configuration comes from: a file, the environment, and what is built in; the later wins over the earlier,
//! and the command line over all.
//!
//! The file is the one that is named, or else the first that there is of `./proxywhirl.toml`, the user's
//! (`$XDG_CONFIG_HOME/proxywhirl/`, `~/.config/proxywhirl/`) and `/etc/proxywhirl/`. Then come `.env` in the working
//! directory and the environment, each `PROXYWHIRL_*` variable for a key of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::{Table, Value};

use super::environment::{Environment, PREFIX, Place};
use super::file::{ConfigError, ConfigFile};
use super::nearest::nearest;
use super::schema::{Key, Kind, keys};
use super::settings::Settings;
use super::syntax;

/// The names that a configuration file may have.
const NAMES: [&str; 4] = ["proxywhirl.toml", "proxywhirl.yaml", "proxywhirl.yml", "proxywhirl.json"];

/// The variable that names the file.
const FILE: &str = "PROXYWHIRL_CONFIG";

/// Variables that are no keys: what else the command line reads.
const OTHERS: [&str; 3] = [FILE, "PROXYWHIRL_LOG", "PROXYWHIRL_LOG_FORMAT"];

/// Short names for keys, which stand for options of the command line.
const SHORT: [(&str, &str); 4] = [
    ("PROXYWHIRL_DB", "store.path"),
    ("PROXYWHIRL_PLUGINS", "plugins.directory"),
    ("PROXYWHIRL_STRATEGY", "strategy.name"),
    ("PROXYWHIRL_CONTROL", "control.socket"),
];

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file, in this line; 0 where lines are not known.
    File(PathBuf, usize),
    /// In a variable.
    Variable(String, Place),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, 0) => write!(f, "{}", file.display()),
            Self::File(file, line) => write!(f, "{}:{line}", file.display()),
            Self::Variable(name, Place::Process) => write!(f, "environment variable {name}"),
            Self::Variable(name, Place::DotEnv(file)) => write!(f, "variable {name} in {}", file.display()),
        }
    }
}

/// Everything that was said, and where.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// What was said.
    pub said: Table,
    /// Where each key was said, by its name with dots.
    pub origins: BTreeMap<String, Origin>,
    /// Variables that look like ours and set nothing, and what was probably meant.
    pub strangers: Vec<(String, Option<String>)>,
}

impl Layers {
    /// Reads what there is: the file that is named, or else the first that is found, and the environment.
    ///
    /// # Errors
    /// When the named file is not there, or anything in a file or a variable cannot be read or is wrong.
    pub fn read(named: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let named = named.map(Path::to_owned).or_else(|| environment.get(FILE).map(PathBuf::from));
        let file = named.or_else(|| find(&places(environment)));
        let mut layers = match file {
            Some(file) => Self::of_file(file)?,
            None => Self::default(),
        };
        for (name, value, place) in environment.ours() {
            layers.add(name, value, place)?;
        }
        Ok(layers)
    }

    fn of_file(file: PathBuf) -> Result<Self, ConfigError> {
        let text = syntax::read(&file)?;
        // For its errors, which name the line.
        ConfigFile::parse(&text, &file)?;
        let said = syntax::table(&text, &file)?;
        let lines = syntax::lines(&text, &file);
        let mut origins = BTreeMap::new();
        for key in keys() {
            if at(&said, &key.path).is_some() {
                let line = lines.get(&key.dotted()).copied().unwrap_or_default();
                origins.insert(key.dotted(), Origin::File(file.clone(), line));
            }
        }
        Ok(Self { file: Some(file), said, origins, strangers: Vec::new() })
    }

    /// Adds what a variable says.
    fn add(&mut self, name: &str, value: &str, place: &Place) -> Result<(), ConfigError> {
        let short = SHORT.iter().find(|(short, _)| *short == name).map(|(_, key)| *key);
        let is_it = |key: &&Key| short.map_or_else(|| key.variable() == name, |short| key.dotted() == short);
        let Some(key) = keys().iter().find(is_it) else {
            if !OTHERS.contains(&name) && !self.is_password(name) {
                let known: Vec<String> = keys().iter().map(Key::variable).collect();
                self.strangers
                    .push((name.to_owned(), nearest(name, known.iter().map(String::as_str)).map(str::to_owned)));
            }
            return Ok(());
        };
        let origin = Origin::Variable(name.to_owned(), place.clone());
        let wrong =
            |reason: String| ConfigError { file: PathBuf::new(), reason: format!("{origin}: {reason}"), hint: None };
        let value = read_value(key, value).map_err(wrong)?;
        // By itself, so that a mistake is the variable's.
        let mut alone = Table::new();
        put(&mut alone, &key.path, value.clone());
        ConfigFile::deserialize(alone).map_err(|error| wrong(error.message().to_owned()))?;
        put(&mut self.said, &key.path, value);
        self.origins.insert(key.dotted(), origin);
        Ok(())
    }

    /// Whether a user of the file has its password in this variable.
    fn is_password(&self, name: &str) -> bool {
        let users = self.said.get("users").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        users.iter().any(|user| user.get("password_env").and_then(Value::as_str) == Some(name))
    }

    /// What it all means.
    ///
    /// # Errors
    /// When a value is out of its range, with where it was said.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let file = self.file.clone().unwrap_or_default();
        let error = |reason: String| ConfigError { file: file.clone(), reason, hint: None };
        let written = ConfigFile::deserialize(self.said.clone()).map_err(|cause| error(cause.message().to_owned()))?;
        Settings::from_file(written, &file).map_err(|cause| self.locate(cause))
    }

    /// Adds to an error that begins with a key where that was said.
    fn locate(&self, error: ConfigError) -> ConfigError {
        let is_meant = |key: &&String| {
            error.reason.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with(':'))
        };
        match self.origins.keys().find(is_meant).and_then(|key| self.origins.get(key)) {
            Some(Origin::File(_, line @ 1..)) => {
                ConfigError { reason: format!("line {line}: {}", error.reason), ..error }
            }
            Some(origin @ Origin::Variable(..)) => {
                ConfigError { file: PathBuf::new(), reason: format!("{origin}: {}", error.reason), ..error }
            }
            Some(Origin::File(_, 0)) | None => error,
        }
    }
}

/// Where a configuration file may be, the first first.
#[must_use]
pub fn places(environment: &Environment) -> Vec<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let folders = [Some(PathBuf::new()), own.map(|own| own.join("proxywhirl")), Some("/etc/proxywhirl".into())];
    folders.into_iter().flatten().flat_map(|folder| NAMES.map(|name| folder.join(name))).collect()
}

fn find(places: &[PathBuf]) -> Option<PathBuf> {
    places.iter().find(|place| place.is_file()).cloned()
}

/// Reads the text of a variable as the value of a key.
fn read_value(key: &Key, text: &str) -> Result<Value, String> {
    let list = |text: &str| toml::from_str::<Table>(&format!("value = {text}")).ok()?.remove("value");
    let path = |text: &str| if key.is_path { here(text) } else { text.to_owned() };
    match key.kind {
        Kind::Text => Ok(Value::String(path(text))),
        Kind::TextOrSwitch => Ok(match text {
            "true" | "on" => Value::Boolean(true),
            "false" | "off" => Value::Boolean(false),
            text => Value::String(path(text)),
        }),
        Kind::Switch => match text {
            "true" | "on" | "yes" | "1" => Ok(Value::Boolean(true)),
            "false" | "off" | "no" | "0" => Ok(Value::Boolean(false)),
            _ => Err("it is true or false".to_owned()),
        },
        Kind::Number => list(text)
            .filter(|value| matches!(value, Value::Integer(_) | Value::Float(_)))
            .ok_or_else(|| "it is no number".to_owned()),
        Kind::Texts if !text.trim_start().starts_with('[') => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Ok(Value::Array(words.map(|word| Value::String(path(word))).collect()))
        }
        Kind::Texts | Kind::Other => {
            let json = || Value::try_from(serde_json::from_str::<serde_json::Value>(text).ok()?).ok();
            json().or_else(|| list(text)).ok_or_else(|| "it is neither JSON nor a value of TOML".to_owned())
        }
    }
}

/// A path in a variable is relative to the working directory, wherever the file is.
fn here(path: &str) -> String {
    let absolute = std::path::absolute(path).ok().and_then(|path| path.into_os_string().into_string().ok());
    absolute.unwrap_or_else(|| path.to_owned())
}

/// The value of a key.
#[must_use]
pub fn at<'t>(table: &'t Table, path: &[String]) -> Option<&'t Value> {
    let (name, tables) = path.split_last()?;
    let table = tables.iter().try_fold(table, |table, name| table.get(name)?.as_table())?;
    table.get(name)
}

fn put(table: &mut Table, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return;
    }
    if let Some(inner) = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())).as_table_mut() {
        put(inner, rest, value);
    }
}

/// Whether a variable is ours by its name.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Environment::of(owned, Path::new("/nowhere/.env")).unwrap()
    }

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let variables: BTreeSet<String> = keys().iter().map(Key::variable).collect();
        assert_eq!(variables.len(), keys().len());
        assert!(keys().len() > 80, "{}", keys().len());
        let taken = |name: &str| variables.contains(name);
        assert!(!OTHERS.iter().any(|name| taken(name)) && !SHORT.iter().any(|(name, _)| taken(name)));
        assert!(SHORT.iter().all(|(_, key)| keys().iter().any(|known| known.dotted() == *key)));
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxywhirl.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\n[gateway]\nattempts = 3\nconnect_timeout = \"2s\"\n").unwrap();
        let variables = [
            ("PROXYWHIRL_GATEWAY_ATTEMPTS", "7"),
            ("PROXYWHIRL_GATEWAY_RETRY_STATUS", "[502]"),
            ("PROXYWHIRL_CATALOGUE_ENABLE", "tag:github, geonode-http"),
            ("PROXYWHIRL_CONTROL", "off"),
            ("PROXYWHIRL_USERS", "[{\"name\": \"anna\", \"password_env\": \"PATH\"}]"),
            ("PROXYWHIRL_PLUGINS_WATCH", "no"),
        ];
        let layers = Layers::read(Some(&file), &environment(&variables)).unwrap();
        let settings = layers.settings().unwrap();
        assert_eq!(settings.gateway.attempts, 7);
        assert_eq!(settings.gateway.connect_timeout.as_secs(), 2);
        assert_eq!(settings.control, super::super::Socket::Off);
        assert_eq!((settings.access.users.len(), settings.plugins.watch), (1, false));
        let origin = |key: &str| layers.origins.get(key).unwrap().to_string();
        assert_eq!(origin("gateway.attempts"), "environment variable PROXYWHIRL_GATEWAY_ATTEMPTS");
        assert_eq!(origin("gateway.connect_timeout"), format!("{}:4", file.display()));
        assert_eq!(origin("listen"), format!("{}:1", file.display()));
    }

    #[test]
    fn a_mistake_is_told_where_it_was_made() {
        let error = |variables: &[(&str, &str)]| {
            let layers = Layers::read(None, &environment(variables));
            layers.and_then(|layers| layers.settings()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_ATTEMPTS", "many")]), @"");
        insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_ATTEMPTS", "0")]), @"");
        insta::assert_snapshot!(error(&[("PROXYWHIRL_GATEWAY_CONNECT_TIMEOUT", "soon")]), @"");
        insta::assert_snapshot!(error(&[("PROXYWHIRL_SOURCES", "own.txt")]), @"");
        let layers =
            Layers::read(None, &environment(&[("PROXYWHIRL_GATEWAY_ATTEMPS", "1"), ("PROXYWHIRL_LOG", "x")])).unwrap();
        assert_eq!(
            layers.strangers,
            [("PROXYWHIRL_GATEWAY_ATTEMPS".to_owned(), Some("PROXYWHIRL_GATEWAY_ATTEMPTS".to_owned()))]
        );
    }

    #[test]
    fn dot_env_goes_after_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".env");
        std::fs::write(&file, "# mine\nPROXYWHIRL_GATEWAY_ATTEMPTS=3\nexport PROXYWHIRL_LISTEN='127.0.0.1:9'\n")
            .unwrap();
        let process = [("PROXYWHIRL_GATEWAY_ATTEMPTS".to_owned(), "4".to_owned())];
        let layers = Layers::read(None, &Environment::of(process.into_iter(), &file).unwrap()).unwrap();
        let settings = layers.settings().unwrap();
        assert_eq!((settings.gateway.attempts, settings.listen.as_deref()), (4, Some("127.0.0.1:9")));
        std::fs::write(&file, "SECRET PASSWORD\n").unwrap();
        let error = Environment::of(std::iter::empty(), &file).unwrap_err().to_string();
        assert!(error.contains(".env") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn files_are_found_in_their_order() {
        let places = places(&environment(&[("HOME", "/home/anna")]));
        let shown: Vec<String> = places.iter().step_by(4).map(|place| place.display().to_string()).collect();
        assert_eq!(
            shown,
            ["proxywhirl.toml", "/home/anna/.config/proxywhirl/proxywhirl.toml", "/etc/proxywhirl/proxywhirl.toml"]
        );
    }

    #[test]
    fn the_three_syntaxes_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            Layers::read(Some(&file), &environment(&[])).and_then(|layers| layers.settings())
        };
        let toml = settings(
            "a.toml",
            "[gateway]\nattempts = 2\n[[sources]]\nname = \"own\"\nlocation = \"own.txt\"\ntrust = true\n",
        );
        let yaml = settings(
            "a.yaml",
            "gateway:\n  attempts: 2\nsources:\n  - name: own\n    location: own.txt\n    trust: true\n",
        );
        let json = settings(
            "a.json",
            "{\"gateway\": {\"attempts\": 2}, \"sources\": [{\"name\": \"own\", \"location\": \"own.txt\", \"trust\": true}]}",
        );
        let toml = toml.unwrap();
        assert_eq!(toml, yaml.unwrap());
        assert_eq!(toml, json.unwrap());
        let error = |name: &str, text: &str| {
            let error = settings(name, text).unwrap_err();
            format!("{} / {:?}", error.reason, error.hint)
        };
        insta::assert_snapshot!(error("b.yaml", "gateway:\n  attemps: 2\n"), @"");
        insta::assert_snapshot!(error("b.json", "{\"gateway\":\n {\"attemps\": 2}}"), @"");
        insta::assert_snapshot!(error("c.yaml", "gateway: [\n"), @"");
        insta::assert_snapshot!(error("c.json", "{"), @"");
    }
}
