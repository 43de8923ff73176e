//! Places for what may run a few times at once, and who waits for one.

use super::entry::Uid;
use std::collections::{HashSet, VecDeque};

/// Room that is kept when nobody waits any more.
const SMALL: usize = 64;

/// Limits how many actions of a kind run at the same time.
pub struct Lane {
    limit: usize,
    running: usize,
    /// In the order in which they asked; each at most once, here or there.
    waiting: VecDeque<Uid>,
    /// Before all of those: who has only this left to do makes room for others.
    last_steps: VecDeque<Uid>,
    asked: HashSet<Uid>,
}

impl Lane {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            running: 0,
            waiting: VecDeque::new(),
            last_steps: VecDeque::new(),
            asked: HashSet::new(),
        }
    }

    /// Takes a place, or remembers who asked.
    pub fn enter(&mut self, uid: &Uid) -> bool {
        self.take() || self.wait(uid, |lane| &mut lane.waiting)
    }

    /// The same for somebody's last step.
    pub fn enter_to_end(&mut self, uid: &Uid) -> bool {
        self.take() || self.wait(uid, |lane| &mut lane.last_steps)
    }

    fn take(&mut self) -> bool {
        let free = self.running < self.limit;
        self.running += usize::from(free);
        free
    }

    fn wait(&mut self, uid: &Uid, line: fn(&mut Self) -> &mut VecDeque<Uid>) -> bool {
        if self.asked.insert(uid.clone()) {
            line(self).push_back(uid.clone());
        }
        false
    }

    /// Gives a place back.
    pub fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whose turn it is, while there is a place.
    pub fn turn(&mut self) -> Option<Uid> {
        if self.running >= self.limit {
            return None;
        }
        let next = self.last_steps.pop_front().or_else(|| self.waiting.pop_front())?;
        self.asked.remove(&next);
        if self.asked.is_empty() {
            self.waiting.shrink_to(SMALL);
            self.last_steps.shrink_to(SMALL);
            self.asked.shrink_to(SMALL);
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_go_to_last_steps_first() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(Uid::from);
        let mut lane = Lane::new(1);
        assert!(lane.enter(&a));
        for _ in 0..2 {
            assert!(
                !lane.enter(&b) && !lane.enter(&c) && !lane.enter_to_end(&d),
                "there is one place"
            );
        }
        assert_eq!(lane.turn(), None, "it is taken");
        lane.leave();
        let turns: Vec<Uid> = std::iter::from_fn(|| lane.turn()).collect();
        assert_eq!(turns, [d, b.clone(), c], "each once");
        assert!(lane.enter(&b) && !lane.enter(&a));
    }

    #[test]
    fn whoever_waits_for_a_place_gets_a_turn_once_and_in_order() {
        let uid = |name: &str| Uid::from(name);
        let mut lane = Lane::new(1);
        assert!(lane.enter(&uid("a")));
        for waiting in ["b", "c", "b"] {
            assert!(!lane.enter(&uid(waiting)));
        }
        assert_eq!(lane.turn(), None, "no place is free");
        lane.leave();
        assert_eq!(lane.turn(), Some(uid("b")));
        // It did not need the place any more: the next one has its turn, and nobody is left behind.
        assert_eq!(lane.turn(), Some(uid("c")));
        assert_eq!(lane.turn(), None);
    }
}
