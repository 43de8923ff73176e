//! Reports that providers push, from any thread: the newest per pod, until the controller looks.

use bytes::Bytes;
use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

/// Above this a provider reports pods that nobody asked for; its list is read again instead.
const CAPACITY: usize = 262_144;

/// A report on its way.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// The report's place among those of its pod.
    pub sequence: u64,
    /// JSON of a `PodReport`.
    pub report: Bytes,
}

/// Of one provider, by UID.
type Reports = HashMap<Box<str>, Pushed>;

/// Collects reports by provider and pod UID: what one provider says of another's pod takes nothing away. Cheap to share; a
/// push never blocks for longer than a map insertion.
#[derive(Default)]
pub struct Mailbox {
    reports: Mutex<HashMap<Arc<str>, Reports>>,
    arrived: Notify,
    overflowed: AtomicBool,
}

impl Mailbox {
    /// Puts a report in, in place of an older one by the same provider of the same pod.
    pub fn push(&self, uid: &str, pushed: Pushed) {
        let mut all = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = all.entry(pushed.provider.clone()).or_default();
        let full = reports.len() >= CAPACITY;
        match reports.get_mut(uid) {
            Some(known) if known.sequence > pushed.sequence => {}
            Some(known) => *known = pushed,
            None if full => self.overflowed.store(true, Ordering::Relaxed),
            None => {
                reports.insert(uid.into(), pushed);
            }
        }
        drop(all);
        self.arrived.notify_one();
    }

    /// Waits for a report. Cancel safe.
    pub async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Takes out all reports, each with its pod's UID.
    pub fn take(&self) -> impl Iterator<Item = (Box<str>, Pushed)> + use<> {
        let all = mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_values().flatten()
    }

    /// Whether reports had to be dropped since the last question: the providers must be listed again.
    pub fn overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(provider: &str, sequence: u64) -> Pushed {
        Pushed {
            provider: provider.into(),
            sequence,
            report: Bytes::new(),
        }
    }

    fn taken(mailbox: &Mailbox) -> Vec<(String, String, u64)> {
        let each = |(uid, pushed): (Box<str>, Pushed)| (uid.into(), pushed.provider.to_string(), pushed.sequence);
        let mut taken: Vec<_> = mailbox.take().map(each).collect();
        taken.sort();
        taken
    }

    #[tokio::test]
    async fn the_newest_report_of_a_pod_wins_in_whatever_order_they_come() {
        let mailbox = Mailbox::default();
        mailbox.push("a", pushed("p", 3));
        mailbox.push("a", pushed("p", 2));
        mailbox.push("b", pushed("p", 1));
        mailbox.wait().await;
        let of = |uid: &str, sequence| (uid.to_owned(), "p".to_owned(), sequence);
        assert_eq!(taken(&mailbox), [of("a", 3), of("b", 1)]);
        assert_eq!(mailbox.take().count(), 0);
    }

    #[test]
    fn two_providers_that_tell_of_one_pod_do_not_silence_each_other() {
        let mailbox = Mailbox::default();
        mailbox.push("a", pushed("owner", 3));
        mailbox.push("a", pushed("other", 4));
        let of = |provider: &str, sequence| ("a".to_owned(), provider.to_owned(), sequence);
        assert_eq!(taken(&mailbox), [of("other", 4), of("owner", 3)]);
    }

    #[test]
    fn a_flood_of_unknown_pods_is_cut_and_said() {
        let mailbox = Mailbox::default();
        for pod in 0..=CAPACITY {
            mailbox.push(&pod.to_string(), pushed("p", 1));
        }
        mailbox.push("of another", pushed("q", 1));
        assert_eq!(mailbox.take().count(), CAPACITY + 1);
        assert!(mailbox.overflowed());
        assert!(!mailbox.overflowed());
    }
}
