//! Where what providers push goes.

use crate::{
    cluster::{Events, PodRef},
    node::NodeHandle,
    plugin::Sink,
    pod::{Mailbox, PodHandle, Pushed},
    telemetry::metrics::Samples,
};
use bytes::Bytes;
use outrigger_plugin::{Event, MetricSample, NodeDescription, PodIdentity};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};
use tokio::sync::mpsc;

/// Events of providers that wait to be given their pod's name.
const EVENT_BACKLOG: usize = 256;

/// Fans out to mailbox, nodes and events. Providers start before nodes exist; what comes for a node before
/// [`connect`](Self::connect) is asked for anyway when the node starts.
pub struct Fan {
    mailbox: Arc<Mailbox>,
    nodes: OnceLock<HashMap<String, NodeHandle>>,
    events: OnceLock<Events>,
    named: mpsc::Sender<Event>,
    samples: Arc<Samples>,
}

impl Fan {
    /// A fan, and the events that still need their pod's name.
    pub fn new(mailbox: Arc<Mailbox>, samples: Arc<Samples>) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (named, waiting) = mpsc::channel(EVENT_BACKLOG);
        (
            Arc::new(Self {
                mailbox,
                nodes: OnceLock::new(),
                events: OnceLock::new(),
                named,
                samples,
            }),
            waiting,
        )
    }

    /// Tells it the nodes and the recorder.
    pub fn connect(&self, nodes: &[NodeHandle], events: &Events) {
        let nodes = nodes
            .iter()
            .map(|node| (node.name().to_owned(), node.clone()))
            .collect();
        // Connected once, at start.
        let _ = self.nodes.set(nodes);
        let _ = self.events.set(events.clone());
    }

    fn node(&self, provider: &str, node: &str) -> Option<&NodeHandle> {
        let found = self.nodes.get()?.get(node).filter(|node| node.provider() == provider);
        if found.is_none() {
            tracing::debug!(provider, node, "provider speaks of a node that is not its own");
        }
        found
    }
}

impl Sink for Fan {
    fn pod_status(&self, provider: &str, uid: &str, sequence: u64, report: &[u8]) {
        let pushed = Pushed {
            provider: provider.into(),
            sequence,
            report: Bytes::copy_from_slice(report),
        };
        self.mailbox.push(uid, pushed);
    }

    fn node_description(&self, provider: &str, node: &str, description: &[u8]) {
        let Some(handle) = self.node(provider, node) else {
            return;
        };
        match serde_json::from_slice::<NodeDescription>(description) {
            Ok(description) => handle.describe(description),
            Err(error) => tracing::warn!(provider, node, %error, "unable to read a node's description"),
        }
    }

    fn event(&self, provider: &str, event: Event) {
        let (Some(handle), Some(events)) = (self.node(provider, &event.node), self.events.get()) else {
            return;
        };
        if event.pod_uid.is_none() {
            events.node(
                handle.name(),
                handle.uid().as_deref(),
                event.warning,
                &event.reason,
                event.message,
            );
        } else if self.named.try_send(event).is_err() {
            tracing::debug!(provider, "too many events of a provider wait, one is dropped");
        }
    }

    fn metric(&self, provider: &str, sample: MetricSample) {
        self.samples.push(provider, sample);
    }
}

/// Gives providers' events their pods' names, until the fan is gone.
pub async fn name_events(mut waiting: mpsc::Receiver<Event>, pods: PodHandle, events: Events) {
    while let Some(event) = waiting.recv().await {
        let Some(uid) = &event.pod_uid else { continue };
        let Some(identity) = pods.identity(uid).await else {
            tracing::debug!(uid, "provider speaks of a pod that is not there");
            continue;
        };
        if let Some(pod) = subject(&event, &identity) {
            events.pod(&pod, event.warning, &event.reason, event.message);
        }
    }
}

/// The pod that an event is about: only one of the event's node, which is a node of the provider that sent it.
fn subject(event: &Event, pod: &PodIdentity) -> Option<PodRef> {
    if pod.node != event.node {
        tracing::debug!(node = event.node, pod = %pod.name, namespace = %pod.namespace,
            "provider speaks of a pod that is not on its node");
        return None;
    }
    Some(PodRef {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        node: pod.node.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_put_on_a_pod_of_its_own_node_alone() {
        let text = |text: &str| text.to_owned();
        let pod = PodIdentity {
            cluster: text("c"),
            node: text("vk-0"),
            namespace: text("ns"),
            name: text("p"),
            uid: text("u-1"),
        };
        let event = |node: &str| Event {
            node: text(node),
            pod_uid: Some(text("u-1")),
            warning: true,
            reason: text("Evicted"),
            message: text("out of money"),
        };
        let found = subject(&event("vk-0"), &pod).unwrap();
        assert_eq!((found.name.as_str(), found.node.as_str()), ("p", "vk-0"));
        assert!(subject(&event("another-providers"), &pod).is_none());
    }
}
