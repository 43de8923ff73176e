//! What the tests share: the fixtures' libraries, a sink that records, and waiting for a condition.

use outrigger::config::PluginsConfig;
use outrigger::config::ProviderConfig;
use outrigger::plugin::Error;
use outrigger::plugin::Probe;
use outrigger::plugin::Provider;
use outrigger::plugin::Sink;
use outrigger::plugin::State;
use outrigger::plugin::Tuning;
use outrigger_plugin::Event;
use outrigger_plugin::MetricSample;
use outrigger_plugin::PodIdentity;
use serde_json::Value;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

/// More than any wait here needs on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

/// The host's binary, which the probes run as their child.
pub fn host_binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_outrigger"))
}

/// Where cargo puts libraries and programs of this profile.
pub fn build_directory() -> PathBuf {
    host_binary().parent().unwrap().to_owned()
}

/// Cargo, building into the directory of this test's own build and in its profile.
pub fn cargo_build() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.env("CARGO_TARGET_DIR", build_directory().parent().unwrap());
    cargo
}

/// Cargo builds no libraries of other packages for a test, so the first one that needs them does.
pub fn library(fixture: &str) -> PathBuf {
    crate::logs::install();
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let all = [
            "panic",
            "hang",
            "slow",
            "streams",
            "abort",
            "wrong-abi",
            "missing-symbol",
        ];
        let packages = all.iter().map(|name| format!("--package=outrigger-fixture-{name}"));
        let packages = packages.chain(["--package=outrigger-mock".to_owned()]);
        let status = cargo_build().args(packages).status().expect("unable to run cargo");
        assert!(status.success(), "unable to build the fixtures");
    });
    build_directory().join(outrigger::plugin::file_name(&format!("fixture-{fixture}")))
}

/// A provider with the mock as its plugin.
pub fn mock(name: &str, config: Value) -> ProviderConfig {
    let fixture = library("slow");
    ProviderConfig {
        name: name.to_owned(),
        path: Some(fixture.with_file_name(outrigger::plugin::file_name("mock"))),
        config,
        ..ProviderConfig::new("mock")
    }
}

/// A provider with a fixture as its plugin.
pub fn provider(name: &str, fixture: &str, config: Value) -> ProviderConfig {
    ProviderConfig {
        name: name.to_owned(),
        path: Some(library(fixture)),
        config,
        ..ProviderConfig::new(format!("fixture-{fixture}"))
    }
}

/// A provider whose plugin is any file.
pub fn provider_of(path: &Path) -> ProviderConfig {
    ProviderConfig {
        name: "p".to_owned(),
        path: Some(path.to_owned()),
        ..ProviderConfig::new("fixture-x")
    }
}

/// Production's order of things in a fraction of its time.
pub fn tuning() -> Tuning {
    Tuning {
        probe: Probe {
            executable: host_binary(),
            timeout: LONG,
        },
        start_timeout: LONG,
        backoff_first: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        quarantine: LONG * 10,
        ..Tuning::default()
    }
}

/// Starts a provider with a sink that records.
pub async fn launch(config: &ProviderConfig) -> Result<(Arc<Provider>, Arc<Recorder>), Error> {
    launch_with(config, tuning()).await
}

pub async fn launch_with(config: &ProviderConfig, tuning: Tuning) -> Result<(Arc<Provider>, Arc<Recorder>), Error> {
    let sink = Arc::new(Recorder::default());
    let provider = Provider::launch_with(config, &PluginsConfig::default(), sink.clone(), tuning).await?;
    Ok((provider, sink))
}

/// The one line that a provider which does not start ends in.
pub async fn refusal(config: &ProviderConfig) -> String {
    refusal_with(config, &PluginsConfig::default(), tuning()).await
}

pub async fn refusal_with(config: &ProviderConfig, plugins: &PluginsConfig, tuning: Tuning) -> String {
    let started = Provider::launch_with(config, plugins, Arc::new(Recorder::default()), tuning).await;
    let line = started.expect_err("the provider started").to_string();
    assert!(!line.contains('\n'), "more than one line: {line}");
    assert!(line.starts_with("unable to "), "{line}");
    line
}

/// Takes what a plugin pushes.
#[derive(Default)]
pub struct Recorder {
    pub statuses: Mutex<Vec<(String, String, u64)>>,
    pub nodes: Mutex<Vec<(String, String)>>,
    pub events: Mutex<Vec<(String, Event)>>,
    pub metrics: Mutex<Vec<(String, MetricSample)>>,
}

impl Sink for Recorder {
    fn pod_status(&self, provider: &str, uid: &str, sequence: u64, report: &[u8]) {
        assert!(serde_json::from_slice::<outrigger_plugin::PodReport>(report).is_ok());
        let status = (provider.to_owned(), uid.to_owned(), sequence);
        self.statuses.lock().unwrap().push(status);
    }

    fn node_description(&self, provider: &str, node: &str, _description: &[u8]) {
        self.nodes.lock().unwrap().push((provider.to_owned(), node.to_owned()));
    }

    fn event(&self, provider: &str, event: Event) {
        self.events.lock().unwrap().push((provider.to_owned(), event));
    }

    fn metric(&self, provider: &str, sample: MetricSample) {
        self.metrics.lock().unwrap().push((provider.to_owned(), sample));
    }
}

pub fn pod(uid: &str) -> PodIdentity {
    PodIdentity {
        cluster: "c".to_owned(),
        node: "n".to_owned(),
        namespace: "default".to_owned(),
        name: format!("pod-{uid}"),
        uid: uid.to_owned(),
    }
}

/// Body of `create_pod`.
pub fn request(uid: &str) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({ "identity": pod(uid), "pod": { "kind": "Pod" } })).unwrap()
}

/// Waits until a provider's state is as wanted.
pub async fn reaches(provider: &Provider, wanted: impl Fn(&State) -> bool) -> State {
    let mut states = provider.state();
    let reached = tokio::time::timeout(LONG, states.wait_for(|state| wanted(state))).await;
    match reached {
        Ok(state) => state.expect("the provider was dropped").clone(),
        Err(_) => panic!("still {:?}", *provider.state().borrow()),
    }
}

/// Waits until something is true that nobody signals.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}
