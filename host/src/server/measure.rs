//! `/metrics` and `/metrics/probes` of a node: its requests, its pods, its provider, and the process that it is part
//! of. Names are the kubelet's where they mean the same.

use super::answer::Answer;
use super::answer::text;
use super::answer::whole;
use super::route::Route;
use super::service::Service;
use super::stats::Pod;
use crate::telemetry::metrics;
use http::HeaderMap;
use http::Method;
use http::StatusCode;
use http::header;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_eof;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use tokio::time::Instant;

/// What a server has counted.
pub(super) struct Measures {
    registry: Registry,
    requests: Requests,
    sessions: Family<SessionLabels, Gauge>,
}

#[derive(Clone)]
struct Requests {
    total: Family<RequestLabels, Counter>,
    inflight: Family<RequestLabels, Gauge>,
    duration: Family<RequestLabels, Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NodeLabels {
    node: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    long_running: bool,
    method: &'static str,
    path: &'static str,
    server_type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SessionLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    container_state: &'static str,
}

/// A request that is under way until this is dropped.
pub(super) struct Running {
    labels: RequestLabels,
    requests: Requests,
    begun: Instant,
}

/// A session that is under way until this is dropped.
pub(super) struct SessionRunning(Gauge);

impl Measures {
    pub(super) fn new(node: &str) -> Self {
        // As client_golang's default.
        let buckets = || Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let requests = Requests {
            total: Family::default(),
            inflight: Family::default(),
            duration: Family::new_with_constructor(buckets as fn() -> Histogram),
        };
        let sessions = Family::default();
        let mut registry = Registry::default();
        let name = Family::<NodeLabels, Gauge>::default();
        name.get_or_create(&NodeLabels { node: node.to_owned() }).set(1);
        registry.register("kubelet_node_name", "The node's name", name);
        let total = requests.total.clone();
        registry.register("kubelet_http_requests", "Requests received", total);
        let inflight = requests.inflight.clone();
        registry.register("kubelet_http_inflight_requests", "Requests under way", inflight);
        let help = "Time to the end of the answer in seconds";
        registry.register(
            "kubelet_http_requests_duration_seconds",
            help,
            requests.duration.clone(),
        );
        let help = "Upgraded connections: exec, attach and port-forward";
        registry.register("outrigger_kubelet_sessions", help, Family::clone(&sessions));
        Self {
            registry,
            requests,
            sessions,
        }
    }

    pub(super) fn begin(&self, method: &Method, route: Option<Route<'_>>) -> Running {
        let labels = RequestLabels {
            long_running: route.is_some_and(Route::is_long),
            method: match *method {
                Method::GET => "GET",
                Method::POST => "POST",
                Method::HEAD => "HEAD",
                Method::PUT => "PUT",
                Method::PATCH => "PATCH",
                Method::DELETE => "DELETE",
                _ => "other",
            },
            path: route.map_or("", Route::label),
            server_type: "readwrite",
        };
        self.requests.total.get_or_create(&labels).inc();
        self.requests.inflight.get_or_create(&labels).inc();
        Running {
            labels,
            requests: self.requests.clone(),
            begun: Instant::now(),
        }
    }

    pub(super) fn begin_session(&self, kind: &'static str) -> SessionRunning {
        let gauge = self.sessions.get_or_create_owned(&SessionLabels { kind });
        gauge.inc();
        SessionRunning(gauge)
    }

    /// `/metrics`.
    pub(super) async fn all(&self, service: &Service, headers: &HeaderMap) -> Answer {
        let pods = service.backend.pods().await;
        let mut now = Registry::default();
        let states = Family::<StateLabels, Gauge>::default();
        let mut running = 0_i64;
        for pod in &pods {
            let pod = Pod::read(pod).states();
            running += i64::from(pod.running > 0);
            for (container_state, count) in [
                ("running", pod.running),
                ("exited", pod.exited),
                ("created", pod.created),
            ] {
                states.get_or_create(&StateLabels { container_state }).inc_by(count);
            }
        }
        let help = "Pods with a running container";
        now.register("kubelet_running_pods", help, ConstGauge::new(running));
        now.register("kubelet_running_containers", "Containers by state", states);
        service.backend.measure(&mut now);
        metrics::register_process(&mut now);
        page(&[&self.registry, &now], headers)
    }

    /// `/metrics/probes`. Probes are run by providers where they can, and not by the host, so there is no count of them.
    pub(super) fn probes(&self, headers: &HeaderMap) -> Answer {
        let mut now = Registry::default();
        metrics::Figures::read().register_start(&mut now);
        page(&[&now], headers)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.requests.inflight.get_or_create(&self.labels).dec();
        let seconds = self.begun.elapsed().as_secs_f64();
        self.requests.duration.get_or_create(&self.labels).observe(seconds);
    }
}

impl Drop for SessionRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Registries in the OpenMetrics text format. Readers of the older format of Prometheus take it as well, if it is called
/// by that name: what is new in it are comments to them.
fn page(registries: &[&Registry], headers: &HeaderMap) -> Answer {
    const OPEN: &str = "application/openmetrics-text";
    let mut body = String::new();
    if let Err(error) = encode(&mut body, registries) {
        tracing::error!(%error, "unable to encode metrics");
        return text(StatusCode::INTERNAL_SERVER_ERROR, "unable to encode the metrics\n");
    }
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    let open = accepted.any(|kinds| kinds.to_str().is_ok_and(|kinds| kinds.contains(OPEN)));
    let kind = match open {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    whole(StatusCode::OK, kind, body)
}

fn encode(body: &mut String, registries: &[&Registry]) -> fmt::Result {
    for registry in registries {
        encode_registry(body, registry)?;
    }
    encode_eof(body)
}
