//! The environment: `PROXYWHIRL_*` variables, and those of a file `.env` in the working directory.
//!
//! What the process was started with goes before what `.env` says, as everywhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::ConfigError;
use super::said::{Origin, Spot};

/// The file that is read beside the environment, in the working directory.
pub const DOT_ENV: &str = ".env";

/// The largest `.env` that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// What all of our variables begin with.
pub const PREFIX: &str = "PROXYWHIRL_";

/// Where a variable is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the environment of the process.
    Process,
    /// In this file.
    DotEnv(PathBuf),
}

/// Variables by their names.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, (String, Place)>,
}

impl Environment {
    /// The environment of this process, and `.env` in the working directory.
    ///
    /// # Errors
    /// When there is an `.env` that cannot be read, or has a line that is no assignment.
    pub fn read() -> Result<Self, ConfigError> {
        let process =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::of(process, Path::new(DOT_ENV))
    }

    /// These variables, and those of a file that need not exist.
    ///
    /// # Errors
    /// As [`Environment::read`].
    pub fn of(process: impl Iterator<Item = (String, String)>, dot_env: &Path) -> Result<Self, ConfigError> {
        let mut variables = BTreeMap::new();
        let error = |reason: String| ConfigError::in_file(dot_env, reason);
        match std::fs::metadata(dot_env) {
            Ok(there) if !there.is_file() => return Err(error("is no file".to_owned())),
            Ok(there) if there.len() > MAX_BYTES => {
                return Err(error(format!("{} bytes, but it has at most {MAX_BYTES}", there.len())));
            }
            Ok(_) => {
                let text =
                    std::fs::read_to_string(dot_env).map_err(|cause| error(format!("cannot be read: {cause}")))?;
                // Some editors begin a text with a mark of its order of bytes.
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                for line in dotenvy::from_read_iter(text.as_bytes()) {
                    let (name, value) = line.map_err(|cause| explain(&cause, text, dot_env))?;
                    variables.insert(name, (value, Place::DotEnv(dot_env.to_owned())));
                }
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(error(format!("cannot be read: {cause}"))),
        }
        variables.extend(process.map(|(name, value)| (name, (value, Place::Process))));
        Ok(Self { variables })
    }

    /// A variable's value, wherever it is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|(value, _)| value.as_str())
    }

    /// Our own variables: name, value, and where they are.
    pub fn ours(&self) -> impl Iterator<Item = (&str, &str, &Place)> {
        let ours = self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX));
        ours.map(|(name, (value, place))| (name.as_str(), value.as_str(), place))
    }
}

/// What is wrong with a line. Not the line: it may hold a secret.
fn explain(error: &dotenvy::Error, text: &str, file: &Path) -> ConfigError {
    let dotenvy::Error::LineParse(wrong, _) = error else {
        return ConfigError::in_file(file, format!("cannot be read: {error}"));
    };
    // Of a quote that does not end, all lines to the end are the one that is wrong.
    let first = wrong.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = text.lines().position(|line| !first.is_empty() && line.contains(first)).map_or(0, |index| index + 1);
    let origin = Origin::File(file.into(), Spot { line, column: 1 });
    let hint = "a value with spaces, quotes or # in it has single quotes around it".to_owned();
    ConfigError { hint: Some(hint), ..ConfigError::at(&origin, "this line is no NAME=VALUE".to_owned()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_has_its_line_and_shows_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DOT_ENV);
        for (text, line) in
            [("A=1\nB=\"x y\"\nC=un\"hunter2\nD=3\n", 3), ("A=1\n\nhunter2 hunter2\n", 3), ("A='hunter2\n", 1)]
        {
            std::fs::write(&file, text).unwrap();
            let error = Environment::of(std::iter::empty(), &file).unwrap_err();
            assert!(error.place.ends_with(&format!(".env:{line}:1")), "{text}: {}", error.place);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
