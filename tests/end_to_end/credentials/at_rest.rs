//! Passwords at rest: sealed under a key in every store, opened with it, and told where they are not.

use std::fs;
use std::path::Path;

use proxywhirl_tests::{Ran, Served, curl, file, folder, proxywhirl, run};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};
use tempfile::TempDir;

const STORES: [&str; 4] = ["sqlite:pool.db", "file:pool.json", "file:pool.jsonl", "file:pool.json.gz"];

const CLEAR: &str = "passwords are kept in clear text";

fn command(folder: &TempDir, key: Option<&str>, words: &[&str]) -> Ran {
    let mut command = proxywhirl(words);
    key.map(|key| command.env("PROXYWHIRL_STORE_KEY_FILE", key));
    run(command.current_dir(folder.path()))
}

fn serve(folder: &TempDir, key: Option<&str>, words: &[&str]) -> Served {
    let mut command = proxywhirl(["serve", "--listen", "127.0.0.1:0"]);
    key.map(|key| command.env("PROXYWHIRL_STORE_KEY_FILE", key));
    Served::of(command.args(words).current_dir(folder.path()))
}

/// Whether any file of the store holds a password.
fn holds_password(folder: &Path) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let pools = files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pool.")));
    pools.map(|path| fs::read(path).unwrap()).any(|bytes| bytes.windows(7).any(|window| window == b"hunter2"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_is_sealed_and_serves_again_with_its_key_alone() {
    let options = |protocol| UpstreamOptions::new(protocol).credentials("user", "hunter2");
    let world = World::start(WorldPlan::new(vec![options(Protocol::Http), options(Protocol::Socks5)])).await.unwrap();
    for store in STORES {
        let folder = folder();
        file(&folder, "list.txt", world.proxies().join("\n"));
        let made = command(&folder, None, &["secrets", "init", "store.key"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        let key = Some("store.key");
        let is_served = |served: &Served| {
            let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]);
            assert_eq!(ran.code, Some(0), "{store}: {ran:?}\n{}", served.log());
        };
        let served = serve(&folder, key, &["--db", store, "--proxies", "list.txt"]);
        is_served(&served);
        let (code, log) = served.stop();
        assert_eq!(code, Some(0));
        assert!(!log.contains(CLEAR), "{log}");
        assert!(!holds_password(folder.path()), "{store}");
        let served = serve(&folder, key, &["--db", store]);
        is_served(&served);
        is_served(&served);
        assert_eq!(served.stop().0, Some(0));
        let listed = command(&folder, None, &["pool", "list", "--db", store]);
        assert!(listed.code == Some(0) && listed.stdout.contains("http://user:***@"), "{listed:?}");
        let without = command(&folder, None, &["pool", "list", "--db", store, "--show-passwords"]);
        assert_eq!(without.code, Some(4), "{without:?}");
        assert!(
            without.stderr.contains("2 proxies, such as") && without.stderr.contains("no key is named"),
            "{without:?}"
        );
        // Neither a start nor a backup takes a part of a pool for the whole.
        for words in [
            &["serve", "--listen", "127.0.0.1:0", "--db", store][..],
            &["pool", "backup", "--db", store, "file:lost.json"],
        ] {
            let refused = command(&folder, None, words);
            assert_eq!(refused.code, Some(4), "{refused:?}");
            assert!(refused.stderr.contains("the passwords of 2 proxies, such as"), "{refused:?}");
        }
        assert!(!folder.path().join("lost.json").exists(), "{store}");
        let listed = command(&folder, key, &["pool", "list", "--db", store, "--show-passwords"]);
        assert!(listed.stdout.contains("http://user:hunter2@"), "{store}: {listed:?}");
        let backup = command(&folder, key, &["pool", "backup", "--db", store, "file:pool.backup.json"]);
        assert_eq!(backup.code, Some(0), "{backup:?}");
        assert!(!holds_password(folder.path()), "{store}: the backup");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_is_told_once_and_sealed_by_rotating_which_can_be_done_again() {
    let options = UpstreamOptions::new(Protocol::Http).credentials("user", "hunter2");
    let world = World::start(WorldPlan::new(vec![options])).await.unwrap();
    let folder = folder();
    file(&folder, "list.txt", world.proxies().join("\n"));
    let served = serve(&folder, None, &["--db", "pool.db", "--proxies", "list.txt"]);
    let (_, log) = served.stop();
    assert_eq!(log.matches(CLEAR).count(), 1, "{log}");
    assert!(holds_password(folder.path()));
    let status = command(&folder, None, &["secrets", "status", "--db", "pool.db"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(
        status.stdout.contains("1 password in clear text") && status.stdout.contains("no key is named"),
        "{status:?}"
    );

    assert_eq!(command(&folder, None, &["secrets", "init", "a.key"]).code, Some(0));
    let twice = command(&folder, None, &["secrets", "init", "a.key"]);
    assert!(twice.code == Some(4) && twice.stderr.contains("hint: `proxywhirl secrets rotate`"), "{twice:?}");
    let key = Some("a.key");
    let rotated = command(&folder, key, &["secrets", "rotate", "--db", "pool.db"]);
    assert!(rotated.code == Some(0) && rotated.stderr.contains("1 password sealed with the key"), "{rotated:?}");
    assert!(!holds_password(folder.path()), "nothing is left of it");
    let status = command(&folder, key, &["secrets", "status", "--db", "pool.db"]);
    assert!(status.code == Some(0) && status.stdout.contains("0 passwords in clear text"), "{status:?}");
    fs::copy(folder.path().join("a.key"), folder.path().join("before.key")).unwrap();
    let forgotten = command(&folder, key, &["secrets", "rotate", "--db", "pool.db", "--forget"]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    let lost = command(&folder, Some("before.key"), &["pool", "list", "--db", "pool.db", "--show-passwords"]);
    assert!(lost.code == Some(4) && lost.stderr.contains("which is not among those that there are"), "{lost:?}");
    assert_eq!(fs::read_to_string(folder.path().join("a.key")).unwrap().lines().count(), 1);
    let served = serve(&folder, key, &["--db", "pool.db"]);
    assert_eq!(curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]).code, Some(0));
    let (_, log) = served.stop();
    assert!(!log.contains("clear text"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_forgotten_under_a_gateway_that_seals_with_it() {
    let options = UpstreamOptions::new(Protocol::Http).credentials("user", "hunter2");
    let world = World::start(WorldPlan::new(vec![options])).await.unwrap();
    let folder = folder();
    file(&folder, "list.txt", world.proxies().join("\n"));
    assert_eq!(command(&folder, None, &["secrets", "init", "a.key"]).code, Some(0));
    let key = Some("a.key");
    let served = serve(&folder, key, &["--db", "pool.db", "--proxies", "list.txt"]);
    let before = fs::read(folder.path().join("a.key")).unwrap();
    let refused = command(&folder, key, &["secrets", "rotate", "--db", "pool.db", "--forget"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(refused.stderr.contains("is used by another process, so no key is forgotten"), "{refused:?}");
    assert!(fs::read(folder.path().join("a.key")).unwrap() == before, "nothing was done");
    // A new key before the old one is no harm: what the gateway saves next is sealed with the old one.
    assert_eq!(command(&folder, key, &["secrets", "rotate", "--db", "pool.db"]).code, Some(0));
    assert_eq!(curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]).code, Some(0));
    assert_eq!(served.stop().0, Some(0));
    let forgotten = command(&folder, key, &["secrets", "rotate", "--db", "pool.db", "--forget"]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    let status = command(&folder, key, &["secrets", "status", "--db", "pool.db"]);
    assert_eq!(status.code, Some(0), "{status:?}");
}

#[test]
fn no_password_is_written_when_it_is_not_known_whether_there_is_a_key() {
    let folder = folder();
    assert_eq!(command(&folder, None, &["secrets", "init", "a.key"]).code, Some(0));
    file(&folder, "proxywhirl.toml", "[store]\nkey_file = \"a.key\"\n[gateway]\natempts = 3\n");
    file(&folder, "list.txt", "http://me:hunter2@192.0.2.1:80\n");
    for words in [
        &["pool", "add", "--db", "pool.db", "http://me:hunter2@192.0.2.1:80"][..],
        &["pool", "import", "--db", "pool.db", "list.txt"],
    ] {
        let refused = command(&folder, None, words);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains("proxywhirl.toml:4:1: unknown key gateway.atempts"), "{refused:?}");
        assert!(!holds_password(folder.path()) && !refused.stderr.contains("hunter2"), "{refused:?}");
    }
    // Who names the key needs no configuration, and neither does who only reads.
    let added = command(&folder, Some("a.key"), &["pool", "add", "--db", "pool.db", "http://me:hunter2@192.0.2.1:80"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    assert_eq!(command(&folder, None, &["pool", "list", "--db", "pool.db"]).code, Some(0));
    let copied = command(&folder, None, &["pool", "migrate", "pool.db", "file:pool.json"]);
    assert_eq!(copied.code, Some(2), "{copied:?}");
    assert!(!holds_password(folder.path()));
}

#[test]
fn a_key_goes_to_standard_output_where_that_is_named() {
    let folder = folder();
    let made = command(&folder, None, &["secrets", "init", "-"]);
    assert_eq!((made.code, made.stdout.lines().count(), made.stderr.as_str()), (Some(0), 1, ""));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "and into no file");
    file(&folder, "a.key", &made.stdout);
    let sealed = command(&folder, Some("a.key"), &["pool", "add", "--db", "pool.db", "http://me:hunter2@192.0.2.1:80"]);
    assert!(sealed.code == Some(0) && !holds_password(folder.path()), "{sealed:?}");
}

#[test]
fn whose_key_is_missing_hides_no_other_and_is_found_again_with_it() {
    for store in STORES {
        let folder = folder();
        for key in ["a.key", "b.key"] {
            assert_eq!(command(&folder, None, &["secrets", "init", key]).code, Some(0));
        }
        let pool =
            |key: &str, words: &[&str]| command(&folder, Some(key), &[&["pool"], words, &["--db", store]].concat());
        assert_eq!(
            pool("a.key", &["add", "http://me:hunter2@192.0.2.1:80", "http://me:hunter2@192.0.2.2:80"]).code,
            Some(0)
        );
        // With another key: what is there is told, and left as it is.
        let added = pool("b.key", &["add", "http://me:hunter2-new@192.0.2.1:80", "http://me:hunter2@192.0.2.3:80"]);
        assert_eq!(added.code, Some(0), "{store}: {added:?}");
        assert!(
            added.stderr.contains("warning: ") && added.stderr.contains("the passwords of 2 proxies, such as"),
            "{added:?}"
        );
        assert!(added.stderr.ends_with("1 added, 0 known already, 0 rejected, 1 left as they are\n"), "{added:?}");
        let listed = pool("b.key", &["list", "--show-passwords"]);
        assert_eq!(listed.code, Some(4), "{listed:?}");
        assert!(listed.stdout.contains("192.0.2.3") && !listed.stdout.contains("192.0.2.1"), "{listed:?}");
        let exported = pool("b.key", &["export"]);
        assert_eq!((exported.code, exported.stdout.lines().count()), (Some(4), 1), "{exported:?}");
        let refused = command(&folder, Some("b.key"), &["serve", "--listen", "127.0.0.1:0", "--db", store]);
        assert!(
            refused.code == Some(4) && refused.stderr.contains("put the key that they are sealed with"),
            "{refused:?}"
        );
        // It can be taken out without its key.
        assert_eq!(pool("b.key", &["remove", "192.0.2.2:80"]).code, Some(0));
        let both = ["b.key", "a.key"].map(|key| fs::read_to_string(folder.path().join(key)).unwrap()).concat();
        file(&folder, "both.key", both);
        let all = pool("both.key", &["export"]);
        assert_eq!(all.stdout, "http://me:hunter2@192.0.2.1:80\nhttp://me:hunter2@192.0.2.3:80\n", "{store}: {all:?}");
        let served = serve(&folder, Some("both.key"), &["--db", store]);
        assert_eq!(served.stop().0, Some(0), "{store}");
    }
}
