//! What a host costs that has nothing to do.

use crate::api::Client;
use crate::cluster::Cluster;
use crate::error::Result;
use crate::fleet::Nodes;
use crate::process::Process;
use crate::report::Report;
use crate::round::mebibytes;
use crate::subject::HostFiles;
use crate::subject::Kind;
use crate::subject::Subject;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Runs a host with one node and no pod, and looks at it for this long.
pub async fn measure(
    cluster: &Cluster,
    host: &HostFiles,
    directory: &Path,
    span: Duration,
    settle: Duration,
    report: &mut Report,
) -> Result<()> {
    let admin = Client::connect(&cluster.admin_kubeconfig).await?;
    let node = Nodes::one(format!("bench-idle-{}", std::process::id()));
    let subject = Subject::start(Kind::Host, &node, cluster, host, directory, &admin).await?;
    let facts = subject.during(&admin, async |process| look_at(process, span, settle).await);
    report.facts.extend(facts.await?);
    Ok(())
}

async fn look_at(process: Process, span: Duration, settle: Duration) -> Result<[(&'static str, String); 5]> {
    tokio::time::sleep(settle).await;
    let (begin, cpu, wakeups) = (Instant::now(), process.cpu()?, process.wakeups()?);
    let mut resident = Vec::new();
    while begin.elapsed() < span {
        resident.push(process.memory()?.resident);
        tokio::time::sleep(SAMPLE_EVERY.min(span.saturating_sub(begin.elapsed()))).await;
    }
    let took = begin.elapsed().as_secs_f64();
    let cpu = process.cpu()?.saturating_sub(cpu).as_secs_f64();
    let wakeups = process.wakeups()?.saturating_sub(wakeups);
    let peak = process.memory()?.peak;
    resident.sort_unstable();
    let at = |index: usize| resident.get(index).copied().map_or(0.0, mebibytes);
    let (least, median, most) = (at(0), at(resident.len() / 2), at(resident.len().saturating_sub(1)));
    Ok([
        ("time", format!("{took:.0} s")),
        ("CPU", format!("{:.4}% of a core", cpu / took * 100.0)),
        (
            "RSS",
            format!(
                "{median:.1} MiB ({least:.1}..{most:.1}), peak {:.1} MiB",
                mebibytes(peak)
            ),
        ),
        ("wake-ups", format!("{:.1} a second", wakeups as f64 / took)),
        ("threads", threads(process).to_string()),
    ])
}

fn threads(process: Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", process.0)).map_or(0, Iterator::count)
}
