use crate::{PATIENCE, identity, pod_of, pushed_report, start};
use outrigger_mock::provider::Mock;
use outrigger_plugin::{
    Command, Content, EnvVar, ErrorCode, File, LogRequest, Logs, Materials, Part, PodRequest, Provider,
    RegistryCredential, Result, Value, testing,
};
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    time::timeout,
};

const SHOW: &[(&str, &str)] = &[("showMaterials", "true")];

fn request(follow: bool) -> LogRequest {
    LogRequest {
        identity: identity("job"),
        container: "app".into(),
        previous: false,
        follow,
        since: None,
        tail: None,
    }
}

fn pod(annotations: &[(&str, &str)], materials: Materials) -> PodRequest {
    PodRequest {
        materials,
        ..pod_of("job", annotations, json!({"containers": [{"name": "app"}]}))
    }
}

fn materials(color: &str) -> Materials {
    let var = |name: &str, value: Value, secret: bool| EnvVar {
        name: name.into(),
        value,
        secret,
    };
    let now = |text: &str| Value::Now(text.into());
    let file = |path: &str, mode: u32, content: Content| File {
        path: path.into(),
        mode,
        user: None,
        group: None,
        content,
        secret: false,
    };
    let env = vec![
        var("COLOR", now(color), false),
        var("PASSWORD", now("hunter2"), true),
        var("IP", Value::Late(vec![Part::PodIp]), false),
    ];
    let command = Command {
        args: vec![Value::Late(vec![Part::Text("--ip=".into()), Part::PodIp])],
        ..Command::default()
    };
    Materials {
        env: [("app".into(), env.clone()), ("other".into(), vec![])].into(),
        commands: [("app".into(), command)].into(),
        sub_paths: [("app".into(), BTreeMap::from([("/m".into(), now("web-0"))]))].into(),
        files: [
            (
                "config".into(),
                vec![
                    file("app.conf", 0o644, Content::Text(now("a\nb"))),
                    file("logo", 0o400, Content::Bytes(vec![0xff, 0])),
                ],
            ),
            ("none".into(), vec![]),
        ]
        .into(),
        registries: vec![RegistryCredential {
            registry: "quay.io".into(),
            username: "u".into(),
            password: "p".into(),
        }],
        hostname: "web-0".into(),
        ..Materials::default()
    }
}

async fn read(mock: &Mock, request: LogRequest) -> Result<Vec<Json>> {
    let (out, mut client) = testing::stream().unwrap();
    let mut text = String::new();
    let both = async {
        tokio::join!(
            mock.read_logs(testing::call(), request, out),
            client.read_to_string(&mut text)
        )
    };
    let (outcome, read) = timeout(PATIENCE, both).await.unwrap();
    read.unwrap();
    outcome.map(|()| text.lines().map(line).collect())
}

/// What stands behind the time.
fn line(line: &str) -> Json {
    serde_json::from_str(line.split_once(' ').unwrap().1).unwrap()
}

#[tokio::test]
async fn a_pod_can_show_what_the_host_resolved_for_it() {
    let (mock, _) = start(json!({})).await;
    let report = mock
        .create(testing::call(), pod(SHOW, materials("blue")))
        .await
        .unwrap();
    let ip = report.ips[0];
    let lines = read(&mock, request(false)).await.unwrap();
    assert_eq!(
        lines,
        [
            json!({"revision": 1}),
            json!({"env": "COLOR", "value": "blue", "secret": false}),
            json!({"env": "PASSWORD", "value": "hunter2", "secret": true}),
            json!({"env": "IP", "value": ip, "secret": false}),
            json!({"command": [], "args": [format!("--ip={ip}")], "secret": false}),
            json!({"subPath": "/m", "value": "web-0"}),
            json!({"file": "config/app.conf", "mode": "0644", "user": null, "group": null, "secret": false, "text": "a\nb"}),
            json!({"file": "config/logo", "mode": "0400", "user": null, "group": null, "secret": false, "base64": "/wA="}),
            json!({"volume": "none"}),
            json!({"registry": "quay.io", "username": "u", "password": "p"}),
            json!({"hostname": "web-0", "domain": "", "dns": {"inherit": true}, "hosts": []}),
        ]
    );
    let tail = LogRequest {
        tail: Some(1),
        ..request(false)
    };
    assert_eq!(read(&mock, tail).await.unwrap(), lines[10..]);
}

