//! What the host counts beside its requests: the process, the plugin boundary, and what providers tell of themselves.

mod process;
mod samples;

pub use process::Figures;
pub use samples::{CALLS_IN_FLIGHT, Samples};

use crate::plugin::dropped;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use std::fmt;

/// Adds what concerns the process as a whole, as it is now.
pub fn register_process(registry: &mut Registry) {
    Figures::read().register(registry);
    registry.register_collector(Box::new(Boundary));
}

/// What was dropped between plugins and host.
#[derive(Debug)]
struct Boundary;

impl prometheus_client::collector::Collector for Boundary {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = dropped();
        let help = "Messages of plugins that the host could not take";
        let mut family = encoder.encode_descriptor("outrigger_plugin_dropped", help, None, MetricType::Counter)?;
        for (reason, count) in [
            ("instance_gone", dropped.strays),
            ("nobody_waits", dropped.unawaited),
            ("malformed", dropped.malformed),
            ("host_panic", dropped.panics),
            ("log_queue_full", dropped.logs),
            ("log_too_large", dropped.large_logs),
        ] {
            let labels = [("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
