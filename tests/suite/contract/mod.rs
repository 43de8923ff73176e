//! What users rely on, on any cluster.

mod access;
mod admission;
mod answers;
mod calls;
mod command_line;
mod containers;
mod followed;
mod gates;
mod given;
mod health;
mod kubectl;
mod materials;
mod nodes;
mod ownership;
mod plugins;
mod pods;
mod provider_faults;
mod resize;
mod restart;
mod serving;
mod sharing;
mod stats;
mod streaming;
mod top;
mod virtual_kubelet;
mod way;

pub use materials::put_config_map;
pub use materials::put_secret;
