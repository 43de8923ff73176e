//! The real kubectl, every one that is there. Without any the tests say so loudly and pass.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use outrigger_devcluster::{Controllers, DevCluster, Running};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{node, skip};

/// Every `kubectl`, and every `kubectl.1.NN` from that minor on, on PATH and in the usual extra places.
pub fn kubectls(first: u32) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/lib/google-cloud-sdk/bin", "/usr/local/bin"].map(PathBuf::from);
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).chain(extra).collect();
    let versioned: Vec<PathBuf> = (first..=40)
        .flat_map(|minor| dirs.iter().map(move |d| d.join(format!("kubectl.1.{minor}"))))
        .filter(|p| p.is_file())
        .collect();
    if versioned.is_empty() {
        dirs.iter()
            .map(|d| d.join("kubectl"))
            .find(|p| p.is_file())
            .into_iter()
            .collect()
    } else {
        versioned
    }
}

pub struct Kubectl<'a> {
    pub program: PathBuf,
    pub running: &'a Running,
    pub home: tempfile::TempDir,
}

impl Kubectl<'_> {
    /// The program with its configuration, killed when it is dropped.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("KUBECONFIG", self.running.kubeconfig())
            .env("HOME", self.home.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub async fn output(&self, args: &[&str], stdin: &str) -> Output {
        let mut child = self.command(args).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(stdin.as_bytes()).await.unwrap();
        drop(input);
        tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
            .await
            .unwrap()
            .unwrap()
    }

    async fn run(&self, args: &str, stdin: &str) -> String {
        let words: Vec<&str> = args.split(' ').collect();
        let output = self.output(&words, stdin).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{} {args}: {}{}",
            self.program.display(),
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"app": "x"}},
    "spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "nginx"}]}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kubectl_here_can_work_with_it() {
    let found = kubectls(30);
    if found.is_empty() {
        return skip(
            "every_kubectl_here_can_work_with_it",
            "there is no kubectl in PATH; install one of 1.30 or newer",
        );
    }
    for program in found {
        eprintln!("with {}", program.display());
        let controllers = Controllers {
            node_lifecycle: false,
            ..Controllers::default()
        };
        let running = DevCluster::builder().controllers(controllers).start().await.unwrap();
        running
            .create(outrigger_devcluster::Kind::Nodes, "", node("n1"))
            .unwrap();
        running
            .create(outrigger_devcluster::Kind::Nodes, "", node("n2"))
            .unwrap();
        let kubectl = Kubectl {
            program,
            running: &running,
            home: tempfile::tempdir().unwrap(),
        };
        story(&kubectl).await;
        running.shutdown().await;
    }
}

async fn story(kubectl: &Kubectl<'_>) {
    assert!(kubectl.run("get nodes -o wide", "").await.contains("INTERNAL-IP"));
    assert_eq!(kubectl.run("apply -f -", POD).await, "pod/p created\n");
    assert_eq!(kubectl.run("apply -f -", POD).await, "pod/p unchanged\n");
    assert_eq!(
        kubectl.run("apply --server-side --force-conflicts -f -", POD).await,
        "pod/p serverside-applied\n"
    );
    let wide = kubectl.run("get pods -o wide", "").await;
    assert!(
        wide.contains("NOMINATED NODE") && wide.contains("p      0/1     Pending   0"),
        "{wide}"
    );
    assert!(kubectl.run("describe pod p", "").await.contains("kube-api-access-"));
    kubectl.run("label pod p a=b", "").await;
    kubectl.run("annotate pod p c=d", "").await;
    assert!(
        kubectl
            .run("get pods -l a=b --field-selector spec.nodeName=n2 -o name", "")
            .await
            .contains("pod/p")
    );
    kubectl.run("create namespace demo", "").await;
    kubectl.run("create configmap cm --from-literal=k=v", "").await;
    assert_eq!(kubectl.run("get configmap cm -o jsonpath={.data.k}", "").await, "v");
    assert_eq!(
        kubectl.run("create token default", "").await.trim().split('.').count(),
        3
    );
    assert_eq!(kubectl.run("auth can-i delete nodes", "").await, "yes\n");
    kubectl
        .run("create deployment web --image=nginx --replicas=2", "")
        .await;
    kubectl
        .run(
            "wait deployment/web --for=jsonpath={.status.replicas}=2 --timeout=20s",
            "",
        )
        .await;
    kubectl.run("scale deployment web --replicas=1", "").await;
    kubectl
        .run(
            "wait deployment/web --for=jsonpath={.status.replicas}=1 --timeout=20s",
            "",
        )
        .await;
    kubectl.run("run once --image=busybox --restart=Never", "").await;
    kubectl
        .run("wait pod/once --for=condition=PodScheduled --timeout=20s", "")
        .await;
    assert!(
        kubectl
            .run("get events", "")
            .await
            .contains("Successfully assigned default/once to")
    );
    assert!(
        kubectl
            .run("describe node n1", "")
            .await
            .contains("Non-terminated Pods:")
    );
    kubectl.run("cordon n1", "").await;
    assert!(kubectl.run("get nodes", "").await.contains("Ready,SchedulingDisabled"));
    kubectl.run("uncordon n1", "").await;
    kubectl.run("taint node n1 a=b:NoSchedule", "").await;
    kubectl.run("delete pod p --wait=false", "").await;
    assert!(kubectl.run("get pod p", "").await.contains("Terminating"));
    kubectl.run("delete pod p --force", "").await;
    kubectl.run("delete deployment web", "").await;
    kubectl.run("delete namespace demo --timeout=20s", "").await;
    let top = kubectl.output(&["top", "nodes"], "").await;
    assert!(String::from_utf8_lossy(&top.stderr).contains("Metrics API not available"));
    let all = kubectl.run("get all -o json", "").await;
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_ne!(all["items"], json!([]));
}
