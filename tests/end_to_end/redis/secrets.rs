//! Keys that are rotated while a gateway uses the store.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxywhirl_tests::{RedisServer, Served, file, folder, proxywhirl, run, wait_until};

/// A way to a server, on which something is done before members are asked for: whoever asks has more time for the answer than for a
/// connection. It ends with the process of the test.
fn way(port: u16, before: impl Fn() + Send + Sync + 'static) -> SocketAddr {
    let (listener, before) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(before));
    let place = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let before = Arc::clone(&before);
            thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while let Ok(count @ 1..) = asks.read(&mut buffer) {
                    if buffer[..count].windows(13).any(|word| word == b"ZRANGEBYSCORE") {
                        before();
                    }
                    if asked.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                drop(asked.shutdown(Shutdown::Both));
            });
            thread::spawn(move || {
                drop(io::copy(&mut server, &mut client));
                drop(client.shutdown(Shutdown::Both));
            });
        }
    });
    place
}

#[test]
fn no_key_is_forgotten_that_a_gateway_seals_with_still() {
    // A gateway that hears of the other seal before it saves leaves the proxy as it is: then there is nothing to see here.
    assert!(
        (0..5).any(|_| is_kept_when_a_gateway_seals_with_it()),
        "the gateway has never saved before it heard of the rotation"
    );
}

/// Rotates keys while a gateway learns of another password, and looks at what comes of it; false when the gateway has not saved it
/// with the old key.
fn is_kept_when_a_gateway_seals_with_it() -> bool {
    let (folder, server) = (folder(), Arc::new(RedisServer::start([""; 0])));
    let path = folder.path().to_path_buf();
    let command = move |words: &[&str]| run(proxywhirl(words).current_dir(&path));
    assert_eq!(command(&["secrets", "init", "store.key"]).code, Some(0));
    let keys = || fs::read_to_string(folder.path().join("store.key")).unwrap().lines().count();
    file(&folder, "list.txt", "http://user:hunter2@192.0.2.1:80");
    let source = "[[sources]]\nname = \"own\"\nlocation = \"list.txt\"\ntrust = true\n";
    let store = format!("[store]\nurl = \"{}\"\nkey_file = \"store.key\"\n", server.url());
    let config = file(&folder, "proxywhirl.toml", format!("{store}{source}"));
    let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let mut serve = proxywhirl(["serve", "--listen", "127.0.0.1:0", "--config", &config, "--control", &socket]);
    let served = Served::of(serve.current_dir(folder.path()));
    let kept = |server: &RedisServer| server.ask(&["HVALS", "{proxywhirl:default}:members"]);
    wait_until("it is kept", || kept(&server).contains("192.0.2.1"));
    let first = kept(&server);
    assert!(!first.contains("hunter2"), "{first}");

    // When all is sealed with the new key, and before it is looked whether it is, the gateway learns of another password.
    let list = folder.path().join("list.txt");
    let [has_begun, is_done] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    // The way lasts longer than the test, and a server that somebody holds is never ended.
    let (begun, done, server_there) = (Arc::clone(&has_begun), Arc::clone(&is_done), Arc::downgrade(&server));
    let place = way(server.port(), move || {
        let Some(ask) = server_there.upgrade() else { return };
        let now = kept(&ask);
        if now != first && !begun.swap(true, Ordering::Relaxed) {
            // Whoever rotates waits five seconds for an answer.
            let end = Instant::now() + Duration::from_secs(4);
            fs::write(&list, "http://user:hunter2-new@192.0.2.1:80").unwrap();
            let ran = run(proxywhirl(["refresh"]).env("PROXYWHIRL_CONTROL", &socket));
            assert_eq!(ran.code, Some(0), "{ran:?}");
            while !done.load(Ordering::Relaxed) && Instant::now() < end {
                done.store(kept(&ask) != now, Ordering::Relaxed);
            }
        }
    });
    let db = format!("redis://{place}");
    let rotate = ["secrets", "rotate", "--db", &db, "--key-file", "store.key", "--forget"];
    let refused = command(&rotate);
    assert!(has_begun.load(Ordering::Relaxed), "{refused:?}");
    if !is_done.load(Ordering::Relaxed) {
        return false;
    }
    assert_eq!((refused.code, keys()), (Some(4), 2), "{refused:?}");
    assert!(
        refused.stderr.contains("1 password is sealed with another key again, so no key was forgotten"),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("start it again, or stop it, then rotate again"), "{refused:?}");
    // As it says.
    assert_eq!(served.stop().0, Some(0));
    let done = command(&rotate);
    assert_eq!((done.code, keys()), (Some(0), 1), "{done:?}");
    let list = command(&["pool", "list", "--db", &server.url(), "--key-file", "store.key", "--show-passwords"]);
    assert!(list.stdout.contains("hunter2-new"), "{list:?}");
    true
}
