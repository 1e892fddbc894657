#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::io::Write;

use super::*;
use crate::conformance::key_values::{at, write};
use crate::conformance::{member, suite, upserts, urls};

const FORMS: [(&str, FileForm); 3] =
    [("pool.json", FileForm::Json), ("pool.json.gz", FileForm::JsonGzip), ("pool.jsonl", FileForm::JsonLines)];

/// A file of each form that is not there yet, in a folder of its own: the folder, which goes when it is dropped, the file's
/// name, its path, and its form.
fn files() -> impl Iterator<Item = (tempfile::TempDir, &'static str, PathBuf, FileForm)> {
    FORMS.into_iter().map(|(name, form)| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        (folder, name, path, form)
    })
}

/// Further files of this name's ending.
fn further<'a>(folder: &'a Path, name: &'a str) -> impl FnMut() -> PathBuf + 'a {
    let mut count = 0;
    move || {
        count += 1;
        folder.join(format!("{count}-{name}"))
    }
}

fn error(path: &Path, form: FileForm) -> String {
    open(path, form, Access::Write).unwrap_err().to_string()
}

#[test]
fn it_keeps_what_a_store_must_keep() {
    for (folder, name, _, form) in files() {
        let mut further = further(folder.path(), name);
        suite(&mut || Box::new(open(&further(), form, Access::Write).unwrap().0));
    }
}

#[test]
fn it_keeps_what_key_values_must_keep() {
    for (folder, name, _, form) in files() {
        let mut further = further(folder.path(), name);
        crate::conformance::key_values::suite(&mut || Box::new(open(&further(), form, Access::Write).unwrap().1));
    }
}

#[test]
fn nothing_is_kept_in_memory_that_is_not_in_the_file() {
    for (folder, name, _, form) in files() {
        let mut further = further(folder.path(), name);
        suite(&mut || Box::new(Reopened { path: further(), form }));
    }
}

/// A store that is opened for every call.
struct Reopened {
    path: PathBuf,
    form: FileForm,
}

impl Store for Reopened {
    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Page, StoreError> {
        open(&self.path, self.form, Access::Write)?.0.page(after, limit)
    }

    fn load_sessions(&mut self) -> Result<Vec<StoredSession>, StoreError> {
        open(&self.path, self.form, Access::Write)?.0.load_sessions()
    }

    fn save(&mut self, changes: &Changes) -> Result<(), StoreError> {
        open(&self.path, self.form, Access::Write)?.0.save(changes)
    }
}

#[test]
fn keys_are_written_with_the_next_save_and_their_versions_never_go_back() {
    for (_folder, name, path, form) in files() {
        let (mut store, keys) = open(&path, form, Access::Write).unwrap();
        keys.set("p", "k", &write(b"\0one\xff"), at(0)).unwrap();
        let expiring = KvWrite { expires: Some(at(9)), ..write(b"soon gone") };
        keys.set("p", "e", &expiring, at(0)).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        let gone = keys.set("p", "l", &write(b"two"), at(0)).unwrap();
        keys.delete("p", "l", at(0)).unwrap();
        keys.sync().unwrap();
        drop((store, keys));
        let (mut store, keys) = open(&path, form, Access::Write).unwrap();
        assert_eq!(urls(&mut store), ["http://1.1.1.1:1"]);
        assert_eq!(keys.get("p", "k", at(1)).unwrap().unwrap().value, b"\0one\xff");
        assert_eq!(keys.keys("p", "", "", 9, at(8)).unwrap(), ["e", "k"]);
        assert_eq!(keys.keys("p", "", "", 9, at(9)).unwrap(), ["k"]);
        assert!(keys.set("p", "l", &write(b"three"), at(1)).unwrap() > gone, "{name}");
    }
}

#[test]
fn a_file_has_one_writer_and_any_number_of_readers() {
    for (_folder, _, path, form) in files() {
        let (mut store, _keys) = open(&path, form, Access::Write).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        let refused = error(&path, form);
        let process = format!("is written by another process ({}); end it", std::process::id());
        assert!(refused.contains(&process), "{refused}");
        let (mut reader, _) = open(&path, form, Access::Read).unwrap();
        assert_eq!(urls(&mut reader), ["http://1.1.1.1:1"]);
        assert!(reader.save(&upserts(&["http://2.2.2.2:2"])).unwrap_err().to_string().ends_with("opened to be read"));
        store.save(&upserts(&["http://3.3.3.3:3"])).unwrap();
        drop((store, _keys));
        assert_eq!(urls(&mut open(&path, form, Access::Write).unwrap().0), ["http://1.1.1.1:1", "http://3.3.3.3:3"]);
    }
}

