//! The API servers that pods are churned on.

mod dev;
mod real;

use crate::api::Client;
use crate::error::Error;
use crate::error::Result;
use crate::process::Process;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::process::Child;

/// Which cluster to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A devcluster of our own.
    Dev,
    /// A control plane of `tests/controlplane` of our own.
    Real,
    /// Somebody's: a kubeconfig, or the `cluster.json` of a control plane that runs already.
    Existing(PathBuf),
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "dev" => Self::Dev,
            "real" => Self::Real,
            path => Self::Existing(path.into()),
        })
    }
}

/// A cluster that answers.
pub struct Cluster {
    /// What it is, for the report.
    pub name: String,
    /// For the generator: may do everything.
    pub admin_kubeconfig: PathBuf,
    /// For the subjects: may do what a host has to.
    pub host_kubeconfig: PathBuf,
    /// Where the subjects' nodes are.
    pub node_address: IpAddr,
    /// The API server, if it runs here.
    pub server: Option<Process>,
    /// Ends with this, if it was started for the bench.
    owned: Option<Child>,
}

/// What a cluster may take to end when it was told to.
const END: Duration = Duration::from_secs(60);

impl Cluster {
    /// Starts it, if it has to be; its files go to `directory`.
    pub async fn open(choice: &Choice, host_kubeconfig: Option<&Path>, directory: &Path) -> Result<Self> {
        let mut cluster = match choice {
            Choice::Dev => dev::start(directory).await?,
            Choice::Real => real::start(directory).await?,
            Choice::Existing(path) if path.extension().is_some_and(|extension| extension == "json") => {
                real::read(path)?
            }
            Choice::Existing(path) => Self {
                name: "kubeconfig".to_owned(),
                admin_kubeconfig: path.clone(),
                host_kubeconfig: path.clone(),
                node_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                server: None,
                owned: None,
            },
        };
        if let Some(path) = host_kubeconfig {
            cluster.host_kubeconfig = path.to_owned();
        }
        Ok(cluster)
    }

    /// Ends it, if it was started for the bench: afterwards nothing of it runs or uses its directory.
    pub async fn close(self) -> Result<()> {
        let Some(mut owned) = self.owned else {
            return Ok(());
        };
        // A control plane ends with the pipe, a devcluster by a signal.
        if owned.stdin.take().is_none() {
            owned
                .start_kill()
                .map_err(|error| failed(Path::new("cluster"), error))?;
        }
        match tokio::time::timeout(END, owned.wait()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failed(Path::new("cluster"), error)),
            Err(_) => Err(failed(Path::new("cluster"), format!("it did not end within {END:?}"))),
        }
    }

    /// Its version in a line.
    pub async fn version(&self, admin: &Client) -> Result<String> {
        let version = admin.find("/version").await?.unwrap_or_default();
        let version = version["gitVersion"].as_str().unwrap_or("unknown version");
        Ok(format!("{} ({version})", self.name))
    }
}

fn failed(program: &Path, reason: impl ToString) -> Error {
    Error::Program {
        program: program.display().to_string(),
        reason: reason.to_string(),
    }
}
