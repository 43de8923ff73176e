//! Python's client, over WebSocket.

use super::client::Client;
use super::client::Speaks;
use super::client::build;
use crate::harness::Test;
use crate::harness::repository;

matrix!("interop_python", clients);

async fn clients(_: &Test) -> Vec<Client> {
    let Some(interpreter) = build("python/environment.sh", &[]).await else {
        return Vec::new();
    };
    let mut client = Client::new("Python's client", interpreter, Speaks::WebSocket);
    client.args = vec![repository().join("tests/interop/python/client.py").into()];
    client.half_close = false;
    vec![client]
}
