//! Plugins as the host meets them: real shared libraries, sound and broken, through the loader, child processes and
//! supervision.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "plugin/abi.rs"]
mod abi;
#[path = "plugin/calls.rs"]
mod calls;
#[path = "plugin/files.rs"]
mod files;
#[path = "plugin/fixture.rs"]
mod fixture;
#[path = "plugin/logs.rs"]
mod logs;
#[path = "plugin/mock.rs"]
mod mock;
#[path = "plugin/sessions.rs"]
mod sessions;
#[path = "plugin/streams.rs"]
mod streams;
#[path = "plugin/supervision.rs"]
mod supervision;
#[path = "plugin/vendor.rs"]
mod vendor;
