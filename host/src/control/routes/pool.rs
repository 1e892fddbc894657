//! Proxies over the socket: who is in the pool, who is put into it, and who is taken out of it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use proxywhirl_core::tag::Tags;
use proxywhirl_core::{Candidate, Endpoint, Secret, Tag};
use proxywhirl_engine::ingest::VOUCHED;
use serde::Deserialize;

use super::{Gateway, Refusal, Routed, done, read};
use crate::control::api::{AddToPool, Added, RemoveFromPool, Removed};
use crate::control::listed::{MemberRow, PoolPart};
use crate::pattern::Patterns;

/// Members in an answer at the most, so that it stays small whatever they are called.
const MOST: usize = 1_000;

/// Which part of the pool to tell of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedPart {
    /// So many at the most.
    limit: Option<usize>,
    /// Where the part before has ended; none for the first.
    after: Option<u32>,
}

/// Who is in the pool, once all that is stored is there, by slot: who stays from one part to the next is in one of them, and once.
pub(super) async fn list(State(live): Gateway, Query(asked): Query<AskedPart>) -> Json<PoolPart> {
    live.loaded().await;
    let snapshot = live.engine().snapshot();
    let first = asked.after.map_or(0, |slot| slot.saturating_add(1));
    let mut members = (first..snapshot.end()).filter_map(|slot| Some((slot, snapshot.get(slot)?)));
    let part: Vec<_> = members.by_ref().take(asked.limit.unwrap_or(MOST).clamp(1, MOST)).collect();
    let next = members.next().and(part.last().map(|(slot, _)| *slot));
    let proxies = part.iter().map(|(_, member)| MemberRow::new(&member.to_stored(), false)).collect();
    Json(PoolPart { members: snapshot.len(), proxies, next })
}

/// Puts proxies into the pool. Who names them vouches for them.
pub(super) async fn add(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<Added> {
    // What is wrong with the body is told without its text, which may hold passwords.
    let body =
        body.map_err(|rejection| Refusal::new(rejection.status(), "the body cannot be read, or is too large"))?;
    let wanted = serde_json::from_slice(&body)
        .map_err(|_| bad("the body is not what was expected: proxies, a list of URLs, and perhaps tags, a list too"))?;
    let candidates = candidates(wanted)?;
    done(async move { Ok(live.add_to_pool(candidates).await) }).await
}

/// Takes proxies out of the pool.
pub(super) async fn remove(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<Removed> {
    let (patterns, tags) = meant(read(body)?)?;
    done(async move { live.remove_from_pool(patterns, tags).await }).await
}

fn bad(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, why)
}

/// The proxies that are to come in; nobody does when one of them is none.
fn candidates(AddToPool { proxies, tags }: AddToPool) -> Result<Vec<Candidate>, Refusal> {
    if proxies.is_empty() {
        return Err(bad("proxies: there is none"));
    }
    let words = std::iter::once(VOUCHED).chain(tags.iter().map(String::as_str));
    let tags = words.map(str::parse::<Tag>).collect::<Result<Tags, _>>().map_err(|error| bad(&error.to_string()))?;
    let candidate = |(index, url): (usize, &Secret)| match url.expose().parse::<Endpoint>() {
        Ok(endpoint) => Ok(Candidate { tags: tags.clone(), ..endpoint.into() }),
        Err(error) => Err(bad(&format!("proxies: number {}: {error}", index + 1))),
    };
    proxies.iter().enumerate().map(candidate).collect()
}

/// Who is to leave.
fn meant(RemoveFromPool { proxies, tags }: RemoveFromPool) -> Result<(Patterns, Vec<String>), Refusal> {
    if proxies.is_empty() && tags.is_empty() {
        return Err(bad("proxies or tags: there is neither"));
    }
    Ok((Patterns::parse(&proxies)?, tags))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(refusal: &Refusal) -> &str {
        assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{refusal:?}");
        &refusal.problem.error
    }

    fn added(proxies: &[&str], tags: &[&str]) -> Result<Vec<Candidate>, Refusal> {
        let proxies = proxies.iter().map(|url| Secret::new(*url)).collect();
        candidates(AddToPool { proxies, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() })
    }

    #[test]
    fn who_is_added_is_vouched_for_and_nobody_is_when_one_of_them_is_no_proxy() {
        let came = added(&["http://u:hunter2@10.0.0.1:80", "socks5://h.test:1080"], &["eu"]).unwrap();
        let [first, second] = came.as_slice() else { unreachable!("{came:?}") };
        assert_eq!(
            (first.tags.to_string(), second.endpoint.to_url()),
            ("eu,source:user".to_owned(), "socks5://h.test:1080".to_owned())
        );
        let wrong: [(&[&str], &[&str], &str); 4] = [
            (&[], &[], "there is none"),
            (&["http://10.0.0.1:80", "http://u:hunter2@h:x"], &[], "number 2: "),
            (&["htp://u:hunter2@h:1"], &[], "number 1: "),
            (&["http://10.0.0.1:80"], &["a b"], "not a tag"),
        ];
        for (proxies, tags, why) in wrong {
            let refusal = added(proxies, tags).unwrap_err();
            assert!(told(&refusal).contains(why) && !told(&refusal).contains("hunter2"), "{refusal:?}");
        }
    }

    #[test]
    fn who_is_removed_is_named_or_has_a_tag() {
        let removed = |proxies: &[&str], tags: &[&str]| {
            let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            meant(RemoveFromPool { proxies: owned(proxies), tags: owned(tags) })
        };
        let (patterns, _) = removed(&["10.0.0.1:80"], &[]).unwrap();
        let key = |url: &str| url.parse::<Endpoint>().unwrap().key();
        assert!(patterns.matches(&key("socks5://u:pw@10.0.0.1:80")));
        assert!(!patterns.matches(&key("http://10.0.0.1:81")));
        let (patterns, tags) = removed(&[], &["eu"]).unwrap();
        assert!(!patterns.matches(&key("http://10.0.0.1:80")) && tags == ["eu"]);
        assert!(told(&removed(&[], &[]).unwrap_err()).contains("there is neither"));
        let refusal = removed(&["10.0.0.1:80", "http://u:hunter2@h:x"], &[]).unwrap_err();
        assert!(told(&refusal).contains("is no proxy") && !told(&refusal).contains("hunter2"), "{refusal:?}");
    }
}
