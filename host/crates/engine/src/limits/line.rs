//! The line of those who wait: users in turn, and of each of them, first come, first served.
//!
//! A user who sends a thousand requests at once must not make another one's first request wait for all of them. So whoever was
//! served longest ago has the next turn (round robin; it is not forgotten when a queue runs empty, so nobody gains by asking
//! for one thing at a time), and a line that is full makes room for a user at the cost of who has most in it. A user's own
//! requests stand in the order in which they came to the gateway, so one that has to wait again after a failure is before
//! those that came after it.
//!
//! Two requests that could use the same somebody are of one *class*: when one of a class finds nobody, no other one of that
//! class needs to look, but one of another class may be served, whom nobody before it could have had.
//!
//! Knows neither members nor time: it is told how to try. Invariant: after [`Line::serve`] nobody stands in the line who
//! could be served.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::hash::Hash;
use std::ops::Bound;
use std::sync::Arc;

/// A place in a user's queue: the number of the request, and of its attempt.
pub(crate) type Place = (u64, u32);

/// Users of whom it is remembered when they were served, though they have nobody in the line.
const REMEMBERED: u64 = 1_024;

/// Those who wait.
#[derive(Debug)]
pub(crate) struct Line<C, W, S> {
    queues: HashMap<u64, BTreeMap<Place, (Arc<C>, W)>>,
    length: usize,
    classes: HashMap<Arc<C>, Standing<S>>,
    turns: Turns,
}

/// What is known of a class.
#[derive(Debug)]
pub(crate) struct Standing<S> {
    /// How many of it wait, by whose they are.
    waiting: HashMap<u64, usize>,
    /// What they wait for.
    pub(crate) situation: S,
}

/// When users were served.
#[derive(Debug, Default)]
struct Turns {
    last: HashMap<u64, u64>,
    count: u64,
}

impl<C: Eq + Hash, W, S> Default for Line<C, W, S> {
    fn default() -> Self {
        Self { queues: HashMap::new(), length: 0, classes: HashMap::new(), turns: Turns::default() }
    }
}

impl<S> Standing<S> {
    /// How many of it wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.values().sum()
    }

    /// How many are served before one more of a user: of each other one, as many as this one has then.
    pub(crate) fn ahead(&self, user: u64) -> usize {
        let own = self.waiting.get(&user).copied().unwrap_or(0);
        let others = self.waiting.iter().filter(|(other, _)| **other != user).map(|(_, count)| (*count).min(own + 1));
        own + others.sum::<usize>()
    }
}

impl Turns {
    fn of(&self, user: u64) -> u64 {
        self.last.get(&user).copied().unwrap_or(0)
    }

    /// A user is served; its new time.
    fn take(&mut self, user: u64) -> u64 {
        self.count += 1;
        self.last.insert(user, self.count);
        self.count
    }

    /// Forgets those who were served long ago, but for those who wait.
    fn forget(&mut self, waits: impl Fn(u64) -> bool) {
        let oldest = self.count.saturating_sub(REMEMBERED);
        self.last.retain(|user, last| *last > oldest || waits(*user));
    }
}

