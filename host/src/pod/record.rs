//! The API object of a pod as it is kept: its bytes, and packed when the pod has come to rest.
//!
//! A pod is two or three kilobytes of JSON, most of which it shares word for word with the other pods of its template. At
//! rest it is kept as what distinguishes it from one of a few models, a tenth of that. Packing and reading cost a few
//! microseconds each, so a pod that changes is left as it is: nothing of this is on the way from its creation to Ready.

use super::entry::Uid;
use crate::packing::{Models, Packed};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What has not changed for so long is packed.
const REST: Duration = Duration::from_secs(1);
/// Hundredths that may be left: pods of a template leave a tenth.
const LIKE: usize = 33;

/// The bytes of a pod.
#[derive(Debug, Default)]
pub enum Manifest {
    /// None have come.
    #[default]
    None,
    /// As they came, without managed fields.
    Plain(Bytes),
    /// By what it differs from a model.
    Packed(Packed),
}

impl Manifest {
    /// The bytes; empty before any have come.
    pub fn read(&self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::Plain(bytes) => bytes.clone(),
            Self::Packed(packed) => packed.read().into(),
        }
    }
}

/// Packs the manifests of pods at rest.
pub struct Press {
    models: Models,
    /// Pods in the order of their time, with the version that they had.
    line: VecDeque<(Instant, Uid, u64)>,
}

impl Default for Press {
    fn default() -> Self {
        Self {
            models: Models::new(LIKE),
            line: VecDeque::new(),
        }
    }
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
        if let Manifest::Plain(bytes) = manifest
            && let Some(packed) = self.models.pack(bytes)
        {
            *manifest = Manifest::Packed(packed);
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
            Manifest::Packed(packed) => packed.len(),
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
