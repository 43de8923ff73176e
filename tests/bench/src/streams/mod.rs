//! What a pod's logs and sessions cost, beside a server on Kubernetes' own streaming package (k8s.io/cri-streaming).
//!
//! One client for both, in the same run: the same bytes over the same protocols, over TLS with the same cipher, and both
//! servers verify the client's certificate.

mod boundary;
mod bulk;
mod caller;
mod echo;
mod kubelet;
mod round;
mod server;

use crate::api::Client;
use crate::churn::furnish;
use crate::cli;
use crate::cli::Common;
use crate::cluster::Choice;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::error::Result;
use crate::machine;
use crate::report::Report;
use crate::report::Round;
use crate::round::Sample;
use crate::subject::HostFiles;
use caller::Caller;
use kubelet::Kubelet;
use round::Course;
use round::PROTOCOLS;
use server::Server;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How the peer is called in reports.
pub const PEER: &str = "Kubernetes";
const HOST: &str = "host";
const KUBELET: &str = "kubelet";

/// What all rounds share.
struct Bench<'a> {
    common: &'a Common,
    plan: &'a cli::StreamLoad,
    cluster: &'a Cluster,
    host: &'a HostFiles,
    directory: &'a Path,
    admin: Client,
    namespace: String,
    caller: Caller,
    peer: PathBuf,
    /// Where it is wanted and can be had.
    kubelet: Option<Kubelet>,
}

/// Runs all rounds.
pub async fn run(
    common: &Common,
    plan: &cli::StreamLoad,
    cluster: &Cluster,
    host: &HostFiles,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    if common.cluster != Choice::Dev {
        let reason = "streams take a devcluster, which gives out a certificate of an API server: leave out --cluster";
        return Err(Error::Usage(reason.to_owned()));
    }
    if plan.rounds == 0 || plan.mebibytes == 0 || plan.trips == 0 || plan.seconds <= 0.0 {
        let reason = "--rounds, --mebibytes, --trips and --seconds must be more than 0";
        return Err(Error::Usage(reason.to_owned()));
    }
    let beside = |name: &str| cluster.admin_kubeconfig.with_file_name(name);
    let mut bench = Bench {
        common,
        plan,
        cluster,
        host,
        directory,
        admin: Client::connect(&cluster.admin_kubeconfig).await?,
        namespace: format!("bench-{}", std::process::id()),
        caller: Caller::new(&beside("kubelet-client.crt"), &beside("kubelet-client.key"))?,
        peer: server::build_kubernetes().await?,
        kubelet: None,
    };
    if plan.kubelet {
        bench.kubelet = Kubelet::start(directory).await?;
    }
    report.facts.extend([
        ("peer", machine::version_of(&bench.peer, "version")),
        (
            "load",
            format!(
                "{} MiB each; {} sessions, five round trips of 64 bytes a second each; {} round trips alone; {} rounds",
                plan.mebibytes, plan.sessions, plan.trips, plan.rounds
            ),
        ),
    ]);
    furnish(&bench.admin, &bench.namespace, directory).await?;
    report.facts.extend(
        bench
            .kubelet
            .as_ref()
            .map(|kubelet| ("kubelet", kubelet.version.clone())),
    );
    let outcome = bench.rounds(report).await;
    if let Some(kubelet) = bench.kubelet {
        kubelet.end().await?;
    }
    outcome
}

impl Bench<'_> {
    async fn rounds(&self, report: &mut Report) -> Result<()> {
        let rounds = self.plan.rounds;
        for number in 1..=rounds {
            for subject in [PEER, HOST].into_iter().chain(self.kubelet.as_ref().map(|_| KUBELET)) {
                eprintln!("round {number} of {rounds}: {subject}");
                let samples = self.round(number, subject).await?;
                for sample in &samples {
                    eprintln!("    {}: {:.3} {}", sample.name, sample.value, sample.unit);
                }
                report.rounds.push(Round { subject, samples });
            }
        }
        Ok(())
    }

    async fn round(&self, number: usize, subject: &str) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for protocol in PROTOCOLS {
            let started = Instant::now();
            let bytes = self.plan.mebibytes << 20;
            let kubelet = self.kubelet.as_ref().filter(|_| subject == KUBELET);
            let server = if let Some(kubelet) = kubelet {
                kubelet.server(bytes)
            } else if subject == HOST {
                let name = format!("{}-{number}-{}", self.namespace, protocol.1.to_lowercase());
                let files = (self.host, self.directory);
                Server::host(
                    &name,
                    &self.namespace,
                    self.cluster,
                    files.0,
                    files.1,
                    &self.admin,
                    bytes,
                )
                .await?
            } else {
                Server::kubernetes(&self.peer, &self.namespace, self.cluster, bytes).await?
            };
            let mut course = Course {
                plan: self.plan,
                settle: Duration::from_secs_f64(self.common.settle),
                caller: kubelet.map_or(&self.caller, |kubelet| &kubelet.caller),
                server: &server,
                started,
                protocol,
                samples: Vec::new(),
            };
            course.sessions().await?;
            // These do not go over either of the two.
            if samples.is_empty() {
                course.log().await?;
                if subject == HOST {
                    course.latencies(
                        "a socket pair to a thread and back",
                        &boundary::alone(self.plan.trips).await?,
                    );
                }
            }
            course.peak()?;
            samples.append(&mut course.samples);
            server.stop(&self.admin).await?;
        }
        Ok(samples)
    }
}
