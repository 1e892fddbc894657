//! Connections to upstreams that wait for their next request.
//!
//! Dialling is most of what a small request costs, so an HTTP proxy's connection is kept when an answer has been read to
//! its end, and the next request through the same member takes it. What makes that safe:
//!
//! - Only a connection that carried nothing but forwarded requests comes here, never one that was a tunnel or an upgrade.
//! - It belongs to one endpoint with its credentials: a member with a new password has a new endpoint. Where each request
//!   fills in the login of its member, it belongs to those that fill it in alike; when no other can, it is closed.
//! - A connection on which something arrives while it waits is closed: nobody asked for it, and it would be taken for the
//!   answer to the next request.
//! - So many wait for each member and in all, for so long, and only as long as the member is in the pool.
//!
//! hyper-util's pool would want its own client around it, and does not say that a connection has been used before.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use proxywhirl_core::pool::Snapshot;
use proxywhirl_core::spread::Hashed;
use proxywhirl_core::{Endpoint, Member};
use proxywhirl_net::Stream;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::Instant;

use crate::failover::{Alike, Filled, Upstream};

/// Locks among which the members are divided, so that two threads seldom want the same one.
const SHARDS: usize = 16;

/// Nothing waits for longer, whatever is configured.
const MAX_WAIT: Duration = Duration::from_hours(24);

/// A larger buffer is not kept.
const MAX_BUFFER: usize = 4 * 1024;

/// How many connections wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleConfig {
    /// How long a connection waits before it is closed.
    pub timeout: Duration,
    /// How many wait for each member; none when nothing is to be kept.
    pub per_member: usize,
    /// How many wait in all.
    pub total: usize,
}

impl IdleConfig {
    /// Whether any connection may wait.
    pub(crate) fn keeps_any(self) -> bool {
        !self.timeout.is_zero() && self.per_member > 0 && self.total > 0
    }
}

impl Default for IdleConfig {
    fn default() -> Self {
        // NAT tables and proxies forget a silent connection after a minute at the earliest.
        Self { timeout: Duration::from_secs(30), per_member: 128, total: 2048 }
    }
}

/// Connections that wait, by endpoint.
#[derive(Debug, Default)]
pub(crate) struct IdleConnections {
    /// How many wait. It only bounds them, so it may be ahead of the shelves for a moment.
    count: AtomicUsize,
    shards: [Mutex<Shelves>; SHARDS],
}

/// By the address of the endpoint, which the shelf keeps alive, so that it is nobody else's.
type Shelves = HashMap<usize, Shelf, Hashed>;

/// The connections of one endpoint.
#[derive(Debug)]
struct Shelf {
    endpoint: Arc<Endpoint>,
    /// The member's place in the pool.
    slot: u32,
    /// The last one is taken first: it is the least likely to have been closed meanwhile.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    stream: Stream,
    /// The login that it has, where requests fill one in, and who else has it.
    filled: Option<Arc<Filled>>,
    /// What the last answer was read into; empty.
    buffer: BytesMut,
    until: Instant,
}

impl IdleConnections {
    /// Takes a connection on which nothing has happened since it was put here, and a buffer for its answer.
    pub(crate) fn take(&self, upstream: &Upstream) -> Option<(Stream, BytesMut)> {
        let key = key(&upstream.endpoint);
        loop {
            let Waiting { mut stream, buffer, until, .. } = {
                let mut shelves = self.shard(key);
                let waiting = &mut shelves.get_mut(&key)?.waiting;
                let wanted = upstream.filled().map(|filled| &filled.endpoint);
                let own = |waiting: &Waiting| waiting.filled.as_ref().map(|filled| &filled.endpoint) == wanted;
                let last = waiting.iter().rposition(own)?;
                waiting.remove(last)
            };
            self.count.fetch_sub(1, Ordering::Relaxed);
            if until > Instant::now() && is_quiet(&mut stream) {
                return Some((stream, buffer));
            }
        }
    }

