use http::header::ORIGIN;
use proptest::prelude::*;

use super::*;
use crate::{portforward, remotecommand};

const DECLARED: Offer = Offer { extended: true };
const PLAIN: Offer = Offer { extended: false };

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    map
}

fn spdy(protocols: &[&str]) -> HeaderMap {
    let mut map = headers(&[
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("Origin", "http://anywhere"),
    ]);
    for protocol in protocols {
        map.append(STREAM_PROTOCOL, HeaderValue::try_from(*protocol).unwrap());
    }
    map
}

fn websocket(protocols: &[&str]) -> HeaderMap {
    let mut map = headers(&[
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        // The example of RFC 6455, section 1.3.
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]);
    for protocol in protocols {
        map.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::try_from(*protocol).unwrap());
    }
    map
}

fn text<'a>(response: &'a Response<()>, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name).map(|v| v.to_str().unwrap())
}

/// What comes from API servers and clients: kubernetes' matrix of versions.
#[test]
fn commands_over_spdy() {
    use remotecommand::Protocol::{SpdyV1, SpdyV2, SpdyV3, SpdyV4};
    let all = [
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ];
    let joined = all.join(",");
    for (offered, protocol, name) in [
        // kubectl since 1.30, in lines; and v5, which no server has over SPDY.
        (&all[..], SpdyV4, "v4.channel.k8s.io"),
        (&[&joined], SpdyV4, "v4.channel.k8s.io"),
        (&["v3.channel.k8s.io , v4.channel.k8s.io"], SpdyV3, "v3.channel.k8s.io"),
        (&["", "unheard.of", "v2.channel.k8s.io"], SpdyV2, "v2.channel.k8s.io"),
        (&["channel.k8s.io"], SpdyV1, "channel.k8s.io"),
    ] {
        for (method, offer) in [(Method::POST, PLAIN), (Method::GET, DECLARED)] {
            let upgrade = remotecommand::negotiate(&method, &spdy(offered), offer).unwrap();
            assert_eq!(upgrade.protocol, protocol);
            assert_eq!(upgrade.response.status(), 101);
            assert_eq!(text(&upgrade.response, &CONNECTION), Some("Upgrade"));
            assert_eq!(text(&upgrade.response, &UPGRADE), Some("SPDY/3.1"));
            assert_eq!(text(&upgrade.response, &STREAM_PROTOCOL), Some(name));
        }
    }
}

