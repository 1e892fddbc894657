//! A connection to the server, made when it is needed, and made anew when it fails.
//!
//! Everything has a limit, so that a server that is away or stands still costs whoever asks one wait, and those who ask right
//! after none.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proxywhirl_core::store::StoreError;
use redis::cluster::{ClusterClientBuilder, ClusterConnection};
use redis::{
    Client, Cmd, Connection, ConnectionLike, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError, RedisResult,
    cmd,
};

use super::url::RedisUrl;

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until a server is connected, login included.
    pub(super) connect: Duration,
    /// For an answer, but that of a save.
    pub(super) answer: Duration,
    /// For that of a save, or of everything that is kept: with a million members these take some seconds.
    pub(super) bulk: Duration,
    /// After a failure nobody tries again for so long, and longer when it took long: many may ask at once.
    pub(super) pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [connect, answer, bulk, pause] = [2, 5, 30, 1].map(Duration::from_secs);
        Self { connect, answer, bulk, pause }
    }
}

/// After so long without use, a connection is asked whether it still is one: the server or what is between may have closed it.
const IDLE: Duration = Duration::from_secs(5);

/// Nobody tries again for as many times as long as the failure took; and for so many pauses at the most.
const PATIENCE: u32 = 2;
const LONGEST: u32 = 5;

/// How often a command is sent again when the cluster changes under it, or a node does not answer in time, with waits between of so
/// many milliseconds. The tries share the time that there is.
const REDIRECTIONS: u32 = 1;
const REDIRECTION_WAIT: (u64, u64) = (20, 200);

/// A connection that is made when it is needed.
pub(super) struct Link {
    url: RedisUrl,
    limits: Limits,
    connection: Option<Connected>,
    /// Whether the server is part of a cluster; none until it was asked.
    is_cluster: Option<bool>,
    used: Instant,
    failure: Failure,
}

/// That there was no connection when it was tried last. Those that wait for each other share one, so that a server which stands still costs
/// all of them one wait.
#[derive(Debug, Clone, Default)]
struct Failure(Arc<Mutex<Option<Failed>>>);

#[derive(Debug)]
struct Failed {
    /// When it may be tried again.
    again: Instant,
    refusal: Refusal,
}

impl Failure {
    /// Held for an instruction.
    fn last(&self) -> MutexGuard<'_, Option<Failed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Connected {
    Alone(Connection),
    Cluster(Box<ClusterConnection>),
}

/// Why a command brought nothing.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    reason: String,
    /// Whether the command may have been carried out, or may yet be.
    pub(super) is_in_doubt: bool,
    /// Whether it may be well when the server is there, though nobody changes anything.
    pub(super) is_away: bool,
}

impl Refusal {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_in_doubt: false, is_away: false }
    }

    fn of(error: &RedisError) -> Self {
        Self { is_away: is_away(error), ..Self::new(explain(error)) }
    }
}

impl Link {
    pub(super) fn new(url: RedisUrl, limits: Limits) -> Self {
        Self { url, limits, connection: None, is_cluster: None, used: Instant::now(), failure: Failure::default() }
    }

    /// Another one to the same server, for which it holds too that there is no connection now.
    pub(super) fn beside(&self) -> Self {
        Self { failure: self.failure.clone(), ..Self::new(self.url.clone(), self.limits) }
    }

    /// Why the store could not do it.
    pub(super) fn error(&self, refusal: Refusal) -> StoreError {
        StoreError { place: self.url.to_string(), reason: refusal.reason }
    }

    /// Carries out a command.
    pub(super) fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Refusal> {
        self.query_within(command, self.limits.answer)
    }

    /// Carries out a command that writes or reads a great deal.
    pub(super) fn query_bulk<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Refusal> {
        self.query_within(command, self.limits.bulk)
    }

    fn query_within<T: FromRedisValue>(&mut self, command: &Cmd, limit: Duration) -> Result<T, Refusal> {
        let connection = self.connection(limit)?;
        let answer = command.query::<T>(connection);
        self.used = Instant::now();
        answer.map_err(|error| {
            // What the server says leaves the connection in order; after anything else nobody knows what comes next.
            let is_said = error.code().is_some();
            if !is_said {
                self.connection = None;
            }
            Refusal { is_in_doubt: !is_said, ..Refusal::of(&error) }
        })
    }

