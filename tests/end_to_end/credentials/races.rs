//! Logins that are read while something newer is said.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proxywhirl_tests::{Ran, Served, curl, file, folder, proxywhirl, run_with_input, wait_until};
use proxywhirl_world::{Protocol, UpstreamOptions, World, WorldPlan};

/// An endpoint that says a login, when it is let: what it was to say when it was asked.
#[derive(Clone, Default)]
struct Endpoint {
    user: Arc<Mutex<String>>,
    is_held: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Endpoint {
    /// It ends with the process of the test.
    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (place, endpoint) = (listener.local_addr().unwrap(), self.clone());
        thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let endpoint = endpoint.clone();
                thread::spawn(move || {
                    drop(client.read(&mut [0; 4_096]));
                    let body = endpoint.body();
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                    drop(client.write_all(answer.as_bytes()));
                });
            }
        });
        place
    }

    fn body(&self) -> String {
        let user = self.user.lock().unwrap().clone();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        while self.is_held.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        format!("{{\"data\": {{\"username\": \"{user}\", \"password\": \"hunter2\"}}}}")
    }

    fn says(&self, user: &str) {
        user.clone_into(&mut self.user.lock().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_late_takes_the_place_of_nothing_that_was_said_since() {
    let upstreams = vec![UpstreamOptions::new(Protocol::Http).any_login()];
    let (world, folder) = (World::start(WorldPlan::new(upstreams)).await.unwrap(), folder());
    let endpoint = Endpoint::default();
    endpoint.says("one");
    let place = endpoint.start();
    file(&folder, "list.txt", format!("http://old:hunter2@{}", world.upstreams()[0].addr()));
    file(&folder, "login.txt", "filed:hunter2");
    let source = "[[sources]]\nname = \"own\"\nlocation = \"list.txt\"\ntrust = true\n";
    let from = format!("url = \"http://{place}/login\"");
    let section = format!("[[credentials]]\nname = \"vault\"\nsource = \"own\"\n{from}\n");
    let config = file(&folder, "proxywhirl.toml", format!("{source}{section}"));
    let socket = folder.path().join("run/control.sock").to_string_lossy().into_owned();
    let mut serve = proxywhirl(["serve", "--listen", "127.0.0.1:0", "--config", &config, "--control", &socket]);
    let served = Served::of(serve.current_dir(folder.path()));
    let command = |words: &[&str]| -> Ran {
        let ran = run_with_input(proxywhirl(words).env("PROXYWHIRL_CONTROL", &socket), "hunter2\n");
        assert_eq!(ran.code, Some(0), "{words:?}: {ran:?}");
        ran
    };
    let login = || {
        let ran = curl(["--fail", "--proxy", &served.proxy("http"), &world.origin().http_url("/ip")]);
        assert_eq!(ran.code, Some(0), "{}", served.log());
        world.upstreams()[0].logins().pop().unwrap().0
    };
    assert_eq!(login(), "one");
    // Something is said while the endpoint takes its time.
    let meanwhile = |said: &dyn Fn()| {
        endpoint.says("late");
        endpoint.is_held.store(true, Ordering::Relaxed);
        thread::scope(|scope| {
            let read = scope.spawn(|| command(&["credentials", "refresh", "vault"]));
            wait_until("it is asked", || endpoint.waiting.load(Ordering::Relaxed) > 0);
            said();
            endpoint.is_held.store(false, Ordering::Relaxed);
            read.join().unwrap();
        });
    };
    meanwhile(&|| drop(command(&["credentials", "set", "vault", "--username", "commanded"])));
    assert_eq!(login(), "commanded");
    meanwhile(&|| {
        let text = fs::read_to_string(&config).unwrap().replace(&from, "file = \"login.txt\"");
        fs::write(&config, text).unwrap();
        command(&["reload"]);
        wait_until("the file's", || login() == "filed");
    });
    assert_eq!(login(), "filed");
}
