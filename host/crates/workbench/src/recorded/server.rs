//! A web server on this machine that writes down what it gets, and fails when it is told to.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::format::ServerRow;

/// The longest request, in bytes: more than a plugin may send.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a client may take to send.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests that are kept.
const MAX_REQUESTS: usize = 10_000;

/// A request that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) method: String,
    pub(super) path: String,
    /// Names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// The server. It ends with this value.
pub(super) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    row: ServerRow,
    stop: AtomicBool,
    /// Held to add or to copy; the thread writes, the test reads.
    arrived: Mutex<Vec<Arrived>>,
}

impl Server {
    /// Listens on a free port.
    pub(super) fn start(row: &ServerRow) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { row: *row, stop: AtomicBool::new(false), arrived: Mutex::default() });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("fake-server".to_owned()).spawn(move || own.serve(&listener))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has arrived, in order.
    pub(super) fn requests(&self) -> Vec<Arrived> {
        self.shared.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the thread, which waits for a client. When that fails, the thread has ended already.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn serve(&self, listener: &TcpListener) {
        while let Ok((client, _)) = listener.accept() {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            // A client that breaks off has sent no request.
            drop(self.answer(client));
        }
    }

    fn answer(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let request = read(&mut client)?;
        let number = {
            let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            if arrived.len() < MAX_REQUESTS {
                arrived.push(request);
            }
            arrived.len()
        };
        let status = if number <= self.row.fail { self.row.status } else { self.row.answer };
        let reason = if status < 400 { "OK" } else { "As The Test Says" };
        // Some statuses have no body by definition; for all others it is empty.
        let length = if status == 204 || status == 304 { "" } else { "content-length: 0\r\n" };
        write!(client, "HTTP/1.1 {status} {reason}\r\n{length}connection: close\r\n\r\n")?;
        client.flush()
    }
}

/// Reads one request, whole.
fn read(client: &mut TcpStream) -> io::Result<Arrived> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(request) = parse(&bytes)? {
            return Ok(request);
        }
        let count = client.read(&mut chunk)?;
        if count == 0 || bytes.len() > MAX_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

/// The request, once all of it is there. A body in chunks is not read: whoever asks here knows how long it is.
fn parse(bytes: &[u8]) -> io::Result<Option<Arrived>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    let invalid = |error: httparse::Error| io::Error::new(io::ErrorKind::InvalidData, error);
    let httparse::Status::Complete(start) = head.parse(bytes).map_err(invalid)? else { return Ok(None) };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: BTreeMap<String, String> =
        head.headers.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let Some(body) = start.checked_add(length).and_then(|end| bytes.get(start..end)) else { return Ok(None) };
    let (method, path) = (head.method.unwrap_or_default().to_owned(), head.path.unwrap_or_default().to_owned());
    Ok(Some(Arrived { method, path, headers, body: text(body) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn post(server: &Server, body: &str) -> String {
        let mut client = TcpStream::connect(server.address).unwrap();
        let head =
            format!("POST /hook?x=1 HTTP/1.1\r\nHost: h\r\nX-Sign: abc\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    }

    #[test]
    fn it_fails_as_often_as_it_is_told_and_writes_everything_down() {
        let server = Server::start(&ServerRow { fail: 1, status: 500, answer: 204 }).unwrap();
        assert!(post(&server, "one").starts_with("HTTP/1.1 500"));
        assert!(post(&server, "").starts_with("HTTP/1.1 204"));
        let arrived = server.requests();
        assert_eq!((arrived.len(), &*arrived[0].body, &*arrived[0].path), (2, "one", "/hook?x=1"));
        assert_eq!(arrived[0].headers["x-sign"], "abc");
    }

    #[test]
    fn a_client_that_breaks_off_or_talks_nonsense_is_no_request() {
        let server = Server::start(&ServerRow::default()).unwrap();
        drop(TcpStream::connect(server.address).unwrap());
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"\0\0\0\r\n\r\n").unwrap();
        drop(client);
        assert!(post(&server, "x").starts_with("HTTP/1.1 200"));
        assert_eq!(server.requests().len(), 1);
    }
}
