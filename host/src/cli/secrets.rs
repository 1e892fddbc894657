//! `proxywhirl secrets`: the keys that passwords in a store are sealed with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use proxywhirl_core::Secret;
use proxywhirl_core::kv::KvError;
use proxywhirl_core::store::{Changes, StoredMember};
use proxywhirl_store::keyring::{self, KeyId};
use proxywhirl_store::{ClearText, Keyring, Opened, StoreUrl, StoredLogins, UnreadLogin};
use serde::Serialize;

use super::output::{count, print, tell, to_json};
use super::pool::{DbArgs, environment, existing, tell_unopened};
use crate::config::KeyPlace;
use crate::exit::{Exit, Failure};
use crate::secrets;

/// Members that are sealed anew at once.
const BATCH: usize = 10_000;

/// Arguments of `secrets`.
#[derive(Debug, Args)]
pub(super) struct SecretsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a file with a key that nobody else has
    Init(InitArgs),
    /// Put a new key before those in the file, and seal all passwords of the store with it; no gateway may be using it
    Rotate(RotateArgs),
    /// Say how the passwords in the store are kept
    Status(StatusArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The file, which must not be there; - writes the key to standard output
    #[arg(value_name = "FILE", default_value = "proxywhirl.key")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Take the keys before out of the file: backups that are sealed with them cannot be read then
    #[arg(long)]
    forget: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    db: DbArgs,
    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// How the passwords in a store are kept. The fields are part of the interface.
#[derive(Debug, Default, Serialize)]
struct Status {
    store: String,
    /// Passwords in clear text.
    clear: usize,
    /// Sealed ones, by their keys.
    sealed: BTreeMap<String, usize>,
    /// The key that seals; none when none is named.
    seals: Option<String>,
    /// Sealed with keys that are not there.
    unreadable: usize,
}

/// Carries out `secrets`.
pub(super) fn run(args: &SecretsArgs) -> Result<Exit, Failure> {
    match &args.command {
        Command::Init(args) => init(args),
        Command::Rotate(args) => rotate(args),
        Command::Status(args) => status(args),
    }
}

fn init(args: &InitArgs) -> Result<Exit, Failure> {
    if args.file == Path::new("-") {
        print(&secrets::generate()?)?;
        return Ok(Exit::Done);
    }
    secrets::init(&args.file)?;
    let file = args.file.display();
    tell(&format!("a key is in {file}: keep a copy, without it no sealed password can be read"));
    tell(&format!(
        "name it as [store] key_file = \"{file}\"; then `proxywhirl secrets rotate` seals what is in the store"
    ));
    Ok(Exit::Done)
}

fn rotate(args: &RotateArgs) -> Result<Exit, Failure> {
    let url = existing(args.db.url()?)?;
    let Some(place) = args.db.keys()? else {
        return Err(Failure::new(Exit::Usage, "which keys?")
            .hint("name them: --key-file FILE, or [store] key_file; `proxywhirl secrets init` makes a file"));
    };
    let KeyPlace::File(path) = &place else {
        return Err(Failure::new(Exit::Usage, format!("{} are whoever's who sets it", secrets::named(&place)))
            .hint("put a new line before the old one there, from `proxywhirl secrets init`; or use a key file"));
    };
    if args.forget {
        is_left(&url)?;
    }
    let _before = secrets::lock(path)?;
    let before = secrets::text(&place)?;
    // Those before have to be keys, and to open what is there, before there is another one.
    let known = secrets::keyring(Some(&place))?;
    if !args.forget && known.iter().flat_map(|keys| keys.ids()).count() >= Keyring::MOST {
        let said = format!("{} has {} keys, and there is room for no more", secrets::named(&place), Keyring::MOST);
        return Err(Failure::new(Exit::Environment, said).hint("--forget takes those before the new one out"));
    }
    let mut sealed = url.open_to_read().map_err(environment)?.sealed(known, &url, ClearText::Expected);
    let opened = sealed.store.load().map_err(environment)?;
    // Of some that cannot be opened the others are sealed anew; where none can, these are the wrong keys.
    if let Some(unopened) =
        sealed.store.unopened().filter(|_| opened.iter().all(|member| passwords(member).next().is_none()))
    {
        return Err(environment(unopened));
    }
    drop(sealed);
    // Opened before there is a new key. A gateway that uses a file keeps everybody else out.
    let opened = url.open().map_err(environment)?;
    let new = secrets::generate()?;
    secrets::replace(path, &format!("{}\n{}", *new, *before))?;
    // The file in its place is another one.
    let _after = secrets::lock(path)?;
    let Some(keys) = secrets::keyring(Some(&place))? else { return Ok(Exit::NoResult) };
    let (sealed, is_whole) = seal_all(opened, &url, &keys)?;
    if args.forget {
        // One that has begun meanwhile may have read the file before the new key was in it.
        is_left(&url)?;
        is_all_under(&url, &keys)?;
        secrets::replace(path, &format!("{}\n", *new))?;
    }
    let seals = keys.ids().next().map(|id| id.to_string()).unwrap_or_default();
    tell(&format!("{} sealed with the key {seals}", count(sealed, "password", "passwords")));
    Ok(if is_whole { Exit::Done } else { Exit::Environment })
}

/// Sees that nobody uses a store whose keys are to be forgotten: whoever has them in memory goes on sealing with them, and nobody could
/// open that again. Who shares a server is not known.
fn is_left(url: &StoreUrl) -> Result<(), Failure> {
    if !url.is_in_use() {
        return Ok(());
    }
    Err(Failure::new(Exit::Environment, format!("{url} is used by another process, so no key is forgotten")).hint(
        "stop the gateway that uses it, then rotate again; without --forget it may go on, and has the new key after its next start",
    ))
}

/// Sees that nobody has sealed with another key meanwhile.
fn is_all_under(url: &StoreUrl, keys: &Keyring) -> Result<(), Failure> {
    let stale = stale(url, keys)?;
    if stale == 0 {
        return Ok(());
    }
    let what = count(stale, "password is", "passwords are");
    Err(Failure::new(Exit::Environment, format!("{what} sealed with another key again, so no key was forgotten"))
        .hint("a gateway that read the old keys uses the store: start it again, or stop it, then rotate again"))
}

/// Seals all passwords of a store with the first of these keys; how many there are, and whether that is all: those that cannot be
/// opened stay as they are.
fn seal_all(opened: Opened, url: &StoreUrl, keys: &Arc<Keyring>) -> Result<(usize, bool), Failure> {
    let mut opened = opened.sealed(Some(Arc::clone(keys)), url, ClearText::Expected);
    let members = opened.store.load().map_err(environment)?;
    let is_whole = !tell_unopened(&*opened.store);
    let with: Vec<StoredMember> = members.into_iter().filter(|member| passwords(member).next().is_some()).collect();
    for batch in with.chunks(BATCH) {
        // Who is taken out meanwhile stays out, and a password that is changed meanwhile stays as it is.
        let changes = Changes { updates: batch.to_vec(), ..Changes::default() };
        opened.store.save(&changes).map_err(environment)?;
    }
    let logins = StoredLogins::new(Arc::clone(&opened.keys) as _, Some(Arc::clone(keys)));
    let (number, unread) = logins.seal().map_err(unkept)?;
    for UnreadLogin { name, reason } in &unread {
        tell(&format!("warning: the login {name} stays as it is: {reason}"));
    }
    // What stood there in clear text, or under an older key, is not to be found any more.
    opened.store.purge().map_err(environment)?;
    Ok((with.iter().flat_map(passwords).count() + number, is_whole && unread.is_empty()))
}

/// How many passwords of a store are not sealed with the first of these keys.
fn stale(url: &StoreUrl, keys: &Keyring) -> Result<usize, Failure> {
    let seals = keys.ids().next();
    Ok(sealed_with(url)?.iter().filter(|key| **key != seals).count())
}

/// The key that each password of a store is sealed with, of proxies and of logins; none for one in clear text.
fn sealed_with(url: &StoreUrl) -> Result<Vec<Option<KeyId>>, Failure> {
    let mut opened = url.open_to_read().map_err(environment)?;
    let members = opened.store.load().map_err(environment)?;
    let logins = StoredLogins::new(opened.keys, None).sealed_with().map_err(unkept)?;
    Ok(members.iter().flat_map(passwords).map(keyring::sealed_with).chain(logins).collect())
}

fn unkept(error: KvError) -> Failure {
    Failure::new(Exit::Environment, error)
}

fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    let url = existing(args.db.url()?)?;
    let keys = secrets::keyring(args.db.keys()?.as_ref())?;
    let known: Vec<String> = keys.iter().flat_map(|keys| keys.ids()).map(|id| id.to_string()).collect();
    let mut status = Status { store: url.to_string(), seals: known.first().cloned(), ..Status::default() };
    for key in sealed_with(&url)? {
        match key.map(|id| id.to_string()) {
            None => status.clear += 1,
            Some(key) => {
                status.unreadable += usize::from(!known.contains(&key));
                *status.sealed.entry(key).or_default() += 1;
            }
        }
    }
    print(&if args.json { to_json(&status)? } else { in_words(&status) })?;
    Ok(if status.clear + status.unreadable == 0 { Exit::Done } else { Exit::NoResult })
}

