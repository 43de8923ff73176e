//! The external back end as a real process behind a real socket.

use crate::{PATIENCE, identity, pod, pushed_report, start, until};
use outrigger_mock::{
    protocol::{Count, Counts},
    provider::Mock,
};
use outrigger_plugin::{
    ContainerState, ErrorCode, LogRequest, Logs, PodReport, Provider,
    testing::{self, Pushed, call},
};
use serde_json::json;
use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc::Receiver,
    task::JoinSet,
    time::timeout,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrigger-mock-backend");
const GRACE: Duration = Duration::from_secs(30);

/// A process with its directory; killed at the end.
pub struct Process {
    directory: TempDir,
    child: Child,
}

impl Process {
    pub fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let child = spawn(directory.path().join("socket"), directory.path().join("state"));
        Self { directory, child }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.socket(), self.directory.path().join("state"));
    }

    /// What the command prints.
    fn counts(&self) -> Counts {
        let output = Command::new(PROGRAM)
            .arg("counts")
            .arg("--socket")
            .arg(self.socket())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn host(&self) -> (Mock, Receiver<Pushed>) {
        start(json!({"backend": {"kind": "external", "socket": self.socket()}})).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns when it listens.
fn spawn(socket: PathBuf, state: PathBuf) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("--socket").arg(socket).arg("--state").arg(state);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    child
}

async fn back(mock: &Mock) {
    until("the connection is there again", async || mock.ping(call()).await.ok()).await;
}

fn runs(report: &PodReport) -> bool {
    matches!(report.containers[0].state, ContainerState::Running { .. })
}

#[tokio::test]
async fn a_life_over_the_socket_is_counted() {
    let process = Process::start();
    let (mock, mut pushed) = process.host().await;
    mock.ping(call()).await.unwrap();
    let made = mock
        .create(call(), pod("web", &[("startDelay", "50ms"), ("stopDelay", "50ms")]))
        .await
        .unwrap();
    assert!(!runs(&made));
    let running = pushed_report(&mut pushed, "uid-of-web", runs).await;
    assert!(running.sequence > made.sequence);
    mock.create(call(), pod("web", &[])).await.unwrap();
    let here = process.counts();
    assert_eq!(here.present.get("uid-of-web"), Some(&identity("web")));

    let stopped = mock.stop(call(), identity("web"), GRACE).await.unwrap();
    assert!(stopped.all_ended() && stopped.sequence > running.sequence);
    mock.remove(call(), identity("web")).await.unwrap();
    mock.remove(call(), identity("web")).await.unwrap();
    assert_eq!(
        mock.get(call(), identity("web")).await.unwrap_err().code,
        ErrorCode::NotFound
    );
    let counts = process.counts();
    let expected = Count {
        creates: 1,
        repeated: 1,
        updates: 0,
        stops: 1,
        removes: 1,
        vanished: 0,
    };
    assert_eq!(counts.pods.get("uid-of-web"), Some(&expected));
    assert!(counts.present.is_empty());
}

#[tokio::test]
async fn errors_cross_with_their_class() {
    let process = Process::start();
    let (mock, _pushed) = process.host().await;
    let error = mock
        .create(call(), pod("web", &[("create.failures", "1")]))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    let error = mock.stop(call(), identity("web"), GRACE).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.contains("default/web"), "{}", error.message);
}

