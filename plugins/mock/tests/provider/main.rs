//! The mock as a host sees it: the trait's methods, called directly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests")]

mod attach;
mod exec;
mod external;
mod faults;
mod images;
mod local_process;
mod logs;
mod materials;
mod memory;
mod port_forward;
mod readme;

use outrigger_mock::provider::Mock;
use outrigger_plugin::{
    ExecRequest, PodIdentity, PodReport, PodRequest, Provider,
    testing::{self, Pushed},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc::Receiver;

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(config: Value) -> (Mock, Receiver<Pushed>) {
    let (host, pushed) = testing::host("mock");
    let config = serde_json::from_value(config).unwrap();
    (Mock::start(config, host).await.unwrap(), pushed)
}

fn identity(name: &str) -> PodIdentity {
    PodIdentity {
        cluster: "cluster".into(),
        node: "node".into(),
        namespace: "default".into(),
        name: name.into(),
        uid: format!("uid-of-{name}"),
    }
}

/// A pod with one container `app`; annotations without the mock's prefix.
fn pod(name: &str, annotations: &[(&str, &str)]) -> PodRequest {
    pod_of(
        name,
        annotations,
        json!({"containers": [{"name": "app", "image": "app:1"}]}),
    )
}

fn pod_of(name: &str, annotations: &[(&str, &str)], spec: Value) -> PodRequest {
    let annotations: BTreeMap<_, _> = annotations
        .iter()
        .map(|(key, value)| (format!("mock.outrigger.dev/{key}"), *value))
        .collect();
    let manifest = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
    PodRequest {
        identity: identity(name),
        pod: serde_json::value::to_raw_value(&manifest).unwrap(),
        materials: Default::default(),
        restart_counts: BTreeMap::new(),
        ended: Default::default(),
    }
}

/// A command in the container `app` of a pod. Which streams it has is the session's.
fn exec_of(pod: &str, command: &[&str]) -> ExecRequest {
    let request = json!({"identity": identity(pod), "container": "app", "command": command});
    serde_json::from_value(request).unwrap()
}

/// The next report about a pod for which something holds.
async fn pushed_report(pushed: &mut Receiver<Pushed>, uid: &str, holds: impl Fn(&PodReport) -> bool) -> PodReport {
    let wait = async {
        loop {
            match pushed.recv().await {
                Some(Pushed::Pod(report)) if report.identity.uid == uid && holds(&report) => return report,
                Some(_) => {}
                None => panic!("the provider has ended"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("no such report was pushed about {uid}"))
}

/// Asks again and again until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
