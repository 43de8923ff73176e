//! The mock provider: pods that are declared rather than run.
//!
//! It is the provider to try a host with, to test one with, and to read before writing one's own. The way of a call:
//!
//! ```text
//! host ─► provider.rs ─► faults.rs ─► backend/ ─┬─ in memory ─────────────► simulation.rs ─► engine/
//!              │         may fail,              └─ socket ─► (process) ──► server.rs ─► simulation.rs ─► engine/
//!         manifest.rs    may take long
//!         annotations.rs
//! ```
//!
//! - [`engine`] knows what pods do, and no clock: a state machine for each pod.
//! - [`simulation`] moves it in real time and lets callers wait.
//! - [`behaviour`] lists all that can be declared of a pod, [`config`] all of a provider.
//!
//! Each capability is a file of its own: [`logs`], [`exec`] (with [`process`] and [`scratch`] for real ones), [`attach`],
//! [`port_forward`], [`stats`], [`images`]. The way into a running container, and when it closes, is [`door`].
//!
//! [`materials`] shows tests what the host has resolved for a pod.
//!
//! A provider of a real backend has `provider.rs`, `support.rs`, its own kind of `backend/` and the capabilities that it
//! offers; nothing else of this is needed.

pub mod annotations;
pub mod attach;
pub mod backend;
pub mod behaviour;
pub mod config;
pub mod dice;
pub mod door;
pub mod engine;
pub mod exec;
pub mod faults;
pub mod images;
pub mod ip_pool;
pub mod journal;
pub mod logs;
pub mod manifest;
pub mod materials;
pub mod port_forward;
pub mod process;
pub mod protocol;
pub mod provider;
pub mod quantity;
pub mod scratch;
pub mod server;
pub mod simulation;
pub mod span;
pub mod stats;
pub mod support;

use provider::Mock;

outrigger_plugin::export_provider!(Mock, capabilities: [Logs, Exec, Attach, PortForward, Stats, Images]);
