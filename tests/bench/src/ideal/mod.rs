//! The ideal responder: the writes of a correct host and nothing else. It is the ceiling of an API server on a machine.
//!
//! One watch, 32 workers on one thread. A new pod is answered with one canned status, after a TokenRequest where it mounts
//! the token of its account, without which no container could be begun; a deletion with one terminal status and the
//! final DELETE. It keeps no state, sends no event, and trusts what it sees: what it must know
//! stands in each watch event.

mod keeper;

use crate::api::Client;
use crate::error::Error;
use crate::error::Result;
use crate::fleet::Nodes;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const WORKERS: usize = 32;
/// Answers that wait. An API server hangs up on a watch that is not read for a moment, so that a blast must fit.
const BACKLOG: usize = 1 << 16;
/// Tasks that register nodes and renew their leases.
const KEEPERS: usize = 8;

/// What to stand in for.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Whom to be
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Name of the node
    #[arg(long)]
    pub node: String,
    /// So many nodes, NODE-0 and so on, in place of one
    #[arg(long)]
    pub count: Option<usize>,
    /// Their address
    #[arg(long)]
    pub address: IpAddr,
}

impl Config {
    fn nodes(&self) -> Nodes {
        match self.count {
            None => Nodes::one(self.node.clone()),
            Some(count) => Nodes::many(self.node.clone(), count),
        }
    }

    /// The pods that are answered: all of the cluster where there are many nodes, as only the bench has pods there.
    fn pods(&self) -> String {
        let selector = match self.count {
            None => format!("%3D{}", self.node),
            Some(_) => "%21%3D".to_owned(),
        };
        format!("/api/v1/pods?fieldSelector=spec.nodeName{selector}")
    }
}

/// What to write about a pod.
enum Answer {
    Running { pod: String, token: Option<TokenRequest> },
    Ended(String),
}

/// Where a pod's token is asked for, and how.
struct TokenRequest {
    path: String,
    body: Bytes,
}

impl TokenRequest {
    /// For a pod that mounts one.
    fn of(pod: &Pod<'_>) -> Option<Self> {
        let Metadata {
            name, namespace, uid, ..
        } = pod.metadata;
        let mut sources = pod.spec.volumes.iter().flat_map(|volume| &volume.projected.sources);
        sources.find(|source| source.service_account_token.is_some())?;
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "audiences": [], "expirationSeconds": 3607,
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid },
            },
        });
        Some(Self {
            path: format!(
                "/api/v1/namespaces/{namespace}/serviceaccounts/{}/token",
                pod.spec.service_account_name
            ),
            body: Bytes::from(body.to_string()),
        })
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: Pod<'a>,
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    service_account_name: &'a str,
    #[serde(borrow)]
    volumes: Vec<Volume<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Volume<'a> {
    #[serde(borrow)]
    projected: Projected<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Projected<'a> {
    #[serde(borrow)]
    sources: Vec<Source<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(borrow, default)]
    service_account_token: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    uid: &'a str,
    deletion_timestamp: Option<&'a str>,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(default)]
    phase: &'a str,
}

/// Runs until stdin is closed: it never outlives the bench.
pub async fn run(config: Config) -> Result<()> {
    let client = Client::connect(&config.kubeconfig).await?;
    let version = version_of_pods(&client, &config).await?;
    let (queue, answers) = mpsc::channel(BACKLOG);
    let answers = Arc::new(Mutex::new(answers));
    let bodies = Bodies::new(config.address);
    let mut tasks = JoinSet::new();
    for _ in 0..WORKERS {
        tasks.spawn(work(client.clone(), Arc::clone(&answers), bodies.clone()));
    }
    tasks.spawn(watch(client.clone(), config.pods(), version, queue));
    let nodes = config.nodes().names();
    let share = nodes.len().div_ceil(KEEPERS);
    for nodes in nodes.chunks(share) {
        tasks.spawn(keeper::keep(client.clone(), nodes.to_vec(), config.address));
    }
    let (mut stdin, mut end) = (stdin()?, [0]);
    tokio::select! {
        _ = stdin.read(&mut end) => Ok(()),
        Some(ended) = tasks.join_next() => ended.unwrap_or_else(|error| Err(Error::Program {
            program: "the ideal responder".to_owned(),
            reason: error.to_string(),
        })),
    }
}

