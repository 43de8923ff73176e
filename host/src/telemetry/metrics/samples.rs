//! Samples that providers push: kept by name and labels, shown on the nodes of that provider.
//!
//! Their names and labels are made by others, so there is a limit to how many there can be: a label with an id in it
//! must not fill the host's memory, nor that of whoever scrapes it.

use outrigger_plugin::MetricKind;
use outrigger_plugin::MetricSample;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Combinations of name and labels for each provider.
const SERIES: usize = 1_000;
/// Labels of a sample.
const LABELS: usize = 8;
/// Bytes of a name, or of a label's value.
const LENGTH: usize = 128;

/// What all providers have pushed.
#[derive(Debug, Default)]
pub struct Samples(Mutex<HashMap<String, Pushed>>);

/// What one provider has pushed.
#[derive(Debug, Default)]
struct Pushed {
    families: BTreeMap<String, Family>,
    series: usize,
    refused: u64,
}

#[derive(Debug)]
struct Family {
    kind: MetricKind,
    series: BTreeMap<Vec<(String, String)>, f64>,
}

impl Samples {
    /// Takes a sample. It is refused, and counted as such, if its name or labels can't be metrics, if it does not go with
    /// what there is by that name, or if the provider has too many series already.
    pub fn push(&self, provider: &str, sample: MetricSample) {
        let mut all = self.lock();
        let pushed = match all.get_mut(provider) {
            Some(pushed) => pushed,
            None => all.entry(provider.to_owned()).or_default(),
        };
        let name = sample.name.clone();
        if let Err(reason) = pushed.take(sample) {
            pushed.refused += 1;
            // The rest is in the counter.
            if pushed.refused == 1 {
                tracing::warn!(provider, name, reason, "a provider's metric is refused");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pushed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to a node's metrics what its provider has pushed. A sample with the label `node` belongs to that node alone.
    pub fn register(self: &Arc<Self>, provider: &str, node: &str, registry: &mut Registry) {
        registry.register_collector(Box::new(View {
            samples: Arc::clone(self),
            provider: provider.to_owned(),
            node: node.to_owned(),
        }));
    }
}

impl Pushed {
    fn take(&mut self, sample: MetricSample) -> Result<(), &'static str> {
        // The encoder adds it again.
        let name = sample.name.strip_suffix("_total").unwrap_or(&sample.name);
        if !is_name(name) {
            return Err("its name is none of a metric");
        }
        let counts = sample.value.is_finite() && sample.value >= 0.0;
        if sample.kind == MetricKind::Counter && !counts {
            return Err("a counter only grows");
        }
        let fits = sample.labels.iter().all(|(label, value)| {
            is_name(label) && !label.starts_with("__") && label != "provider" && value.len() <= LENGTH
        });
        if sample.labels.len() > LABELS || !fits {
            return Err("its labels are none of a metric, too long or too many");
        }
        let full = self.series >= SERIES;
        let room = || match full {
            true => Err("the provider has too many series"),
            false => Ok(()),
        };
        let family = match self.families.entry(name.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                room()?;
                new.insert(Family {
                    kind: sample.kind,
                    series: BTreeMap::new(),
                })
            }
        };
        if family.kind != sample.kind {
            return Err("it was a counter before and is a gauge now, or the other way round");
        }
        match family.series.entry(sample.labels.into_iter().collect()) {
            Entry::Occupied(mut known) => match sample.kind {
                MetricKind::Counter => *known.get_mut() += sample.value,
                MetricKind::Gauge => *known.get_mut() = sample.value,
            },
            Entry::Vacant(new) => {
                room()?;
                new.insert(sample.value);
                self.series += 1;
            }
        }
        Ok(())
    }
}

/// A name of a metric or label without a prefix of its own.
fn is_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let starts = name.bytes().next().is_some_and(first);
    let goes_on = name.bytes().all(|byte| first(byte) || byte.is_ascii_digit());
    starts && goes_on && name.len() <= LENGTH
}

