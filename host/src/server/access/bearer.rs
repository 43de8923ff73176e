//! Tokens in the head of a request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header;

/// How browsers, which can't set headers, hand a token to a WebSocket.
const SUBPROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// In bytes. Tokens travel in a header and have at most a few thousand.
const LONGEST: usize = 64 << 10;

/// A bearer token. It has no `Debug`, so that it ends up in no log.
#[derive(PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    fn new(text: &str) -> Result<Self, BadToken> {
        match text.len() {
            0..=LONGEST => Ok(Self(text.to_owned())),
            _ => Err(BadToken::TooLong),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token that can't be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadToken {
    #[error("its token is longer than {LONGEST} bytes")]
    TooLong,
    #[error("its Authorization header is no text")]
    NoText,
    #[error("its subprotocol's token is no base64url of a text")]
    Encoding,
    #[error("it names a token in several subprotocols")]
    Several,
    #[error("it offers no subprotocol but the token's")]
    Alone,
}

/// The token of `Authorization: Bearer TOKEN`, if there is one.
pub(super) fn of_header(headers: &HeaderMap) -> Result<Option<Token>, BadToken> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let mut words = value.to_str().map_err(|_| BadToken::NoText)?.trim().split(' ');
    match (words.next(), words.next()) {
        (Some(scheme), Some(token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Token::new(token).map(Some)
        }
        _ => Ok(None),
    }
}

/// The token among the subprotocols that a WebSocket offers, if there is one. Another must be offered beside it, since
/// the token's is never chosen.
pub(super) fn of_web_socket(headers: &HeaderMap) -> Result<Option<Token>, BadToken> {
    let lists = |name| {
        let values = headers.get_all(name).into_iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
    };
    let is = |name, word: &str| lists(name).any(|offered| offered.eq_ignore_ascii_case(word));
    if !is(header::UPGRADE, "websocket") || !is(header::CONNECTION, "upgrade") {
        return Ok(None);
    }
    let (tokens, others): (Vec<_>, Vec<_>) = lists(header::SEC_WEBSOCKET_PROTOCOL)
        .filter(|offered| !offered.is_empty())
        .partition(|offered| offered.starts_with(SUBPROTOCOL));
    let encoded = match tokens.as_slice() {
        [] => return Ok(None),
        [one] => &one[SUBPROTOCOL.len()..],
        _ => return Err(BadToken::Several),
    };
    let token = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| BadToken::Encoding)?;
    let token = String::from_utf8(token).map_err(|_| BadToken::Encoding)?;
    match (token.is_empty(), others.is_empty()) {
        (true, _) => Ok(None),
        (false, true) => Err(BadToken::Alone),
        (false, false) => Token::new(&token).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::HeaderValue;

    type Found = Result<Option<String>, BadToken>;

    fn text(found: Result<Option<Token>, BadToken>) -> Found {
        found.map(|token| token.map(|token| token.0))
    }

    fn token(text: &str) -> Found {
        Ok(Some(text.to_owned()))
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn of_authorization(value: &str) -> Found {
        text(of_header(&headers(&[("authorization", value)])))
    }

    #[test]
    fn bearer_tokens_are_found_in_the_header() {
        assert_eq!(of_authorization("Bearer abc"), token("abc"));
        assert_eq!(of_authorization("  bEARER abc more "), token("abc"));
        for none in ["", "Bearer", "Bearer ", "Bearer  abc", "Basic abc", "abc"] {
            assert_eq!(of_authorization(none), Ok(None), "{none:?}");
        }
        assert_eq!(text(of_header(&HeaderMap::new())), Ok(None));
        let long = format!("Bearer {}", "a".repeat(LONGEST + 1));
        assert_eq!(of_authorization(&long), Err(BadToken::TooLong));
        let mut binary = HeaderMap::new();
        binary.insert(header::AUTHORIZATION, HeaderValue::from_bytes(b"Bearer \xff").unwrap());
        assert_eq!(text(of_header(&binary)), Err(BadToken::NoText));
    }

    fn of_protocols(protocols: &[&str]) -> Found {
        let mut lines = vec![("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        lines.extend(protocols.iter().map(|value| ("sec-websocket-protocol", *value)));
        text(of_web_socket(&headers(&lines)))
    }

    #[test]
    fn bearer_tokens_are_found_among_subprotocols() {
        // "abc?>" and "a" in base64url without padding.
        let (first, second) = (format!("{SUBPROTOCOL}YWJjPz4"), format!("{SUBPROTOCOL}YQ"));
        assert_eq!(of_protocols(&[&format!("{first}, v4.channel.k8s.io")]), token("abc?>"));
        assert_eq!(of_protocols(&["v5.channel.k8s.io", &first]), token("abc?>"));
        assert_eq!(of_protocols(&["v4.channel.k8s.io"]), Ok(None));
        assert_eq!(of_protocols(&[]), Ok(None));
        assert_eq!(of_protocols(&[SUBPROTOCOL, "x"]), Ok(None));
        assert_eq!(of_protocols(&[&first]), Err(BadToken::Alone));
        assert_eq!(of_protocols(&[&first, &second, "x"]), Err(BadToken::Several));
        for wrong in ["YWJjPz4=", "YWJjPz+", "_w"] {
            let wrong = format!("{SUBPROTOCOL}{wrong}");
            assert_eq!(of_protocols(&[&wrong, "x"]), Err(BadToken::Encoding), "{wrong}");
        }
        let no_web_socket = headers(&[("sec-websocket-protocol", &format!("{first}, x"))]);
        assert_eq!(text(of_web_socket(&no_web_socket)), Ok(None));
    }
}