#[test]
fn the_document_is_of_the_documented_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.json");
    let (mut store, _keys) = open(&path, FileForm::Json, Access::Write).unwrap();
    store.save(&upserts(&["http://user:p%40ss@1.1.1.1:1"])).unwrap();
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(document["last_updated"].take().as_str().unwrap().ends_with('Z'));
    let proxy = serde_json::json!({
        "id": format!("{:016x}", proxywhirl_core::MemberId::of(&member("http://user@1.1.1.1:1").endpoint.key()).0),
        "url": "http://1.1.1.1:1",
        "username": "user",
        "password": "p@ss",
        "source": "user",
        "health_status": "degraded",
        "total_requests": 10,
        "total_successes": 7,
        "total_failures": 3,
        "average_response_time_ms": 123.456,
        "tags": ["eu", "source:user"],
        "country": "DE",
        "anonymity": "elite",
        "created_at": "2025-06-15T15:06:40.000001Z",
        "updated_at": "2025-06-15T15:06:40.000002Z",
        "last_used_at": "2025-06-15T15:06:40.000002Z",
    });
    let whole = serde_json::json!({
        "version": 1, "pool_name": "default", "last_updated": null, "proxies": [proxy], "config": {}, "sessions": [],
        "key_values": [],
    });
    assert_eq!(document, whole);
}

#[test]
fn a_document_of_another_program_is_read_and_its_name_and_config_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.json");
    let text = r#"{"version": "1.0", "pool_name": "mine", "last_updated": "2025-01-01T00:00:00+00:00", "config": {"a": [1]},
        "proxies": [{"url": "http://u:p@1.1.1.1:1", "source": "free", "created_at": "2025-06-15T15:06:40.000001+00:00",
        "average_response_time_ms": null, "more": 1}, {"url": "socks5://2.2.2.2"}]}"#;
    fs::write(&path, text).unwrap();
    let (mut store, _keys) = open(&path, FileForm::Json, Access::Write).unwrap();
    let members = store.load().unwrap();
    assert_eq!(members[0].tags.to_string(), "source:free");
    assert_eq!(members[0].added.as_micros(), 1_750_000_000_000_001);
    store.save(&upserts(&["http://3.3.3.3:3"])).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((document["pool_name"].as_str(), &document["config"]["a"][0]), (Some("mine"), &1.into()));
    assert_eq!(urls(&mut store), ["http://u:p@1.1.1.1:1", "socks5://2.2.2.2:1080", "http://3.3.3.3:3"]);
}

