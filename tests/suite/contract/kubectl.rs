//! What people type.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use serde_json::json;

#[tokio::test]
async fn the_usual_commands_show_and_end_pods() {
    let test = Test::new("kubectl").await;
    let Some(kubectl) = test.kubectl() else { return };
    let _host = test.start(&test.mock(json!({ "pods": { "logRate": 20 } })));
    test.node_ready(&test.node()).await;
    let node = kubectl.run(&format!("get node {}", test.node())).await;
    assert!(node.contains(" Ready "), "{node}");

    let manifest = test.directory().join("pods.yaml");
    let annotations = json!({ "metadata": { "annotations": { "mock.outrigger.dev/exitCode": "7", "mock.outrigger.dev/runTime": "100ms" } } });
    let mut failing = test.pod("failing", annotations);
    failing["spec"]["restartPolicy"] = "Never".into();
    let forced = json!({ "spec": { "terminationGracePeriodSeconds": 600 } });
    let pods = [test.pod("web", json!({})), test.pod("forced", forced), failing];
    let documents: Vec<_> = pods.iter().map(|pod| serde_yaml::to_string(pod).unwrap()).collect();
    std::fs::write(&manifest, documents.join("---\n")).unwrap();
    kubectl.run(&format!("apply -f {}", manifest.display())).await;
    kubectl
        .run("wait --for=condition=Ready pod/web pod/forced --timeout=60s")
        .await;
    kubectl
        .run("wait --for=jsonpath={.status.phase}=Failed pod/failing --timeout=60s")
        .await;

    let wide = kubectl.run("get pods -o wide").await;
    let line = |name: &str| {
        wide.lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{wide}"))
    };
    assert!(
        line("web").contains("1/1") && line("web").contains("Running") && line("web").contains(&test.node()),
        "{wide}"
    );
    assert!(line("failing").contains("Error"), "{wide}");
    let described = kubectl.run("describe pod failing").await;
    assert!(described.contains("Exit Code:    7"), "{described}");
    eventually(SOON, "events are described", || async {
        let described = kubectl.run("describe pod web").await;
        if described.contains("Started") {
            Ok(())
        } else {
            Err(described)
        }
    })
    .await;
    eventually(SOON, "there is a log", || async {
        let log = kubectl.run("logs web --tail=1").await;
        if log.lines().count() == 1 { Ok(()) } else { Err(log) }
    })
    .await;
    let previous = kubectl.try_run("logs web --previous").await;
    assert!(
        !previous.ok && previous.stderr.contains("previous terminated container"),
        "{}",
        previous.stderr
    );

    kubectl.run("delete pod web --grace-period=30 --timeout=60s").await;
    kubectl.run("delete pod forced --force --grace-period=0").await;
    kubectl.run("delete pod failing --timeout=60s").await;
    let left = kubectl.run("get pods -o name").await;
    assert_eq!(left, "", "nothing is left");
}
