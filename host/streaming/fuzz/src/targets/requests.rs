//! Requests that want to become sessions: their queries, and what they ask to be upgraded to.

use super::bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use outrigger_streaming::upgrade::{Offer, Refusal};
use outrigger_streaming::{portforward, remotecommand};

const NAMES: &[&str] = &[
    "connection",
    "upgrade",
    "x-stream-protocol-version",
    "sec-websocket-protocol",
    "sec-websocket-key",
    "sec-websocket-version",
    "host",
];

/// The first byte says what is read of the rest.
pub fn run(data: &[u8]) {
    let mut input = Bytes(data);
    match input.byte() {
        0 => query(&String::from_utf8_lossy(input.0)),
        choice => upgrade(choice, input),
    }
}

fn query(query: &str) {
    match remotecommand::Wanted::from_query(query) {
        Ok(wanted) => {
            assert!(wanted.stdin || wanted.stdout || wanted.stderr);
            assert!(!(wanted.tty && wanted.stderr));
        }
        Err(refusal) => check(&refusal),
    }
    match portforward::ports_from_query(query) {
        Ok(ports) => assert!(!ports.is_empty() && ports.len() < 128 && !ports.contains(&0)),
        Err(refusal) => check(&refusal),
    }
}

fn upgrade(choice: u8, mut input: Bytes<'_>) {
    let method = if choice & 1 == 0 { Method::GET } else { Method::POST };
    let offer = Offer {
        extended: choice & 2 == 0,
    };
    let mut headers = HeaderMap::new();
    while !input.is_empty() {
        let name = HeaderName::from_static(NAMES[usize::from(input.byte()) % NAMES.len()]);
        if let Ok(value) = HeaderValue::from_bytes(input.some()) {
            headers.append(name, value);
        }
    }
    let command = remotecommand::negotiate(&method, &headers, offer);
    let forward = portforward::negotiate(&method, &headers, offer);
    for result in [
        command.map(|upgrade| upgrade.response),
        forward.map(|upgrade| upgrade.response),
    ] {
        match result {
            Ok(response) => assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS),
            Err(refusal) => check(&refusal),
        }
    }
}

/// A proxy gives it to the client as it is: it must be an error, and one line of text.
fn check(refusal: &Refusal) {
    assert!(refusal.status.is_client_error());
    assert!(
        !refusal.body.is_empty() && refusal.body.len() < 1000,
        "{:?}",
        refusal.body
    );
    let response: Response<String> = refusal.clone().into();
    assert_eq!(response.status(), refusal.status);
}
