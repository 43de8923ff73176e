//! What people do with logs, commands and attaching, by the real kubectl: over WebSocket and over SPDY, to nodes that declare
//! WebSockets and to those that do not. The commands are real processes of this machine. What every client must be able to do
//! is in [`crate::interop`].

use crate::harness::Host;
use crate::harness::Kubectl;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::feed;
use crate::harness::phase;
use serde_json::Value;
use serde_json::json;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A host with one node and a pod `web` on it.
struct Setting {
    test: Test,
    kubectl: Kubectl,
    _host: Host,
}

/// By which way kubectl speaks with the API server, and whether the node declares that it understands WebSockets.
#[derive(Clone, Copy, Debug)]
struct Way {
    web_sockets: bool,
    declared: bool,
}

const WAYS: [Way; 3] = [
    Way {
        web_sockets: true,
        declared: false,
    },
    Way {
        web_sockets: true,
        declared: true,
    },
    Way {
        web_sockets: false,
        declared: false,
    },
];

impl Setting {
    /// `None` where there is no kubectl.
    async fn new(name: &str, declared: bool, pod: Value) -> Option<Self> {
        let test = Test::new(name).await;
        let kubectl = test.kubectl()?;
        let mock = json!({ "exec": "local-process", "scratch": test.directory().join("scratch") });
        let config = test
            .mock(mock)
            .with(json!({ "kubelet": { "extendWebSockets": declared } }));
        let host = test.start(&config);
        test.node_ready(&test.node()).await;
        test.create(test.pod("web", pod)).await;
        test.running("web").await;
        Some(Self {
            test,
            kubectl,
            _host: host,
        })
    }

