//! The command line.

use crate::bound;
use crate::cluster::Choice;
use crate::ideal;
use crate::node_churn::NodeChurn;
use crate::scale::Size;
use crate::subject::Kind;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use std::path::PathBuf;

/// Creates and deletes pods over plain Kubernetes API and compares a host with an ideal responder in the same run.
#[derive(Debug, Parser)]
#[command(
    name = "pod-churn",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Build the programs first: cargo build --release -p outrigger -p outrigger-mock -p outrigger-devcluster -p outrigger-bench\n\
                  The exit code says whether all pods came and went, not how fast."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub churn: Churn,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a host with one node and nothing to do
    Idle {
        #[command(flatten)]
        common: Common,
        /// How long to look
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Measure many nodes in one process, and their pods
    Scale {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        scale: Size,
    },
    /// Measure how nodes come and go
    Nodes {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        load: NodeChurn,
    },
    /// Measure logs and sessions, beside a server on Kubernetes' own streaming package; needs Go and a devcluster
    Streams {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        streams: StreamLoad,
    },
    /// Be the ideal responder until stdin is closed
    #[command(hide = true)]
    Ideal(ideal::Config),
    /// Become a program that ends with whoever has started this
    #[command(hide = true)]
    Bound(bound::Bound),
}

/// What all measurements need.
#[derive(Debug, Args)]
pub struct Common {
    /// dev and real start a cluster; else a kubeconfig, or the cluster.json of a running control plane
    #[arg(long, default_value = "dev", value_name = "dev|real|PATH")]
    pub cluster: Choice,
    /// Whom host and ideal responder are, if not who the cluster says
    #[arg(long, value_name = "FILE")]
    pub host_kubeconfig: Option<PathBuf>,
    /// The host's program [default: outrigger beside this one]
    #[arg(long, value_name = "FILE")]
    pub host_binary: Option<PathBuf>,
    /// Where the mock plugin is [default: the directory of the host's program]
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// kwok's program, to be measured as well: tests/bench/kwok.sh builds it
    #[arg(long, value_name = "FILE")]
    pub kwok: Option<PathBuf>,
    /// For configurations and logs [default: a temporary one that stays after a failure]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Quiet time behind each phase
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    pub settle: f64,
    /// Write the report to this file, too
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print every round's figures as JSON in place of the table
    #[arg(long)]
    pub json: bool,
}

/// What the churn is like.
#[derive(Debug, Args)]
pub struct Churn {
    /// Pods of the blast [default: 10000 on a devcluster, else 2000]
    #[arg(long)]
    pub pods: Option<usize>,
    /// Rounds of each subject; they take turns
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Pods a second of the steady part
    #[arg(long, default_value_t = 100.0)]
    pub steady_rate: f64,
    /// Length of the steady part, each way; 0 leaves it out
    #[arg(long, default_value_t = 20.0)]
    pub steady_seconds: f64,
    /// Let pods mount no token, as beside peers that ask for none
    #[arg(long)]
    pub without_tokens: bool,
    /// Measure only this one; may be repeated
    #[arg(long)]
    pub only: Vec<Only>,
}

/// What goes over the streams.
#[derive(Debug, Args)]
pub struct StreamLoad {
    /// How much goes each way, in MiB
    #[arg(long, default_value_t = 1024)]
    pub mebibytes: u64,
    /// Sessions that are open at once, at most 500; memory is taken from those behind the first quarter
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u16).range(8..=500))]
    pub sessions: u16,
    /// Round trips of one session alone
    #[arg(long, default_value_t = 5000)]
    pub trips: usize,
    /// How long all sessions talk at once, five round trips a second each
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Rounds of each subject; they take turns
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Also a real kubelet on containerd, beside a control plane of its own; takes root and Go
    #[arg(long)]
    pub kubelet: bool,
}

/// Names of subjects on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// The ideal responder
    Ideal,
    /// The host as shipped
    Host,
    /// The host without events
    HostWithoutEvents,
    /// kwok, with --kwok
    Kwok,
}

impl Churn {
    /// The subjects, in the order of a round.
    pub fn subjects(&self, kwok: bool) -> Vec<Kind> {
        let all = [
            (Only::Ideal, Kind::Ideal),
            (Only::Host, Kind::Host),
            (Only::HostWithoutEvents, Kind::HostWithoutEvents),
            (Only::Kwok, Kind::Kwok),
        ];
        let wanted = |only: &Only| match self.only.is_empty() {
            true => *only != Only::Kwok || kwok,
            false => self.only.contains(only),
        };
        all.into_iter()
            .filter(|(only, _)| wanted(only))
            .map(|(_, kind)| kind)
            .collect()
    }
}
