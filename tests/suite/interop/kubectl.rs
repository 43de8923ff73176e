//! The real kubectl, of several minors, over WebSocket and over SPDY.

use super::client::Client;
use super::client::Speaks;
use super::client::build;
use crate::harness::Test;
use std::path::Path;
use std::path::PathBuf;

matrix!("interop_kubectl", clients);

/// The newest and the one before it.
const MINORS: &str = "1.37 1.36";

async fn clients(test: &Test) -> Vec<Client> {
    let wanted = std::env::var("OUTRIGGER_SUITE_KUBECTLS").unwrap_or_else(|_| MINORS.to_owned());
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for word in wanted.split_whitespace() {
        match word {
            "installed" => found.extend(installed()),
            minor => found.extend(
                build("kubectl/build.sh", &[minor])
                    .await
                    .map(|path| (minor.to_owned(), path)),
            ),
        }
    }
    if found.is_empty() {
        let any = test.kubectl().map(|kubectl| kubectl.program().to_owned());
        found.extend(any.map(|path| ("of this machine".to_owned(), path)));
    }
    let both = found
        .into_iter()
        .flat_map(|(version, path)| both_ways(test, &version, &path));
    both.collect()
}

/// `kubectl.1.NN` in PATH and where the Google Cloud SDK has them.
fn installed() -> Vec<(String, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sdk = PathBuf::from("/usr/lib/google-cloud-sdk/bin");
    let directories: Vec<PathBuf> = std::env::split_paths(&path).chain([sdk]).collect();
    let find = |minor: u32| {
        let mut files = directories
            .iter()
            .map(|directory| directory.join(format!("kubectl.1.{minor}")));
        files
            .find(|file| file.is_file())
            .map(|file| (format!("1.{minor}, installed"), file))
    };
    (27..60).filter_map(find).collect()
}

fn both_ways(test: &Test, version: &str, program: &Path) -> [Client; 2] {
    let kubectl = |way: &str, speaks, on: &str| {
        let mut client = Client::new(format!("kubectl {version} over {way}"), program.to_owned(), speaks);
        client.is_kubectl = true;
        for variable in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
            client.env.push((variable, on.into()));
        }
        client
    };
    // Where a node refuses, it takes SPDY, which is tried anyway; an API server that translates makes a difference.
    let web_socket = match test.cluster.translates() {
        true => Speaks::WebSocket,
        false => Speaks::NewWebSocket,
    };
    [
        kubectl("WebSocket", web_socket, "true"),
        kubectl("SPDY", Speaks::Spdy, "false"),
    ]
}
