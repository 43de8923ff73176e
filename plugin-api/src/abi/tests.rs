//! What a host can't see from outside.

use super::{entry::start, instance::Instance, link::HostLink};
use crate::{
    Call, Host, PluginInfo, PodIdentity, PodReport, PodRequest, Provider, ProviderError, Result, Support,
    capability::Logs, request::LogRequest,
};
use outrigger_wire::{ABI_MINOR, CallHeader, HostServices, HostServicesRef, RSlice, RStr, WithMetadata, code};
use serde::de::IgnoredAny;
use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// More than any wait here needs on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A provider with one thread for all that is asked.
struct Single;

impl Provider for Single {
    type Config = serde_json::Value;

    const WORKER_THREADS: usize = 1;

    fn info() -> PluginInfo {
        PluginInfo::new("single", "1", Support::none())
    }

    async fn start(_: Self::Config, _: Host) -> Result<Self> {
        Ok(Self)
    }

    async fn create(&self, _: Call, pod: PodRequest) -> Result<PodReport> {
        Ok(PodReport::new(pod.identity))
    }

    async fn stop(&self, _: Call, pod: PodIdentity, _: Duration) -> Result<PodReport> {
        Ok(PodReport::new(pod))
    }

    async fn remove(&self, _: Call, _: PodIdentity) -> Result<()> {
        Ok(())
    }

    async fn get(&self, _: Call, _: PodIdentity) -> Result<PodReport> {
        Err(ProviderError::not_found("no such pod"))
    }

    async fn list(&self, _: Call) -> Result<Vec<PodReport>> {
        Ok(Vec::new())
    }
}

impl Logs for Single {
    async fn read_logs(&self, _: Call, _: LogRequest, _: crate::ByteStream) -> Result<()> {
        Ok(())
    }
}

extern "C" fn complete(_: u64, _: u64, _: u32, _: u64, _: RSlice<'_, u8>) {}
extern "C" fn log(_: u64, _: u32, _: RSlice<'_, u8>) -> u32 {
    0
}
extern "C" fn metric(_: u64, _: RSlice<'_, u8>) {}
extern "C" fn pod_status(_: u64, _: RStr<'_>, _: u64, _: RSlice<'_, u8>) {}
extern "C" fn node_description(_: u64, _: RStr<'_>, _: RSlice<'_, u8>) {}
extern "C" fn event(_: u64, _: RSlice<'_, u8>) {}
extern "C" fn shutting_down(_: u64) -> u32 {
    0
}

/// A host that does nothing.
const SERVICES: &WithMetadata<HostServices> = &WithMetadata::new(HostServices {
    complete,
    log,
    metric,
    pod_status,
    node_description,
    event,
    shutting_down,
});

fn header(call: u64, limit: Duration) -> CallHeader {
    CallHeader {
        call,
        timeout_ms: u64::try_from(limit.as_millis()).unwrap(),
    }
}

/// An instance that has started.
fn started() -> u64 {
    let link = HostLink::new(HostServicesRef(SERVICES.static_as_prefix()), 1);
    let id = Instance::<Single>::launch(link, header(1, LONG), || async { Ok(Single) }).unwrap();
    let begun = Instant::now();
    while Instance::<Single>::find(id).unwrap().provider().is_none() {
        assert!(begun.elapsed() < LONG, "it does not start");
        thread::yield_now();
    }
    id
}

#[test]
fn a_calls_time_runs_while_it_waits_for_a_thread() {
    let instance = started();
    let body = RSlice::from_slice(b"{}");
    let (let_go, held) = mpsc::channel::<()>();
    let hold = start::<Single, IgnoredAny, _, _>(instance, header(2, LONG), body, move |_, _, _| async move {
        let _ = held.recv();
        Ok(())
    });
    let (tell, told) = mpsc::channel();
    let ask = start::<Single, IgnoredAny, _, _>(instance, header(3, LONG), body, move |_, call, _| async move {
        let _ = tell.send(call.deadline);
        Ok(())
    });
    assert_eq!((hold, ask), (code::OK, code::OK));
    let latest = Instant::now() + LONG;
    let_go.send(()).unwrap();
    let deadline = told.recv_timeout(LONG).unwrap().unwrap();
    assert!(deadline <= latest, "{:?} too late", deadline - latest);
    Instance::<Single>::release(instance);
}

#[test]
fn a_limit_beyond_all_clocks_is_none() {
    let forever = CallHeader {
        call: 1,
        timeout_ms: u64::MAX,
    };
    // On some machines the clock reaches as far.
    let deadline = super::instance::call_of(forever).deadline;
    assert!(deadline.is_none_or(|deadline| deadline > Instant::now() + LONG));
    assert!(super::instance::call_of(header(1, Duration::ZERO)).deadline.is_none());
}

#[test]
fn tables_of_capabilities_count_with_the_abi() {
    assert_eq!(super::Logs::entry::<Single>().minor, ABI_MINOR);
}
