//! What was fetched before, on disk: so that an unchanged list costs its server one short answer.
//!
//! Invariants: an entry is whole or not there (written beside its place, then renamed; its digest is
//! checked when it is read, and a damaged one is removed); its name is a digest of what it stands for,
//! so neither a URL's nor a field's secret is in it; only the user can read it, for a paid list holds
//! passwords; the directory is bounded, and what was not used for longest goes first. Nothing here is an
//! error for anybody: without a cache everything is fetched.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proxywhirl_core::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

/// All entries together: four of the largest documents.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Entries: a few for each source of the catalogue and of the user.
const MAX_ENTRIES: usize = 1024;
/// A head of an entry: validators, a media type, a digest.
const MAX_HEAD: usize = 16 * 1024;
/// A writer that has not finished for so long has died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory of entries.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

/// What a list was, the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    pub(crate) etag: Option<String>,
    pub(crate) modified: Option<String>,
    pub(crate) content_type: String,
    /// On disk as it came: a file in gzip is not expanded.
    pub(crate) body: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// Of the file's form: another one is not read.
    version: u32,
    etag: Option<String>,
    modified: Option<String>,
    content_type: String,
    digest: String,
}

const VERSION: u32 = 1;

impl Cache {
    /// A cache in a directory, which is made when something is kept.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What is kept under a name, if it is whole and not larger than `cap`. Blocks.
    pub(crate) fn load(&self, name: &str, cap: u64) -> Option<Kept> {
        let path = self.directory.join(name);
        let file = File::open(&path).ok()?;
        let mut bytes = Vec::new();
        file.take(cap.saturating_add(MAX_HEAD as u64)).read_to_end(&mut bytes).ok()?;
        let kept = decode(bytes);
        if kept.is_none() {
            tracing::debug!(file = %path.display(), "a cache entry is damaged or too large, and is removed");
            drop(fs::remove_file(&path));
        }
        kept.filter(|kept| kept.body.len() as u64 <= cap)
    }

    /// Keeps something under a name. Blocks.
    pub(crate) fn store(&self, name: &str, kept: &Kept) {
        if let Err(error) = self.write(name, kept) {
            tracing::debug!(directory = %self.directory.display(), error = %error, "nothing kept in the cache");
        }
    }

    /// Says that an entry was used. Blocks.
    pub(crate) fn touch(&self, name: &str) {
        let file = File::options().append(true).open(self.directory.join(name));
        drop(file.and_then(|file| file.set_modified(SystemTime::now())));
    }

    fn write(&self, name: &str, kept: &Kept) -> io::Result<()> {
        let head = Head {
            version: VERSION,
            etag: kept.etag.clone(),
            modified: kept.modified.clone(),
            content_type: kept.content_type.clone(),
            digest: hex(&Sha256::digest(&kept.body)),
        };
        let head = serde_json::to_vec(&head)?;
        if head.len() >= MAX_HEAD || kept.body.len() as u64 > MAX_BYTES / 4 {
            return Err(io::Error::other("larger than an entry may be"));
        }
        make(&self.directory)?;
        // Its mode is 0600 from the beginning, and it goes when it is not renamed.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.directory)?;
        for part in [head.as_slice(), b"\n", &kept.body] {
            file.write_all(part)?;
        }
        file.persist(self.directory.join(name)).map_err(|error| error.error)?;
        self.prune()
    }

    /// Removes what is too much, the oldest first, and what writers that died have left.
    fn prune(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            // Another process may have removed it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let is_new = entry.file_name().to_string_lossy().starts_with(".new-");
            match is_new {
                true if used.elapsed().unwrap_or_default() > ABANDONED => drop(fs::remove_file(entry.path())),
                true => {}
                false => entries.push((used, metadata.len(), entry.path())),
            }
        }
        entries.sort_unstable();
        let mut bytes: u64 = entries.iter().map(|(_, size, _)| size).sum();
        let mut count = entries.len();
        for (_, size, path) in entries {
            if bytes <= MAX_BYTES && count <= MAX_ENTRIES {
                break;
            }
            drop(fs::remove_file(path));
            bytes -= size;
            count -= 1;
        }
        Ok(())
    }
}

/// The name of what is behind a URL for someone who sends these header fields.
pub(crate) fn name(kind: &str, url: &Url, headers: &[(String, Secret)]) -> String {
    let mut hash = Sha256::new();
    let fields = headers.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]);
    for part in std::iter::once(url.as_str()).chain(fields) {
        // With its length, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{kind}-{}", hex(&hash.finalize()))
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn decode(mut bytes: Vec<u8>) -> Option<Kept> {
    let end = bytes.iter().take(MAX_HEAD).position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(bytes.get(..end)?).ok()?;
    bytes.drain(..=end);
    let is_whole = head.version == VERSION && head.digest == hex(&Sha256::digest(&bytes));
    is_whole.then_some(Kept { etag: head.etag, modified: head.modified, content_type: head.content_type, body: bytes })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(body: &[u8]) -> Kept {
        Kept {
            etag: Some("\"a\"".to_owned()),
            content_type: "text/plain".to_owned(),
            body: body.to_vec(),
            modified: None,
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("lists"));
        (folder, cache)
    }

    #[test]
    fn what_is_kept_comes_back_and_only_the_user_can_read_it() {
        let (_folder, cache) = cache();
        assert_eq!(cache.load("a", 100), None);
        cache.store("a", &kept(b"1.1.1.1:80\n\n"));
        assert_eq!(cache.load("a", 100), Some(kept(b"1.1.1.1:80\n\n")));
        assert_eq!(cache.load("a", 5), None, "larger than is allowed now");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            cache.store("a", &kept(b"x"));
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&cache.directory), mode(&cache.directory.join("a"))), (0o700, 0o600));
        }
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn no_secret_is_in_a_name_and_every_part_counts() {
        let url: Url = "https://u:hunter2@lists.example/?key=abc".parse().unwrap();
        let field = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        let plain = name("page", &url, &[]);
        let with = name("page", &url, &[field("A", "bc")]);
        assert!(!plain.contains("hunter2") && plain.len() < 80);
        assert_ne!(plain, with);
        assert_ne!(with, name("page", &url, &[field("Ab", "c")]));
    }

    #[test]
    fn the_directory_stays_bounded() {
        let (_folder, cache) = cache();
        for n in 0..MAX_ENTRIES + 5 {
            if n < MAX_ENTRIES {
                make(&cache.directory).unwrap();
                fs::write(cache.directory.join(format!("old-{n}")), b"x").unwrap();
            } else {
                cache.store(&format!("new-{n}"), &kept(b"y"));
            }
        }
        assert_eq!(fs::read_dir(&cache.directory).unwrap().count(), MAX_ENTRIES);
        assert!(cache.load(&format!("new-{MAX_ENTRIES}"), 10).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_entry_is_as_if_it_were_not_there(place in 0usize..200, byte: u8, cut in 0usize..200) {
            let (_folder, cache) = cache();
            let original = kept(b"1.1.1.1:80\n2.2.2.2:8080\n3.3.3.3:3128\n");
            cache.store("a", &original);
            let path = cache.directory.join("a");
            let mut bytes = fs::read(&path).unwrap();
            let place = place % bytes.len();
            bytes[place] = byte;
            bytes.truncate(bytes.len() - cut.min(bytes.len()).saturating_sub(100));
            fs::write(&path, &bytes).unwrap();
            // A changed validator is no damage that could be seen: the server's answer shows it.
            if let Some(read) = cache.load("a", 1000) {
                prop_assert_eq!(read.body, original.body);
            }
        }
    }
}
