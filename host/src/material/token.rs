//! Tokens as they are kept: one for each pod, for as long as that lives.
//!
//! A token is a kilobyte of text for three fields, two of which are JSON that is almost the same for all pods of an account.
//! Decoded, and without what it shares with others, a third is left: the signature and some identifiers.

use crate::packing::{Likeness, Models, Packed};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use std::fmt;

/// A signature alone is up to a half, which no model makes smaller.
const LIKENESS: Likeness = Likeness { close: 80, like: 80 };
const FIELDS: usize = 3;

/// A service-account token as a TokenRequest answered it.
pub struct Token(Kept);

enum Kept {
    /// As it came.
    Plain(Box<str>),
    /// Its fields decoded, each but the last with its length before it, and packed.
    Packed(Packed),
}

impl Token {
    /// The token itself.
    pub fn read(&self) -> String {
        match &self.0 {
            Kept::Plain(text) => text.to_string(),
            Kept::Packed(packed) => encode(&packed.read()),
        }
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Kept::Plain(text.into()))
    }
}

/// Nothing of it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.read() == other.read()
    }
}

impl Eq for Token {}

/// Packs tokens.
pub struct Press(Models);

impl Default for Press {
    fn default() -> Self {
        Self(Models::new(LIKENESS))
    }
}

impl Press {
    /// Packs one that is like another; any text may be one.
    pub fn pack(&mut self, token: Token) -> Token {
        let Kept::Plain(text) = &token.0 else { return token };
        let fields = decode(text).filter(|bytes| encode(bytes) == **text);
        match fields.and_then(|bytes| self.0.pack(&bytes)) {
            Some(packed) => Token(Kept::Packed(packed)),
            None => token,
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let fields: Vec<Vec<u8>> = text
        .split('.')
        .map(|field| URL_SAFE_NO_PAD.decode(field).ok())
        .collect::<Option<_>>()?;
    let [head, claims, signature] = <[Vec<u8>; FIELDS]>::try_from(fields).ok()?;
    let mut bytes = Vec::with_capacity(text.len());
    for field in [head, claims] {
        bytes.extend(u16::try_from(field.len()).ok()?.to_le_bytes());
        bytes.extend(field);
    }
    bytes.extend(signature);
    Some(bytes)
}

fn encode(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    for _ in 1..FIELDS {
        let Some((length, rest)) = bytes.split_first_chunk() else {
            break;
        };
        let Some((field, rest)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else {
            break;
        };
        URL_SAFE_NO_PAD.encode_string(field, &mut text);
        text.push('.');
        bytes = rest;
    }
    URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(pod: usize) -> String {
        let head = r#"{"alg":"RS256","kid":"vKtj4JkNoJhCS0iyXNWlVhJ4ylB7T6Gy3uTbQ0zKZ5M"}"#;
        let claims = format!(
            r#"{{"aud":["https://kubernetes.default.svc"],"exp":17{pod},"iss":"https://kubernetes.default.svc","jti":"{pod:036}",
            "kubernetes.io":{{"namespace":"default","node":{{"name":"n","uid":"f0c0d0a0"}},"pod":{{"name":"web-{pod}","uid":"{pod:032}"}},
            "serviceaccount":{{"name":"default","uid":"1d1f1a1b"}}}},"nbf":17,"sub":"system:serviceaccount:default:default"}}"#
        );
        let signature: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(256).collect();
        let fields = [head.as_bytes(), claims.as_bytes(), &signature];
        fields.map(|field| URL_SAFE_NO_PAD.encode(field)).join(".")
    }

    #[test]
    fn tokens_of_an_account_are_kept_as_what_distinguishes_them() {
        let mut press = Press::default();
        for pod in 0..10 {
            let text = token(pod);
            let kept = press.pack(text.clone().into());
            assert_eq!(kept.read(), text);
            assert!(kept == Token::from(text.clone()));
            if pod > 0 {
                let Kept::Packed(packed) = kept.0 else { panic!("{text}") };
                assert!(packed.len() * 5 < text.len() * 2, "{} of {}", packed.len(), text.len());
            }
        }
    }

    #[test]
    fn whatever_else_it_is_reads_as_it_came() {
        let mut press = Press::default();
        // Not three fields, not base64, and bits that no encoder sets.
        for text in [
            "",
            "opaque",
            "a.b.c",
            "YQ.YQ",
            "YQ.YQ.YQ.YQ",
            "YR.YQ.YQ",
            "YQ==.YQ.YQ",
            "..",
            "YQ..YQ",
        ] {
            for _ in 0..2 {
                assert_eq!(press.pack(text.to_owned().into()).read(), text);
            }
        }
    }
}
