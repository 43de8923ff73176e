//! What becomes of pods, event by event.

use super::test::Test;
use super::test::is_running;
use super::test::phase;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::api::WatchEvent;
use kube::api::WatchParams;
use std::sync::Arc;
use std::sync::Mutex;
use tokio::task::JoinHandle;

/// Every state of the test's pods from when it was begun, in the API server's order.
#[derive(Debug)]
pub struct Recording {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Seen {
    pod: Pod,
    gone: bool,
}

impl Recording {
    /// Begins with what happens from now on. It is complete for a few minutes, longer than any test.
    pub async fn start(test: &Test) -> Self {
        let pods = test.pods();
        let version = pods
            .list(&ListParams::default())
            .await
            .unwrap()
            .metadata
            .resource_version;
        let params = WatchParams::default().timeout(290);
        let mut watch = pods.watch(&params, &version.unwrap()).await.unwrap().boxed();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                let (pod, gone) = match event.unwrap() {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
                    WatchEvent::Deleted(pod) => (pod, true),
                    WatchEvent::Bookmark(_) => continue,
                    WatchEvent::Error(error) => panic!("the watch broke: {error:?}"),
                };
                kept.lock().unwrap().push(Seen { pod, gone });
            }
        });
        Self { seen, task }
    }

    fn position(&self, name: &str, wanted: impl Fn(&Seen) -> bool) -> Option<usize> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .position(|seen| seen.pod.metadata.name.as_deref() == Some(name) && wanted(seen))
    }

    /// How many states of a pod there were up to when it was first Ready; at first it is only there.
    pub fn states(&self, name: &str) -> usize {
        let end = self.ready(name).map_or(0, |ready| ready + 1);
        let seen = self.seen.lock().unwrap();
        let of_it = |seen: &&Seen| seen.pod.metadata.name.as_deref() == Some(name);
        seen[..end].iter().filter(of_it).count()
    }

    /// When a pod was first there.
    pub fn came(&self, name: &str) -> Option<usize> {
        self.position(name, |_| true)
    }

    /// When a pod was first Ready.
    pub fn ready(&self, name: &str) -> Option<usize> {
        self.position(name, |seen| is_running(&seen.pod))
    }

    /// When a pod was first told to go.
    pub fn told_to_go(&self, name: &str) -> Option<usize> {
        self.position(name, |seen| seen.pod.metadata.deletion_timestamp.is_some())
    }

    /// When a pod was gone.
    pub fn gone(&self, name: &str) -> Option<usize> {
        self.position(name, |seen| seen.gone)
    }

    /// When a pod's end was first told, by its UID.
    pub fn over(&self, uid: &str) -> Option<usize> {
        let seen = self.seen.lock().unwrap();
        seen.iter().position(|seen| {
            let ended = matches!(phase(&seen.pod), "Succeeded" | "Failed");
            seen.pod.metadata.uid.as_deref() == Some(uid) && ended
        })
    }

    /// The last state of a pod, by its UID, before it was gone.
    pub fn last_word(&self, uid: &str) -> Option<Pod> {
        let seen = self.seen.lock().unwrap();
        let of_it = |seen: &&Seen| seen.pod.metadata.uid.as_deref() == Some(uid);
        let gone = seen.iter().filter(of_it).any(|seen| seen.gone);
        let mut states = seen.iter().filter(of_it).filter(|seen| !seen.gone);
        gone.then(|| states.next_back().map(|seen| seen.pod.clone())).flatten()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.task.abort();
    }
}
