//! For tests: an API server in this process.

use crate::api::Client;
use outrigger_devcluster::DevCluster;
use outrigger_devcluster::Running;

/// A cluster, and its administrator.
pub async fn cluster() -> (Running, Client) {
    let running = DevCluster::builder().start().await.unwrap();
    let client = Client::connect(&running.kubeconfig()).await.unwrap();
    (running, client)
}
