//! The SDK for Outrigger plugins.
//!
//! A plugin is a shared library (`crate-type = ["cdylib"]`) that runs pods somewhere. Its author implements one
//! ordinary async trait, [`Provider`], over ordinary types, and adds one line:
//!
//! ```
//! use outrigger_plugin::{
//!     Call, ContainerReport, ContainerState, Host, PluginInfo, PodIdentity, PodReport, PodRequest, Provider,
//!     ProviderError, Result, Support, Timestamp,
//! };
//! use std::{collections::HashMap, sync::Mutex, time::Duration};
//!
//! #[derive(Default)]
//! struct Nowhere {
//!     pods: Mutex<HashMap<String, PodIdentity>>,
//! }
//!
//! impl Provider for Nowhere {
//!     type Config = serde_json::Value;
//!
//!     fn info() -> PluginInfo {
//!         PluginInfo::new("nowhere", env!("CARGO_PKG_VERSION"), Support::none())
//!     }
//!
//!     async fn start(_config: Self::Config, _host: Host) -> Result<Self> {
//!         Ok(Self::default())
//!     }
//!
//!     async fn create(&self, _call: Call, pod: PodRequest) -> Result<PodReport> {
//!         let mut pods = self.pods.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
//!         pods.insert(pod.identity.uid.clone(), pod.identity.clone());
//!         Ok(PodReport::new(pod.identity))
//!     }
//!
//!     async fn stop(&self, _call: Call, pod: PodIdentity, _grace: Duration) -> Result<PodReport> {
//!         Ok(PodReport::new(pod))
//!     }
//!
//!     async fn remove(&self, _call: Call, pod: PodIdentity) -> Result<()> {
//!         let mut pods = self.pods.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
//!         pods.remove(&pod.uid);
//!         Ok(())
//!     }
//!
//!     async fn get(&self, _call: Call, pod: PodIdentity) -> Result<PodReport> {
//!         let pods = self.pods.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
//!         let known = pods.get(&pod.uid).ok_or_else(|| ProviderError::not_found("no such pod"))?;
//!         Ok(PodReport::new(known.clone()))
//!     }
//!
//!     async fn list(&self, _call: Call) -> Result<Vec<PodReport>> {
//!         let pods = self.pods.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
//!         Ok(pods.values().cloned().map(PodReport::new).collect())
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
//! - **Panics.** A panic in a method, a task, a drop or a stream ends that call with an error of its own class, never
//!   the host. The host then rebuilds the instance. What can't be contained in one address space (stack overflow,
//!   abort, `exit`) is listed in `SAFETY.md`.
//! - **Logs.** `tracing` events and spans reach the host's log with their level and fields.
//! - **Versions.** The host compares the layout of everything that crosses before the first call.
//!
//! # Rules for providers
//!
//! - A pod's key is its UID. Calls for one UID come one at a time, except `stop`, which may overtake a `create`, an
//!   `update` or an earlier `stop`; calls for different UIDs come at the same time.
//! - Every call may come again after a crash of the host at any point: creating what exists and removing what is gone
//!   succeed.
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
