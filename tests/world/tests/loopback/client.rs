//! A client that says bytes and hears bytes, every wait bounded.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.unwrap())
    }

    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream) }
    }

    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn finish_saying(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(crate) async fn hear_exactly(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        bounded(self.stream.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    /// Up to and with the empty line.
    pub(crate) async fn hear_head(&mut self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(bounded(self.stream.read_u8()).await.unwrap());
        }
        String::from_utf8(bytes).unwrap()
    }

    /// A response with a content-length: head and body.
    pub(crate) async fn hear_response(&mut self) -> (String, String) {
        let head = self.hear_head().await;
        let length = header(&head, "content-length").unwrap().parse().unwrap();
        let body = self.hear_exactly(length).await;
        (head, String::from_utf8(body).unwrap())
    }

    /// Everything until the connection ends, in whatever way.
    pub(crate) async fn hear_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(n @ 1..) = bounded(self.stream.read(&mut buffer)).await {
            bytes.extend_from_slice(&buffer[..n]);
        }
        bytes
    }

    /// Whether the peer says nothing, and does not close, for a while.
    pub(crate) async fn hears_nothing_for(&mut self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.stream.read_u8()).await.is_err()
    }
}

/// Says `bytes` on a new connection and hears everything.
pub(crate) async fn talk(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(addr).await;
    client.say(bytes).await;
    String::from_utf8_lossy(&client.hear_all().await).into_owned()
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

pub(crate) async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for too long")
}
