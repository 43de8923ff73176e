//! Go's client library, which kubectl is made of, by each protocol alone: there is no way back to the other.

use super::client::Client;
use super::client::Speaks;
use super::client::build;
use crate::harness::Test;

matrix!("interop_go", clients);

async fn clients(test: &Test) -> Vec<Client> {
    let Some(program) = build("client-go/build.sh", &[]).await else {
        return Vec::new();
    };
    let client = |name: &str, speaks, protocol: &str| {
        let mut client = Client::new(format!("client-go over {name}"), program.clone(), speaks);
        client.env.push(("INTEROP_PROTOCOL", protocol.into()));
        client
    };
    let both = || {
        [
            client("SPDY", Speaks::Spdy, "spdy"),
            client("WebSocket", Speaks::NewWebSocket, "websocket"),
        ]
    };
    let direct = both().into_iter().filter_map(|client| client.direct(test));
    both().into_iter().chain(direct).collect()
}
