//! What plugins may call: the table of host services, and the way from an instance's handle to its owner.
//!
//! Every function may be called from any thread at any time, also for an instance that is long gone, so each looks its
//! handle up, does what can be done without waiting, and lets no panic out.

use super::calls;
use super::calls::Calls;
use super::forward;
use super::forward::Loss;
use arc_swap::ArcSwap;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::Event;
use outrigger_plugin::MetricSample;
use outrigger_wire::HostServices;
use outrigger_wire::HostServicesRef;
use outrigger_wire::RSlice;
use outrigger_wire::RStr;
use outrigger_wire::WithMetadata;
use std::collections::HashMap;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// Takes what plugins push. Called on plugins' threads: it must not block.
pub trait Sink: Send + Sync + 'static {
    /// A pod's newest state: JSON of `PodReport`. Of two the one with the higher sequence is the newer.
    fn pod_status(&self, provider: &str, uid: &str, sequence: u64, report: &[u8]);
    /// A node's newest description: JSON of `NodeDescription`.
    fn node_description(&self, provider: &str, node: &str, description: &[u8]);
    /// Something that the cluster's users should see.
    fn event(&self, provider: &str, event: Event);
    /// A sample for the host's metrics.
    fn metric(&self, provider: &str, sample: MetricSample);
}

/// The host's end of an instance: what the instance may reach.
pub struct HostEnd {
    /// The provider's name in the config.
    pub provider: Arc<str>,
    /// Who takes what it pushes.
    pub sink: Arc<dyn Sink>,
    /// Its waiting calls.
    pub calls: Calls,
    /// Whether the host has begun to end: the provider's, for all of its instances.
    pub shutting_down: Arc<AtomicBool>,
    /// Set once the instance has been given up: of what it says only its log is heard.
    quiet: AtomicBool,
    /// Once nothing more is heard of it.
    hung_up: Notify,
    /// Told the message of each panic of the plugin.
    pub on_panic: Box<dyn Fn(&str) + Send + Sync>,
    /// Its handle in the table of hosts.
    handle: u64,
}

static NEXT_HOST: AtomicU64 = AtomicU64::new(1);
static ENDS: LazyLock<ArcSwap<HashMap<u64, Weak<HostEnd>>>> = LazyLock::new(ArcSwap::default);
/// What came with a handle that is no longer known.
static STRAYS: AtomicU64 = AtomicU64::new(0);
/// Completions that nobody waited for.
static UNAWAITED: AtomicU64 = AtomicU64::new(0);
/// Pushed bodies that could not be read.
static MALFORMED: AtomicU64 = AtomicU64::new(0);
/// Panics of the host's own code under a service.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// What was dropped at the boundary since the process began, over all providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Calls of services by instances that were given up.
    pub strays: u64,
    /// Completions that nobody waited for: of calls that had been given up or answered before, or that nobody made.
    pub unawaited: u64,
    /// Pushed bodies that could not be read.
    pub malformed: u64,
    /// Panics of the host's own code under a service.
    pub panics: u64,
    /// Log records for which the queue had no room.
    pub logs: u64,
    /// Log records that were too large.
    pub large_logs: u64,
}

/// What was dropped at the boundary so far.
pub fn dropped() -> Dropped {
    Dropped {
        strays: STRAYS.load(Ordering::Relaxed),
        unawaited: UNAWAITED.load(Ordering::Relaxed),
        malformed: MALFORMED.load(Ordering::Relaxed),
        panics: PANICS.load(Ordering::Relaxed),
        logs: forward::dropped(Loss::Full),
        large_logs: forward::dropped(Loss::TooLarge),
    }
}

