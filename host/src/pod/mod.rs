//! Pods: from the API server to the provider and back.
//!
//! One [`PodController`] serves all virtual nodes of the process. It owns every pod's entry ([`entry::Entry`]) in one
//! task, so nothing is locked; plugin calls and API writes run as tasks of their own and come back as messages.
//!
//! ```text
//!  watch of pods  ─┐                                        ┌─▶ plugin call ─┐
//!  pushed reports ─┼─▶ entries ─▶ reconcile::next ─▶ step ──┼─▶ status PATCH ┼─▶ entries ...
//!  timers, gates  ─┘     (keyed by UID)                     └─▶ final DELETE ┘
//! ```
//!
//! It is level-triggered: an event only says which pod to look at, and [`reconcile::next`] decides from what is
//! true. Nothing that must survive lives here; after a crash all of it is read again from the API server and the
//! provider.

mod actions;
pub(crate) mod admission;
mod advance;
mod backoff;
mod controller;
mod entry;
mod finish;
mod judge;
mod lane;
mod mailbox;
mod names;
mod nodes;
mod observe;
mod orphans;
mod rare;
mod reconcile;
mod record;
mod say;
pub mod status;
mod supply;
mod support;
mod view;

pub use controller::{Config, NodeSlot, PodController, PodHandle, PodView, Queries};
pub use mailbox::{Mailbox, Pushed};
pub use supply::Naming;