#[tokio::test]
async fn logs_and_stats_come_from_there() {
    let process = Process::start();
    let (mock, _pushed) = process.host().await;
    mock.create(call(), pod("web", &[("logRate", "0"), ("cpu", "1")]))
        .await
        .unwrap();
    let node = outrigger_plugin::request::StatsRequest { node: "node".into() };
    let stats = outrigger_plugin::Stats::stats(&mock, call(), node).await.unwrap();
    assert_eq!(stats.node.cpu_nanocores, Some(1_020_000_000));

    let (mock, (out, mut client)) = (Arc::new(mock), testing::stream().unwrap());
    let request = LogRequest {
        identity: identity("web"),
        container: "app".into(),
        previous: false,
        follow: true,
        since: None,
        tail: None,
    };
    let follower = mock.clone();
    let following = tokio::spawn(async move { follower.read_logs(call(), request, out).await });
    mock.stop(call(), identity("web"), GRACE).await.unwrap();
    timeout(PATIENCE, following).await.unwrap().unwrap().unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_provider_starts_while_the_process_is_away() {
    let mut process = Process::start();
    process.kill();
    let (mock, _pushed) = process.host().await;
    let error = mock.ping(call()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(
        error.message.contains(process.socket().to_str().unwrap()),
        "{}",
        error.message
    );
    process.restart();
    back(&mock).await;
    mock.create(call(), pod("web", &[])).await.unwrap();
}

#[tokio::test]
async fn pods_outlive_the_process() {
    let mut process = Process::start();
    let (mock, mut pushed) = process.host().await;
    for number in 0..20 {
        mock.create(call(), pod(&format!("web-{number}"), &[])).await.unwrap();
    }
    mock.create(call(), pod("job", &[("vanishAfter", "1s")])).await.unwrap();
    let vanishes = tokio::time::Instant::now() + Duration::from_millis(1_010);
    mock.create(call(), pod("old", &[])).await.unwrap();
    mock.remove(call(), identity("old")).await.unwrap();
    let before = mock.list(call()).await.unwrap();
    process.kill();
    let error = until("the loss is noticed", async || mock.ping(call()).await.err()).await;
    assert_eq!(error.code, ErrorCode::Unavailable);
    let error = mock.create(call(), pod("late", &[])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    tokio::time::sleep_until(vanishes).await;
    process.restart();

    // What happened while it was away is told without being asked for: what is gone, then what is there.
    let gone = pushed_report(&mut pushed, "uid-of-job", |report| report.gone).await;
    assert_eq!(gone.identity, identity("job"));
    let same = pushed_report(&mut pushed, "uid-of-web-7", |_| true).await;
    let old = before.iter().find(|report| report.identity == same.identity).unwrap();
    assert_eq!((&same.containers, &same.ips), (&old.containers, &old.ips));
    assert!(same.sequence > old.sequence);

    back(&mock).await;
    let names: HashSet<_> = mock
        .list(call())
        .await
        .unwrap()
        .into_iter()
        .map(|report| report.identity.name)
        .collect();
    assert_eq!(names, (0..20).map(|number| format!("web-{number}")).collect());
    let counts = process.counts();
    assert_eq!(counts.pods["uid-of-web-0"].creates, 1);
    assert_eq!(counts.pods["uid-of-old"].removes, 1);
    assert_eq!(counts.pods["uid-of-job"].vanished, 1);
    assert!(!counts.pods.contains_key("uid-of-late"));
}

#[tokio::test]
async fn a_call_under_way_ends_when_the_process_does() {
    let mut process = Process::start();
    let (mock, _pushed) = process.host().await;
    let mock = Arc::new(mock);
    mock.create(call(), pod("web", &[("stopDelay", "never")]))
        .await
        .unwrap();
    let stopping = mock.clone();
    let stop = tokio::spawn(async move { stopping.stop(call(), identity("web"), Duration::from_secs(3_600)).await });
    until("the stop has begun", async || {
        let counts = process.counts();
        (counts.pods["uid-of-web"].stops == 1).then_some(())
    })
    .await;
    process.restart();
    let error = timeout(PATIENCE, stop).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    back(&mock).await;
    let report = mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
    assert!(report.all_ended());
    assert_eq!(process.counts().pods["uid-of-web"].stops, 2);
}

#[tokio::test]
async fn two_hosts_see_the_same_pods() {
    let process = Process::start();
    let (first, mut pushed_to_first) = process.host().await;
    let (second, mut pushed_to_second) = process.host().await;
    second.ping(call()).await.unwrap();
    first
        .create(call(), pod("web", &[("readyDelay", "50ms")]))
        .await
        .unwrap();
    pushed_report(&mut pushed_to_second, "uid-of-web", runs).await;
    let adopted = second.create(call(), pod("web", &[])).await.unwrap();
    assert_eq!(adopted.identity, identity("web"));
    for pushed in [&mut pushed_to_first, &mut pushed_to_second] {
        pushed_report(pushed, "uid-of-web", |report| report.containers[0].ready).await;
    }
    second.stop(call(), identity("web"), GRACE).await.unwrap();
    pushed_report(&mut pushed_to_first, "uid-of-web", PodReport::all_ended).await;
    let count = process.counts().pods["uid-of-web"];
    assert_eq!((count.creates, count.repeated), (1, 1));
}

#[tokio::test]
async fn no_two_pods_have_an_address_in_common_after_a_restart() {
    let mut process = Process::start();
    let config = json!({
        "backend": {"kind": "external", "socket": process.socket()},
        "ips": ["10.9.0.0/30"],
    });
    let (mock, mut pushed) = start(config).await;
    let moving = [("ipChangeAfter", "50ms"), ("startDelay", "1ms")];
    mock.create(call(), pod("first", &moving)).await.unwrap();
    let old = pushed_report(&mut pushed, "uid-of-first", |report| !report.ips.is_empty()).await;
    let moved = pushed_report(&mut pushed, "uid-of-first", |report| report.ips != old.ips).await;
    // There are two: this one gets the other.
    let second = mock.create(call(), pod("second", &[])).await.unwrap();
    assert_eq!(second.ips, old.ips);

    process.restart();
    back(&mock).await;
    let first = mock.get(call(), identity("first")).await.unwrap();
    assert_eq!(first.ips, moved.ips);
    assert_eq!(mock.get(call(), identity("second")).await.unwrap().ips, second.ips);
    let error = mock.create(call(), pod("third", &[])).await.unwrap_err();
    assert!(error.message.contains("no free address"), "{error}");
}

/// How many pods the killed host makes.
const PODS: usize = 300;
const SOCKET_VARIABLE: &str = "OUTRIGGER_MOCK_TEST_SOCKET";

#[tokio::test]
async fn a_killed_host_leaves_pods_that_the_next_one_adopts() {
    let process = Process::start();
    let mut host = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "external::the_host_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(SOCKET_VARIABLE, process.socket())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let made = until("some pods were made", async || {
        let made = process.counts().present.len();
        (made > PODS / 10).then_some(made)
    })
    .await;
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(made < PODS, "it was killed too late to show anything");

    let (mock, _pushed) = process.host().await;
    let adopted = mock.list(call()).await.unwrap().len();
    assert!(adopted >= made);
    for number in 0..PODS {
        mock.create(call(), pod(&format!("web-{number}"), &[])).await.unwrap();
    }
    let counts = process.counts();
    assert_eq!(counts.present.len(), PODS);
    assert!(
        counts.pods.values().all(|count| count.creates == 1),
        "a pod was made twice"
    );
    assert_eq!(
        counts.pods.values().filter(|count| count.repeated == 1).count(),
        adopted
    );
}

#[tokio::test]
#[ignore = "the other half of the test above, which runs it in a process of its own"]
async fn the_host_that_is_killed() {
    let socket = std::env::var(SOCKET_VARIABLE).unwrap();
    let config = json!({
        "backend": {"kind": "external", "socket": socket},
        "pods": {"create": {"latency": "20ms"}},
    });
    let (mock, _pushed) = start(config).await;
    let mock = Arc::new(mock);
    let mut calls = JoinSet::new();
    for number in 0..PODS {
        let mock = mock.clone();
        calls.spawn(async move { mock.create(call(), pod(&format!("web-{number}"), &[])).await });
        if calls.len() == 8 {
            calls.join_next().await.unwrap().unwrap().unwrap();
        }
    }
    panic!("it should have been killed by now");
}

#[test]
fn the_program_says_what_is_wrong() {
    let run = |arguments: &[&str]| Command::new(PROGRAM).args(arguments).output().unwrap();
    let fault = |output: std::process::Output| (output.status.code(), String::from_utf8(output.stderr).unwrap());

    let (code, text) = fault(run(&[]));
    assert_eq!(code, Some(64));
    assert!(text.contains("--socket"), "{text}");
    assert_eq!(run(&["--sockt", "x"]).status.code(), Some(64));

    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (code, text) = fault(run(&["counts", "--socket", &path("nobody")]));
    assert_eq!(code, Some(69));
    assert!(text.contains("unable to reach") && text.contains("nobody"), "{text}");
    let (code, text) = fault(run(&["--socket", &path("missing/socket")]));
    assert_eq!(code, Some(69));
    assert!(
        text.contains("unable to listen") && text.contains("No such file"),
        "{text}"
    );

    std::fs::write(path("bad"), "{}\n").unwrap();
    let (code, text) = fault(run(&["--socket", &path("socket"), "--state", &path("bad")]));
    assert_eq!(code, Some(69));
    assert!(text.contains("line 1") && text.contains("missing field"), "{text}");

    let process = Process::start();
    let (code, text) = fault(run(&["--socket", process.socket().to_str().unwrap()]));
    assert_eq!(code, Some(69));
    assert!(text.contains("another backend"), "{text}");
}

#[test]
fn a_half_written_line_is_forgotten() {
    let mut process = Process::start();
    process.kill();
    let state = process.directory.path().join("state");
    let count = json!({"creates": 1, "repeated": 0, "stops": 0, "removes": 1});
    let whole = json!({"uid": "a", "count": count, "pod": null});
    std::fs::write(&state, format!("{whole}\n{{\"uid\":\"b\",\"cou")).unwrap();
    process.child = spawn(process.socket(), state);
    assert_eq!(process.counts().pods.keys().collect::<Vec<_>>(), ["a"]);
}

/// By mistake `--socket` and `--state` are swapped, say.
#[tokio::test]
async fn a_file_in_the_place_of_the_socket_stays() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("state");
    std::fs::write(&file, "pods").unwrap();
    let ended = Command::new(PROGRAM).arg("--socket").arg(&file).output().unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("unable to listen on"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), b"pods");
}

#[tokio::test]
async fn who_says_no_more_still_has_the_answers_that_are_there() {
    let process = Process::start();
    for _ in 0..50 {
        let mut stream = tokio::net::UnixStream::connect(process.socket()).await.unwrap();
        stream.write_all(b"{\"id\":7,\"op\":\"counts\"}\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.contains("\"id\":7") && answer.ends_with('\n'), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_that_can_not_be_read_is_answered_all_the_same() {
    let process = Process::start();
    let mut stream = tokio::net::UnixStream::connect(process.socket()).await.unwrap();
    let asked = b"{\"id\":7,\"op\":\"brandNew\"}\n{\"id\":8,\"op\":\"get\"}\nnonsense\n";
    stream.write_all(asked).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answers))
        .await
        .unwrap()
        .unwrap();
    let ids: Vec<_> = answers
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["reply"]["outcome"]["Err"]["message"].is_string(), "{line}");
            line["reply"]["id"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(ids, [7, 8, 0]);
}
