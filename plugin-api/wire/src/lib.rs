//! The types that cross the boundary between an Outrigger host and a plugin.
//!
//! A plugin is a shared library with its own copy of every global: its own allocator state, runtime, logger and
//! panic machinery. So only four kinds of thing cross, and nothing else ever will:
//!
//! 1. **bytes** ([`RSlice<u8>`], JSON inside; unknown keys are ignored by the reader),
//! 2. **numbers**: handles are plain `u64` that the other side looks up, codes are plain `u32` (never an enum: a new
//!    variant of an enum is a new ABI major),
//! 3. **prefix tables** of `extern "C"` functions, to which fields are only ever appended,
//! 4. **file descriptors** for byte streams.
//!
//! # Versions
//!
//! The major version of this package *is* the ABI major: abi_stable compares it for every type it reaches. Minors only
//! append fields after the last prefix field of a table; no field is renamed, retyped or moved, and nobody ships a
//! private minor. Then *a plugin built for ABI 1.n loads in every host with ABI 1.m, m ≥ n*, and a newer plugin loads
//! in an older host as well, which sees only the fields it knows.
//!
//! # Threads
//!
//! Every function of every table may be called from any thread, also from several at once, and must return without
//! blocking: work is started, and its result travels back by [`HostServices::complete`].
#![deny(missing_docs)]

use abi_stable::StableAbi;
pub use abi_stable::{
    StableAbi as StableAbiTrait,
    abi_stability::abi_checking,
    library::{
        AbiHeaderRef, CheckTypeLayout, LibHeader, LibraryError, ROOT_MODULE_LOADER_NAME,
        ROOT_MODULE_LOADER_NAME_WITH_NUL, RootModule, RootModuleError, RootModuleResult,
    },
    marker_type::ErasedPrefix,
    prefix_type::{PrefixRef, PrefixRefTrait, PrefixTypeTrait, WithMetadata},
    sabi_types::VersionStrings,
    std_types::{ROption, RResult, RSlice, RStr, RVec},
    type_layout::{self, TypeLayout},
};

pub mod capability;
pub mod code;

/// ABI major: the major version of this package.
pub const ABI_MAJOR: u32 = 1;
/// ABI minor: the minor version of this package.
pub const ABI_MINOR: u32 = 0;

/// What every call carries beside its body. Frozen for the whole major.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallHeader {
    /// Chosen by the host, never used twice in a process, never 0. The completion and a cancellation name it.
    pub call: u64,
    /// Milliseconds the caller will wait from now on; 0 means without limit. After that the completion finds nobody.
    pub timeout_ms: u64,
}

