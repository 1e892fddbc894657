use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(millis * 1_000)
}

fn supervised(on_fault: OnFault) -> Supervision {
    Supervision::new(SupervisionConfig::default(), on_fault)
}

/// Faults, restarts as soon as it is due, and faults again, until something else than a restart follows; the pauses.
fn spend(plugin: &mut Supervision, now: &mut Timestamp) -> Vec<Duration> {
    let mut pauses = Vec::new();
    loop {
        plugin.step(Input::Faulted, *now);
        let State::Degraded { until } = plugin.state() else { return pauses };
        pauses.push(until.since(*now));
        *now = until;
        plugin.step(Input::Restarted, *now);
        assert!(plugin.may_be_called());
    }
}

#[test]
fn a_fault_degrades_and_a_restart_that_goes_well_puts_back_in_force() {
    let mut plugin = supervised(OnFault::Fallback);
    assert!(plugin.step(Input::Faulted, at(0)));
    assert_eq!(plugin.state(), State::Degraded { until: at(100) });
    assert!(!plugin.may_be_called());
    assert!(!plugin.step(Input::Restarted, at(99)) && !plugin.may_be_called());
    assert!(!plugin.step(Input::Restarted, at(100)) && plugin.may_be_called());
    assert!(plugin.step(Input::Answered, at(101)));
    assert_eq!(plugin.state(), State::Active);
}

#[test]
fn pauses_double_until_the_budget_is_spent_and_then_it_is_quarantined() {
    let (mut plugin, mut now) = (supervised(OnFault::Fallback), at(0));
    let pauses = spend(&mut plugin, &mut now);
    assert_eq!(pauses, [100, 200, 400, 800, 1_600].map(Duration::from_millis));
    assert_eq!(plugin.state(), State::Quarantined { until: now + Duration::from_mins(1) });
    assert_eq!(plugin.due(), Some(now + Duration::from_mins(1)));
}

#[test]
fn reload_restarts_at_once_and_within_the_budget() {
    let (mut plugin, mut now) = (supervised(OnFault::Reload), at(0));
    assert_eq!(spend(&mut plugin, &mut now), [Duration::ZERO; 5]);
    assert_eq!(plugin.state().as_str(), "quarantined");
}

#[test]
fn after_five_quarantines_without_a_good_hour_it_is_disabled_until_it_is_cleared() {
    let (mut plugin, mut now) = (supervised(OnFault::Fallback), at(0));
    for minutes in [1, 2, 4, 8, 16] {
        spend(&mut plugin, &mut now);
        assert_eq!(plugin.state(), State::Quarantined { until: now + Duration::from_mins(minutes) });
        now = plugin.due().unwrap();
        plugin.step(Input::Restarted, now);
        assert_eq!(plugin.state().as_str(), "degraded");
    }
    spend(&mut plugin, &mut now);
    assert_eq!((plugin.state(), plugin.due()), (State::Disabled, None));
    assert!(!plugin.step(Input::Restarted, now + Duration::from_hours(24)));
    assert!(plugin.step(Input::Cleared, now) && plugin.may_be_called());
    assert_eq!(spend(&mut plugin, &mut now).len(), 5);
    assert_eq!(plugin.state(), State::Quarantined { until: now + Duration::from_mins(1) });
}

#[test]
fn a_good_hour_forgets_the_quarantines() {
    let (mut plugin, mut now) = (supervised(OnFault::Fallback), at(0));
    for _ in 0..10 {
        spend(&mut plugin, &mut now);
        assert_eq!(plugin.state(), State::Quarantined { until: now + Duration::from_mins(1) });
        now = plugin.due().unwrap();
        plugin.step(Input::Restarted, now);
        plugin.step(Input::Answered, now);
        now = now + Duration::from_hours(1);
    }
}

#[test]
fn faults_of_calls_that_were_under_way_cost_nothing_more() {
    let mut plugin = supervised(OnFault::Fallback);
    plugin.step(Input::Faulted, at(0));
    for _ in 0..100 {
        assert!(!plugin.step(Input::Faulted, at(1)));
    }
    assert_eq!(plugin.state(), State::Degraded { until: at(100) });
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        5 => Just(Input::Faulted),
        5 => Just(Input::Restarted),
        3 => Just(Input::Answered),
        1 => Just(Input::Cleared),
    ]
}

fn on_fault() -> impl Strategy<Value = OnFault> {
    prop_oneof![Just(OnFault::Fallback), Just(OnFault::Reload), Just(OnFault::Reject)]
}

proptest! {
    #[test]
    fn whatever_happens_the_bounds_hold(
        on_fault in on_fault(),
        steps in prop::collection::vec((input(), 0..90_000_u64), 0..300),
    ) {
        let config = SupervisionConfig::default();
        let mut plugin = Supervision::new(config, on_fault);
        let mut now = at(0);
        let mut restarts: Vec<Timestamp> = Vec::new();
        for (input, millis) in steps {
            now = now + Duration::from_millis(millis);
            let (before, was_trying) = (plugin.state(), plugin.is_trying);
            let is_new = plugin.step(input, now);
            prop_assert_eq!(is_new, before.as_str() != plugin.state().as_str());
            // A restart happens only when it is due.
            if plugin.is_trying && !was_trying {
                prop_assert_eq!(input, Input::Restarted);
                prop_assert!(before.until().is_some_and(|until| until <= now));
                // A quarantine gives the budget back.
                if before.as_str() == "quarantined" {
                    restarts.clear();
                }
                restarts.push(now);
            }
            if input == Input::Cleared {
                restarts.clear();
            }
            let recent = restarts.iter().filter(|at| now.since(**at) < config.window).count();
            prop_assert!(recent <= config.restarts as usize);
            prop_assert!(plugin.restarts.len() <= config.restarts as usize);
            prop_assert!(plugin.quarantines <= config.quarantines);
            match plugin.state() {
                State::Active => prop_assert!(plugin.may_be_called() && plugin.due().is_none()),
                State::Degraded { until } => {
                    prop_assert!(until <= now + config.pause_max);
                    prop_assert_eq!(plugin.due().is_none(), plugin.is_trying);
                }
                State::Quarantined { until } => {
                    prop_assert!(until <= now + config.quarantine_max);
                    prop_assert!(!plugin.may_be_called());
                }
                State::Disabled => prop_assert!(!plugin.may_be_called() && plugin.due().is_none()),
            }
            if before == State::Disabled && input != Input::Cleared {
                prop_assert_eq!(plugin.state(), State::Disabled);
            }
        }
    }
}
