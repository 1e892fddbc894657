//! Where the browser is.

use std::path::{Path, PathBuf};

use proxywhirl_engine::source::render::RenderError;

/// What installs it on Debian and its kin.
pub const INSTALL: &str = "apt-get install chromium";

/// Under which names it goes.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome-headless-shell"];

/// The program that was named, or the first in `PATH`.
pub(crate) fn executable(named: Option<&Path>) -> Result<PathBuf, RenderError> {
    let missing = |reason: String| RenderError { reason, hint: Some(INSTALL) };
    if let Some(named) = named {
        return if named.is_file() {
            Ok(named.to_owned())
        } else {
            Err(missing(format!("there is no browser at {}", named.display())))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    places
        .into_iter()
        .find(|place| place.is_file())
        .ok_or_else(|| missing("the page has to be rendered, and there is no Chromium here".to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_is_missing_is_told_with_what_installs_it() {
        let error = executable(Some(Path::new("/nowhere/chromium"))).unwrap_err().to_string();
        assert_eq!(error, "there is no browser at /nowhere/chromium (hint: run `apt-get install chromium`)");
    }
}
