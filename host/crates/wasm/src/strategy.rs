//! Strategies: deltas in, plans and slots out.

use std::sync::Arc;
use std::time::Duration;

use proxywhirl_core::member::Member;
use proxywhirl_core::plugin::{
    FaultCause, Observation, OnFault, PluginFault, PluginIdentity, Request, Strategy, StrategyFactory, View,
};
use proxywhirl_core::select::{Membership, Mode, Plan, Stickiness, Tier, Weighted};
use proxywhirl_core::time::{Timestamp, micros};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::bindings::strategy::Strategy as Exports;
use crate::bindings::strategy::exports::proxywhirl::plugin::strategy as wit;
use crate::convert::{anonymity_out, scheme_out};
use crate::guest::{Guest, Pace, World};
use crate::plugin::Plugin;
use crate::state::State;

/// What `select` answers for "none".
const NONE: u32 = u32::MAX;

/// The shortest time after which a strategy may want a new plan.
const MIN_REFRESH: Duration = Duration::from_millis(100);

/// Members of all tiers of a plan. The core checks the rest of it.
const MAX_MEMBERS: usize = 4_000_000;

impl World for Exports {
    fn find(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Self> {
        Self::new(store, instance)
    }

    fn configure(&self, store: &mut Store<State>, options: &str) -> wasmtime::Result<Result<(), String>> {
        self.proxywhirl_plugin_strategy().call_configure(store, options)
    }
}

/// Makes instances of a strategy with the same options.
pub(crate) struct Factory {
    plugin: Arc<Plugin>,
    options: Arc<str>,
}

impl Factory {
    /// Compiles and starts the strategy once, so that whatever is wrong with it or with its options is
    /// known before the first request.
    pub(crate) fn new(plugin: Arc<Plugin>, options: Arc<str>) -> Result<Self, PluginFault> {
        Guest::<Exports>::new(Arc::clone(&plugin), Arc::clone(&options)).ready()?;
        Ok(Self { plugin, options })
    }
}

impl StrategyFactory for Factory {
    fn identity(&self) -> &PluginIdentity {
        &self.plugin.identity
    }

    fn on_fault(&self) -> OnFault {
        self.plugin.on_fault()
    }

    fn instance(&self) -> Result<Box<dyn Strategy>, PluginFault> {
        let mut guest = Guest::new(Arc::clone(&self.plugin), Arc::clone(&self.options));
        guest.ready()?;
        Ok(Box::new(Sandboxed { guest, places: 0 }))
    }
}

struct Sandboxed {
    guest: Guest<Exports>,
    /// Slots of members that it was told of.
    places: usize,
}

impl Strategy for Sandboxed {
    fn identity(&self) -> &PluginIdentity {
        &self.guest.plugin().identity
    }

    fn apply(&mut self, epoch: u64, reset: bool, upserts: &[Arc<Member>], removed: &[u32]) -> Result<(), PluginFault> {
        // All tags in one place: a vector for each member would be what this call spends its time on.
        let tags: Vec<u32> =
            upserts.iter().flat_map(|member| member.labels.symbols.iter().map(|symbol| symbol.0)).collect();
        let mut rest = tags.as_slice();
        let mut rows = Vec::with_capacity(upserts.len());
        for member in upserts {
            let (own, others) = rest.split_at_checked(member.labels.symbols.len()).unwrap_or((rest, &[]));
            rest = others;
            rows.push(row(member, own));
        }
        let places = upserts.iter().map(|member| member.slot as usize + 1).max().unwrap_or(0);
        self.places = if reset { places } else { self.places.max(places) };
        let memory = self.guest.limits().memory_for(self.places);
        self.guest.call("apply", Pace::Patient, |exports, store| {
            store.data_mut().ceiling.raise(memory);
            exports.proxywhirl_plugin_strategy().call_apply(store, epoch, reset, &rows, removed)
        })
    }

