//! The API server, seen from the host: clients, raw requests, watches, events and who we are.
//!
//! Pods travel as raw JSON bytes ([`raw`], [`watch`]): decoding a whole pod into a typed object costs more CPU and ten
//! times the memory of what is needed of it.

mod backoff;
mod client;
mod credentials;
pub mod csr;
pub mod events;
mod exec;
mod http;
pub mod identity;
mod members;
mod node_file;
mod node_identity;
mod outage;
mod pressure;
mod process;
pub mod raw;
pub mod shared;
mod trunk;
pub mod watch;

pub use backoff::Backoff;
pub use client::Clients;
pub use client::Error;
pub use client::connect;
pub use client::connect_in_the_end;
pub use credentials::{Credentials, Home};
pub use events::Events;
pub use events::PodRef;
pub use http::Client;
pub use identity::ClusterId;
pub use identity::InstanceId;
pub use identity::cluster_id;
pub use members::Member;
pub use members::Members;
pub use members::Owner;
pub use node_identity::Error as NodeIdentityError;
pub use node_identity::NodeIdentity;
pub use outage::Returns;
pub use pressure::Pressure;
pub use pressure::PressureGuard;
pub use raw::ApiError;
pub use shared::Lookout;
pub use shared::SharedWatch;
pub use shared::Sight;
pub use trunk::Place;
pub use trunk::Trunks;
pub use watch::Watch;
