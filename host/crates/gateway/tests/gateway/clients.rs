//! Clients of the four protocols.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scene::read_head;

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Get,
    Connect,
    Socks4a,
    Socks5,
}

impl Client {
    pub(crate) const ALL: [Self; 4] = [Self::Get, Self::Connect, Self::Socks4a, Self::Socks5];

    /// Asks the origin for a path through the gateway and says what came, or what the gateway said instead.
    pub(crate) async fn ask(self, gateway: SocketAddr, origin: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(gateway).await.unwrap();
        if self == Self::Get {
            return exchange(&mut stream, &get(origin, path)).await;
        }
        match self.open(&mut stream, origin).await {
            Ok(()) => {
                let request = format!("GET {path} HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n");
                exchange(&mut stream, &request).await
            }
            Err(refusal) => refusal,
        }
    }

    /// Opens a tunnel.
    pub(crate) async fn open(self, stream: &mut TcpStream, origin: SocketAddr) -> Result<(), String> {
        let opening = async {
            match self {
                Self::Get => Err("no tunnel".to_owned()),
                Self::Connect => {
                    let request = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let head = read_head(stream).await;
                    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(head) }
                }
                Self::Socks4a => {
                    let mut request = vec![4, 1];
                    request.extend(origin.port().to_be_bytes());
                    request.extend([0, 0, 0, 1]);
                    request.extend(b"me\0");
                    request.extend(origin.ip().to_string().as_bytes());
                    request.push(0);
                    stream.write_all(&request).await.unwrap();
                    let mut reply = [0; 8];
                    stream.read_exact(&mut reply).await.map_err(|error| error.to_string())?;
                    if reply[..2] == [0, 90] { Ok(()) } else { Err(format!("{reply:?}")) }
                }
                Self::Socks5 => {
                    stream.write_all(&[5, 1, 0]).await.unwrap();
                    let mut reply = [0; 2];
                    stream.read_exact(&mut reply).await.map_err(|error| error.to_string())?;
                    assert_eq!(reply, [5, 0]);
                    let std::net::IpAddr::V4(ip) = origin.ip() else { panic!("not IPv4") };
                    let address = [&[5, 1, 0, 1][..], &ip.octets(), &origin.port().to_be_bytes()].concat();
                    stream.write_all(&address).await.unwrap();
                    let mut reply = [0; 10];
                    stream.read_exact(&mut reply).await.map_err(|error| error.to_string())?;
                    if reply[1] == 0 { Ok(()) } else { Err(format!("{reply:?}")) }
                }
            }
        };
        timeout(LIMIT, opening).await.expect("a tunnel within the limit")
    }
}

/// A GET in absolute form, after which the connection ends.
pub(crate) fn get(origin: SocketAddr, path: &str) -> String {
    format!("GET http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n\r\n")
}

/// Sends, and reads until the other side closes.
pub(crate) async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(stream).await
}

/// What comes until the other side closes.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("an end within the limit").ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer on a connection that goes on: head, and body of the length that the head names.
pub(crate) async fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let reading = async {
        let head = read_head(stream).await;
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        (head, body)
    };
    timeout(LIMIT, reading).await.expect("an answer within the limit")
}

pub(crate) fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {reply:?}"))
}

pub(crate) fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The answer to a ClientHello: a ServerHello without extensions.
pub(crate) const SERVER_HELLO: &[u8] =
    b"\x16\x03\x03\0\x2a\x02\0\0\x26\x03\x03a random one of thirty-two bytes\0\x13\x01\0";

/// The first flight of a client: a ClientHello, and what follows it.
pub(crate) fn hello(behind: &[u8]) -> Vec<u8> {
    let message = [&[1, 0, 0, 60][..], &[7; 60]].concat();
    [&[0x16, 3, 1, 0, 64][..], &message, behind].concat()
}
