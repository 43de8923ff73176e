//! Capabilities: what a provider may offer beyond running pods.
//!
//! A capability is looked up by its id, and its layout is checked alone. Ids of this project start with `outrigger.`;
//! vendors use their own prefix. Every `fd` argument is one end of a connected stream socket made by the host with
//! close-on-exec set; the plugin owns it from the moment the function is called, whatever it returns. Half-close is
//! `shutdown(SHUT_WR)`. The host cancels by the call's number first and closes its ends then, so that its going is not
//! taken for the end of an input. The end status travels by completion, after the last byte: an end of stream alone is
//! never success.

use crate::CallHeader;
use abi_stable::{StableAbi, std_types::RSlice};

/// Id of [`Logs`].
pub const LOGS: &str = "outrigger.logs";
/// Id of [`Exec`].
pub const EXEC: &str = "outrigger.exec";
/// Id of [`Attach`].
pub const ATTACH: &str = "outrigger.attach";
/// Id of [`PortForward`].
pub const PORT_FORWARD: &str = "outrigger.port-forward";
/// Id of [`Stats`].
pub const STATS: &str = "outrigger.stats";
/// Id of [`Images`].
pub const IMAGES: &str = "outrigger.images";

/// The descriptors of an interactive session; -1 where the client did not ask for one. Frozen for the whole major.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFds {
    /// The plugin reads the process's input here.
    pub stdin: i32,
    /// The plugin writes the process's output here; with a terminal, all output.
    pub stdout: i32,
    /// The plugin writes the process's errors here; never with a terminal.
    pub stderr: i32,
    /// Terminal sizes, host to plugin: four bytes each, width then height, 16 bits, little endian.
    pub resize: i32,
}

/// Container logs.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = LogsRef, prefix_fields = LogsPrefix)))]
pub struct Logs {
    /// Writes a container's log lines to the stream: body is the SDK's `LogRequest`. Lines are
    /// `<RFC 3339 time with nanoseconds> <text>\n`; the host cuts times and filters. The completion follows the last byte.
    #[sabi(last_prefix_field)]
    pub read: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fd: i32) -> u32,
}

/// Commands in a running container.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ExecRef, prefix_fields = ExecPrefix)))]
pub struct Exec {
    /// Runs a command: body is the SDK's `ExecRequest`, the completion an `ExitStatus`.
    #[sabi(last_prefix_field)]
    pub exec: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fds: SessionFds) -> u32,
}

/// Attaching to a container's main process.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AttachRef, prefix_fields = AttachPrefix)))]
pub struct Attach {
    /// Attaches: body is the SDK's `AttachRequest`; completes when the container ends or the host closes its ends.
    #[sabi(last_prefix_field)]
    pub attach: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fds: SessionFds) -> u32,
}

/// Connections into a pod's network.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PortForwardRef, prefix_fields = PortForwardPrefix)))]
pub struct PortForward {
    /// Connects the stream to a port of the pod's loopback: body is the SDK's `PortForwardRequest`.
    #[sabi(last_prefix_field)]
    pub connect: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fd: i32) -> u32,
}

/// Resource use of node and pods.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = StatsRef, prefix_fields = StatsPrefix)))]
pub struct Stats {
    /// One sample for a node and its pods: body is the SDK's `StatsRequest`, the reply its `StatsSummary`.
    #[sabi(last_prefix_field)]
    pub summary: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
}

/// Images that the backend holds.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ImagesRef, prefix_fields = ImagesPrefix)))]
pub struct Images {
    /// The images present for a node, for the node's status.
    #[sabi(last_prefix_field)]
    pub list: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
}
