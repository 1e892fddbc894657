//! Credentials over the socket: they come in, and never go out.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use proxywhirl_core::Credentials;

use super::{Gateway, Refusal, Routed, done, key_of, read};
use crate::control::api::{CredentialsRead, CredentialsSet, RefreshCredentials, SetCredentials};
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
    let keeping = live.credentials();
    let set = match name {
        Some(_) if tag.is_some() || host.is_some() || proxy.is_some() => {
            return Err(bad("whose credentials of a name are is said in the configuration"));
        }
        Some(name) => keeping.set(&name, credentials)?,
        None => keeping.set_for(covered(tag.as_deref(), host.as_deref(), key_of(proxy)?)?, credentials)?,
    };
    Ok(Json(set))
}

/// Reads credentials again from where they are kept.
pub(super) async fn refresh(State(live): Gateway, body: Result<Bytes, BytesRejection>) -> Routed<Vec<CredentialsRead>> {
    let RefreshCredentials { names } = read(body)?;
    done(async move { live.credentials().refresh(&names).await }).await
}
