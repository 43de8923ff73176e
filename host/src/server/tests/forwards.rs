//! Port-forwards: through TLS, over SPDY and through the tunnel, to ports made up.

use super::fake::Log;
use super::processes;
use super::upgrades::ask_upgrade;
use super::*;
use outrigger_plugin::ProviderError;
use outrigger_streaming::portforward;
use outrigger_streaming::portforward::Client;
use outrigger_streaming::portforward::Protocol;
use std::sync::atomic::Ordering;

const BOTH: [Protocol; 2] = [Protocol::Spdy, Protocol::Tunnel];

async fn forward(server: &Running, path: &str, protocol: Protocol) -> Client {
    let asked = portforward::ask(&[protocol]);
    let method = if protocol == Protocol::Spdy { "POST" } else { "GET" };
    let (response, stream) = ask_upgrade(server, method, path, &asked.headers).await;
    assert_eq!(asked.answered(&response).unwrap(), protocol);
    portforward::connect(stream, protocol).await.unwrap()
}

#[tokio::test]
async fn many_connections_go_through_one() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let server = start(backend).await;
    for (protocol, path) in BOTH
        .into_iter()
        .zip(["/portForward/default/web", "/portForward/default/web/uid-web"])
    {
        let client = forward(&server, path, protocol).await;
        let echoes = (0..20_u8).map(|number| {
            let client = &client;
            async move {
                let mut connection = client.open(7).await.unwrap();
                let sent = vec![number; 100_000];
                let (mut read, mut write) = tokio::io::split(connection.data);
                let sending = async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                };
                let mut echo = Vec::new();
                let (_, all) = tokio::join!(sending, read.read_to_end(&mut echo));
                all.unwrap();
                connection.data = read.unsplit(write);
                assert!(echo == sent, "{number}");
                assert_eq!(connection.error.wait().await.unwrap(), None);
            }
        });
        tokio::time::timeout(PATIENCE, futures::future::join_all(echoes))
            .await
            .unwrap();
        let mut late = client.open(13).await.unwrap();
        let mut text = String::new();
        late.data.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "it is late");
        drop(late);
        client.close().await.unwrap();
        eventually("all connections end", || sessions.load(Ordering::SeqCst) == 0).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_port_that_can_not_be_reached_is_told_on_its_own() {
    let mut backend = Fake::new(Log::Text(""));
    let server = start(backend.clone()).await;
    let client = forward(&server, "/portForward/default/web", Protocol::Spdy).await;
    let refused = client.open(9).await.unwrap();
    let text = tokio::time::timeout(PATIENCE, refused.error.wait()).await.unwrap();
    let expected = "error forwarding port 9 to pod web, uid uid-web: nobody listens on port 9";
    assert_eq!(text.unwrap().as_deref(), Some(expected));
    let mut fine = client.open(13).await.unwrap();
    let mut text = String::new();
    fine.data.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "it is late");
    client.close().await.unwrap();
    server.stop().await;

    backend.refusal = Some(ProviderError::unavailable("the provider is starting"));
    let server = start(backend).await;
    let client = forward(&server, "/portForward/default/web", Protocol::Spdy).await;
    let refused = client.open(7).await.unwrap();
    let text = tokio::time::timeout(PATIENCE, refused.error.wait()).await.unwrap();
    assert!(
        text.unwrap()
            .unwrap()
            .ends_with("uid uid-web: the provider is starting")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_connections() {
    let backend = Fake::new(Log::Text(""));
    let sessions = Arc::clone(&backend.sessions);
    let server = start(backend).await;
    for protocol in BOTH {
        let client = forward(&server, "/portForward/default/web", protocol).await;
        let idle = client.open(1).await.unwrap();
        let mut busy = client.open(1).await.unwrap();
        eventually("both are there", || sessions.load(Ordering::SeqCst) == 2).await;
        // So much that the server reads no more of the connection.
        busy.data
            .write_all(&vec![0; processes::HELD + ((256 + 16 + 16) << 10)])
            .await
            .unwrap();
        busy.data.flush().await.unwrap();
        drop((idle, busy, client));
        eventually("connections outlive their client", || {
            sessions.load(Ordering::SeqCst) == 0
        })
        .await;
    }
    server.stop().await;
}

#[tokio::test]
async fn channels_need_their_ports_at_once() {
    let server = start(Fake::new(Log::Text(""))).await;
    let headers = portforward::ask(&[Protocol::WebSocket]).headers;
    for (query, status) in [("", 400), ("?port=0", 400), ("?port=x", 400), ("?port=7,13", 101)] {
        let path = format!("/portForward/default/web{query}");
        let (response, _) = ask_upgrade(&server, "GET", &path, &headers).await;
        assert_eq!(response.status(), status, "{query}");
    }
    server.stop().await;
}
