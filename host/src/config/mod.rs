//! The host's configuration: what an operator may write, and what the rest of the host reads.
//!
//! ```text
//! file ─▶ source ─▶ tree ─▶ agree ─▶ walk (shape) ─▶ file ─▶ resolve ─▶ HostConfig
//!         is it     where   as       does it fit     typed   nodes,
//!         text      it is   serde    the table       values  providers,
//!                           reads it                         overlay
//! ```
//!
//! [`load`] goes all the way. Faults are collected, not thrown: what does not fit is left out and the next step goes on
//! with the rest, so that one run shows everything that is wrong, each with file, line, column and path.
//!
//! The resolved types ([`HostConfig`] and below) are plain values with no trace of YAML in them: nodes are already
//! expanded, defaults filled in, paths absolute. Relative paths of the file start from the file's directory, those of
//! flags and variables from the working directory. [`Origins`] knows where each value came from, and
//! [`Resolved::effective`] prints both. A provider's section is checked later, when its plugin is loaded, by
//! [`schema::validate`] with the places that were kept for it.

mod agree;
mod digest;
mod document;
mod duration;
mod effective;
mod fault;
mod file;
mod holds;
pub mod kubeconfig;
mod kubelet;
mod misplaced;
mod names;
mod nearest;
mod node;
mod nodes;
mod origin;
mod overlay;
mod position;
mod providers;
mod resolve;
#[cfg(test)]
mod samples_tests;
pub mod schema;
mod shape;
mod source;
mod tree;
mod types;
mod walk;

pub use digest::Sha256Digest;
pub use fault::Fault;
pub use fault::Faults;
pub use kubelet::Authentication;
pub use kubelet::Authorization;
pub use kubelet::KubeletConfig;
pub use kubelet::ServingCert;
pub use node::NodeConfig;
pub use node::NodeDefaults;
pub use node::NotReadyAfter;
pub use node::Taint;
pub use node::TaintEffect;
pub use origin::Given;
pub use origin::Origin;
pub use origin::Origins;
pub use overlay::Flags;
pub use overlay::Overlay;
pub use position::Position;
pub use position::SectionPositions;
pub use providers::plugin_of;
pub use resolve::Resolved;
pub use resolve::examine;
pub use resolve::load;
pub use resolve::plugin_settings;
pub use types::AllowedPlugin;
pub use types::ClusterConfig;
pub use types::EventsConfig;
pub use types::HostConfig;
pub use types::Intervals;
pub use types::LogConfig;
pub use types::LogFormat;
pub use types::OnShutdown;
pub use types::OrphanConfig;
pub use types::PluginLoad;
pub use types::PluginsConfig;
pub use types::ProviderConfig;
