//! Who may use the gateway, to reach what, and how much: users, addresses of clients, destinations, quotas.
//!
//! Whoever has no users asks nobody who they are. An [`Access`] is shared by all doors: a user has one quota, wherever its
//! connections come in.

mod metered;
mod places;
mod quota;
mod rules;
mod secret;
mod users;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use proxywhirl_engine::Engine;
use proxywhirl_net::Target;

use crate::wanted::Introduced;
pub(crate) use metered::{Gauge, Metered};
pub(crate) use quota::{Exceeded, Use};
pub use quota::{Usage, UserLimits};
use rules::Rules;
pub use rules::{Destinations, Rule, network};
pub use secret::{Secret, hash_password};
pub use users::UserConfig;
use users::Users;
pub(crate) use users::{Denied, User, number_of};

/// For how long an HTTP client has said who it is, and with its user name what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login {
    /// Until its connection ends, or it says something else. There are clients that log in once for each connection, as
    /// SOCKS does: aiohttp is one.
    #[default]
    Connection,
    /// For the request that says it, as RFC 9110 §11.7 has it: for a gateway whose clients come through another proxy,
    /// where one connection carries the requests of several.
    Request,
}

/// Who may use the gateway, and for what.
#[derive(Debug, Default)]
pub struct Access {
    users: Option<Users>,
    login: Login,
    /// Networks whose clients are served; empty for all.
    clients: Vec<IpNet>,
    rules: Rules,
}

impl Access {
    /// Access for these users (for everybody when there are none), from these networks (from everywhere when there are
    /// none), to these destinations.
    ///
    /// # Errors
    /// When there are users, and the system has no random numbers to keep their credentials by.
    pub fn new(users: Vec<UserConfig>, clients: Vec<IpNet>, destinations: Destinations) -> Result<Self, String> {
        let users = if users.is_empty() { None } else { Some(Users::new(users)?) };
        Ok(Self { users, login: Login::default(), clients, rules: destinations.into() })
    }

    /// The same, where a login lasts as long as this.
    #[must_use]
    pub const fn with_login(mut self, login: Login) -> Self {
        self.login = login;
        self
    }

    /// For how long a client of HTTP has logged in.
    pub(crate) const fn login(&self) -> Login {
        self.login
    }

    /// Access under another configuration: who stays and has the same secret need not prove it again, and what users have
    /// used counts on.
    ///
    /// # Errors
    /// As for [`Access::new`].
    pub fn configured(
        &self,
        users: Vec<UserConfig>,
        clients: Vec<IpNet>,
        destinations: Destinations,
    ) -> Result<Self, String> {
        let users = match &self.users {
            Some(before) if !users.is_empty() => Some(before.configured(users)),
            Some(_) | None => return Self::new(users, clients, destinations),
        };
        Ok(Self { users, login: Login::default(), clients, rules: destinations.into() })
    }

    /// Whether everybody who reaches the gateway may use it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.users.is_none()
    }

    /// What each user may use, and uses, by their names; nothing where nobody has to log in. What is used at other gateways that
    /// share the pool with this engine is asked for.
    pub async fn usage(&self, engine: &Engine) -> Vec<Usage> {
        match &self.users {
            Some(users) => users.usage(engine).await,
            None => Vec::new(),
        }
    }

    /// The same of the user of this name alone; none where there is no such user.
    pub async fn usage_of(&self, name: &str, engine: &Engine) -> Option<Usage> {
        self.users.as_ref()?.usage_of(name, engine).await
    }

    /// Whether bytes are counted.
    pub(crate) fn is_metered(&self) -> bool {
        self.users.as_ref().is_some_and(Users::is_metered)
    }

    /// Whether a client with this address is served; one without came over a socket of this machine.
    pub(crate) fn welcomes(&self, client: Option<IpAddr>) -> bool {
        let Some(client) = client.map(|client| client.to_canonical()) else { return true };
        self.clients.is_empty() || self.clients.iter().any(|network| network.contains(&client))
    }

    /// The session that a client has which introduces itself like this: each user has sessions of their own. None when it names none, or
    /// is nobody's.
    #[must_use]
    pub fn session_of(&self, introduced: &Introduced) -> Option<u64> {
        let session = introduced.session()?;
        match &self.users {
            Some(users) => Some(users.named(&introduced.user)?.session(session)),
            None => Some(session),
        }
    }

    /// Whether the destination may be reached.
    #[must_use]
    pub fn permits(&self, target: &Target) -> bool {
        self.rules.permits(target)
    }

    /// Whether a rule forbids the destination, whatever others allow.
    pub(crate) fn forbids(&self, target: &Target) -> bool {
        self.rules.forbids(target)
    }

    /// Finds out who a client is; nobody where nobody is asked.
    pub(crate) async fn identify(
        &self,
        name: &str,
        password: &str,
        client: Option<IpAddr>,
    ) -> Result<Option<Arc<User>>, Denied> {
        match &self.users {
            None => Ok(None),
            Some(users) => users.verify(name, password, client).await.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_by_their_network() {
        let networks = ["127.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
        let access = Access::new(Vec::new(), networks, Destinations::default()).unwrap();
        let welcomes = |client: &str| access.welcomes(Some(client.parse().unwrap()));
        assert!(welcomes("127.1.2.3") && welcomes("::ffff:127.0.0.1") && welcomes("fd12::1"));
        assert!(!welcomes("10.0.0.1") && !welcomes("::1"));
        assert!(access.welcomes(None));
        assert!(Access::default().welcomes(Some("10.0.0.1".parse().unwrap())));
    }
}
