//! `demo`: a development cluster in this process, a host beside it with two virtual nodes of the mock provider, the
//! workloads of a directory on them, and how all of it looks. It stays until a signal ends it, and takes all of it along.

mod error;
mod host;
mod look;
mod workloads;

use error::Error;
use host::Host;
use kube::config::Kubeconfig;
use kube::{Client, Config};
use outrigger_devcluster::{DevCluster, Running};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// sysexits: wrong usage.
const EX_USAGE: u8 = 64;
/// sysexits: something that is needed is not there.
const EX_UNAVAILABLE: u8 = 69;

#[tokio::main]
async fn main() -> ExitCode {
    let Some(workloads) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: demo DIRECTORY-OF-WORKLOADS, e.g. configs/demo; `make demo` does that");
        return EX_USAGE.into();
    };
    match demo(&workloads).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error::chain(&error));
            EX_UNAVAILABLE.into()
        }
    }
}

/// Everything that can end the demo in order, the closing of its terminal too.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn demo(manifests: &Path) -> Result<(), Error> {
    let mut signals = Signals::listen()?;
    let objects = workloads::read(manifests)?;
    let mut directory = tempfile::Builder::new()
        .prefix("outrigger-demo-")
        .tempdir()
        .map_err(Error::Directory)?;
    let cluster = DevCluster::builder().dir(directory.path()).start().await?;
    let mut host = match Host::start(directory.path(), &cluster) {
        Ok(host) => host,
        Err(error) => {
            cluster.shutdown().await;
            return Err(error);
        }
    };
    let outcome = tokio::select! {
        outcome = present(&cluster, &host, &objects) => match outcome {
            Ok(()) => tokio::select! {
                () = signals.any() => Ok(()),
                ended = host.ended() => Err(ended),
            },
            failed => failed,
        },
        () = signals.any() => Ok(()),
    };
    if outcome.is_err() {
        // The host's log tells why.
        directory.disable_cleanup(true);
    }
    say("\ntaking everything down");
    host.stop().await;
    cluster.shutdown().await;
    outcome
}

async fn present(cluster: &Running, host: &Host, objects: &[workloads::Object]) -> Result<(), Error> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let client = Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?)?;
    say(&format!(
        "cluster   {}, a development API server in memory",
        cluster.url()
    ));
    say(&format!(
        "host      {} with plugin {}",
        host.program().display(),
        host::PLUGIN
    ));
    say(&format!(
        "files     {} (host.yaml, host.log)\n",
        host.directory().display()
    ));

    let nodes = look::nodes_ready(&client, &host::NODES, host).await?;
    say(&look::node_table(&nodes));
    for object in objects {
        say(&format!("created   {}", workloads::create(&client, object).await?));
    }
    let pods = look::workloads_done(&client, objects, host).await?;
    say(&format!("\n{}", look::pod_table(&pods)));
    let (pod, line) = look::log_line(&client, &pods, host).await?;
    say(&format!("log of {pod}: {line}\n"));
    say("All of this goes on until ctrl-C. In another shell:\n");
    say(&format!("    export KUBECONFIG={}\n", cluster.kubeconfig().display()));
    say("and then, for example:\n");
    say("    kubectl get nodes; kubectl get pods -o wide; kubectl describe pod broken; kubectl logs deployment/web");
    Ok(())
}

/// Prints; a closed stdout does not end the demo.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
