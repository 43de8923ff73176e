use crate::{PATIENCE, identity, pod_of, start};
use outrigger_mock::provider::Mock;
use outrigger_plugin::{
    ErrorCode, PortForward, PortForwardRequest, Provider, Result,
    testing::{self, call},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};

async fn mock() -> Arc<Mock> {
    let (mock, _) = start(json!({})).await;
    let ports = json!([{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 443, "protocol": "TCP"}]);
    let manifest = json!({"containers": [{"name": "app", "ports": ports}], "initContainers": [{"name": "i", "ports": [{"containerPort": 7}]}]});
    mock.create(call(), pod_of("web", &[], manifest)).await.unwrap();
    Arc::new(mock)
}

fn connect(mock: &Arc<Mock>, port: u16) -> (JoinHandle<Result<()>>, UnixStream) {
    let (connection, client) = testing::stream().unwrap();
    let request = PortForwardRequest {
        identity: identity("web"),
        port,
    };
    let mock = mock.clone();
    let forwarded = tokio::spawn(async move { mock.port_forward(call(), request, connection).await });
    (forwarded, client)
}

#[tokio::test]
async fn a_declared_port_echoes_to_the_last_byte_after_the_half_close() {
    let mock = mock().await;
    for port in [80, 443] {
        let (forwarded, mut client) = connect(&mock, port);
        client.write_all(b"there and back").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        timeout(PATIENCE, client.read_to_string(&mut text))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(text, "there and back");
        timeout(PATIENCE, forwarded).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn any_other_port_refuses() {
    let mock = mock().await;
    // Undeclared, of another protocol, of a container that has ended.
    for port in [81, 53, 7] {
        let (forwarded, mut client) = connect(&mock, port);
        let error = forwarded.await.unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        let expected = format!("unable to connect to port {port}: connection refused");
        assert!(error.message.starts_with(&expected), "{}", error.message);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_hundred_connections_are_apart() {
    let mock = mock().await;
    let clients: Vec<_> = (0..100_u32)
        .map(|number| {
            let (forwarded, client) = connect(&mock, 80);
            tokio::spawn(async move {
                let sent = number.to_le_bytes().repeat(25_000);
                let (mut reader, mut writer) = client.into_split();
                let mut got = Vec::new();
                let (wrote, read) = tokio::join!(
                    async {
                        writer.write_all(&sent).await?;
                        writer.shutdown().await
                    },
                    reader.read_to_end(&mut got)
                );
                wrote.unwrap();
                read.unwrap();
                assert!(got == sent, "connection {number} got other bytes");
                forwarded.await.unwrap().unwrap();
            })
        })
        .collect();
    for client in clients {
        timeout(PATIENCE, client).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_ends_with_its_container() {
    let mock = mock().await;
    let (forwarded, mut client) = connect(&mock, 80);
    client.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    mock.stop(call(), identity("web"), Duration::ZERO).await.unwrap();
    let error = timeout(PATIENCE, forwarded).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}
