//! `pod-churn`: how fast pods come and go on a virtual node, and at what cost.
//!
//! It speaks plain Kubernetes API and knows nothing of the host but how to start it. Beside the host, in the same run, it
//! measures an ideal responder that sends a correct host's writes and does nothing else.
//!
//! `pod-churn streams`: what a pod's logs and sessions cost, beside a server on Kubernetes' own streaming package.

mod api;
mod bound;
mod churn;
mod cli;
mod cluster;
mod error;
mod fleet;
mod generator;
mod ideal;
mod idle;
mod interrupt;
mod kwok;
mod latencies;
mod machine;
mod metrics;
mod node_churn;
mod process;
mod report;
mod round;
mod scale;
mod streams;
mod subject;
#[cfg(test)]
mod testing;

use clap::Parser;
use cli::Cli;
use cli::Command;
use cli::Common;
use cluster::Cluster;
use error::Error;
use error::Result;
use error::tidied;
use report::Report;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use subject::HostFiles;

/// sysexits: wrong usage.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: what the generator and the ideal responder do not burn is left to the API server.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("unable to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = dispatch(cli) => outcome,
            told = interrupt::insisted() => Err(told),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.chain());
            match error {
                Error::Usage(_) => ExitCode::from(USAGE),
                Error::Told(signal) => ExitCode::from(interrupt::exit_code(signal)),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

async fn dispatch(cli: Cli) -> Result<()> {
    match cli.command {
        Some(Command::Ideal(config)) => ideal::run(config).await,
        Some(Command::Bound(bound)) => Err(bound::run(bound)),
        Some(Command::Idle { common, seconds }) => measure(&common, Job::Idle(Duration::from_secs(seconds))).await,
        Some(Command::Scale { common, scale }) => measure(&common, Job::Scale(&scale)).await,
        Some(Command::Nodes { common, load }) => measure(&common, Job::Nodes(&load)).await,
        Some(Command::Streams { common, streams }) => measure(&common, Job::Streams(&streams)).await,
        None => measure(&cli.common, Job::Churn(&cli.churn)).await,
    }
}

enum Job<'a> {
    Idle(Duration),
    Churn(&'a cli::Churn),
    Scale(&'a scale::Size),
    Nodes(&'a node_churn::NodeChurn),
    Streams(&'a cli::StreamLoad),
}

/// Prepares files and cluster, does the job, shows the report. Files stay when it fails.
async fn measure(common: &Common, job: Job<'_>) -> Result<()> {
    interrupt::listen()?;
    let scratch = |source| Error::File {
        verb: "create",
        path: common.dir.clone().unwrap_or_else(std::env::temp_dir),
        source,
    };
    let temporary = match &common.dir {
        Some(path) => std::fs::create_dir_all(path).map(|()| None).map_err(scratch)?,
        None => Some(
            tempfile::Builder::new()
                .prefix("pod-churn-")
                .tempdir()
                .map_err(scratch)?,
        ),
    };
    let directory = match (&common.dir, &temporary) {
        (Some(path), _) => path.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    let directory = directory.canonicalize().map_err(scratch)?;
    let outcome = measure_in(common, job, &directory).await;
    if outcome.is_err()
        && let Some(temporary) = temporary
    {
        eprintln!("logs stay in {}", temporary.keep().display());
    }
    outcome
}

async fn measure_in(common: &Common, job: Job<'_>, directory: &Path) -> Result<()> {
    let host = host_files(common)?;
    let cluster = tokio::select! {
        cluster = Cluster::open(&common.cluster, common.host_kubeconfig.as_deref(), directory) => cluster?,
        told = interrupt::told() => return Err(told),
    };
    let outcome = measure_on(&cluster, common, job, &host, directory).await;
    tidied(outcome, cluster.close().await)
}

async fn measure_on(
    cluster: &Cluster,
    common: &Common,
    job: Job<'_>,
    host: &HostFiles,
    directory: &Path,
) -> Result<()> {
    let admin = api::Client::connect(&cluster.admin_kubeconfig).await?;
    let mut report = match job {
        Job::Streams(_) => Report::new("streams", streams::PEER),
        Job::Idle(_) | Job::Churn(_) | Job::Scale(_) => Report::new("pod-churn", subject::Kind::Ideal.title()),
        Job::Nodes(_) => Report::new("node-churn", subject::Kind::Kwok.title()),
    };
    report.facts.extend([
        (
            "when",
            jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        ),
        ("machine", machine::describe()),
        ("cluster", cluster.version(&admin).await?),
        ("host", machine::version_of(&host.binary, "version")),
    ]);
    report
        .facts
        .extend(machine::sources().map(|commit| ("sources", commit)));
    let kwok = host.kwok.as_deref().map(|kwok| machine::version_of(kwok, "--version"));
    report.facts.extend(kwok.map(|version| ("kwok", version)));
    match job {
        Job::Idle(span) => {
            let settle = Duration::from_secs_f64(common.settle);
            idle::measure(cluster, host, directory, span, settle, &mut report).await?;
        }
        Job::Scale(scale) => scale::run(common, scale, cluster, host, directory, &mut report).await?,
        Job::Nodes(load) => node_churn::run(common, load, cluster, host, directory, &mut report).await?,
        // All that it starts ends with what it holds of it, and with the cluster, which is its own.
        Job::Streams(plan) => tokio::select! {
            outcome = streams::run(common, plan, cluster, host, directory, &mut report) => outcome?,
            told = interrupt::told() => return Err(told),
        },
        Job::Churn(churn) => churn::run(common, churn, cluster, host, directory, &mut report).await?,
    }
    show(common, &report)
}

fn host_files(common: &Common) -> Result<HostFiles> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|source| Error::File {
            verb: "find",
            path: path.to_owned(),
            source,
        })
    };
    let own = std::env::current_exe().map_err(|source| Error::File {
        verb: "find",
        path: "pod-churn".into(),
        source,
    })?;
    let binary = absolute(
        common
            .host_binary
            .as_deref()
            .unwrap_or(&own.with_file_name("outrigger")),
    )?;
    let plugins = match &common.plugin_dir {
        Some(path) => absolute(path)?,
        None => binary.parent().map(Path::to_owned).unwrap_or_default(),
    };
    let kwok = common.kwok.as_deref().map(absolute).transpose()?;
    Ok(HostFiles { binary, plugins, kwok })
}

fn show(common: &Common, report: &Report) -> Result<()> {
    let text = if common.json {
        serde_json::to_string_pretty(report).map_err(|error| Error::Malformed {
            what: "the report".to_owned(),
            reason: error.to_string(),
        })?
    } else {
        report.markdown()
    };
    if let Some(path) = &common.out {
        std::fs::write(path, &text).map_err(|source| Error::File {
            verb: "write",
            path: path.clone(),
            source,
        })?;
    }
    println!("{text}");
    Ok(())
}
