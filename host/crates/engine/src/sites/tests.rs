use proptest::prelude::*;
use proxywhirl_core::fault::{Kind, Side, Stage};
use proxywhirl_core::pool::Admission;
use proxywhirl_core::{Endpoint, Pool};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000)
}

fn config(remember: usize) -> SitesConfig {
    let breaker = BreakerConfig { cooldown: 30 * SECOND, ..SitesConfig::default().breaker };
    SitesConfig { remember, breaker, ..SitesConfig::default() }
}

fn denied() -> Outcome {
    Outcome::Failure(Fault::new(Side::Upstream, Stage::Handshake, Kind::Denied, ""))
}

/// Members with their sites, used as an engine does.
struct Scene {
    sites: Sites,
    members: Vec<Arc<Member>>,
}

impl Scene {
    fn new(remember: usize, members: u8) -> Self {
        let mut pool = Pool::new(Arc::default(), 100);
        for number in 0..members {
            let endpoint: Endpoint = format!("http://10.0.0.{number}:80").parse().unwrap();
            pool.admit(Admission::Vouched(Box::new(endpoint.into())), at(0));
        }
        Self { sites: Sites::new(config(remember)), members: pool.iter().map(Arc::clone).collect() }
    }

    /// A use of a member, and what came of it: the member hears of it first.
    fn took(&self, member: usize, target: &str, outcome: &Outcome, now: Timestamp) -> bool {
        let member = &self.members[member];
        member.live.record(outcome, now, &BreakerConfig { failures: 1_000, ..BreakerConfig::default() }, now);
        self.sites.record(target, member, outcome, (now, now))
    }

    fn good(&self, member: usize, target: &str, now: Timestamp) -> bool {
        self.took(member, target, &Outcome::Success { latency: Duration::from_millis(80) }, now)
    }

    fn bad(&self, member: usize, target: &str, now: Timestamp) -> bool {
        self.took(member, target, &denied(), now)
    }

    /// What is no site's doing.
    fn dead(&self, member: usize, target: &str, now: Timestamp) -> bool {
        let fault = Fault::new(Side::Upstream, Stage::Connect, Kind::Refused, "");
        self.took(member, target, &Outcome::Failure(fault), now)
    }

    fn passed_over(&self, target: &str, now: Timestamp) -> usize {
        self.sites.passed_over(target).map_or(0, |passed| passed.members(now).len())
    }

    fn may_try(&self, member: usize, target: &str, now: Timestamp) -> bool {
        let Some(passed) = self.sites.passed_over(target) else { return true };
        let id = self.members[member].id;
        !passed.members(now).contains(&id) && (!passed.has(id) || self.sites.admits(&passed, id, now))
    }

    fn fails_at(&self, target: &str, now: Timestamp) {
        self.good(0, "elsewhere.example:443", now);
        (0..3).for_each(|_| _ = self.bad(0, target, now));
    }
}

