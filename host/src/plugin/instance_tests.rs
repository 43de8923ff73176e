use super::*;
use crate::config::Sha256Digest;
use crate::plugin::Sink;
use crate::plugin::load::Abi;
use outrigger_plugin::Event;
use outrigger_plugin::MetricSample;
use outrigger_plugin::PluginInfo;
use outrigger_wire::CapabilityEntry;
use outrigger_wire::HostServicesRef;
use outrigger_wire::Plugin;
use outrigger_wire::PluginRef;
use outrigger_wire::ROption;
use outrigger_wire::RStr;
use outrigger_wire::RVec;
use outrigger_wire::WithMetadata;
use std::pin::Pin;
use std::task::Context;
use std::task::Wake;
use std::task::Waker;

/// What happened to which call, in order, over all tests.
static EVENTS: Mutex<Vec<(u64, &str)>> = Mutex::new(Vec::new());

fn happens(call: u64, what: &'static str) {
    EVENTS.lock().unwrap().push((call, what));
}

fn events_of(call: u64) -> Vec<&'static str> {
    let events = EVENTS.lock().unwrap();
    let of_call = events.iter().filter(|(of, _)| *of == call);
    of_call.map(|(_, what)| *what).collect()
}

extern "C" fn describe() -> RVec<u8> {
    RVec::new()
}

extern "C" fn create(_: HostServicesRef, _: u64, _: CallHeader, _: RSlice<'_, u8>) -> u64 {
    1
}

extern "C" fn accept(_: u64, _: CallHeader, _: RSlice<'_, u8>) -> u32 {
    code::OK
}

extern "C" fn cancel(_: u64, call: u64) -> u32 {
    happens(call, "cancelled");
    code::OK
}

extern "C" fn release(_: u64) {}

extern "C" fn set_log_level(_: u32) {}

extern "C" fn capability(_: RStr<'_>) -> ROption<CapabilityEntry> {
    ROption::RNone
}

/// A plugin that accepts every call and answers none.
const ROOT: &WithMetadata<Plugin> = &WithMetadata::new(Plugin {
    abi_minor: 0,
    describe,
    create,
    sync: accept,
    create_pod: accept,
    update_pod: accept,
    stop_pod: accept,
    remove_pod: accept,
    get_pod: accept,
    list_pods: accept,
    describe_node: accept,
    ping: accept,
    shutdown: accept,
    cancel,
    release,
    set_log_level,
    capability,
});

struct Deaf;

impl Sink for Deaf {
    fn pod_status(&self, _: &str, _: &str, _: u64, _: &[u8]) {}

    fn node_description(&self, _: &str, _: &str, _: &[u8]) {}

    fn event(&self, _: &str, _: Event) {}

    fn metric(&self, _: &str, _: MetricSample) {}
}

fn instance() -> Arc<Instance> {
    let image = Box::leak(Box::new(Image {
        path: "p".into(),
        sha256: Sha256Digest([0; 32]),
        abi: Abi::OURS,
        info: PluginInfo::new("p", "1", Support::none()),
        load_time: Duration::ZERO,
        root: PluginRef(ROOT.static_as_prefix()),
        capabilities: Vec::new(),
        logs: None,
        stats: None,
        exec: None,
        attach: None,
        port_forward: None,
        images: None,
    }));
    Arc::new(Instance {
        image,
        end: HostEnd::new(Arc::from("p"), Arc::new(Deaf), Arc::default(), Box::new(|_| {})),
        epoch: 1,
        silence: Mutex::default(),
        handle: 1,
        released: AtomicBool::new(false),
    })
}

/// Notes when whoever waits for the call is woken.
struct Waiter(u64);

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        happens(self.0, "told");
    }
}

#[test]
fn what_is_given_up_is_cancelled_in_the_plugin_before_anybody_hears_of_it() {
    let instance = instance();
    let mut waiting = instance.begin(Duration::MAX, |_, _| code::OK).unwrap();
    let waker = Waker::from(Arc::new(Waiter(waiting.call)));
    let polled = Pin::new(&mut waiting.receiver).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    instance.give_up(&ProviderError::unavailable("gone"));
    assert_eq!(events_of(waiting.call), ["cancelled", "told"]);
    let (call, error) = (waiting.call, waiting.receiver.try_recv().unwrap().unwrap_err());
    assert_eq!(error.message, "gone");
    drop(waiting);
    assert_eq!(events_of(call), ["cancelled", "told"], "once is enough");
}

#[test]
fn so_is_a_call_whose_client_leaves_just_then() {
    let instance = instance();
    let waiting = instance.begin(Duration::MAX, |_, _| code::OK).unwrap();
    let call = waiting.call;
    // Its turn to be cancelled has not come.
    let _abandoned = instance.end.calls.close();
    drop(waiting);
    assert_eq!(events_of(call), ["cancelled"]);
}

#[test]
fn what_was_answered_is_not_cancelled() {
    let instance = instance();
    let waiting = instance.begin(Duration::MAX, |_, _| code::OK).unwrap();
    let call = waiting.call;
    assert!(instance.end.calls.complete(call, Ok(Vec::new())));
    drop(waiting);
    assert!(events_of(call).is_empty());
}

#[test]
fn so_is_a_call_that_reaches_the_plugin_meanwhile() {
    let instance = instance();
    let waiting = instance.begin(Duration::MAX, |_, header| {
        instance.give_up(&ProviderError::unavailable("gone"));
        happens(header.call, "begun");
        code::OK
    });
    assert_eq!(events_of(waiting.unwrap().call), ["cancelled", "begun", "cancelled"]);
}
