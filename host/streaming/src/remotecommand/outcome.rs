//! How a command ended, as it goes over the error stream.

use serde::{Deserialize, Serialize};

use super::{Error, Protocol};
use crate::text::cut;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With code 0; or attaching ended.
    Success,
    /// With another code. Clients know 0 to 255: what is outside becomes 255, and 0 is [`Outcome::Success`]. A signal *n* is
    /// 128 + *n*, as in a shell.
    Exit(i32),
    /// It did not run, or how it ended is not known.
    Failed {
        /// What people see, with what was being done: `error executing command in container: ...`.
        message: String,
    },
}

/// The part of `metav1.Status` that is used here.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Status {
    metadata: Metadata,
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Metadata {}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    message: String,
}

impl Outcome {
    /// What goes over the error stream.
    #[must_use]
    pub fn encode(&self, protocol: Protocol) -> Vec<u8> {
        let status = self.status();
        if !protocol.has_status() {
            return status.message.into_bytes();
        }
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(&status).unwrap_or_default()
    }

    fn status(&self) -> Status {
        let failure = Status {
            status: "Failure".to_owned(),
            ..Status::default()
        };
        match self {
            Outcome::Success | Outcome::Exit(0) => Status {
                status: "Success".to_owned(),
                ..Status::default()
            },
            Outcome::Exit(code) => {
                let code = u8::try_from(*code).unwrap_or(u8::MAX);
                let cause = Cause {
                    reason: "ExitCode".to_owned(),
                    message: code.to_string(),
                };
                Status {
                    reason: "NonZeroExitCode".to_owned(),
                    message: format!("command terminated with non-zero exit code: {code}"),
                    details: Some(Details { causes: vec![cause] }),
                    ..failure
                }
            }
            Outcome::Failed { message } => Status {
                reason: "InternalError".to_owned(),
                message: format!("Internal error occurred: {}", cut(message)),
                code: Some(500),
                ..failure
            },
        }
    }

    /// Reads what came over the error stream, all of it.
    ///
    /// # Errors
    /// [`Error::Outcome`], for a protocol with a status.
    pub fn decode(protocol: Protocol, bytes: &[u8]) -> Result<Outcome, Error> {
        if !protocol.has_status() {
            let message = String::from_utf8_lossy(bytes).into_owned();
            return Ok(if message.is_empty() {
                Outcome::Success
            } else {
                Outcome::Failed { message }
            });
        }
        // Clients in Go take this for success. It is not known, and said to be.
        if bytes.is_empty() {
            return Err(Error::Outcome("the server sent none".to_owned()));
        }
        let status: Status = serde_json::from_slice(bytes).map_err(|e| Error::Outcome(e.to_string()))?;
        match (&*status.status, &*status.reason) {
            ("Success", _) => Ok(Outcome::Success),
            ("Failure", "NonZeroExitCode") => {
                let causes = status.details.unwrap_or_default().causes;
                let code = causes.iter().find(|c| c.reason == "ExitCode").map(|c| &*c.message);
                let code: Option<u8> = code.and_then(|c| c.parse().ok());
                let code = code.ok_or_else(|| Error::Outcome("a status has no exit code from 0 to 255".to_owned()))?;
                Ok(Outcome::Exit(code.into()))
            }
            ("Failure", _) => Ok(Outcome::Failed {
                message: status.message,
            }),
            (other, _) => Err(Error::Outcome(format!("status {:?}", cut(other)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::LONGEST;

    fn json(outcome: &Outcome) -> String {
        String::from_utf8(outcome.encode(Protocol::SpdyV4)).unwrap()
    }

    #[test]
    fn the_json_of_each() {
        assert_eq!(json(&Outcome::Success), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(json(&Outcome::Exit(0)), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(
            json(&Outcome::Exit(137)),
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: 137","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"137"}]}}"#
        );
        let failed = Outcome::Failed {
            message: "error executing command in container: \"x\" not found".to_owned(),
        };
        assert_eq!(
            json(&failed),
            r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: error executing command in container: \"x\" not found","reason":"InternalError","code":500}"#
        );
    }

    #[test]
    fn codes_stay_within_what_clients_know() {
        for code in [-1, 256, 512, i32::MAX, i32::MIN] {
            assert!(json(&Outcome::Exit(code)).contains(r#""message":"255""#), "{code}");
        }
    }

    #[test]
    fn text_before_v4() {
        for protocol in [Protocol::SpdyV1, Protocol::SpdyV3, Protocol::WebSocketV1] {
            assert_eq!(Outcome::Success.encode(protocol), b"");
            assert_eq!(
                Outcome::Exit(3).encode(protocol),
                b"command terminated with non-zero exit code: 3"
            );
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let failed = Outcome::Failed {
            message: "no".to_owned(),
        };
        for outcome in [Outcome::Success, Outcome::Exit(1), Outcome::Exit(255), failed] {
            let read = Outcome::decode(Protocol::WebSocketV5, &outcome.encode(Protocol::WebSocketV5)).unwrap();
            match (&outcome, &read) {
                (Outcome::Failed { message }, Outcome::Failed { message: read }) => assert!(read.ends_with(&**message)),
                _ => assert_eq!(read, outcome),
            }
        }
    }

    #[test]
    fn nonsense_is_no_success() {
        let decode = |text: &str| Outcome::decode(Protocol::SpdyV4, text.as_bytes());
        for text in [
            "",
            "x",
            "{}",
            r#"{"status":"Maybe"}"#,
            r#"{"status":"Failure","reason":"NonZeroExitCode"}"#,
            r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"256"}]}}"#,
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert_eq!(decode(r#"{"status":"Success"}"#).unwrap(), Outcome::Success);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let message = "ä".repeat(LONGEST);
        let text = json(&Outcome::Failed { message });
        assert!(text.len() < LONGEST + 200);
    }
}
