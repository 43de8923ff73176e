//! An API server or a node, which have ways of their own to the same pod.

use crate::Error;
use futures::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::Config;
use kube::api::AttachParams;
use kube::api::AttachedProcess;
use kube::api::LogParams;
use kube::api::Portforwarder;
use kube::core::kubelet_debug::KubeletDebugParams;
use tokio_util::compat::FuturesAsyncReadCompatExt;

/// As it is called in all pods of those tests.
const CONTAINER: &str = "app";

/// Whom to ask.
pub struct Target {
    client: Client,
    namespace: String,
    direct: bool,
}

impl Target {
    /// What the environment says.
    pub async fn new() -> Result<Self, Error> {
        let node = std::env::var("INTEROP_NODE").ok();
        let mut config = match &node {
            Some(address) => Config::new(format!("https://{address}").parse()?),
            None => Config::infer().await?,
        };
        if node.is_some() {
            // A node's certificate is its own.
            config.accept_invalid_certs = true;
            config.auth_info.client_certificate = Some(std::env::var("INTEROP_CERTIFICATE")?);
            config.auth_info.client_key = Some(std::env::var("INTEROP_KEY")?);
        }
        // A log may be silent for long, and a session too.
        config.read_timeout = None;
        Ok(Self {
            client: Client::try_from(config)?,
            namespace: std::env::var("INTEROP_NAMESPACE")?,
            direct: node.is_some(),
        })
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn at_node<'a>(&'a self, pod: &'a str) -> KubeletDebugParams<'a> {
        KubeletDebugParams {
            name: pod,
            namespace: &self.namespace,
            pod_uid: None,
        }
    }

    /// Starts a command.
    pub async fn exec(&self, pod: &str, command: &[&str], params: &AttachParams) -> Result<AttachedProcess, Error> {
        let started = match self.direct {
            true => {
                let command = command.iter().copied();
                let pod = self.at_node(pod);
                self.client.kubelet_node_exec(&pod, CONTAINER, command, params).await
            }
            false => self.pods().exec(pod, command.iter().copied(), params).await,
        };
        Ok(started?)
    }

    /// Opens a connection to a port.
    pub async fn forward(&self, pod: &str, port: u16) -> Result<Portforwarder, Error> {
        let opened = match self.direct {
            true => self.client.kubelet_node_portforward(&self.at_node(pod), &[port]).await,
            false => self.pods().portforward(pod, &[port]).await,
        };
        Ok(opened?)
    }

    /// Copies a log to the output, as it comes and to its end.
    pub async fn follow(&self, pod: &str) -> Result<(), Error> {
        let params = LogParams {
            follow: true,
            ..LogParams::default()
        };
        match self.direct {
            true => {
                let pod = self.at_node(pod);
                print(self.client.kubelet_node_logs(&pod, CONTAINER, &params).await?).await
            }
            false => print(self.pods().log_stream(pod, &params).await?).await,
        }
    }
}

async fn print(log: impl AsyncBufRead) -> Result<(), Error> {
    let mut log = std::pin::pin!(log.compat());
    tokio::io::copy_buf(&mut log, &mut tokio::io::stdout()).await?;
    Ok(())
}