    /// Keeps a connection, and the buffer of its answers, for the member's next request, for so long at the most; closes it
    /// when there are enough. Of those with logins of their own, the one that has waited for the longest time makes room.
    pub(crate) fn put(
        &self,
        (member, upstream): (&Member, &Upstream),
        (stream, mut buffer): (Stream, BytesMut),
        limit: Duration,
        config: IdleConfig,
    ) {
        if upstream.filled().is_some_and(|filled| filled.alike == Alike::Nobody) {
            return;
        }
        if self.count.fetch_add(1, Ordering::Relaxed) >= config.total {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        // Nearly every head fits into the smallest buffer there is; a larger one would be held for nothing.
        buffer = if buffer.capacity() > MAX_BUFFER { BytesMut::new() } else { buffer };
        buffer.clear();
        let until = Instant::now() + limit.min(config.timeout).min(MAX_WAIT);
        let waiting = Waiting { stream, filled: upstream.filled().cloned(), buffer, until };
        let key = key(&member.endpoint);
        let refused = {
            let mut shelves = self.shard(key);
            let shelf = shelves.entry(key).or_insert_with(|| Shelf {
                endpoint: Arc::clone(&member.endpoint),
                slot: member.slot,
                waiting: Vec::new(),
            });
            let is_full = shelf.waiting.len() >= config.per_member;
            if is_full && waiting.filled.is_none() {
                Some(waiting)
            } else {
                shelf.waiting.push(waiting);
                is_full.then(|| shelf.waiting.remove(0))
            }
        };
        // Outside of the lock: closing is a call to the system.
        if refused.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Closes what has waited for too long, what was closed or spoken to meanwhile, what was a member's that left, and what was a
    /// session's that has begun anew; `in_life` says what stands for a session now.
    pub(crate) fn sweep(&self, pool: &Snapshot, in_life: impl Fn(u64) -> u64) {
        let now = Instant::now();
        for shard in &self.shards {
            let mut closed = Vec::new();
            lock(shard).retain(|_, shelf| {
                let member = pool.get(shelf.slot);
                let is_member = member.is_some_and(|member| Arc::ptr_eq(&member.endpoint, &shelf.endpoint));
                let is_past = |filled: Option<&Arc<Filled>>| match filled.map(|filled| filled.alike) {
                    None | Some(Alike::All | Alike::Nobody) => false,
                    Some(Alike::Session { session, in_life: own }) => in_life(session) != own,
                };
                let is_over = |waiting: &mut Waiting| {
                    !is_member
                        || waiting.until <= now
                        || is_past(waiting.filled.as_ref())
                        || !is_quiet(&mut waiting.stream)
                };
                closed.extend(shelf.waiting.extract_if(.., is_over));
                !shelf.waiting.is_empty()
            });
            self.count.fetch_sub(closed.len(), Ordering::Relaxed);
        }
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let shelves = std::mem::take(&mut *lock(shard));
            let closed = shelves.values().map(|shelf| shelf.waiting.len()).sum();
            self.count.fetch_sub(closed, Ordering::Relaxed);
        }
    }

    fn shard(&self, key: usize) -> MutexGuard<'_, Shelves> {
        // Endpoints lie on the heap, 16 bytes apart at the least.
        let place = (key >> 4) % SHARDS;
        let [first, ..] = &self.shards;
        lock(self.shards.get(place).unwrap_or(first))
    }
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint).addr()
}

fn lock(shard: &Mutex<Shelves>) -> MutexGuard<'_, Shelves> {
    // Every change of the shelves is complete in one step, so a panic elsewhere leaves nothing half done.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nothing has arrived, not even the end.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0];
    match stream {
        // Asks the system only when the runtime has heard of something.
        Stream::Tcp(tcp) => tcp.try_read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        Stream::Tls(_) | Stream::TlsInside(_) | Stream::Prefixed(_) => {
            let mut context = Context::from_waker(Waker::noop());
            Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
        }
    }
}