/// One node's part of it.
#[derive(Debug)]
struct View {
    samples: Arc<Samples>,
    provider: String,
    node: String,
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.samples.lock();
        let nothing = Pushed::default();
        let pushed = all.get(&self.provider).unwrap_or(&nothing);
        let provider = [("provider", self.provider.as_str())];
        for (name, Family { kind, series }) in &pushed.families {
            let kind_there = match kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
            };
            let name = format!("outrigger_provider_{name}");
            let help = "Told by the provider itself";
            let mut family = encoder.encode_descriptor(&name, help, None, kind_there)?;
            for (labels, value) in series.iter().filter(|(labels, _)| self.is_ours(labels)) {
                let pairs: Vec<_> = labels
                    .iter()
                    .map(|(label, value)| (label.as_str(), value.as_str()))
                    .collect();
                let labels = (provider, pairs);
                let encoder = family.encode_family(&labels)?;
                match kind {
                    MetricKind::Counter => ConstCounter::new(*value).encode(encoder)?,
                    MetricKind::Gauge => ConstGauge::new(*value).encode(encoder)?,
                }
            }
        }
        let name = "outrigger_provider_metrics_refused";
        let help = "Samples of the provider that can't be shown";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(pushed.refused).encode(family.encode_family(&provider)?)
    }
}

impl View {
    fn is_ours(&self, labels: &[(String, String)]) -> bool {
        labels
            .iter()
            .all(|(label, value)| label != "node" || *value == self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    fn sample(name: &str, kind: MetricKind, labels: &[(&str, &str)], value: f64) -> MetricSample {
        let labels = labels
            .iter()
            .map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        MetricSample {
            name: name.to_owned(),
            kind,
            labels: labels.collect(),
            value,
        }
    }

    fn page(samples: &Arc<Samples>, provider: &str, node: &str) -> String {
        let mut registry = Registry::default();
        samples.register(provider, node, &mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn counters_add_up_and_gauges_replace() {
        let samples = Arc::<Samples>::default();
        for value in [1.0, 2.5] {
            samples.push(
                "aci",
                sample("calls_total", MetricKind::Counter, &[("op", "get")], value),
            );
            samples.push("aci", sample("quota", MetricKind::Gauge, &[], value));
        }
        samples.push("other", sample("quota", MetricKind::Gauge, &[], 9.0));
        let page = page(&samples, "aci", "vk-0");
        let has = |line: &str| assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        has("# TYPE outrigger_provider_calls counter");
        has("outrigger_provider_calls_total{provider=\"aci\",op=\"get\"} 3.5");
        has("outrigger_provider_quota{provider=\"aci\"} 2.5");
        has("outrigger_provider_metrics_refused_total{provider=\"aci\"} 0");
        assert!(!page.contains("9.0"), "{page}");
    }

    #[test]
    fn a_sample_of_one_node_is_not_shown_on_another() {
        let samples = Arc::<Samples>::default();
        for node in ["vk-0", "vk-1"] {
            samples.push("p", sample("load", MetricKind::Gauge, &[("node", node)], 1.0));
        }
        let page = page(&samples, "p", "vk-0");
        assert!(page.contains("node=\"vk-0\"") && !page.contains("vk-1"), "{page}");
    }

    #[test]
    fn what_can_not_be_a_metric_is_refused() {
        let samples = Arc::<Samples>::default();
        let long = "x".repeat(LENGTH + 1);
        samples.push("p", sample("fine", MetricKind::Gauge, &[], 1.0));
        for bad in [
            sample("", MetricKind::Gauge, &[], 1.0),
            sample("with space", MetricKind::Gauge, &[], 1.0),
            sample("1st", MetricKind::Gauge, &[], 1.0),
            sample(&long, MetricKind::Gauge, &[], 1.0),
            sample("fine", MetricKind::Counter, &[], 1.0),
            sample("falls", MetricKind::Counter, &[], -1.0),
            sample("nan", MetricKind::Counter, &[], f64::NAN),
            sample("x", MetricKind::Gauge, &[("provider", "other")], 1.0),
            sample("x", MetricKind::Gauge, &[("__name__", "other")], 1.0),
            sample("x", MetricKind::Gauge, &[("a", &long)], 1.0),
        ] {
            samples.push("p", bad);
        }
        let page = page(&samples, "p", "vk-0");
        assert!(page.contains("refused_total{provider=\"p\"} 10"), "{page}");
    }

    #[test]
    fn there_is_a_limit_to_their_number() {
        let samples = Arc::<Samples>::default();
        for id in 0..SERIES + 7 {
            samples.push("p", sample("x", MetricKind::Gauge, &[("id", &id.to_string())], 1.0));
        }
        // What is there goes on.
        samples.push("p", sample("x", MetricKind::Gauge, &[("id", "0")], 2.0));
        samples.push("p", sample("y", MetricKind::Gauge, &[], 2.0));
        let page = page(&samples, "p", "vk-0");
        assert_eq!(page.matches("outrigger_provider_x{").count(), SERIES);
        assert!(page.contains("id=\"0\"} 2.0") && page.contains("refused_total{provider=\"p\"} 8"));
    }
}
