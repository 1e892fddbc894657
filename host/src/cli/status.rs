//! `proxywhirl status`: how the running gateway is, for people and for what watches over it.

use std::time::{Duration, SystemTime};

use clap::Args;
use proxywhirl_engine::{PluginState, StoreTrouble, WorkStatus};

use super::ControlArgs;
use super::output::{count, print, to_json};
use crate::control::api::{CutOff, ListenerStrategy, ListenerTrouble, Sharing, SourceTrouble, Status, Stopping};
use crate::exit::{Exit, Failure};

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Print what the control API says, as JSON
    #[arg(long)]
    json: bool,
}

/// Carries out `status`: it ends with 3 when something is not well.
pub(super) async fn run(args: StatusArgs) -> Result<Exit, Failure> {
    let client = args.control.running().await?;
    let status: Status = client.get("/v1/status").await?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let told = Told::of(&status, now);
    print(&if args.json { to_json(&status)? } else { told.to_string() })?;
    Ok(if told.is_well { Exit::Done } else { Exit::Input })
}

/// A status in words.
struct Told {
    lines: Vec<String>,
    is_well: bool,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl Told {
    fn of(status: &Status, now: Duration) -> Self {
        let mut told = Self { lines: Vec::new(), is_well: true };
        told.fact("gateway", format!("{}, process {}, for {}", status.version, status.pid, since(status.started, now)));
        match &status.stopping {
            None => told.fact("listens at", status.listen.clone()),
            Some(stopping) => told.bad("stopping", drain(stopping, now)),
        }
        if status.is_loading {
            told.fact("proxies", format!("{} so far, the store is being read", status.members));
        } else if status.members == 0 {
            told.bad(
                "proxies",
                "none: no request goes through one until a source, or `pool add`, brings some".to_owned(),
            );
        } else {
            told.fact("proxies", status.members.to_string());
        }
        for SourceTrouble { name, error, is_unusable } in &status.source_troubles {
            let text = format!("{name}: {error}");
            // A list that is away for an hour is no reason to end a gateway that serves.
            if *is_unusable { told.bad("source", text) } else { told.fact("source", text) }
        }
        for ListenerTrouble { name, proxy } in &status.listener_troubles {
            // Its proxy may come with the next list, and the other listeners serve.
            told.fact("listener", format!("{name}: its proxy {proxy} is not in the pool"));
        }
        for CutOff { name, socket, is_replaced } in &status.cut_off {
            let what = if *is_replaced {
                "has been replaced by another one; `proxywhirl reload` listens there anew when nobody else does"
            } else {
                "is gone; `proxywhirl reload` listens there anew"
            };
            told.bad("listener", format!("{name}: its socket {} {what}", socket.display()));
        }
        told.strategy(status);
        if let Some(store) = &status.store {
            match &store.trouble {
                None => told.fact("store", store.url.clone()),
                Some(trouble) => told.bad("store", format!("not saved {}", in_words(trouble, now))),
            }
        }
        if let Some(sharing) = &status.sharing {
            told.sharing(sharing, now);
        }
        if let Some(refused) = &status.refused {
            // What is in force serves, but not what is written, and the next start would fail.
            told.bad("refused", format!("the configuration as it is now: {refused}"));
        }
        if !status.needs_restart.is_empty() {
            told.fact("restart", format!("needed for {}", status.needs_restart.join(", ")));
        }
        told
    }

    fn fact(&mut self, what: &str, text: String) {
        self.lines.push(format!("{what:<11} {text}"));
    }

    fn bad(&mut self, what: &str, text: String) {
        self.is_well = false;
        self.fact(what, text);
    }

    fn strategy(&mut self, status: &Status) {
        let strategy = &status.strategy;
        match strategy.plugin.as_ref().map(|plugin| plugin.state) {
            None | Some(PluginState::Active) => self.fact("strategy", strategy.name.clone()),
            Some(state) => self.bad("strategy", format!("{}, {}", strategy.name, state.as_str())),
        }
        for ListenerStrategy { name, strategy, .. } in &status.listener_strategies {
            self.fact("listener", format!("{name}: strategy {strategy}"));
        }
    }

    fn sharing(&mut self, sharing: &Sharing, now: Duration) {
        match &sharing.limits_trouble {
            _ if !sharing.has_limits => {}
            None => self.fact("limits", "those of all gateways of the pool".to_owned()),
            Some(trouble) => self.bad("limits", format!("this gateway's own {}", in_words(trouble, now))),
        }
        let Some(work) = &sharing.work else { return };
        for (what, gateways) in &work.differs {
            self.fact("differs", format!("{what} is another one at {}", gateways.join(", ")));
        }
        match &work.trouble {
            Some(trouble) if work.is_alone => self.bad("work", format!("it does all of it {}", in_words(trouble, now))),
            Some(trouble) => self.bad("work", format!("as it was {}", in_words(trouble, now))),
            None => {
                if let Some(divided) = divided(work) {
                    self.fact("work", divided);
                }
            }
        }
    }
}

/// What of the work is this gateway's; none when there is none to divide.
fn divided(work: &WorkStatus) -> Option<String> {
    let WorkStatus { node, checkers, checks, sources, .. } = work;
    let is_own = |reader: &&Option<String>| reader.as_deref() == Some(node.as_str());
    let own = sources.values().filter(is_own).count();
    let reads = (!sources.is_empty())
        .then(|| format!("reads {own} of {}", count(sources.len(), "shared source", "shared sources")));
    let checks = match checkers.as_slice() {
        [] => None,
        [only] if only == node => Some("checks all proxies".to_owned()),
        several if several.contains(node) => {
            Some(format!("checks {checks} of the proxies, as one of {}", several.len()))
        }
        others => Some(format!("leaves the checks to {}", count(others.len(), "other gateway", "other gateways"))),
    };
    let parts: Vec<String> = reads.into_iter().chain(checks).collect();
    (!parts.is_empty()).then(|| format!("{node}: {}", parts.join(", ")))
}

/// How far one is that is stopping.
fn drain(&Stopping { connections, until }: &Stopping, now: Duration) -> String {
    if connections == 0 {
        return "it listens no more, and saves what is to be saved".to_owned();
    }
    let left = Duration::from_micros(until).saturating_sub(now).as_secs();
    let left = humantime::format_duration(Duration::from_secs(left));
    let (verb, them) = if connections == 1 { ("is", "it is") } else { ("are", "they are") };
    let connections = count(connections, "connection", "connections");
    format!("it listens no more; {connections} {verb} left, {them} cut in {left} at the latest")
}

fn in_words(trouble: &StoreTrouble, now: Duration) -> String {
    format!("for {}: {}", since(trouble.since, now), trouble.error)
}

fn since(micros: u64, now: Duration) -> String {
    let span = now.saturating_sub(Duration::from_micros(micros));
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;
    use crate::control::api::{SetBy, StoreStatus, Strategy};

    fn status(trouble: Option<StoreTrouble>, sharing: Option<Sharing>) -> Status {
        Status {
            version: "0.1.0".to_owned(),
            pid: 4711,
            listen: "127.0.0.1:8080".to_owned(),
            started: 1_000_000,
            members: 1_000,
            is_loading: false,
            config: None,
            plugins: None,
            watch: true,
            needs_restart: vec!["store".to_owned()],
            refused: None,
            strategy: Strategy {
                name: "round-robin".to_owned(),
                options: serde_json::Value::Null,
                set_by: SetBy::Configuration,
                plugin: None,
            },
            listener_strategies: Vec::new(),
            store: Some(StoreStatus { url: "redis://127.0.0.1".to_owned(), trouble }),
            sharing,
            source_troubles: Vec::new(),
            listener_troubles: Vec::new(),
            cut_off: Vec::new(),
            stopping: None,
        }
    }

    fn work(is_alone: bool, trouble: Option<StoreTrouble>) -> WorkStatus {
        let sources = HashMap::from([("a".to_owned(), Some("me-1".to_owned())), ("b".to_owned(), None)]);
        let checkers = vec!["me-1".to_owned(), "you-2".to_owned()];
        let (node, checks, differs) = ("me-1".to_owned(), "22/64".to_owned(), BTreeMap::new());
        WorkStatus { node, is_alone, trouble, checkers, checks, sources, differs }
    }

    #[test]
    fn it_is_told_how_a_gateway_is() {
        let sharing = Sharing { has_limits: true, limits_trouble: None, work: Some(work(false, None)) };
        let refused = Some("unknown key speed".to_owned());
        let told = Told::of(&Status { refused, ..status(None, Some(sharing)) }, Duration::from_secs(62));
        assert!(!told.is_well, "it would not start with it");
        insta::assert_snapshot!(told, @r"
        gateway     0.1.0, process 4711, for 1m 1s
        listens at  127.0.0.1:8080
        proxies     1000
        strategy    round-robin
        store       redis://127.0.0.1
        limits      those of all gateways of the pool
        work        me-1: reads 1 of 2 shared sources, checks 22/64 of the proxies, as one of 2
        refused     the configuration as it is now: unknown key speed
        restart     needed for store
        ");
    }

    #[test]
    fn one_without_proxies_is_not_well() {
        let told = |members| Told::of(&Status { members, ..status(None, None) }, Duration::from_secs(62));
        assert!(told(1).is_well && !told(0).is_well);
        let line = "\nproxies     none: no request goes through one until a source, or `pool add`, brings some\n";
        assert!(told(0).to_string().contains(line), "{}", told(0));
    }

    #[test]
    fn one_whose_store_is_being_read_may_be_well_before_a_proxy_is_there() {
        let told = Told::of(&Status { members: 0, is_loading: true, ..status(None, None) }, Duration::from_secs(62));
        let line = "\nproxies     0 so far, the store is being read\n";
        assert!(told.is_well && told.to_string().contains(line), "{told}");
    }

    #[test]
    fn what_gateways_are_configured_otherwise_in_is_told() {
        let differs = BTreeMap::from([("source own".to_owned(), vec!["you-2".to_owned(), "she-3".to_owned()])]);
        let work = WorkStatus { differs, ..work(false, None) };
        let sharing = Sharing { has_limits: false, limits_trouble: None, work: Some(work) };
        let told = Told::of(&status(None, Some(sharing)), Duration::from_secs(62));
        assert!(
            told.is_well && told.to_string().contains("differs     source own is another one at you-2, she-3"),
            "{told}"
        );
    }

    #[test]
    fn what_is_not_shared_is_not_told() {
        let nothing = |checkers: &[&str]| WorkStatus {
            sources: HashMap::new(),
            checkers: checkers.iter().map(|&name| name.to_owned()).collect(),
            ..work(false, None)
        };
        let trouble = StoreTrouble { error: "is away".to_owned(), since: 2_000_000 };
        let sharing = Sharing { has_limits: false, limits_trouble: Some(trouble), work: Some(nothing(&[])) };
        let told = Told::of(&status(None, Some(sharing)), Duration::from_secs(62));
        assert!(told.is_well && !told.to_string().contains("work"), "{told}");
        assert_eq!(divided(&nothing(&["me-1"])).unwrap(), "me-1: checks all proxies");
        assert_eq!(divided(&nothing(&["you-2"])).unwrap(), "me-1: leaves the checks to 1 other gateway");
        let reads = WorkStatus { checkers: Vec::new(), ..work(false, None) };
        assert_eq!(divided(&reads).unwrap(), "me-1: reads 1 of 2 shared sources");
    }

    #[test]
    fn sources_that_cannot_be_read_are_told_and_one_that_never_can_is_not_well() {
        let of = |is_unusable| {
            let trouble = SourceTrouble { name: "own".to_owned(), error: "it is away".to_owned(), is_unusable };
            Told::of(&Status { source_troubles: vec![trouble], ..status(None, None) }, Duration::from_secs(62))
        };
        assert!(of(false).is_well && !of(true).is_well);
        assert!(of(true).to_string().contains("source      own: it is away"), "{}", of(true));
    }

    #[test]
    fn a_listener_whose_proxy_is_not_in_the_pool_is_told() {
        let trouble = ListenerTrouble { name: "germany".to_owned(), proxy: "http://203.0.113.7:3128".to_owned() };
        let told =
            Told::of(&Status { listener_troubles: vec![trouble], ..status(None, None) }, Duration::from_secs(62));
        let line = "listener    germany: its proxy http://203.0.113.7:3128 is not in the pool";
        assert!(told.is_well && told.to_string().contains(line), "{told}");
    }

    #[test]
    fn a_listener_whose_socket_is_gone_or_replaced_is_not_well() {
        for (is_replaced, what) in [
            (false, "is gone; `proxywhirl reload` listens there anew"),
            (true, "has been replaced by another one; `proxywhirl reload` listens there anew when nobody else does"),
        ] {
            let cut_off = vec![CutOff { name: "local".to_owned(), socket: "/run/gw.sock".into(), is_replaced }];
            let told = Told::of(&Status { cut_off, ..status(None, None) }, Duration::from_secs(62));
            let line = format!("listener    local: its socket /run/gw.sock {what}");
            assert!(!told.is_well && told.to_string().lines().any(|told| told == line), "{told}");
        }
    }

    #[test]
    fn one_that_is_stopping_is_not_well_and_says_until_when() {
        let of = |connections| {
            let stopping = Some(Stopping { connections, until: 70_000_000 });
            Told::of(&Status { stopping, ..status(None, None) }, Duration::from_secs(62))
        };
        for (connections, line) in [
            (0, "stopping    it listens no more, and saves what is to be saved"),
            (1, "stopping    it listens no more; 1 connection is left, it is cut in 8s at the latest"),
            (2, "stopping    it listens no more; 2 connections are left, they are cut in 8s at the latest"),
        ] {
            let told = of(connections);
            assert!(!told.is_well && told.to_string().contains(line), "{told}");
            assert!(!told.to_string().contains("listens at"), "{told}");
        }
    }

    #[test]
    fn it_is_told_what_is_not_well() {
        let trouble =
            || Some(StoreTrouble { error: "redis://127.0.0.1: cannot be reached".to_owned(), since: 2_000_000 });
        let sharing = Sharing { has_limits: true, limits_trouble: trouble(), work: Some(work(true, trouble())) };
        let told = Told::of(&status(trouble(), Some(sharing)), Duration::from_secs(62));
        assert!(!told.is_well);
        insta::assert_snapshot!(told, @r"
        gateway     0.1.0, process 4711, for 1m 1s
        listens at  127.0.0.1:8080
        proxies     1000
        strategy    round-robin
        store       not saved for 1m: redis://127.0.0.1: cannot be reached
        limits      this gateway's own for 1m: redis://127.0.0.1: cannot be reached
        work        it does all of it for 1m: redis://127.0.0.1: cannot be reached
        restart     needed for store
        ");
        assert!(!Told::of(&status(trouble(), None), Duration::from_secs(62)).is_well);
    }
}
