//! What each path answers.

use super::fake::LOG;
use super::fake::Log;
use super::*;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ProviderError;

const APP: &str = "/containerLogs/default/web/app";

#[tokio::test]
async fn the_routes_answer() {
    let server = start(Fake::new(Log::Text(LOG))).await;
    let healthz = server.get("/healthz").await;
    assert_eq!((healthz.status, healthz.body.as_str()), (200, "ok"));
    for path in [
        "/",
        "/healthz/",
        "/healthz/nothing",
        "/stats",
        "/containerLogs/default/web",
        "/containerLogs/a/b/c/d",
    ] {
        let reply = server.get(path).await;
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
    let caller = server.authority.client("kube-apiserver-kubelet-client");
    for path in ["/healthz", "/pods", "/metrics", "/stats/summary", APP] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let reply = ask(server.address, Some(&caller), &request).await;
        assert_eq!(reply.status, 405);
        assert!(reply.head.contains("allow: get"), "{}", reply.head);
    }
    server.stop().await;
}

#[tokio::test]
async fn pods_are_listed_as_they_are() {
    let mut backend = Fake::new(Log::Text(""));
    let server = start(backend.clone()).await;
    let reply = server.get("/pods").await;
    assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
    let list: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&"PodList".into(), &"v1".into()));
    let pod: serde_json::Value = serde_json::from_slice(&backend.pods[0]).unwrap();
    assert_eq!(list["items"], serde_json::json!([pod]));
    server.stop().await;

    backend.pods = vec![bytes::Bytes::from_static(b"{\"a\":1}"); 3];
    let server = start(backend.clone()).await;
    assert!(
        server
            .get("/pods")
            .await
            .body
            .contains(r#""items":[{"a":1},{"a":1},{"a":1}]}"#)
    );
    server.stop().await;

    backend.pods.clear();
    let server = start(backend).await;
    assert!(server.get("/pods").await.body.contains(r#""items":[]}"#));
    server.stop().await;
}

#[tokio::test]
async fn logs_come_as_asked() {
    let backend = Fake::new(Log::Text(LOG));
    let asked = Arc::clone(&backend.asked);
    let server = start(backend).await;
    for (query, body) in [
        ("", "one\ntwo\nthree\n"),
        ("?timestamps=true", LOG),
        ("?tailLines=2", "two\nthree\n"),
        ("?tailLines=0", ""),
        ("?tail=1", "three\n"),
        ("?tail=all", "one\ntwo\nthree\n"),
        ("?limitBytes=5", "one\nt"),
        ("?limitBytes=1000", "one\ntwo\nthree\n"),
        ("?tailLines=2&limitBytes=5", "two\nt"),
        ("?sinceTime=2026-11-23T06:00:01Z", "two\nthree\n"),
        ("?sinceTime=2026-11-23T08%3A00%3A02%2B02%3A00", "three\n"),
        ("?sinceSeconds=2147483647", "one\ntwo\nthree\n"),
        ("?previous=true", "one\ntwo\nthree\n"),
        ("?stream=All", "one\ntwo\nthree\n"),
    ] {
        let reply = server.get(&format!("{APP}{query}")).await;
        assert_eq!(
            (reply.status, reply.body.as_str(), reply.whole),
            (200, body, true),
            "{query}"
        );
        assert!(reply.head.contains("content-type: text/plain"), "{}", reply.head);
        assert!(!reply.head.contains("content-length"), "{}", reply.head);
    }
    assert_eq!(server.get("/containerLogs/default/web/init").await.status, 200);
    assert_eq!(server.get("/containerLogs/default/web/%61pp").await.status, 200);

    // The provider was told what it may leave out, and whose log it is.
    let asked = asked.lock().unwrap().clone();
    assert_eq!(
        (asked[0].identity.uid.as_str(), asked[0].container.as_str()),
        ("uid-web", "app")
    );
    assert_eq!(asked[2].tail, Some(2));
    assert_eq!(asked[9].since.map(|since| since.0), Some(1_795_413_601_000));
    assert!(asked[12].previous && !asked[0].previous);
    server.stop().await;
}

#[tokio::test]
async fn seconds_are_counted_back_from_now() {
    let now = jiff::Timestamp::now().as_second();
    let lines = [(3600, "an hour"), (600, "ten minutes"), (0, "now")].map(|(ago, text)| {
        let at = jiff::Timestamp::from_second(now - ago).unwrap();
        format!("{at} {text}\n")
    });
    let backend = Fake::new(Log::Text(lines.concat().leak()));
    let asked = Arc::clone(&backend.asked);
    let server = start(backend).await;
    for (seconds, body) in [
        (7200, "an hour\nten minutes\nnow\n"),
        (1800, "ten minutes\nnow\n"),
        (300, "now\n"),
    ] {
        let reply = server.get(&format!("{APP}?sinceSeconds={seconds}")).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, body), "{seconds}");
        let told = asked.lock().unwrap().last().unwrap().since.unwrap();
        let ago = now - told.0 / 1000;
        // The question was asked a little later.
        assert!((seconds - 120..=seconds).contains(&ago), "{seconds}: {ago}");
    }
    assert_eq!(server.get(&format!("{APP}?sinceSeconds=0")).await.status, 422);
    server.stop().await;
}

