//! What connects, and what its failures mean.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, redirect};

use super::super::{Cause, FetcherConfig};
use super::guard::{GuardedResolver, Reach, Refused};
use super::retry::{Again, Failed};

/// A server that does not even accept is given up before the whole time is spent on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence of a third of the time is an attempt that failed: two more fit in.
const SILENCE: u32 = 3;
const USER_AGENT: &str = concat!("proxywhirl/", env!("CARGO_PKG_VERSION"));

pub(super) fn build(config: &FetcherConfig, reach: Reach) -> Result<Client, Cause> {
    let tls = proxywhirl_net::tls::client_config(&config.tls).map_err(|error| Cause::Http(error.to_string()))?;
    let mut tls = rustls::ClientConfig::clone(&tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(config.limits.timeout / SILENCE)
        .redirect(redirect::Policy::none());
    if config.ignore_system_proxy {
        builder = builder.no_proxy();
    }
    if reach == Reach::Internet {
        builder = builder.dns_resolver(Arc::new(GuardedResolver::new()));
    }
    for (name, addr) in &config.names {
        builder = builder.resolve(name, *addr);
    }
    builder.build().map_err(|error| Cause::Http(format!("HTTP client: {}", root(&error))))
}

/// A failure in words, without the URL, which may hold a key.
pub(super) fn describe(error: reqwest::Error, timeout: Duration) -> Failed {
    if let Some(Refused { host, class }) = refused(&error) {
        return Cause::Private { host: host.clone(), class }.into();
    }
    if error.is_timeout() {
        return Failed { cause: Cause::Timeout(timeout), again: Again::Soon };
    }
    let reason = root(&error);
    let (text, again) = if error.is_connect() {
        (format!("cannot connect: {reason}"), Again::Soon)
    } else if error.is_decode() {
        // What broke off is told as this too.
        (format!("the answer cannot be decompressed: {reason}"), Again::Soon)
    } else if error.is_body() {
        (format!("the answer broke off: {reason}"), Again::Soon)
    } else {
        (reason, Again::Soon)
    };
    Failed { cause: Cause::Http(text), again }
}

fn refused(error: &reqwest::Error) -> Option<&Refused> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// The last cause of an error, which says most.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
