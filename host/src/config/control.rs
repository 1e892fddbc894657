//! `[control]`: where commands reach the running gateway.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// `[control]`, as it was written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlSection {
    /// The socket's path, or false for none.
    pub socket: Option<WrittenSocket>,
}

/// A path, or false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenSocket {
    /// `socket = "run/control.sock"`
    Path(PathBuf),
    /// `socket = false`, and `true` for the default.
    Switch(bool),
}

/// Where commands reach the running gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Socket {
    /// A socket of the user's own, in the runtime directory.
    #[default]
    Own,
    /// A socket of this path.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl ControlSection {
    /// What it means; a relative path is relative to `folder`.
    #[must_use]
    pub fn meaning(self, folder: &Path) -> Socket {
        match self.socket {
            None | Some(WrittenSocket::Switch(true)) => Socket::Own,
            Some(WrittenSocket::Switch(false)) => Socket::Off,
            Some(WrittenSocket::Path(path)) => Socket::At(folder.join(path)),
        }
    }
}

impl Socket {
    /// Its path, where one is named.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::At(path) => Some(path),
            Self::Own | Self::Off => None,
        }
    }
}

impl std::str::FromStr for Socket {
    type Err = std::convert::Infallible;

    /// As the command line has it: a path, or `off`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "off" { Self::Off } else { Self::At(text.into()) })
    }
}

impl JsonSchema for WrittenSocket {
    fn schema_name() -> Cow<'static, str> {
        "PathOrSwitch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "string"], "minLength": 1, "format": "path", "description": "a path, or false for none" })
    }
}

impl<'de> Deserialize<'de> for WrittenSocket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = WrittenSocket;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a socket, or false for none")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<WrittenSocket, E> {
                Ok(WrittenSocket::Switch(on))
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<WrittenSocket, E> {
                if path.is_empty() {
                    return Err(E::custom("the path of a socket is not empty; false is for none"));
                }
                Ok(WrittenSocket::Path(path.into()))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_users_own_another_or_none() {
        let of =
            |text: &str| toml::from_str::<ControlSection>(text).map(|written| written.meaning(Path::new("/run/pw")));
        assert_eq!(of("").unwrap(), Socket::Own);
        assert_eq!(of("socket = true").unwrap(), Socket::Own);
        assert_eq!(of("socket = false").unwrap(), Socket::Off);
        assert_eq!(of("socket = \"a.sock\"").unwrap(), Socket::At("/run/pw/a.sock".into()));
        assert!(of("socket = \"\"").unwrap_err().message().contains("not empty"));
        assert!(of("socket = 3").is_err());
    }
}
