//! Where the configuration comes from: a file, the environment, and what is built in; the later wins over the earlier,
//! and the command line over all.
//!
//! The file is the one that is named, or else the first that there is of `./proxywhirl.toml`, the user's
//! (`$XDG_CONFIG_HOME/proxywhirl/`, `~/.config/proxywhirl/`) and `/etc/proxywhirl/`. Then come `.env` in the working
//! directory and the environment, each `PROXYWHIRL_*` variable for a key of its own.

use std::path::{Path, PathBuf};

use toml::Value;

use super::environment::{Environment, Place};
use super::file::{ConfigError, ConfigFile};
use super::meaning;
use super::mistakes::{self, Mistake, dotted};
use super::nearest::nearest;
use super::said::{Held, Origin, Said, Step};
use super::schema::{Key, names};
use super::settings::Settings;
use super::{syntax, variables};

/// The names that a configuration file may have.
const NAMES: [&str; 4] = ["proxywhirl.toml", "proxywhirl.yaml", "proxywhirl.yml", "proxywhirl.json"];

/// The variable that names the file.
pub(super) const FILE: &str = "PROXYWHIRL_CONFIG";

/// The most mistakes that are told at once.
pub const MOST_MISTAKES: usize = 100;

/// Everything that was said, and where.
#[derive(Debug, Clone)]
pub struct Layers {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Whether the file says anything: a key, and not white space and comments alone.
    pub has_keys: bool,
    /// What was said.
    said: Said,
    /// Variables that look like ours and set nothing, and what was probably meant.
    pub strangers: Vec<(String, Option<String>)>,
    /// Variables that could not be read.
    unread: Vec<Mistake>,
}

impl Layers {
    /// Reads what there is: the file that is named, or else the first that is found, and the environment.
    ///
    /// # Errors
    /// When the named file is not there, or a file cannot be read. What is wrong in it tells [`Layers::mistakes`].
    pub fn read(named: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let mut layers = match Self::chosen(named, environment) {
            Some(file) => Self::of_text(&syntax::read(&file)?, &file)?,
            None => Self { file: None, ..Self::of_text("", Path::new(""))? },
        };
        let mut strangers = Vec::new();
        let mut ours: Vec<_> = environment.ours().collect();
        // What counts more comes last: the environment after `.env`, and a short name, as an option of the command line, after a key's.
        ours.sort_by_key(|(name, _, place)| (**place == Place::Process, variables::is_short(name)));
        for (name, value, place) in ours {
            if !layers.add(name, value, place) {
                strangers.push(name);
            }
        }
        // Now that it is known where users have their passwords.
        strangers.retain(|name| !layers.is_password(name));
        layers.strangers = strangers.into_iter().map(variables::with_nearest).collect();
        Ok(layers)
    }

