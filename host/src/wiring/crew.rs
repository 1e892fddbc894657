//! What a gateway does for all that share its pool, and what each does itself.
//!
//! A list on the web is read by one of them. A file, a pipe or a text is this machine's own, whatever its name is.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::limit::Limit;
use proxywhirl_core::shared::Saying;
use proxywhirl_engine::LimitsConfig;
use proxywhirl_engine::source::Location;
use proxywhirl_engine::work::TERM;
use proxywhirl_gateway::wanted::session_hash;

use super::fetching::shown;
use super::refresh::{LEAST_INTERVAL, can_be_read_again};
use super::service::Service;
use crate::config::masked::without_secrets;
use crate::config::{Settings, SourceSettings};

/// The longest name of a machine that is told: that of a host has at most 63 characters to its first dot.
const LONGEST: usize = 63;

/// When a source without an interval is due again, or near enough to never.
const FOR_GOOD: Duration = Duration::from_hours(10 * 365 * 24);

/// For how long it is known of a source without an interval that it was read: for who takes over from who has read it.
const ONCE: Duration = Duration::from_mins(10);

/// A name for this gateway: the machine, the process, and something by which a process is told from one before it.
pub(super) fn node() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let is_sane = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let machine: String = machine.unwrap_or_default().trim().chars().filter(is_sane).take(LONGEST).collect();
    let machine = if machine.is_empty() { "gateway" } else { &machine };
    format!("{machine}-{}-{:04x}", std::process::id(), fastrand::u16(..))
}

/// The name of the work of reading a source, where one gateway does that for all; none where each does.
pub fn work(source: &SourceSettings) -> Option<Arc<str>> {
    let location = source.location.parse::<Location>().ok()?;
    match location {
        // One that has no other name is named after its URL, in which there may be a password.
        Location::Http(_) if source.name == source.location => Some(location.to_string().into()),
        Location::Http(_) => Some(source.name.as_str().into()),
        Location::Stdin | Location::File(_) | Location::Inline(_) => None,
    }
}

/// What has to be the same at all gateways of a pool: where sources are that one of them reads for all, and rates, which hold over all.
pub(super) fn sayings(settings: &Settings) -> Vec<Saying> {
    let say = |what: &str, said: &str| Saying { what: what.into(), hash: session_hash(said) };
    let places = settings.sources.iter().filter_map(|source| {
        let name = work(source)?;
        // Each may log in there by itself.
        Some(say(&format!("source {name}"), &without_secrets(&source.location)))
    });
    let LimitsConfig { members, sites, .. } = &settings.limits;
    let rate = |limit: &Limit| format!("{:?}", limit.rate);
    let mut named: Vec<_> = sites.named.iter().map(|(site, limit)| format!("{site} {}", rate(limit))).collect();
    named.sort_unstable();
    let tagged: Vec<_> = members.tagged.iter().map(|(tags, limit)| format!("{tags:?} {}", rate(limit))).collect();
    let rates = [
        say("limits.per_proxy", &rate(&members.others)),
        say("limits.per_site", &rate(&sites.others)),
        say("limits.proxies", &tagged.join("\n")),
        say("limits.sites", &named.join("\n")),
    ];
    places.chain(rates).collect()
}

/// An interval, spread by a tenth, so that sources of one server are not read together for ever.
pub(super) fn spread(interval: Duration) -> Duration {
    interval.max(LEAST_INTERVAL).mul_f64(0.9 + 0.2 * fastrand::f64())
}

impl Service {
    /// Those of the sources that this gateway has to read: not those that another one reads, or has read not long ago.
    pub async fn own(&self, sources: Vec<SourceSettings>) -> Vec<SourceSettings> {
        let Some(crew) = self.engine().crew() else { return sources };
        crew.is_divided().await;
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for source in sources {
            // One without an interval is read at each start of whoever has it.
            let claims = |work: &str| if source.interval.is_some() { crew.claims(work) } else { crew.has(work) };
            let is_own = work(&source).is_none_or(|work| claims(&work));
            if is_own { own.push(source) } else { others.push(shown(&source)) }
        }
        if !others.is_empty() {
            tracing::info!(sources = others.join(", "), "another gateway of the pool reads these, or has read them");
        }
        // Before anybody looks whose turn it is next.
        self.note_begun(&own.iter().collect::<Vec<_>>());
        own
    }

