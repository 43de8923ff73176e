//! A whole run: rounds of all subjects, taking turns.

use crate::api::Client;
use crate::cli::Churn;
use crate::cli::Common;
use crate::cluster::Choice;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::error::tidied;
use crate::report::Report;
use crate::report::Round;
use crate::round::Bench;
use crate::round::Plan;
use crate::subject::HostFiles;
use bytes::Bytes;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

const FURNISHED: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(50);
const DEV_PODS: usize = 10_000;
const REAL_PODS: usize = 2_000;

/// Runs all rounds.
pub async fn run(
    common: &Common,
    churn: &Churn,
    cluster: &Cluster,
    host: &HostFiles,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    let pods = churn.pods.unwrap_or(if common.cluster == Choice::Dev {
        DEV_PODS
    } else {
        REAL_PODS
    });
    if pods == 0 || churn.rounds == 0 || churn.steady_rate <= 0.0 || churn.steady_seconds < 0.0 {
        return Err(Error::Usage(
            "--pods, --rounds and --steady-rate must be more than 0, --steady-seconds 0 or more".to_owned(),
        ));
    }
    let settle = Duration::from_secs_f64(common.settle);
    let mut bench = bench(cluster, host, directory, settle).await?;
    bench.plan = Plan {
        pods,
        tokens: !churn.without_tokens,
        steady_rate: churn.steady_rate,
        steady: Duration::from_secs_f64(churn.steady_seconds),
        settle,
    };
    report.facts.push((
        "load",
        format!(
            "{pods} pods{} as fast as 32 workers can; {} pods/s for {} s each way; {} rounds",
            if churn.without_tokens { " without tokens" } else { "" },
            churn.steady_rate,
            churn.steady_seconds,
            churn.rounds
        ),
    ));
    in_namespace(&bench, rounds(&bench, churn, report)).await
}

/// Has something done in a bench's namespace, which is made for it and goes with all that is in it, whatever has come of it.
pub async fn in_namespace<T>(bench: &Bench<'_>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let outcome = async {
        furnish(&bench.admin, &bench.namespace, bench.directory).await?;
        work.await
    };
    let outcome = outcome.await;
    let path = format!("/api/v1/namespaces/{}", bench.namespace);
    tidied(outcome, bench.admin.delete("namespaces", &path, Bytes::new()).await)
}

/// What rounds share, with a plan of nothing but its quiet times.
pub async fn bench<'a>(
    cluster: &'a Cluster,
    host: &'a HostFiles,
    directory: &'a Path,
    settle: Duration,
) -> Result<Bench<'a>> {
    Ok(Bench {
        cluster,
        host,
        directory,
        admin: Client::connect(&cluster.admin_kubeconfig).await?,
        namespace: format!("bench-{}", std::process::id()),
        plan: Plan {
            pods: 0,
            tokens: true,
            steady_rate: 0.0,
            steady: Duration::ZERO,
            settle,
        },
    })
}

async fn rounds(bench: &Bench<'_>, churn: &Churn, report: &mut Report) -> Result<()> {
    for number in 1..=churn.rounds {
        for kind in churn.subjects(bench.host.kwok.is_some()) {
            eprintln!("round {number} of {}: {}", churn.rounds, kind.title());
            let samples = bench.round(number, kind).await?;
            for sample in samples
                .iter()
                .filter(|sample| sample.name.starts_with("blast") && sample.unit != "1/pod")
            {
                eprintln!("    {}: {:.3} {}", sample.name, sample.value, sample.unit);
            }
            report.rounds.push(Round {
                subject: kind.title(),
                samples,
            });
        }
    }
    Ok(())
}

/// Makes the namespace and waits for the service account without which no pod is admitted.
pub async fn furnish(admin: &Client, name: &str, directory: &Path) -> Result<()> {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    admin
        .create("namespaces", "/api/v1/namespaces", Bytes::from(namespace.to_string()))
        .await?;
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    let deadline = Instant::now() + FURNISHED;
    while admin.find(&account).await?.is_none() {
        if Instant::now() > deadline {
            return Err(Error::Late {
                what: format!("service account default in namespace {name}"),
                limit: FURNISHED,
                log: directory.to_owned(),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(())
}