impl HostEnd {
    /// An end that an instance can reach by its [`handle`](Self::handle) until [`hang_up`](Self::hang_up).
    pub fn new(
        provider: Arc<str>,
        sink: Arc<dyn Sink>,
        shutting_down: Arc<AtomicBool>,
        on_panic: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Arc<Self> {
        let handle = NEXT_HOST.fetch_add(1, Ordering::Relaxed);
        let end = Arc::new(Self {
            provider,
            sink,
            calls: Calls::default(),
            shutting_down,
            quiet: AtomicBool::new(false),
            hung_up: Notify::new(),
            on_panic,
            handle,
        });
        let weak = Arc::downgrade(&end);
        ENDS.rcu(|ends| {
            let mut ends = HashMap::clone(ends);
            ends.insert(handle, weak.clone());
            ends
        });
        end
    }

    /// The number by which the instance calls back.
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// Nothing that the instance says is heard any more but what it logs: how it ends belongs there.
    pub fn quieten(&self) {
        self.quiet.store(true, Ordering::SeqCst);
    }

    /// Nothing that the instance says is heard any more.
    pub fn hang_up(&self) {
        ENDS.rcu(|ends| {
            let mut ends = HashMap::clone(ends);
            ends.remove(&self.handle);
            ends
        });
        self.hung_up.notify_one();
    }

    /// Waits until nothing more is heard of the instance. For one caller.
    pub async fn silent(&self) {
        self.hung_up.notified().await;
    }
}

impl Drop for HostEnd {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// The table that every instance gets.
pub fn table() -> HostServicesRef {
    const TABLE: &WithMetadata<HostServices> = &WithMetadata::new(HostServices {
        complete,
        log,
        metric,
        pod_status,
        node_description,
        event,
        shutting_down,
    });
    HostServicesRef(TABLE.static_as_prefix())
}

/// Runs `f` for the owner of a handle; `otherwise` when there is none, when it has given the instance up, or when `f` panics.
fn with<T>(host: u64, otherwise: T, f: impl FnOnce(&HostEnd) -> T) -> T {
    with_whom(host, |end| !end.quiet.load(Ordering::SeqCst), otherwise, f)
}

/// The same for owners that listen.
fn with_whom<T>(host: u64, listens: fn(&HostEnd) -> bool, otherwise: T, f: impl FnOnce(&HostEnd) -> T) -> T {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let end = ENDS.load().get(&host).and_then(Weak::upgrade);
        end.filter(|end| listens(end)).map(|end| f(&end))
    }));
    match result {
        Ok(Some(value)) => value,
        Ok(None) => {
            STRAYS.fetch_add(1, Ordering::Relaxed);
            otherwise
        }
        Err(panic) => {
            PANICS.fetch_add(1, Ordering::Relaxed);
            // The payload's own drop may panic: that must not cross either.
            if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
                mem::forget(second);
            }
            otherwise
        }
    }
}

