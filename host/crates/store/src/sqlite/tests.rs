#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::path::Path;

use super::*;
use crate::SqliteKeyValues;
use crate::conformance::key_values::{at, write};
use crate::conformance::{member, suite, upserts, urls};
use proxywhirl_core::MemberId;
use proxywhirl_core::kv::{KeyValues, KvError, KvWrite};

fn error(path: &Path) -> String {
    Sqlite::open_within(path, Duration::from_millis(100)).unwrap_err().to_string()
}

#[test]
fn it_keeps_what_a_store_must_keep() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    suite(&mut || {
        count += 1;
        Box::new(Sqlite::open(folder.path().join(format!("{count}.db"))).unwrap())
    });
}

#[test]
fn it_keeps_what_key_values_must_keep() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    crate::conformance::key_values::suite(&mut || {
        count += 1;
        Box::new(SqliteKeyValues::open(folder.path().join(format!("{count}.db"))).unwrap())
    });
}

#[test]
fn a_file_of_the_first_schema_opens_and_keeps_its_members() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("../../migrations/0001_members.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO members VALUES (1, 'http', '1.1.1.1', 1, NULL, NULL, '[]', NULL, 'unknown', 5, 6, 7, NULL, 0);
         PRAGMA user_version = 1; PRAGMA application_id = 1347905644;",
    )
    .unwrap();
    drop(old);
    let mut store = Sqlite::open(&path).unwrap();
    assert_eq!(urls(&mut store), ["http://1.1.1.1:1"]);
    let session = StoredSession {
        session: u64::MAX,
        member: MemberId::of(&store.load().unwrap()[0].endpoint.key()),
        began: at(0),
        used: at(1),
        life: 2,
    };
    store.save(&Changes { sessions: vec![session], ..Changes::default() }).unwrap();
    store.save(&upserts(&["socks5://2.2.2.2:2 -> http://1.1.1.1:1"])).unwrap();
    drop(store);
    let mut store = Sqlite::open(&path).unwrap();
    assert_eq!(store.load_sessions().unwrap(), [session]);
    assert_eq!(urls(&mut store), ["http://1.1.1.1:1", "socks5://2.2.2.2:2 -> http://1.1.1.1:1"]);
    SqliteKeyValues::open(&path).unwrap().set("p", "k", &write(b"v"), at(0)).unwrap();
}

#[test]
fn keys_and_members_share_a_file_and_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut store = Sqlite::open(&path).unwrap();
    let keys = SqliteKeyValues::open(&path).unwrap();
    let version = keys.set("p", "k", &write(b"one"), at(0)).unwrap();
    store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    let last = keys.set("p", "l", &write(b"two"), at(0)).unwrap();
    keys.delete("p", "l", at(0)).unwrap();
    // A change that was cut off.
    keys.connection().execute_batch("BEGIN IMMEDIATE; DELETE FROM plugin_keys").unwrap();
    // A crash: nothing is closed. SQLite's own lock goes with the process, here with the connection that rolls back.
    keys.connection().execute_batch("ROLLBACK").unwrap();
    std::mem::forget((store, keys));
    let keys = SqliteKeyValues::open(&path).unwrap();
    let entry = keys.get("p", "k", at(1)).unwrap().unwrap();
    assert_eq!((entry.value, entry.version), (b"one".to_vec(), version));
    assert_eq!(keys.get("p", "l", at(1)).unwrap(), None);
    assert!(keys.set("p", "l", &write(b"three"), at(1)).unwrap() > last, "versions go on after opening again");
    assert_eq!(urls(&mut Sqlite::open(&path).unwrap()), ["http://1.1.1.1:1"]);
}

#[test]
fn a_key_that_is_gone_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let keys = SqliteKeyValues::open(&path).unwrap();
    for n in 0..50 {
        let expires = (n % 2 == 0).then(|| at(1));
        keys.set("p", &n.to_string(), &KvWrite { expires, ..write(b"v") }, at(0)).unwrap();
        if n % 2 == 1 {
            keys.delete("p", &n.to_string(), at(0)).unwrap();
        }
    }
    keys.set("p", "last", &write(b"v"), at(2)).unwrap();
    let count = |sql| keys.connection().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM plugin_keys"), 1);
    assert_eq!(count("SELECT count(*) FROM plugin_owners"), 1);
    assert_eq!(count("SELECT bytes FROM plugin_owners"), 5);
}

