//! Bodies that kubectl sends as protobuf: `create namespace|configmap|secret|deployment|job|token|...`, `auth can-i`, `drain`.
//!
//! The envelope is four bytes and a `runtime.Unknown` with type and payload. Only the messages and fields below are known;
//! one that is not is refused by its number, never dropped (unless it is empty). Answers are always JSON, which these clients accept.

mod schema;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Result};
use schema::{Field, Message, Type};

const MAGIC: &[u8] = b"k8s\0";

fn refused(what: impl std::fmt::Display) -> ApiError {
    let message = format!("unable to read a protobuf body: {what}; send JSON (kubectl create -f FILE does)");
    ApiError::new(415, "UnsupportedMediaType", message)
}

/// Decodes an enveloped object into the JSON that the rest of the server reads.
pub fn decode(body: &[u8]) -> Result<Value> {
    let rest = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| refused("the envelope is missing"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for entry in (Entries { bytes: rest }) {
        match entry? {
            (1, Wire::Bytes(type_meta)) => {
                for entry in (Entries { bytes: type_meta }) {
                    match entry? {
                        (1, Wire::Bytes(text)) => api_version = string(text)?,
                        (2, Wire::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(payload)) => raw = payload,
            _ => {}
        }
    }
    let message = schema::message(&kind).ok_or_else(|| refused(format!("the kind \"{kind}\" is not known")))?;
    let mut object = object(message, raw, &kind)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Entries<'a> {
    bytes: &'a [u8],
}

impl<'a> Entries<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn entry(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (value, rest) = self.bytes.split_at_checked(length)?;
                self.bytes = rest;
                Wire::Bytes(value)
            }
            _ => return None,
        };
        Some((tag >> 3, wire))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let entry = self.entry().ok_or_else(|| refused("it is cut short or not protobuf"));
        if entry.is_err() {
            self.bytes = &[];
        }
        Some(entry)
    }
}

fn string(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| refused("a string is not UTF-8"))
}

fn object(message: Message, bytes: &[u8], path: &str) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    for entry in (Entries { bytes }) {
        let (number, wire) = entry?;
        let Some(Field(_, name, kind)) = message.iter().find(|f| u64::from(f.0) == number) else {
            // Generated code also writes fields that are not set.
            if matches!(wire, Wire::Number(0) | Wire::Bytes(&[])) {
                continue;
            }
            return Err(refused(format!("field {number} of {path} is not known")));
        };
        match kind {
            Type::List(inner) => {
                let Some(value) = value(**inner, &wire, path)? else {
                    continue;
                };
                if let Some(list) = out.entry(*name).or_insert_with(|| json!([])).as_array_mut() {
                    list.push(value);
                }
            }
            Type::Map(inner) => {
                let Wire::Bytes(bytes) = wire else {
                    return Err(refused(format!("{path}.{name} is malformed")));
                };
                let (mut key, mut found) = (String::new(), None);
                for entry in (Entries { bytes }) {
                    match entry? {
                        (1, Wire::Bytes(text)) => key = string(text)?,
                        (2, wire) => found = value(**inner, &wire, path)?,
                        _ => {}
                    }
                }
                let map = out.entry(*name).or_insert_with(|| json!({}));
                crate::ops::as_map(map).insert(key, found.unwrap_or_else(|| json!("")));
            }
            single => {
                if let Some(value) = value(*single, &wire, &format!("{path}.{name}"))? {
                    out.insert((*name).into(), value);
                }
            }
        }
    }
    Ok(out)
}

/// `None` for what JSON would leave out: the empty string, zero, the zero time.
fn value(kind: Type, wire: &Wire<'_>, path: &str) -> Result<Option<Value>> {
    Ok(match (kind, wire) {
        (Type::Text, Wire::Bytes(text)) => Some(string(text)?).filter(|t| !t.is_empty()).map(Value::from),
        (Type::Bytes, Wire::Bytes(bytes)) => {
            use base64::Engine as _;
            Some(base64::engine::general_purpose::STANDARD.encode(bytes).into())
        }
        (Type::Number, Wire::Number(0)) | (Type::Flag, Wire::Number(0)) => None,
        // Negative numbers travel as two's complement.
        (Type::Number | Type::OptionalNumber, Wire::Number(number)) => Some(number.cast_signed().into()),
        (Type::Flag | Type::OptionalFlag, Wire::Number(flag)) => Some((*flag != 0).into()),
        (Type::Message(inner), Wire::Bytes(bytes)) => Some(Value::Object(object(inner, bytes, path)?)),
        (Type::Quantity, Wire::Bytes(bytes)) => object(schema::QUANTITY, bytes, path)?.remove("string"),
        (Type::Time, Wire::Bytes(bytes)) => {
            let parts = object(schema::TIME, bytes, path)?;
            let seconds = parts.get("seconds").and_then(Value::as_i64).filter(|s| *s > 0);
            seconds
                .and_then(|s| jiff::Timestamp::from_second(s).ok())
                .map(|t| crate::time::format(t).into())
        }
        (Type::IntOrString, Wire::Bytes(bytes)) => {
            let mut parts = object(schema::INT_OR_STRING, bytes, path)?;
            let is_text = parts.contains_key("type");
            Some(if is_text {
                parts.remove("text").unwrap_or_else(|| json!(""))
            } else {
                parts.remove("number").unwrap_or_else(|| json!(0))
            })
        }
        _ => return Err(refused(format!("{path} is malformed"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn enveloped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [
            MAGIC.to_vec(),
            field(1, &type_meta),
            field(2, raw),
            field(3, b""),
            field(4, b""),
        ]
        .concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let meta = [field(1, b"cm"), field(3, b"")].concat();
        let data = [field(1, b"a"), field(2, b"b")].concat();
        let body = enveloped("v1", "ConfigMap", &[field(1, &meta), field(2, &data)].concat());
        assert_eq!(
            decode(&body).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"a": "b"}})
        );
    }

    #[test]
    fn pointers_keep_zero_and_times_are_text() {
        let spec = vec![1 << 3, 0];
        let time = field(8, &[1 << 3, 60]);
        let body = enveloped(
            "apps/v1",
            "Deployment",
            &[field(1, &time), field(2, &spec), field(3, b"")].concat(),
        );
        let object = decode(&body).unwrap();
        assert_eq!(object["spec"]["replicas"], 0);
        assert_eq!(object["metadata"]["creationTimestamp"], "1970-01-01T00:01:00Z");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(decode(b"{}").unwrap_err().code, 415);
        assert!(
            decode(&enveloped("v1", "Gadget", b""))
                .unwrap_err()
                .message
                .contains("Gadget")
        );
        let body = enveloped("v1", "ConfigMap", &field(15, b"x"));
        assert!(decode(&body).unwrap_err().message.contains("field 15 of ConfigMap"));
        assert!(decode(&enveloped("v1", "ConfigMap", &[2 << 3 | 2, 9, 1])).is_err());
    }
}