extern "C" fn complete(host: u64, call: u64, code: u32, retry_after_ms: u64, body: RSlice<'_, u8>) {
    with(host, (), |end| {
        let outcome = calls::outcome(code, retry_after_ms, body.as_slice());
        let panic = match &outcome {
            Err(error) if error.code == ErrorCode::Panicked => Some(error.message.clone()),
            _ => None,
        };
        // First the call, so that it fails with the panic itself; and a panic counts even if nobody waits any more.
        if !end.calls.complete(call, outcome) {
            UNAWAITED.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(message) = panic {
            (end.on_panic)(&message);
        }
    });
}

extern "C" fn log(host: u64, level: u32, record: RSlice<'_, u8>) -> u32 {
    // Of an instance that was given up as well, until it has been released.
    with_whom(
        host,
        |_| true,
        1,
        |end| u32::from(!forward::push(&end.provider, level, record.as_slice())),
    )
}

extern "C" fn metric(host: u64, sample: RSlice<'_, u8>) {
    with(host, (), |end| {
        if let Some(sample) = read(end, "metric sample", sample.as_slice()) {
            end.sink.metric(&end.provider, sample);
        }
    });
}

extern "C" fn pod_status(host: u64, uid: RStr<'_>, sequence: u64, report: RSlice<'_, u8>) {
    with(host, (), |end| {
        end.sink
            .pod_status(&end.provider, uid.as_str(), sequence, report.as_slice());
    });
}

extern "C" fn node_description(host: u64, node: RStr<'_>, description: RSlice<'_, u8>) {
    with(host, (), |end| {
        end.sink
            .node_description(&end.provider, node.as_str(), description.as_slice());
    });
}

extern "C" fn event(host: u64, event: RSlice<'_, u8>) {
    with(host, (), |end| {
        if let Some(event) = read(end, "event", event.as_slice()) {
            end.sink.event(&end.provider, event);
        }
    });
}

extern "C" fn shutting_down(host: u64) -> u32 {
    with(host, 1, |end| u32::from(end.shutting_down.load(Ordering::Relaxed)))
}

fn read<T: serde::de::DeserializeOwned>(end: &HostEnd, what: &str, body: &[u8]) -> Option<T> {
    serde_json::from_slice(body)
        .inspect_err(|error| {
            MALFORMED.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(provider = %end.provider, %error, "unable to read a plugin's {what}");
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Panics on every node description; keeps the metrics.
    #[derive(Default)]
    struct Touchy(Mutex<Vec<MetricSample>>);

    impl Sink for Touchy {
        fn pod_status(&self, _: &str, _: &str, _: u64, _: &[u8]) {}

        fn node_description(&self, _: &str, _: &str, _: &[u8]) {
            panic!("the sink is touchy");
        }

        fn event(&self, _: &str, _: Event) {}

        fn metric(&self, _: &str, sample: MetricSample) {
            self.0.lock().unwrap().push(sample);
        }
    }

    fn end(sink: &Arc<Touchy>, panics: &Arc<Mutex<Vec<String>>>) -> Arc<HostEnd> {
        let panics = panics.clone();
        let on_panic = move |message: &str| panics.lock().unwrap().push(message.to_owned());
        HostEnd::new(Arc::from("p"), sink.clone(), Arc::default(), Box::new(on_panic))
    }

    fn log(end: &HostEnd) -> u32 {
        let record = br#"{"target":"t","message":"last words"}"#;
        (table().log())(end.handle(), 3, RSlice::from_slice(record))
    }

    #[test]
    fn a_plugin_can_not_hurt_the_host_through_its_services() {
        let (sink, panics) = <(Arc<Touchy>, Arc<Mutex<Vec<String>>>)>::default();
        let (end, services) = (end(&sink, &panics), table());
        let before = dropped();
        (services.node_description())(end.handle(), RStr::from_str("n"), RSlice::from_slice(b"{}"));
        (services.metric())(end.handle(), RSlice::from_slice(b"no json"));
        (services.complete())(end.handle(), 4_000_000_000, 0, 0, RSlice::from_slice(b""));
        (services.pod_status())(u64::MAX, RStr::from_str("u"), 1, RSlice::from_slice(b""));
        let after = dropped();
        assert!(after.panics > before.panics && after.malformed > before.malformed && after.strays > before.strays);
        assert!(after.unawaited > before.unawaited && end.calls.strays() == 1);
        let sample = br#"{"name":"n","kind":"gauge","value":1.5}"#;
        (services.metric())(end.handle(), RSlice::from_slice(sample));
        assert_eq!(sink.0.lock().unwrap().len(), 1);
        assert_eq!((services.shutting_down())(end.handle()), 0);
    }

    #[test]
    fn a_panic_is_told_even_if_nobody_waits_for_the_call() {
        let (sink, panics) = <(Arc<Touchy>, Arc<Mutex<Vec<String>>>)>::default();
        let end = end(&sink, &panics);
        let body = br#"{"message":"oh"}"#;
        (table().complete())(
            end.handle(),
            1,
            outrigger_wire::code::PANICKED,
            0,
            RSlice::from_slice(body),
        );
        assert_eq!(*panics.lock().unwrap(), ["oh"]);
    }

    #[test]
    fn only_the_log_is_heard_of_an_instance_that_was_given_up_and_nothing_after_hanging_up() {
        let (sink, panics) = <(Arc<Touchy>, Arc<Mutex<Vec<String>>>)>::default();
        let end = end(&sink, &panics);
        let (call, mut waiting) = end.calls.begin().unwrap();
        end.quieten();
        (table().complete())(end.handle(), call, 0, 0, RSlice::from_slice(b"late"));
        assert!(waiting.try_recv().is_err());
        assert_eq!((table().shutting_down())(end.handle()), 1);
        assert_eq!(log(&end), 0);
        end.hang_up();
        assert_eq!(log(&end), 1);
    }

    #[test]
    fn that_the_host_ends_is_told_to_every_instance() {
        let shutting_down = Arc::<AtomicBool>::default();
        let new = || {
            let sink: Arc<Touchy> = Arc::default();
            HostEnd::new(Arc::from("p"), sink, shutting_down.clone(), Box::new(|_| {}))
        };
        let before = new();
        assert_eq!((table().shutting_down())(before.handle()), 0);
        shutting_down.store(true, Ordering::Relaxed);
        for end in [before, new()] {
            assert_eq!((table().shutting_down())(end.handle()), 1);
        }
    }
}
