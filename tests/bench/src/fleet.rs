//! The nodes of a subject: one, many alike, or some with names of their own.

use crate::api::Client;
use crate::api::Watch;
use crate::error::Error;
use crate::error::Result;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;

/// Where Node objects are.
pub const NODES: &str = "/api/v1/nodes";
/// Where nodes' leases are.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
/// Requests under way at a time.
const WORKERS: usize = 16;

/// Names of nodes.
#[derive(Clone, Debug)]
pub struct Nodes {
    prefix: String,
    names: Names,
}

#[derive(Clone, Debug)]
enum Names {
    One,
    Numbered(usize),
    Own(Vec<String>),
}

impl Nodes {
    /// A node of this name.
    pub fn one(name: String) -> Self {
        Self {
            prefix: name,
            names: Names::One,
        }
    }

    /// These, of a subject of that name.
    pub fn named(subject: String, names: Vec<String>) -> Self {
        Self {
            prefix: subject,
            names: Names::Own(names),
        }
    }

    /// `PREFIX-0` and so on.
    pub fn many(prefix: String, count: usize) -> Self {
        Self {
            prefix,
            names: Names::Numbered(count),
        }
    }

    /// The name of the only one, or what the names of numbered ones begin with, or the subject's.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many there are, where they are numbered.
    pub fn count(&self) -> Option<usize> {
        match self.names {
            Names::Numbered(count) => Some(count),
            Names::One | Names::Own(_) => None,
        }
    }

    /// All names.
    pub fn names(&self) -> Vec<String> {
        match &self.names {
            Names::One => vec![self.prefix.clone()],
            Names::Own(names) => names.clone(),
            Names::Numbered(count) => (0..*count).map(|index| format!("{}-{index}", self.prefix)).collect(),
        }
    }

    /// For people.
    pub fn title(&self) -> String {
        match &self.names {
            Names::One => format!("node {}", self.prefix),
            Names::Own(names) => format!("nodes {}", names.join(", ")),
            Names::Numbered(count) => format!("{count} nodes {}-*", self.prefix),
        }
    }

    /// Begins to watch what becomes of them; none may exist yet.
    pub async fn watch(&self, admin: &Client) -> Result<NodeWatch> {
        let list = admin.find(&format!("{NODES}?limit=1")).await?.unwrap_or_default();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
        Ok(NodeWatch {
            watch: admin.watch(NODES.to_owned(), version),
            names: self.names().into_iter().collect(),
            ready: HashSet::new(),
        })
    }

    /// Deletes the Node objects.
    pub async fn delete(&self, admin: &Client) -> Result<()> {
        self.delete_each(admin, "nodes", NODES).await
    }

    /// Takes all of them out of the cluster.
    pub async fn remove(&self, admin: &Client) -> Result<()> {
        self.delete(admin).await?;
        self.delete_each(admin, "leases", LEASES).await
    }

    async fn delete_each(&self, admin: &Client, resource: &'static str, path: &'static str) -> Result<()> {
        let admin = admin.clone();
        let delete = move |name| {
            let admin = admin.clone();
            async move { admin.delete(resource, &format!("{path}/{name}"), Bytes::new()).await }
        };
        self.each(&format!("delete {resource}"), delete).await
    }

    /// Does something for each of them, for as many at a time as there are workers.
    pub async fn each<Done>(&self, what: &str, work: impl Fn(String) -> Done + Clone + Send + 'static) -> Result<()>
    where
        Done: Future<Output = Result<()>> + Send,
    {
        let names: Arc<[String]> = self.names().into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS.min(names.len()) {
            let (names, next, work) = (names.clone(), next.clone(), work.clone());
            workers.spawn(async move {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(name.clone()).await?;
                }
                Ok(())
            });
        }
        while let Some(done) = workers.join_next().await {
            done.unwrap_or_else(|error| {
                Err(Error::Transport {
                    what: what.to_owned(),
                    reason: error.to_string(),
                })
            })?;
        }
        Ok(())
    }
}

/// Sees which nodes are Ready.
pub struct NodeWatch {
    watch: Watch,
    names: HashSet<String>,
    ready: HashSet<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: Node<'a>,
}

#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(default)]
    name: &'a str,
}

#[derive(Default, Deserialize)]
struct Status<'a> {
    #[serde(borrow, default)]
    conditions: Vec<Condition<'a>>,
}

#[derive(Deserialize)]
struct Condition<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    status: &'a str,
}

impl NodeWatch {
    /// Waits until all are Ready.
    pub async fn all_ready(&mut self) -> Result<()> {
        while self.ready.len() < self.names.len() {
            self.step().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        let line = self.watch.next().await?;
        let event: Event<'_> = serde_json::from_slice(line).map_err(|error| Error::Malformed {
            what: "watch event of a node".to_owned(),
            reason: format!("{error}: {}", String::from_utf8_lossy(&line[..line.len().min(200)])),
        })?;
        let name = event.object.metadata.name;
        let mut conditions = event.object.status.conditions.iter();
        let ready = conditions.any(|condition| condition.kind == "Ready" && condition.status == "True");
        if event.kind == "DELETED" || !ready {
            self.ready.remove(name);
        } else if self.names.contains(name) {
            self.ready.insert(name.to_owned());
        }
        Ok(())
    }
}