#[test]
fn success_and_latency_are_told_apart_by_site() {
    let scene = Scene::new(80, 2);
    scene.good(0, "www.a.example:443", at(0));
    scene.good(0, "api.a.example:443", at(1));
    scene.bad(0, "a.example:443", at(2));
    scene.bad(0, "b.example:443", at(3));
    let of = |target: &str, member: usize| scene.sites.seen(target, scene.members[member].id);
    let here = of("a.example:443", 0).unwrap();
    assert_eq!((here.uses, here.site.as_ref(), here.used, here.due), (3, "a.example", at(2), None));
    assert!((here.success.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(here.latency, Some(Duration::from_millis(80)));
    let there = of("b.example:443", 0).unwrap();
    assert_eq!((there.uses, there.success, there.latency), (1, Some(0.0), None));
    assert!(of("a.example:443", 1).is_none() && of("c.example:443", 0).is_none());
    scene.took(0, "c.example:1", &Outcome::Neutral, at(4));
    assert!(of("c.example:443", 0).is_none(), "what says nothing of it is not remembered");
    assert_eq!(scene.sites.all().len(), 2);
}

#[test]
fn who_is_refused_at_one_site_is_passed_over_there_only() {
    let scene = Scene::new(80, 2);
    assert!(!scene.bad(0, "a.example:443", at(1)) && !scene.bad(0, "a.example:443", at(2)));
    assert!(scene.bad(0, "a.example:443", at(3)));
    assert_eq!((scene.passed_over("www.a.example:443", at(4)), scene.passed_over("b.example:443", at(4))), (1, 0));
    assert!(scene.may_try(0, "b.example:443", at(4)) && !scene.may_try(0, "a.example:443", at(4)));
    assert!(scene.may_try(1, "a.example:443", at(4)));
    // Nothing says that it works elsewhere: the pause does not grow.
    for turn in 0..3 {
        let now = at(33 + 30 * turn);
        assert!(!scene.may_try(0, "a.example:443", now - SECOND) && scene.may_try(0, "a.example:443", now));
        scene.sites.record("a.example:443", &scene.members[0], &denied(), (now, now));
    }
}

#[test]
fn the_port_is_read_from_the_end() {
    for (target, port) in [
        ("a.example:443", 443),
        ("[::1]:8080", 8080),
        ("a.example:65535", 65_535),
        ("a.example:00080", 80),
        ("a.example:65536", 0),
        ("a.example:123456", 0),
        ("a.example:", 0),
        ("a.example", 0),
        ("443", 0),
        ("", 0),
    ] {
        assert_eq!(port_of(target), port, "{target}");
    }
}

#[test]
fn who_forwards_well_and_opens_no_tunnel_is_passed_over_for_tunnels_only() {
    let scene = Scene::new(80, 1);
    // As a client is led from `http://` to `https://`.
    for second in 0..3 {
        scene.good(0, "a.example:80", at(second));
        scene.bad(0, "www.a.example:443", at(second));
    }
    assert_eq!((scene.passed_over("a.example:443", at(3)), scene.passed_over("a.example:80", at(3))), (1, 0));
    let all = scene.sites.all();
    let mut known: Vec<(&str, u16, u32)> = all.iter().map(|seen| (&*seen.site, seen.port, seen.uses)).collect();
    known.sort_unstable();
    assert_eq!(known, [("a.example", 80, 3), ("a.example", 443, 3)]);
    // It serves the former, and that is no reason to try it with the latter.
    scene.good(0, "a.example:80", at(4));
    assert_eq!(scene.passed_over("a.example:443", at(5)), 1);
}

#[test]
fn the_last_who_served_are_kept_and_who_does_well_makes_the_oldest_go() {
    let scene = Scene::new(80, 7);
    let (site, served_by) = ("a.example:443", |now| scene.sites.served_by("a.example:443", now).collect::<Vec<_>>());
    let well = |member: usize, second: u64| (0..4).for_each(|_| _ = scene.good(member, site, at(second)));
    let of_one_place = |now| served_by(now).into_iter().take(LAST).collect::<Vec<_>>();
    well(0, 0);
    scene.good(1, site, at(1));
    well(2, 2);
    well(3, 3);
    assert_eq!(of_one_place(at(4)), [3, 2, 0, 1], "who has served once comes after those who do well");
    well(0, 4);
    assert_eq!(of_one_place(at(4)), [0, 3, 2, 1]);
    scene.good(4, site, at(5));
    assert_eq!(of_one_place(at(5)), [0, 3, 2, 1], "who has served once takes nobody's place");
    well(5, 6);
    well(6, 7);
    assert_eq!(of_one_place(at(7)), [6, 5, 0, 3]);
    // The site is well even when the last one fails now.
    scene.bad(6, site, at(8));
    assert_eq!(of_one_place(at(8))[..3], [5, 0, 3]);
    assert!(served_by(at(8)).ends_with(&[6, 6, 6]));
    assert!(scene.sites.served_at(scene.sites.hasher.hash_one(place_of(site))).is_within(LATELY, at(67)));
    well(6, 9);
    assert_eq!(of_one_place(at(9))[0], 6);
    assert!(served_by(at(9 + 3_601)).is_empty(), "that was too long ago");
    assert_eq!(std::mem::size_of::<Served>(), 64);
}

#[test]
fn who_has_just_failed_may_have_changed_after_a_minute() {
    let scene = Scene::new(80, 2);
    let failed = |target: &str, second: u64| scene.sites.has_just_failed(target, &scene.members[0], at(second));
    scene.bad(0, "www.a.example:443", at(1));
    assert!(failed("a.example:443", 60) && failed("b.example:443", 60) && failed("a.example:80", 60));
    assert!(!failed("a.example:443", 61) && !failed("b.example:443", 61));
    scene.bad(0, "a.example:443", at(70));
    scene.good(0, "b.example:443", at(71));
    assert!(failed("a.example:443", 72) && !failed("b.example:443", 72) && !failed("a.example:80", 72));
    scene.good(0, "a.example:443", at(73));
    assert!(!failed("a.example:443", 74));
    assert!(!scene.sites.has_just_failed("a.example:443", &scene.members[1], at(74)));
}

#[test]
fn who_cannot_be_reached_at_all_is_its_own_breakers_business() {
    let scene = Scene::new(80, 1);
    scene.good(0, "a.example:443", at(0));
    scene.good(0, "b.example:443", at(0));
    (1..=3).for_each(|second| _ = scene.dead(0, "b.example:443", at(second)));
    assert!(!scene.sites.passes_over_anybody(), "it has worked nowhere since it worked there");
    scene.good(0, "a.example:443", at(4));
    assert!(scene.dead(0, "b.example:443", at(5)));
    assert_eq!((scene.passed_over("b.example:443", at(6)), scene.passed_over("a.example:443", at(6))), (1, 0));
    let alone = Scene::new(80, 1);
    (0..50).for_each(|second| _ = alone.good(0, "a.example:443", at(second)));
    (50..54).for_each(|second| _ = alone.dead(0, "a.example:443", at(second)));
    assert!(!alone.sites.passes_over_anybody());
}

#[test]
fn a_low_rate_is_enough_where_the_rate_at_all_sites_is_not_low() {
    let breaker = BreakerConfig { failures: 50, ..config(80).breaker };
    let first_of = |elsewhere: usize| {
        let scene = Scene { sites: Sites::new(SitesConfig { breaker, ..config(80) }), ..Scene::new(80, 1) };
        (0..40).find(|turn| {
            (0..elsewhere).for_each(|_| _ = scene.good(0, "b.example:443", at(*turn)));
            let here = if turn.is_multiple_of(4) { Scene::good } else { Scene::bad };
            here(&scene, 0, "a.example:443", at(*turn))
        })
    };
    assert_eq!(first_of(3), Some(19), "twenty uses, of which five went well");
    assert_eq!(first_of(0), None, "it is no better elsewhere");
}

#[test]
fn one_request_tries_again_and_what_comes_of_it_decides() {
    let scene = Scene::new(80, 1);
    let site = "a.example:443";
    scene.bad(0, site, at(0));
    scene.fails_at(site, at(0));
    assert!(!scene.may_try(0, site, at(29)));
    assert!(scene.may_try(0, site, at(30)) && !scene.may_try(0, site, at(30)), "one");
    assert!(scene.bad(0, site, at(31)));
    // Twice as long.
    assert!(!scene.may_try(0, site, at(90)) && scene.may_try(0, site, at(91)));
    // Nobody hears of that one again: another goes after the same time.
    assert!(!scene.may_try(0, site, at(150)) && scene.may_try(0, site, at(151)));
    scene.took(0, site, &Outcome::Neutral, at(152));
    assert!(scene.may_try(0, site, at(152)), "who heard nothing gives it back");
    assert!(scene.good(0, site, at(153)));
    assert!(!scene.sites.passes_over_anybody() && scene.may_try(0, site, at(153)));
}

#[test]
fn rows_are_bounded_and_those_used_longest_ago_make_room() {
    let scene = Scene::new(8, 1);
    scene.bad(0, "bad.example:443", at(0));
    scene.fails_at("bad.example:443", at(0));
    for second in 1..100 {
        scene.good(0, &format!("site{second}.example:443"), at(second));
    }
    let mut known: Vec<String> = scene.sites.all().into_iter().map(|seen| seen.site.into()).collect();
    known.sort_unstable();
    let last = (93..100).map(|second| format!("site{second}.example"));
    assert_eq!(known, ["bad.example".to_owned()].into_iter().chain(last).collect::<Vec<_>>());
    assert_eq!(scene.passed_over("bad.example:443", at(1)), 1, "who is passed over stays so");
    assert!(std::mem::size_of::<Row>() <= 176, "{}", std::mem::size_of::<Row>());
    let long = format!("{}.example:443", "x".repeat(LONGEST));
    assert!(!scene.good(0, &long, at(200)) && scene.sites.seen(&long, scene.members[0].id).is_none());
}

#[test]
fn another_size_keeps_what_has_room_and_nobody_is_passed_over_when_that_is_not_wanted() {
    let scene = Scene::new(800, 1);
    scene.bad(0, "bad.example:443", at(0));
    scene.fails_at("bad.example:443", at(0));
    scene.sites.tune(config(1_600));
    assert_eq!((scene.sites.all().len(), scene.passed_over("bad.example:443", at(1))), (2, 1));
    scene.sites.tune(SitesConfig { pass_over: false, ..config(1_600) });
    assert_eq!((scene.sites.all().len(), scene.passed_over("bad.example:443", at(1))), (2, 0));
    scene.fails_at("bad.example:443", at(2));
    assert!(!scene.sites.passes_over_anybody());
    scene.sites.tune(config(1_600));
    scene.fails_at("bad.example:443", at(3));
    assert!(scene.sites.passes_over_anybody());
    scene.sites.tune(config(0));
    assert!(scene.sites.all().is_empty() && !scene.sites.passes_over_anybody());
    assert!(!scene.good(0, "a.example:443", at(4)) && scene.sites.all().is_empty());
}

proptest! {
    #[test]
    fn who_is_passed_over_is_who_has_a_row_that_says_so(
        uses in prop::collection::vec((0_usize..3, 0_u8..4, any::<bool>(), 0_u64..40), 1..300)
    ) {
        let scene = Scene::new(8, 3);
        let mut now = at(0);
        for (member, site, is_good, pause) in uses {
            now = now + SECOND * u32::try_from(pause).unwrap();
            let target = format!("site{site}.example:443");
            // As an engine asks: the member's own breaker, and then this one.
            if !scene.members[member].live.is_admissible(now) || !scene.may_try(member, &target, now) {
                continue;
            }
            if is_good { scene.good(member, &target, now); } else { scene.bad(member, &target, now); }
            let all = scene.sites.all();
            prop_assert!(all.len() <= 8);
            for site in 0..4 {
                let target = format!("site{site}.example:443");
                let known = all.iter().filter(|seen| *seen.site == target[..13] && seen.due.is_some_and(|due| due > now));
                prop_assert_eq!(known.count(), scene.passed_over(&target, now));
            }
        }
    }
}
