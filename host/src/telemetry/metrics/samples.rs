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

/// Before the name that a provider gives its metric.
const PREFIX: &str = "outrigger_provider_";
/// The host's own count of the calls that wait for a provider.
pub const CALLS_IN_FLIGHT: &str = "outrigger_provider_calls_in_flight";
/// And of what a provider pushes in vain.
const REFUSED: &str = "outrigger_provider_metrics_refused";
/// What every counter's value is called by in the end.
const TOTAL: &str = "_total";
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
    /// The name of the family that a sample belongs to.
    fn name<'s>(&self, sample: &'s MetricSample) -> Result<&'s str, &'static str> {
        let stem = sample.name.strip_suffix(TOTAL).unwrap_or(&sample.name);
        let name = match sample.kind {
            // The encoder adds it again.
            MetricKind::Counter => stem,
            MetricKind::Gauge => &sample.name,
        };
        if !is_name(name) {
            return Err("its name is none of a metric");
        }
        let own = |known: &str| known.strip_prefix(PREFIX) == Some(stem);
        if [CALLS_IN_FLIGHT, REFUSED].into_iter().any(own) {
            return Err("the host has a metric of that name itself");
        }
        let is = |name: &str, kind| self.families.get(name).is_some_and(|family| family.kind == kind);
        let meets = || match sample.kind {
            MetricKind::Counter => is(&format!("{stem}{TOTAL}"), MetricKind::Gauge),
            MetricKind::Gauge => is(stem, MetricKind::Counter),
        };
        if !self.families.contains_key(name) && meets() {
            return Err("another one of the provider's is shown by that name");
        }
        Ok(name)
    }

    fn take(&mut self, sample: MetricSample) -> Result<(), &'static str> {
        let name = self.name(&sample)?.to_owned();
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
        let family = match self.families.entry(name) {
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
            let name = format!("{PREFIX}{name}");
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
        let help = "Samples of the provider that can't be shown";
        let mut family = encoder.encode_descriptor(REFUSED, help, None, MetricType::Counter)?;
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
    fn no_two_metrics_are_shown_by_one_name() {
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        let samples = Arc::<Samples>::default();
        let push = |name, kind| samples.push("p", sample(name, kind, &[], 1.0));
        // The host's own.
        for name in ["calls_in_flight", "metrics_refused", "metrics_refused_total"] {
            push(name, counter);
            push(name, gauge);
        }
        assert!(page(&samples, "p", "vk-0").contains("refused_total{provider=\"p\"} 6"));
        // Of gauges the whole name is theirs.
        push("disks_total", gauge);
        push("disks", gauge);
        push("pulls", counter);
        let shown = page(&samples, "p", "vk-0");
        for name in ["disks_total", "disks", "pulls_total"] {
            let line = format!("\noutrigger_provider_{name}{{provider=\"p\"}} 1.0\n");
            assert_eq!(shown.matches(&line).count(), 1, "{name} in\n{shown}");
        }
        push("disks_total", counter);
        push("pulls_total", gauge);
        let shown = page(&samples, "p", "vk-0");
        assert!(shown.contains("refused_total{provider=\"p\"} 8"), "{shown}");
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
