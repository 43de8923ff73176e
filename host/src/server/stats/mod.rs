//! Resource use, in the three forms in which the kubelet tells it: for the metrics-server and kubectl top
//! (`/metrics/resource`), for tools that read JSON (`/stats/summary`), and for dashboards made for cAdvisor.

mod cadvisor;
mod exposition;
mod resource;
mod sample;
mod summary;

use super::answer::Answer;
use super::answer::failure;
use super::answer::json;
use super::answer::metrics;
use super::backend::Feature;
use super::service::Service;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ProviderError;
pub(super) use sample::Pod;
use sample::Sample;
use std::time::Duration;

/// How long a provider may take. The metrics-server waits 10 s by default.
const LIMIT: Duration = Duration::from_secs(9);

/// `/stats/summary`. `only_cpu_and_memory` changes nothing: it is all that providers tell.
pub(super) async fn summary(service: &Service) -> Answer {
    match sample(service).await {
        Ok(sample) => json(&summary::summary(&service.node, service.started, &sample)),
        Err(error) => failure(&error),
    }
}

/// `/metrics/resource`.
pub(super) async fn resource(service: &Service) -> Answer {
    match sample(service).await {
        // Absent is not broken: who scrapes shall know that there will never be anything.
        Err(error) if error.code == ErrorCode::Unsupported => failure(&error),
        sample => metrics(resource::text(sample.as_ref().ok())),
    }
}

/// `/metrics/cadvisor`, as much of it as is known of containers that are elsewhere.
pub(super) async fn cadvisor(service: &Service) -> Answer {
    match sample(service).await {
        Ok(sample) => metrics(cadvisor::text(&sample)),
        Err(error) => failure(&error),
    }
}

async fn sample(service: &Service) -> Result<Sample, ProviderError> {
    let backend = service.backend.as_ref();
    backend.offers(Feature::Stats)?;
    let late = || {
        let message = format!("the provider did not tell its resource use within {LIMIT:?}");
        ProviderError::new(ErrorCode::Timeout, message)
    };
    let told = tokio::time::timeout(LIMIT, backend.stats()).await;
    let told = told.unwrap_or_else(|_| Err(late())).inspect_err(|error| {
        tracing::warn!(node = service.node, %error, "unable to read resource use");
    })?;
    Ok(Sample::new(&service.node, told, &backend.pods().await))
}
