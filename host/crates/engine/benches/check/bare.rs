//! The least that a check can be: connect, send, read, close.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::Level;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::{Kind, World};

/// As long as the checks' own.
const TIMEOUT: Duration = crate::TIMEOUT;

/// The same connections and requests, without looking at what comes.
pub(crate) async fn pass(world: &World, level: Level, concurrency: usize) {
    let permits = Arc::new(Semaphore::new(concurrency));
    let mut tasks = JoinSet::new();
    let request: Arc<[u8]> = format!(
        "GET http://{0}/judge?nonce={1} HTTP/1.1\r\nHost: {0}\r\nUser-Agent: bare/1.0\r\nAccept: application/json\r\n\
         X-Judge-Nonce: {1}\r\nConnection: close\r\n\r\n",
        world.judge,
        "0".repeat(32),
    )
    .into_bytes()
    .into();
    for (address, _) in world.proxies.iter().copied() {
        let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
        let request = Arc::clone(&request);
        tasks.spawn(async move {
            let work = async {
                let mut stream = TcpStream::connect(address).await?;
                if level == Level::Http {
                    stream.write_all(&request).await?;
                    let mut answer = Vec::with_capacity(2048);
                    stream.read_to_end(&mut answer).await?;
                }
                std::io::Result::Ok(())
            };
            // Whether it works is not looked at.
            drop(timeout(TIMEOUT, work).await);
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    assert!(world.proxies.iter().any(|(_, kind)| *kind == Kind::Good));
}