impl<C: Eq + Hash, W, S> Line<C, W, S> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// What is known of a class of which somebody waits.
    pub(crate) fn standing(&self, class: &C) -> Option<&Standing<S>> {
        self.classes.get(class)
    }

    /// Takes somebody in. What was known of the class before is forgotten.
    pub(crate) fn join(&mut self, (user, place): (u64, Place), class: C, situation: S, waiter: W) {
        let (class, mut waiting) = match self.classes.remove_entry(&class) {
            Some((class, standing)) => (class, standing.waiting),
            None => (Arc::new(class), HashMap::new()),
        };
        *waiting.entry(user).or_default() += 1;
        self.classes.insert(Arc::clone(&class), Standing { waiting, situation });
        match self.queues.entry(user).or_default().insert(place, (class, waiter)) {
            Some((class, _)) => self.forget(user, &class),
            None => self.length += 1,
        }
    }

    /// Changes what is known of a class, if somebody of it waits.
    pub(crate) fn learn(&mut self, class: &C, change: impl FnOnce(&mut S)) {
        if let Some(standing) = self.classes.get_mut(class) {
            change(&mut standing.situation);
        }
    }

    /// Lets somebody go who does not want to wait any longer; none when it has been served.
    pub(crate) fn leave(&mut self, (user, place): (u64, Place)) -> Option<W> {
        let queue = self.queues.get_mut(&user)?;
        let (class, waiter) = queue.remove(&place)?;
        if queue.is_empty() {
            self.queues.remove(&user);
        }
        self.length -= 1;
        self.forget(user, &class);
        Some(waiter)
    }

    /// Makes room for one more of a user: the last one of who has most waiting has to go, with what is known of its class.
    /// None when that would not be fair.
    pub(crate) fn make_room(&mut self, user: u64) -> Option<(W, S)>
    where
        S: Clone,
    {
        let own = self.queues.get(&user).map_or(0, BTreeMap::len);
        let (most, queue) = self.queues.iter().max_by_key(|(user, queue)| (queue.len(), **user))?;
        let (place, (class, _)) = queue.last_key_value().filter(|_| queue.len() > own + 1)?;
        let (leaves, situation) = ((*most, *place), self.classes.get(class)?.situation.clone());
        Some((self.leave(leaves)?, situation))
    }

    /// Serves all who can be, in their order: `find` looks for somebody for one of a class.
    pub(crate) fn serve<T>(&mut self, mut find: impl FnMut(&C, Place, &W) -> Option<T>) -> Vec<(W, T)> {
        let Self { queues, classes, turns, .. } = self;
        let mut blocked: HashSet<Arc<C>> = HashSet::new();
        let mut found = Vec::new();
        // Who was served longest ago, and of those who never were, who came first.
        let next = |(user, queue): (&u64, &BTreeMap<Place, _>)| Some((turns.of(*user), *queue.keys().next()?, *user));
        let mut next: BinaryHeap<_> = queues.iter().filter_map(next).map(Reverse).collect();
        while let Some(Reverse((_, from, user))) = next.pop() {
            if blocked.len() == classes.len() {
                break;
            }
            let Some(queue) = queues.get(&user) else { continue };
            for (place, (class, waiter)) in queue.range(from..) {
                if blocked.contains(class) {
                    continue;
                }
                let Some(somebody) = find(class, *place, waiter) else {
                    blocked.insert(Arc::clone(class));
                    continue;
                };
                found.push(((user, *place), somebody));
                let turn = turns.take(user);
                let after = queue.range((Bound::Excluded(*place), Bound::Unbounded)).next();
                next.extend(after.map(|(place, _)| Reverse((turn, *place, user))));
                break;
            }
        }
        if turns.last.len() as u64 > 2 * REMEMBERED {
            turns.forget(|user| queues.contains_key(&user));
        }
        found.into_iter().filter_map(|(place, somebody)| Some((self.leave(place)?, somebody))).collect()
    }

    /// Lets all go.
    pub(crate) fn clear(&mut self) {
        self.queues.clear();
        self.length = 0;
        self.classes.clear();
    }

    fn forget(&mut self, user: u64, class: &Arc<C>) {
        let Some(Standing { waiting, .. }) = self.classes.get_mut(class) else { return };
        let left = waiting.get(&user).map_or(0, |count| count - 1);
        if left > 0 {
            waiting.insert(user, left);
            return;
        }
        waiting.remove(&user);
        if waiting.is_empty() {
            self.classes.remove(class);
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
        /// A request of a user and a class comes: it can use the things whose bits are set.
        Come(u64, u8),
        /// One of those who wait leaves.
        Leave(prop::sample::Index),
        /// One of those who were served gives its thing back.
        Return(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..3, 1_u8..16).prop_map(|(user, wants)| Step::Come(user, wants)),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            4 => any::<prop::sample::Index>().prop_map(Step::Return),
        ]
    }

    /// Four things, of which each serves one at a time.
    #[derive(Default)]
    struct World {
        line: Line<u8, (u64, u64), ()>,
        taken: u8,
        /// Whose they are, their numbers, and what they want.
        waiting: Vec<(u64, u64, u8)>,
        served: Vec<u8>,
        /// For each user and each class in which it waits: who else was served there since it was served itself.
        passed: HashSet<((u64, u8), u64)>,
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
            for ((user, request), thing) in served {
                let at = self.waiting.iter().position(|(_, waits, _)| *waits == request).unwrap();
                let (_, _, wants) = self.waiting.remove(at);
                let mut like = HashSet::new();
                for (other, number, _) in self.waiting.iter().filter(|(_, _, others)| *others == wants) {
                    assert!(*other != user || *number > request, "{request} was before another one of its user");
                    like.insert(*other);
                }
                for other in like.into_iter().filter(|other| *other != user) {
                    let is_first = self.passed.insert(((other, wants), user));
                    assert!(is_first, "user {user} was served twice while user {other} waits");
                }
                // It has had its turn, whatever for.
                self.passed.retain(|((waits, _), _)| *waits != user);
                self.served.push(thing);
            }
            let waiting = &self.waiting;
            self.passed
                .retain(|((user, class), _)| waiting.iter().any(|(waits, _, wants)| (waits, wants) == (user, class)));
            for (_, request, wants) in &self.waiting {
                assert!(wants & !self.taken == 0, "{request} could have been served");
            }
            assert_eq!(self.line.len(), self.waiting.len(), "somebody was lost");
            let classes: HashSet<u8> = self.waiting.iter().map(|(_, _, wants)| *wants).collect();
            assert_eq!(self.line.classes.len(), classes.len());
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_who_could_be_served_and_nobody_is_overtaken_by_its_like(steps in prop::collection::vec(step(), 1..200)) {
            let mut world = World::default();
            for (request, step) in (1..).zip(steps) {
                match step {
                    Step::Come(user, wants) => {
                        world.waiting.push((user, request, wants));
                        world.line.join((user, (request, 1)), wants, (), (user, request));
                    }
                    Step::Leave(index) if !world.waiting.is_empty() => {
                        let (user, gone, _) = world.waiting.remove(index.index(world.waiting.len()));
                        prop_assert_eq!(world.line.leave((user, (gone, 1))), Some((user, gone)));
                        prop_assert_eq!(world.line.leave((user, (gone, 1))), None);
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
            line.join((0, (request, 1)), if request == 900 { "b" } else { "a" }, (), request);
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
        assert_eq!(line.standing(&"a").map(|standing| standing.ahead(0)), Some(999));
    }

    #[test]
    fn an_older_request_is_before_those_that_came_after_it() {
        let mut line: Line<(), u64, ()> = Line::default();
        for request in [7, 9, 3] {
            line.join((0, (request, 2)), (), (), request);
        }
        let served = line.serve(|(), _, _| Some(()));
        assert_eq!(served.into_iter().map(|(request, ())| request).collect::<Vec<_>>(), [3, 7, 9]);
        assert!(line.standing(&()).is_none());
    }

    /// A line in which user 0 has so many requests, all of one class.
    fn crowded(requests: u64) -> Line<(), u64, u64> {
        let mut line = Line::default();
        (0..requests).for_each(|request| line.join((0, (request, 1)), (), 7, request));
        line
    }

    fn next(line: &mut Line<(), u64, u64>) -> u64 {
        let mut is_free = true;
        line.serve(|(), _, _| std::mem::take(&mut is_free).then_some(())).remove(0).0
    }

    #[test]
    fn who_asks_for_one_thing_at_a_time_is_served_in_turn_with_who_asks_for_many() {
        let mut line = crowded(100);
        assert_eq!(next(&mut line), 0);
        let mut order = Vec::new();
        for request in 1_000..1_010 {
            line.join((1, (request, 1)), (), 7, request);
            order.push((next(&mut line), next(&mut line)));
        }
        let expected: Vec<_> = (1..=10).map(|turn| (999 + turn, turn)).collect();
        assert_eq!(order, expected, "each gets every second one");
        assert_eq!(line.standing(&()).map(|standing| (standing.ahead(0), standing.ahead(1))), Some((89, 1)));
    }

    #[test]
    fn a_full_line_makes_room_at_the_cost_of_who_has_most_in_it() {
        let mut line = crowded(3);
        assert_eq!(line.make_room(0), None, "not for its own next one");
        assert_eq!(line.make_room(1), Some((2, 7)), "the last one goes");
        line.join((1, (10, 1)), (), 7, 10);
        assert_eq!((line.make_room(1), line.len()), (None, 3), "both have as many then");
        assert_eq!(Line::<(), u64, u64>::default().make_room(1), None);
    }

    #[test]
    fn users_that_came_once_are_forgotten() {
        let mut line: Line<(), u64, ()> = Line::default();
        for user in 0..10 * REMEMBERED {
            line.join((user, (user, 1)), (), (), user);
            assert_eq!(line.serve(|(), _, _| Some(())).len(), 1);
        }
        assert!(line.turns.last.len() as u64 <= 2 * REMEMBERED && line.queues.is_empty());
    }
}