    /// The connection, which waits no longer than the limit.
    fn connection(&mut self, limit: Duration) -> Result<&mut dyn ConnectionLike, Refusal> {
        let within = self.limits.connect;
        if self.used.elapsed() > IDLE && self.connection.as_mut().is_some_and(|known| !known.is_alive(within)) {
            self.connection = None;
        }
        let connected = match self.connection.take() {
            Some(connected) => connected,
            None => self.connect()?,
        };
        connected.wait_at_most(limit).map_err(|error| Refusal::of(&error))?;
        Ok(self.connection.insert(connected).as_connection())
    }

    fn connect(&mut self) -> Result<Connected, Refusal> {
        if let Some(failed) = &*self.failure.last()
            && Instant::now() < failed.again
        {
            return Err(failed.refusal.clone());
        }
        let began = Instant::now();
        let connected = self.try_to_connect();
        let pause = (began.elapsed() * PATIENCE).clamp(self.limits.pause, self.limits.pause * LONGEST);
        let failed = |refusal: &Refusal| Failed { again: Instant::now() + pause, refusal: refusal.clone() };
        *self.failure.last() = connected.as_ref().err().map(failed);
        connected
    }

    fn try_to_connect(&mut self) -> Result<Connected, Refusal> {
        let addresses = self.url.addresses();
        if self.is_cluster != Some(true) {
            let mut connection =
                first_that_answers(&addresses, self.limits.connect).map_err(|error| self.unconnected(&error))?;
            let is_cluster = is_cluster(&mut connection).map_err(|error| self.unconnected(&error))?;
            let is_cluster = is_cluster.unwrap_or(addresses.len() > 1);
            self.is_cluster = Some(is_cluster);
            if !is_cluster && addresses.len() > 1 {
                return Err(Refusal::new("is no cluster; name one host, that of the primary"));
            }
            if !is_cluster {
                return Ok(Connected::Alone(connection));
            }
        }
        if self.url.database() != 0 {
            return Err(Refusal::new(ONE_DATABASE));
        }
        let (least, most) = REDIRECTION_WAIT;
        let client = ClusterClientBuilder::new(addresses)
            .connection_timeout(self.limits.connect)
            .response_timeout(self.limits.answer / (REDIRECTIONS + 1))
            .retries(REDIRECTIONS)
            .min_retry_wait(least)
            .max_retry_wait(most)
            .build();
        let connection = client.and_then(|client| client.get_connection());
        connection.map(|connection| Connected::Cluster(Box::new(connection))).map_err(|error| self.unconnected(&error))
    }

