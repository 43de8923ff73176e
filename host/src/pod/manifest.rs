//! The API object of a pod as it is kept: its bytes, and packed when the pod has come to rest.
//!
//! A pod is two or three kilobytes of JSON, most of which it shares word for word with the other pods of its template. At
//! rest it is kept as what distinguishes it from one of a few models, a tenth of that. Packing and reading cost a few
//! microseconds each, so a pod that changes is left as it is: nothing of this is on the way from its creation to Ready.

use super::entry::Uid;
use bytes::Bytes;
use lz4_flex::block;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// What has not changed for so long is packed.
const REST: Duration = Duration::from_secs(1);
/// Models that are tried for new pods.
const MODELS: usize = 8;
/// One that is larger makes a poor model: it is kept as long as any pod that is like it.
const LARGEST_MODEL: usize = 16 << 10;
/// What packing leaves more of, as a part of the whole, was not like the model.
const UNLIKE: usize = 3;

/// The bytes of a pod.
#[derive(Debug, Default)]
pub enum Manifest {
    /// None have come.
    #[default]
    None,
    /// As they came, without managed fields.
    Plain(Bytes),
    /// By what it differs from a model.
    Packed {
        packed: Box<[u8]>,
        length: u32,
        model: Arc<[u8]>,
    },
}

impl Manifest {
    /// The bytes; empty before any have come.
    pub fn read(&self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::Plain(bytes) => bytes.clone(),
            Self::Packed { packed, length, model } => {
                let bytes = block::decompress_with_dict(packed, *length as usize, model);
                // It was packed here, in memory: what can't be unpacked is a fault, and reads as an object without content.
                bytes.map_or_else(
                    |error| {
                        tracing::error!(%error, "unable to unpack a pod");
                        Bytes::new()
                    },
                    Bytes::from,
                )
            }
        }
    }
}

/// Packs the manifests of pods at rest.
#[derive(Debug, Default)]
pub struct Press {
    /// The one that was of use last comes first.
    models: VecDeque<Arc<[u8]>>,
    /// Pods in the order of their time, with the version that they had.
    line: VecDeque<(Instant, Uid, u64)>,
}

impl Press {
    /// Has a pod's manifest packed if it still has this version later.
    pub fn line_up(&mut self, uid: Uid, version: u64, now: Instant) {
        self.line.push_back((now + REST, uid, version));
    }

    /// When there is something to do.
    pub fn due_at(&self) -> Option<Instant> {
        self.line.front().map(|(at, _, _)| *at)
    }

    /// The next pod whose time has come.
    pub fn due(&mut self, now: Instant) -> Option<(Uid, u64)> {
        let (_, uid, version) = self.line.pop_front_if(|(at, _, _)| *at <= now)?;
        Some((uid, version))
    }

    /// Packs a manifest, if it is not.
    pub fn pack(&mut self, manifest: &mut Manifest) {
        let Manifest::Plain(bytes) = manifest else { return };
        let Ok(length) = u32::try_from(bytes.len()) else { return };
        let alike = self.models.iter().enumerate().find_map(|(index, model)| {
            let packed = block::compress_with_dict(bytes, model);
            (packed.len() * UNLIKE <= bytes.len()).then_some((index, packed))
        });
        if let Some((index, packed)) = alike
            && let Some(model) = self.models.remove(index)
        {
            *manifest = Manifest::Packed {
                packed: packed.into(),
                length,
                model: model.clone(),
            };
            self.models.push_front(model);
        } else if bytes.len() <= LARGEST_MODEL {
            // The next ones may be like it.
            self.models.truncate(MODELS - 1);
            self.models.push_front(Arc::from(&**bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(template: &str, name: &str) -> Bytes {
        let image = "registry.example/of-some-team/with-a-long-name".repeat(20);
        Bytes::from(format!(
            r#"{{"metadata":{{"name":"{name}","uid":"uid-of-{name}"}},"spec":{{"{template}":"{template}-{image}"}}}}"#
        ))
    }

    fn size(manifest: &Manifest) -> usize {
        match manifest {
            Manifest::None => 0,
            Manifest::Plain(bytes) => bytes.len(),
            Manifest::Packed { packed, .. } => packed.len(),
        }
    }

    #[test]
    fn pods_of_a_template_are_kept_as_what_distinguishes_them() {
        let mut press = Press::default();
        for template in ["a", "b"] {
            for number in 0..10 {
                let whole = pod(template, &format!("web-{number}"));
                let mut manifest = Manifest::Plain(whole.clone());
                press.pack(&mut manifest);
                if number > 0 {
                    assert!(
                        size(&manifest) * 10 < whole.len(),
                        "{} of {}",
                        size(&manifest),
                        whole.len()
                    );
                }
                assert_eq!(manifest.read(), whole);
                press.pack(&mut manifest);
                assert_eq!(manifest.read(), whole, "packing twice changes nothing");
            }
        }
        assert_eq!(Manifest::None.read(), Bytes::new());
    }

    #[test]
    fn models_are_few_and_those_in_use_outlive_their_place() {
        let mut press = Press::default();
        let mut kept = Vec::new();
        for number in 0..3 * MODELS {
            // Nothing that two of them share.
            let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(2_000).collect();
            for name in ["x", "y"] {
                let whole = Bytes::from(format!("{noise}{name}{number}"));
                let mut manifest = Manifest::Plain(whole.clone());
                press.pack(&mut manifest);
                kept.push((manifest, whole));
            }
        }
        assert_eq!(press.models.len(), MODELS);
        assert!(kept.iter().all(|(manifest, whole)| manifest.read() == *whole));
        let packed = kept
            .iter()
            .filter(|(manifest, _)| matches!(manifest, Manifest::Packed { .. }));
        assert_eq!(packed.count(), 3 * MODELS, "one of each pair");
        // What is too large for a model is left as it is.
        let mut large = Manifest::Plain(Bytes::from(vec![b'x'; LARGEST_MODEL + 1]));
        press.models.clear();
        press.pack(&mut large);
        assert!(press.models.is_empty());
    }

    #[test]
    fn nothing_is_due_before_it_has_rested() {
        let (mut press, now) = (Press::default(), Instant::now());
        assert_eq!(press.due_at(), None);
        press.line_up("a".into(), 7, now);
        assert_eq!(press.due(now), None);
        assert_eq!(press.due_at(), Some(now + REST));
        assert_eq!(press.due(now + REST), Some(("a".into(), 7)));
        assert_eq!(press.due(now + REST), None);
    }
}
