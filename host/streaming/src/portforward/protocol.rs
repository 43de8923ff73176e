//! Which protocol, and which ports.

use http::{HeaderMap, Method};

use super::{Ask, Upgrade};
use crate::upgrade::{Offer, Protocols, Refusal};

/// A protocol for port-forwards, with what it goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `portforward.k8s.io` over SPDY.
    Spdy,
    /// SPDY through a WebSocket.
    Tunnel,
    /// `v4.channel.k8s.io`, or none at all, over WebSocket.
    WebSocket,
    /// `v4.base64.channel.k8s.io` over WebSocket.
    WebSocketBase64,
}

/// Two channels for each port, and 255 means something else.
const PORTS: usize = 127;

const PROTOCOLS: Protocols<Protocol> = Protocols {
    spdy: &[("portforward.k8s.io", Protocol::Spdy)],
    websocket: &[
        ("v4.channel.k8s.io", Protocol::WebSocket),
        ("v4.base64.channel.k8s.io", Protocol::WebSocketBase64),
        ("", Protocol::WebSocket),
    ],
    extended: &[("SPDY/3.1+portforward.k8s.io", Protocol::Tunnel)],
};

/// Chooses the protocol for a request to `/portForward`, as [`crate::remotecommand::negotiate`] does for commands.
///
/// # Errors
/// The answer to send; see there.
pub fn negotiate(method: &Method, headers: &HeaderMap, offer: Offer) -> Result<Upgrade, Refusal> {
    PROTOCOLS.negotiate(method, headers, offer)
}

/// What a client has to ask for, as [`crate::remotecommand::ask`].
#[must_use]
pub fn ask(protocols: &[Protocol]) -> Ask {
    let spdy = protocols.first().is_none_or(|first| *first == Protocol::Spdy);
    let wanted = protocols.iter().filter(|p| (**p == Protocol::Spdy) == spdy);
    let named = wanted.map(|p| (p.name(), *p)).collect();
    if spdy { Ask::spdy(named) } else { Ask::websocket(named) }
}

impl Protocol {
    /// The name in headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        let lists = [PROTOCOLS.spdy, PROTOCOLS.websocket, PROTOCOLS.extended];
        let mut known = lists.into_iter().flatten();
        known
            .find(|(_, protocol)| *protocol == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether the query has to say which [ports](ports_from_query); elsewhere the client says so for each connection.
    #[must_use]
    pub fn needs_ports(self) -> bool {
        matches!(self, Protocol::WebSocket | Protocol::WebSocketBase64)
    }
}

/// Reads the ports of a request's query: `port=80,443`, or several times `port`. Needed only if [`Protocol::needs_ports`].
///
/// # Errors
/// 400 when there are none, too many for the channels of a connection, or one is no port.
pub fn ports_from_query(query: &str) -> Result<Vec<u16>, Refusal> {
    let mut ports = Vec::new();
    let lists = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "port");
    for (_, list) in lists {
        if list.is_empty() {
            return Err(Refusal::bad_request("query parameter \"port\" cannot be empty"));
        }
        for port in list.split(',') {
            // As upstream: digits only, so no sign.
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            match port.parse::<u16>() {
                Ok(0) => return Err(Refusal::bad_request("a port must be greater than 0")),
                Ok(port) if digits => ports.push(port),
                _ => {
                    let shown: String = port.chars().take(20).collect();
                    return Err(Refusal::bad_request(format!("unable to read {shown:?} as a port")));
                }
            }
        }
    }
    if ports.is_empty() {
        return Err(Refusal::bad_request("query parameter \"port\" is required"));
    }
    if ports.len() > PORTS {
        let text = format!(
            "{} ports are more than the {PORTS} that one connection can have",
            ports.len()
        );
        return Err(Refusal::bad_request(text));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_and_repetitions() {
        assert_eq!(ports_from_query("port=80,443&x=1&port=8080").unwrap(), [80, 443, 8080]);
        assert_eq!(ports_from_query("port=80%2C80").unwrap(), [80, 80]);
    }

    #[test]
    fn what_is_no_port() {
        for query in [
            "",
            "ports=80",
            "port=",
            "port=0",
            "port=65536",
            "port=80,",
            "port=+80",
            "port=-1",
            "port=a",
        ] {
            assert_eq!(ports_from_query(query).unwrap_err().status, 400, "{query}");
        }
        let many = vec!["1"; PORTS + 1].join(",");
        assert!(ports_from_query(&format!("port={many}")).is_err());
    }

    #[test]
    fn each_protocol_has_its_name() {
        assert_eq!(Protocol::Spdy.name(), "portforward.k8s.io");
        assert_eq!(Protocol::Tunnel.name(), "SPDY/3.1+portforward.k8s.io");
        assert_eq!(Protocol::WebSocket.name(), "v4.channel.k8s.io");
        assert_eq!(Protocol::WebSocketBase64.name(), "v4.base64.channel.k8s.io");
    }

    proptest! {
        #[test]
        fn any_query_is_read(query in ".{0,200}") {
            if let Ok(ports) = ports_from_query(&query) {
                prop_assert!(!ports.contains(&0) && !ports.is_empty());
            }
        }
    }
}
