//! The line of those who wait: first come, first served.
//!
//! Requests stand in the order in which they came to the gateway, so one that has to wait again after a failure is before
//! those who came after it. Two requests that could use the same somebody are of one *class*: when one of a class finds
//! nobody, none behind it of that class needs to look, but one of another class may be served, whom nobody before it could
//! have had.
//!
//! Knows neither members nor time: it is told how to try. Invariant: after [`Line::serve`] nobody stands in the line who
//! could be served.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// A place in the line: the number of the request, and of its attempt.
pub(crate) type Place = (u64, u32);

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Line<C, W, S> {
    waiting: BTreeMap<Place, (Arc<C>, W)>,
    classes: HashMap<Arc<C>, Standing<S>>,
}

/// What is known of a class.
#[derive(Debug)]
pub(crate) struct Standing<S> {
    /// How many of it wait.
    pub(crate) waiting: usize,
    /// What they wait for.
    pub(crate) situation: S,
}

impl<C: Eq + Hash, W, S> Default for Line<C, W, S> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), classes: HashMap::new() }
    }
}

impl<C: Eq + Hash, W, S> Line<C, W, S> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// What is known of a class of which somebody waits.
    pub(crate) fn standing(&self, class: &C) -> Option<&Standing<S>> {
        self.classes.get(class)
    }

    /// Takes somebody in. What was known of the class before is forgotten.
    pub(crate) fn join(&mut self, place: Place, class: C, situation: S, waiter: W) {
        let (class, before) = match self.classes.remove_entry(&class) {
            Some((class, standing)) => (class, standing.waiting),
            None => (Arc::new(class), 0),
        };
        self.classes.insert(Arc::clone(&class), Standing { waiting: before + 1, situation });
        if let Some((class, _)) = self.waiting.insert(place, (class, waiter)) {
            self.forget(&class);
        }
    }

    /// Takes over what is known of a class now, if somebody of it waits.
    pub(crate) fn learn(&mut self, class: &C, situation: S) {
        if let Some(standing) = self.classes.get_mut(class) {
            standing.situation = situation;
        }
    }

    /// Lets somebody go who does not want to wait any longer; none when it has been served.
    pub(crate) fn leave(&mut self, place: Place) -> Option<W> {
        let (class, waiter) = self.waiting.remove(&place)?;
        self.forget(&class);
        Some(waiter)
    }

    /// Serves all who can be, in their order: `find` looks for somebody for one of a class.
    pub(crate) fn serve<T>(&mut self, mut find: impl FnMut(&C, Place, &W) -> Option<T>) -> Vec<(W, T)> {
        let mut blocked: HashSet<Arc<C>> = HashSet::new();
        let mut found = Vec::new();
        for (place, (class, waiter)) in &self.waiting {
            if blocked.len() == self.classes.len() {
                break;
            }
            if blocked.contains(class) {
                continue;
            }
            match find(class, *place, waiter) {
                Some(somebody) => found.push((*place, somebody)),
                None => {
                    blocked.insert(Arc::clone(class));
                }
            }
        }
        found.into_iter().filter_map(|(place, somebody)| Some((self.leave(place)?, somebody))).collect()
    }

    /// Lets all go.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.classes.clear();
    }

    fn forget(&mut self, class: &Arc<C>) {
        if let Some(standing) = self.classes.get_mut(class) {
            standing.waiting -= 1;
            if standing.waiting == 0 {
                self.classes.remove(class);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens to a line, and to what there is to be had.
    #[derive(Debug, Clone)]
    enum Step {
        /// A request of a class comes: it can use the things whose bits are set.
        Come(u8),
        /// One of those who wait leaves.
        Leave(prop::sample::Index),
        /// One of those who were served gives its thing back.
        Return(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u8..16).prop_map(Step::Come),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            4 => any::<prop::sample::Index>().prop_map(Step::Return),
        ]
    }

    /// Four things, of which each serves one at a time.
    #[derive(Default)]
    struct World {
        line: Line<u8, u64, ()>,
        taken: u8,
        waiting: Vec<(u64, u8)>,
        served: Vec<u8>,
    }

    impl World {
        fn serve(&mut self) {
            let Self { line, taken, .. } = self;
            let served = line.serve(|wants, _, _| {
                let free = *wants & !*taken;
                let thing = free & free.wrapping_neg();
                *taken |= thing;
                (thing != 0).then_some(thing)
            });
            for (request, thing) in served {
                let at = self.waiting.iter().position(|(waits, _)| *waits == request).unwrap();
                let (_, wants) = self.waiting.remove(at);
                let is_before = |(other, others): &(u64, u8)| *other < request && *others == wants;
                assert!(!self.waiting.iter().any(is_before), "{request} was before another one of its class");
                self.served.push(thing);
            }
            for (request, wants) in &self.waiting {
                assert!(wants & !self.taken == 0, "{request} could have been served");
            }
            assert_eq!(self.line.len(), self.waiting.len(), "somebody was lost");
            let classes: HashSet<u8> = self.waiting.iter().map(|(_, wants)| *wants).collect();
            assert_eq!(self.line.classes.len(), classes.len());
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_who_could_be_served_and_nobody_is_overtaken_by_its_like(steps in prop::collection::vec(step(), 1..200)) {
            let mut world = World::default();
            for (request, step) in (1..).zip(steps) {
                match step {
                    Step::Come(wants) => {
                        world.waiting.push((request, wants));
                        world.line.join((request, 1), wants, (), request);
                    }
                    Step::Leave(index) if !world.waiting.is_empty() => {
                        let (gone, _) = world.waiting.remove(index.index(world.waiting.len()));
                        prop_assert_eq!(world.line.leave((gone, 1)), Some(gone));
                        prop_assert_eq!(world.line.leave((gone, 1)), None);
                    }
                    Step::Return(index) if !world.served.is_empty() => {
                        let thing = world.served.remove(index.index(world.served.len()));
                        world.taken &= !thing;
                    }
                    Step::Leave(_) | Step::Return(_) => {}
                }
                world.serve();
            }
            // When all things are given back again and again, everybody gets one.
            while !world.served.is_empty() || !world.waiting.is_empty() {
                world.served.clear();
                world.taken = 0;
                world.serve();
            }
        }
    }

    #[test]
    fn who_looks_in_vain_speaks_for_its_class() {
        let mut line: Line<&str, u64, ()> = Line::default();
        for request in 1..=1_000 {
            line.join((request, 1), if request == 900 { "b" } else { "a" }, (), request);
        }
        let mut looked = Vec::new();
        assert!(
            line.serve::<()>(|class, (request, _), _| {
                looked.push((*class, request));
                None
            })
            .is_empty()
        );
        assert_eq!(looked, [("a", 1), ("b", 900)]);
        assert_eq!(line.standing(&"a").map(|standing| standing.waiting), Some(999));
    }

    #[test]
    fn an_older_request_is_before_those_that_came_after_it() {
        let mut line: Line<(), u64, ()> = Line::default();
        for request in [7, 9, 3] {
            line.join((request, 2), (), (), request);
        }
        let served = line.serve(|(), _, _| Some(()));
        assert_eq!(served.into_iter().map(|(request, ())| request).collect::<Vec<_>>(), [3, 7, 9]);
        assert!(line.standing(&()).is_none());
    }
}
