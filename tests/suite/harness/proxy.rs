//! A way to the API server that a test can close.

use super::test::Test;
use kube::config::Kubeconfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections, while it is open. Closed, it hangs up on everybody.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
    tries: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A way to `target`, open or closed at first.
    pub async fn start(target: SocketAddr, open: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tries = Arc::new(AtomicUsize::new(0));
        let (open, state) = watch::channel(open);
        let task = tokio::spawn(accept(listener, target, state, Arc::clone(&tries)));
        Self {
            address,
            open,
            tries,
            task,
        }
    }

    /// A way to the API server, and the kubeconfig by which a host takes it.
    pub async fn detour(test: &Test, open: bool) -> (Self, PathBuf) {
        let mut kubeconfig = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
        let cluster = kubeconfig.clusters[0].cluster.as_mut().unwrap();
        let server = cluster.server.clone().unwrap();
        let authority = server.strip_prefix("https://").unwrap().trim_end_matches('/');
        let target: SocketAddr = lookup_host(authority).await.unwrap().next().unwrap();
        let proxy = Self::start(target, open).await;
        let name = authority.rsplit_once(':').unwrap().0;
        cluster.tls_server_name.get_or_insert(name.to_owned());
        cluster.server = Some(format!("https://{}", proxy.address()));
        let path = test.directory().join("detour.kubeconfig");
        std::fs::write(&path, serde_yaml::to_string(&kubeconfig).unwrap()).unwrap();
        (proxy, path)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens or closes it; closing ends the connections.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// How many connections were tried.
    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, open: watch::Receiver<bool>, tries: Arc<AtomicUsize>) {
    while let Ok((mut ours, _)) = listener.accept().await {
        tries.fetch_add(1, Ordering::SeqCst);
        let mut open = open.clone();
        if !*open.borrow() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut theirs) = TcpStream::connect(target).await else {
                return;
            };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs) => {}
                _ = open.wait_for(|open| !open) => {}
            }
        });
    }
}
