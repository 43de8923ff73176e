use crate::{PATIENCE, identity, pod_of, start, until};
use outrigger_mock::{logs::Rfc3339, provider::Mock};
use outrigger_plugin::{ContainerState, ErrorCode, LogRequest, Logs, Provider, Result, Timestamp, testing};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    time::timeout,
};

fn request() -> LogRequest {
    LogRequest {
        identity: identity("job"),
        container: "app".into(),
        previous: false,
        follow: false,
        since: None,
        tail: None,
    }
}

async fn read(mock: &Mock, request: LogRequest) -> Result<String> {
    let (out, mut client) = testing::stream().unwrap();
    let mut text = String::new();
    let (outcome, read) = timeout(PATIENCE, async {
        tokio::join!(
            mock.read_logs(testing::call(), request, out),
            client.read_to_string(&mut text)
        )
    })
    .await
    .unwrap();
    read.unwrap();
    outcome.map(|()| text)
}

async fn with_pod(annotations: &[(&str, &str)], policy: &str) -> Mock {
    let (mock, _) = start(json!({})).await;
    let manifest = json!({"restartPolicy": policy, "containers": [{"name": "app"}]});
    mock.create(testing::call(), pod_of("job", annotations, manifest))
        .await
        .unwrap();
    mock
}

async fn ended(mock: &Mock) {
    until("the container has ended", async || {
        let report = mock.get(testing::call(), identity("job")).await.unwrap();
        matches!(report.containers[0].state, ContainerState::Terminated(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_ended_run_has_the_same_log_each_time() {
    let mock = with_pod(&[("runTime", "100ms"), ("logRate", "1000")], "Never").await;
    ended(&mock).await;
    let text = read(&mock, request()).await.unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 101);
    assert!(text.ends_with('\n'));
    for (number, line) in lines.iter().enumerate() {
        let (time, text) = line.split_once(' ').unwrap();
        assert_eq!(text, format!("line {number} of app, run 0"));
        assert_eq!((time.len(), &time[10..11], &time[29..]), (30, "T", "Z"), "{time}");
    }
    assert!(lines.is_sorted());
    assert_eq!(read(&mock, request()).await.unwrap(), text);

    let tail = read(
        &mock,
        LogRequest {
            tail: Some(2),
            ..request()
        },
    )
    .await
    .unwrap();
    assert_eq!(tail.lines().collect::<Vec<_>>(), lines[99..]);
    let report = mock.get(testing::call(), identity("job")).await.unwrap();
    let ContainerState::Terminated(end) = &report.containers[0].state else {
        panic!()
    };
    let since = Some(end.finished_at);
    let late = read(&mock, LogRequest { since, ..request() }).await.unwrap();
    assert_eq!(late.lines().collect::<Vec<_>>(), lines[100..]);
    // To follow what has ended is to read it.
    assert_eq!(
        read(
            &mock,
            LogRequest {
                follow: true,
                ..request()
            }
        )
        .await
        .unwrap(),
        text
    );
}

#[tokio::test]
async fn following_ends_with_the_container() {
    let mock = with_pod(&[("runTime", "300ms"), ("logRate", "50")], "Never").await;
    let text = read(
        &mock,
        LogRequest {
            follow: true,
            ..request()
        },
    )
    .await
    .unwrap();
    assert_eq!(text.lines().count(), 16);
    assert_eq!(text, read(&mock, request()).await.unwrap());
}

#[tokio::test]
async fn following_ends_with_the_run_though_the_next_one_begins_at_once() {
    let crashing = [("runTime", "300ms"), ("logRate", "1000"), ("exitCode", "1")];
    let mock = with_pod(&crashing, "Always").await;
    let follow = LogRequest {
        follow: true,
        ..request()
    };
    let text = read(&mock, follow).await.unwrap();
    assert_eq!(text.lines().count(), 301);
    assert!(text.lines().all(|line| line.ends_with(", run 0")), "{text}");
}

#[tokio::test]
async fn lines_can_be_filled_up_to_a_size() {
    let annotations = [("runTime", "100ms"), ("logRate", "1000"), ("logLineBytes", "65536")];
    let mock = with_pod(&annotations, "Never").await;
    ended(&mock).await;
    let text = read(&mock, request()).await.unwrap();
    let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(lines.len(), 101);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line.len(), 65_536);
        assert_eq!(line.trim_end_matches('.'), format!("line {number} of app, run 0"));
    }
}

#[tokio::test]
async fn following_outlasts_a_backend_that_is_away() {
    let mut process = crate::external::Process::start();
    let backend = json!({"backend": {"kind": "external", "socket": process.socket()}});
    let (mock, _pushed) = start(backend).await;
    let manifest = json!({"restartPolicy": "Never", "containers": [{"name": "app"}]});
    let slow = [("logRate", "200"), ("runTime", "1s")];
    mock.create(testing::call(), pod_of("job", &slow, manifest))
        .await
        .unwrap();
    let (out, client) = testing::stream().unwrap();
    let follow = LogRequest {
        follow: true,
        ..request()
    };
    let following = tokio::spawn(async move { mock.read_logs(testing::call(), follow, out).await });
    let mut client = BufReader::new(client);
    let mut text = String::new();
    client.read_line(&mut text).await.unwrap();
    process.restart();
    timeout(PATIENCE, client.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    timeout(PATIENCE, following).await.unwrap().unwrap().unwrap();
    let expected: Vec<_> = (0..=200).map(|number| format!("line {number} of app, run 0")).collect();
    let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn no_line_is_invented_while_the_backend_is_away() {
    let mut process = crate::external::Process::start();
    let backend = json!({"backend": {"kind": "external", "socket": process.socket()}});
    let (mock, _pushed) = start(backend).await;
    let mock = Arc::new(mock);
    let manifest = json!({"containers": [{"name": "app"}]});
    mock.create(testing::call(), pod_of("job", &[("logRate", "200")], manifest))
        .await
        .unwrap();
    let (out, client) = testing::stream().unwrap();
    let follow = LogRequest {
        follow: true,
        ..request()
    };
    let follower = mock.clone();
    let following = tokio::spawn(async move { follower.read_logs(testing::call(), follow, out).await });
    let mut lines = BufReader::new(client).lines();
    timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    process.kill();
    until("the loss is noticed", async || mock.ping(testing::call()).await.err()).await;
    let lost = Rfc3339(Timestamp::now(), 0).to_string();
    while let Ok(line) = timeout(Duration::from_millis(300), lines.next_line()).await {
        let line = line.unwrap().unwrap();
        assert!(line[..lost.len()] <= *lost, "{line} after the loss at {lost}");
    }
    assert!(!following.is_finished());
}

#[tokio::test]
async fn following_ends_when_the_pod_is_stopped_though_nothing_is_logged() {
    let mock = Arc::new(with_pod(&[("logRate", "0")], "Always").await);
    let follower = mock.clone();
    let following = tokio::spawn(async move {
        read(
            &follower,
            LogRequest {
                follow: true,
                ..request()
            },
        )
        .await
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!following.is_finished());
    mock.stop(testing::call(), identity("job"), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(timeout(PATIENCE, following).await.unwrap().unwrap().unwrap(), "");
}

#[tokio::test]
async fn a_client_that_goes_ends_the_call() {
    let mock = Arc::new(with_pod(&[("logRate", "1000")], "Always").await);
    let (out, client) = testing::stream().unwrap();
    let follow = LogRequest {
        follow: true,
        ..request()
    };
    let call = tokio::spawn(async move { mock.read_logs(testing::call(), follow, out).await });
    let mut lines = BufReader::new(client).lines();
    for number in 0..5 {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(line.ends_with(&format!("line {number} of app, run 0")), "{line}");
    }
    drop(lines);
    assert!(timeout(PATIENCE, call).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn the_previous_run_has_a_log_of_its_own() {
    let mock = with_pod(&[("runTime", "50ms"), ("logRate", "100"), ("exitCode", "1")], "Always").await;
    let previous = || LogRequest {
        previous: true,
        ..request()
    };
    let text = until("the container has been restarted", async || {
        read(&mock, previous()).await.ok()
    })
    .await;
    assert_eq!(text.lines().count(), 6);
    assert!(
        text.lines()
            .all(|line| line.ends_with(", run 0") || line.ends_with(", run 1")),
        "{text}"
    );
}

#[tokio::test]
async fn what_has_no_log_says_why() {
    let mock = with_pod(&[("startDelay", "never")], "Always").await;
    let code = async |request| read(&mock, request).await.unwrap_err().code;
    assert_eq!(code(request()).await, ErrorCode::Invalid);
    let ghost = LogRequest {
        container: "ghost".into(),
        ..request()
    };
    assert_eq!(code(ghost).await, ErrorCode::NotFound);
    let stranger = LogRequest {
        identity: identity("stranger"),
        ..request()
    };
    assert_eq!(code(stranger).await, ErrorCode::NotFound);
    assert_eq!(
        code(LogRequest {
            previous: true,
            ..request()
        })
        .await,
        ErrorCode::Invalid
    );
}
