//! One round of one subject: a fresh process on a fresh node, a blast both ways, then a steady rate both ways.

use crate::api::Client;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::fleet::Nodes;
use crate::generator::Direction;
use crate::generator::Generator;
use crate::generator::Pace;
use crate::metrics::Writes;
use crate::process::Process;
use crate::subject::HostFiles;
use crate::subject::Kind;
use crate::subject::Subject;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Enough to open all connections of generator and subject, and to touch all code.
const WARM_UP: usize = 64;

/// What each round does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pods of the blast.
    pub pods: usize,
    /// Whether pods mount the token of their account, as they do unless they say otherwise.
    pub tokens: bool,
    /// Pods a second of the steady part.
    pub steady_rate: f64,
    /// How long the steady part takes each way; nothing leaves it out.
    pub steady: Duration,
    /// The quiet time behind each phase: late writes still belong to it, and memory is read at its end.
    pub settle: Duration,
}

/// A figure of a round.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
}

/// Everything that rounds share.
pub struct Bench<'a> {
    pub cluster: &'a Cluster,
    pub host: &'a HostFiles,
    pub directory: &'a Path,
    /// Whose writes are not counted as load: it looks and tidies up.
    pub admin: Client,
    pub namespace: String,
    pub plan: Plan,
}

impl Bench<'_> {
    /// Runs a round.
    pub async fn round(&self, number: usize, kind: Kind) -> Result<Vec<Sample>> {
        let node = format!("{}-{}-{number}", self.namespace, kind.slug());
        let nodes = Nodes::one(node);
        let subject = Subject::start(kind, &nodes, self.cluster, self.host, self.directory, &self.admin).await?;
        let prefix = format!("{}{number}", kind.slug());
        let work = async |process| {
            let mut course = Course::open(self, process, &nodes).await?;
            course.run(&prefix).await?;
            Ok(course.samples)
        };
        // Whatever happens, somebody's cluster is left without our node; its pods then go with the namespace.
        subject.during(&self.admin, work).await
    }
}

/// A round on its way.
pub struct Course<'a> {
    bench: &'a Bench<'a>,
    generator: Generator,
    client: Client,
    /// The subject's.
    pub process: Process,
    /// What was measured so far.
    pub samples: Vec<Sample>,
}

impl<'a> Course<'a> {
    /// Begins with a generator of its own.
    pub async fn open(bench: &'a Bench<'a>, process: Process, nodes: &Nodes) -> Result<Self> {
        let client = Client::connect(&bench.cluster.admin_kubeconfig).await?;
        Ok(Course {
            bench,
            generator: Generator::open(client.clone(), &bench.namespace, nodes.names(), bench.plan.tokens).await?,
            client,
            process,
            samples: Vec::new(),
        })
    }

    /// Opens all connections and touches all code.
    pub async fn warm_up(&mut self, prefix: &str) -> Result<()> {
        let warm = format!("{prefix}-warm-");
        for direction in [Direction::Up, Direction::Down] {
            self.generator.run(direction, Pace::Blast, &warm, WARM_UP).await?;
        }
        self.settle().await;
        Ok(())
    }

    async fn run(&mut self, prefix: &str) -> Result<()> {
        let plan = self.bench.plan;
        self.warm_up(prefix).await?;
        self.memory("idle")?;
        self.both_ways(Pace::Blast, &format!("{prefix}-blast-"), plan.pods)
            .await?;
        let pods = (plan.steady_rate * plan.steady.as_secs_f64()).round() as usize;
        if pods > 0 {
            self.both_ways(Pace::Steady(plan.steady_rate), &format!("{prefix}-steady-"), pods)
                .await?;
        }
        let peak = self.process.memory()?.peak;
        self.sample("RSS peak", "MiB", mebibytes(peak));
        Ok(())
    }

    async fn both_ways(&mut self, pace: Pace, prefix: &str, pods: usize) -> Result<()> {
        let label = match pace {
            Pace::Blast => "blast",
            Pace::Steady(_) => "steady",
        };
        let before = self.writes().await?;
        self.phase(Direction::Up, pace, label, prefix, pods).await?;
        self.settle().await;
        if pace == Pace::Blast {
            self.memory("loaded")?;
        }
        self.phase(Direction::Down, pace, label, prefix, pods).await?;
        self.settle().await;
        if pace == Pace::Blast {
            self.memory("emptied")?;
        }
        let writes = self.writes().await?.since(&before);
        self.samples.extend(counted(&writes, label, pods));
        Ok(())
    }

