//! The cluster that the tests run against, one for all of them.

use super::dev;
use super::real;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use tokio::sync::OnceCell;

/// A cluster, and how to reach it and be reached by it.
#[derive(Debug)]
pub struct Cluster {
    /// What it is, which decides what can be asked of it.
    pub kind: Kind,
    /// For the tests: may do everything.
    pub admin_kubeconfig: PathBuf,
    /// For the hosts under test: may do what `configs/rbac.yaml` allows.
    pub host_kubeconfig: PathBuf,
    /// kubectl, if there is one.
    pub kubectl: Option<PathBuf>,
    /// The authority of the certificate that the API server shows to kubelets, if it is known.
    pub kubelet_client_ca: Option<PathBuf>,
    /// That certificate and its key.
    pub kubelet_client: Option<(PathBuf, PathBuf)>,
    /// A local address that the API server reaches.
    pub host_address: IpAddr,
    /// Why the API server does not proxy to a node at that address, if it does not.
    pub no_node_proxy: Option<String>,
}

/// What kind of cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The embedded development cluster, in this process.
    Dev,
    /// The real control plane, started for this run.
    Real,
    /// Somebody's cluster.
    Foreign,
}

impl Cluster {
    /// The cluster of this run, started when it is first asked for. It goes when this process does.
    pub async fn get() -> &'static Self {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        CLUSTER
            .get_or_init(|| async {
                match std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() {
                    Ok("dev" | "") | Err(_) => dev::shared().await,
                    Ok("real") => real::start().await,
                    Ok(kubeconfig) => Self::foreign(kubeconfig.into()),
                }
            })
            .await
    }

    /// Somebody's cluster: its API server must reach this machine's loopback, or logs can't be read.
    fn foreign(kubeconfig: PathBuf) -> Self {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Self {
            kind: Kind::Foreign,
            host_kubeconfig: variable("OUTRIGGER_TEST_HOST_KUBECONFIG").unwrap_or_else(|| kubeconfig.clone()),
            admin_kubeconfig: kubeconfig,
            kubectl: kubectl_of_path(),
            kubelet_client_ca: variable("OUTRIGGER_TEST_KUBELET_CLIENT_CA"),
            kubelet_client: None,
            host_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            no_node_proxy: Some("API servers refuse to proxy to loopback".to_owned()),
        }
    }

    /// Whether the API server speaks SPDY to nodes where its client speaks WebSocket, unless they declare that they
    /// understand it. The development cluster passes everything through.
    pub fn translates(&self) -> bool {
        match self.kind {
            Kind::Real | Kind::Foreign => true,
            Kind::Dev => false,
        }
    }

    /// Whether other servers' APIs can be put behind its own. Somebody's cluster has a metrics-server of its own.
    pub fn has_aggregation(&self) -> bool {
        self.kind == Kind::Real
    }

    /// Whether controllers make pods of StatefulSets and DaemonSets, and not only of Deployments and Jobs.
    pub fn has_all_controllers(&self) -> bool {
        match self.kind {
            Kind::Real | Kind::Foreign => true,
            Kind::Dev => false,
        }
    }
}

/// The kubectl that a shell would run.
pub fn kubectl_of_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("kubectl"))
        .find(|file| file.is_file())
}

/// A directory for a cluster of this run, which stays, for its logs, until a later run finds this process gone.
pub fn scratch(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outrigger-suite");
    std::fs::create_dir_all(&root).unwrap();
    for entry in std::fs::read_dir(&root).unwrap().flatten() {
        let of_a_process = entry.file_name().into_string().ok();
        let pid = of_a_process
            .as_deref()
            .and_then(|name| name.rsplit_once('-'))
            .map(|(_, pid)| pid.to_owned());
        if pid.is_none_or(|pid| !Path::new("/proc").join(pid).exists()) {
            // Two runs may find the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    root.join(format!("{name}-{}", std::process::id()))
}