    /// Returns when this gateway has to read a source whose interval begins now.
    pub(super) async fn turn(&self, source: &SourceSettings, interval: Duration) {
        match self.engine().crew().zip(work(source)) {
            Some((crew, work)) => crew.turn(&work, spread(interval)).await,
            None => tokio::time::sleep(spread(interval)).await,
        }
    }

    /// Returns when this gateway has to read a source that has come.
    pub(super) async fn turn_at_once(&self, source: &SourceSettings) {
        if let Some((crew, work)) = self.engine().crew().zip(work(source)) {
            crew.turn(&work, Duration::ZERO).await;
        }
    }

    /// Whether it is this gateway that reads a source.
    pub(super) fn is_own(&self, source: &SourceSettings) -> bool {
        self.engine().crew().zip(work(source)).is_none_or(|(crew, work)| crew.has(&work))
    }

    /// Returns when a source without an interval is left to this gateway, which seemed to be read by another one that had died; false
    /// when nobody has left it.
    pub(super) async fn is_left(&self, source: &SourceSettings) -> bool {
        let Some((crew, work)) = self.engine().crew().zip(work(source)) else { return false };
        // Twice as long as the lease of the dead holds.
        can_be_read_again(source) && tokio::time::timeout(2 * TERM, crew.turn(&work, Duration::ZERO)).await.is_ok()
    }

    /// Notes which sources this gateway reads now.
    pub(super) fn note_begun(&self, sources: &[&SourceSettings]) {
        let Some(crew) = self.engine().crew() else { return };
        for source in sources {
            if let Some(work) = work(source) {
                crew.begin(&work, source.interval.map_or(FOR_GOOD, spread));
            }
        }
    }

    /// Tells the others which sources this gateway has read.
    pub(super) async fn note_read(&self, sources: &[&SourceSettings]) {
        let Some(crew) = self.engine().crew() else { return };
        for (source, work) in sources.iter().filter_map(|source| Some((source, work(source)?))) {
            crew.read(&work, source.interval.map_or(ONCE, spread)).await;
            if source.interval.is_none() {
                crew.begin(&work, FOR_GOOD);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_on_the_web_are_read_for_all_and_named_without_their_passwords() {
        let work_at = |location: &str| work(&SourceSettings::at(location)).map(|work| work.to_string());
        assert_eq!(work_at("list.txt"), None);
        assert_eq!(work_at("-"), None);
        let named = work_at("https://me:hunter2@lists.example/a.txt").unwrap();
        assert!(named.contains("lists.example/a.txt") && !named.contains("hunter2"), "{named}");
        let own = SourceSettings { name: "own".to_owned(), ..SourceSettings::at("https://lists.example/a.txt") };
        assert_eq!(work(&own).as_deref(), Some("own"));
    }

    #[test]
    fn what_has_to_be_the_same_is_said_without_secrets_and_without_order() {
        let settings = |text: &str| crate::config::settings::tests::settings(text).unwrap();
        let list = |url: &str| format!("[[sources]]\nname = \"own\"\nlocation = \"{url}\"\n");
        let said = |text: &str| sayings(&settings(text));
        let other = |one: &str, other: &str| {
            let (one, other) = (said(one), said(other));
            let differ =
                one.iter().filter(|one| other.iter().any(|other| other.what == one.what && other.hash != one.hash));
            differ.map(|it| it.what.to_string()).collect::<Vec<_>>()
        };
        let place = list("https://me:a@lists.example/x?token=1&kind=http");
        assert!(other(&place, &list("https://me:b@lists.example/x?token=2&kind=http")).is_empty());
        assert_eq!(other(&place, &list("https://lists.example/y")), ["source own"]);
        assert!(other(&list("a.txt"), &list("b.txt")).is_empty(), "files are each machine's own");
        let sites = |a: f64| {
            format!(
                "[[limits.sites]]\nsite = \"b.example\"\nrate = 2\n[[limits.sites]]\nsite = \"a.example\"\nrate = {a}\n"
            )
        };
        assert!(other(&sites(3.0), &sites(3.0)).is_empty());
        assert_eq!(other(&sites(3.0), &sites(4.0)), ["limits.sites"]);
        assert_eq!(
            other("", "[limits]\nper_proxy = { rate = 3 }\nper_site = { concurrency = 3 }\n"),
            ["limits.per_proxy"]
        );
    }

    #[test]
    fn no_two_gateways_have_one_name() {
        let (one, other) = (node(), node());
        assert!(one != other && one.contains(&format!("-{}-", std::process::id())), "{one} {other}");
    }
}
