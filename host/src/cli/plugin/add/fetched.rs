//! Where components come from that are to be added: a file, a folder, the web.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exit::{Exit, Failure};

/// The largest component; a Python one takes 20 MiB.
const MAX: u64 = 256 * 1024 * 1024;

/// For a download.
const DEADLINE: Duration = Duration::from_secs(120);

/// A component that is to be added.
pub(super) struct Component {
    /// What people call it: the file or the URL.
    pub(super) place: String,
    /// The file's name without its extension.
    pub(super) stem: String,
    pub(super) bytes: Vec<u8>,
}

/// The components at a place.
pub(super) async fn components(from: &str) -> Result<Vec<Component>, Failure> {
    if from.starts_with("http://") || from.starts_with("https://") {
        return Ok(vec![download(from).await?]);
    }
    files(Path::new(from))?.iter().map(|file| read(file)).collect()
}

/// A file, or those in a folder: of its `dist`, if it has one.
fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Input, format!("{}: {error}", path.display()));
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let dist = path.join("dist");
    let folder = if dist.is_dir() { dist } else { path.to_owned() };
    let entries = fs::read_dir(&folder).map_err(failed)?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|it| it == "wasm")).collect();
    files.sort();
    if files.is_empty() {
        return Err(Failure::new(Exit::Input, format!("no component (*.wasm) in {}", folder.display()))
            .hint("build it first: `proxywhirl plugin build`"));
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Component, Failure> {
    let mut bytes = Vec::new();
    let read = fs::File::open(file).and_then(|open| open.take(MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| Failure::new(Exit::Input, format!("{}: {error}", file.display())))?;
    let place = file.display().to_string();
    if bytes.len() as u64 > MAX {
        return Err(too_large(&place));
    }
    Ok(Component { place, stem: stem(&file.file_stem().unwrap_or_default().to_string_lossy()), bytes })
}

async fn download(url: &str) -> Result<Component, Failure> {
    let place = without_login(url);
    let failed = |error: reqwest::Error| {
        let failure = Failure::new(Exit::Input, error.without_url());
        Failure { message: format!("{place}: {}", failure.message), ..failure }
    };
    // The TLS of the gateway itself: this one has the same roots, and needs no other provider.
    let tls = proxywhirl_net::tls::client_config(&proxywhirl_net::TlsConfig { verify: true, extra_ca_pem: None })
        .map_err(|error| Failure::new(Exit::Environment, error))?;
    let client = reqwest::Client::builder().tls_backend_preconfigured((*tls).clone()).timeout(DEADLINE);
    let client = client.build().map_err(failed)?;
    let mut response = client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > MAX {
            return Err(too_large(&place));
        }
    }
    let name = url.split(['?', '#']).next().unwrap_or(url).rsplit('/').next().unwrap_or_default();
    let stem = stem(name.strip_suffix(".wasm").unwrap_or(name));
    Ok(Component { place, stem, bytes })
}

/// A URL as it may be shown: a download may want a login, and a token in its query.
fn without_login(url: &str) -> String {
    let Ok(mut url) = url::Url::parse(url) else { return "what was to be downloaded".to_owned() };
    let has_query = url.query().is_some();
    url.set_query(has_query.then_some("***"));
    if url.password().is_some() {
        // A URL of HTTP has a host, and so may have a password.
        url.set_password(Some("***")).unwrap_or_default();
    }
    url.into()
}

/// A name for a file, whatever the web says.
fn stem(name: &str) -> String {
    let stem: String =
        name.chars().filter(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_')).take(64).collect();
    if stem.is_empty() { "plugin".to_owned() } else { stem }
}

fn too_large(place: &str) -> Failure {
    Failure::new(Exit::Input, format!("{place}: larger than {MAX} bytes"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_sources_has_its_components_in_dist() {
        let folder = tempfile::tempdir().unwrap();
        assert!(files(folder.path()).unwrap_err().hint.unwrap().contains("plugin build"));
        fs::write(folder.path().join("a.wasm"), "1").unwrap();
        assert_eq!(files(folder.path()).unwrap(), [folder.path().join("a.wasm")]);
        fs::create_dir(folder.path().join("dist")).unwrap();
        fs::write(folder.path().join("dist/b.wasm"), "2").unwrap();
        assert_eq!(files(folder.path()).unwrap(), [folder.path().join("dist/b.wasm")]);
        assert_eq!(files(&folder.path().join("a.wasm")).unwrap(), [folder.path().join("a.wasm")]);
        assert!(files(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn no_password_is_shown_of_a_url() {
        let shown = without_login("http://me:hunter2@h.example:1/x.wasm?token=hunter2");
        assert_eq!(shown, "http://me:***@h.example:1/x.wasm?***");
        assert!(!without_login("http://u:hunter2@").contains("hunter2"));
        assert_eq!(without_login("https://h.example/x.wasm"), "https://h.example/x.wasm");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        for (name, expected) in
            [("../../etc/passwd", "etcpasswd"), ("", "plugin"), ("a b.c", "abc"), ("web-hook_2", "web-hook_2")]
        {
            assert_eq!(stem(name), expected);
        }
    }
}
