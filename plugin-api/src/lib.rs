//! The SDK for Outrigger plugins.
//!
//! A plugin is a shared library (`crate-type = ["cdylib"]`) that runs pods somewhere. Its author implements one
//! ordinary async trait, [`Provider`], over ordinary types, and adds one line:
//!
//! ```
//! use outrigger_plugin::{
//!     Call, ContainerReport, ContainerState, Host, Level, PluginInfo, PodIdentity, PodReport, PodRequest, Provider,
//!     ProviderError, Result, Support, Termination, Timestamp,
//! };
//! use std::{
//!     collections::HashMap,
//!     sync::{Mutex, MutexGuard, PoisonError},
//!     time::Duration,
//! };
//!
//! /// Pods that run nowhere: the newest report of each, by UID.
//! #[derive(Default)]
//! struct Nowhere {
//!     pods: Mutex<HashMap<String, PodReport>>,
//! }
//!
//! impl Nowhere {
//!     fn pods(&self) -> MutexGuard<'_, HashMap<String, PodReport>> {
//!         self.pods.lock().unwrap_or_else(PoisonError::into_inner)
//!     }
//! }
//!
//! impl Provider for Nowhere {
//!     type Config = serde_json::Value;
//!
//!     fn info() -> PluginInfo {
//!         // Every pod has such a volume, with its account's token. What is not named is refused: the host holds such pods.
//!         let support = Support::none().with("volumes.projected", Level::Ignored);
//!         PluginInfo::new("nowhere", env!("CARGO_PKG_VERSION"), support)
//!     }
//!
//!     async fn start(_config: Self::Config, _host: Host) -> Result<Self> {
//!         Ok(Self::default())
//!     }
//!
//!     async fn create(&self, _call: Call, pod: PodRequest) -> Result<PodReport> {
//!         let manifest: serde_json::Value = pod.manifest()?;
//!         let containers = manifest["spec"]["containers"].as_array().into_iter().flatten();
//!         let names = containers.filter_map(|container| container["name"].as_str());
//!         let mut pods = self.pods();
//!         let report = pods.entry(pod.identity.uid.clone()).or_insert_with(|| {
//!             let started_at = Timestamp::now();
//!             let begun = |name| ContainerReport {
//!                 restart_count: pod.restart_counts.get(name).copied().unwrap_or(0),
//!                 ..match pod.ended.get(name) {
//!                     Some(end) => ContainerReport::new(name, ContainerState::Terminated(end.clone())),
//!                     None => ContainerReport::new(name, ContainerState::Running { started_at }),
//!                 }
//!             };
//!             PodReport { containers: names.map(begun).collect(), ..PodReport::new(pod.identity.clone()) }
//!         });
//!         Ok(report.clone())
//!     }
//!
//!     async fn stop(&self, _call: Call, pod: PodIdentity, _grace: Duration) -> Result<PodReport> {
//!         let mut pods = self.pods();
//!         let known = pods.get_mut(&pod.uid).ok_or_else(|| ProviderError::not_found("no such pod"))?;
//!         let mut report = known.clone().renewed();
//!         for container in &mut report.containers {
//!             if matches!(container.state, ContainerState::Running { .. }) {
//!                 container.state = ContainerState::Terminated(Termination::new(0, "Completed", Timestamp::now()));
//!                 (container.ready, container.started) = (false, false);
//!             }
//!         }
//!         *known = report.clone();
//!         Ok(report)
//!     }
//!
//!     async fn remove(&self, _call: Call, pod: PodIdentity) -> Result<()> {
//!         self.pods().remove(&pod.uid);
//!         Ok(())
//!     }
//!
//!     async fn get(&self, _call: Call, pod: PodIdentity) -> Result<PodReport> {
//!         let known = self.pods().get(&pod.uid).cloned();
//!         known.ok_or_else(|| ProviderError::not_found("no such pod"))
//!     }
//!
//!     async fn list(&self, _call: Call) -> Result<Vec<PodReport>> {
//!         Ok(self.pods().values().cloned().collect())
//!     }
//! }
//!
//! outrigger_plugin::export_provider!(Nowhere);
//! ```
//!
//! # What the SDK takes care of
//!
//! - **A runtime of its own.** Every instance has a tokio runtime with [`Provider::WORKER_THREADS`] workers; every
//!   method runs on it, so `tokio::spawn`, timers and sockets just work. The host's runtime is out of reach.
//! - **Panics.** A panic in a method or a stream ends that call with an error of its own class, never the host, which then
//!   rebuilds the instance. One in a drop, or in a task of the provider's own, is a line in the log and no more: a provider
//!   that lives by a task lets [`Provider::ping`] fail when that has ended. What can't be contained in one address space
//!   (stack overflow, abort, `exit`) is listed in `SAFETY.md`.
//! - **The end.** All calls of an instance that is given up are cancelled, then it is dropped, on a thread without a runtime:
//!   `tokio::spawn`, timers and sockets panic there. What must be awaited belongs into [`Provider::shutdown`], which an
//!   instance that panicked or hung is not asked for.
//! - **Logs.** `tracing` events and spans reach the host's log with their level and fields.
//! - **Versions.** The host compares the layout of everything that crosses before the first call.
//!
//! # Rules for providers
//!
//! - A pod's key is its UID. The host has one call for a UID under way at a time, except `stop`, which may overtake a `create`,
//!   an `update` or an earlier `stop`; calls for different UIDs come at the same time. What an earlier call has *begun* may still
//!   run when the next one comes: a call that timed out, or whose instance was given up, is dropped at its next `await` and no
//!   sooner, and what it runs in `spawn_blocking` goes on to its end, beside the next instance even. So guard by UID what must not
//!   happen twice at a time, with something that outlives the instance where that matters: a lock that the blocking work itself
//!   holds, or the backend's own conditions.
//! - Every call may come again after a crash of the host at any point: creating what exists and removing what is gone
//!   succeed.
//! - A pod that vanished is made again under its UID, as is every pod of a provider that keeps them in memory when it is
//!   started again: containers that had ended for good are named in [`PodRequest::ended`], and their work is not done twice.
//! - A report that was kept and is changed needs a new stamp ([`PodReport::renewed`]): under the old one it is ignored.
//! - States are *pushed* through [`Host::pod_status`] as they change. The host asks for all of them every few
//!   minutes ([`Provider::sync`]), to find what was lost: a state that is not pushed is seen that late.
//! - Use [`Materials`] instead of the manifest for environment, commands, volumes that the host makes files for, pull
//!   credentials and names: references and `$(VAR)` are resolved there. Late values are completed by
//!   [`Materials::finish`] as soon as the pod has an address.
//! - Store the whole [`PodIdentity`] in the backend. After a restart, [`Provider::list`] is the only truth.
#![deny(missing_docs)]

#[doc(hidden)]
pub mod abi;
mod capability;
mod error;
pub mod files;
mod host;
mod materials;
mod node;
mod pod;
mod provider;
pub mod request;
pub mod support;
pub mod testing;
mod time;

pub use capability::{Attach, ByteStream, Exec, Images, Logs, PortForward, Resize, Session, Stats};
pub use error::{ErrorBody, ErrorCode, ProviderError, Result};
pub use host::Host;
pub use materials::{
    Command, Content, Dns, EnvVar, File, FileKey, HostsEntry, Materials, Part, RegistryCredential, Value,
};
pub use node::{Event, NodeCondition, NodeDescription};
pub use outrigger_wire as wire;
pub use pod::{
    ContainerReport, ContainerState, PodIdentity, PodReport, PodRequest, ResizeOutcome, Termination, UpdateOutcome,
};
pub use provider::{Call, Provider};
pub use request::{
    AttachRequest, ContainerUsage, ExecRequest, ExitStatus, Image, LogRequest, MetricKind, MetricSample, PluginInfo,
    PortForwardRequest, StatsSummary, Usage,
};
pub use support::{Level, Support};
pub use time::Timestamp;
