//! What has to be true when all is quiet again.

use super::backend::MockBackend;
use super::test::Test;
use super::test::is_running;
use super::test::uid;
use super::wait::eventually;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use std::collections::BTreeSet;
use std::time::Duration;

/// Waits until every pod of a test runs or is gone, and the backend has exactly those that run: none is lost, stuck or
/// orphaned. Returns them.
pub async fn settled(test: &Test, backend: &MockBackend, within: Duration) -> Vec<Pod> {
    let pods = test.pods();
    let settled = eventually(within, "pods run, or are gone", || async {
        let all = pods
            .list(&ListParams::default())
            .await
            .map_err(|error| error.to_string())?
            .items;
        match all
            .iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_some() || !is_running(pod))
        {
            Some(pod) => Err(serde_json::to_string(pod).unwrap()),
            None => Ok(all),
        }
    })
    .await;
    let expected: BTreeSet<String> = settled.iter().map(uid).collect();
    eventually(within, "the backend has exactly the pods of the API", || async {
        let counts = backend.counts().await;
        let present: BTreeSet<String> = counts.present.keys().cloned().collect();
        let lost: Vec<_> = expected.difference(&present).collect();
        let orphaned: Vec<_> = present
            .difference(&expected)
            .map(|uid| (&counts.present[uid], counts.pods[uid]))
            .collect();
        if lost.is_empty() && orphaned.is_empty() {
            return Ok(());
        }
        Err(format!("lost: {lost:?}, orphaned: {orphaned:?}"))
    })
    .await;
    settled
}