#[test]
fn commands_over_websocket() {
    use remotecommand::Protocol::{WebSocketV1, WebSocketV1Base64, WebSocketV4, WebSocketV4Base64, WebSocketV5};
    let bearer = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
    for (offered, plain, declared) in [
        // kube-rs: both, best first.
        (
            &["v5.channel.k8s.io, v4.channel.k8s.io"][..],
            Some(WebSocketV4),
            WebSocketV5,
        ),
        (
            &["v4.channel.k8s.io", "v5.channel.k8s.io"],
            Some(WebSocketV4),
            WebSocketV4,
        ),
        (&["v5.channel.k8s.io"], None, WebSocketV5),
        (
            &["v4.base64.channel.k8s.io"],
            Some(WebSocketV4Base64),
            WebSocketV4Base64,
        ),
        (&["base64.channel.k8s.io"], Some(WebSocketV1Base64), WebSocketV1Base64),
        (&["channel.k8s.io"], Some(WebSocketV1), WebSocketV1),
        (&[], Some(WebSocketV1), WebSocketV1),
        (&[bearer, "v4.channel.k8s.io"], Some(WebSocketV4), WebSocketV4),
        (&[bearer], Some(WebSocketV1), WebSocketV1),
    ] {
        let map = websocket(offered);
        let found = remotecommand::negotiate(&Method::GET, &map, PLAIN)
            .map(|u| u.protocol)
            .ok();
        assert_eq!(found, plain, "{offered:?}");
        let upgrade = remotecommand::negotiate(&Method::GET, &map, DECLARED).unwrap();
        assert_eq!(upgrade.protocol, declared);
        assert_eq!(text(&upgrade.response, &UPGRADE), Some("websocket"));
        assert_eq!(
            text(&upgrade.response, &SEC_WEBSOCKET_ACCEPT),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        let named = offered.iter().any(|o| *o != bearer);
        let answered = text(&upgrade.response, &SEC_WEBSOCKET_PROTOCOL);
        assert_eq!(answered, named.then(|| declared.name()), "{offered:?}");
    }
}

#[test]
fn port_forwards() {
    use portforward::Protocol::{Spdy, Tunnel, WebSocket, WebSocketBase64};
    let chosen = |map: &HeaderMap, offer| {
        portforward::negotiate(&Method::GET, map, offer)
            .map(|u| u.protocol)
            .ok()
    };
    assert_eq!(chosen(&spdy(&["portforward.k8s.io"]), PLAIN), Some(Spdy));
    let tunnel = websocket(&["SPDY/3.1+portforward.k8s.io"]);
    assert_eq!(
        (chosen(&tunnel, PLAIN), chosen(&tunnel, DECLARED)),
        (None, Some(Tunnel))
    );
    // kube-rs offers v5, which port-forwards don't have.
    let kube = websocket(&["v5.channel.k8s.io, v4.channel.k8s.io"]);
    assert_eq!(
        (chosen(&kube, PLAIN), chosen(&kube, DECLARED)),
        (Some(WebSocket), Some(WebSocket))
    );
    assert_eq!(chosen(&websocket(&[]), PLAIN), Some(WebSocket));
    assert_eq!(
        chosen(&websocket(&["v4.base64.channel.k8s.io"]), PLAIN),
        Some(WebSocketBase64)
    );
    assert_eq!(chosen(&websocket(&["channel.k8s.io"]), PLAIN), None);
}

fn refused(method: &Method, map: &HeaderMap) -> Refusal {
    remotecommand::negotiate(method, map, PLAIN).unwrap_err()
}

#[test]
fn what_asks_for_nothing_is_a_bad_request() {
    let no_list = headers(&[("Connection", "Upgrade"), ("Upgrade", "spdy/3.1")]);
    let cases = [
        headers(&[]),
        headers(&[("Connection", "Upgrade"), ("Upgrade", "h2c")]),
        headers(&[
            ("Connection", "close"),
            ("Upgrade", "SPDY/3.1"),
            ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
        ]),
        headers(&[
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "x"),
        ]),
        no_list,
        spdy(&[""]),
        spdy(&[" , "]),
    ];
    for map in cases {
        let refusal = refused(&Method::POST, &map);
        assert_eq!(refusal.status, 400, "{map:?}");
        assert!(refusal.body.starts_with("unable to upgrade: "), "{refusal}");
        let response = Response::from(refusal);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}

#[test]
fn what_we_don_t_have_is_forbidden() {
    let refusal = refused(&Method::POST, &spdy(&["v5.channel.k8s.io"]));
    assert_eq!(refusal.status, 403);
    let accepted: Vec<_> = refusal.headers.get_all(ACCEPTED_STREAM_PROTOCOLS).iter().collect();
    assert_eq!(
        accepted,
        [
            "v4.channel.k8s.io",
            "v3.channel.k8s.io",
            "v2.channel.k8s.io",
            "channel.k8s.io"
        ]
    );
    assert!(refusal.body.contains("[v5.channel.k8s.io]"), "{refusal}");
    assert_eq!(refused(&Method::GET, &websocket(&["v5.channel.k8s.io"])).status, 403);
    let long = refused(&Method::POST, &spdy(&["x".repeat(100_000).as_str()]));
    assert!(long.body.len() < 600, "a refusal quotes no more than it must");
}

#[test]
fn a_websocket_has_its_rules() {
    assert_eq!(refused(&Method::POST, &websocket(&[])).status, 405);
    let mut old = websocket(&[]);
    old.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
    let refusal = refused(&Method::GET, &old);
    assert_eq!(
        (refusal.status.as_u16(), &refusal.headers[SEC_WEBSOCKET_VERSION]),
        (400, &HeaderValue::from_static("13"))
    );
    let mut keyless = websocket(&[]);
    keyless.remove(SEC_WEBSOCKET_KEY);
    assert_eq!(refused(&Method::GET, &keyless).status, 400);
}

#[test]
fn a_bearer_token_is_never_repeated() {
    let refusal = refused(
        &Method::GET,
        &websocket(&["base64url.bearer.authorization.k8s.io.c2VjcmV0, v9.channel.k8s.io"]),
    );
    assert!(!refusal.body.contains("c2VjcmV0"), "{refusal}");
}

#[test]
fn clients_and_servers_agree() {
    use remotecommand::Protocol as Command;
    for protocol in [
        Command::SpdyV1,
        Command::SpdyV4,
        Command::WebSocketV4Base64,
        Command::WebSocketV5,
    ] {
        let ask = remotecommand::ask(&[protocol]);
        let upgrade = remotecommand::negotiate(&Method::GET, &ask.headers, DECLARED).unwrap();
        assert_eq!(upgrade.protocol, protocol);
        assert_eq!(ask.answered(&upgrade.response).unwrap(), protocol);
    }
    // Asked for both ways, which can't be: the first decides.
    let ask = remotecommand::ask(&[Command::WebSocketV5, Command::SpdyV4, Command::WebSocketV4]);
    let upgrade = remotecommand::negotiate(&Method::GET, &ask.headers, PLAIN).unwrap();
    assert_eq!(ask.answered(&upgrade.response).unwrap(), Command::WebSocketV4);
    use portforward::Protocol as Forward;
    for protocol in [
        Forward::Spdy,
        Forward::Tunnel,
        Forward::WebSocket,
        Forward::WebSocketBase64,
    ] {
        let ask = portforward::ask(&[protocol]);
        let upgrade = portforward::negotiate(&Method::GET, &ask.headers, DECLARED).unwrap();
        assert_eq!(ask.answered(&upgrade.response).unwrap(), protocol);
    }
}

#[test]
fn answers_that_are_no_upgrade() {
    use remotecommand::Protocol as Command;
    let ask = remotecommand::ask(&[Command::WebSocketV5]);
    let good = remotecommand::negotiate(&Method::GET, &ask.headers, DECLARED)
        .unwrap()
        .response;
    let with = |change: &dyn Fn(&mut Response<()>)| {
        let mut response = Response::new(());
        *response.status_mut() = good.status();
        *response.headers_mut() = good.headers().clone();
        change(&mut response);
        ask.answered(&response).unwrap_err()
    };
    assert!(matches!(
        with(&|r| *r.status_mut() = StatusCode::FORBIDDEN),
        NotUpgraded::Status(_)
    ));
    assert!(matches!(
        with(&|r| drop(r.headers_mut().remove(UPGRADE))),
        NotUpgraded::Other
    ));
    assert!(matches!(
        with(&|r| drop(r.headers_mut().remove(SEC_WEBSOCKET_ACCEPT))),
        NotUpgraded::Accept
    ));
    assert!(matches!(
        with(&|r| drop(r.headers_mut().remove(SEC_WEBSOCKET_PROTOCOL))),
        NotUpgraded::Protocol(_)
    ));
}

proptest! {
    #[test]
    fn any_headers_are_answered(lines in prop::collection::vec((0usize..8, "[ -~]{0,40}"), 0..10), get in any::<bool>()) {
        let names = [CONNECTION, UPGRADE, STREAM_PROTOCOL, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, ORIGIN, CONTENT_TYPE];
        let mut map = spdy(&[]);
        for (name, value) in lines {
            map.append(names[name].clone(), HeaderValue::try_from(value).unwrap());
        }
        let method = if get { Method::GET } else { Method::POST };
        for offer in [PLAIN, DECLARED] {
            match remotecommand::negotiate(&method, &map, offer) {
                Ok(upgrade) => prop_assert_eq!(upgrade.response.status(), 101),
                Err(refusal) => prop_assert!([400, 403, 405].contains(&refusal.status.as_u16())),
            }
        }
    }
}
