//! `/pods`: a `v1.PodList` put together from the bytes of its pods, without reading them; and `/runningpods`, the same
//! as the provider sees it.

use super::answer::Answer;
use super::answer::failure;
use super::answer::json;
use super::backend::Backend;
use bytes::Bytes;
use futures::StreamExt;
use http::HeaderValue;
use http::Response;
use http::header;
use http_body_util::BodyExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use outrigger_plugin::ContainerReport;
use outrigger_plugin::ContainerState;
use outrigger_plugin::PodReport;
use serde_json::Value;

const HEAD: &[u8] = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#;

/// The pods of the node, as the API server has them and with the host's newest status.
pub(super) async fn all(backend: &dyn Backend) -> Answer {
    let pods = backend.pods().await;
    let items = pods.into_iter().enumerate().flat_map(|(index, pod)| {
        let comma = (index > 0).then(|| Bytes::from_static(b","));
        comma.into_iter().chain([pod])
    });
    let parts = std::iter::once(Bytes::from_static(HEAD))
        .chain(items)
        .chain([Bytes::from_static(b"]}\n")]);
    let frames = futures::stream::iter(parts).map(|part| Ok(Frame::data(part)));
    let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// The pods that have a running container at the provider. As sparse as the kubelet's: names, and what runs.
pub(super) async fn running(backend: &dyn Backend, node: &str) -> Answer {
    let reports = match backend.reports().await {
        Ok(reports) => reports,
        Err(error) => return failure(&error),
    };
    let of_node = reports
        .iter()
        .filter(|report| report.identity.node == node && !report.gone);
    let items: Vec<Value> = of_node.filter_map(pod).collect();
    json(&serde_json::json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

fn pod(report: &PodReport) -> Option<Value> {
    let containers = [
        &report.init_containers,
        &report.containers,
        &report.ephemeral_containers,
    ];
    let running: Vec<Value> = containers
        .into_iter()
        .flatten()
        .filter(|container| matches!(container.state, ContainerState::Running { .. }))
        .map(|ContainerReport { name, image, .. }| serde_json::json!({ "name": name, "image": image, "resources": {} }))
        .collect();
    let identity = &report.identity;
    (!running.is_empty()).then(|| {
        serde_json::json!({
            "metadata": { "name": identity.name, "namespace": identity.namespace, "uid": identity.uid, "creationTimestamp": null },
            "spec": { "containers": running },
            "status": {},
        })
    })
}
