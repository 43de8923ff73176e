//! The line back to the host.

use outrigger_wire::{HostServicesRef, RSlice, RStr};
use std::cell::Cell;

/// Services and handle of the host side of an instance. Copies are free; after the host has given up the instance, its
/// functions do nothing.
#[derive(Clone, Copy)]
pub struct HostLink {
    services: HostServicesRef,
    host: u64,
}

thread_local! {
    /// The instance whose runtime owns this thread: logs carry its handle.
    static CURRENT: Cell<Option<HostLink>> = const { Cell::new(None) };
}

impl HostLink {
    pub(crate) fn new(services: HostServicesRef, host: u64) -> Self {
        Self { services, host }
    }

    pub(crate) fn enter_thread(self) {
        CURRENT.set(Some(self));
    }

    /// Runs `f`; what it logs on this thread is this instance's.
    pub(crate) fn on_thread<T>(self, f: impl FnOnce() -> T) -> T {
        let before = CURRENT.replace(Some(self));
        let done = f();
        CURRENT.set(before);
        done
    }

    pub(crate) fn of_thread() -> Option<Self> {
        CURRENT.try_with(Cell::get).ok().flatten()
    }

    pub(crate) fn complete(&self, call: u64, code: u32, retry_after_ms: u64, body: &[u8]) {
        (self.services.complete())(self.host, call, code, retry_after_ms, RSlice::from_slice(body));
    }

    pub(crate) fn log(&self, level: u32, record: &[u8]) -> u32 {
        (self.services.log())(self.host, level, RSlice::from_slice(record))
    }

    pub(crate) fn metric(&self, sample: &[u8]) {
        (self.services.metric())(self.host, RSlice::from_slice(sample));
    }

    pub(crate) fn pod_status(&self, uid: &str, sequence: u64, report: &[u8]) {
        (self.services.pod_status())(self.host, RStr::from_str(uid), sequence, RSlice::from_slice(report));
    }

    pub(crate) fn node_description(&self, node: &str, description: &[u8]) {
        (self.services.node_description())(self.host, RStr::from_str(node), RSlice::from_slice(description));
    }

    pub(crate) fn event(&self, event: &[u8]) {
        (self.services.event())(self.host, RSlice::from_slice(event));
    }

    pub(crate) fn shutting_down(&self) -> bool {
        (self.services.shutting_down())(self.host) != 0
    }
}

impl std::fmt::Debug for HostLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostLink").field(&self.host).finish()
    }
}
