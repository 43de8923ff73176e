//! The trait that a plugin implements.

use crate::{
    Host, PluginInfo, Result, Support,
    node::NodeDescription,
    pod::{PodIdentity, PodReport, PodRequest, UpdateOutcome},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::{
    future::Future,
    time::{Duration, Instant},
};

/// What is known of a call beside its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The call's number in this process, for logs.
    pub id: u64,
    /// Until when the caller waits; `None`: without limit. A result that comes later finds nobody, and the method is
    /// cancelled: its future is dropped at its next `await`.
    pub deadline: Option<Instant>,
}

impl Call {
    /// How long the caller still waits.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Runs pods somewhere.
///
/// Implement the methods as `async fn`. They run on the instance's own runtime, many at a time; they may await as long
/// as the call's deadline allows, but must not block a worker thread for long (use `tokio::task::spawn_blocking`).
pub trait Provider: Send + Sync + Sized + 'static {
    /// The provider's section of the host's config. Its JSON Schema is shown by `outrigger plugins inspect --schema`,
    /// and the host checks a section against it, with line numbers, before the provider is started.
    type Config: DeserializeOwned + JsonSchema + Send + 'static;

    /// Worker threads of an instance's runtime.
    const WORKER_THREADS: usize = 2;

    /// Who the plugin is and what it carries of a pod. No threads, no I/O.
    fn info() -> PluginInfo;

    /// Makes an instance. It may be called several times in a process, once for each provider of the host's config.
    ///
    /// Connect to the backend here, but do not fail because it is away: start, and say so in [`ping`](Self::ping). A start
    /// that has not ended after 30 s is given up and tried again later, with pauses of up to a minute and longer rests, as is
    /// one that fails with [`Unavailable`](crate::ErrorCode::Unavailable), [`RetryAfter`](crate::ErrorCode::RetryAfter) or
    /// [`Timeout`](crate::ErrorCode::Timeout). Any other failure of the first start, `?` on an I/O error among them, costs
    /// the provider its nodes until the host is started again. After a `RetryAfter` the next one comes no sooner than it says.
    ///
    /// The instance before this one may not be gone yet: nobody waits for its drop, nor for what it runs in `spawn_blocking`. What
    /// only one can have at a time (a port, the lock of a file, a name at the backend) is tried again here until the other
    /// has let go of it, or its lack is a [`Unavailable`](crate::ErrorCode::Unavailable), never a failure for good.
    fn start(config: Self::Config, host: Host) -> impl Future<Output = Result<Self>> + Send;

    /// What this instance carries of a pod, where its config changes that.
    fn support(&self) -> Support {
        Self::info().support
    }

    /// The host says which pods it believes the instance has, the provider answers with those that it really has, whoever
    /// made them. Asked after each start of the host and of the instance, every few minutes, and whenever the host has reason
    /// to doubt what it knows. By default the same as [`list`](Self::list).
    fn sync(&self, call: Call, believed: Vec<PodIdentity>) -> impl Future<Output = Result<Vec<PodReport>>> + Send {
        let _ = believed;
        self.list(call)
    }

    /// Runs a pod and returns its state as soon as the backend has taken it; later changes are pushed. If a pod with
    /// this UID exists, nothing changes and its state is returned.
    fn create(&self, call: Call, pod: PodRequest) -> impl Future<Output = Result<PodReport>> + Send;

    /// Brings a running pod to a changed manifest or to changed materials: changed images restart their containers,
    /// changed resources are a resize, changed files take the place of the old ones, and nothing restarts for them. It is
    /// called with what the pod has already, too, after each start of the host and of the instance: then nothing changes.
    ///
    /// By default [`ErrorCode::Unsupported`](crate::ErrorCode::Unsupported): the pod goes on as it is and an event says
    /// why. A provider that answers so to changed materials is not asked again for them; it should carry no projected
    /// volumes then, since tokens in them are good for an hour at most times.
    fn update(&self, call: Call, pod: PodRequest) -> impl Future<Output = Result<UpdateOutcome>> + Send {
        let _ = (call, pod);
        async {
            Err(crate::ProviderError::unsupported(
                "this provider can't change a running pod",
            ))
        }
    }

    /// Stops all containers of a pod: stop signal first, kill after `grace`. Returns when they have ended, with their
    /// exit codes; the pod's end state stays readable until [`remove`](Self::remove).
    ///
    /// The method may be called again while an earlier call is under way, with a shorter grace period: the earlier
    /// of the two ends counts. For a pod that is unknown the answer is
    /// [`ErrorCode::NotFound`](crate::ErrorCode::NotFound).
    fn stop(&self, call: Call, pod: PodIdentity, grace: Duration) -> impl Future<Output = Result<PodReport>> + Send;

    /// Releases everything that is left of a stopped pod; its end has been recorded in the cluster. A pod that is
    /// unknown is a success.
    fn remove(&self, call: Call, pod: PodIdentity) -> impl Future<Output = Result<()>> + Send;

    /// A pod's state.
    fn get(&self, call: Call, pod: PodIdentity) -> impl Future<Output = Result<PodReport>> + Send;

    /// The states of all pods that the backend has, whoever made them, with the identities stored there.
    fn list(&self, call: Call) -> impl Future<Output = Result<Vec<PodReport>>> + Send;

    /// How a virtual node looks. Later changes are pushed through [`Host::node_changed`].
    fn describe_node(&self, call: Call, node: String) -> impl Future<Output = Result<NodeDescription>> + Send {
        let _ = (call, node);
        async { Ok(NodeDescription::default()) }
    }

    /// A cheap check that the backend works; asked every few seconds. An error makes the nodes of this provider
    /// unhealthy with the error's message as the reason, and not ready after a while.
    fn ping(&self, call: Call) -> impl Future<Output = Result<()>> + Send {
        let _ = call;
        async { Ok(()) }
    }

    /// The host ends: flush what must be flushed. Pods stay. The provider is dropped after it, on a thread without a runtime.
    fn shutdown(&self, call: Call) -> impl Future<Output = Result<()>> + Send {
        let _ = call;
        async { Ok(()) }
    }
}

impl PluginInfo {
    /// A description without the parts that the SDK fills.
    pub fn new(name: impl Into<String>, version: impl Into<String>, support: Support) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: String::new(),
            sdk: String::new(),
            build: String::new(),
            config_schema: serde_json::Value::Null,
            capabilities: Vec::new(),
            support,
        }
    }

    /// Adds a line for people.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }
}