    /// The file that is read: the one that is named, whether it is there or not, or else the first that is found.
    #[must_use]
    pub fn chosen(named: Option<&Path>, environment: &Environment) -> Option<PathBuf> {
        let named = named.map(Path::to_owned).or_else(|| environment.get(FILE).map(PathBuf::from));
        named.or_else(|| find(&folders(environment)))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is not written in the syntax that the file's name says.
    pub fn of_text(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut said = syntax::parse(text, file)?;
        // What the key was called when SQLite was all there was.
        said.rename("store", "path", "url");
        // How editors find the schema of a JSON file.
        if matches!(said.value().get("$schema"), Some(Value::String(_))) {
            said.take(&[Step::Key("$schema".to_owned())]);
        }
        let has_keys = matches!(&said.held, Held::Table(table) if !table.is_empty());
        Ok(Self { file: Some(file.to_owned()), has_keys, said, strangers: Vec::new(), unread: Vec::new() })
    }

    /// What was said of a key, and where.
    #[must_use]
    pub fn said(&self, key: &Key) -> Option<&Said> {
        self.said.key(&key.path)
    }

    /// Adds what a variable says; whether there is something that it can say.
    fn add(&mut self, name: &str, value: &str, place: &Place) -> bool {
        let origin = Origin::Variable(name.into(), place.clone());
        let Some(key) = variables::key(name) else {
            let Some(path) = variables::inner_table(name) else { return variables::is_other(name) };
            match variables::table_of(value) {
                Some(value) => self.said.put(path, Said::of(value, &origin)),
                None => {
                    let steps: Vec<Step> = path.iter().map(|name| Step::Key(name.clone())).collect();
                    self.unread.push(mistakes::of_variable(&steps, value, origin));
                }
            }
            return true;
        };
        match variables::value(key, value) {
            Some(value) => self.said.put(&key.path, Said::of(value, &origin)),
            None => self.unread.push(mistakes::of_variable(&key.steps(), value, origin)),
        }
        true
    }

    /// Whether a user of the file, or credentials of proxies, are in this variable.
    fn is_password(&self, name: &str) -> bool {
        let said = self.said.value();
        let rows = |section: &str| said.get(section).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_named = |row: &Value, key: &str| row.get(key).and_then(Value::as_str) == Some(name);
        let is_key = said.get("store").and_then(|store| store.get("key_env")).and_then(Value::as_str) == Some(name);
        let mut all = rows("users").iter().chain(rows("credentials"));
        is_key || all.any(|row| is_named(row, "password_env") || is_named(row, "username_env"))
    }

    /// What it all means.
    ///
    /// # Errors
    /// The first mistake, and how many more there are.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        self.meaning().map_err(|mistakes| self.first(&mistakes))
    }

    /// What it all means to who lets nobody in: without the users, whose passwords may be where the service alone finds them.
    ///
    /// # Errors
    /// As [`Layers::settings`].
    pub fn settings_without_users(&self) -> Result<Settings, ConfigError> {
        let mut layers = self.clone();
        layers.said.take(&[Step::Key("users".to_owned())]);
        layers.settings()
    }

    /// What it says of the gateway to who looks for it, whatever is wrong elsewhere: its control socket, and its store.
    ///
    /// # Errors
    /// As [`Layers::settings`], of these two tables.
    pub fn settings_of_place(&self) -> Result<Settings, ConfigError> {
        let is_of_place = |table: &str| matches!(table, "control" | "store");
        let mut layers = self.clone();
        if let Held::Table(tables) = &mut layers.said.held {
            tables.retain(|name, _| is_of_place(name));
        }
        layers.unread.retain(|mistake| match &mistake.origin {
            Some(Origin::Variable(variable, _)) => {
                let table = variables::key(variable).and_then(|key| key.path.first());
                table.is_some_and(|table| is_of_place(table))
            }
            Some(Origin::File(..)) | None => false,
        });
        layers.settings()
    }

    /// What is wrong, from the top of the file to its end, and then in variables.
    #[must_use]
    pub fn mistakes(&self) -> Vec<Mistake> {
        self.meaning().err().unwrap_or_default()
    }

    /// What is wrong with a value that a configuration may have, and that cannot be used: at the place that it names.
    #[must_use]
    pub fn refused(&self, reason: String) -> Mistake {
        let path = meaning::place_of(&reason, &self.said);
        let origin = self.said.at(&path).filter(|_| !path.is_empty()).map(|said| said.at.clone());
        Mistake { origin, reason, hint: None }
    }

    /// As it was written, ranges not looked at.
    ///
    /// # Errors
    /// The first unknown key, or value of a wrong type.
    pub fn written(&self) -> Result<ConfigFile, ConfigError> {
        self.shaped(&self.said).map_err(|(mistake, _)| self.first(&[mistake]))
    }

    fn shaped(&self, said: &Said) -> Result<ConfigFile, (Mistake, Vec<Step>)> {
        // Serde would take a list for a table, its elements for the keys in their order.
        if let Some(wrong) = mistakes::no_table(said) {
            return Err(wrong);
        }
        serde_path_to_error::deserialize(said.value())
            .map_err(|error| mistakes::of_shape(error.path(), error.inner().message(), said))
    }