    /// Has pods come or go, and measures it.
    pub async fn phase(
        &mut self,
        direction: Direction,
        pace: Pace,
        label: &str,
        prefix: &str,
        pods: usize,
    ) -> Result<()> {
        let (way, span) = match direction {
            Direction::Up => ("up", "created to Ready"),
            Direction::Down => ("down", "deleted to gone"),
        };
        let server = self.bench.cluster.server;
        let begin = (self.process.cpu()?, server.map(Process::cpu).transpose()?);
        let ran = self.generator.run(direction, pace, prefix, pods).await?;
        let end = (self.process.cpu()?, server.map(Process::cpu).transpose()?);
        let per_pod = |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1e3 / pods as f64;
        if pace == Pace::Blast {
            self.sample(
                &format!("{label} {way}"),
                "pods/s",
                pods as f64 / ran.took.as_secs_f64(),
            );
        }
        self.sample(
            &format!("{label} {way}, CPU of the subject"),
            "ms/pod",
            per_pod(begin.0, end.0),
        );
        if let (Some(from), Some(to)) = (begin.1, end.1) {
            self.sample(
                &format!("{label} {way}, CPU of the API server"),
                "ms/pod",
                per_pod(from, to),
            );
        }
        for (quantile, share) in [("p50", 0.5), ("p99", 0.99)] {
            if let Some(value) = ran.latencies.quantile(share) {
                self.sample(
                    &format!("{label} {way}, {span}, {quantile}"),
                    "ms",
                    value.as_secs_f64() * 1e3,
                );
            }
        }
        Ok(())
    }

    async fn writes(&self) -> Result<Writes> {
        Writes::read(&self.bench.admin, &self.client).await
    }

    /// Notes how much memory the subject has.
    pub fn memory(&mut self, when: &str) -> Result<()> {
        let resident = self.process.memory()?.resident;
        self.sample(&format!("RSS {when}"), "MiB", mebibytes(resident));
        Ok(())
    }

    /// Notes a figure.
    pub fn sample(&mut self, name: &str, unit: &'static str, value: f64) {
        self.samples.push(Sample {
            name: name.to_owned(),
            unit,
            value,
        });
    }

    /// The quiet time behind a phase.
    pub async fn settle(&self) {
        tokio::time::sleep(self.bench.plan.settle).await;
    }
}

/// Writes per pod life. Everybody's but the generator's count; nobody but the subject writes pods of its node, and hardly
/// anybody else asks for tokens.
fn counted(writes: &Writes, label: &str, pods: usize) -> Vec<Sample> {
    let sample = |name: &str, unit, value| Sample {
        name: format!("{label}, {name}"),
        unit,
        value,
    };
    let per_pod = |name: &str, count: u64| sample(name, "1/pod", count as f64 / pods as f64);
    let mut samples = vec![per_pod("writes to pods", writes.of("pods"))];
    let mut others = 0;
    for ((verb, resource), count) in &writes.sent {
        let (object, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        match (object, subresource) {
            ("pods" | "events", _) | ("serviceaccounts", "token") => {
                samples.push(per_pod(&format!("{verb} {resource}"), *count));
            }
            _ => others += count,
        }
    }
    samples.push(per_pod("refused writes to pods", writes.refused_of("pods")));
    samples.push(sample("other writes of all clients", "in all", others as f64));
    samples
}

/// Bytes as MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_by_pods_and_leases_by_time() {
        let sent = [
            (("PATCH", "pods/status"), 4),
            (("DELETE", "pods"), 2),
            (("POST", "events"), 6),
            (("POST", "serviceaccounts/token"), 2),
            (("POST", "serviceaccounts"), 1),
            (("PUT", "leases"), 7),
        ];
        let sent = sent.map(|((verb, resource), count)| ((verb.to_owned(), resource.to_owned()), count));
        let writes = Writes {
            sent: sent.into(),
            ..Writes::default()
        };
        let samples = counted(&writes, "blast", 2);
        let rows: Vec<_> = samples
            .iter()
            .map(|sample| (sample.name.as_str(), sample.unit, sample.value))
            .collect();
        assert_eq!(
            rows,
            [
                ("blast, writes to pods", "1/pod", 3.0),
                ("blast, DELETE pods", "1/pod", 1.0),
                ("blast, PATCH pods/status", "1/pod", 2.0),
                ("blast, POST events", "1/pod", 3.0),
                ("blast, POST serviceaccounts/token", "1/pod", 1.0),
                ("blast, refused writes to pods", "1/pod", 0.0),
                ("blast, other writes of all clients", "in all", 8.0),
            ]
        );
    }
}