    fn command(&self, way: Way, args: &[&str]) -> Command {
        let mut command = self.kubectl.command(args);
        if !way.web_sockets {
            command
                .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
                .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        command
    }

    /// A metric of the node, as its own server shows it.
    async fn metric(&self, series: &str) -> Option<String> {
        let path = format!("/api/v1/nodes/{}/proxy/metrics", self.test.node());
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let page = self.test.client.request_text(request).await.unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        line.map(|value| value.trim().to_owned())
    }

    /// Waits until no session is left, neither in the server nor at the provider.
    async fn nothing_is_left(&self, series: &str) {
        let node_proxy = self.test.cluster.no_node_proxy.is_none();
        eventually(SOON, &format!("{series} is 0"), || async {
            if !node_proxy {
                return Ok(());
            }
            let calls = "outrigger_provider_calls_in_flight{provider=\"mock\"}";
            let left = (self.metric(series).await, self.metric(calls).await);
            // Pings and lists come and go.
            match left {
                (Some(sessions), Some(calls)) if sessions == "0" && calls == "0" => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// For each way that this cluster has, a setting.
async fn each_way<F: Future<Output = ()>>(name: &str, pod: Value, run: impl Fn(Setting, Way) -> F) {
    for way in WAYS {
        let Some(setting) = Setting::new(name, way.declared, pod.clone()).await else {
            return;
        };
        run(setting, way).await;
    }
}

#[tokio::test]
async fn input_goes_to_a_command_and_ends() {
    each_way("exec_input", json!({}), |setting, way| async move {
        let input: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(3 << 20).collect();
        let command = setting.command(way, &["exec", "-i", "web", "--", "cat"]);
        let echoed = feed(command, &input).await;
        assert!(echoed.status.success(), "{way:?}: {}", text(&echoed.stderr));
        assert!(
            echoed.stdout == input,
            "{way:?}: {} bytes came back",
            echoed.stdout.len()
        );
        // A command that reads only a part.
        let command = setting.command(way, &["exec", "-i", "web", "--", "head", "-c", "5"]);
        let head = feed(command, &input).await;
        assert_eq!(
            (head.status.code(), head.stdout.as_slice()),
            (Some(0), &input[..5]),
            "{way:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_run_says_why() {
    let Some(setting) = Setting::new("exec_errors", false, json!({})).await else {
        return;
    };
    for way in [WAYS[0], WAYS[2]] {
        let missing = setting.command(way, &["exec", "web", "--", "/no/such/program"]);
        let missing = feed(missing, b"").await;
        assert!(!missing.status.success());
        let message = text(&missing.stderr);
        assert!(message.contains("No such file or directory"), "{way:?}: {message}");
    }
    let waits = json!({ "metadata": { "annotations": { "mock.outrigger.dev/startDelay": "1h" } } });
    setting.test.create(setting.test.pod("waits", waits)).await;
    setting
        .test
        .pod_until("waits", "its container waits", |pod| {
            let status = pod.status.as_ref();
            status.is_some_and(|status| status.container_statuses.is_some())
        })
        .await;
    let early = setting.kubectl.output(&["exec", "waits", "--", "true"]).await;
    assert!(!early.status.success());
    assert!(
        text(&early.stderr).contains("container not found (\"app\")"),
        "{}",
        text(&early.stderr)
    );
}

#[tokio::test]
async fn attaching_shows_output_and_takes_input_until_the_container_ends() {
    let pod = json!({
        "metadata": { "annotations": { "mock.outrigger.dev/runTime": "6s", "mock.outrigger.dev/logRate": "10" } },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "app", "image": "registry.example/app:1", "stdin": true }] },
    });
    each_way("attach", pod, |setting, way| async move {
        let mut command = setting.command(way, &["attach", "-i", "web"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"typed by a test\n").await.unwrap();
        // Its input stays open: the container's end is what ends it.
        let ended = tokio::time::timeout(SOON, child.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        let seen = text(&ended.stdout);
        assert!(ended.status.success(), "{way:?}: {}", text(&ended.stderr));
        assert!(
            seen.contains("typed by a test\n") && seen.contains(" of app, run 0\n"),
            "{way:?}: {seen}"
        );
        drop(stdin);
        setting
            .nothing_is_left("outrigger_kubelet_sessions{kind=\"attach\"}")
            .await;
    })
    .await;
}

#[tokio::test]
async fn logs_are_followed_to_the_containers_end() {
    let pod = json!({
        "metadata": { "annotations": { "mock.outrigger.dev/runTime": "4s", "mock.outrigger.dev/logRate": "100" } },
        "spec": { "restartPolicy": "Never" },
    });
    let Some(setting) = Setting::new("logs_follow", false, pod).await else {
        return;
    };
    let followed = setting.kubectl.output(&["logs", "-f", "web"]).await;
    assert!(followed.status.success(), "{}", text(&followed.stderr));
    let lines = text(&followed.stdout);
    // 4 s at 100 a second.
    assert!(lines.lines().count() >= 400, "{lines}");
    let whole = setting.kubectl.run("logs web").await;
    assert_eq!(lines, whole, "what was followed is what is there");
    let tail = setting.kubectl.run("logs -f --tail=3 --timestamps web").await;
    assert_eq!(tail.lines().count(), 3);
    assert!(tail.lines().all(|line| line.contains("Z line ")), "{tail}");
    let cut = setting.kubectl.run("logs --limit-bytes=10 web").await;
    assert_eq!(cut, whole[..10]);
}

/// When a line was said, by its timestamp.
fn said_at(line: &str) -> jiff::Timestamp {
    line.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn logs_begin_where_they_are_asked_to() {
    let pod = json!({
        "metadata": { "annotations": { "mock.outrigger.dev/runTime": "4s", "mock.outrigger.dev/logRate": "20" } },
        "spec": { "restartPolicy": "Never" },
    });
    let Some(setting) = Setting::new("logs_since", false, pod).await else {
        return;
    };
    let kubectl = &setting.kubectl;
    setting
        .test
        .pod_until("web", "it has ended", |pod| phase(pod) == "Succeeded")
        .await;
    let whole = kubectl.run("logs --timestamps web").await;
    assert!(whole.lines().count() >= 80, "{whole}");
    // Clients send whole seconds: one in the middle.
    let middle = said_at(whole.lines().nth(30).unwrap()).as_second() + 1;
    let middle = jiff::Timestamp::from_second(middle).unwrap();
    let since = kubectl
        .run(&format!("logs --timestamps --since-time={middle} web"))
        .await;
    let expected: Vec<_> = whole.lines().filter(|line| said_at(line) >= middle).collect();
    assert!(expected.len() > 10 && expected.len() < whole.lines().count());
    assert_eq!(since.lines().collect::<Vec<_>>(), expected);
    assert_eq!(kubectl.run("logs --timestamps --since=1h web").await, whole);
    // Two seconds after its end nothing was said within the last one.
    eventually(SOON, "nothing is new", || async {
        let earliest = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1);
        let new = kubectl.run("logs --timestamps --since=1s web").await;
        assert!(new.lines().all(|line| said_at(line) >= earliest), "{earliest}: {new}");
        if new.is_empty() { Ok(()) } else { Err(new) }
    })
    .await;
}

#[tokio::test]
async fn the_log_of_the_run_before_is_there() {
    let pod = json!({ "metadata": { "annotations": {
        "mock.outrigger.dev/runTime": "3s", "mock.outrigger.dev/logRate": "10", "mock.outrigger.dev/exitCode": "1",
        "mock.outrigger.dev/backOff": "100ms", "mock.outrigger.dev/backOffMax": "100ms",
    }}});
    let Some(setting) = Setting::new("logs_previous", false, pod).await else {
        return;
    };
    let run = async || {
        let status = setting.test.pods().get("web").await.unwrap().status.unwrap();
        let container = status.container_statuses.unwrap().remove(0);
        let runs = container.state.is_some_and(|state| state.running.is_some());
        runs.then_some(container.restart_count)
    };
    let (run, log) = eventually(SOON, "it was read while one run lasted", || async {
        let before = run().await.filter(|run| *run > 0).ok_or("it does not run again yet")?;
        let log = setting.kubectl.run("logs --previous web").await;
        match run().await {
            Some(after) if after == before => Ok((before, log)),
            _ => Err("it was restarted meanwhile"),
        }
    })
    .await;
    assert!(log.lines().count() >= 30, "3 s at 10 a second: {log}");
    let end = format!(" of app, run {}", run - 1);
    assert!(log.lines().all(|line| line.ends_with(&end)), "{log}");
}
