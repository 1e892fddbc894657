//! Users, and how they prove who they are.
//!
//! A hash is checked until it was right once: then a digest of the credentials, under a key that lives as long as the
//! process, is remembered with the user, and every later connection costs one SHA-256. A user has one password, so from
//! then on any other digest is wrong without asking argon2. Hashing runs on threads of its own, two at a time, of one address
//! one at a time, and whoever fails waits for a second; an address that fails again and again is sent away unheard for a minute, but not those behind
//! it whose credentials are known to be right.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use proxywhirl_core::member::mix;
use proxywhirl_engine::Engine;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::quota::{Exceeded, Meter, Usage, Use, Used, UserLimits};
use super::secret::{Secret, random_key};
use crate::wanted::session_hash;

/// Hashes that are checked at the same time: more would take the processors from those who are served.
const HASHING: usize = 2;
/// How long a check may wait for its turn.
const TURN: Duration = Duration::from_secs(10);
/// From when on an answer to wrong credentials may go: longer than a hash takes, so that it tells nothing about the user.
const PENALTY: Duration = Duration::from_secs(1);
/// Failures of one address within [`WINDOW`] after which it is not heard any more.
const FAILURES: u32 = 10;
/// How long failures are held against an address.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses whose failures are remembered.
const MAX_ADDRESSES: usize = 10_000;

/// A user as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct UserConfig {
    /// Its name.
    pub name: String,
    /// What proves it.
    pub secret: Secret,
    /// What it may use.
    pub limits: UserLimits,
}

/// A user.
#[derive(Debug)]
pub(crate) struct User {
    name: Arc<str>,
    secret: Secret,
    /// The digest of its credentials, once they were right.
    verified: OnceLock<[u8; 32]>,
    /// Keeps its sessions apart from those of others.
    salt: u64,
    pub(super) meter: Meter,
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It did not say who it is.
    Missing,
    /// It is not who it says.
    Wrong,
    /// It failed too often, or too many are being checked.
    Later(Duration),
}

#[derive(Debug)]
pub(super) struct Users {
    by_name: HashMap<Box<str>, Arc<User>>,
    /// What those have used who are no users any more, as long as it counts: who comes back goes on with it.
    left: HashMap<Box<str>, Arc<Used>>,
    key: [u8; 32],
    turns: Arc<Semaphore>,
    failures: Arc<Mutex<HashMap<IpAddr, Failures>>>,
    /// Those of each address who wait for a turn, one of whom may take one; as many as wait.
    lines: Arc<Mutex<HashMap<IpAddr, Arc<Semaphore>>>>,
}

/// A place in the line of an address.
struct Line<'u>(Arc<Semaphore>, IpAddr, &'u Users);

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let mut lines = self.2.lines();
        // Of two: that of the table, and its own.
        if Arc::strong_count(&self.0) == 2 {
            lines.remove(&self.1);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    since: Instant,
}

fn by_name(user: User) -> (Box<str>, Arc<User>) {
    (Box::from(&*user.name), Arc::new(user))
}

impl User {
    fn new(UserConfig { name, secret, limits }: UserConfig) -> Self {
        let (salt, meter) = (session_hash(&name), Meter::new(&name, limits));
        Self { name: name.into(), secret, verified: OnceLock::new(), salt, meter }
    }

    /// One who was a user before, and had used this.
    fn back(config: UserConfig, used: &Arc<Used>) -> Self {
        let meter = Meter::of(Arc::clone(used), config.limits);
        Self { meter, ..Self::new(config) }
    }

