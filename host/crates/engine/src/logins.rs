//! Logins in place of those that members came with: whoever rotates a password, or a user name, keeps the members.
//!
//! A *login* covers members: those with a tag, at a host, or one alone. What is dialled for a member that is covered is its
//! endpoint with the login's user name and password; what it is known by, and what a store holds, stays what it came with,
//! and with it statistics, sessions, bans and open tunnels. The first login that covers a member and has credentials counts.
//!
//! Where credentials come from is the business of whoever sets them. Who [listens](Login::listen) is told that they are refused,
//! and whoever was refused can wait for what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use proxywhirl_core::{Credentials, Endpoint, EndpointKey, Host, Tag, Tags};
use tokio::sync::{Notify, watch};

/// Which members a login is for: those for which all of it holds that is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Covered {
    /// Those with this tag.
    pub tag: Option<Tag>,
    /// Those at this host.
    pub host: Option<Host>,
    /// This one.
    pub proxy: Option<EndpointKey>,
}

impl Covered {
    /// Whether a member with this endpoint and these tags is among them.
    #[must_use]
    pub fn holds(&self, endpoint: &Endpoint, tags: &Tags) -> bool {
        self.tag.as_ref().is_none_or(|tag| tags.contains(tag.as_str()))
            && self.host.as_ref().is_none_or(|host| *host == endpoint.host)
            && self.proxy.as_ref().is_none_or(|key| endpoint.has_key(key))
    }

    /// In words for people: `tag paid, host gate.example`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!("tag {tag}"));
        let host = self.host.as_ref().map(|host| format!("host {host}"));
        let proxy = self.proxy.as_ref().map(|key| format!("proxy {key}"));
        [tag, host, proxy].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// Credentials in place of those that some members came with.
#[derive(Debug)]
pub struct Login {
    name: Box<str>,
    covered: Covered,
    current: ArcSwapOption<Credentials>,
    /// Told when a proxy has refused them. Of several times that nobody waits for, one is remembered.
    refused: Notify,
    /// Whether somebody listens, who has not done yet what a refusal asks for.
    is_heard: watch::Sender<bool>,
}

/// Somebody who sets a login anew when it is refused. What a refusal asks for is done when it is dropped.
#[derive(Debug)]
pub struct Listening<'l>(&'l Login);

impl Listening<'_> {
    /// Returns when a proxy has refused the credentials, of this login or of a member that it covers before it had any.
    pub async fn refused(&self) {
        self.0.refused.notified().await;
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.is_heard.send_replace(false);
    }
}

/// What is dialled for a member in place of its own endpoint.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// The member's endpoint, with the credentials.
    pub endpoint: Endpoint,
    /// The credentials, the same as long as they are not set anew.
    pub login: Arc<Credentials>,
}

impl Login {
    /// A login that has no credentials yet.
    fn new(name: &str, covered: Covered) -> Self {
        let (refused, is_heard) = (Notify::new(), watch::Sender::new(false));
        Self { name: name.into(), covered, current: ArcSwapOption::empty(), refused, is_heard }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom it is for.
    #[must_use]
    pub const fn covered(&self) -> &Covered {
        &self.covered
    }

    /// The credentials that it has; none before they were set.
    #[must_use]
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.current.load_full()
    }

    /// Hears from now on that they are refused.
    pub fn listen(&self) -> Listening<'_> {
        self.is_heard.send_replace(true);
        Listening(self)
    }

    /// Has no credentials any more; whether it had some.
    fn unset(&self) -> bool {
        self.current.swap(None).is_some()
    }

    /// Sets the credentials; whether they are new. From now on they are dialled with; what is connected stays so.
    fn set(&self, credentials: Credentials) -> bool {
        let is_new = self.current.load().as_deref() != Some(&credentials);
        if is_new {
            self.current.store(Some(Arc::new(credentials)));
        }
        is_new
    }
}

/// All logins.
#[derive(Debug, Default)]
pub struct Logins {
    /// Written by whoever configures it.
    all: ArcSwap<Vec<Arc<Login>>>,
    /// Whether there is any: most gateways have none, and each attempt asks.
    is_used: AtomicBool,
}

impl Logins {
    /// Has logins of these names for these members, in this order; those that were there before, for the same members, keep
    /// their credentials.
    pub fn configure(&self, wanted: &[(String, Covered)]) {
        let before = self.all.load();
        let known = |name: &str, covered: &Covered| {
            before.iter().find(|login| *login.name == *name && login.covered == *covered).map(Arc::clone)
        };
        let login = |(name, covered): &(String, Covered)| {
            known(name, covered).unwrap_or_else(|| Arc::new(Login::new(name, covered.clone())))
        };
        let all: Vec<_> = wanted.iter().map(login).collect();
        self.is_used.store(!all.is_empty(), Ordering::Relaxed);
        self.all.store(Arc::new(all));
    }