/// What the host offers to a plugin. Each function may be called from any thread and never blocks.
///
/// `host` is the handle that the host gave to [`Plugin::create`]; calls with a handle that is no longer known do nothing.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostServicesRef, prefix_fields = HostServicesPrefix)))]
pub struct HostServices {
    /// Ends a call: `code` is one of [`code`], `retry_after_ms` counts only with [`code::RETRY_AFTER`]; the body is the
    /// reply's JSON, or that of an error. A completion whose call is unknown (late, double, forged) is dropped.
    pub complete: extern "C" fn(host: u64, call: u64, code: u32, retry_after_ms: u64, body: RSlice<'_, u8>),
    /// A log record: level 1 (error) to 5 (trace), body JSON `{target, message, fields}`; fields of enclosing spans are named
    /// `span.field`. Returns 0 when it was taken, and 1 when it was dropped: the host's queue was full, the record larger than
    /// 64 KiB, or the handle unknown. It is taken until the instance has been released.
    pub log: extern "C" fn(host: u64, level: u32, record: RSlice<'_, u8>) -> u32,
    /// A sample for the host's metrics: JSON `{name, kind, labels, value}`.
    pub metric: extern "C" fn(host: u64, sample: RSlice<'_, u8>),
    /// A pod's newest state: JSON of the SDK's `PodReport`. The newest one per pod replaces an older one that the host
    /// has not looked at yet.
    pub pod_status: extern "C" fn(host: u64, uid: RStr<'_>, sequence: u64, report: RSlice<'_, u8>),
    /// A node's newest description (capacity, addresses, conditions): JSON of the SDK's `NodeDescription`.
    pub node_description: extern "C" fn(host: u64, node: RStr<'_>, description: RSlice<'_, u8>),
    /// An event about a pod or node, for the cluster's users: JSON of the SDK's `Event`.
    pub event: extern "C" fn(host: u64, event: RSlice<'_, u8>),
    /// 1 once the host has begun to shut down, else 0. The `shutdown` operation follows in any case.
    #[sabi(last_prefix_field)]
    pub shutting_down: extern "C" fn(host: u64) -> u32,
}

/// A plugin's root table: what the loader finds behind the one exported symbol.
///
/// The functions that take an instance, a [`CallHeader`] and a body start an operation: the body is JSON of the
/// operation's request type. [`code::OK`] means that it was accepted and that [`HostServices::complete`] will be called
/// exactly once for it, perhaps before the function returns. After any other code nothing follows.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginPrefix)))]
pub struct Plugin {
    /// ABI minor that the plugin was built for (the major is checked by the loader through the type layouts).
    pub abi_minor: u32,
    /// Who the plugin is: JSON of the SDK's `PluginInfo` (name, version, SDK and compiler, config schema, support table).
    /// Called without an instance; must not start threads.
    pub describe: extern "C" fn() -> RVec<u8>,
    /// Makes an instance and starts it: the body is JSON `{config}`. Returns the instance's handle, never 0; the start's
    /// outcome arrives as the completion of `header.call`. 0 means that no instance could be made and nothing will follow.
    pub create: extern "C" fn(services: HostServicesRef, host: u64, header: CallHeader, body: RSlice<'_, u8>) -> u64,
    /// The pods that the host believes the instance should have; answers with those that it has. After each
    /// start, every few minutes, and when the host is in doubt.
    pub sync: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Runs a pod. Repeating it for a pod that exists (same UID) must succeed and change nothing.
    pub create_pod: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Brings a pod to a changed manifest or to changed materials.
    pub update_pod: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Stops a pod's containers within a grace period and completes when they have ended; its record stays readable.
    /// May be repeated, also while an earlier one is under way, with a shorter grace period.
    pub stop_pod: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Releases what is left of a stopped pod: its end has been recorded in the cluster.
    pub remove_pod: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// One pod's state.
    pub get_pod: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// All pods of the instance with their states, whoever made them.
    pub list_pods: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// A node's description.
    pub describe_node: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Cheap check that the backend works.
    pub ping: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Flushes and stops the instance; pods stay. Nothing is called after it.
    pub shutdown: extern "C" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>) -> u32,
    /// Cancels a call by its number. Returns [`code::OK`], or [`code::NOT_FOUND`] when it is unknown or has ended.
    pub cancel: extern "C" fn(instance: u64, call: u64) -> u32,
    /// Gives up an instance after `shutdown` or after a panic: its runtime ends, its handle is dead. Its calls have been cancelled
    /// before. What it says while this runs is not heard, but for its log. Does not wait for its tasks.
    pub release: extern "C" fn(instance: u64),
    /// Sets the level from which the plugin forwards logs: 0 (off) to 5 (trace). For the whole image.
    pub set_log_level: extern "C" fn(level: u32),
    /// A capability's table by its id (see [`capability`]), or none.
    #[sabi(last_prefix_field)]
    pub capability: extern "C" fn(id: RStr<'_>) -> ROption<CapabilityEntry>,
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "outrigger_plugin";
    const NAME: &'static str = "outrigger_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// One capability of a plugin: a table and the layout against which the host checks it, each capability alone, so that
/// an incompatible one costs only itself.
///
/// Only SDK code may fill it: the host trusts that `layout` describes `table`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct CapabilityEntry {
    /// [`ABI_MINOR`] of the plugin: the tables of capabilities grow with the ABI, in one line of versions.
    pub minor: u32,
    /// Layout of the table's prefix reference type.
    pub layout: &'static TypeLayout,
    /// The table: a pointer to its static prefix, valid for the life of the process.
    pub table: *const (),
}

// SAFETY: `table` points to an immutable static inside an image that is never unloaded.
unsafe impl Send for CapabilityEntry {}
// SAFETY: as above.
unsafe impl Sync for CapabilityEntry {}
