//! How fast nodes come and go, and at what cost: registered by a process that starts, registered again after somebody has
//! deleted them all, and taken away by a process that ends.

use crate::churn;
use crate::cli::Common;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::error::tidied;
use crate::fleet::Nodes;
use crate::process::Process;
use crate::report::Report;
use crate::report::Round;
use crate::round::Bench;
use crate::round::Sample;
use crate::round::mebibytes;
use crate::subject::HostFiles;
use crate::subject::Kind;
use crate::subject::Subject;
use clap::Args;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// Nothing may take longer.
const LIMIT: Duration = Duration::from_secs(300);
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How large it is.
#[derive(Debug, Args)]
pub struct NodeChurn {
    /// Nodes of each subject
    #[arg(long, default_value_t = 500)]
    pub nodes: usize,
    /// Rounds of each subject; they take turns
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
}

/// Runs all rounds.
pub async fn run(
    common: &Common,
    load: &NodeChurn,
    cluster: &Cluster,
    host: &HostFiles,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    if load.nodes == 0 || load.rounds == 0 {
        return Err(Error::Usage("--nodes and --rounds must be more than 0".to_owned()));
    }
    let settle = Duration::from_secs_f64(common.settle);
    let bench = churn::bench(cluster, host, directory, settle).await?;
    report
        .facts
        .push(("load", format!("{} nodes, {} rounds", load.nodes, load.rounds)));
    let mut kinds = vec![Kind::Host];
    kinds.extend(host.kwok.is_some().then_some(Kind::Kwok));
    for number in 1..=load.rounds {
        for kind in &kinds {
            eprintln!("round {number} of {}: {}", load.rounds, kind.title());
            let samples = round(&bench, load.nodes, number, *kind).await?;
            for Sample { name, unit, value } in &samples {
                eprintln!("    {name}: {value:.3} {unit}");
            }
            report.rounds.push(Round {
                subject: kind.title(),
                samples,
            });
        }
    }
    Ok(())
}

async fn round(bench: &Bench<'_>, count: usize, number: usize, kind: Kind) -> Result<Vec<Sample>> {
    let nodes = Nodes::many(format!("{}-{}-{number}", bench.namespace, kind.slug()), count);
    let mut figures = Figures {
        nodes: count as f64,
        samples: Vec::new(),
    };
    let began = Instant::now();
    let mut subject = Subject::start(kind, &nodes, bench.cluster, bench.host, bench.directory, &bench.admin).await?;
    let outcome = course(bench, &nodes, kind, began, &mut subject, &mut figures).await;
    tidied(outcome, subject.stop(&bench.admin).await)?;
    Ok(figures.samples)
}

async fn course(
    bench: &Bench<'_>,
    nodes: &Nodes,
    kind: Kind,
    began: Instant,
    subject: &mut Subject,
    figures: &mut Figures,
) -> Result<()> {
    let process = subject.process()?;
    figures.note("registered", began.elapsed(), process.cpu()?);
    tokio::time::sleep(bench.plan.settle).await;
    figures.sample("RSS", "MiB", mebibytes(process.memory()?.resident));
    if kind.is_host() {
        tokio::select! {
            outcome = host_only(bench, nodes, process, figures) => outcome?,
            error = subject.disturbed() => return Err(error),
        }
        return leave(bench, nodes, subject, process, figures).await;
    }
    let (began, cpu) = (Instant::now(), process.cpu()?);
    nodes.delete(&bench.admin).await?;
    tokio::time::sleep(bench.plan.settle).await;
    let spent = process.cpu()?.saturating_sub(cpu);
    figures.note("deleted", began.elapsed().saturating_sub(bench.plan.settle), spent);
    Ok(())
}

/// Somebody deletes all Node objects; the host makes them again.
async fn host_only(bench: &Bench<'_>, nodes: &Nodes, process: Process, figures: &mut Figures) -> Result<()> {
    let mut watch = nodes.watch(&bench.admin).await?;
    let (began, cpu) = (Instant::now(), process.cpu()?);
    let (deleted, ready) = tokio::join!(
        nodes.delete(&bench.admin),
        tokio::time::timeout(LIMIT, watch.all_ready())
    );
    deleted?;
    ready.unwrap_or_else(|_| Err(late("all nodes Ready again", bench)))?;
    let spent = process.cpu()?.saturating_sub(cpu);
    figures.note("deleted by somebody and registered again", began.elapsed(), spent);
    tokio::time::sleep(bench.plan.settle).await;
    Ok(())
}

/// The host ends and takes its nodes with it.
async fn leave(
    bench: &Bench<'_>,
    nodes: &Nodes,
    subject: &mut Subject,
    process: Process,
    figures: &mut Figures,
) -> Result<()> {
    let (began, cpu) = (Instant::now(), process.cpu()?);
    subject.term();
    let mut last = cpu;
    // Its last figure before it is gone.
    while began.elapsed() < LIMIT {
        last = process.cpu().unwrap_or(last);
        if !subject.is_running() {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    let took = began.elapsed();
    let list = bench.admin.find("/api/v1/nodes").await?.unwrap_or_default();
    let left = list["items"].as_array().map_or(0, |items| {
        let ours = |item: &&serde_json::Value| {
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            name.starts_with(nodes.prefix())
        };
        items.iter().filter(ours).count()
    });
    if left > 0 {
        return Err(late("all nodes gone with the host", bench));
    }
    figures.note("deregistered, and the host has ended", took, last.saturating_sub(cpu));
    Ok(())
}

fn late(what: &str, bench: &Bench<'_>) -> Error {
    Error::Late {
        what: what.to_owned(),
        limit: LIMIT,
        log: bench.directory.to_owned(),
    }
}

struct Figures {
    nodes: f64,
    samples: Vec<Sample>,
}

impl Figures {
    fn note(&mut self, what: &str, took: Duration, cpu: Duration) {
        self.sample(what, "nodes/s", self.nodes / took.as_secs_f64());
        self.sample(
            &format!("{what}, CPU of the subject"),
            "ms/node",
            cpu.as_secs_f64() * 1e3 / self.nodes,
        );
    }

    fn sample(&mut self, name: &str, unit: &'static str, value: f64) {
        self.samples.push(Sample {
            name: name.to_owned(),
            unit,
            value,
        });
    }
}
