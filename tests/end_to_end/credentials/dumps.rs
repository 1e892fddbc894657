//! What a crash leaves: no image of the memory, in which the passwords are, unless one is wanted.

use std::fs;
use std::path::Path;
use std::process::Command;

use proxywhirl_tests::{Served, binary, file, folder, wait_until};

/// Whether the system would write an image into the folder of the process.
fn system_writes_images() -> bool {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    !pattern.is_empty() && !pattern.starts_with(['|', '/'])
}

fn images(folder: &Path) -> usize {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("core")).count()
}

/// Crashes a gateway; how many images that left.
fn crash(config: &str) -> usize {
    let folder = folder();
    file(&folder, "list.txt", "http://me:hunter2@127.0.0.1:1");
    let config = file(&folder, "proxywhirl.toml", format!("{config}\n[control]\nsocket = false\n"));
    let serve = "ulimit -c unlimited; exec \"$0\" serve --listen 127.0.0.1:0 --proxies list.txt --config \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", serve]).arg(binary()).arg(config).current_dir(folder.path());
    shell.env("XDG_CACHE_HOME", binary().with_file_name("end-to-end-cache"));
    let served = Served::of(&mut shell);
    served.signal("ABRT");
    wait_until("the crash", || served.is_gone());
    images(folder.path())
}

#[test]
fn a_crash_leaves_no_image_of_the_memory_unless_one_is_wanted() {
    if !system_writes_images() {
        // Then what becomes of an image is not to be seen here.
        return;
    }
    assert_eq!(crash("core_dumps = true"), 1, "the system writes none");
    assert_eq!(crash(""), 0);
}