    /// All of them, in the order in which they count.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Arc<Login>>> {
        self.all.load_full()
    }

    /// The one of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Login>> {
        self.all.load().iter().find(|login| *login.name == *name).map(Arc::clone)
    }

    /// Sets the credentials of a login; whether they are new. None when there is no such login.
    pub(crate) fn set(&self, name: &str, credentials: Credentials) -> Option<bool> {
        self.get(name).map(|login| login.set(credentials))
    }

    /// Takes the credentials of a login back; whether it had some. None when there is no such login.
    pub(crate) fn unset(&self, name: &str) -> Option<bool> {
        self.get(name).map(|login| login.unset())
    }

    /// What is dialled for a member; none when that is its own endpoint.
    #[must_use]
    pub fn replaced(&self, endpoint: &Endpoint, tags: &Tags) -> Option<Replaced> {
        if !self.is_used.load(Ordering::Relaxed) {
            return None;
        }
        let all = self.all.load();
        let mut covering = all.iter().filter(|login| login.covered.holds(endpoint, tags));
        // One without a blank for a place that the member's own login has one for would come out anywhere.
        covering.find_map(|login| {
            let login = login.credentials()?;
            let replaced = Endpoint { credentials: Some(Box::new(Credentials::clone(&login))), ..endpoint.clone() };
            Some(Replaced { endpoint: replaced, login }).filter(|replaced| replaced.endpoint.has_places_of(endpoint))
        })
    }

    /// Says that a member has refused what it was dialled with: all logins hear of it that are for it.
    pub fn refused(&self, endpoint: &Endpoint, tags: &Tags) {
        if self.is_used.load(Ordering::Relaxed) {
            let all = self.all.load();
            let covering = all.iter().filter(|login| login.covered.holds(endpoint, tags));
            covering.for_each(|login| login.refused.notify_one());
        }
    }

    /// Whether a member that has refused these credentials, none for its own, is dialled with other ones by now: at once, or
    /// when those have been set anew who hear of it.
    pub async fn renewed(&self, endpoint: &Endpoint, tags: &Tags, refused: Option<&Arc<Credentials>>) -> bool {
        let is_other = || match (self.replaced(endpoint, tags), refused) {
            (Some(replaced), Some(refused)) => !Arc::ptr_eq(&replaced.login, refused),
            (replaced, refused) => replaced.is_some() != refused.is_some(),
        };
        let all = self.all();
        for login in all.iter().filter(|login| login.covered.holds(endpoint, tags)) {
            if is_other() {
                return true;
            }
            // Its sender is part of the login, and lives.
            _ = login.is_heard.subscribe().wait_for(|is_heard| !is_heard).await;
        }
        is_other()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        url.parse().unwrap()
    }

    fn tags(words: &[&str]) -> Tags {
        words.iter().map(|word| word.parse::<Tag>().unwrap()).collect()
    }

    fn tagged(tag: &str) -> Covered {
        Covered { tag: tag.parse().ok(), ..Covered::default() }
    }

    fn dialled(logins: &Logins, url: &str, words: &[&str]) -> Option<String> {
        logins.replaced(&endpoint(url), &tags(words)).map(|replaced| replaced.endpoint.to_url())
    }

    fn login(user: &str, password: &str) -> Credentials {
        Credentials::new(user, password).unwrap()
    }

    const MEMBER: &str = "http://me:old@gate.example:8080";

    #[test]
    fn a_login_that_names_no_place_is_none_for_a_member_that_does() {
        let logins = Logins::default();
        logins.configure(&[("a".to_owned(), tagged("paid")), ("b".to_owned(), tagged("paid"))]);
        logins.set("a", login("me", "new"));
        let member = "http://me[-country-{country}]:old@gate.example:8080";
        assert_eq!(dialled(&logins, member, &["paid"]), None);
        logins.set("b", login("you[-cc-{country}]", "new"));
        let replaced = logins.replaced(&endpoint(member), &tags(&["paid"])).unwrap();
        assert_eq!(replaced.endpoint, endpoint("http://you[-cc-{country}]:new@gate.example:8080"));
        assert_eq!(dialled(&logins, MEMBER, &["paid"]).unwrap(), "http://me:new@gate.example:8080");
    }

    #[test]
    fn the_first_that_covers_a_member_and_has_credentials_counts() {
        let logins = Logins::default();
        assert_eq!(dialled(&logins, MEMBER, &["paid"]), None);
        let host = Covered { host: "gate.example".parse().ok(), ..tagged("paid") };
        logins.configure(&[("first".to_owned(), host), ("second".to_owned(), tagged("paid"))]);
        assert_eq!(dialled(&logins, MEMBER, &["paid"]), None, "neither has any");
        assert_eq!(logins.set("second", login("b", "2")), Some(true));
        assert_eq!(dialled(&logins, MEMBER, &["paid"]).unwrap(), "http://b:2@gate.example:8080");
        assert_eq!(logins.set("first", login("a", "1")), Some(true));
        assert_eq!(logins.set("first", login("a", "1")), Some(false), "it has them");
        assert_eq!(dialled(&logins, MEMBER, &["paid"]).unwrap(), "http://a:1@gate.example:8080");
        assert_eq!(dialled(&logins, "http://other.example:80", &["paid"]).unwrap(), "http://b:2@other.example:80");
        assert_eq!(dialled(&logins, MEMBER, &["free"]), None);
        assert_eq!(logins.set("third", login("c", "3")), None);
        assert_eq!(
            (logins.unset("first"), logins.unset("first"), logins.unset("third")),
            (Some(true), Some(false), None)
        );
        assert_eq!(dialled(&logins, MEMBER, &["paid"]).unwrap(), "http://b:2@gate.example:8080", "the next one counts");
    }

    #[test]
    fn one_member_alone_and_only_its_own_hop() {
        let logins = Logins::default();
        let chain = "socks5://x:y@a.example:1080 -> http://me:old@gate.example:8080";
        let covered = Covered { proxy: Some(endpoint(chain).key()), ..Covered::default() };
        assert_eq!(covered.in_words(), "proxy socks5://x@a.example:1080 -> http://me@gate.example:8080");
        logins.configure(&[("one".to_owned(), covered)]);
        logins.set("one", login("you", "new"));
        assert_eq!(dialled(&logins, chain, &[]).unwrap(), chain.replace("me:old", "you:new"));
        assert_eq!(dialled(&logins, MEMBER, &[]), None);
    }

    #[test]
    fn who_stays_keeps_what_it_has() {
        let logins = Logins::default();
        let of = |names: &[(&str, &str)]| {
            let pairs: Vec<_> = names.iter().map(|(name, tag)| ((*name).to_owned(), tagged(tag))).collect();
            logins.configure(&pairs);
        };
        of(&[("a", "x")]);
        logins.set("a", login("u", "p"));
        of(&[("b", "y"), ("a", "x")]);
        assert!(logins.get("a").unwrap().credentials().is_some() && logins.get("b").unwrap().credentials().is_none());
        of(&[("a", "y")]);
        assert!(logins.get("a").unwrap().credentials().is_none(), "it is for others now");
        of(&[]);
        assert_eq!(dialled(&logins, MEMBER, &["y"]), None);
    }

    #[tokio::test]
    async fn a_refusal_is_heard_also_by_who_listens_later() {
        let logins = Logins::default();
        logins.configure(&[("a".to_owned(), tagged("paid")), ("b".to_owned(), tagged("free"))]);
        logins.refused(&endpoint(MEMBER), &tags(&["paid"]));
        logins.get("a").unwrap().listen().refused().await;
        let other = logins.get("b").unwrap();
        let late = tokio::time::timeout(std::time::Duration::from_millis(20), other.listen().refused()).await;
        assert!(late.is_err(), "it is for others");
    }

    #[tokio::test]
    async fn who_was_refused_waits_for_whoever_listens_and_for_nobody_else() {
        let logins = Logins::default();
        logins.configure(&[("a".to_owned(), tagged("paid"))]);
        let (member, paid) = (endpoint(MEMBER), tags(&["paid"]));
        let of = || logins.replaced(&member, &paid).map(|replaced| replaced.login);
        assert!(!logins.renewed(&member, &paid, None).await, "nobody listens");
        let login = logins.get("a").unwrap();
        let listening = login.listen();
        let hears = async {
            listening.refused().await;
            logins.set("a", super::tests::login("me", "new"));
            drop(listening);
        };
        logins.refused(&member, &paid);
        let (is_renewed, ()) = tokio::join!(logins.renewed(&member, &paid, None), hears);
        assert!(is_renewed);
        assert!(logins.renewed(&member, &paid, None).await, "it has others than those that were refused");
        let refused = of();
        assert!(!logins.renewed(&member, &paid, refused.as_ref()).await);
        let listening = login.listen();
        let (is_renewed, ()) =
            tokio::join!(logins.renewed(&member, &paid, refused.as_ref()), async { drop(listening) });
        assert!(!is_renewed, "they were read, and are those that were refused");
    }
}
