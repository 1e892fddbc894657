//! The other end of the socket: what commands say to the gateway that runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use proxywhirl_store::StoreUrl;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::{Problem, Status};
use super::place;
use crate::exit::{Exit, Failure};

/// For an answer: compiling a large plugin takes most of a minute on a slow machine.
const PATIENCE: Duration = Duration::from_secs(190);

/// For a gateway to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// Bytes of an answer, faults of all plugins with their backtraces included.
const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// A gateway that runs.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The gateway of a configuration: the one at the socket that it names, or the only one that the user runs on this machine; of
    /// several, the only one that keeps its pool where the configuration says. None when none runs.
    ///
    /// # Errors
    /// When there are several, and it is not known which is meant, the only one does not say how it is, or it cannot be known whether
    /// somebody is at the socket.
    pub async fn find(socket: Option<&Path>, store: Option<&StoreUrl>) -> Result<Option<Self>, Failure> {
        if let Some(path) = socket {
            let client = Self::at(path);
            match UnixStream::connect(path).await {
                Ok(_) => return Ok(Some(client)),
                // Nobody is there. Whatever else it is, the gateway that is meant may be, and another one is not to be taken for it.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(client.gone(&error)),
            }
        }
        let (mut running, trouble) = Self::answering(place::known()).await;
        let is_of = |(_, status): &(Self, Status)| store.is_some_and(|store| status.uses(store));
        if running.iter().any(is_of) {
            running.retain(is_of);
        }
        only(&running, trouble)
    }

    /// The gateway that keeps its pool in this store; of several, the one at this socket. None when none that runs does.
    ///
    /// # Errors
    /// As [`Client::find`].
    pub async fn of_store(store: &StoreUrl, socket: Option<&Path>) -> Result<Option<Self>, Failure> {
        let is_of = |(_, status): &(Self, Status)| status.uses(store);
        let (named, in_the_way) = Self::answering(socket.map(Path::to_owned)).await;
        if let Some((client, _)) = named.into_iter().find(is_of) {
            return Ok(Some(client));
        }
        let (mut running, trouble) = Self::answering(place::known()).await;
        running.retain(is_of);
        only(&running, in_the_way.or(trouble))
    }

    /// Those at these sockets that say how they are, and why one that is there does not.
    async fn answering(sockets: impl IntoIterator<Item = PathBuf>) -> (Vec<(Self, Status)>, Option<Failure>) {
        let (mut running, mut trouble) = (Vec::new(), None);
        for path in sockets {
            let client = Self { path };
            match tokio::time::timeout(GREETING, client.get::<Status>("/v1/status")).await {
                Ok(Ok(status)) => running.push((client, status)),
                // One that was left behind is no gateway.
                Ok(Err(failure)) if UnixStream::connect(&client.path).await.is_ok() => trouble = Some(failure),
                Ok(Err(_)) | Err(_) => {}
            }
        }
        (running, trouble)
    }

    /// Whoever is at this socket.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Whether a gateway is there that says that it is stopping.
    pub async fn is_stopping(&self) -> bool {
        let status = tokio::time::timeout(GREETING, self.get::<Status>("/v1/status")).await;
        matches!(status, Ok(Ok(status)) if status.stopping.is_some())
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When the gateway is not there, or refuses.
    pub async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Failure> {
        self.exchange(Method::GET, target, Bytes::new()).await
    }

    /// Has something done.
    ///
    /// # Errors
    /// When the gateway is not there, or refuses.
    pub async fn post<T: DeserializeOwned>(&self, target: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::new(Exit::Usage, error))?;
        self.exchange(Method::POST, target, body.into()).await
    }

    /// Has something done that may take long: it may, as long as the gateway says now and then that it goes on. A refusal
    /// comes as the answer.
    ///
    /// # Errors
    /// When the gateway is not there, or refuses.
    pub async fn post_patiently<T: DeserializeOwned>(&self, target: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::new(Exit::Usage, error))?;
        let mut answer = self.send(Method::POST, target, body.into()).await?.into_body();
        let mut text = Vec::new();
        loop {
            let frame = tokio::time::timeout(PATIENCE, answer.frame()).await;
            let Some(frame) = frame.map_err(|_| self.gone(&"no answer in time"))? else { break };
            let frame = frame.map_err(|error| self.gone(&error))?;
            text.extend_from_slice(frame.data_ref().map_or(&[], |data| data.trim_ascii()));
            if text.len() > MAX_ANSWER {
                return Err(self.gone(&"an answer without an end"));
            }
        }
        if let Ok(problem) = serde_json::from_slice::<Problem>(&text) {
            return Err(problem.into());
        }
        serde_json::from_slice(&text).map_err(|error| {
            self.gone(&format!("an answer that cannot be read: {error}"))
                .hint("is the gateway of another version than this command? restart it")
        })
    }

    /// Follows what has no end, line by line, until the gateway ends or `each` says false.
    ///
    /// # Errors
    /// When the gateway is not there, or refuses.
    pub async fn follow(&self, target: &str, mut each: impl FnMut(&str) -> bool) -> Result<(), Failure> {
        let mut body = self.send(Method::GET, target, Bytes::new()).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.gone(&error))?;
            let Some(data) = frame.data_ref() else { continue };
            rest.extend_from_slice(data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !each(String::from_utf8_lossy(&line).trim_end()) {
                    return Ok(());
                }
            }
            if rest.len() > MAX_ANSWER {
                return Err(self.gone(&"a line without an end"));
            }
        }
        Ok(())
    }

    async fn exchange<T: DeserializeOwned>(&self, method: Method, target: &str, body: Bytes) -> Result<T, Failure> {
        let exchange = async {
            let response = self.send(method, target, body).await?;
            let body = Limited::new(response.into_body(), MAX_ANSWER);
            let body = body.collect().await.map_err(|error| self.gone(&error))?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| {
                self.gone(&format!("an answer that cannot be read: {error}"))
                    .hint("is the gateway of another version than this command? restart it")
            })
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| self.gone(&"no answer in time"))?
    }

    /// Sends a request; what is not a success is a failure.
    async fn send(&self, method: Method, target: &str, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| {
            self.gone(&error).hint("is the gateway running? `proxywhirl serve` says where its control socket is")
        })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.gone(&error))?;
        // Ends with the answer's body.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder().method(method).uri(target).header(HOST, "proxywhirl");
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body));
        let request = request.map_err(|error| self.gone(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.gone(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Err(serde_json::from_slice::<Problem>(&body).map_or_else(|_| self.gone(&status), Failure::from))
    }

    fn gone(&self, what: &impl std::fmt::Display) -> Failure {
        Failure::new(Exit::Environment, format!("the gateway at {}: {what}", self.path.display()))
    }
}

/// The only one of these.
fn only(running: &[(Client, Status)], trouble: Option<Failure>) -> Result<Option<Client>, Failure> {
    match running {
        [] => trouble.map_or(Ok(None), Err),
        [(client, _)] => Ok(Some(client.clone())),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|(client, status)| format!("{} ({})", client.path.display(), status.listen))
                .collect();
            Err(Failure::new(Exit::Usage, format!("several gateways run here: {}", names.join(", ")))
                .hint("say which: --control SOCKET"))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_it_cannot_be_known_whether_the_gateway_is_there_no_other_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let socket = folder.path().join("file/control.sock");
        let failure = Client::find(Some(&socket), None).await.unwrap_err();
        let told = failure.to_string();
        assert!(failure.exit == Exit::Environment && told.contains(&*socket.to_string_lossy()), "{told}");
    }
}
