//! kube-rs, over WebSocket.

use super::client::Client;
use super::client::Speaks;
use crate::harness::Test;
use crate::harness::program;

matrix!("interop_kube", clients);

async fn clients(test: &Test) -> Vec<Client> {
    let client = || {
        let mut client = Client::new("kube-rs", program("interop-kube-rs"), Speaks::WebSocket);
        client.half_close = false;
        client
    };
    std::iter::once(client()).chain(client().direct(test)).collect()
}
