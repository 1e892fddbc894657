//! Logins that commands have set, in the store where the pool is: they outlive the gateway, and reach others that share the store.

use std::sync::Arc;

use proxywhirl_core::{Credentials, Endpoint, EndpointKey, Secret, Timestamp};
use proxywhirl_engine::logins::Covered;
use proxywhirl_store::{Covers, StoredLogin, StoredLogins, UnreadLogin};

/// The store, for logins.
#[derive(Debug, Clone)]
pub struct Kept {
    logins: Arc<StoredLogins>,
    /// The store, for people.
    pub(super) place: String,
    /// Whether others may change what is in it.
    pub(super) is_shared: bool,
}

impl Kept {
    /// In this store.
    #[must_use]
    pub fn new(logins: StoredLogins, place: String, is_shared: bool) -> Self {
        Self { logins: Arc::new(logins), place, is_shared }
    }

    /// All that are kept, the newest first, and those that cannot be made out; or why the store cannot be read.
    pub(super) async fn all(&self) -> Result<(Vec<StoredLogin>, Vec<UnreadLogin>), String> {
        self.at(|logins| logins.all()).await
    }

    /// Keeps one.
    pub(super) async fn keep(&self, login: StoredLogin) -> Result<(), String> {
        self.at(move |logins| logins.keep(&login)).await
    }

    /// Keeps none of this name any more; whether there was one.
    pub(super) async fn forget(&self, name: &str, has_covers: bool) -> Result<bool, String> {
        let name = name.to_owned();
        self.at(move |logins| logins.forget(&name, has_covers)).await
    }

    /// A store is asked where it may take its time.
    async fn at<T: Send + 'static, E: ToString + Send + 'static>(
        &self,
        ask: impl FnOnce(&StoredLogins) -> Result<T, E> + Send + 'static,
    ) -> Result<T, String> {
        let logins = Arc::clone(&self.logins);
        let asked = tokio::task::spawn_blocking(move || ask(&logins)).await;
        asked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

/// A login as it is kept: of whom is said, or of those whom the configuration names.
pub(super) fn stored(name: &str, covered: Option<&Covered>, credentials: &Credentials, at: Timestamp) -> StoredLogin {
    let covers = covered.map(|covered| Covers {
        tag: covered.tag.as_ref().map(ToString::to_string),
        host: covered.host.as_ref().map(ToString::to_string),
        proxy: covered.proxy.as_ref().map(ToString::to_string),
    });
    StoredLogin {
        name: name.to_owned(),
        covers,
        username: credentials.username.to_string(),
        password: Secret::new(credentials.password.expose()),
        at,
    }
}

/// What a login that is kept says: whom it is for, unless the configuration does, and what is dialled; or why it says nothing that can
/// be.
pub(super) fn said(login: &StoredLogin) -> Result<(Option<Covered>, Credentials), String> {
    let credentials =
        Credentials::new(&login.username, login.password.expose()).map_err(|error| format!("what is kept: {error}"))?;
    let Some(Covers { tag, host, proxy }) = &login.covers else { return Ok((None, credentials)) };
    let proxy = proxy.as_deref().map(str::parse::<Endpoint>).transpose().map_err(|error| error.to_string())?;
    let proxy: Option<EndpointKey> = proxy.map(|endpoint| endpoint.key());
    let covered = super::covered(tag.as_deref(), host.as_deref(), proxy).map_err(|failure| failure.message)?;
    Ok((Some(covered), credentials))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_comes_back_with_whom_it_is_for() {
        let credentials = Credentials::new("me", "hunter2").unwrap();
        let proxy: Endpoint = "socks5://a%3A:b@a.example:1 -> http://us%20er:x@gate.example:80".parse().unwrap();
        let covered =
            Covered { tag: "paid".parse().ok(), host: "[2001:db8::1]".parse().ok(), proxy: Some(proxy.key()) };
        for covered in [Some(covered), None] {
            let login = stored("x", covered.as_ref(), &credentials, Timestamp::default());
            assert_eq!(said(&login).unwrap(), (covered, credentials.clone()));
        }
        let nobody =
            StoredLogin { covers: Some(Covers::default()), ..stored("x", None, &credentials, Timestamp::default()) };
        assert!(said(&nobody).unwrap_err().contains("not whose they are"));
    }
}
