//! An HTTP upstream's session: each request is read, let in or challenged, and forwarded or tunnelled.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::dial::Target;
use super::forward::{Next, Onward, forward};
use super::tunnel::{self, Said};
use super::{CLIENT_TIMEOUT, Session, mischief};
use crate::behaviour::Answer;
use crate::http::{Framing, HeadError, Request, final_reply, read_request};
use crate::wire::{Stream, Wire};

const CHALLENGE: &str = "Proxy-Authenticate: Basic realm=\"proxywhirl-world\"\r\n";

pub(super) async fn serve<S: Stream>(mut wire: Wire<S>, session: &Session) {
    let mut onward: Option<Onward> = None;
    loop {
        let read = tokio::time::timeout(CLIENT_TIMEOUT, read_request(&mut wire.reader)).await;
        let request = match read {
            Ok(Ok(Some(request))) => request,
            Ok(Err(HeadError::Malformed(what))) => return refuse(wire, 400, what).await,
            Ok(Err(HeadError::TooLarge)) => return refuse(wire, 431, "head over 64 KiB").await,
            Ok(Ok(None) | Err(HeadError::Io(_))) | Err(_) => return,
        };
        session.shared.meter.saw(&request.method, &request.target);
        let behaviour = session.shared.behaviour();
        match behaviour.answer(session.number) {
            Answer::Serve => {}
            other @ (Answer::Status(_)
            | Answer::Close
            | Answer::Silence
            | Answer::Garbage
            | Answer::Page
            | Answer::HeaderBomb) => {
                return mischief::answer(wire, other).await;
            }
        }
        if !admits(session, &request) {
            session.shared.meter.auth_failed();
            match challenge(&mut wire, &request).await {
                Next::Keep => continue,
                Next::Close => return wire.close_gently().await,
            }
        }
        if request.method == "CONNECT" {
            let Some(target) = Target::parse(&request.target, None) else {
                return refuse(wire, 400, "connect wants host:port").await;
            };
            return tunnel::serve(wire, session, &target, behaviour, words).await;
        }
        behaviour.pause(session.number).await;
        match forward(&mut wire, &request, &mut onward, session).await {
            Ok(Next::Keep) => {}
            Ok(Next::Close) => return wire.close_gently().await,
            Err(_) => return,
        }
    }
}

/// Whether the request has the credentials that are wanted.
fn admits(session: &Session, request: &Request) -> bool {
    let options = &session.shared.options;
    if options.credentials.is_none() && !options.any_login {
        return true;
    }
    let Some((user, password)) = login(request) else { return false };
    let admitted = options.any_login
        || options.credentials.as_ref().is_some_and(|wanted| wanted.user == user && wanted.password == password);
    if admitted {
        session.shared.meter.logged_in(&user, &password);
    }
    admitted
}

/// User name and password of Basic credentials (RFC 7617).
fn login(request: &Request) -> Option<(String, String)> {
    let (scheme, token) = request.head.get("proxy-authorization")?.split_once(' ')?;
    let decoded = STANDARD.decode(token.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// A client that learns here that it has to authenticate may try again on the same connection, if it sent no body.
async fn challenge<S: Stream>(wire: &mut Wire<S>, request: &Request) -> Next {
    if request.framing != Framing::Length(0) || request.minor == 0 || !request.keeps_alive() {
        let reply = final_reply(407, CHALLENGE, "text/plain", "credentials wanted\n");
        wire.send(&reply).await.ok();
        return Next::Close;
    }
    let reply = format!("HTTP/1.1 407 Proxy Authentication Required\r\n{CHALLENGE}Content-Length: 0\r\n\r\n");
    match wire.send(reply.as_bytes()).await {
        Ok(()) => Next::Keep,
        Err(_) => Next::Close,
    }
}

fn words(said: Said) -> Vec<u8> {
    match said {
        Said::Open(_) => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
        Said::Refused(status) => final_reply(status, "", "text/plain", "tunnel refused\n"),
        Said::Failed(fault) => final_reply(fault.status(), "", "text/plain", &format!("dial failed: {fault:?}\n")),
    }
}

async fn refuse<S: Stream>(mut wire: Wire<S>, status: u16, why: &str) {
    let reply = final_reply(status, "", "text/plain", &format!("{why}\n"));
    if wire.send(&reply).await.is_ok() {
        wire.close_gently().await;
    }
}