#[test]
fn what_is_corrupt_is_told_with_its_place_and_left_as_it_is() {
    let cases = [
        (
            "pool.json",
            FileForm::Json,
            "{\"proxies\": [\n  {\"url\": \"http://1.1.1.1:1\"}\n  {}]}",
            "at line 3 column 3",
        ),
        ("port.json", FileForm::Json, "{\"proxies\": [\n{\"url\": \"http://u:hunter2@1.1.1.1:0\"}]}", "line 2"),
        ("array.json", FileForm::Json, "[1, 2]", "a list, and not an object"),
        ("new.json", FileForm::Json, "{\"version\": 2, \"proxies\": []}", "by a later version of proxywhirl (form 2"),
        ("pool.json.gz", FileForm::JsonGzip, "{\"proxies\": []}", "is not compressed with gzip"),
        ("pool.jsonl", FileForm::JsonLines, "{\"pool\":\"a\"}\n{\"url\"}\n{\"url\":\"x\"}\n", "line 2, column 7"),
        ("field.jsonl", FileForm::JsonLines, "{\"what\":1}\n", "line 1, column 1: none of url, removed"),
        ("batch.jsonl", FileForm::JsonLines, "{\"batch\":2}\n{\"batch\":2}\n", "line 2: a batch in the middle"),
        ("new.jsonl", FileForm::JsonLines, "{\"pool\":\"a\",\"version\":2}\n", "by a later version"),
        ("url.jsonl", FileForm::JsonLines, "{\"url\":\"http://u:hunter2@1.1.1.1:0\"}\n", "line 1, port 0"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (name, form, text, expected) in cases {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let told = error(&path, form);
        assert!(told.contains(expected) && told.contains(name) && !told.contains("hunter2"), "{name}: {told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{name}");
    }
    assert!(error(folder.path(), FileForm::Json).contains("is a folder"));
    assert!(error(&folder.path().join("no/pool.json"), FileForm::Json).contains("mkdir -p"));
}

#[test]
fn a_save_that_was_cut_off_is_dropped_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.jsonl");
    let (mut store, keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
    let kept = fs::read(&path).unwrap().len();
    store.save(&upserts(&["http://2.2.2.2:2", "http://1.1.1.1:1", "http://3.3.3.3:3"])).unwrap();
    drop((store, keys));
    let whole = fs::read(&path).unwrap();
    // The end of the last line may be missing: it is whole without.
    for length in (kept..whole.len() - 1).step_by(13) {
        let path = folder.path().join("cut.jsonl");
        fs::write(&path, &whole[..length]).unwrap();
        let (mut store, keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
        assert_eq!(urls(&mut store), ["http://1.1.1.1:1"], "cut after {length} bytes");
        store.save(&upserts(&["http://4.4.4.4:4"])).unwrap();
        drop((store, keys));
        let (mut store, _keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
        assert_eq!(urls(&mut store), ["http://1.1.1.1:1", "http://4.4.4.4:4"], "cut after {length} bytes");
    }
}

#[test]
fn lines_that_people_append_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.jsonl");
    fs::write(&path, "\n{\"url\":\"http://1.1.1.1:1\",\"source\":\"mine\"}\n\n{\"url\":\"http://2.2.2.2:2\"}").unwrap();
    let (mut store, _keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    store.save(&upserts(&["http://3.3.3.3:3"])).unwrap();
    drop((store, _keys));
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"removed\":\"http://2.2.2.2:2\"}\n").unwrap();
    let (mut store, _keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    assert_eq!(urls(&mut store), ["http://1.1.1.1:1", "http://3.3.3.3:3"]);
}

#[test]
fn json_lines_are_written_anew_when_most_of_them_are_past() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.jsonl");
    let (mut store, keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    let mut most = 0;
    for round in 0..60_u64 {
        let changed = (1..=100).map(|port| {
            let mut changed = member(&format!("http://1.1.1.1:{port}"));
            changed.statistics.successes = round;
            changed
        });
        store.save(&Changes { upserts: changed.collect(), ..Changes::default() }).unwrap();
        most = most.max(fs::metadata(&path).unwrap().len());
    }
    // 60 times 100 lines, and at the most three times 100 and 1,000 of them at once.
    assert!(most < 700_000, "{most} bytes");
    drop((store, keys));
    let (mut store, _keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    assert_eq!(store.load().unwrap()[0].statistics.successes, 59);
}

#[test]
fn a_file_that_was_taken_away_is_there_again_after_the_next_save() {
    for (_folder, name, path, form) in files() {
        let (mut store, _keys) = open(&path, form, Access::Write).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        fs::remove_file(&path).unwrap();
        store.save(&upserts(&["http://2.2.2.2:2"])).unwrap();
        let (mut reader, _) = open(&path, form, Access::Read).unwrap();
        assert_eq!(urls(&mut reader), ["http://1.1.1.1:1", "http://2.2.2.2:2"], "{name}");
    }
}

#[test]
fn json_lines_that_somebody_has_changed_are_written_anew() {
    /// What somebody makes of a file, with these lines.
    type Change = fn(&Path, &str);
    let other = |port: u32| format!("{{\"url\":\"http://9.9.9.9:{port}\",\"source\":\"somebody\"}}\n");
    let others = (1..100).map(other).collect::<String>();
    let changes: [(&str, Change); 4] = [
        ("another file", |path, others| {
            let new = path.with_file_name("new");
            fs::write(&new, others).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("another one that is as long", |path, others| {
            let (new, length) = (path.with_file_name("new"), fs::metadata(path).unwrap().len());
            fs::write(&new, &others.as_bytes()[..usize::try_from(length).unwrap()]).unwrap();
            fs::rename(new, path).unwrap();
        }),
        ("the same with other lines", |path, others| fs::write(path, others).unwrap()),
        ("more lines", |path, others| {
            fs::OpenOptions::new().append(true).open(path).unwrap().write_all(others.as_bytes()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.jsonl");
        let (mut store, _keys) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        change(&path, &others);
        store.save(&upserts(&["http://2.2.2.2:2"])).unwrap();
        store.save(&upserts(&["http://3.3.3.3:3"])).unwrap();
        drop((store, _keys));
        let mut store =
            open(&path, FileForm::JsonLines, Access::Write).map_err(|error| format!("{what}: {error}")).unwrap().0;
        assert_eq!(urls(&mut store), ["http://1.1.1.1:1", "http://2.2.2.2:2", "http://3.3.3.3:3"], "{what}");
    }
}

#[test]
fn what_could_not_be_saved_is_saved_later_and_until_then_the_file_is_as_it_was() {
    for (folder, name, path, form) in files() {
        let (mut store, keys) = open(&path, form, Access::Write).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        // A folder in the place of what is written, which stops root too.
        let aside = folder.path().join("aside");
        let obstacle =
            if form == FileForm::JsonLines { path.clone() } else { folder.path().join(format!(".{name}.tmp")) };
        if form == FileForm::JsonLines {
            fs::rename(&path, &aside).unwrap();
        }
        fs::create_dir(&obstacle).unwrap();
        keys.set("p", "k", &write(b"v"), at(0)).unwrap();
        let refused = store.save(&upserts(&["http://2.2.2.2:2"])).unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
        assert!(keys.sync().is_err());
        fs::remove_dir(&obstacle).unwrap();
        if form == FileForm::JsonLines {
            fs::rename(&aside, &path).unwrap();
        }
        assert_eq!(urls(&mut store), ["http://1.1.1.1:1"], "{name}");
        store.save(&upserts(&["http://3.3.3.3:3"])).unwrap();
        drop((store, keys));
        let (mut store, keys) = open(&path, form, Access::Write).unwrap();
        assert_eq!(urls(&mut store), ["http://1.1.1.1:1", "http://3.3.3.3:3"], "{name}");
        assert!(keys.get("p", "k", at(0)).unwrap().is_some(), "{name}: what plugins keep waits for the next save");
    }
}

#[cfg(unix)]
#[test]
fn it_is_for_its_owner_only_unless_the_owner_says_otherwise_and_a_link_stays_one() {
    use std::os::unix::fs::PermissionsExt;
    for (folder, name, path, form) in files() {
        let link = folder.path().join("link");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (mut store, keys) = open(&path, form, Access::Write).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        assert_eq!(mode(&path), 0o600, "{name}");
        drop((store, keys));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let (mut store, _keys) = open(&link, form, Access::Write).unwrap();
        store.save(&upserts(&["http://2.2.2.2:2"])).unwrap();
        assert_eq!(mode(&path), 0o640, "{name}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(urls(&mut store).len(), 2);
    }
}

#[test]
fn a_document_may_begin_with_a_mark_and_is_no_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.json");
    fs::write(&path, "\u{feff}{\"proxies\": [{\"url\": \"http://1.1.1.1:1\"}]}").unwrap();
    let (mut store, _) = open(&path, FileForm::Json, Access::Read).unwrap();
    assert_eq!(urls(&mut store), ["http://1.1.1.1:1"]);
    fs::write(&path, "[{\"url\": \"http://1.1.1.1:1\"}]").unwrap();
    let told = error(&path, FileForm::Json);
    assert!(told.contains("corrupt (a list, and not an object such as {\"proxies\": []})"), "{told}");
}

#[test]
fn a_copy_that_broke_off_is_read_as_far_as_it_goes_and_kept_aside_before_it_is_written() {
    let all: Vec<String> = (0..100).map(|number| format!("http://1.1.1.{number}:1")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for is_written_anew in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.jsonl");
        let (mut store, _) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
        store.save(&upserts(&all)).unwrap();
        if is_written_anew {
            store.purge().unwrap();
        }
        drop(store);
        let whole = fs::read(&path).unwrap();
        let cut = &whole[..whole.len() / 2];
        fs::write(&path, cut).unwrap();
        // Who only reads changes nothing.
        let (mut store, _) = open(&path, FileForm::JsonLines, Access::Read).unwrap();
        let found = urls(&mut store);
        assert!(found.len() > 40 && found.len() < 60, "{}", found.len());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the pool alone");
        let (mut store, _) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
        let kept = folder.path().join("pool.jsonl.damaged");
        assert_eq!(fs::read(&kept).unwrap(), cut);
        store.save(&upserts(&["http://2.2.2.2:2"])).unwrap();
        drop(store);
        let (mut store, _) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
        assert_eq!(urls(&mut store).len(), found.len() + 1, "nothing of what was read is lost");
        assert!(!folder.path().join("pool.jsonl.damaged.1").exists(), "it is whole again");
        drop(store);
        // Another one that breaks off does not take the place of the first.
        fs::write(&path, cut).unwrap();
        drop(open(&path, FileForm::JsonLines, Access::Write).unwrap());
        assert_eq!(fs::read(folder.path().join("pool.jsonl.damaged.1")).unwrap(), cut);
    }
}

#[test]
fn an_ordinary_save_that_was_cut_off_damages_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.jsonl");
    let (mut store, _) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    let all: Vec<String> = (0..20).map(|number| format!("http://1.1.1.{number}:1")).collect();
    store.save(&upserts(&all.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    store.purge().unwrap();
    store.save(&upserts(&["http://2.2.2.2:2", "http://2.2.2.3:2", "http://2.2.2.4:2"])).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 10]).unwrap();
    let (mut store, _) = open(&path, FileForm::JsonLines, Access::Write).unwrap();
    assert_eq!(urls(&mut store), all);
    assert!(!folder.path().join("pool.jsonl.damaged").exists());
}

#[test]
fn what_cannot_be_read_shows_no_password() {
    let row = r#"{"url":"http://1.1.1.1:1","username":"me","password":778899}"#;
    for (name, text) in [("pool.json", format!("{{\"proxies\":[{row}]}}")), ("pool.jsonl", format!("{row}\n"))] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let url = format!("file:{name}").parse::<crate::StoreUrl>().unwrap().within(folder.path());
        let error = url.open().unwrap_err().to_string();
        assert!(error.contains("a field is not a string") && !error.contains("778899"), "{error}");
    }
}

#[test]
fn a_password_goes_with_the_user_name_that_there_is_or_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = "file:pool.json".parse::<crate::StoreUrl>().unwrap().within(folder.path());
    let of = |row: &str| {
        fs::write(folder.path().join("pool.json"), format!("{{\"proxies\":[{row}]}}")).unwrap();
        url.open_to_read().map(|mut opened| urls(&mut *opened.store)).map_err(|error| error.to_string())
    };
    assert_eq!(of(r#"{"url":"http://me@1.1.1.1:1","password":"p"}"#).unwrap(), ["http://me:p@1.1.1.1:1"]);
    assert_eq!(of(r#"{"url":"http://me:own@1.1.1.1:1","password":"p"}"#).unwrap(), ["http://me:own@1.1.1.1:1"]);
    assert_eq!(of(r#"{"url":"http://1.1.1.1:1","password":""}"#).unwrap(), ["http://1.1.1.1:1"]);
    let error = of(r#"{"url":"http://1.1.1.1:1","password":"hunter2"}"#).unwrap_err();
    assert!(error.contains("a password without a username") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_file_that_cannot_be_saved_is_an_error_at_the_start() {
    for (folder, name, path, form) in files() {
        let (mut store, _) = open(&path, form, Access::Write).unwrap();
        store.save(&upserts(&["http://1.1.1.1:1"])).unwrap();
        drop(store);
        let before = fs::read(&path).unwrap();
        // Where the temporary file would be, nothing can be written: a folder is in its place, for the superuser too.
        let temporary = disk::beside(&path, "tmp");
        fs::create_dir(&temporary).unwrap();
        assert!(error(&path, form).contains("cannot be read or written"), "{name}: {}", error(&path, form));
        assert_eq!(open(&path, form, Access::Read).unwrap().0.load().unwrap().len(), 1, "{name}");
        fs::remove_dir(&temporary).unwrap();
        drop(open(&path, form, Access::Write).unwrap());
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (before, 1), "{name}");
    }
}
