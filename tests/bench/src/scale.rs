//! Many nodes in one process: what they and their pods cost at rest and at work, and what is left of it afterwards.

use crate::churn;
use crate::cli::Common;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::fleet::Nodes;
use crate::generator::Direction;
use crate::generator::Pace;
use crate::process::Process;
use crate::report::Report;
use crate::report::Round;
use crate::round::Bench;
use crate::round::Course;
use crate::round::Sample;
use crate::round::mebibytes;
use crate::subject::HostFiles;
use crate::subject::Kind;
use crate::subject::Subject;
use clap::Args;
use clap::ValueEnum;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// How large it is.
#[derive(Debug, Args)]
pub struct Size {
    /// Nodes of each subject
    #[arg(long, default_value_t = 100)]
    pub nodes: usize,
    /// Pods in all
    #[arg(long, default_value_t = 10_000)]
    pub pods: usize,
    /// Rounds of each subject; they take turns
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// How often in a round the pods come and go
    #[arg(long, default_value_t = 1)]
    pub cycles: usize,
    /// How long it is looked at doing nothing, without pods and with all of them
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub rest: f64,
    /// Measure only this one; may be repeated
    #[arg(long)]
    pub only: Vec<Only>,
}

/// Names of subjects on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// The ideal responder
    Ideal,
    /// The host as shipped
    Host,
    /// The host with watches for each node; measured only if asked for
    HostWithOwnWatches,
    /// kwok, with --kwok
    Kwok,
}

impl Size {
    fn subjects(&self, kwok: bool) -> Vec<Kind> {
        let kind = |only: &Only| match only {
            Only::Ideal => Kind::Ideal,
            Only::Host => Kind::Host,
            Only::HostWithOwnWatches => Kind::HostWithOwnWatches,
            Only::Kwok => Kind::Kwok,
        };
        match self.only.as_slice() {
            [] if kwok => vec![Kind::Ideal, Kind::Host, Kind::Kwok],
            [] => vec![Kind::Ideal, Kind::Host],
            only => only.iter().map(kind).collect(),
        }
    }
}

/// Runs all rounds.
pub async fn run(
    common: &Common,
    scale: &Size,
    cluster: &Cluster,
    host: &HostFiles,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    if [scale.nodes, scale.pods, scale.rounds, scale.cycles].contains(&0) {
        return Err(Error::Usage(
            "--nodes, --pods, --rounds and --cycles must be more than 0".to_owned(),
        ));
    }
    let settle = Duration::from_secs_f64(common.settle);
    let bench = churn::bench(cluster, host, directory, settle).await?;
    let Size {
        nodes,
        pods,
        rounds,
        cycles,
        rest,
        ..
    } = scale;
    report.facts.push((
        "load",
        format!("{pods} pods on {nodes} nodes as fast as 32 workers can, {cycles} times; at rest for {rest} s; {rounds} rounds"),
    ));
    churn::in_namespace(&bench, all_rounds(&bench, scale, report)).await
}

async fn all_rounds(bench: &Bench<'_>, scale: &Size, report: &mut Report) -> Result<()> {
    for number in 1..=scale.rounds {
        for kind in scale.subjects(bench.host.kwok.is_some()) {
            eprintln!("round {number} of {}: {}", scale.rounds, kind.title());
            let samples = round(bench, scale, number, kind).await?;
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

async fn round(bench: &Bench<'_>, scale: &Size, number: usize, kind: Kind) -> Result<Vec<Sample>> {
    let prefix = format!("{}-{}-{number}", bench.namespace, kind.slug());
    let nodes = Nodes::many(prefix, scale.nodes);
    let began = Instant::now();
    let subject = Subject::start(kind, &nodes, bench.cluster, bench.host, bench.directory, &bench.admin).await?;
    let took = began.elapsed();
    let prefix = format!("{}{number}", kind.slug());
    let work = async |process| {
        let mut course = Course::open(bench, process, &nodes).await?;
        course_of(&mut course, scale, took, &prefix).await?;
        Ok(course.samples)
    };
    // Whatever happens, somebody's cluster is left without our nodes; their pods then go with the namespace.
    subject.during(&bench.admin, work).await
}

async fn course_of(course: &mut Course<'_>, scale: &Size, took: Duration, prefix: &str) -> Result<()> {
    let nodes = scale.nodes as f64;
    course.sample("started and all nodes Ready after", "s", took.as_secs_f64());
    let cpu = course.process.cpu()?.as_secs_f64();
    course.sample("CPU until then", "ms/node", cpu * 1e3 / nodes);
    course.warm_up(prefix).await?;
    course.memory("idle")?;
    rest(course, scale, "without pods").await?;
    let mut first = 0.0;
    for cycle in 1..=scale.cycles {
        let pods = format!("{prefix}-{cycle}-");
        // Every cycle counts alike, but only the first and the last have lines of their own.
        let shown = course.samples.len();
        course
            .phase(Direction::Up, Pace::Blast, "blast", &pods, scale.pods)
            .await?;
        course.settle().await;
        if cycle == 1 {
            course.memory("loaded")?;
            let peak = course.process.memory()?.peak;
            course.sample("RSS peak until loaded", "MiB", mebibytes(peak));
            course.sample("open files", "in all", files(course.process) as f64);
            rest(course, scale, "with all pods").await?;
        }
        course
            .phase(Direction::Down, Pace::Blast, "blast", &pods, scale.pods)
            .await?;
        course.settle().await;
        let emptied = mebibytes(course.process.memory()?.resident);
        eprintln!("    cycle {cycle}: RSS emptied {emptied:.1} MiB");
        if cycle == 1 {
            first = emptied;
            course.sample("RSS emptied", "MiB", emptied);
        } else {
            course.samples.truncate(shown);
        }
        if cycle > 1 && cycle == scale.cycles {
            course.sample("RSS emptied after the last time", "MiB", emptied);
            course.sample("RSS emptied, last to first", "1", emptied / first);
        }
    }
    let peak = course.process.memory()?.peak;
    course.sample("RSS peak", "MiB", mebibytes(peak));
    Ok(())
}

/// Looks at it doing nothing but what time asks for: leases, statuses.
async fn rest(course: &mut Course<'_>, scale: &Size, when: &str) -> Result<()> {
    if scale.rest <= 0.0 {
        return Ok(());
    }
    let (began, cpu) = (Instant::now(), course.process.cpu()?);
    tokio::time::sleep(Duration::from_secs_f64(scale.rest)).await;
    let burnt = course.process.cpu()?.saturating_sub(cpu).as_secs_f64();
    let share = burnt / began.elapsed().as_secs_f64() * 100.0;
    course.sample(&format!("CPU at rest {when}"), "% of a core", share);
    Ok(())
}

fn files(process: Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.0)).map_or(0, Iterator::count)
}
