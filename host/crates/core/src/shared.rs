//! What gateways that share a pool agree upon while they run.

use std::sync::Arc;
use std::time::Duration;

use crate::limit::Rate;
use crate::member::MemberId;
use crate::store::StoreError;

/// Whose bucket a token is taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BucketOf {
    /// That of a member.
    Member(MemberId),
    /// That of a site: a registrable domain, or an address.
    Site(Arc<str>),
    /// That of a user, by its name.
    User(Arc<str>),
}

/// A token that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// From whose bucket.
    pub of: BucketOf,
    /// How that bucket fills.
    pub rate: Rate,
}

/// What came of a use that tokens were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// Whether it has its tokens: all of them, or none.
    pub is_granted: bool,
    /// For each of them, how long it is from now until its bucket is full; zero when it is full now. When it has the next one
    /// follows from this ([`Rate::next`]), and how many it has now.
    pub full: Vec<Duration>,
}

/// Token buckets that several gateways take from. Calls may block, on a network.
pub trait Buckets: Send {
    /// Takes tokens for some uses, in their order; for each use all that it asks for, or none. Without uses it says whether
    /// the buckets can be reached.
    ///
    /// # Errors
    /// When they cannot be asked. Whether tokens were taken is then not known.
    fn take(&mut self, uses: &[Vec<Token>]) -> Result<Vec<Granted>, StoreError>;
}

/// Bytes that came to what a user has used, since that was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The user's name.
    pub user: Arc<str>,
    /// How many.
    pub bytes: u64,
    /// How long the period is that begins with the first byte, if none has begun.
    pub period: Duration,
}

/// What a user has used at all gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spending {
    /// Bytes in the period.
    pub bytes: u64,
    /// How long it is until the period ends; zero when none has begun.
    pub left: Duration,
}

/// Counters of what users have used of their quotas, which several gateways count into. Calls may block, on a network.
pub trait Quotas: Send {
    /// Counts what came to some users' uses, and says what all gateways have counted; none for a user that cannot be counted now, as
    /// nobody can after an error. What was not counted is to be told again, with what came since: it counts once.
    /// Without bytes, it says what was counted alone.
    ///
    /// # Errors
    /// When nobody can be told.
    fn spend(&mut self, spent: &[Spent]) -> Result<Vec<Option<Spending>>, StoreError>;
}

/// What a gateway tells of the requests and tunnels of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The user's name.
    pub user: Arc<str>,
    /// Who holds its places here: a number that nobody else has.
    pub holder: u64,
    /// How often that has told of itself. What comes late, after the next, counts no more.
    pub turn: u64,
    /// How many are under way.
    pub open: u32,
    /// How many places it keeps, of those that it has.
    pub keep: u32,
    /// How many it needs.
    pub need: u32,
    /// How many there are, over all gateways.
    pub most: u32,
}

/// Places of a user at one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How many it has, from now on: so many may be under way here, though more are if there are too many everywhere.
    pub places: u32,
    /// Whether more than half of all are taken, so that none is to be kept that nobody needs.
    pub is_scarce: bool,
    /// Whether other gateways have some that they do not need, and will give back.
    pub is_idle_elsewhere: bool,
}

/// Places for requests and tunnels of users, which several gateways divide among them: never more than there are. Calls may block, on
/// a network.
pub trait Places: Send {
    /// Says what this gateway holds, and how many places it has then, for `term` from now on; none for a user whose places cannot be
    /// divided now. What is under way has its place, whatever the limit is. Without holds it says whether the others can be reached.
    ///
    /// # Errors
    /// When nobody can be asked. What was told may count all the same.
    fn hold(&mut self, holds: &[Hold], term: Duration) -> Result<Vec<Option<Held>>, StoreError>;
}

/// A piece of work that one gateway does for all who share its pool.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Work {
    /// To read the source of this name.
    Source(Arc<str>),
    /// To check the members of a shard, of which there are [`SHARDS`].
    Checks(u8),
}

/// How many shards members are checked in.
pub const SHARDS: u8 = 64;

/// The shard that a member is checked in.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "less than 64")]
pub const fn shard_of(member: MemberId) -> u8 {
    (member.0 % SHARDS as u64) as u8
}

/// What a check has found of a member, for those who do not check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The member.
    pub member: MemberId,
    /// How it is.
    pub finding: Finding,
}

/// How a member was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It works; how long it took, if that was measured.
    Alive(Option<Duration>),
    /// It does not.
    Dead,
    /// It reads along, or breaks TLS otherwise: nobody is to use it for so long, unless a check of it passes.
    Intercepts(Duration),
}

/// What a gateway wants of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    /// To keep it when it has it, and to take it when nobody has it.
    Have,
    /// To leave it when it has it.
    Leave,
}

/// How the work is divided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Division {
    /// The gateways that check members.
    pub checkers: Vec<String>,
    /// For each piece of work that was asked about, who has it; none for nobody.
    pub holders: Vec<Option<String>>,
    /// For each of them, how long it need not be done again, because somebody has done it.
    pub fresh: Vec<Duration>,
}

/// What a gateway says of something that has to be the same at all that share a pool, such as where a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// What it is about.
    pub what: Box<str>,
    /// A hash of what is said: what it is nobody tells.
    pub hash: u64,
}

/// Divides work among the gateways that share a pool: a piece of work is leased by one, for a time, again and again. Calls may
/// block, on a network.
pub trait Leases: Send {
    /// The name of this gateway among them.
    fn node(&self) -> &str;

    /// Says what this gateway wants, and whether it is one that checks members; how the work is divided then. What it has is its
    /// own for `term` from now on.
    ///
    /// # Errors
    /// When nobody can be asked.
    fn divide(&mut self, wishes: &[(Work, Wish)], is_checker: bool, term: Duration) -> Result<Division, StoreError>;

    /// Says that a piece of work was done, and need not be done again for so long.
    ///
    /// # Errors
    /// When nobody can be told.
    fn done(&mut self, work: &Work, fresh: Duration) -> Result<(), StoreError>;

    /// Tells the others what this gateway has found, and hears what they have found since it was asked last.
    ///
    /// # Errors
    /// When nobody can be told. Whether the others hear it is then not known.
    fn tell(&mut self, found: &[Found]) -> Result<Vec<Found>, StoreError>;

    /// Says what has to be the same everywhere, for as long as `term`, and hears what each of the others says.
    ///
    /// # Errors
    /// When nobody can be told.
    fn say(&mut self, said: &[Saying], term: Duration) -> Result<Vec<(String, Vec<Saying>)>, StoreError>;
}
