//! How an upstream behaves: well, or in one of the ways in which real proxies fail. A table of failures, because
//! each of them costs a client something else: a timeout, a retry, a wrong verdict, a poisoned answer.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What an upstream does with those who come. Some ways concern tunnels only (CONNECT and SOCKS); forwarded
/// requests are then served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// Serves.
    #[default]
    Healthy,
    /// Serves, but waits before it answers a request or a handshake.
    Slow(Duration),
    /// Serves, but waits before it answers on each connection whose number (from 1, since the start) is a multiple of
    /// `every`.
    Sluggish {
        /// Which connections are slow.
        every: u32,
        /// How long it waits.
        wait: Duration,
    },
    /// Drops each connection whose number (from 1, since the start) is a multiple of `every`, after the request or
    /// the handshake was read. With 0 none is dropped.
    Flaky {
        /// Which connections are dropped.
        every: u32,
    },
    /// Answers this status to CONNECT, and "connection refused" to a SOCKS request; forwards are served.
    RefuseConnect(u16),
    /// Answers this status to every request, CONNECT and forwards alike, and "connection refused" to a SOCKS request.
    AnswerStatus(u16),
    /// Reads the request's head or the SOCKS request, then closes.
    CloseAfterHead,
    /// Accepts, reads, and never answers.
    Silent,
    /// Says that the tunnel is open, then closes. Forwards are served.
    CloseAfterConnect,
    /// Says that the tunnel is open, then nothing more. Forwards are served.
    StallAfterConnect,
    /// Says that the tunnel is open, then sends bytes that are no TLS. Forwards are served.
    GarbageAfterConnect,
    /// Says that the tunnel is open, then answers TLS with a certificate of its own: it reads along. Forwards are served.
    ResignTls,
    /// Answers bytes that are neither HTTP nor SOCKS.
    GarbageReply,
    /// A captive portal: answers 200 with an advertisement to anything, CONNECT too, and wants no credentials. As a
    /// SOCKS server it accepts any request and puts the page into the tunnel.
    AlwaysOk,
    /// Answers with a response head that has no end. As a SOCKS server it puts it into the tunnel.
    HeaderBomb,
    /// Refuses connections: the port is kept, nothing listens on it.
    Dead,
}

/// What to do with a request or a handshake that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Serve,
    Status(u16),
    Close,
    Silence,
    Garbage,
    Page,
    HeaderBomb,
}

/// What to do with somebody who wants a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tunnel {
    Relay,
    Refuse(u16),
    Close,
    Stall,
    Garbage,
    Resign,
}

impl Behaviour {
    pub(crate) fn answer(self, connection: u64) -> Answer {
        match self {
            Self::Flaky { every } if connection.checked_rem(u64::from(every)) == Some(0) => Answer::Close,
            Self::Healthy
            | Self::Slow(_)
            | Self::Sluggish { .. }
            | Self::Flaky { .. }
            | Self::RefuseConnect(_)
            | Self::CloseAfterConnect
            | Self::StallAfterConnect
            | Self::GarbageAfterConnect
            | Self::ResignTls => Answer::Serve,
            // A session that was open when its upstream died ends.
            Self::CloseAfterHead | Self::Dead => Answer::Close,
            Self::AnswerStatus(status) => Answer::Status(status),
            Self::Silent => Answer::Silence,
            Self::GarbageReply => Answer::Garbage,
            Self::AlwaysOk => Answer::Page,
            Self::HeaderBomb => Answer::HeaderBomb,
        }
    }

    pub(crate) fn tunnel(self) -> Tunnel {
        match self {
            Self::RefuseConnect(status) => Tunnel::Refuse(status),
            Self::CloseAfterConnect => Tunnel::Close,
            Self::StallAfterConnect => Tunnel::Stall,
            Self::GarbageAfterConnect => Tunnel::Garbage,
            Self::ResignTls => Tunnel::Resign,
            Self::Healthy
            | Self::Slow(_)
            | Self::Sluggish { .. }
            | Self::Flaky { .. }
            | Self::AnswerStatus(_)
            | Self::CloseAfterHead
            | Self::Silent
            | Self::GarbageReply
            | Self::AlwaysOk
            | Self::HeaderBomb
            | Self::Dead => Tunnel::Relay,
        }
    }