/// The passwords of a member, of each hop that has one.
fn passwords(member: &StoredMember) -> impl Iterator<Item = &Secret> {
    let hops = std::iter::successors(Some(&member.endpoint), |hop| hop.via.as_deref());
    hops.filter_map(|hop| hop.credentials.as_deref())
        .map(|login| &login.password)
        .filter(|password| !password.is_empty())
}

fn in_words(status: &Status) -> String {
    let mut lines = vec![format!("{}: {} in clear text", status.store, count(status.clear, "password", "passwords"))];
    for (key, number) in &status.sealed {
        let what = if status.seals.as_ref() == Some(key) { ", which seals" } else { "" };
        lines.push(format!("{} sealed with the key {key}{what}", count(*number, "password", "passwords")));
    }
    match &status.seals {
        None => lines.push("no key is named: [store] key_file, or --key-file".to_owned()),
        Some(key) if !status.sealed.contains_key(key) => {
            lines.push(format!("the key {key} seals, and has sealed nothing yet"))
        }
        Some(_) => {}
    }
    if status.unreadable > 0 {
        let number = count(status.unreadable, "password", "passwords");
        lines.push(format!("{number} cannot be read: their keys are not there"));
    }
    lines.join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_key_file_gets_no_key_more() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: RotateArgs,
        }
        let folder = tempfile::tempdir().unwrap();
        let [db, right, wrong] = ["pool.db", "right.key", "wrong.key"].map(|name| folder.path().join(name));
        let rotated = |key: &std::path::Path| {
            let said: [&std::ffi::OsStr; 5] =
                ["x".as_ref(), "--db".as_ref(), db.as_os_str(), "--key-file".as_ref(), key.as_os_str()];
            rotate(&<Cli as clap::Parser>::try_parse_from(said).unwrap().args)
        };
        let member = StoredMember {
            endpoint: "http://u:hunter2@1.2.3.4:80".parse().unwrap(),
            tags: std::iter::empty().collect(),
            country: None,
            anonymity: proxywhirl_core::Anonymity::Unknown,
            added: proxywhirl_core::Timestamp::default(),
            statistics: proxywhirl_core::live::Statistics::default(),
            health: proxywhirl_core::live::Health::Unknown,
        };
        let url: StoreUrl = db.to_str().unwrap().parse().unwrap();
        url.open().unwrap().store.save(&Changes { upserts: vec![member], ..Changes::default() }).unwrap();
        for path in [&right, &wrong] {
            secrets::init(path).unwrap();
        }
        assert_eq!(rotated(&right).unwrap(), Exit::Done);
        let before = std::fs::read(&wrong).unwrap();
        assert_eq!(rotated(&wrong).unwrap_err().exit, Exit::Environment);
        assert!(before == std::fs::read(&wrong).unwrap(), "the file is as it was");
        assert_eq!(rotated(&right).unwrap(), Exit::Done);
    }

    #[test]
    fn a_file_that_is_full_of_keys_can_be_rotated_by_forgetting() {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            args: RotateArgs,
        }
        let folder = tempfile::tempdir().unwrap();
        let [db, key] = ["pool.db", "store.key"].map(|name| folder.path().join(name).display().to_string());
        db.parse::<StoreUrl>().unwrap().open().unwrap();
        let lines: Vec<_> = (0..Keyring::MOST).map(|_| secrets::generate().unwrap().to_string()).collect();
        std::fs::write(&key, lines.join("\n")).unwrap();
        let rotated = |more: &[&str]| {
            let words = [&["x", "--db", &db, "--key-file", &key], more].concat();
            rotate(&<Cli as clap::Parser>::try_parse_from(words).unwrap().args)
        };
        let full = rotated(&[]).unwrap_err();
        assert!(full.message.contains("room for no more") && full.hint.unwrap().contains("--forget"));
        assert_eq!(rotated(&["--forget"]).unwrap(), Exit::Done);
        assert_eq!(std::fs::read_to_string(&key).unwrap().lines().count(), 1);
        assert_eq!(rotated(&[]).unwrap(), Exit::Done);
        let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
    }

    #[test]
    fn how_passwords_are_kept_is_told() {
        let status = Status {
            store: "sqlite:pool.db".to_owned(),
            clear: 1,
            sealed: [("0a0a0a0a".to_owned(), 2), ("0b0b0b0b".to_owned(), 1)].into(),
            seals: Some("0b0b0b0b".to_owned()),
            unreadable: 2,
        };
        insta::assert_snapshot!(in_words(&status), @r"
        sqlite:pool.db: 1 password in clear text
        2 passwords sealed with the key 0a0a0a0a
        1 password sealed with the key 0b0b0b0b, which seals
        2 passwords cannot be read: their keys are not there
        ");
        let none = Status { store: "x".to_owned(), ..Status::default() };
        insta::assert_snapshot!(in_words(&none), @r"
        x: 0 passwords in clear text
        no key is named: [store] key_file, or --key-file
        ");
    }
}