    /// The same user with another password, which it has to prove, or other limits: what it has used stays used.
    fn configured(&self, UserConfig { name, secret, limits }: UserConfig) -> Self {
        let verified = if self.secret == secret { self.verified.clone() } else { OnceLock::new() };
        Self { name: name.into(), secret, verified, salt: self.salt, meter: self.meter.limited(limits) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same, for who keeps it.
    pub(crate) const fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// The session of that name, which no other user can name.
    pub(crate) const fn session(&self, named: u64) -> u64 {
        let own = mix(named ^ self.salt);
        if own == 0 { 1 } else { own }
    }

    /// A number that no other user has, but by chance.
    pub(crate) const fn number(&self) -> u64 {
        self.salt
    }

    /// Takes a place among its requests, those at the gateways that share the pool with this engine among them; none of them when
    /// nobody does.
    pub(crate) async fn begin(self: &Arc<Self>, others: Option<&Engine>) -> Result<Use, Exceeded> {
        Use::of(Arc::clone(self), others).await
    }

    pub(crate) const fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Users {
    pub(super) fn named(&self, name: &str) -> Option<&User> {
        self.by_name.get(name).map(|user| &**user)
    }

    pub(super) fn new(users: Vec<UserConfig>) -> Result<Self, String> {
        Ok(Self {
            by_name: users.into_iter().map(User::new).map(by_name).collect(),
            left: HashMap::new(),
            key: random_key()?,
            turns: Arc::new(Semaphore::new(HASHING)),
            failures: Arc::default(),
            lines: Arc::default(),
        })
    }

    /// These users, of whom those who were there go on as they are.
    pub(super) fn configured(&self, users: Vec<UserConfig>) -> Self {
        let of = |config: UserConfig| {
            let name = config.name.as_str();
            by_name(match (self.by_name.get(name), self.left.get(name)) {
                (Some(user), _) => user.configured(config),
                (None, Some(used)) => User::back(config, used),
                (None, None) => User::new(config),
            })
        };
        let by_name: HashMap<_, _> = users.into_iter().map(of).collect();
        let before = self.by_name.iter().map(|(name, user)| (name, user.meter.used())).chain(&self.left);
        let left = before.filter(|(name, used)| !by_name.contains_key(*name) && !used.is_nothing());
        let left = left.map(|(name, used)| (name.clone(), Arc::clone(used))).collect();
        Self {
            by_name,
            left,
            key: self.key,
            turns: Arc::clone(&self.turns),
            failures: Arc::clone(&self.failures),
            lines: Arc::clone(&self.lines),
        }
    }

    pub(super) fn is_metered(&self) -> bool {
        self.by_name.values().any(|user| user.meter.counts_bytes())
    }

    /// What each of them uses, by their names; of bytes also those at the gateways that share the pool with this engine.
    pub(super) async fn usage(&self, others: &Engine) -> Vec<Usage> {
        join_all(self.by_name.values().map(|user| user.meter.hear(others))).await;
        let mut usage: Vec<Usage> = self.by_name.values().map(|user| user.meter.usage()).collect();
        usage.sort_by(|one, other| one.user.cmp(&other.user));
        usage
    }

    /// The same of the one of this name.
    pub(super) async fn usage_of(&self, name: &str, others: &Engine) -> Option<Usage> {
        let meter = &self.named(name)?.meter;
        meter.hear(others).await;
        Some(meter.usage())
    }

    pub(super) async fn verify(&self, name: &str, password: &str, client: Option<IpAddr>) -> Result<Arc<User>, Denied> {
        if password.is_empty() {
            return Err(Denied::Missing);
        }
        let digest = self.digest(name, password);
        let user = self.by_name.get(name);
        if let Some(user) = user.filter(|user| user.verified.get() == Some(&digest)) {
            return Ok(Arc::clone(user));
        }
        // On the heap, since nearly all who come are known.
        Box::pin(self.prove(user, password, digest, client)).await
    }

    /// Finds out whether somebody who has not been right yet is right now.
    async fn prove(
        &self,
        user: Option<&Arc<User>>,
        password: &str,
        digest: [u8; 32],
        client: Option<IpAddr>,
    ) -> Result<Arc<User>, Denied> {
        let address = client.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        if let Some(wait) = self.banished(address) {
            return Err(Denied::Later(wait));
        }
        let began = Instant::now();
        let is_right = match user.filter(|user| user.verified.get().is_none()) {
            Some(user) => self.is_right(user, password, digest, address).await?,
            None => {
                self.failed(address);
                false
            }
        };
        if let Some(user) = user.filter(|_| is_right) {
            return Ok(Arc::clone(user));
        }
        sleep_until(began + PENALTY).await;
        Err(Denied::Wrong)
    }

    /// Finds out whether the password of a user is right who has not been right yet. Those of one address stand in a line of
    /// their own for it: however many they are, they take one turn among all, and each hears what came of the one before.
    async fn is_right(
        &self,
        user: &Arc<User>,
        password: &str,
        digest: [u8; 32],
        address: IpAddr,
    ) -> Result<bool, Denied> {
        let line = self.line_of(address);
        let waiting = async { (line.0.acquire().await, Arc::clone(&self.turns).acquire_owned().await) };
        let Ok((Ok(_first), Ok(turn))) = timeout(TURN, waiting).await else { return Err(Denied::Later(TURN)) };
        if let Some(wait) = self.banished(address) {
            return Err(Denied::Later(wait));
        }
        let is_right = match user.verified.get() {
            Some(verified) => *verified == digest,
            None => self.check(user, password, turn).await,
        };
        if is_right {
            // Somebody else may have been as quick: it is the same digest.
            user.verified.get_or_init(|| digest);
            tracing::debug!(user = &*user.name, "user verified");
        } else {
            // Before the next one of its line is heard.
            self.failed(address);
        }
        Ok(is_right)
    }

    /// The line of an address, as long as somebody is in it.
    fn line_of(&self, address: IpAddr) -> Line<'_> {
        let line = Arc::clone(self.lines().entry(address).or_insert_with(|| Arc::new(Semaphore::new(1))));
        Line(line, address, self)
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a password on a thread that may take its time.
    async fn check(&self, user: &Arc<User>, password: &str, turn: OwnedSemaphorePermit) -> bool {
        let (user, password) = (Arc::clone(user), proxywhirl_core::Secret::new(password));
        // The turn goes with the work: a client that leaves does not make room for another hash.
        let checked = tokio::task::spawn_blocking(move || {
            let is_right = user.secret.is(password.expose());
            drop(turn);
            is_right
        });
        checked.await.unwrap_or(false)
    }

    fn digest(&self, name: &str, password: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(password.as_bytes());
        hash.finalize().into()
    }

    /// How long an address is not heard yet.
    fn banished(&self, address: IpAddr) -> Option<Duration> {
        let failures = *self.failures().get(&address)?;
        let left = WINDOW.checked_sub(failures.since.elapsed())?;
        (failures.count >= FAILURES).then_some(left)
    }

    fn failed(&self, address: IpAddr) {
        let mut failures = self.failures();
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&address) {
            failures.retain(|_, failures| failures.since.elapsed() < WINDOW);
            if failures.len() >= MAX_ADDRESSES {
                // From so many addresses at once, none can be told from the others.
                failures.clear();
            }
        }
        let now = Instant::now();
        let entry = failures.entry(address).or_insert(Failures { count: 0, since: now });
        if entry.since.elapsed() >= WINDOW {
            *entry = Failures { count: 0, since: now };
        }
        entry.count += 1;
        if entry.count == FAILURES {
            tracing::warn!(client.addr = %address, "wrong credentials again and again: not heard for a minute");
            entry.since = now;
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that stands for a client's address, and for those that a customer gets with it.
pub(crate) fn number_of(client: IpAddr) -> u64 {
    let network = match network(client) {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address) >> 64,
    };
    mix(u64::try_from(network).unwrap_or_default()).max(1)
}

/// Whom failures are held against: of IPv6, the network that a customer gets.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use proxywhirl_engine::{EngineConfig, Parts};

    use super::super::secret::hash_password;
    use super::*;

    fn users(secret: Secret) -> Users {
        Users::new(vec![UserConfig { name: "anna".to_owned(), secret, limits: UserLimits::default() }]).unwrap()
    }

    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test]
    async fn what_one_uses_is_told_without_the_others() {
        let engine = Engine::start(EngineConfig::default(), Parts::default()).unwrap();
        let users = users(Secret::hash(&hash_password("secret").unwrap()).unwrap());
        assert_eq!(users.usage_of("anna", &engine).await, users.usage(&engine).await.pop());
        assert_eq!(users.usage_of("", &engine).await, None);
    }

    #[tokio::test]
    async fn a_hash_is_checked_once_and_from_then_on_its_digest() {
        let users = users(Secret::hash(&hash_password("secret").unwrap()).unwrap());
        assert_eq!(users.verify("anna", "secret", client(1)).await.unwrap().name(), "anna");
        // With no turn left nothing can be hashed.
        let turns = users.turns.clone().acquire_many_owned(2).await.unwrap();
        for _ in 0..1_000 {
            assert!(users.verify("anna", "secret", client(2)).await.is_ok());
        }
        assert_eq!(users.verify("anna", "other", client(1)).await.unwrap_err(), Denied::Wrong);
        drop(turns);
    }

    #[tokio::test]
    async fn many_at_once_are_heard_no_more_than_one_after_the_other_and_hold_up_nobody_else() {
        let hash = Secret::hash(&hash_password("secret").unwrap()).unwrap();
        let users = Arc::new(users(hash));
        let mut guesses = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let users = Arc::clone(&users);
            guesses.spawn(async move { users.verify("anna", "guess", client(1)).await.unwrap_err() });
        }
        while users.turns.available_permits() > 0 && users.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        let other = users.verify("anna", "secret", client(2)).await;
        assert!(other.is_ok(), "its turn comes among them: {other:?}");
        assert!(users.failures().get(&network(client(1).unwrap())).is_none_or(|failures| failures.count < FAILURES));
        let denied = guesses.join_all().await;
        assert_eq!(denied.iter().filter(|denied| **denied == Denied::Wrong).count(), FAILURES as usize);
        assert!(users.lines().is_empty(), "nothing is left of a line");
    }

    #[tokio::test]
    async fn who_waits_for_its_turn_while_another_is_right_needs_none() {
        let hash = Secret::hash(&hash_password("secret").unwrap()).unwrap();
        let users = Arc::new(users(hash));
        let turns = users.turns.clone().acquire_many_owned(2).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for password in ["secret", "other"] {
            let users = Arc::clone(&users);
            waiting.spawn(async move { users.verify("anna", password, client(1)).await.map(drop) });
        }
        tokio::task::yield_now().await;
        let anna = &users.by_name["anna"];
        anna.verified.set(users.digest("anna", "secret")).unwrap();
        drop(turns);
        let mut results = waiting.join_all().await;
        results.sort_by_key(Result::is_err);
        assert_eq!(results, [Ok(()), Err(Denied::Wrong)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_fails_waits_and_after_ten_times_is_not_heard_but_others_behind_the_address_are() {
        let users = users(Secret::Password(proxywhirl_core::Secret::new("secret")));
        assert_eq!(users.verify("", "", client(1)).await.unwrap_err(), Denied::Missing);
        assert!(users.verify("anna", "secret", client(1)).await.is_ok());
        for name in ["anna", "nobody", "anna", "nobody", "anna", "nobody", "anna", "nobody", "anna", "nobody"] {
            let began = Instant::now();
            assert_eq!(users.verify(name, "guess", client(1)).await.unwrap_err(), Denied::Wrong);
            assert!(began.elapsed() >= PENALTY, "{name}");
        }
        assert!(
            matches!(users.verify("anna", "guess", client(1)).await.unwrap_err(), Denied::Later(wait) if wait <= WINDOW)
        );
        assert!(users.verify("anna", "secret", client(1)).await.is_ok(), "known credentials are heard");
        assert_eq!(users.verify("anna", "guess", client(2)).await.unwrap_err(), Denied::Wrong);
        tokio::time::sleep(WINDOW).await;
        assert_eq!(users.verify("anna", "guess", client(1)).await.unwrap_err(), Denied::Wrong);
    }

    #[tokio::test]
    async fn many_who_fail_at_once_from_one_address_keep_nobody_from_a_turn() {
        let users = Arc::new(users(Secret::hash(&hash_password("secret").unwrap()).unwrap()));
        let turns = users.turns.clone().acquire_many_owned(2).await.unwrap();
        let guess = |number: u32| {
            let users = Arc::clone(&users);
            async move { users.verify("anna", &number.to_string(), client(1)).await }
        };
        let mut guesses: tokio::task::JoinSet<_> = (0..200).map(guess).collect();
        tokio::task::yield_now().await;
        drop(turns);
        let mut hashed = 0;
        while let Some(denied) = guesses.join_next().await {
            hashed += u32::from(denied.unwrap().unwrap_err() == Denied::Wrong);
        }
        assert!(hashed <= FAILURES + HASHING as u32, "{hashed}");
        assert!(users.verify("anna", "secret", client(2)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_many_addresses_take_bounded_memory() {
        let users = users(Secret::Password(proxywhirl_core::Secret::new("secret")));
        for number in 0..u32::try_from(MAX_ADDRESSES).unwrap() + 100 {
            users.failed(IpAddr::from(number.to_be_bytes()));
        }
        assert!(users.failures().len() <= MAX_ADDRESSES);
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!((of("2001:db8::1"), of("::ffff:10.0.0.1")), ("2001:db8::".to_owned(), "10.0.0.1".to_owned()));
    }

    #[tokio::test]
    async fn who_stays_need_not_prove_it_again_and_who_has_another_secret_must() {
        let hash = |password: &str| Secret::hash(&hash_password(password).unwrap()).unwrap();
        let config = |secret: &Secret, concurrency| UserConfig {
            name: "anna".to_owned(),
            secret: secret.clone(),
            limits: UserLimits { concurrency: Some(concurrency), ..UserLimits::default() },
        };
        let secret = hash("secret");
        let before = Users::new(vec![config(&secret, 1)]).unwrap();
        let anna = before.verify("anna", "secret", client(1)).await.unwrap();
        let open = anna.begin(None).await.unwrap();
        assert!(anna.begin(None).await.is_err());

        let stays = before.configured(vec![config(&secret, 2)]);
        // With no turn left nothing can be hashed.
        let turns = stays.turns.clone().acquire_many_owned(2).await.unwrap();
        let same = stays.verify("anna", "secret", client(1)).await.unwrap();
        let second = same.begin(None).await.unwrap();
        assert!(same.begin(None).await.is_err(), "what was open before counts");
        drop((open, second));
        assert!(same.begin(None).await.is_ok());
        drop(turns);

        let open = same.begin(None).await.unwrap();
        let other = stays.configured(vec![config(&hash("other"), 1)]);
        assert_eq!(other.verify("anna", "secret", client(1)).await.unwrap_err(), Denied::Wrong);
        let anna = other.verify("anna", "other", client(1)).await.unwrap();
        assert!(anna.begin(None).await.is_err(), "what was open under the password before counts");
        drop(open);
        assert!(anna.begin(None).await.is_ok());
        assert_eq!(stays.configured(Vec::new()).verify("anna", "secret", client(1)).await.unwrap_err(), Denied::Wrong);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_taken_out_and_comes_back_goes_on_with_what_still_counts() {
        let period = Duration::from_hours(1);
        let limits = UserLimits { concurrency: Some(1), quota: Some(1_000), period, ..UserLimits::default() };
        let secret = Secret::Password(proxywhirl_core::Secret::new("secret"));
        let [anna, bert] =
            ["anna", "bert"].map(|name| UserConfig { name: name.to_owned(), secret: secret.clone(), limits });
        let without = |users: &Users| users.configured(vec![bert.clone()]).configured(vec![bert.clone()]);
        let with = |users: &Users| users.configured(vec![anna.clone(), bert.clone()]);
        let used = |users: &Users| {
            let usage = users.by_name["anna"].meter.usage();
            (usage.open, usage.bytes)
        };
        let users = with(&Users::new(vec![bert.clone()]).unwrap());
        let open = users.by_name["anna"].begin(None).await.unwrap();
        let gone = without(&users);
        drop(users);
        assert_eq!(gone.verify("anna", "secret", client(1)).await.unwrap_err(), Denied::Wrong);
        let users = with(&gone);
        assert_eq!(used(&users), (1, Some(0)));
        assert!(users.by_name["anna"].begin(None).await.is_err(), "the one is still open");
        drop(open);
        assert!(users.by_name["anna"].meter.count(900));
        let gone = without(&users);
        let users = with(&gone);
        assert_eq!(used(&users), (0, Some(900)), "the period goes on");
        let gone = without(&users);
        tokio::time::sleep(period).await;
        assert!(without(&gone).left.is_empty(), "nothing of it counts any more");
    }

    #[test]
    fn sessions_of_users_are_their_own() {
        let two = ["anna", "bert"].map(|name| UserConfig {
            name: name.to_owned(),
            secret: Secret::Password(proxywhirl_core::Secret::new("x")),
            limits: UserLimits::default(),
        });
        let users = Users::new(two.to_vec()).unwrap();
        let session = |name: &str| users.by_name[name].session(session_hash("7"));
        assert_ne!(session("anna"), session("bert"));
        assert_eq!(session("anna"), session("anna"));
    }
}