    /// How long to wait before an answer on a connection.
    pub(crate) async fn pause(self, connection: u64) {
        if let Self::Slow(wait) = self {
            tokio::time::sleep(wait).await;
        }
        if let Self::Sluggish { every, wait } = self
            && connection.checked_rem(u64::from(every)) == Some(0)
        {
            tokio::time::sleep(wait).await;
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Slow(wait) => write!(f, "slow:{}ms", wait.as_millis()),
            Self::Sluggish { every, wait } => write!(f, "sluggish:{every}:{}ms", wait.as_millis()),
            Self::Flaky { every } => write!(f, "flaky:{every}"),
            Self::RefuseConnect(status) => write!(f, "refuse-connect:{status}"),
            Self::AnswerStatus(status) => write!(f, "answer-status:{status}"),
            Self::CloseAfterHead => f.write_str("close-after-head"),
            Self::Silent => f.write_str("silent"),
            Self::CloseAfterConnect => f.write_str("close-after-connect"),
            Self::StallAfterConnect => f.write_str("stall-after-connect"),
            Self::GarbageAfterConnect => f.write_str("garbage-after-connect"),
            Self::ResignTls => f.write_str("resign-tls"),
            Self::GarbageReply => f.write_str("garbage-reply"),
            Self::AlwaysOk => f.write_str("always-ok"),
            Self::HeaderBomb => f.write_str("header-bomb"),
            Self::Dead => f.write_str("dead"),
        }
    }
}

impl FromStr for Behaviour {
    type Err = String;

    /// Reads what [`fmt::Display`] writes: `healthy`, `slow:500ms`, `slow:2s`, `flaky:3`, `refuse-connect:503`, …
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, argument) = text.split_once(':').unwrap_or((text, ""));
        let behaviour = match (name, argument) {
            ("healthy", "") => Some(Self::Healthy),
            ("slow", wait) => parse_duration(wait).map(Self::Slow),
            ("sluggish", rest) => rest.split_once(':').and_then(|(every, wait)| {
                Some(Self::Sluggish { every: every.parse().ok()?, wait: parse_duration(wait)? })
            }),
            ("flaky", every) => every.parse().ok().map(|every| Self::Flaky { every }),
            ("refuse-connect", "") => Some(Self::RefuseConnect(503)),
            ("refuse-connect", status) => {
                status.parse().ok().filter(|status| (300..600).contains(status)).map(Self::RefuseConnect)
            }
            ("answer-status", status) => {
                status.parse().ok().filter(|status| (200..600).contains(status)).map(Self::AnswerStatus)
            }
            ("close-after-head", "") => Some(Self::CloseAfterHead),
            ("silent", "") => Some(Self::Silent),
            ("close-after-connect", "") => Some(Self::CloseAfterConnect),
            ("stall-after-connect", "") => Some(Self::StallAfterConnect),
            ("garbage-after-connect", "") => Some(Self::GarbageAfterConnect),
            ("resign-tls", "") => Some(Self::ResignTls),
            ("garbage-reply", "") => Some(Self::GarbageReply),
            ("always-ok", "") => Some(Self::AlwaysOk),
            ("header-bomb", "") => Some(Self::HeaderBomb),
            ("dead", "") => Some(Self::Dead),
            _ => None,
        };
        behaviour.ok_or_else(|| {
            format!(
                "behaviour {text:?} is none of healthy, slow:500ms, sluggish:10:500ms, flaky:3, refuse-connect:503, answer-status:503, \
                 close-after-head, silent, close-after-connect, stall-after-connect, garbage-after-connect, resign-tls, \
                 garbage-reply, always-ok, header-bomb, dead"
            )
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    let number = text.strip_suffix('s')?;
    number.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_behaviour_reads_as_it_is_written() {
        for behaviour in [
            Behaviour::Healthy,
            Behaviour::Slow(Duration::from_millis(500)),
            Behaviour::Sluggish { every: 10, wait: Duration::from_millis(500) },
            Behaviour::Flaky { every: 3 },
            Behaviour::RefuseConnect(503),
            Behaviour::AnswerStatus(503),
            Behaviour::CloseAfterHead,
            Behaviour::Silent,
            Behaviour::CloseAfterConnect,
            Behaviour::StallAfterConnect,
            Behaviour::GarbageAfterConnect,
            Behaviour::ResignTls,
            Behaviour::GarbageReply,
            Behaviour::AlwaysOk,
            Behaviour::HeaderBomb,
            Behaviour::Dead,
        ] {
            assert_eq!(behaviour.to_string().parse::<Behaviour>().unwrap(), behaviour);
        }
        assert_eq!("slow:2s".parse(), Ok(Behaviour::Slow(Duration::from_secs(2))));
        for text in ["", "slow", "slow:5", "flaky", "silent:1", "refuse-connect:200"] {
            assert!(text.parse::<Behaviour>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_flaky_upstream_drops_each_nth_connection_and_none_for_zero() {
        let answers: Vec<_> = (1..=6).map(|connection| Behaviour::Flaky { every: 3 }.answer(connection)).collect();
        let (serve, close) = (Answer::Serve, Answer::Close);
        assert_eq!(answers, [serve, serve, close, serve, serve, close]);
        assert_eq!(Behaviour::Flaky { every: 0 }.answer(7), Answer::Serve);
    }
}
