//! Credentials over the socket: they come in, and never go out.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use proxywhirl_core::Credentials;

use super::{Gateway, Refusal, Routed, done, key_of, read};
use crate::control::api::{CredentialsRead, CredentialsSet, RefreshCredentials, SetCredentials, UnsetCredentials};
use crate::credentials::covered;

/// Sets credentials: those of a name, or of whom is said.
pub(super) async fn set(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<CredentialsSet> {
    let bad = |why: &str| Refusal::new(StatusCode::BAD_REQUEST, why);
    // What is wrong with the body is told without its text, which holds a password.
    let body =
        body.map_err(|rejection| Refusal::new(rejection.status(), "the body cannot be read, or is too large"))?;
    let wanted: SetCredentials = serde_json::from_slice(&body).map_err(|_| {
        bad("the body is not what was expected: username, password, and either name, or tag, host or proxy")
    })?;
    let SetCredentials { name, tag, host, proxy, username, password } = wanted;
    let credentials =
        Credentials::new(&username, password.expose()).map_err(|error| bad(&format!("credentials: {error}")))?;
    match name {
        Some(_) if tag.is_some() || host.is_some() || proxy.is_some() => {
            Err(bad("whose credentials of a name are is said in the configuration"))
        }
        Some(name) => done(async move { live.credentials().set(&name, credentials).await }).await,
        None => {
            let covered = covered(tag.as_deref(), host.as_deref(), key_of(proxy)?)?;
            done(async move { live.credentials().set_for(covered, credentials).await }).await
        }
    }
}

/// Takes back credentials that were set: those of a name, or of whom is said.
pub(super) async fn unset(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<CredentialsSet> {
    let UnsetCredentials { name, tag, host, proxy } = read(body)?;
    let name = match name {
        Some(_) if tag.is_some() || host.is_some() || proxy.is_some() => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "either a name, or tag, host or proxy"));
        }
        Some(name) => name,
        None => covered(tag.as_deref(), host.as_deref(), key_of(proxy)?)?.in_words(),
    };
    done(async move { live.credentials().unset(&name).await }).await
}

/// Reads credentials again from where they are kept.
pub(super) async fn refresh(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<Vec<CredentialsRead>> {
    let RefreshCredentials { names } = read(body)?;
    done(async move { live.credentials().refresh(&names).await }).await
}