#[test]
fn keys_of_a_file_that_somebody_keeps_locked_are_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let keys = SqliteKeyValues::open_for(&path, Duration::from_millis(50), Access::Write).unwrap();
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = keys.set("p", "k", &write(b"v"), at(0)).unwrap_err();
    assert!(matches!(&error, KvError::Unavailable(text) if text.contains("locked by another process")), "{error}");
    assert_eq!(keys.get("p", "k", at(0)).unwrap(), None, "one reads while another writes");
    holder.execute_batch("ROLLBACK").unwrap();
    keys.set("p", "k", &write(b"v"), at(0)).unwrap();
}

#[test]
fn what_was_saved_is_there_after_opening_again_even_without_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut store = Sqlite::open(&path).unwrap();
    store.save(&upserts(&["http://u:p@1.1.1.1:1", "socks5://[2001:db8::1]:1"])).unwrap();
    // A crash: no close, no checkpoint; what is there is in the log.
    std::mem::forget(store);
    let expected = vec![member("http://u:p@1.1.1.1:1"), member("socks5://[2001:db8::1]:1")];
    assert_eq!(Sqlite::open(&path).unwrap().load().unwrap(), expected);
}

#[test]
fn a_save_that_was_cut_off_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut store = Sqlite::open(&path).unwrap();
    store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    store.connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM members").unwrap();
    drop(store);
    assert_eq!(urls(&mut Sqlite::open(&path).unwrap()), ["http://1.1.1.1:1"]);
}

#[test]
fn one_reads_while_another_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut writer = Sqlite::open(&path).unwrap();
    writer.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    writer.connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM members").unwrap();
    let mut reader = Sqlite::open_within(&path, Duration::from_millis(100)).unwrap();
    assert_eq!(urls(&mut reader), ["http://1.1.1.1:1"]);
    let failure = reader.save(&upserts(&["http://1.1.1.2:1"])).unwrap_err().to_string();
    assert!(failure.contains("pool.db: locked by another process for more than 100ms"), "{failure}");
    writer.connection.execute_batch("ROLLBACK").unwrap();
    reader.save(&upserts(&["http://1.1.1.2:1"])).unwrap();
    assert_eq!(urls(&mut writer).len(), 2);
}

#[test]
fn a_database_that_somebody_keeps_locked_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    drop(Sqlite::open(&path).unwrap());
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    assert!(error(&path).contains("locked by another process"), "{}", error(&path));
}

