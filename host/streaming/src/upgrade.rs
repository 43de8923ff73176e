//! The HTTP request that becomes a connection of streams: which protocol is chosen, and every refusal.
//!
//! The rules are those of Kubernetes' `httpstream.Handshake` and of the WebSocket server behind its `wsstream`: the first
//! protocol of the *client's* list that the server has, 400 for a request that asks for nothing, 403 for one that asks for
//! what isn't there. Nothing is checked that a proxy on the way changes: neither `Host` nor `Origin`.

use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The token of SPDY in `Upgrade`.
pub const SPDY: &str = "SPDY/3.1";
/// The client's list of protocols over SPDY, and the server's choice.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// In a refusal: what the server has.
pub const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// A bearer token can stand among the WebSocket protocols, behind this prefix; it is no protocol.
pub const BEARER_PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

const WEBSOCKET: &str = "websocket";
const WEBSOCKET_VERSION: &str = "13";
/// Of a header that is quoted in a refusal, no more than this.
const QUOTED: usize = 256;

/// What a server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Also the WebSocket protocols that an API server sends only to nodes that declare `ExtendWebSocketsToKubelet`
    /// (Kubernetes 1.36): `v5.channel.k8s.io`, and SPDY through a tunnel for port-forwards.
    pub extended: bool,
}

/// A request that was accepted.
#[derive(Debug)]
pub struct Upgrade<P> {
    /// What to speak after the answer.
    pub protocol: P,
    /// The answer, 101 with its headers. After it, nothing may be sent over SPDY before the client has: clients in Go lose
    /// bytes that come in the same read as the answer.
    pub response: Response<()>,
}

/// A request that was not accepted: the answer, in plain text.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{body}")]
pub struct Refusal {
    /// 400, 403 or 405.
    pub status: StatusCode,
    /// Content type, and what the client could ask for.
    pub headers: Box<HeaderMap>,
    /// What to show to a person, one line.
    pub body: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, body: impl Into<String>) -> Refusal {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Refusal {
            status,
            headers: Box::new(headers),
            body: body.into(),
        }
    }

    pub(crate) fn bad_request(body: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, body)
    }
}

impl From<Refusal> for Response<String> {
    fn from(refusal: Refusal) -> Response<String> {
        let mut response = Response::new(refusal.body);
        *response.status_mut() = refusal.status;
        *response.headers_mut() = *refusal.headers;
        response
    }
}

/// What a service speaks: names, in the server's order, with what they stand for.
pub(crate) struct Protocols<P: 'static> {
    /// Over SPDY.
    pub spdy: &'static [(&'static str, P)],
    /// Over WebSocket; the empty name is a client that names none.
    pub websocket: &'static [(&'static str, P)],
    /// Over WebSocket, when [`Offer::extended`].
    pub extended: &'static [(&'static str, P)],
}

impl<P: Copy> Protocols<P> {
    pub fn negotiate(&self, method: &Method, headers: &HeaderMap, offer: Offer) -> Result<Upgrade<P>, Refusal> {
        let upgrade = tokens(headers, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"));
        if upgrade && tokens(headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case(WEBSOCKET)) {
            return self.websocket(method, headers, offer);
        }
        self.check_spdy_list(headers, upgrade)?;
        let wanted: Vec<&str> = tokens(headers, &STREAM_PROTOCOL).collect();
        let Some((name, protocol)) = first_common(wanted.iter().copied(), &[self.spdy]) else {
            let names = self.spdy.iter().map(|(name, _)| *name);
            let mut refusal = no_common(&wanted, names.clone());
            for name in names {
                refusal
                    .headers
                    .append(ACCEPTED_STREAM_PROTOCOLS, HeaderValue::from_static(name));
            }
            return Err(refusal);
        };
        let mut response = switching(SPDY);
        response
            .headers_mut()
            .insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
        Ok(Upgrade { protocol, response })
    }

    /// 400 for a request that is no upgrade to SPDY at all, or names no protocol.
    fn check_spdy_list(&self, headers: &HeaderMap, upgrade: bool) -> Result<(), Refusal> {
        let named = tokens(headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case(SPDY));
        if !upgrade || !named {
            return Err(Refusal::bad_request(format!(
                "unable to upgrade: the request must have Connection: Upgrade, and Upgrade: {SPDY} or {WEBSOCKET}"
            )));
        }
        if !headers.contains_key(STREAM_PROTOCOL) {
            return Err(Refusal::bad_request(
                "unable to upgrade: the request must have X-Stream-Protocol-Version",
            ));
        }
        if tokens(headers, &STREAM_PROTOCOL).next().is_none() {
            return Err(Refusal::bad_request(
                "unable to upgrade: X-Stream-Protocol-Version names no protocol",
            ));
        }
        Ok(())
    }

    fn websocket(&self, method: &Method, headers: &HeaderMap, offer: Offer) -> Result<Upgrade<P>, Refusal> {
        if method != Method::GET {
            let text = "unable to upgrade: a WebSocket is asked for with GET";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text));
        }
        let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
        if version.map(<[u8]>::trim_ascii) != Some(WEBSOCKET_VERSION.as_bytes()) {
            let mut refusal = Refusal::bad_request("unable to upgrade: Sec-WebSocket-Version must be 13");
            let known = HeaderValue::from_static(WEBSOCKET_VERSION);
            refusal.headers.insert(SEC_WEBSOCKET_VERSION, known);
            return Err(refusal);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).map(|k| k.as_bytes().trim_ascii());
        let Some(key) = key.filter(|k| !k.is_empty()) else {
            return Err(Refusal::bad_request(
                "unable to upgrade: the request must have Sec-WebSocket-Key",
            ));
        };
        let extended = if offer.extended { self.extended } else { &[] };
        let wanted: Vec<&str> = tokens(headers, &SEC_WEBSOCKET_PROTOCOL)
            .filter(|t| !t.starts_with(BEARER_PROTOCOL_PREFIX))
            .collect();
        let asked = if wanted.is_empty() { &[""][..] } else { &wanted[..] };
        let Some((name, protocol)) = first_common(asked.iter().copied(), &[self.websocket, extended]) else {
            let names = self.websocket.iter().chain(extended).map(|(name, _)| *name);
            return Err(no_common(&wanted, names.filter(|n| !n.is_empty())));
        };
        let mut response = switching(WEBSOCKET);
        let accept = HeaderValue::try_from(derive_accept_key(key))
            .map_err(|_| Refusal::bad_request("unable to upgrade: Sec-WebSocket-Key can't be answered"))?;
        response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
        if !name.is_empty() {
            response
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        Ok(Upgrade { protocol, response })
    }
}

