//! Dead letters: batches that could not be delivered, in the host's store.
//!
//! A key is `dead/` and the batch's id, which begins with its time, so keys are in the order of time.
//! Bounded by number, and by what the user grants of the store: the oldest leave.

use proxywhirl_plugin_sdk::{kv, log};

const PREFIX: &str = "dead/";

/// What became of a letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Whether it is stored.
    pub(crate) stored: bool,
    /// How many others had to leave.
    pub(crate) dropped: u64,
}

/// Keeps a letter, `most` in all.
pub(crate) fn keep(id: &str, body: &str, most: usize) -> Kept {
    let mut kept = Kept::default();
    if most == 0 {
        return kept;
    }
    match try_keep(id, body, most, &mut kept.dropped) {
        Ok(()) => kept.stored = true,
        Err(error) => log::error(format_args!("dead letter {id} cannot be kept: {error}")),
    }
    kept
}

fn try_keep(id: &str, body: &str, most: usize, dropped: &mut u64) -> Result<(), kv::Error> {
    let mut keys = kv::keys(PREFIX, "")?.into_iter();
    while keys.len() >= most
        && let Some(oldest) = keys.next()
    {
        *dropped += u64::from(kv::delete(&oldest)?);
    }
    loop {
        match kv::set(&format!("{PREFIX}{id}"), body.as_bytes(), None) {
            Ok(_) => return Ok(()),
            Err(kv::Error::Quota) => {
                let oldest = keys.next().ok_or(kv::Error::Quota)?;
                *dropped += u64::from(kv::delete(&oldest)?);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The oldest letter: its id and its body, and how many there are, up to 1,000.
pub(crate) fn oldest() -> Result<Option<(String, String, usize)>, kv::Error> {
    let keys = kv::keys(PREFIX, "")?;
    let Some(key) = keys.first() else { return Ok(None) };
    let body = kv::get(key)?.map(|entry| entry.value).unwrap_or_default();
    let id = key.strip_prefix(PREFIX).unwrap_or(key).to_owned();
    Ok(Some((id, String::from_utf8_lossy(&body).into_owned(), keys.len())))
}

/// Forgets a letter.
pub(crate) fn forget(id: &str) {
    if let Err(error) = kv::delete(&format!("{PREFIX}{id}")) {
        log::warn(format_args!("dead letter {id} cannot be removed: {error}"));
    }
}

/// How many there are, up to 1,000.
pub(crate) fn count() -> usize {
    kv::keys(PREFIX, "").map(|keys| keys.len()).unwrap_or(0)
}