#[cfg(unix)]
#[test]
fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut store = Sqlite::open(&path).unwrap();
    store.save(&upserts(&["http://u:p@1.1.1.1:1"])).unwrap();
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3, "the database, its log and its index");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn what_is_no_database_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    let text = "1.2.3.4:80\n".repeat(500);
    fs::write(&path, &text).unwrap();
    assert!(error(&path).contains("list.txt: file is not a database"), "{}", error(&path));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_database_with_broken_pages_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let many: Vec<_> = (0..2000).map(|n| format!("http://1.1.{}.{}:1", n / 250, n % 250)).collect();
    let mut store = Sqlite::open(&path).unwrap();
    store.save(&upserts(&many.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[8192..end - 8192].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    assert!(error(&path).contains("pool.db: corrupt ("), "{}", error(&path));
}

/// A database with some hundred members, none of them in its log.
fn with_many(path: &Path) {
    let many: Vec<_> = (0..500).map(|n| format!("http://1.1.{}.{}:1", n / 250, n % 250)).collect();
    let mut store = Sqlite::open(path).unwrap();
    store.save(&upserts(&many.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
}

#[test]
fn a_database_that_breaks_off_is_corrupt_however_little_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    with_many(&path);
    let whole = fs::read(&path).unwrap();
    for missing in [1, 10, 100, 4_095, 4_096, 5_000, 40_000] {
        fs::write(&path, &whole[..whole.len() - missing]).unwrap();
        assert!(error(&path).contains("pool.db: corrupt ("), "{missing}: {}", error(&path));
        let read = Sqlite::open_to_read(&path).unwrap_err().to_string();
        assert!(read.contains("pool.db: corrupt ("), "{missing}: {read}");
        assert_eq!(fs::read(&path).unwrap(), whole[..whole.len() - missing], "it was left as it is");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(urls(&mut Sqlite::open(&path).unwrap()).len(), 500);
}

#[test]
fn a_database_whose_log_was_being_put_into_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("pool.db"), folder.path().join("copy.db"));
    let log = |path: &Path| path.with_extension("db-wal");
    let mut store = Sqlite::open(&path).unwrap();
    store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    store.purge().unwrap();
    let short = fs::read(&path).unwrap();
    let many: Vec<_> = (2..500).map(|n| format!("http://1.1.1.1:{n}")).collect();
    store.save(&upserts(&many.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    let frames = fs::read(log(&path)).unwrap();
    store.purge().unwrap();
    let whole = fs::read(&path).unwrap();
    // As after a crash at any moment of it.
    for length in [short.len(), short.len() + 100, whole.len() - 4_096, whole.len() - 10, whole.len()] {
        let mut begun = whole[..length].to_vec();
        // The first page may be written last.
        begun[..4_096].copy_from_slice(&short[..4_096]);
        fs::write(&copy, &begun).unwrap();
        fs::write(log(&copy), &frames).unwrap();
        assert_eq!(urls(&mut Sqlite::open(&copy).unwrap()).len(), 499, "{length}");
    }
}

#[test]
fn a_database_of_another_program_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    assert!(error(&path).contains("notes.db: belongs to another program"), "{}", error(&path));
    let tables: u32 =
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[test]
fn a_later_schema_asks_for_an_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    drop(Sqlite::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(error(&path).contains("later version of proxywhirl (schema 99"), "{}", error(&path));
}

#[test]
fn a_missing_folder_a_folder_and_a_device_are_named() {
    let folder = tempfile::tempdir().unwrap();
    assert!(error(&folder.path().join("no/pool.db")).contains("make it with `mkdir -p"));
    assert!(error(folder.path()).contains("is a folder"));
    assert!(error(Path::new("/dev/null")).contains("not a regular file"));
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    drop(Sqlite::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    // The superuser writes whatever the mode says.
    if fs::OpenOptions::new().write(true).open(&path).is_err() {
        assert!(error(&path).contains("cannot be written"), "{}", error(&path));
    }
}

#[test]
fn rows_that_are_no_members_are_skipped_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut store = Sqlite::open(&path).unwrap();
    let good: Vec<_> = (1..=9).map(|n| format!("http://1.1.1.{n}:1")).collect();
    store.save(&upserts(&good.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    let edits = [
        "scheme = 'ftp'",
        "host = '1.2.3.400'",
        "port = 0",
        "port = 70000",
        "country = 'Germany'",
        "tags = 'eu'",
        "added = -1",
        "username = char(10)",
    ];
    for (index, edit) in edits.iter().enumerate() {
        let sql = format!("UPDATE members SET {edit} WHERE joined = {}", index + 1);
        assert_eq!(store.connection.execute(&sql, []).unwrap(), 1, "{edit}");
    }
    let (page, skipped) = store.read(None, usize::MAX).unwrap();
    assert_eq!(page.members.len(), good.len() - edits.len());
    assert_eq!(skipped.count, edits.len() as u64);
    assert!(skipped.first.unwrap().1.contains("unknown scheme ftp"));
    assert_eq!(urls(&mut store), ["http://1.1.1.9:1"]);
    let rows: i64 = store.connection.query_row("SELECT count(*) FROM members", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, good.len() as i64);
}

#[test]
fn a_full_disk_is_named_and_what_was_kept_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Sqlite::open(folder.path().join("pool.db")).unwrap();
    store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    // No page more than there are.
    let pages: i64 = store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection.pragma_update(None, "max_page_count", pages).unwrap();
    let many: Vec<String> = (1..=500).map(|port| format!("http://2.2.2.2:{port}")).collect();
    let many = upserts(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let refused = store.save(&many).unwrap_err().to_string();
    assert!(refused.ends_with("the disk is full; what was kept before is untouched"), "{refused}");
    assert_eq!(urls(&mut store), ["http://1.1.1.1:1"]);
    store.connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    store.save(&many).unwrap();
    assert_eq!(urls(&mut store).len(), 501);
}

#[test]
fn several_who_write_add_what_each_has_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let [mut one, mut other] = [(); 2].map(|()| Sqlite::open(&path).unwrap());
    let used = |successes, failures| {
        let mut member = member("http://1.1.1.1:1");
        (member.statistics.successes, member.statistics.failures) = (successes, failures);
        Changes { upserts: vec![member], ..Changes::default() }
    };
    let kept = |store: &mut Sqlite| {
        let statistics = store.load().unwrap()[0].statistics;
        (statistics.successes, statistics.failures)
    };
    // Both have taken it from a list, and neither knows of the other.
    one.save(&used(0, 0)).unwrap();
    other.save(&used(0, 0)).unwrap();
    one.save(&used(20, 1)).unwrap();
    other.save(&used(20, 0)).unwrap();
    one.save(&used(25, 1)).unwrap();
    assert_eq!(kept(&mut Sqlite::open(&path).unwrap()), (45, 1));
    // Who reads goes on from there.
    assert_eq!(kept(&mut one), (45, 1));
    one.save(&used(46, 3)).unwrap();
    other.save(&used(21, 0)).unwrap();
    assert_eq!(kept(&mut Sqlite::open(&path).unwrap()), (47, 3));
    // Who left and came back begins with what it is saved with, and one that is named twice counts once.
    let removed = vec![member("http://1.1.1.1:1").endpoint.key()];
    let twice = [used(5, 0).upserts, used(5, 0).upserts].concat();
    one.save(&Changes { removed, upserts: twice, ..Changes::default() }).unwrap();
    assert_eq!(kept(&mut Sqlite::open(&path).unwrap()), (5, 0));
}

#[test]
fn it_is_known_whether_somebody_writes_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    assert!(!is_in_use(&path) && fs::read_dir(&folder).unwrap().count() == 0);
    let reader = Sqlite::open(&path).unwrap();
    assert!(!is_in_use(&path), "whoever reads is in nobody's way");
    let [one, other] = [(); 2].map(|()| Sqlite::open_to_write(&path).unwrap());
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(is_in_use(&path) && is_in_use(&link));
    drop(one);
    assert!(is_in_use(&path));
    drop(other);
    assert!(!is_in_use(&path));
    drop(reader);
    let copying = draft::Draft::begin(&path).unwrap();
    let refused = Sqlite::open_to_write(&path).unwrap_err().to_string();
    assert!(refused.ends_with("a copy is being put into it; try again when that is done"), "{refused}");
    drop(copying);
    drop(Sqlite::open_to_write(&path).unwrap());
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "pool.db" || name == "link.db"), "{left:?}");
}

/// A store with one member, which another process has open, too.
fn shared_by_two(folder: &Path, url: &str) -> [Sqlite; 2] {
    let path = folder.join("pool.db");
    Sqlite::open(&path).unwrap().save(&upserts(&[url])).unwrap();
    let mut two = [(); 2].map(|()| Sqlite::open(&path).unwrap());
    two.iter_mut().for_each(|store| assert_eq!(urls(store), [url]));
    two
}

fn updates(url: &str) -> Changes {
    Changes { updates: vec![member(url)], ..Changes::default() }
}

#[test]
fn who_was_taken_out_by_another_stays_out() {
    let folder = tempfile::tempdir().unwrap();
    let url = "http://u:p@1.1.1.1:1";
    let [mut gateway, mut command] = shared_by_two(folder.path(), url);
    command.save(&Changes { removed: vec![member(url).endpoint.key()], ..Changes::default() }).unwrap();
    gateway.save(&updates(url)).unwrap();
    gateway.save(&updates("http://u:new@1.1.1.1:1")).unwrap();
    assert_eq!(urls(&mut command), [""; 0]);
    // Who joins anew is there.
    gateway.save(&upserts(&[url])).unwrap();
    assert_eq!(urls(&mut command), [url]);
}

#[test]
fn a_login_that_another_has_changed_stays() {
    for [url, theirs, own] in [
        ["http://u:p@1.1.1.1:1", "http://u:theirs@1.1.1.1:1", "http://u:own@1.1.1.1:1"],
        ["http://u:@1.1.1.1:1", "http://u:theirs@1.1.1.1:1", "http://u:own@1.1.1.1:1"],
        [
            "http://u:p@2.2.2.2:2 -> http://1.1.1.1:1",
            "http://u:theirs@2.2.2.2:2 -> http://1.1.1.1:1",
            "http://u:own@2.2.2.2:2 -> http://1.1.1.1:1",
        ],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let [mut gateway, mut command] = shared_by_two(folder.path(), url);
        gateway.save(&updates(own)).unwrap();
        assert_eq!(urls(&mut command), [own], "what is new here is written");
        command.save(&upserts(&[theirs])).unwrap();
        for _ in 0..2 {
            gateway.save(&updates(own)).unwrap();
            assert_eq!(urls(&mut command), [theirs]);
        }
        gateway.save(&updates(url)).unwrap();
        assert_eq!(urls(&mut command), [theirs], "who did it by hand goes first");
        // Whoever reads it goes on from there.
        assert_eq!(urls(&mut gateway), [theirs]);
        gateway.save(&updates(own)).unwrap();
        assert_eq!(urls(&mut command), [own]);
    }
}

#[test]
fn labels_of_several_come_together() {
    let folder = tempfile::tempdir().unwrap();
    let url = "http://1.1.1.1:1";
    let [mut gateway, mut command] = shared_by_two(folder.path(), url);
    let tagged = |tags: &[&str]| {
        let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        proxywhirl_core::store::StoredMember { tags, ..member(url) }
    };
    command.save(&Changes { upserts: vec![tagged(&["a", "z"])], ..Changes::default() }).unwrap();
    let mut own = tagged(&["b", "z"]);
    (own.country, own.anonymity) = (None, proxywhirl_core::Anonymity::Unknown);
    gateway.save(&Changes { updates: vec![own], ..Changes::default() }).unwrap();
    let [kept] = &command.load().unwrap()[..] else { panic!() };
    assert_eq!(kept.tags.to_string(), "a,b,z");
    assert_eq!((kept.country, kept.anonymity), (member(url).country, member(url).anonymity));
    // Taken away from it, and nothing else.
    let taken = |tags: &[&str]| vec![(member(url).endpoint.key(), tagged(tags).tags)];
    let update = |own: &[&str], gone: &[&str]| Changes {
        updates: vec![tagged(own)],
        untagged: taken(gone),
        ..Changes::default()
    };
    gateway.save(&update(&["c", "z"], &["b"])).unwrap();
    assert_eq!(command.load().unwrap()[0].tags.to_string(), "a,c,z");
    // What somebody has written by hand, and is none, is no reason to save nothing.
    command.connection.execute("UPDATE members SET tags = 'eu'", []).unwrap();
    gateway.save(&updates(url)).unwrap();
    assert_eq!(command.load().unwrap(), [member(url)]);
}

#[test]
fn a_file_that_has_lost_its_name_is_told_and_goes_on_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let [path, moved] = ["pool.db", "moved.db"].map(|name| folder.path().join(name));
    let (mut store, keys) = (Sqlite::open(&path).unwrap(), SqliteKeyValues::open(&path).unwrap());
    store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    fs::rename(&path, &moved).unwrap();
    for _ in 0..2 {
        let of_a_key = keys.set("p", "k", &write(b"v"), at(0)).unwrap_err().to_string();
        let told = store.save(&upserts(&["http://1.1.1.2:1"])).unwrap_err().to_string();
        assert!([told, of_a_key].iter().all(|told| told.contains("pool.db: is not there any more")));
        // Another one in its place is another one.
        fs::write(&path, "").unwrap();
    }
    fs::rename(&moved, &path).unwrap();
    store.save(&upserts(&["http://1.1.1.2:1"])).unwrap();
    keys.set("p", "k", &write(b"v"), at(0)).unwrap();
    assert_eq!(urls(&mut Sqlite::open(&path).unwrap()).len(), 2);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    // A name that a URI has to escape.
    let path = folder.path().join("a pool?#%.db");
    let mut store = Sqlite::open(&path).unwrap();
    store.save(&upserts(&["http://u:p@1.1.1.1:1"])).unwrap();
    drop(store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let read = Sqlite::open_to_read(&path).map(|mut store| urls(&mut store));
    let is_superuser = fs::write(folder.path().join("x"), "").is_ok();
    let refused = Sqlite::open(&path).map(drop).map_err(|error| error.to_string());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(read.unwrap(), ["http://u:p@1.1.1.1:1"]);
    assert!(is_superuser || refused.unwrap_err().contains("cannot be written"));
    let copy = Sqlite {
        connection: inspected(
            Path::new(&file::immutable(&path)),
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
            BUSY_TIMEOUT,
        )
        .map(|(connection, _)| connection)
        .ok()
        .unwrap(),
        ..Sqlite::open_to_read(&path).unwrap()
    };
    let mut copy = copy;
    assert_eq!(urls(&mut copy), ["http://u:p@1.1.1.1:1"], "as where nobody can write");
}

#[test]
fn the_log_is_brought_into_the_database_beside_the_saves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.db");
    let mut store = Sqlite::open(&path).unwrap();
    let all: Vec<_> =
        (0..40_000_u32).map(|number| member(&format!("http://1.{}.{}.1:1", number >> 8, number & 255))).collect();
    store.save(&Changes { upserts: all.clone(), ..Changes::default() }).unwrap();
    let log = folder.path().join("pool.db-wal");
    for uses in 1..=12 {
        let mut updates: Vec<_> = all.iter().step_by(40).cloned().collect();
        updates.iter_mut().for_each(|member| member.statistics.successes = uses);
        store.save(&Changes { updates, ..Changes::default() }).unwrap();
        store.settling.as_ref().unwrap().wait();
    }
    // Each save is three megabytes and more, all over the file; begun anew is a log of which all is in the database.
    let length = fs::metadata(&log).unwrap().len();
    assert!(length < 20 << 20, "{length}");
    drop(store);
    assert!(!log.exists(), "who closes it last puts it away");
    let members = Sqlite::open(&path).unwrap().load().unwrap();
    assert_eq!(members.iter().filter(|member| member.statistics.successes == 12).count(), 1_000);
}
