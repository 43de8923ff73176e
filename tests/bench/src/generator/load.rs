//! Sends the requests, as fast as they are answered or at a steady rate.

use super::IMAGE;
use super::ledger::Goal;
use super::ledger::Ledger;
use crate::api::Client;
use crate::error::Error;
use crate::error::Result;
use crate::latencies::Latencies;
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

/// Requests under way at a time.
const WORKERS: usize = 32;
/// How long nothing may happen before pods count as lost: longer than their grace period.
const PATIENCE: Duration = Duration::from_secs(90);

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// 32 workers, each as fast as its requests are answered.
    Blast,
    /// So many a second, whatever the answers.
    Steady(f64),
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Create pods and wait until all are Ready.
    Up,
    /// Delete them one by one and wait until all are gone.
    Down,
}

/// What a run of requests showed.
#[derive(Clone, Debug)]
pub struct Ran {
    /// From the first request to the last pod's goal.
    pub took: Duration,
    /// From each request to its pod's goal.
    pub latencies: Latencies,
}

/// Generates load for nodes, each its share.
pub struct Generator {
    client: Client,
    namespace: String,
    nodes: Arc<[String]>,
    tokens: bool,
    ledger: Ledger,
    watch: JoinHandle<Result<()>>,
}

impl Generator {
    /// A generator whose watch is open. Its pods mount the token of their account, or none.
    pub async fn open(client: Client, namespace: &str, nodes: Vec<String>, tokens: bool) -> Result<Self> {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let list = client.find(&format!("{pods}?limit=1")).await?.unwrap_or_default();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        let mut events = client.watch(pods, version);
        let ledger = Ledger::default();
        let seen = ledger.clone();
        let watch = tokio::spawn(async move {
            loop {
                seen.observe(events.next().await?)?;
            }
        });
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
            nodes: nodes.into(),
            tokens,
            ledger,
            watch,
        })
    }

    /// Has pods `PREFIX0` to `PREFIX<count - 1>` created, or deleted, which must be the ones created last.
    pub async fn run(&mut self, direction: Direction, pace: Pace, prefix: &str, count: usize) -> Result<Ran> {
        let goal = match direction {
            Direction::Up => {
                self.ledger.begin(prefix.to_owned(), count);
                Goal::Ready
            }
            Direction::Down => Goal::Gone,
        };
        let requests = Requests {
            client: self.client.clone(),
            ledger: self.ledger.clone(),
            direction,
            pods: format!("/api/v1/namespaces/{}/pods", self.namespace),
            prefix: prefix.to_owned(),
            nodes: self.nodes.clone(),
            tokens: self.tokens,
            count,
            next: AtomicUsize::new(0),
        };
        let work = async {
            match pace {
                Pace::Blast => blast(Arc::new(requests)).await?,
                Pace::Steady(rate) => steady(Arc::new(requests), rate).await?,
            }
            self.ledger.wait(goal, PATIENCE).await
        };
        tokio::select! {
            done = work => done?,
            ended = &mut self.watch => return Err(watch_ended(ended)),
        }
        Ok(Ran {
            took: self.ledger.duration(goal),
            latencies: self.ledger.latencies(goal),
        })
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn watch_ended(ended: Result<Result<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => stopped("it ended".to_owned()),
        Err(error) => stopped(error.to_string()),
    }
}

fn stopped(reason: String) -> Error {
    Error::Transport {
        what: "go on generating load".to_owned(),
        reason,
    }
}

struct Requests {
    client: Client,
    ledger: Ledger,
    direction: Direction,
    pods: String,
    prefix: String,
    nodes: Arc<[String]>,
    tokens: bool,
    count: usize,
    next: AtomicUsize,
}

impl Requests {
    async fn send(&self, index: usize) -> Result<()> {
        let name = format!("{}{index}", self.prefix);
        match self.direction {
            Direction::Up => {
                let body = manifest(&name, &self.nodes[index % self.nodes.len()], self.tokens);
                self.ledger.creating(index);
                self.client.create("pods", &self.pods, body).await
            }
            Direction::Down => {
                let path = format!("{}/{name}", self.pods);
                self.ledger.deleting(index);
                self.client.delete("pods", &path, Bytes::new()).await
            }
        }
    }
}

/// A pod of one container, bound to its node without a scheduler, with the usual grace period of 30 s.
fn manifest(name: &str, node: &str, token: bool) -> Bytes {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "pod-churn" } },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": token,
            "terminationGracePeriodSeconds": 30,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "main", "image": IMAGE }],
        },
    });
    Bytes::from(pod.to_string())
}

async fn blast(requests: Arc<Requests>) -> Result<()> {
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let requests = Arc::clone(&requests);
        workers.spawn(async move {
            loop {
                let index = requests.next.fetch_add(1, Ordering::Relaxed);
                if index >= requests.count {
                    return Ok(());
                }
                requests.send(index).await?;
            }
        });
    }
    join(workers).await
}

async fn steady(requests: Arc<Requests>, rate: f64) -> Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let mut sent = JoinSet::new();
    for index in 0..requests.count {
        ticks.tick().await;
        let requests = Arc::clone(&requests);
        sent.spawn(async move { requests.send(index).await });
        while let Some(done) = sent.try_join_next() {
            done.map_err(|error| stopped(error.to_string()))??;
        }
    }
    join(sent).await
}

async fn join(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| stopped(error.to_string()))??;
    }
    Ok(())
}