    /// One mistake hides those behind it: so what is wrong is taken out, and the rest looked at again, until it is right.
    fn meaning(&self) -> Result<Settings, Vec<Mistake>> {
        let mut mistakes = self.unread.clone();
        let mut said = self.said.clone();
        let (mut stand_ins, mut taken) = (Vec::new(), Vec::new());
        let file = self.file.as_deref().unwrap_or(Path::new(""));
        let mut mended = Vec::new();
        while mistakes.len() < MOST_MISTAKES {
            let settings = self.shaped(&said).and_then(|written| {
                Settings::from_file(written, file).map_err(|error| {
                    let path = meaning::place_of(&error.reason, &said);
                    let path = self.of_one_name(&path, &error.reason, &said).unwrap_or(path);
                    let at = said.at(&path).filter(|_| !path.is_empty());
                    let origin = at.map(|said| said.at.clone());
                    let hint = origin.as_ref().and_then(|origin| mistakes::example(&path, origin));
                    (Mistake { origin, reason: error.reason, hint }, path)
                })
            });
            let (mistake, path) = match settings {
                Ok(settings) if mistakes.is_empty() => return Ok(settings),
                Ok(_) => break,
                Err(wrong) => wrong,
            };
            // What is wrong with a stand-in, nobody has said; and where one has not helped, it is another place that is meant.
            let place = (mistake.reason.clone(), path.clone());
            if is_stand_in(&path, &said) || mended.contains(&place) {
                let table = path.get(..path.len().saturating_sub(1)).unwrap_or_default();
                if !said.take(table) {
                    break;
                }
                mended.clear();
                taken.push(table.to_owned());
                continue;
            }
            let reason = mistake.reason.clone();
            if !follows(&reason, &path, &said) {
                mistakes.push(renumbered(renamed(mistake, &path, &stand_ins), &path, &taken));
            }
            let stand_in = mistakes::stand_in(&path);
            if let (Some(Value::String(new)), Some((_, table))) = (&stand_in, path.split_last()) {
                let old = said.at(&path).map(Said::value);
                let old = old.as_ref().and_then(Value::as_str).unwrap_or("?");
                stand_ins.push((table.to_owned(), format!("{new:?}"), format!("{old:?}")));
            }
            let stand_in = stand_in.map(|value| (path.clone(), value));
            let stand_in = stand_in.or_else(|| mistakes::lacking(&path, &reason));
            let replaced = stand_in.is_some_and(|(path, value)| said.stand_in(&path, value));
            if !replaced && !said.take(&path) {
                break;
            }
            if replaced {
                mended.push(place);
            } else {
                mended.clear();
                taken.push(path);
            }
        }
        mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
        Err(mistakes)
    }

    /// Where it was said, when several tables of a list have the name that a mistake is told by: in the first of them that has it
    /// without the others.
    fn of_one_name(&self, path: &[Step], reason: &str, said: &Said) -> Option<Vec<Step>> {
        let (list, own) = meaning::of_one_name(path, said)?;
        let element = |index: usize| [list, &[Step::Index(index)]].concat();
        own.iter().enumerate().find_map(|(before, index)| {
            let mut alone = said.clone();
            for other in own.iter().rev().filter(|other| *other != index) {
                alone.take(&element(*other));
            }
            let written = self.shaped(&alone).ok()?;
            let error = Settings::from_file(written, self.file.as_deref().unwrap_or(Path::new(""))).err()?;
            let found = meaning::place_of(&error.reason, &alone);
            let inside = found.strip_prefix(&*element(index - before)).filter(|_| error.reason == reason)?;
            Some([&element(*index), inside].concat())
        })
    }

