//! Which protocol, and which streams.

use http::{HeaderMap, Method};

use super::{Ask, Upgrade};
use crate::upgrade::{Offer, Protocols, Refusal};
use crate::websocket::Codec;

/// A protocol for remote commands, with what it goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `channel.k8s.io` over SPDY.
    SpdyV1,
    /// `v2.channel.k8s.io` over SPDY.
    SpdyV2,
    /// `v3.channel.k8s.io` over SPDY.
    SpdyV3,
    /// `v4.channel.k8s.io` over SPDY.
    SpdyV4,
    /// `channel.k8s.io`, or none at all, over WebSocket.
    WebSocketV1,
    /// `base64.channel.k8s.io` over WebSocket.
    WebSocketV1Base64,
    /// `v4.channel.k8s.io` over WebSocket.
    WebSocketV4,
    /// `v4.base64.channel.k8s.io` over WebSocket.
    WebSocketV4Base64,
    /// `v5.channel.k8s.io` over WebSocket.
    WebSocketV5,
}

/// v5 is not among those over SPDY: clients offer it there, and no server knows it.
const PROTOCOLS: Protocols<Protocol> = Protocols {
    spdy: &[
        ("v4.channel.k8s.io", Protocol::SpdyV4),
        ("v3.channel.k8s.io", Protocol::SpdyV3),
        ("v2.channel.k8s.io", Protocol::SpdyV2),
        ("channel.k8s.io", Protocol::SpdyV1),
    ],
    websocket: &[
        ("v4.channel.k8s.io", Protocol::WebSocketV4),
        ("v4.base64.channel.k8s.io", Protocol::WebSocketV4Base64),
        ("channel.k8s.io", Protocol::WebSocketV1),
        ("base64.channel.k8s.io", Protocol::WebSocketV1Base64),
        ("", Protocol::WebSocketV1),
    ],
    extended: &[("v5.channel.k8s.io", Protocol::WebSocketV5)],
};

/// Chooses the protocol for a request to `/exec` or `/attach`: the first of the client's that we have.
///
/// A bearer token among the WebSocket protocols is passed over. The method matters for WebSocket only, which is asked for with
/// GET.
///
/// # Errors
/// The answer to send: 400 for what is no upgrade or names no protocol (over SPDY), 403 when there is none in common, with
/// those that there are, 405 for a WebSocket with another method than GET.
pub fn negotiate(method: &Method, headers: &HeaderMap, offer: Offer) -> Result<Upgrade, Refusal> {
    PROTOCOLS.negotiate(method, headers, offer)
}

/// What a client has to ask for, to speak one of `protocols`, best first. As they are asked for over SPDY or over WebSocket,
/// those that don't go over the same as the first are left out.
#[must_use]
pub fn ask(protocols: &[Protocol]) -> Ask {
    let spdy = protocols.first().is_none_or(|first| first.is_spdy());
    let wanted = protocols.iter().filter(|p| p.is_spdy() == spdy);
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

    /// Whether it goes over SPDY.
    #[must_use]
    pub fn is_spdy(self) -> bool {
        PROTOCOLS.spdy.iter().any(|(_, protocol)| *protocol == self)
    }

    /// Whether the outcome is a JSON status (v4 and later) and not text.
    #[must_use]
    pub fn has_status(self) -> bool {
        matches!(
            self,
            Protocol::SpdyV4 | Protocol::WebSocketV4 | Protocol::WebSocketV4Base64 | Protocol::WebSocketV5
        )
    }

    /// Whether the client can tell the size of its terminal.
    #[must_use]
    pub fn has_sizes(self) -> bool {
        !matches!(self, Protocol::SpdyV1 | Protocol::SpdyV2)
    }

    /// Whether a client can end its input and stay. With the others, to close the connection in order is the only end of input
    /// that there is.
    #[must_use]
    pub fn has_half_close(self) -> bool {
        self.is_spdy() || self == Protocol::WebSocketV5
    }

    pub(super) fn codec(self) -> Codec {
        match self {
            Protocol::WebSocketV1Base64 | Protocol::WebSocketV4Base64 => Codec::Base64,
            Protocol::WebSocketV5 => Codec::Raw { half_close: true },
            _ => Codec::Raw { half_close: false },
        }
    }
}

/// The streams that a client asks for in its query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `input=1`
    pub stdin: bool,
    /// `output=1`
    pub stdout: bool,
    /// `error=1`, and not `tty`: a terminal has one output.
    pub stderr: bool,
    /// `tty=1`
    pub tty: bool,
}

impl Wanted {
    /// Reads the query of a request to a kubelet. Only the value `1` means yes, and the first of a name counts; other names, as
    /// `command`, are not looked at.
    ///
    /// # Errors
    /// 400 when none of stdin, stdout and stderr is asked for.
    pub fn from_query(query: &str) -> Result<Wanted, Refusal> {
        let flag = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(n, _)| n == name).is_some_and(|(_, value)| value == "1")
        };
        let wanted = Wanted {
            stdin: flag("input"),
            stdout: flag("output"),
            stderr: flag("error"),
            tty: flag("tty"),
        }
        .checked();
        if wanted.stdin || wanted.stdout || wanted.stderr {
            Ok(wanted)
        } else {
            Err(Refusal::bad_request(
                "you must specify at least 1 of stdin, stdout, stderr",
            ))
        }
    }

    /// A terminal has no stderr of its own.
    pub(super) fn checked(mut self) -> Wanted {
        self.stderr &= !self.tty;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_yes() {
        let wanted = Wanted::from_query("command=ls&input=1&output=true&error=1").unwrap();
        assert_eq!(
            wanted,
            Wanted {
                stdin: true,
                stdout: false,
                stderr: true,
                tty: false
            }
        );
        let first = Wanted::from_query("output=1&output=0&input=0&input=1").unwrap();
        assert!(first.stdout && !first.stdin);
    }

    #[test]
    fn a_terminal_has_no_stderr() {
        let wanted = Wanted::from_query("output=1&error=1&tty=1").unwrap();
        assert!(wanted.tty && wanted.stdout && !wanted.stderr);
        assert!(Wanted::from_query("error=1&tty=1").is_err(), "nothing is left of it");
    }

    #[test]
    fn nothing_is_refused() {
        for query in ["", "command=x", "tty=1", "input=yes", "stdin=1", "&&=&%zz"] {
            let refusal = Wanted::from_query(query).unwrap_err();
            assert_eq!(refusal.status, 400);
            assert_eq!(refusal.body, "you must specify at least 1 of stdin, stdout, stderr");
        }
    }

    #[test]
    fn each_protocol_has_its_name() {
        for list in [PROTOCOLS.spdy, PROTOCOLS.websocket, PROTOCOLS.extended] {
            for (name, protocol) in list {
                assert!(protocol.name() == *name || name.is_empty());
            }
        }
        assert_eq!(Protocol::WebSocketV1.name(), "channel.k8s.io");
    }
}
