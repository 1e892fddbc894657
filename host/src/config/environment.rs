//! The environment: `PROXYWHIRL_*` variables, and those of a file `.env` in the working directory.
//!
//! What the process was started with goes before what `.env` says, as everywhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::ConfigError;

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
        Self::of(process, Path::new(".env"))
    }

    /// These variables, and those of a file that need not exist.
    ///
    /// # Errors
    /// As [`Environment::read`].
    pub fn of(process: impl Iterator<Item = (String, String)>, dot_env: &Path) -> Result<Self, ConfigError> {
        let mut variables = BTreeMap::new();
        let error = |reason: String| ConfigError { file: dot_env.to_owned(), reason, hint: None };
        match std::fs::metadata(dot_env) {
            Ok(there) if there.len() > MAX_BYTES => {
                return Err(error(format!("{} bytes, but it has at most {MAX_BYTES}", there.len())));
            }
            Ok(_) => {
                let lines =
                    dotenvy::from_path_iter(dot_env).map_err(|cause| error(format!("cannot be read: {cause}")))?;
                for line in lines {
                    let (name, value) = line.map_err(|cause| error(explain(&cause)))?;
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
fn explain(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(line, position) => {
            format!("a line is no NAME=VALUE: {} bytes long, wrong at byte {position}", line.len())
        }
        dotenvy::Error::Io(cause) => format!("cannot be read: {cause}"),
        other => other.to_string(),
    }
}
