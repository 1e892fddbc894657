//! The pool of a gateway that runs: what `pool add` and `pool remove` change there at once, and in its store too, and what is shown.

use std::ffi::OsStr;

use proxywhirl_core::tag::Tags;
use proxywhirl_core::{Candidate, Tag};
use proxywhirl_store::StoreUrl;
use serde::Serialize;

use super::super::config::{configured, place_of_gateway};
use super::super::output::tell;
use super::super::sources::Found;
use super::super::{ControlArgs, StoreArg};
use super::DbArgs;
use crate::config::Settings;
use crate::control::Client;
use crate::control::api::{Added, RemoveFromPool, Removed};
use crate::control::listed::{MemberRow, PoolPart};
use crate::exit::{Exit, Failure};

/// Bytes of the proxies in one request, whose body may have a megabyte.
const BATCH: usize = 512 * 1024;

/// `POST /v1/pool/add`, as it is sent.
#[derive(Serialize)]
struct Sent<'a> {
    proxies: &'a [String],
    tags: Vec<&'a str>,
}

impl DbArgs {
    /// The gateway whose pool is meant; none when a store is. What is typed counts before what a variable says, and a store before
    /// gateways that have others.
    ///
    /// # Errors
    /// When several gateways run and it is not known which is meant, or the configuration cannot be read.
    pub(super) async fn gateway(&self, control: &ControlArgs) -> Result<Option<Client>, Failure> {
        if let Some(client) = typed(control) {
            return Ok(Some(client));
        }
        let config = self.config.as_deref();
        let configured = match &self.db {
            Some(db) if is_typed(OsStr::new(&db.0), "PROXYWHIRL_DB") => return Ok(None),
            // All is said already.
            Some(_) if control.control.is_some() => Settings::default(),
            Some(_) => place_of_gateway(config).await?,
            None => configured(config)?,
        };
        let url = self.db.as_ref().map(StoreArg::url).transpose()?.or(configured.store);
        let Some(url) = url.filter(StoreUrl::is_lasting) else { return control.find(config).await };
        // A server tells those that share it anyhow.
        if !url.is_in_use() {
            return Ok(None);
        }
        Client::of_store(&url, control.control.as_deref().or(configured.control.path())).await
    }

    /// The gateway whose pool is shown: the one at the socket that is typed; where no store is named, the one that runs. None when
    /// a store is meant, or nothing.
    ///
    /// # Errors
    /// As [`DbArgs::gateway`].
    pub(super) async fn shown(&self, control: &ControlArgs) -> Result<Option<Client>, Failure> {
        if let Some(client) = typed(control) {
            return Ok(Some(client));
        }
        let config = self.config.as_deref();
        let has_store = self.db.is_some() || configured(config)?.store.is_some_and(|url| url.is_lasting());
        if has_store { Ok(None) } else { control.find(config).await }
    }
}

/// Whether a value was typed, and does not come from its variable.
fn is_typed(value: &OsStr, variable: &str) -> bool {
    std::env::var_os(variable).is_none_or(|said| said != *value)
}

/// The gateway at the socket that was typed.
fn typed(control: &ControlArgs) -> Option<Client> {
    let socket = control.control.as_deref()?;
    is_typed(socket.as_os_str(), "PROXYWHIRL_CONTROL").then(|| Client::at(socket))
}

/// Tells of each proxy in the pool of a gateway, which answers with a part of them at a time.
pub(super) async fn each(client: &Client, mut tell: impl FnMut(MemberRow)) -> Result<(), Failure> {
    let mut place = "/v1/pool".to_owned();
    loop {
        let PoolPart { proxies, next, .. } = client.get(&place).await?;
        proxies.into_iter().for_each(&mut tell);
        let Some(after) = next else { return Ok(()) };
        place = format!("/v1/pool?after={after}");
    }
}

