//! What can go wrong, in words for somebody who has just typed `make demo`.

use std::io;
use std::path::PathBuf;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Signals.
    #[error("unable to listen for signals")]
    Signals(#[source] io::Error),
    /// The scratch directory.
    #[error("unable to make a temporary directory; TMPDIR chooses where")]
    Directory(#[source] io::Error),
    /// A file of workloads.
    #[error("unable to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a manifest.
    #[error("unable to use {path}: expected a Kubernetes manifest with apiVersion, kind and metadata.name")]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_yaml::Error,
    },
    /// No manifest.
    #[error("unable to find a *.yaml file in {0}")]
    NoManifest(PathBuf),
    /// Not built.
    #[error("unable to find {0}; build it with `make build`")]
    NotBuilt(PathBuf),
    /// The cluster.
    #[error("unable to start the development cluster")]
    Cluster(#[from] outrigger_devcluster::StartError),
    /// Its kubeconfig.
    #[error("unable to read the cluster's kubeconfig")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// A request.
    #[error("unable to ask the development cluster")]
    Api(#[from] kube::Error),
    /// The host's process.
    #[error("unable to start the host")]
    Host(#[source] io::Error),
    /// The host is gone.
    #[error("the host ended by itself ({status}); its log is {log}")]
    HostEnded {
        /// How.
        status: String,
        /// Where to read on.
        log: PathBuf,
    },
    /// It takes too long.
    #[error("unable to show {what} within {seconds} s: {seen}; the host's log is {log}")]
    TooSlow {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What is there instead.
        seen: String,
        /// Where to read on.
        log: PathBuf,
    },
}

/// An error with its sources, as one sentence.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
