//! Materials: everything that a pod refers to, resolved as the kubelet resolves it.
//!
//! The heart of this room is pure. [`references`] says which objects a pod needs; somebody watches them and hands them
//! in as [`Objects`]; [`resolve`] makes the [`Materials`](outrigger_plugin::Materials) that cross to the provider, or
//! says what holds the pod ([`Held`]). Nothing here waits, and nothing is remembered between two calls.
//!
//! What a provider ignores is neither asked for nor resolved: a pod runs as if it were not there.
//!
//! Only files and pull credentials follow a change of the objects while a container runs. Its environment is fixed when
//! it starts, as with a kubelet; a container that starts again gets the newer one.

mod dns;
mod env;
mod expand;
mod fault;
mod field;
mod hostname;
mod links;
mod live;
mod model;
mod objects;
mod problem;
mod quote;
mod registry;
mod resolve;
mod resolver;
mod resource;
mod token;
mod view;
mod volume;
mod wants;

pub use dns::read_resolv_conf;
pub use fault::{Fault, FaultKind, Held, Kind, Notice, ObjectRef};
pub use live::{Changes, Lives, Subject};
pub use model::{ConfigMapData, PodCertificate, SecretData, Service, ServiceLinks, ServicePort};
pub use objects::{Context, Found, Objects, Resolved};
pub use resolve::{references, resolve};
pub use token::Token;
pub use wants::{LabelSelector, Operator, PodCertificateSpec, References, Requirement, TokenSpec, TrustBundleSpec};

#[cfg(test)]
mod tests;
