//! Uploads whose client waits to be told to go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxywhirl_core::pool::Admission;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::clients::{LIMIT, answer, rest, status};
use crate::scene::{PATIENCE, Scene, Scripted, candidate, read_head, serving};

/// More than is kept.
const LENGTH: usize = 100_000;

/// What an upstream says when it has the head.
type Says = &'static [u8];

/// An upstream that says this when it has the head, and takes the body of whom it does not refuse; and the heads that it got.
async fn saying(says: Says) -> (Scripted, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let upstream = serving({
        let heads = Arc::clone(&heads);
        move |mut stream| {
            let heads = Arc::clone(&heads);
            async move {
                let head = read_head(&mut stream).await;
                let is_asked = head.contains("\r\nExpect: 100-continue\r\n");
                heads.lock().unwrap().push(head);
                if is_asked && (stream.write_all(says).await.is_err() || is_final(says)) {
                    return;
                }
                let mut body = vec![0; LENGTH];
                if stream.read_exact(&mut body).await.is_ok() {
                    stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.ok();
                }
            }
        }
    })
    .await;
    (upstream, heads)
}

fn is_final(says: Says) -> bool {
    !says.is_empty() && !says.starts_with(b"HTTP/1.1 1")
}

/// A client that has sent its head, and waits.
async fn waiting(scene: &Scene, method: &str) -> TcpStream {
    let mut client = scene.client().await;
    let head = format!(
        "{method} http://example.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\nExpect: 100-continue\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client
}

/// What a client hears that goes on when it is told to: that, and the status of its answer.
async fn told(scene: &Scene, method: &str) -> (String, u16) {
    let mut client = waiting(scene, method).await;
    let first = timeout(LIMIT, read_head(&mut client)).await.expect("an answer");
    if status(&first) != 100 {
        return (String::new(), status(&first));
    }
    client.write_all(&vec![b'x'; LENGTH]).await.unwrap();
    (first, status(&answer(&mut client).await.0))
}

const GO_ON: Says = b"HTTP/1.1 100 Continue\r\n\r\n";

#[tokio::test]
async fn who_is_refused_is_told_before_it_has_sent_anything() {
    let (refuses, heads) = saying(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno\n").await;
    let scene = Scene::new(&[&refuses.url]).await;
    let mut client = waiting(&scene, "POST").await;
    let (head, body) = answer(&mut client).await;
    assert_eq!((status(&head), &*body), (413, &b"no\n"[..]), "{head}");
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn another_one_is_asked_as_long_as_nothing_of_the_body_was_sent() {
    for refusal in [
        &b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ] {
        let ((refuses, refused), (good, served)) = (saying(refusal).await, saying(GO_ON).await);
        for method in ["POST", "PUT"] {
            let scene = Scene::new(&[&refuses.url, &good.url]).await;
            assert_eq!(told(&scene, method).await, ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), 201), "{method}");
            assert!(scene.failures(&refuses.url) > 0);
        }
        assert_eq!((refused.lock().unwrap().len(), served.lock().unwrap().len()), (2, 2));
    }
}

#[tokio::test]
async fn two_that_say_the_same_mean_it() {
    const BUSY: Says = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let ((first, _), (second, heads)) = (saying(BUSY).await, saying(BUSY).await);
    let scene = Scene::new(&[&first.url, &second.url]).await;
    assert_eq!(told(&scene, "POST").await, (String::new(), 503));
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_of_an_upstream_that_is_silent_or_knows_nothing_of_it_goes_on() {
    const HINTS: Says = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    for (says, first, heads, least) in [
        (&b""[..], "HTTP/1.1 100 Continue\r\n\r\n", 1, PATIENCE),
        (b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n", 2, Duration::ZERO),
        (GO_ON, "HTTP/1.1 100 Continue\r\n\r\n", 1, Duration::ZERO),
    ] {
        let (upstream, seen) = saying(says).await;
        let scene = Scene::new(&[&upstream.url]).await;
        let began = Instant::now();
        assert_eq!(told(&scene, "PUT").await, (first.to_owned(), 201));
        assert!(began.elapsed() >= least && began.elapsed() < LIMIT);
        assert_eq!(seen.lock().unwrap().len(), heads);
        assert!(seen.lock().unwrap()[0].contains("\r\nExpect: 100-continue\r\n"));
        assert_eq!(scene.failures(&upstream.url), 0);
    }
    let (hints, _) = saying(HINTS).await;
    let scene = Scene::new(&[&hints.url]).await;
    let mut client = waiting(&scene, "PUT").await;
    assert_eq!(status(&read_head(&mut client).await), 103);
    assert_eq!(status(&read_head(&mut client).await), 100);
}

/// An upstream that takes everything, and says nothing.
async fn silent() -> Scripted {
    serving(|mut stream| async move {
        while stream.read_buf(&mut Vec::with_capacity(LENGTH)).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

#[tokio::test]
async fn two_that_are_silent_one_after_the_other_get_no_body_where_another_one_is_left() {
    let (dead, (good, served)) = ([silent().await, silent().await], saying(GO_ON).await);
    let scene = Scene::new(&[&dead[0].url, &dead[1].url, &good.url]).await;
    for number in 1..=6 {
        let began = Instant::now();
        assert_eq!(told(&scene, "PUT").await, ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), 201), "{number}");
        assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
    }
    assert_eq!(served.lock().unwrap().len(), 6);
    assert_eq!(scene.failures(&good.url), 0);
}

#[tokio::test]
async fn where_all_wait_for_the_body_one_of_them_gets_it_and_nobody_pays() {
    let (first, second, third) = (saying(b"").await.0, saying(b"").await.0, saying(b"").await.0);
    let urls = [&first.url, &second.url, &third.url];
    let scene = Scene::new(&urls).await;
    for _ in 0..4 {
        let began = Instant::now();
        assert_eq!(told(&scene, "PUT").await.1, 201);
        assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
    }
    assert_eq!(urls.map(|url| scene.failures(url)), [0; 3]);
}

#[tokio::test]
async fn another_one_is_asked_too_while_one_is_silent_of_whom_nobody_knows_whether_it_is_dead() {
    let dead = silent().await;
    // Those that know of the word and those that do not, but have served somebody.
    for (says, is_known) in [(GO_ON, false), (&b""[..], true)] {
        let (good, _) = saying(says).await;
        let scene = Scene::new(&[&good.url]).await;
        if is_known {
            assert_eq!(told(&scene, "PUT").await.1, 201);
        }
        scene.engine.admit(vec![Admission::Vouched(Box::new(candidate(&dead.url)))]).await;
        for _ in 0..4 {
            let began = Instant::now();
            assert_eq!(told(&scene, "POST").await.1, 201);
            assert!(began.elapsed() < LIMIT / 2, "{:?}", began.elapsed());
        }
        // Where the other one has said nothing either, the silence may have been the origin's.
        assert_eq!(scene.failures(&dead.url) == 0, is_known);
        assert_eq!(scene.failures(&good.url), 0);
    }
}
