//! Clients of SOCKS: how they say who they are and where they want to go.

use bytes::Buf as _;
use proxywhirl_engine::Denial;
use proxywhirl_net::Target;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Guest, Next, Session, Wish};
use crate::ingress::socks;
use crate::reply::ErrorReply;
use crate::sparing::READ;
use crate::tunnel::Manner;

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Session<'_, S> {
    /// Reads what a client of SOCKS says of itself, before it has said where it wants to go, or with it.
    async fn introduce(
        &self,
        user: &str,
        password: &str,
        (manner, target): (Manner, Option<&Target>),
    ) -> Result<Guest, socks::Refusal> {
        let limits = self.gateway.config().limits();
        let introduced = self.gateway.door().grammar.introduce(user, password, limits);
        let (reply, refusal) = match introduced {
            Ok(introduced) => match self.admit(introduced).await {
                Ok(guest) => return Ok(guest),
                Err(reply) => {
                    let refusal = not_allowed(&reply);
                    (reply, refusal)
                }
            },
            Err(mistake) => {
                let reply = ErrorReply::mistake(&mistake);
                let refusal = refused_with(socks::code::GENERAL, &reply);
                (reply, refusal)
            }
        };
        let target = target.map(ToString::to_string).unwrap_or_default();
        self.remember(manner.as_str(), "CONNECT", &target, &reply, None);
        Err(refusal)
    }

    /// The tunnel that a client asks for, if it may have it.
    async fn tunnel_for(&self, mut guest: Guest, manner: Manner, target: Target) -> Result<Wish, socks::Refusal> {
        let place = self.place(&mut guest, &target).await.map_err(|reply| {
            self.remember(manner.as_str(), "CONNECT", &target.to_string(), &reply, guest.user.as_deref());
            not_allowed(&reply)
        })?;
        Ok(Wish { manner, target, wanted: guest.wanted, user: guest.user, place })
    }

    pub(super) async fn socks4(&mut self) -> Result<Wish, Next> {
        let asked = match self.handshake(socks::request4).await {
            Ok(socks::Request4 { target, manner, user }) => {
                match self.introduce(&user, "", (manner, Some(&target))).await {
                    Ok(guest) => self.tunnel_for(guest, manner, target).await.map_err(Some),
                    Err(refusal) => Err(Some(refusal)),
                }
            }
            Err(refusal) => Err(refusal),
        };
        asked.map_err(|refusal| self.refuse_socks(refusal, |_| socks::reply4(false).to_vec()))
    }

    pub(super) async fn socks5(&mut self) -> Result<Wish, Next> {
        let method = match self.handshake(|bytes| Ok(socks::greeting(bytes))).await {
            Ok(method) => method,
            Err(refusal) => return Err(self.refuse_socks(refusal, |code| socks::reply5(code).to_vec())),
        };
        let Some(method) = method else {
            self.count(Some(Denial::Malformed));
            return Err(Next::Last(socks::METHODS_REFUSED.to_vec()));
        };
        let anonymous = match method {
            socks::Method::Password => None,
            socks::Method::None => match self.introduce("", "", (Manner::Socks5, None)).await {
                Ok(guest) => Some(guest),
                Err(refusal) => return Err(self.refuse_socks(Some(refusal), |_| socks::METHODS_REFUSED.to_vec())),
            },
        };
        if !self.say(&method.accepted()).await {
            return Err(Next::Close);
        }
        let guest = match anonymous {
            Some(guest) => guest,
            None => self.introduction().await?,
        };
        let asked = match self.handshake(socks::request5).await {
            Ok(target) => self.tunnel_for(guest, Manner::Socks5, target).await.map_err(Some),
            Err(refusal) => Err(refusal),
        };
        asked.map_err(|refusal| self.refuse_socks(refusal, |code| socks::reply5(code).to_vec()))
    }

    /// Reads user name and password of SOCKS 5, of which the name says what the client wants.
    async fn introduction(&mut self) -> Result<Guest, Next> {
        let refused = |_| socks::PASSWORD_REFUSED.to_vec();
        let (user, password) = match self.handshake(socks::password).await {
            Ok(both) => both,
            Err(refusal) => return Err(self.refuse_socks(refusal, refused)),
        };
        let guest = match self.introduce(&user, password.expose(), (Manner::Socks5, None)).await {
            Ok(guest) => guest,
            Err(refusal) => return Err(self.refuse_socks(Some(refusal), refused)),
        };
        if self.say(&socks::PASSWORD_ACCEPTED).await { Ok(guest) } else { Err(Next::Close) }
    }

    /// False when the client is gone.
    pub(super) async fn say(&mut self, bytes: &[u8]) -> bool {
        self.client.write_all(bytes).await.is_ok() && self.client.flush().await.is_ok()
    }

    /// Reads one message of SOCKS. No refusal says that the client is gone, or too slow.
    async fn handshake<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, socks::Refusal>,
    ) -> Result<T, Option<socks::Refusal>> {
        let limit = self.gateway.config().head_timeout;
        let reading = async {
            loop {
                if let Some((message, length)) = parse(&self.buffer).map_err(Some)? {
                    self.buffer.advance(length);
                    return Ok(message);
                }
                self.buffer.reserve(socks::MAX_MESSAGE);
                let read = self.client.read_buf(&mut self.buffer).await;
                if !matches!(read, Ok(1..)) || self.buffer.len() > socks::MAX_MESSAGE + READ {
                    return Err(None);
                }
            }
        };
        timeout(limit, reading).await.unwrap_or(Err(None))
    }

    fn refuse_socks(&self, refusal: Option<socks::Refusal>, reply: impl Fn(u8) -> Vec<u8>) -> Next {
        let Some(socks::Refusal { code, why, denial }) = refusal else { return Next::Close };
        self.count(denial);
        let peer = self.peer.map(tracing::field::display);
        tracing::debug!(client.addr = peer, reply = code, reason = why.as_str(), "request refused");
        Next::Last(reply(code))
    }
}

/// A refusal in SOCKS, which has one code for all that a rule forbids.
fn not_allowed(reply: &ErrorReply) -> socks::Refusal {
    refused_with(socks::code::NOT_ALLOWED, reply)
}

fn refused_with(code: u8, reply: &ErrorReply) -> socks::Refusal {
    socks::Refusal { denial: reply.denial, ..socks::Refusal::new(code, reply.text()) }
}