    fn first(&self, mistakes: &[Mistake]) -> ConfigError {
        let error = mistakes.first().map(|first| first.error(self.file.as_deref().unwrap_or(Path::new(""))));
        let error = error.unwrap_or_else(|| ConfigError { place: String::new(), reason: String::new(), hint: None });
        match mistakes.len().saturating_sub(1) {
            0 => error,
            more => {
                let more = format!("`proxywhirl config check` tells all {} mistakes", more + 1);
                let hint = error.hint.map_or_else(|| more.clone(), |hint| format!("{hint}\n{more}"));
                ConfigError { hint: Some(hint), ..error }
            }
        }
    }
}

/// Calls things as they were written, not as what stands in for it: a table, the text there, and the one that was written.
fn renamed(mistake: Mistake, path: &[Step], stand_ins: &[(Vec<Step>, String, String)]) -> Mistake {
    let inside = stand_ins.iter().filter(|(table, ..)| path.starts_with(table));
    let reason = inside.fold(mistake.reason, |reason, (_, new, old)| reason.replace(new, old));
    Mistake { reason, ..mistake }
}

/// With the numbers that elements of lists had before others were taken out of these.
fn renumbered(mistake: Mistake, path: &[Step], taken: &[Vec<Step>]) -> Mistake {
    let mut before = path.to_vec();
    for gone in taken.iter().rev() {
        let Some((Step::Index(gone), list)) = gone.split_last() else { continue };
        if before.starts_with(list)
            && let Some(Step::Index(index)) = before.get_mut(list.len())
            && *index >= *gone
        {
            *index += 1;
        }
    }
    let ends = path.iter().zip(&before).rposition(|(now, before)| now != before);
    let element = |path: &[Step]| ends.and_then(|end| path.get(..=end)).map(dotted).unwrap_or_default();
    let (now, before) = (element(path), element(&before));
    if now.is_empty() {
        return mistake;
    }
    Mistake { reason: mistake.reason.replacen(&now, &before, 1), ..mistake }
}

/// Whether this is wrong only because something else was, and has been taken out: it says the name of that, or one that was
/// meant by it.
fn follows(reason: &str, path: &[Step], said: &Said) -> bool {
    let Some((last, parent)) = path.split_last().filter(|(_, parent)| !parent.is_empty()) else { return false };
    let gaps = |path: &[Step]| said.at(path).map(|said| said.gaps.as_slice()).unwrap_or_default();
    let is_itself = |word: &str| said.at(path).is_some() && *last == Step::Key(word.to_owned());
    let words = || {
        let words = reason.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.filter(|word| !word.is_empty() && !is_itself(word))
    };
    // What was put in place of something wrong is not lacking, and of a table with free keys nobody knows what is.
    let lacks = |table: &[Step], gap: &str| {
        let known = names(table);
        let meant = nearest(gap, known.iter().map(String::as_str));
        let is_there = said.at(table).is_some_and(|table| table.step(&Step::Key(gap.to_owned())).is_some());
        meant.filter(|_| !is_there).is_some_and(|meant| words().any(|word| word == meant))
    };
    let is_told = |table: &[Step]| gaps(table).iter().any(|gap| lacks(table, gap));
    is_told(path) || is_told(parent)
}

/// Whether this was put in place of something wrong.
fn is_stand_in(path: &[Step], said: &Said) -> bool {
    let Some((Step::Key(name), parent)) = path.split_last() else { return false };
    said.at(path).is_some() && said.at(parent).is_some_and(|table| table.gaps.contains(name))
}

/// The folders in which a configuration file may be, the first first.
#[must_use]
pub fn folders(environment: &Environment) -> Vec<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let folders = [Some(PathBuf::new()), own.map(|own| own.join("proxywhirl")), Some("/etc/proxywhirl".into())];
    folders.into_iter().flatten().collect()
}

fn find(folders: &[PathBuf]) -> Option<PathBuf> {
    let mut places = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    places.find(|place| place.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
