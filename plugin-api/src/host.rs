//! What a provider can tell its host at any time.

use crate::{
    abi::link::HostLink,
    node::{Event, NodeDescription},
    pod::{PodIdentity, PodReport},
    request::MetricSample,
    testing::Pushed,
};
use serde::Serialize;
use tokio::sync::mpsc;

/// The host, as a provider sees it. Cheap to clone; every method may be called from any thread, also from one that has
/// no runtime, and none blocks.
#[derive(Clone, Debug)]
pub struct Host {
    line: Line,
    provider: String,
}

#[derive(Clone, Debug)]
enum Line {
    /// To the process that loaded the plugin.
    Linked(HostLink),
    /// To a provider's own test.
    Recorded(mpsc::Sender<Pushed>),
}

impl Host {
    pub(crate) fn new(link: HostLink, provider: String) -> Self {
        Self {
            line: Line::Linked(link),
            provider,
        }
    }

    pub(crate) fn recorded(sender: mpsc::Sender<Pushed>, provider: String) -> Self {
        Self {
            line: Line::Recorded(sender),
            provider,
        }
    }

    /// The provider's name in the host's config.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// A pod's state has changed. Only the newest report of a pod is kept until the host has looked at it.
    pub fn pod_status(&self, report: &PodReport) {
        self.tell(
            report,
            |link, body| link.pod_status(&report.identity.uid, report.sequence, body),
            || Pushed::Pod(report.clone()),
        );
    }

    /// A pod is gone from the backend though nobody asked for that.
    pub fn pod_gone(&self, identity: PodIdentity) {
        self.pod_status(&PodReport::gone(identity));
    }

    /// A node looks different now.
    pub fn node_changed(&self, node: &str, description: &NodeDescription) {
        self.tell(
            description,
            |link, body| link.node_description(node, body),
            || Pushed::Node {
                node: node.to_owned(),
                description: description.clone(),
            },
        );
    }

    /// Something happened that the cluster's users should see. Events have a budget: a flood is cut.
    pub fn event(&self, event: &Event) {
        self.tell(event, |link, body| link.event(body), || Pushed::Event(event.clone()));
    }

    /// A sample for the host's metrics, which adds the provider's name as a label.
    pub fn metric(&self, sample: &MetricSample) {
        self.tell(
            sample,
            |link, body| link.metric(body),
            || Pushed::Metric(sample.clone()),
        );
    }

    /// Whether the host has begun to shut down.
    pub fn shutting_down(&self) -> bool {
        match &self.line {
            Line::Linked(link) => link.shutting_down(),
            Line::Recorded(_) => false,
        }
    }

    fn tell(&self, value: &impl Serialize, send: impl FnOnce(&HostLink, &[u8]), record: impl FnOnce() -> Pushed) {
        match &self.line {
            Line::Linked(link) => {
                if let Some(body) = encode(value) {
                    send(link, &body);
                }
            }
            Line::Recorded(sender) => {
                // A test that reads no more, or too slowly, has said what it wants to know.
                let _ = sender.try_send(record());
            }
        }
    }
}

fn encode(value: &impl Serialize) -> Option<Vec<u8>> {
    match serde_json::to_vec(value) {
        Ok(body) => Some(body),
        Err(error) => {
            tracing::error!(%error, "unable to encode a message to the host");
            None
        }
    }
}