#[tokio::test]
async fn nothing_is_shown_or_kept_that_nobody_asked_for() {
    let (mock, _) = start(json!({})).await;
    mock.create(testing::call(), pod(&[], materials("blue"))).await.unwrap();
    let (out, mut client) = testing::stream().unwrap();
    mock.read_logs(testing::call(), request(false), out).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(
        text.ends_with("line 0 of app, run 0\n") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_follower_sees_each_change() {
    let (mock, _) = start(json!({})).await;
    let mock = Arc::new(mock);
    mock.create(testing::call(), pod(SHOW, materials("blue")))
        .await
        .unwrap();
    let (out, client) = testing::stream().unwrap();
    let reader = mock.clone();
    let call = tokio::spawn(async move { reader.read_logs(testing::call(), request(true), out).await });
    let mut lines = BufReader::new(client).lines();
    let mut colors = Vec::new();
    while let Some(text) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
        let line = line(&text);
        if line["env"] == "COLOR" {
            colors.push(line["value"].as_str().unwrap().to_owned());
        }
        if line["hostname"] == "web-0" {
            match colors.len() {
                1 => {
                    // The same again is no change.
                    mock.update(testing::call(), pod(SHOW, materials("blue")))
                        .await
                        .unwrap();
                    mock.update(testing::call(), pod(SHOW, materials("red"))).await.unwrap();
                }
                _ => {
                    let grace = std::time::Duration::ZERO;
                    mock.stop(testing::call(), identity("job"), grace).await.unwrap();
                }
            }
        }
    }
    assert_eq!(colors, ["blue", "red"]);
    timeout(PATIENCE, call).await.unwrap().unwrap().unwrap();
    assert_eq!(read(&mock, request(false)).await.unwrap()[0], json!({"revision": 2}));
}

#[tokio::test]
async fn late_values_and_missing_logs_are_said() {
    let (mock, _) = start(json!({})).await;
    let waiting = [SHOW, &[("startDelay", "never")]].concat();
    mock.create(testing::call(), pod(&waiting, materials("blue")))
        .await
        .unwrap();
    assert_eq!(read(&mock, request(false)).await.unwrap_err().code, ErrorCode::Invalid);
    let ghost = LogRequest {
        container: "ghost".into(),
        ..request(false)
    };
    assert_eq!(read(&mock, ghost).await.unwrap_err().code, ErrorCode::NotFound);
    // A pod in the node's network has no address of its own here.
    let mut request_of_host = pod(SHOW, materials("blue"));
    let manifest = json!({"metadata": {"annotations": {"mock.outrigger.dev/showMaterials": "true"}},
                          "spec": {"hostNetwork": true, "containers": [{"name": "app"}]}});
    request_of_host.pod = serde_json::value::to_raw_value(&manifest).unwrap();
    mock.remove(testing::call(), identity("job")).await.unwrap();
    mock.create(testing::call(), request_of_host).await.unwrap();
    let lines = read(&mock, request(false)).await.unwrap();
    assert!(
        lines.contains(&json!({"env": "IP", "late": true, "secret": false})),
        "{lines:?}"
    );
}

#[tokio::test]
async fn nothing_is_kept_of_a_pod_that_the_backend_has_lost() {
    let (mock, mut pushed) = start(json!({})).await;
    let vanishing = [SHOW, &[("vanishAfter", "1ms")]].concat();
    mock.create(testing::call(), pod(&vanishing, materials("blue")))
        .await
        .unwrap();
    pushed_report(&mut pushed, "uid-of-job", |report| report.gone).await;
    let revision = async || {
        mock.create(testing::call(), pod(SHOW, materials("red"))).await.unwrap();
        read(&mock, request(false)).await.unwrap()[0]["revision"].clone()
    };
    // The host may make it again.
    for _ in 0..2 {
        mock.sync(testing::call(), vec![identity("job")]).await.unwrap();
    }
    assert_eq!(revision().await, 2);
    mock.update(testing::call(), pod(SHOW, materials("blue")))
        .await
        .unwrap();
    assert_eq!(read(&mock, request(false)).await.unwrap()[0], json!({"revision": 3}));
    for _ in 0..2 {
        mock.sync(testing::call(), vec![]).await.unwrap();
    }
    // It is there, whatever the host believes.
    assert_eq!(revision().await, 4);

    let (mock, mut pushed) = start(json!({})).await;
    mock.create(testing::call(), pod(&vanishing, materials("blue")))
        .await
        .unwrap();
    pushed_report(&mut pushed, "uid-of-job", |report| report.gone).await;
    for _ in 0..2 {
        mock.sync(testing::call(), vec![]).await.unwrap();
    }
    mock.create(testing::call(), pod(SHOW, materials("red"))).await.unwrap();
    assert_eq!(read(&mock, request(false)).await.unwrap()[0], json!({"revision": 1}));
}
