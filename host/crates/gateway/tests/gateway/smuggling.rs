//! Requests whose end can be understood in two ways: what passes the gateway is what another implementation reads of the
//! same bytes, up to where the gateway refuses to go on.
//!
//! The other implementation is hyper, twice: it reads the client's bytes straight, and it is the upstream. So nothing can
//! reach an upstream as a request that the client's bytes do not plainly say, whichever of the two is right.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::scene::Scene;

/// For a client that hears nothing more: the gateway holds back nothing that it could answer.
const ANSWERED: Duration = Duration::from_secs(20);

/// A request as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    path: String,
    body: Bytes,
}

type Ledger = Arc<Mutex<Vec<Seen>>>;

/// Reads requests with hyper, writes down those that come to an end, and answers them.
async fn read_by_hyper(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, ledger: Ledger) {
    let service = service_fn(move |request: Request<Incoming>| {
        let ledger = Arc::clone(&ledger);
        async move {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let Ok(body) = request.into_body().collect().await else {
                return Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()));
            };
            let seen = Seen { method, path, body: body.to_bytes() };
            ledger.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
            Ok(Response::new(Empty::new()))
        }
    });
    // What it refuses it has not written down.
    http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service).await.ok();
}

/// What hyper reads of a client's bytes.
async fn straight(bytes: &[u8]) -> Vec<Seen> {
    let ledger = Ledger::default();
    let (mut client, server) = tokio::io::duplex(1024 * 1024);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let reading = read_by_hyper(server, Arc::clone(&ledger));
    let hearing = async { client.read_to_end(&mut Vec::new()).await };
    let (_, heard) = tokio::join!(reading, hearing);
    heard.unwrap();
    let mut ledger = ledger.lock().unwrap();
    std::mem::take(&mut *ledger)
}

/// Sends a client's bytes to the gateway, and waits until it has nothing more to say.
async fn send(scene: &Scene, bytes: &[u8]) {
    let mut client: TcpStream = scene.client().await;
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    // A reset is an end as well.
    tokio::time::timeout(ANSWERED, client.read_to_end(&mut heard)).await.expect("the gateway ends").ok();
}

/// One of these texts.
fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

/// A field about the length of a body, well formed or not.
fn framing() -> impl Strategy<Value = String> {
    let length = one_of(&[
        "0",
        "3",
        "5",
        "33",
        "05",
        "+5",
        "-1",
        " 5",
        "5 ",
        "5, 5",
        "5,6",
        "0x5",
        "5\t",
        "",
        "99999999999999999999",
    ]);
    let coding = one_of(&[
        "chunked",
        "Chunked",
        "chunked ",
        "\tchunked",
        "\u{b}chunked",
        "xchunked",
        "identity",
        "gzip, chunked",
        "chunked, identity",
        "chunked, chunked",
        "\"chunked\"",
        "",
    ]);
    let length_name =
        one_of(&["Content-Length", "content-length", "Content-Length ", " Content-Length", "Content_Length"]);
    let coding_name = one_of(&[
        "Transfer-Encoding",
        "transfer-encoding",
        "Transfer-Encoding ",
        "X: y\r\n Transfer-Encoding",
        "Transfer-Encoding\0",
    ]);
    let end = one_of(&["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n"]).boxed();
    let field = |name: BoxedStrategy<String>, value: BoxedStrategy<String>| (name, value, end.clone());
    let written = |(name, value, end): (String, String, String)| format!("{name}: {value}{end}");
    prop_oneof![
        field(length_name.boxed(), length.boxed()).prop_map(written),
        field(coding_name.boxed(), coding.boxed()).prop_map(written),
        one_of(&[
            "Connection: close\r\n",
            "Connection: Content-Length\r\n",
            "Connection: keep-alive, transfer-encoding\r\n"
        ]),
    ]
}

/// What follows a head: nothing, plain bytes, chunks well and badly framed, another request.
fn body() -> impl Strategy<Value = String> {
    let piece = one_of(&[
        "",
        "abc",
        "hello",
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "0\r\nA: b\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "GET http://origin.test/CASE/smuggled HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        "3\r\nGET\r\n",
    ]);
    prop::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat())
}

fn request() -> impl Strategy<Value = String> {
    let method = one_of(&["GET", "POST", "PUT", "HEAD", "DELETE"]);
    let version = one_of(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let fields = prop::collection::vec(framing(), 0..3).prop_map(|fields| fields.concat());
    (method, version, fields, body()).prop_map(|(method, version, fields, body)| {
        format!("{method} http://origin.test/CASE/plain {version}\r\nHost: origin.test\r\n{fields}\r\n{body}")
    })
}

#[test]
fn what_passes_is_what_another_implementation_reads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ledger = Ledger::default();
    let scene = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let written = Arc::clone(&ledger);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(read_by_hyper(stream, Arc::clone(&written)));
            }
        });
        Scene::new(&[url]).await
    });
    let (number, passed) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 2_000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&prop::collection::vec(request(), 1..4), |requests| {
        number.set(number.get() + 1);
        // Late news of an earlier case must not be taken for this one's.
        let case = format!("/{}/", number.get());
        let bytes = requests.concat().replace("/CASE/", &case);
        let (through, straight) = runtime.block_on(async {
            send(&scene, bytes.as_bytes()).await;
            let through: Vec<Seen> =
                ledger.lock().unwrap().drain(..).filter(|seen| seen.path.starts_with(&case)).collect();
            (through, straight(bytes.as_bytes()).await)
        });
        passed.set(passed.get() + through.len());
        prop_assert!(straight.starts_with(&through), "{:?}\nthrough {:?}\nstraight {:?}", bytes, through, straight);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let (number, passed) = (number.get(), passed.get());
    assert!(passed > 500, "only {passed} requests passed in {number} cases: this tests nothing");
}