/// The pipe that the bench holds.
fn stdin() -> Result<pipe::Receiver> {
    let pipe = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .and_then(pipe::Receiver::from_owned_fd);
    pipe.map_err(|source| Error::File {
        verb: "wait for the end of",
        path: "stdin".into(),
        source,
    })
}

async fn version_of_pods(client: &Client, config: &Config) -> Result<String> {
    let path = format!("{}&limit=1", config.pods());
    let list = client.find(&path).await?.unwrap_or_default();
    Ok(list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned())
}

async fn watch(client: Client, pods: String, version: String, queue: mpsc::Sender<Answer>) -> Result<()> {
    let mut watch = client.watch(pods, &version);
    loop {
        let line = watch.next().await?;
        let event: Event<'_> = serde_json::from_slice(line).map_err(|error| Error::Malformed {
            what: "watch event".to_owned(),
            reason: format!("{error}: {}", String::from_utf8_lossy(&line[..line.len().min(200)])),
        })?;
        let Metadata {
            name,
            namespace,
            deletion_timestamp,
            ..
        } = event.object.metadata;
        let path = || format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let answer = match (event.kind, deletion_timestamp, event.object.status.phase) {
            ("ADDED", None, "Pending") => Answer::Running {
                pod: path(),
                token: TokenRequest::of(&event.object),
            },
            // The terminal status comes back as one more change.
            ("MODIFIED", Some(_), "Running") => Answer::Ended(path()),
            _ => continue,
        };
        if queue.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

async fn work(client: Client, answers: Arc<Mutex<mpsc::Receiver<Answer>>>, bodies: Bodies) -> Result<()> {
    loop {
        let Some(answer) = answers.lock().await.recv().await else {
            return Ok(());
        };
        match answer {
            Answer::Running { pod, token } => {
                if let Some(token) = token {
                    client.create("serviceaccounts/token", &token.path, token.body).await?;
                }
                client
                    .patch("pods/status", &format!("{pod}/status"), bodies.running.clone())
                    .await?
            }
            Answer::Ended(pod) => {
                client
                    .patch("pods/status", &format!("{pod}/status"), bodies.ended.clone())
                    .await?;
                client.delete("pods", &pod, bodies.now.clone()).await?;
            }
        }
    }
}

/// The canned bodies. What a kubelet fills in stands there, so that the API server has as much to do.
#[derive(Clone)]
struct Bodies {
    running: Bytes,
    ended: Bytes,
    now: Bytes,
}

impl Bodies {
    fn new(address: IpAddr) -> Self {
        const AT: &str = "2026-01-01T00:00:00Z";
        let container = |state: Value, ready: bool| {
            json!({
                "name": "main", "image": crate::generator::IMAGE, "imageID": "", "containerID": "ideal://0123456789abcdef",
                "ready": ready, "started": ready, "restartCount": 0, "lastState": {}, "state": state,
            })
        };
        let conditions = |phase_reason: Option<&str>| -> Value {
            [
                "PodReadyToStartContainers",
                "Initialized",
                "Ready",
                "ContainersReady",
                "PodScheduled",
            ]
            .into_iter()
            .map(|kind| {
                let holds = phase_reason.is_none() || matches!(kind, "Initialized" | "PodScheduled");
                json!({
                    "type": kind, "status": if holds { "True" } else { "False" }, "observedGeneration": 1,
                    "lastProbeTime": null, "lastTransitionTime": AT,
                    "reason": phase_reason.filter(|_| !holds),
                })
            })
            .collect()
        };
        let status = |phase: &str, conditions: Value, container: Value| {
            let body = json!({ "status": {
                "phase": phase, "observedGeneration": 1, "startTime": AT, "qosClass": "BestEffort",
                "hostIP": address, "hostIPs": [{ "ip": address }],
                "podIP": "10.99.0.1", "podIPs": [{ "ip": "10.99.0.1" }],
                "conditions": conditions, "containerStatuses": [container],
            }});
            Bytes::from(body.to_string())
        };
        let ended = json!({ "terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": AT, "finishedAt": AT, "containerID": "ideal://0123456789abcdef",
        }});
        Self {
            running: status(
                "Running",
                conditions(None),
                container(json!({ "running": { "startedAt": AT } }), true),
            ),
            ended: status("Succeeded", conditions(Some("PodCompleted")), container(ended, false)),
            now: Bytes::from_static(br#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#),
        }
    }
}
