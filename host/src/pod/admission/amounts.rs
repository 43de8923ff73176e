//! What pods ask of their node, as numbers that can be added up.

use super::super::support::Spec;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// Requests of a pod, or of all pods of a node. Cpu in thousandths, everything else in whole units, as the scheduler
/// counts; fractions are rounded up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes of `ephemeral-storage`.
    pub storage: u64,
    /// Everything else, by name. Few pods have any.
    others: Option<Box<Others>>,
}

type Others = BTreeMap<Box<str>, u64>;

/// A list of resources in a manifest.
type List<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl Requests {
    /// What a pod asks for in all: its regular containers and sidecars together, or the largest of its init containers
    /// with the sidecars before it, or what it says for the whole pod, and its overhead (KEP-753, KEP-2837).
    pub fn of(pod: &Spec<'_>) -> Self {
        let mut total = Self::default();
        for container in &pod.containers {
            total.add(&Self::listed(container.resources.get("requests").copied()));
        }
        let (mut sidecars, mut starting) = (Self::default(), Self::default());
        for container in &pod.init_containers {
            let mut own = Self::listed(container.resources.get("requests").copied());
            if container.is_sidecar() {
                total.add(&own);
                sidecars.add(&own);
                own = sidecars.clone();
            } else {
                own.add(&sidecars);
            }
            starting.at_least(&own);
        }
        total.at_least(&starting);
        let list = pod.resources.get("requests").copied().map(read).unwrap_or_default();
        for (name, amount) in &list {
            // The others can't be asked for the whole pod.
            if matches!(&**name, "cpu" | "memory") || name.starts_with("hugepages-") {
                total.set(name, number(name, amount));
            }
        }
        total.add(&Self::listed(pod.overhead));
        total
    }

    fn listed(list: Option<&RawValue>) -> Self {
        let mut requests = Self::default();
        for (name, amount) in list.map(read).unwrap_or_default() {
            requests.set(&name, number(&name, &amount));
        }
        requests
    }

    fn set(&mut self, name: &str, amount: u64) {
        match name {
            "cpu" => self.cpu = amount,
            "memory" => self.memory = amount,
            "ephemeral-storage" => self.storage = amount,
            _ => {
                self.others.get_or_insert_default().insert(name.into(), amount);
            }
        }
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
    }

    /// Takes away what was added.
    pub fn remove(&mut self, other: &Self) {
        self.combine(other, u64::saturating_sub);
    }

    fn at_least(&mut self, other: &Self) {
        self.combine(other, u64::max);
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.storage = with(self.storage, other.storage);
        for (name, amount) in other.others.iter().flat_map(|others| &**others) {
            let own = self.others.get_or_insert_default().entry(name.clone()).or_default();
            *own = with(*own, *amount);
        }
    }

    /// What is asked for, by name, in the order in which the kubelet looks at it; nothing that is not asked for.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let known = [
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("ephemeral-storage", self.storage),
        ];
        let others = self.others.iter().flat_map(|others| &**others);
        let others = others.map(|(name, amount)| (&**name, *amount));
        known.into_iter().chain(others).filter(|(_, amount)| *amount > 0)
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> u64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.storage,
            _ => self
                .others
                .as_ref()
                .and_then(|others| others.get(name))
                .copied()
                .unwrap_or(0),
        }
    }
}

fn read(list: &RawValue) -> List<'_> {
    serde_json::from_str(list.get()).unwrap_or_default()
}

/// A quantity as a number in the unit that its resource is counted in.
pub fn number(resource: &str, quantity: &str) -> u64 {
    let nano = nano(quantity).unwrap_or(0);
    let unit = if resource == "cpu" { 1_000_000 } else { 1_000_000_000 };
    u64::try_from(nano.div_ceil(unit)).unwrap_or(u64::MAX)
}