#[tokio::test]
async fn what_has_no_log_says_why() {
    let server = start(Fake::new(Log::Text(LOG))).await;
    let slow = "/containerLogs/default/web/slow";
    for (path, status, body) in [
        ("/containerLogs/default/other/app", 404, "pod \"other\" does not exist"),
        ("/containerLogs/kube-system/web/app", 404, "pod \"web\" does not exist"),
        (
            "/containerLogs/default/web/other",
            404,
            "container \"other\" not found in pod \"web\"",
        ),
        (
            "/containerLogs//web/app",
            400,
            r#"{"message": "Missing podNamespace."}"#,
        ),
        ("/containerLogs/default//app", 400, r#"{"message": "Missing podID."}"#),
        (
            "/containerLogs/default/web/",
            400,
            r#"{"message": "Missing container name."}"#,
        ),
        (
            "/containerLogs/default/web/app?tailLines=x",
            400,
            r#"{"message": "Unable to decode query."}"#,
        ),
        (
            "/containerLogs/default/other/app?tailLines=-1",
            422,
            r#"{"message": "Invalid request."}"#,
        ),
        (
            slow,
            400,
            "container \"slow\" in pod \"web\" is waiting to start: ContainerCreating",
        ),
        (
            "/containerLogs/default/web/init?previous=true",
            400,
            "previous terminated container \"init\" in pod \"web\" not found",
        ),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, body), "{path}");
    }
    assert_eq!(
        server.get("/containerLogs/default/web/app?stream=Stderr").await.status,
        400
    );
    server.stop().await;
}

#[tokio::test]
async fn a_log_that_does_not_open_is_no_log() {
    let refusal = |code| ProviderError {
        code,
        message: "the backend says no".to_owned(),
        detail: "password hunter2".to_owned(),
    };
    for (log, status) in [
        (Log::Closed(refusal(ErrorCode::NotFound)), 400),
        (Log::Closed(refusal(ErrorCode::Unavailable)), 400),
        (Log::Closed(refusal(ErrorCode::Unsupported)), 501),
        (Log::Broken("", refusal(ErrorCode::NotFound)), 400),
    ] {
        let server = start(Fake::new(log)).await;
        let reply = server.get(APP).await;
        assert_eq!((reply.status, reply.body.as_str()), (status, "the backend says no"));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_breaks_off_shows_it() {
    let error = ProviderError::unavailable("the backend went away");
    let server = start(Fake::new(Log::Broken(LOG, error))).await;
    let reply = server.get(APP).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "one\ntwo\nthree\n"));
    assert!(!reply.whole, "the end of the answer must be missing");
    server.stop().await;
}