/// The client's half of an upgrade.
#[derive(Clone, Debug)]
pub struct Ask<P: 'static> {
    /// The headers of the request. GET is the method for WebSocket; SPDY takes POST as well.
    pub headers: HeaderMap,
    had: Vec<(&'static str, P)>,
    key: Option<String>,
}

/// An answer that is no upgrade to what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NotUpgraded {
    /// Not 101.
    #[error("the server answered {0} instead of switching protocols")]
    Status(StatusCode),
    /// 101 to something else.
    #[error("the server switches to another protocol than was asked for")]
    Other,
    /// `Sec-WebSocket-Accept` is not the answer to our key.
    #[error("the server did not understand the WebSocket handshake")]
    Accept,
    /// It chose what wasn't offered, or nothing.
    #[error("the server chose the protocol {0:?}, which was not asked for")]
    Protocol(String),
}

impl<P: Copy> Ask<P> {
    /// Over SPDY: any of these, best first.
    pub(crate) fn spdy(had: Vec<(&'static str, P)>) -> Ask<P> {
        let mut headers = asking(SPDY);
        for (name, _) in &had {
            headers.append(STREAM_PROTOCOL, HeaderValue::from_static(name));
        }
        Ask {
            headers,
            had,
            key: None,
        }
    }

    /// Over WebSocket: any of these, best first. The empty name asks for none.
    pub(crate) fn websocket(had: Vec<(&'static str, P)>) -> Ask<P> {
        let mut headers = asking(WEBSOCKET);
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(WEBSOCKET_VERSION));
        let key = generate_key();
        // A key is base64, so this can't fail.
        if let Ok(value) = HeaderValue::try_from(&key) {
            headers.insert(SEC_WEBSOCKET_KEY, value);
        }
        let names: Vec<&str> = had.iter().map(|(name, _)| *name).filter(|n| !n.is_empty()).collect();
        if let Ok(list) = HeaderValue::try_from(names.join(", "))
            && !names.is_empty()
        {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, list);
        }
        Ask {
            headers,
            had,
            key: Some(key),
        }
    }

    /// Reads the server's answer: what to speak from now on.
    ///
    /// # Errors
    /// The server refused, or answered what can't be followed.
    pub fn answered<B>(&self, response: &Response<B>) -> Result<P, NotUpgraded> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(NotUpgraded::Status(response.status()));
        }
        let headers = response.headers();
        let (transport, list) = match &self.key {
            None => (SPDY, &STREAM_PROTOCOL),
            Some(_) => (WEBSOCKET, &SEC_WEBSOCKET_PROTOCOL),
        };
        if !tokens(headers, &UPGRADE).any(|t| t.eq_ignore_ascii_case(transport)) {
            return Err(NotUpgraded::Other);
        }
        if let Some(key) = &self.key {
            let accept = headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes);
            if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
                return Err(NotUpgraded::Accept);
            }
        }
        let chosen = tokens(headers, list).next().unwrap_or_default();
        let found = self.had.iter().find(|(name, _)| *name == chosen);
        found
            .map(|(_, protocol)| *protocol)
            .ok_or_else(|| NotUpgraded::Protocol(chosen.to_owned()))
    }
}

fn asking(transport: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(transport));
    headers
}

/// The values of a list header, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn first_common<'a, P: Copy>(
    mut wanted: impl Iterator<Item = &'a str>,
    had: &[&'static [(&'static str, P)]],
) -> Option<(&'static str, P)> {
    wanted.find_map(|want| had.iter().copied().flatten().find(|(name, _)| *name == want).copied())
}

fn no_common<'a>(wanted: &[&str], had: impl Iterator<Item = &'a str>) -> Refusal {
    let mut wanted = wanted.join(", ");
    if let Some((end, _)) = wanted.char_indices().nth(QUOTED) {
        wanted.truncate(end);
    }
    let had = had.collect::<Vec<_>>().join(", ");
    let text = format!("unable to upgrade: no common protocol: the client has [{wanted}], the server has [{had}]");
    Refusal::new(StatusCode::FORBIDDEN, text)
}

fn switching(to: &'static str) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = asking(to);
    response
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
