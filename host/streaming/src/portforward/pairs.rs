//! Streams that belong together: an error stream and a data stream for each connection, in any order.

use std::collections::HashMap;

use tokio::time::Instant;

/// What a stream is for: the header `streamtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Error,
}

/// What makes two streams a pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The header `requestid`.
    Request(String),
    /// Clients from before 2015 have none: their error stream comes first, their data stream next. This is the error stream's
    /// number.
    Number(u32),
}

impl Key {
    pub fn new(request: Option<&str>, kind: Kind, stream: u32) -> Key {
        match (request, kind) {
            (Some(request), _) if !request.is_empty() => Key::Request(request.to_owned()),
            (_, Kind::Error) => Key::Number(stream),
            (_, Kind::Data) => Key::Number(stream.saturating_sub(2)),
        }
    }
}

/// A stream whose other one has not come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Half<S> {
    pub kind: Kind,
    pub stream: S,
    pub port: u16,
    deadline: Instant,
}

/// What became of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added<S> {
    /// It waits for its other one.
    Waiting,
    /// Both are there.
    Complete { data: S, error: S, port: u16 },
    /// There is one of this kind already. Its other one still waits.
    Duplicate(S),
}

/// The streams that wait.
#[derive(Debug)]
pub(super) struct Pairs<S> {
    waiting: HashMap<Key, Half<S>>,
}

impl<S> Pairs<S> {
    pub fn new() -> Self {
        Pairs {
            waiting: HashMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.waiting.contains_key(key)
    }

    /// Takes a stream. The port of a pair is that of its data stream.
    pub fn add(&mut self, key: Key, kind: Kind, port: u16, stream: S, deadline: Instant) -> Added<S> {
        match self.waiting.remove(&key) {
            None => {
                let half = Half {
                    kind,
                    stream,
                    port,
                    deadline,
                };
                self.waiting.insert(key, half);
                Added::Waiting
            }
            Some(half) if half.kind == kind => {
                self.waiting.insert(key, half);
                Added::Duplicate(stream)
            }
            Some(half) => match kind {
                Kind::Data => Added::Complete {
                    data: stream,
                    error: half.stream,
                    port,
                },
                Kind::Error => Added::Complete {
                    data: half.stream,
                    error: stream,
                    port: half.port,
                },
            },
        }
    }

    /// When the next one has waited long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|half| half.deadline).min()
    }

    /// Takes out what has waited long enough.
    pub fn expired(&mut self, now: Instant) -> impl Iterator<Item = (Key, Half<S>)> {
        self.waiting.extract_if(move |_, half| half.deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn request(id: &str) -> Key {
        Key::Request(id.to_owned())
    }

    #[tokio::test]
    async fn a_pair_in_either_order() {
        let at = Instant::now();
        let mut pairs = Pairs::new();
        assert_eq!(pairs.add(request("0"), Kind::Error, 1, "e0", at), Added::Waiting);
        assert_eq!(pairs.add(request("1"), Kind::Data, 2, "d1", at), Added::Waiting);
        assert_eq!(pairs.add(request("0"), Kind::Error, 1, "e", at), Added::Duplicate("e"));
        let complete = |data, error, port| Added::Complete { data, error, port };
        assert_eq!(
            pairs.add(request("0"), Kind::Data, 3, "d0", at),
            complete("d0", "e0", 3)
        );
        assert_eq!(
            pairs.add(request("1"), Kind::Error, 9, "e1", at),
            complete("d1", "e1", 2)
        );
        assert_eq!(pairs.len(), 0);
    }

    #[test]
    fn old_clients_have_numbers() {
        assert_eq!(Key::new(None, Kind::Error, 5), Key::new(Some(""), Kind::Data, 7));
        assert_ne!(Key::new(Some("5"), Kind::Data, 7), Key::new(None, Kind::Data, 7));
    }

    #[tokio::test]
    async fn what_waits_too_long_is_taken_out() {
        let now = Instant::now();
        let mut pairs = Pairs::new();
        pairs.add(request("a"), Kind::Data, 1, 'a', now + Duration::from_secs(1));
        pairs.add(request("b"), Kind::Error, 1, 'b', now + Duration::from_secs(2));
        assert_eq!(pairs.next_deadline(), Some(now + Duration::from_secs(1)));
        let out: Vec<_> = pairs
            .expired(now + Duration::from_secs(1))
            .map(|(_, half)| half.stream)
            .collect();
        assert_eq!((out, pairs.len()), (vec!['a'], 1));
        assert!(!pairs.contains(&request("a")) && pairs.contains(&request("b")));
    }

    proptest! {
        /// However streams come: each comes out once, and pairs are of one request, one of each kind.
        #[test]
        fn nothing_is_lost(streams in prop::collection::vec((0u8..6, any::<bool>()), 0..60)) {
            let at = Instant::now();
            let mut pairs = Pairs::new();
            let mut out = HashSet::new();
            for (number, (id, data)) in streams.iter().enumerate() {
                let kind = if *data { Kind::Data } else { Kind::Error };
                match pairs.add(request(&id.to_string()), kind, 1, (number, *id, kind), at) {
                    Added::Waiting => {}
                    Added::Duplicate(stream) => prop_assert!(out.insert(stream.0)),
                    Added::Complete { data, error, .. } => {
                        prop_assert_eq!(data.1, error.1);
                        prop_assert_eq!((data.2, error.2), (Kind::Data, Kind::Error));
                        prop_assert!(out.insert(data.0) && out.insert(error.0));
                    }
                }
            }
            for (_, half) in pairs.expired(at) {
                prop_assert!(out.insert(half.stream.0));
            }
            prop_assert_eq!((out.len(), pairs.len()), (streams.len(), 0));
        }
    }
}
