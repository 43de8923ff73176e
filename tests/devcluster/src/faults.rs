//! Fault switches: what a test makes the server do wrong.
//!
//! A rule applies to the requests that its filter selects, a number of times or until it is removed. Actions on history and
//! open watches happen at once and are methods of [`crate::Running`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Which requests a rule is for; what is empty matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// As in the metrics: GET, LIST, WATCH, POST, PUT, PATCH, APPLY, DELETE, DELETECOLLECTION.
    pub verb: String,
    /// Plural name, e.g. `pods`.
    pub resource: String,
    /// E.g. `status`; `-` selects requests without one.
    pub subresource: String,
    /// Namespace of the request.
    pub namespace: String,
    /// Name in the request.
    pub name: String,
}

/// What happens to a selected request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// Answered with this status, without being done; 429 and 503 with `Retry-After` when given.
    Status {
        /// HTTP status, 400 to 599.
        code: u16,
        /// Seconds.
        #[serde(default, rename = "retryAfter")]
        retry_after: Option<u64>,
    },
    /// Refused with 409 Conflict, without being done.
    Conflict,
    /// Done, but later.
    Delay {
        /// Milliseconds.
        millis: u64,
    },
    /// Done, but the answer never comes: the connection is closed instead.
    LoseAnswer,
    /// Not answered, and not done, until the rule is removed; then done.
    Stall,
}

/// A switched-on fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// For which requests.
    #[serde(default)]
    pub select: Selection,
    /// What happens.
    pub action: Action,
    /// How many requests it is for; without it, all until it is removed.
    #[serde(default)]
    pub times: Option<u64>,
}

/// Names a rule so that it can be removed.
pub type RuleId = u64;

/// What a request is matched by.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Verb as in the metrics.
    pub verb: &'a str,
    /// Plural name.
    pub resource: &'a str,
    /// Subresource or empty.
    pub subresource: &'a str,
    /// Namespace or empty.
    pub namespace: &'a str,
    /// Name or empty.
    pub name: &'a str,
}

impl Selection {
    fn matches(&self, subject: Subject<'_>) -> bool {
        let fits = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        fits(&self.verb, subject.verb)
            && fits(&self.resource, subject.resource)
            && fits(&self.namespace, subject.namespace)
            && fits(&self.name, subject.name)
            && match self.subresource.as_str() {
                "-" => subject.subresource.is_empty(),
                wanted => fits(wanted, subject.subresource),
            }
    }
}

/// All rules. Costs one atomic load per request while there are none.
#[derive(Debug)]
pub struct Faults {
    any: AtomicBool,
    next: AtomicU64,
    rules: Mutex<Vec<(RuleId, Rule)>>,
    changed: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            any: AtomicBool::new(false),
            next: AtomicU64::new(1),
            rules: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Faults {
    /// Switches a fault on.
    pub fn add(&self, rule: Rule) -> RuleId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.rules.lock().push((id, rule));
        self.note_change();
        id
    }

    /// Switches a fault off; true when it was on.
    pub fn remove(&self, id: RuleId) -> bool {
        let mut rules = self.rules.lock();
        let before = rules.len();
        rules.retain(|(other, _)| *other != id);
        let removed = rules.len() < before;
        drop(rules);
        self.note_change();
        removed
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        self.rules.lock().clear();
        self.note_change();
    }

    /// Holds every request until the returned rule is removed.
    pub fn pause(&self) -> RuleId {
        self.add(Rule {
            select: Selection::default(),
            action: Action::Stall,
            times: None,
        })
    }

    /// The next `times` selected requests are answered with a status.
    pub fn fail(&self, select: Selection, code: u16, retry_after: Option<u64>, times: u64) -> RuleId {
        self.add(Rule {
            select,
            action: Action::Status { code, retry_after },
            times: Some(times),
        })
    }

    /// What is switched on.
    pub fn list(&self) -> Vec<(RuleId, Rule)> {
        self.rules.lock().clone()
    }

    fn note_change(&self) {
        self.any.store(!self.rules.lock().is_empty(), Ordering::Relaxed);
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// What to do to a request; delays and stalls are over when this returns.
    pub(crate) async fn meet(&self, subject: Subject<'_>) -> Option<Action> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut changed = self.changed.subscribe();
        loop {
            let action = self.take(subject)?;
            match action {
                Action::Delay { millis } => {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    return None;
                }
                Action::Stall => {
                    if changed.changed().await.is_err() {
                        return None;
                    }
                }
                other => return Some(other),
            }
        }
    }

    fn take(&self, subject: Subject<'_>) -> Option<Action> {
        let mut rules = self.rules.lock();
        let (at, (_, rule)) = rules
            .iter_mut()
            .enumerate()
            .find(|(_, (_, rule))| rule.select.matches(subject))?;
        let action = rule.action.clone();
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(at);
                self.any.store(!rules.is_empty(), Ordering::Relaxed);
            }
        }
        Some(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS_PATCH: Subject<'static> = Subject {
        verb: "PATCH",
        resource: "pods",
        subresource: "status",
        namespace: "d",
        name: "p",
    };

    #[tokio::test]
    async fn a_rule_applies_as_often_as_it_says() {
        let faults = Faults::default();
        assert_eq!(faults.meet(STATUS_PATCH).await, None);
        let select = Selection {
            verb: "PATCH".into(),
            resource: "pods".into(),
            ..Selection::default()
        };
        faults.fail(select, 429, Some(1), 2);
        let expected = Some(Action::Status {
            code: 429,
            retry_after: Some(1),
        });
        assert_eq!(
            faults
                .meet(Subject {
                    verb: "GET",
                    ..STATUS_PATCH
                })
                .await,
            None
        );
        assert_eq!(faults.meet(STATUS_PATCH).await, expected);
        assert_eq!(faults.meet(STATUS_PATCH).await, expected);
        assert_eq!(faults.meet(STATUS_PATCH).await, None);
    }

    #[tokio::test]
    async fn a_stall_ends_with_its_rule() {
        let faults = std::sync::Arc::new(Faults::default());
        let rule = faults.pause();
        let stalled = tokio::spawn({
            let faults = faults.clone();
            async move { faults.meet(STATUS_PATCH).await }
        });
        tokio::task::yield_now().await;
        assert!(!stalled.is_finished());
        assert!(faults.remove(rule));
        assert_eq!(
            tokio::time::timeout(Duration::from_secs(5), stalled)
                .await
                .unwrap()
                .unwrap(),
            None
        );
    }

    #[test]
    fn rules_are_readable_json() {
        let rule: Rule = serde_json::from_str(r#"{"select": {"verb": "PATCH", "subresource": "-"}, "action": {"status": {"code": 429, "retryAfter": 1}}, "times": 3}"#).unwrap();
        assert!(!rule.select.matches(STATUS_PATCH));
        assert!(rule.select.matches(Subject {
            subresource: "",
            ..STATUS_PATCH
        }));
        assert!(serde_json::from_str::<Rule>(r#"{"action": "stall"}"#).is_ok());
        assert!(serde_json::from_str::<Rule>(r#"{"action": "stall", "tymes": 1}"#).is_err());
    }
}