    /// Why there is no connection: also because one of both speaks TLS alone, of which each of them only notices that the other makes no sense.
    fn unconnected(&self, error: &RedisError) -> Refusal {
        let refusal = Refusal::of(error);
        let is_cut =
            error.kind() == ErrorKind::Parse || (error.is_connection_dropped() && !error.is_connection_refusal());
        let advice = match self.url.is_encrypted() {
            true if error.is_timeout() => "; where it speaks no TLS, the URL begins with redis://",
            false if is_cut => "; where it speaks TLS, the URL begins with rediss://",
            true | false => return refusal,
        };
        Refusal { reason: refusal.reason + advice, ..refusal }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connected {
    fn as_connection(&mut self) -> &mut dyn ConnectionLike {
        match self {
            Self::Alone(connection) => connection,
            Self::Cluster(connection) => &mut **connection,
        }
    }

    fn is_alive(&mut self, within: Duration) -> bool {
        self.wait_at_most(within).is_ok() && self.as_connection().check_connection()
    }

    fn wait_at_most(&self, limit: Duration) -> RedisResult<()> {
        match self {
            Self::Alone(connection) => {
                connection.set_read_timeout(Some(limit))?;
                connection.set_write_timeout(Some(limit))
            }
            Self::Cluster(connection) => {
                let limit = limit / (REDIRECTIONS + 1);
                connection.set_read_timeout(Some(limit))?;
                connection.set_write_timeout(Some(limit))
            }
        }
    }
}

fn first_that_answers(addresses: &[String], within: Duration) -> RedisResult<Connection> {
    let mut last = None;
    for address in addresses {
        match connect_to(address, within) {
            Ok(connection) => {
                connection.set_read_timeout(Some(within))?;
                return Ok(connection);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| RedisError::from((ErrorKind::InvalidClientConfig, "no host is named"))))
}

fn connect_to(address: &str, within: Duration) -> RedisResult<Connection> {
    let info = address.into_connection_info()?;
    // The server need not know which library it is: each question costs who is not answered a wait.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    Client::open(info.set_redis_settings(settings))?.get_connection_with_timeout(within)
}

/// Whether a server is part of a cluster; none when the user may not ask that.
fn is_cluster(connection: &mut Connection) -> RedisResult<Option<bool>> {
    match cmd("INFO").arg("cluster").query::<String>(connection) {
        Ok(told) => Ok(Some(told.contains("cluster_enabled:1"))),
        Err(error) if error.code().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether time alone may mend it: the server is not there, or not ready. A certificate that is not trusted is for somebody to mend.
fn is_away(error: &RedisError) -> bool {
    let told = error.to_string();
    match error.code() {
        Some(code) => matches!(code, "LOADING" | "BUSY" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN"),
        None => {
            !matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig)
                && untrusted(&told).is_none()
                && !speaks_no_tls(&told)
        }
    }
}

/// What went wrong, in words that say what to do. The library's own texts have no password in them: it gives what the server or
/// the system says.
fn explain(error: &RedisError) -> String {
    let told = error.to_string();
    if error.kind() == ErrorKind::AuthenticationFailed {
        return LOGIN.to_owned();
    }
    // Older servers put what went wrong in a script behind a general code.
    let is = |code: &str| error.code() == Some(code) || told.contains(&format!("{code} "));
    if is("WRONGPASS") || is("NOAUTH") {
        LOGIN.to_owned()
    } else if is("NOPERM") {
        format!("does not allow it to the user ({told}); see redis.md for what it needs")
    } else if is("OOM") {
        "is out of memory; raise its maxmemory; what was kept before is untouched".to_owned()
    } else if is("MISCONF") {
        "cannot write to its disk, and takes no writes until it can".to_owned()
    } else if is("READONLY") {
        "is a replica and takes no writes; name its primary".to_owned()
    } else if is("WRONGTYPE") {
        "has keys of another program where the pool would be; name another with ?pool=NAME".to_owned()
    } else if is("LOADING") {
        "still loads its data; try again when it has".to_owned()
    } else if is("CLUSTERDOWN") || is("MASTERDOWN") {
        format!("is a cluster of which a part is down ({told})")
    } else if told.contains("not allowed in cluster mode") {
        ONE_DATABASE.to_owned()
    } else if error.code().is_some() {
        format!("refuses it ({told})")
    } else if error.is_timeout() {
        "does not answer in time".to_owned()
    } else if let Some(reason) = untrusted(&told) {
        reason
    } else if speaks_no_tls(&told) {
        "speaks no TLS; its URL begins with redis://".to_owned()
    } else {
        format!("cannot be reached ({told}); see that it runs, and that host and port are right")
    }
}

/// What is wrong with a certificate, and what to do; none when it is something else. The library's names say nothing to who has no
/// source of it at hand.
fn untrusted(told: &str) -> Option<String> {
    let (_, fault) = told.split_once("invalid peer certificate: ")?;
    Some(if fault.contains("CaUsedAsEndEntity") {
        "shows a certificate that is an authority's, with which others are signed, and no server's; make one with CA:FALSE \
         (openssl req -x509 -addext basicConstraints=critical,CA:FALSE)"
            .to_owned()
    } else if fault.contains("UnknownIssuer") || fault.contains("BadSignature") {
        "shows a certificate that nobody has signed who is trusted here; name the certificate of who has in SSL_CERT_FILE".to_owned()
    } else if fault.contains("not valid for name") || fault.contains("NotValidForName") {
        format!("shows a certificate of another host ({fault}); name the host in the URL as the certificate does")
    } else if fault.contains("expired") || fault.contains("Expired") {
        format!("shows a certificate whose time is over ({fault}); renew it, and see that the clock here is right")
    } else if fault.contains("not valid yet") || fault.contains("NotValidYet") {
        format!("shows a certificate whose time has not begun ({fault}); see that the clocks are right")
    } else {
        format!("shows a certificate that does not verify ({fault})")
    })
}

/// Whether what answers in a handshake is no message of TLS.
fn speaks_no_tls(told: &str) -> bool {
    told.contains("InvalidContentType") || told.contains("InvalidMessage")
}

const ONE_DATABASE: &str = "is a cluster, which has database 0 alone; use ?pool=NAME to tell pools apart";

const LOGIN: &str = "does not accept the user name and password; \
                     name them in the URL, redis://USER:PASSWORD@HOST, or redis://:PASSWORD@HOST for a password alone";
