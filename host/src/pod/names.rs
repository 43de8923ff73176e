//! Pods by name. A pod may have successors of its name before it is gone.

use super::entry::Uid;
use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    slice,
};

/// UIDs by namespace and name, oldest first. A name is known by its hash alone: who looks for one compares what is found.
#[derive(Default)]
pub struct Names {
    known: HashMap<u64, Bearers>,
    hasher: RandomState,
}

/// Who bears a name.
enum Bearers {
    /// The rule.
    One(Uid),
    #[expect(
        clippy::box_collection,
        reason = "it is rare, and in place would take more room than the rule does"
    )]
    Several(Box<Vec<Uid>>),
}

impl Names {
    /// One more pod, the newest of its name.
    pub fn add(&mut self, namespace: &str, name: &str, uid: Uid) {
        match self.known.entry(self.hasher.hash_one((namespace, name))) {
            Entry::Vacant(vacant) => {
                vacant.insert(Bearers::One(uid));
            }
            Entry::Occupied(mut known) => {
                let mut bearers = known.get().as_slice().to_vec();
                bearers.push(uid);
                known.insert(Bearers::Several(Box::new(bearers)));
            }
        }
    }

    /// A pod is forgotten.
    pub fn remove(&mut self, namespace: &str, name: &str, uid: &Uid) {
        let Entry::Occupied(mut known) = self.known.entry(self.hasher.hash_one((namespace, name))) else {
            return;
        };
        match known.get_mut() {
            Bearers::Several(bearers) => {
                bearers.retain(|other| other != uid);
                if let [last] = &bearers[..] {
                    let last = last.clone();
                    known.insert(Bearers::One(last));
                }
            }
            Bearers::One(bearer) if bearer == uid => {
                known.remove();
            }
            Bearers::One(_) => {}
        }
    }

    /// All pods of that name, and perhaps others.
    pub fn of(&self, namespace: &str, name: &str) -> &[Uid] {
        self.known
            .get(&self.hasher.hash_one((namespace, name)))
            .map(Bearers::as_slice)
            .unwrap_or_default()
    }
}

impl Bearers {
    fn as_slice(&self) -> &[Uid] {
        match self {
            Self::One(uid) => slice::from_ref(uid),
            Self::Several(uids) => uids,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successors_follow_in_order_and_leave_nothing_behind() {
        let [a, b, c] = ["a", "b", "c"].map(Uid::from);
        let mut names = Names::default();
        for uid in [&a, &b, &c] {
            names.add("ns", "web", uid.clone());
        }
        names.add("ns", "other", a.clone());
        assert_eq!(names.of("ns", "web"), [a.clone(), b.clone(), c.clone()]);
        names.remove("ns", "web", &b);
        names.remove("ns", "web", &b);
        assert_eq!(names.of("ns", "web"), [a.clone(), c.clone()]);
        names.remove("ns", "web", &a);
        assert_eq!(names.of("ns", "web"), slice::from_ref(&c));
        names.remove("ns", "web", &a);
        names.remove("ns", "web", &c);
        names.remove("ns", "other", &a);
        assert!(names.known.is_empty());
        assert!(names.of("ns", "web").is_empty());
    }
}