/// Puts what was found into the pool of a gateway.
pub(super) async fn add(client: &Client, found: Found, tags: &[Tag]) -> Result<Exit, Failure> {
    let (rejected, again) = (found.rejected(), found.duplicates);
    let labels: Tags = tags.iter().cloned().collect();
    let mut all = Added::default();
    for (mut tags, proxies) in batches(found.candidates) {
        tags.merge(&labels);
        let sent = Sent { proxies: &proxies, tags: tags.iter().map(Tag::as_str).collect() };
        let Added { added, known, full, problem } = client.post("/v1/pool/add", &sent).await?;
        all = Added { added: all.added + added, known: all.known + known, full: all.full + full, problem };
    }
    let again = if again == 0 { String::new() } else { format!(", {again} named before") };
    let full = if all.full == 0 { String::new() } else { format!(", {} left out because the pool is full", all.full) };
    let (place, Added { added, known, .. }) = (client.path().display(), &all);
    tell(&format!("the gateway at {place}: {added} added, {known} known already, {rejected} rejected{again}{full}"));
    tell_unsaved(all.problem.as_deref());
    Ok(if added + known == 0 { Exit::NoResult } else { Exit::Done })
}

/// Takes proxies out of the pool of a gateway.
pub(super) async fn remove(client: &Client, proxies: &[String], tags: &[String]) -> Result<Exit, Failure> {
    let body = RemoveFromPool { proxies: proxies.to_vec(), tags: tags.to_vec() };
    let Removed { removed, left, kept_out, unproven, problem } = client.post("/v1/pool/remove", &body).await?;
    tell(&format!("the gateway at {}: {removed} removed, {left} left", client.path().display()));
    if unproven > 0 {
        tell(&format!("{unproven} more kept out, which had not passed their check yet"));
    }
    if kept_out + unproven > 0 {
        tell(
            "no source brings them back there until `pool add` does, or the gateway ends: \
             a list of your own should name them no more",
        );
    }
    if kept_out < removed {
        tell(&format!("warning: {} of them come back when a source names them", removed - kept_out));
    }
    tell_unsaved(problem.as_deref());
    Ok(if removed + unproven == 0 { Exit::NoResult } else { Exit::Done })
}

fn tell_unsaved(problem: Option<&str>) {
    if let Some(problem) = problem {
        tell(&format!("warning: the pool is not saved, which the gateway tries again: {problem}"));
    }
}

/// URLs in the order in which they came, as many at once as have the same tags and room in a request.
fn batches(candidates: Vec<Candidate>) -> Vec<(Tags, Vec<String>)> {
    let mut batches: Vec<(Tags, Vec<String>)> = Vec::new();
    let mut bytes = 0;
    for Candidate { endpoint, tags, .. } in candidates {
        let url = endpoint.to_url();
        bytes += url.len();
        match batches.last_mut() {
            Some((others, urls)) if *others == tags && bytes <= BATCH => urls.push(url),
            Some(_) | None => {
                bytes = url.len();
                batches.push((tags, vec![url]));
            }
        }
    }
    batches
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_sent_with_others_of_the_same_tags_as_long_as_there_is_room() {
        let candidate = |number: usize| {
            let tag: Tag = ["a", "b"][usize::from(number >= 3)].parse().unwrap();
            let url = format!("http://{number}.h.test:80");
            Candidate { tags: [tag].into_iter().collect(), ..url.parse::<proxywhirl_core::Endpoint>().unwrap().into() }
        };
        let few = batches((0..4).map(candidate).collect());
        let sizes: Vec<_> = few.iter().map(|(tags, urls)| (tags.to_string(), urls.len())).collect();
        assert_eq!(sizes, [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        let many = batches((3..100_003).map(candidate).collect());
        assert!(many.len() > 1 && many.iter().map(|(_, urls)| urls.len()).sum::<usize>() == 100_000);
        assert!(many.iter().all(|(_, urls)| urls.iter().map(String::len).sum::<usize>() <= BATCH));
    }
}
