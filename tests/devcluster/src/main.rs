//! `devcluster`: a development API server in one command.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use outrigger_devcluster::{Controllers, DevCluster, Running};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A development API server for Outrigger: Kubernetes' API in memory, on loopback only, nothing survives it.
#[derive(Debug, Parser)]
#[command(name = "devcluster", version)]
struct Args {
    /// Address to listen on; only loopback addresses are accepted
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Directory for kubeconfig, token and certificates [default: a temporary one that goes with the process]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Serve without TLS (for benches)
    #[arg(long)]
    plain_http: bool,
    /// Leave pending pods alone
    #[arg(long)]
    no_scheduler: bool,
    /// Leave nodes with an old lease alone
    #[arg(long)]
    no_node_lifecycle: bool,
    /// Leave ReplicaSets, Deployments and Jobs alone
    #[arg(long)]
    no_workloads: bool,
    /// Leave pods of vanished nodes alone
    #[arg(long)]
    no_pod_gc: bool,
    /// Events kept per resource for watches from an earlier revision
    #[arg(long, default_value_t = 20_000)]
    history: usize,
    /// Threads that serve requests; 1 runs everything on the main thread
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// What to log: error, warn, info, debug, trace, or a tracing filter directive
    #[arg(long, default_value = "warn")]
    log_level: String,
}

/// sysexits: wrong usage.
const EX_USAGE: u8 = 64;
/// sysexits: a needed service or resource is not there.
const EX_UNAVAILABLE: u8 = 69;
/// sysexits: internal failure.
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Where the text can't be printed there is nobody to read it.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let filter = match EnvFilter::try_new(&args.log_level) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("unable to read --log-level: {error}; use error, warn, info, debug or trace");
            return ExitCode::from(EX_USAGE);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match args.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build(),
    };
    match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => {
            eprintln!("unable to start the runtime: {error}");
            ExitCode::from(EX_SOFTWARE)
        }
    }
}

async fn run(args: Args) -> ExitCode {
    let (mut interrupt, mut terminate) = match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("unable to listen for signals: {error}");
            return ExitCode::from(EX_SOFTWARE);
        }
    };
    let controllers = Controllers {
        scheduler: !args.no_scheduler,
        node_lifecycle: !args.no_node_lifecycle,
        workloads: !args.no_workloads,
        pod_gc: !args.no_pod_gc,
        ..Controllers::default()
    };
    let mut builder = DevCluster::builder()
        .address(args.address)
        .port(args.port)
        .plain_http(args.plain_http)
        .history(args.history)
        .controllers(controllers);
    if let Some(dir) = args.dir {
        builder = builder.dir(dir);
    }
    let running = match builder.start().await {
        Ok(running) => running,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            eprintln!("{text}");
            let usage = matches!(error, outrigger_devcluster::StartError::NotLoopback(_));
            return ExitCode::from(if usage { EX_USAGE } else { EX_UNAVAILABLE });
        }
    };
    announce(&running);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    running.shutdown().await;
    ExitCode::SUCCESS
}

/// The banner goes to stderr; stdout has the one line that a shell can evaluate.
fn announce(running: &Running) {
    eprintln!("devcluster: a DEVELOPMENT API server on {}", running.url());
    eprintln!(
        "  in memory: everything is lost when it ends; loopback only; no RBAC: whoever has the token may do everything"
    );
    eprintln!(
        "  kubelet client CA (a host's clientCAFile): {}",
        running.files().kubelet_client_ca().display()
    );
    // A closed stdout must not end the server.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "export KUBECONFIG={}", running.kubeconfig().display());
    let _ = out.flush();
}
