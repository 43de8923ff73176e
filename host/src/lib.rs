//! The host: registers virtual nodes, runs their pods through provider plugins and serves the kubelet API.
//!
//! Start reading at [`config`], what an operator asks for.

pub mod app;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod files;
pub mod material;
pub mod node;
mod packing;
pub mod plugin;
pub mod pod;
pub mod server;
mod suspend;
pub mod telemetry;