    fn observe(&mut self, observations: &[Observation]) -> Result<bool, PluginFault> {
        let rows: Vec<wit::Observation> = observations
            .iter()
            .map(|it| wit::Observation { slot: it.slot, site: it.site.0, success: it.success, latency: it.latency })
            .collect();
        self.guest.call("observe", Pace::Patient, |exports, store| {
            exports.proxywhirl_plugin_strategy().call_observe(store, &rows)
        })
    }

    fn plan(&mut self, view: &View<'_>, now: Timestamp, seed: u64) -> Result<Plan, PluginFault> {
        let plan = self.guest.call("make-plan", Pace::Patient, |exports, store| {
            let view = wit::View { id: view.id, site: view.site.0, members: view.members };
            exports.proxywhirl_plugin_strategy().call_make_plan(store, view, now.as_micros(), seed)
        })?;
        let members: usize = plan
            .tiers
            .iter()
            .map(|tier| match &tier.members {
                wit::Membership::Everyone => 0,
                wit::Membership::These(these) => these.len(),
            })
            .sum();
        if members > MAX_MEMBERS {
            self.guest.discard();
            let detail = format!("a plan of {members} members, the limit is {MAX_MEMBERS}");
            return Err(self.guest.plugin().fault("make-plan", FaultCause::InvalidAnswer, &detail));
        }
        Ok(Plan {
            tiers: plan.tiers.into_iter().map(tier).collect(),
            sessions: plan.sessions.map(stickiness),
            per_site: plan.per_site,
            refresh: span(plan.refresh).map(|span| span.max(MIN_REFRESH)),
        })
    }

    fn select(&mut self, request: &Request) -> Result<Option<u32>, PluginFault> {
        let request = wit::Request {
            view: request.view,
            site: request.site.0,
            session: request.session,
            attempt: request.attempt,
            now: request.now.as_micros(),
            seed: request.seed,
        };
        let slot = self.guest.call("select", Pace::Quick, |exports, store| {
            exports.proxywhirl_plugin_strategy().call_select(store, request)
        })?;
        Ok((slot != NONE).then_some(slot))
    }

    fn save(&mut self) -> Result<Option<Vec<u8>>, PluginFault> {
        self.guest.save()
    }

    fn restore(&mut self, state: &[u8]) -> Result<bool, PluginFault> {
        self.guest.restore(state)
    }
}

/// A member as a strategy sees it. Its address, user name and password stay here.
fn row<'a>(member: &Member, tags: &'a [u32]) -> wit::Member<'a> {
    let statistics = member.live.statistics();
    let latency = statistics.latency.map_or(0, |latency| {
        // A latency of more than an hour has no meaning, one of 0 would mean "never measured".
        u32::try_from(micros(latency)).unwrap_or(u32::MAX).max(1)
    });
    wit::Member {
        slot: member.slot,
        id: member.id.0,
        joined: member.joined,
        scheme: scheme_out(member.endpoint.scheme),
        anonymity: anonymity_out(member.anonymity),
        country: member.country_symbol.0,
        tags,
        latency,
        successes: statistics.successes,
        failures: statistics.failures,
    }
}

/// Microseconds, where 0 stands for none.
fn span(micros: u64) -> Option<Duration> {
    (micros != 0).then(|| Duration::from_micros(micros))
}

fn stickiness(wanted: wit::Stickiness) -> Stickiness {
    Stickiness {
        idle: span(wanted.idle),
        lifetime: span(wanted.lifetime),
        strict: wanted.strict,
        capacity: wanted.capacity.clamp(1, Stickiness::MAX_CAPACITY),
    }
}

fn tier(tier: wit::Tier) -> Tier {
    let mode = match tier.mode {
        wit::Mode::Cycle => Mode::Cycle,
        wit::Mode::Draw => Mode::Draw,
        wit::Mode::Affinity => Mode::Affinity,
        wit::Mode::LeastLoaded => Mode::LeastLoaded,
    };
    let members = match tier.members {
        wit::Membership::Everyone => Membership::Everyone,
        wit::Membership::These(these) => Membership::These(
            these.into_iter().map(|member| Weighted { slot: member.slot, weight: member.weight }).collect(),
        ),
    };
    Tier { mode, members }
}
