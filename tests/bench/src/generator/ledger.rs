//! When what happened to each pod of a phase.

use crate::error::Error;
use crate::error::Result;
use crate::latencies::Latencies;
use parking_lot::Mutex;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::Notify;

/// The pods of a phase. Shared by those who ask for changes and the watch that sees them.
#[derive(Clone, Default)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pods: Mutex<Pods>,
    progress: Notify,
}

#[derive(Default)]
struct Pods {
    prefix: String,
    slots: Vec<Slot>,
    ready: usize,
    gone: usize,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    created: Option<Instant>,
    ready: Option<Instant>,
    deleted: Option<Instant>,
    gone: Option<Instant>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    Ready,
    Gone,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: Pod<'a>,
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(default)]
    name: &'a str,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    status: &'a str,
}

impl Ledger {
    /// Begins with pods `PREFIX0` to `PREFIX<count - 1>`, of whom nothing is known.
    pub fn begin(&self, prefix: String, count: usize) {
        *self.shared.pods.lock() = Pods {
            prefix,
            slots: vec![Slot::default(); count],
            ready: 0,
            gone: 0,
        };
    }

    /// The create request of a pod goes out now.
    pub fn creating(&self, index: usize) {
        if let Some(slot) = self.shared.pods.lock().slots.get_mut(index) {
            slot.created = Some(Instant::now());
        }
    }

    /// The delete request of a pod goes out now.
    pub fn deleting(&self, index: usize) {
        if let Some(slot) = self.shared.pods.lock().slots.get_mut(index) {
            slot.deleted = Some(Instant::now());
        }
    }

    /// Takes in an event of the watch.
    pub fn observe(&self, line: &[u8]) -> Result<()> {
        let now = Instant::now();
        let event: Event<'_> = serde_json::from_slice(line).map_err(|error| Error::Malformed {
            what: "watch event".to_owned(),
            reason: format!("{error}: {}", String::from_utf8_lossy(&line[..line.len().min(200)])),
        })?;
        if event.kind == "ERROR" {
            return Err(Error::Transport {
                what: "watch pods".to_owned(),
                reason: String::from_utf8_lossy(line).into_owned(),
            });
        }
        let mut pods = self.shared.pods.lock();
        let Some(index) = event
            .object
            .metadata
            .name
            .strip_prefix(&*pods.prefix)
            .and_then(|rest| rest.parse::<usize>().ok())
        else {
            return Ok(());
        };
        let Some(slot) = pods.slots.get_mut(index) else {
            return Ok(());
        };
        if event.kind == "DELETED" {
            if slot.gone.replace(now).is_none() {
                pods.gone += 1;
                self.shared.progress.notify_one();
            }
        } else if slot.ready.is_none()
            && event
                .object
                .status
                .conditions
                .iter()
                .any(|c| c.kind == "Ready" && c.status == "True")
        {
            slot.ready = Some(now);
            pods.ready += 1;
            self.shared.progress.notify_one();
        }
        Ok(())
    }

    fn reached(&self, goal: Goal) -> (usize, usize) {
        let pods = self.shared.pods.lock();
        let reached = match goal {
            Goal::Ready => pods.ready,
            Goal::Gone => pods.gone,
        };
        (reached, pods.slots.len())
    }

    /// Waits until all pods have reached the goal.
    ///
    /// # Errors
    /// No pod did for as long as `patience`.
    pub async fn wait(&self, goal: Goal, patience: Duration) -> Result<()> {
        let mut best = 0;
        loop {
            let progress = self.shared.progress.notified();
            let (reached, all) = self.reached(goal);
            if reached == all {
                return Ok(());
            }
            let late = tokio::time::timeout(patience, progress).await.is_err();
            if late && reached <= best {
                return Err(self.lost(goal, patience));
            }
            best = reached;
        }
    }

    fn lost(&self, goal: Goal, limit: Duration) -> Error {
        let pods = self.shared.pods.lock();
        let missing = pods.slots.iter().enumerate().filter(|(_, slot)| match goal {
            Goal::Ready => slot.ready.is_none(),
            Goal::Gone => slot.gone.is_none(),
        });
        let names: Vec<String> = missing
            .clone()
            .take(3)
            .map(|(index, _)| format!("{}{index}", pods.prefix))
            .collect();
        Error::Lost {
            lost: missing.count(),
            pods: pods.slots.len(),
            state: match goal {
                Goal::Ready => "Ready",
                Goal::Gone => "gone",
            },
            limit,
            examples: names.join(", "),
        }
    }

    /// From the first request to the last pod at its goal.
    pub fn duration(&self, goal: Goal) -> Duration {
        let pods = self.shared.pods.lock();
        let (first, last) = match goal {
            Goal::Ready => (
                pods.slots.iter().filter_map(|slot| slot.created).min(),
                pods.slots.iter().filter_map(|slot| slot.ready).max(),
            ),
            Goal::Gone => (
                pods.slots.iter().filter_map(|slot| slot.deleted).min(),
                pods.slots.iter().filter_map(|slot| slot.gone).max(),
            ),
        };
        first
            .zip(last)
            .map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first))
    }

    /// From each pod's request to its goal.
    pub fn latencies(&self, goal: Goal) -> Latencies {
        let pods = self.shared.pods.lock();
        let pairs = pods.slots.iter().filter_map(|slot| match goal {
            Goal::Ready => slot.created.zip(slot.ready),
            Goal::Gone => slot.deleted.zip(slot.gone),
        });
        Latencies::of(pairs.map(|(from, to)| to.saturating_duration_since(from)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, name: &str, ready: &str) -> Vec<u8> {
        format!(
            r#"{{"type":"{kind}","object":{{"metadata":{{"name":"{name}"}},"status":{{"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}}}"#
        )
        .into_bytes()
    }

    #[tokio::test]
    async fn a_phase_ends_when_its_last_pod_is_ready() {
        let ledger = Ledger::default();
        ledger.begin("a-".to_owned(), 2);
        ledger.creating(0);
        ledger.creating(1);
        for (name, ready) in [
            ("a-0", "False"),
            ("a-0", "True"),
            ("a-0", "True"),
            ("b-1", "True"),
            ("a-7", "True"),
        ] {
            ledger.observe(&event("MODIFIED", name, ready)).unwrap();
        }
        let lost = ledger
            .wait(Goal::Ready, Duration::from_millis(1))
            .await
            .unwrap_err()
            .to_string();
        assert!(lost.starts_with("lost 1 of 2 pods: not Ready"), "{lost}");
        assert!(lost.ends_with("a-1"), "{lost}");
        ledger.observe(&event("MODIFIED", "a-1", "True")).unwrap();
        ledger.wait(Goal::Ready, Duration::from_millis(1)).await.unwrap();
        assert!(ledger.latencies(Goal::Ready).quantile(1.0).unwrap() <= ledger.duration(Goal::Ready));
        assert!(ledger.latencies(Goal::Gone).quantile(0.5).is_none());
    }

    #[tokio::test]
    async fn a_pod_is_gone_once() {
        let ledger = Ledger::default();
        ledger.begin("a-".to_owned(), 2);
        for _ in 0..2 {
            ledger.observe(&event("DELETED", "a-0", "False")).unwrap();
        }
        assert!(ledger.wait(Goal::Gone, Duration::from_millis(1)).await.is_err());
        ledger.observe(&event("DELETED", "a-1", "False")).unwrap();
        ledger.wait(Goal::Gone, Duration::from_millis(1)).await.unwrap();
    }
}
