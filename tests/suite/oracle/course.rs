//! What the API shows of a pod from its creation on: every state of it, and its events.

use super::words::Words;
use crate::harness::Test;
use crate::harness::object;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::task::JoinHandle;

/// Every state of the test's pods from when it was begun, in the API server's order.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Vec<(Value, bool)>>>,
    task: JoinHandle<()>,
}

/// What there is to compare of a pod, by where it was found.
pub type Facts = BTreeMap<String, String>;

impl Watch {
    /// Begins with what happens from now on.
    pub async fn start(test: &Test) -> Self {
        let pods = test.pods();
        let now = pods.list(&ListParams::default()).await.unwrap();
        let version = now.metadata.resource_version.unwrap();
        // Longer than any test here.
        let params = WatchParams::default().timeout(290);
        let mut watch = pods.watch(&params, &version).await.unwrap().boxed();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                let (pod, gone): (Pod, bool) = match event.unwrap() {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
                    WatchEvent::Deleted(pod) => (pod, true),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(error) => panic!("the watch broke: {error:?}"),
                };
                kept.lock().unwrap().push((serde_json::to_value(pod).unwrap(), gone));
            }
        });
        Self { seen, task }
    }

    /// The states of a pod, and whether it is gone.
    pub fn states(&self, name: &str) -> (Vec<Value>, bool) {
        let seen = self.seen.lock().unwrap();
        let of_it = || seen.iter().filter(|(pod, _)| pod["metadata"]["name"] == name);
        let states = of_it().filter(|(_, gone)| !gone).map(|(pod, _)| pod.clone());
        (states.collect(), of_it().any(|(_, gone)| *gone))
    }

    /// All that is to be the same, up to the last state that is looked at.
    pub async fn facts(&self, test: &Test, name: &str, looked_at: impl Fn(&Pod) -> bool) -> Facts {
        let (states, gone) = self.states(name);
        let mut facts = Facts::new();
        let wanted = |state: &Value| looked_at(&object(state.clone()));
        let Some(end) = states.iter().rposition(wanted) else {
            return facts;
        };
        let states = &states[..=end];
        let last = &states[end];
        let mut phases: Vec<&str> = Vec::new();
        for phase in states.iter().filter_map(|state| state["status"]["phase"].as_str()) {
            if phases.last() != Some(&phase) {
                phases.push(phase);
            }
        }
        if gone {
            phases.push("gone");
        }
        facts.insert("phases".to_owned(), phases.join(" "));
        let words = Words::of(last);
        words.flatten("status", &last["status"], &mut facts);
        for event in test.events().await {
            if event.involved_object.uid.as_deref() == last["metadata"]["uid"].as_str() {
                let (kind, reason) = (event.type_.unwrap_or_default(), event.reason.unwrap_or_default());
                let message = words.text(&event.message.unwrap_or_default());
                // Some reasons have many messages, of which the last counts.
                facts.insert(format!("event.{kind}.{reason}"), "is there".to_owned());
                facts.insert(format!("event.{kind}.{reason}.message"), message);
            }
        }
        facts
    }

    /// A pod's states in a few words each, for people.
    pub fn story(&self, name: &str) -> String {
        let mut story = String::new();
        for state in self.states(name).0 {
            let status = &state["status"];
            let lists = ["initContainerStatuses", "containerStatuses"].map(|list| status[list].as_array());
            let short = lists
                .into_iter()
                .flatten()
                .flatten()
                .map(|one| format!("{} {} run {}", one["name"], one["state"], one["restartCount"]));
            let short: Vec<_> = short.collect();
            let going = if state["metadata"]["deletionTimestamp"].is_null() {
                ""
            } else {
                ", to go"
            };
            let _ = writeln!(story, "{name} {}{going}: {}", status["phase"], short.join(", "));
        }
        story
    }

    /// How many times the status of a pod was written.
    pub fn writes(&self, name: &str) -> usize {
        let (states, _) = self.states(name);
        let changed = |pair: &&[Value]| pair[0]["status"] != pair[1]["status"];
        states.windows(2).filter(changed).count()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
