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

/// Above this the provider reports pods that nobody asked for; its list is read again instead.
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

/// Collects reports by pod UID. Cheap to share; a push never blocks for longer than a map insertion.
#[derive(Default)]
pub struct Mailbox {
    reports: Mutex<HashMap<Box<str>, Pushed>>,
    arrived: Notify,
    overflowed: AtomicBool,
}

impl Mailbox {
    /// Puts a report in, in place of an older one of the same pod.
    pub fn push(&self, uid: &str, pushed: Pushed) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let full = reports.len() >= CAPACITY;
        match reports.get_mut(uid) {
            Some(known) if known.sequence > pushed.sequence && known.provider == pushed.provider => {}
            Some(known) => *known = pushed,
            None if full => self.overflowed.store(true, Ordering::Relaxed),
            None => {
                reports.insert(uid.into(), pushed);
            }
        }
        drop(reports);
        self.arrived.notify_one();
    }

    /// Waits for a report. Cancel safe.
    pub async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Takes out all reports.
    pub fn take(&self) -> HashMap<Box<str>, Pushed> {
        mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether reports had to be dropped since the last question: the providers must be listed again.
    pub fn overflowed(&self) -> bool {
        self.overflowed.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(sequence: u64) -> Pushed {
        Pushed {
            provider: "p".into(),
            sequence,
            report: Bytes::new(),
        }
    }

    #[tokio::test]
    async fn the_newest_report_of_a_pod_wins_in_whatever_order_they_come() {
        let mailbox = Mailbox::default();
        mailbox.push("a", pushed(3));
        mailbox.push("a", pushed(2));
        mailbox.push("b", pushed(1));
        mailbox.wait().await;
        let taken = mailbox.take();
        assert_eq!(taken["a"].sequence, 3);
        assert_eq!(taken["b"].sequence, 1);
        assert!(mailbox.take().is_empty());
    }

    #[test]
    fn a_flood_of_unknown_pods_is_cut_and_said() {
        let mailbox = Mailbox::default();
        for pod in 0..=CAPACITY {
            mailbox.push(&pod.to_string(), pushed(1));
        }
        assert_eq!(mailbox.take().len(), CAPACITY);
        assert!(mailbox.overflowed());
        assert!(!mailbox.overflowed());
    }
}
