//! Waiting for what shall be seen, and showing it.

use crate::error::Error;
use crate::host::Host;
use crate::workloads::Object;
use k8s_openapi::api::core::v1::{ContainerState, Node, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// Much longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until there is what is looked for; `look` says what it sees as long as it is something else.
async fn until<T, L, F>(what: &str, host: &Host, mut look: L) -> Result<T, Error>
where
    L: FnMut() -> F,
    F: Future<Output = Result<Result<T, String>, kube::Error>>,
{
    let deadline = Instant::now() + LIMIT;
    loop {
        let seen = match look().await? {
            Ok(found) => return Ok(found),
            Err(seen) => seen,
        };
        if Instant::now() >= deadline {
            return Err(Error::TooSlow {
                what: what.to_owned(),
                seconds: LIMIT.as_secs(),
                seen,
                log: host.log(),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until these nodes are Ready.
pub async fn nodes_ready(client: &Client, names: &[&str], host: &Host) -> Result<Vec<Node>, Error> {
    let api: Api<Node> = Api::all(client.clone());
    until("Ready nodes", host, || async {
        let nodes = api.list(&ListParams::default()).await?.items;
        let ready = |name: &&str| {
            nodes
                .iter()
                .any(|node| node.metadata.name.as_deref() == Some(name) && is_ready(node))
        };
        if names.iter().all(ready) {
            Ok(Ok(nodes))
        } else {
            Ok(Err(node_table(&nodes)))
        }
    })
    .await
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// Nodes for people.
pub fn node_table(nodes: &[Node]) -> String {
    let rows = nodes.iter().map(|node| {
        let status = node.status.as_ref();
        let pods = status
            .and_then(|status| status.capacity.as_ref())
            .and_then(|capacity| capacity.get("pods"));
        [
            node.metadata.name.clone().unwrap_or_default(),
            if is_ready(node) { "Ready" } else { "NotReady" }.to_owned(),
            status
                .and_then(|status| status.node_info.as_ref())
                .map_or_else(String::new, |info| info.kubelet_version.clone()),
            pods.map_or_else(String::new, |pods| pods.0.clone()),
        ]
    });
    table(["NODE", "STATUS", "VERSION", "PODS"], rows)
}

/// Waits until every pod of these objects has started: it is Ready, or has ended.
pub async fn workloads_done(client: &Client, objects: &[Object], host: &Host) -> Result<Vec<Pod>, Error> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    until("running pods", host, || async {
        let pods = api.list(&ListParams::default()).await?.items;
        let settled = |object: &Object| {
            let own = pods.iter().filter(|pod| app(pod) == object.app());
            let (there, done) = own.fold((0, 0), |(there, done), pod| {
                (there + 1, done + usize::from(is_settled(pod)))
            });
            there == object.pods() && done == there
        };
        if objects.iter().all(settled) {
            Ok(Ok(pods))
        } else {
            Ok(Err(pod_table(&pods)))
        }
    })
    .await
}

fn app(pod: &Pod) -> &str {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("app"))
        .map_or("", String::as_str)
}

/// Whether what its manifest lets expect has come: a pod that restarts its containers is Ready, another has ended.
fn is_settled(pod: &Pod) -> bool {
    match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
        Some("Never" | "OnFailure") => matches!(phase(pod), "Succeeded" | "Failed"),
        _ => is_running(pod),
    }
}

fn is_running(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    ready && phase(pod) == "Running"
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Pods for people.
pub fn pod_table(pods: &[Pod]) -> String {
    let rows = pods.iter().map(|pod| {
        [
            pod.metadata.name.clone().unwrap_or_default(),
            phase(pod).to_owned(),
            ended(pod).unwrap_or_default(),
            pod.spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
            pod.status
                .as_ref()
                .and_then(|status| status.pod_ip.clone())
                .unwrap_or_default(),
        ]
    });
    table(["POD", "PHASE", "ENDED", "NODE", "IP"], rows)
}

/// How a pod's first container has ended.
fn ended(pod: &Pod) -> Option<String> {
    let state: &ContainerState = pod
        .status
        .as_ref()?
        .container_statuses
        .as_ref()?
        .first()?
        .state
        .as_ref()?;
    let end = state.terminated.as_ref()?;
    Some(format!("{} ({})", end.reason.as_deref().unwrap_or("?"), end.exit_code))
}

/// The newest line in the log of a running pod, and the pod's name.
pub async fn log_line(client: &Client, pods: &[Pod], host: &Host) -> Result<(String, String), Error> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let running = pods
        .iter()
        .find(|pod| is_running(pod))
        .and_then(|pod| pod.metadata.name.clone());
    let name = running.unwrap_or_default();
    let newest = LogParams {
        tail_lines: Some(1),
        ..LogParams::default()
    };
    let line = until("a line of log", host, || async {
        let text = api.logs(&name, &newest).await?;
        let line = text.lines().last().map(str::to_owned);
        Ok(line.ok_or_else(|| format!("the log of {name:?} is empty")))
    })
    .await?;
    Ok((name, line))
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "b".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(
            table(["N", "STATUS"], rows.into_iter()),
            "N       STATUS\na       b\nlonger\n"
        );
    }

    #[test]
    fn pods_that_restart_are_done_when_ready_and_others_when_ended() {
        let pod = |policy: &str, phase: &str, ready: &str| -> Pod {
            serde_json::from_value(serde_json::json!({
                "spec": { "restartPolicy": policy, "containers": [] },
                "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
            }))
            .unwrap()
        };
        assert!(is_settled(&pod("Always", "Running", "True")));
        assert!(!is_settled(&pod("Always", "Running", "False")));
        assert!(!is_settled(&pod("Never", "Running", "True")));
        assert!(is_settled(&pod("Never", "Failed", "False")));
    }
}
