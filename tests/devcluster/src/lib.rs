//! A development API server: Kubernetes' API in memory, on loopback only, for first runs and hermetic tests.
//!
//! It keeps objects as the real server does (revisions, watches, graceful deletion, four kinds of patches) and runs tiny
//! versions of the controllers that a pod meets on its way: scheduler, node lifecycle, ReplicaSets, Deployments, Jobs,
//! namespaces, garbage collection. `exec`, `attach` and `portforward` go through to the pod's node. What it leaves out: RBAC (every caller with a token may do everything), most validation,
//! quotas, services that lead anywhere, WebSocket protocols towards nodes that don't know them, snapshots of the past, storage on disk.
//!
//! ```no_run
//! # async fn example() -> Result<(), outrigger_devcluster::StartError> {
//! let cluster = outrigger_devcluster::DevCluster::builder().start().await?;
//! println!("export KUBECONFIG={}", cluster.kubeconfig().display());
//! cluster.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod admission;
mod api;
mod auth;
mod cluster;
mod controllers;
mod error;
mod faults;
mod ids;
mod kubeconfig;
mod metrics;
mod node_client;
mod ops;
mod patch;
mod resources;
mod running;
mod server;
mod store;
mod table;
mod time;
mod tls;

pub use controllers::Controllers;
pub use faults::{Action, Faults, Rule, RuleId, Selection};
pub use kubeconfig::Files;
pub use resources::Kind;
pub use running::{Builder, DevCluster, Running, StartError};
pub use tls::{Error as CertificateError, Identity, KUBELET_CLIENT};
