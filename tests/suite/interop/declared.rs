//! Which of both ways an API server takes, by its own word.

use super::client::Client;
use super::client::Speaks;
use super::field::Cell;
use super::field::Field;
use super::ports::forwarding;
use crate::harness::ClusterKind;
use crate::harness::ControlPlane;
use crate::harness::Test;
use crate::harness::skip;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How many sessions over WebSocket it has had of this kind, by what it did with them.
async fn counted(test: &Test, subresource: &str) -> [u64; 2] {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let page = test.client.request_text(request).await.unwrap();
    let name = "apiserver_websocket_streaming_requests_total{";
    let of_it = || {
        page.lines()
            .filter(|line| line.starts_with(name) && line.contains(subresource))
    };
    ["proxied_to_kubelet", "translated_at_apiserver"].map(|way| {
        let values = of_it().filter(|line| line.contains(way)).map(|line| {
            let value = line.rsplit(' ').next().unwrap_or_default();
            value.parse::<u64>().unwrap_or_else(|_| panic!("no number in {line}"))
        });
        values.sum()
    })
}

#[tokio::test]
async fn web_sockets_go_through_to_nodes_that_declare_them_and_to_no_others() {
    const NAME: &str = "interop_declared";
    // One of its own: it counts what all tests do.
    if std::env::var("OUTRIGGER_TEST_CLUSTER").as_deref() != Ok("real") {
        return skip(NAME, "only the real control plane tells which way it took");
    }
    let plane = ControlPlane::start(NAME).await;
    assert_eq!(plane.cluster.kind, ClusterKind::Real);
    let test = Test::on(plane.cluster, NAME).await;
    let Some(kubectl) = test.kubectl() else { return };
    let mut client = Client::new("kubectl", kubectl.program().to_owned(), Speaks::WebSocket);
    client.is_kubectl = true;
    let field = Field::start(test).await;
    for (number, side) in field.sides().iter().enumerate() {
        let cell = Cell {
            field: &field,
            side,
            client: &client,
        };
        assert!(cell.shell("true").await.status.success(), "{cell}");
        let (mut child, address) = forwarding(&cell).await;
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(b"x").await.unwrap();
        assert_eq!(connection.read_u8().await.unwrap(), b'x', "{cell}");
        child.kill().await.unwrap();
        // The node that declares nothing comes first.
        let expected = [u64::try_from(number).unwrap(), 1];
        for subresource in ["exec", "portforward"] {
            let counted = counted(&field.test, subresource).await;
            assert_eq!(
                counted, expected,
                "{cell}: {subresource}, passed through and translated"
            );
        }
    }
}