/// A Kubernetes quantity in billionths; `None` if it is none, or below zero, which no request can be.
fn nano(quantity: &str) -> Option<u128> {
    const ONE: u128 = 1_000_000_000;
    let end = quantity
        .find(|character: char| !matches!(character, '0'..='9' | '.' | '+'))
        .unwrap_or(quantity.len());
    let (digits, suffix) = quantity.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut value: u128 = match whole.trim_start_matches('+') {
        "" if !fraction.is_empty() => 0,
        whole => whole.parse().ok()?,
    };
    let mut divisor: u128 = 1;
    // Beyond what a billionth can show.
    for digit in fraction.bytes().take(18) {
        value = value
            .saturating_mul(10)
            .saturating_add(u128::from(digit.checked_sub(b'0')?));
        divisor *= 10;
    }
    let binary = |power: u32| ONE << (10 * power);
    let scale = match suffix {
        "" => ONE,
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "k" => ONE * 1_000,
        "M" => ONE * 1_000_000,
        "G" => ONE * 1_000_000_000,
        "T" => ONE * 1_000_000_000_000,
        "P" => ONE * 1_000_000_000_000_000,
        "E" => ONE * 1_000_000_000_000_000_000,
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_u128.checked_pow(power.unsigned_abs().min(36))?;
            if power < 0 {
                divisor = divisor.saturating_mul(factor);
                ONE
            } else {
                ONE.saturating_mul(factor)
            }
        }
    };
    Some(value.saturating_mul(scale).div_ceil(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::support;
    use serde_json::{Value, json};

    fn requests(spec: Value) -> Requests {
        let raw = json!({ "spec": spec }).to_string();
        Requests::of(&support::read(raw.as_bytes()).unwrap())
    }

    fn container(name: &str, requests: Value) -> Value {
        json!({ "name": name, "resources": { "requests": requests } })
    }

    #[test]
    fn quantities_are_read_in_every_notation() {
        for (resource, quantity, expected) in [
            ("cpu", "1", 1_000),
            ("cpu", "250m", 250),
            ("cpu", "0.1", 100),
            ("cpu", "1.5", 1_500),
            ("cpu", ".5", 500),
            ("cpu", "1n", 1),
            ("cpu", "2e3", 2_000_000),
            ("cpu", "5e-1", 500),
            ("memory", "64Mi", 64 << 20),
            ("memory", "1.5Gi", 3 << 29),
            ("memory", "128974848", 128_974_848),
            ("memory", "129e6", 129_000_000),
            ("memory", "129M", 129_000_000),
            ("memory", "100m", 1),
            ("memory", "1Ei", 1 << 60),
            ("memory", "1E", 1_000_000_000_000_000_000),
            ("memory", "99999E", u64::MAX),
            ("memory", "-1", 0),
            ("memory", "plenty", 0),
            ("memory", "", 0),
        ] {
            assert_eq!(number(resource, quantity), expected, "{quantity}");
        }
    }

    #[test]
    fn init_containers_count_where_they_need_more_than_the_rest() {
        let spec = json!({
            "initContainers": [container("a", json!({"cpu": "3", "memory": "1Ki"})), container("b", json!({"cpu": "1"}))],
            "containers": [container("c", json!({"cpu": "1", "memory": "4Ki"})), container("d", json!({"cpu": "500m"}))],
        });
        let requests = requests(spec);
        assert_eq!((requests.cpu, requests.memory), (3_000, 4 << 10));
    }

    #[test]
    fn sidecars_count_with_what_runs_beside_them() {
        let sidecar = |name: &str| {
            let mut sidecar = container(name, json!({"cpu": "1"}));
            sidecar["restartPolicy"] = "Always".into();
            sidecar
        };
        let containers = json!([container("c", json!({"cpu": "1"}))]);
        let late =
            json!({ "initContainers": [container("i", json!({"cpu": "2"})), sidecar("s")], "containers": containers });
        assert_eq!(requests(late).cpu, 2_000);
        let early =
            json!({ "initContainers": [sidecar("s"), container("i", json!({"cpu": "2"}))], "containers": containers });
        assert_eq!(requests(early).cpu, 3_000);
    }

    #[test]
    fn what_the_whole_pod_asks_for_replaces_its_containers_and_overhead_comes_on_top() {
        let spec = json!({
            "resources": { "requests": { "cpu": "4" } },
            "containers": [container("c", json!({"cpu": "1", "memory": "2Ki", "example.com/gpu": "2"}))],
            "overhead": { "memory": "1Ki" },
        });
        let requests = requests(spec);
        assert_eq!(
            requests.iter().collect::<Vec<_>>(),
            [("cpu", 4_000), ("memory", 3 << 10), ("example.com/gpu", 2)]
        );
    }

    #[test]
    fn what_is_added_can_be_taken_away() {
        let one = requests(json!({ "containers": [container("c", json!({"cpu": "1", "example.com/gpu": "2"}))] }));
        let mut sum = Requests::default();
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.cpu, sum.get("example.com/gpu")), (2_000, 4));
        sum.remove(&one);
        sum.remove(&one);
        assert_eq!(sum.iter().count(), 0);
    }
}
