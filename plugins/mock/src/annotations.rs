//! Reads how a pod shall behave from its annotations.

use crate::{
    behaviour::{Behaviour, CONTAINER_KEYS},
    engine::spec::{Kind, Shared},
    span::Span,
};
use outrigger_plugin::{ProviderError, Result};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// What the annotations begin with; in front of it may stand a container's name and a dot.
pub const DOMAIN: &str = "mock.outrigger.dev";

/// How the pods of a provider behave without annotations: made once, shared by all of them.
#[derive(Clone, Debug)]
pub struct Defaults {
    regular: Shared,
    init: Shared,
    other: Shared,
}

impl Defaults {
    /// The defaults of a config.
    pub fn new(pods: Behaviour) -> Self {
        let shared = |behaviour| Shared(Arc::new(behaviour));
        Self {
            init: shared(pods.of_other_kinds(Span::ZERO)),
            other: shared(pods.of_other_kinds(Span::Never)),
            regular: shared(pods),
        }
    }

    /// How the pod behaves, and its regular containers.
    pub fn pod(&self) -> &Shared {
        &self.regular
    }

    fn of(&self, kind: Kind) -> &Shared {
        match kind {
            Kind::Regular => &self.regular,
            Kind::Init => &self.init,
            Kind::Sidecar | Kind::Ephemeral => &self.other,
        }
    }
}

/// What a pod's annotations say.
#[derive(Debug)]
pub struct Behaviours {
    pod: Defaults,
    containers: BTreeMap<String, Map<String, Value>>,
}

impl Behaviours {
    /// Reads the annotations of a pod; others than the mock's are none of its business.
    pub fn read(annotations: &BTreeMap<String, String>, defaults: &Defaults) -> Result<Self> {
        let mut pod = Map::new();
        let mut containers: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (name, text) in annotations {
            let Some((domain, key)) = name.split_once('/') else {
                continue;
            };
            let entries = match domain.strip_suffix(DOMAIN) {
                Some("") => &mut pod,
                Some(container) if container.len() > 1 && container.ends_with('.') => {
                    if !CONTAINER_KEYS.contains(&key) {
                        let expected = CONTAINER_KEYS.join(", ");
                        return Err(fault(
                            name,
                            format!("`{key}` is not for one container; expected one of {expected}"),
                        ));
                    }
                    containers
                        .entry(container[..container.len() - 1].to_owned())
                        .or_default()
                }
                _ => continue,
            };
            merge(entries, entry(key, text).map_err(|error| fault(name, error))?);
        }
        let pod = if pod.is_empty() {
            defaults.clone()
        } else {
            Defaults::new(overlay(defaults.pod(), &pod, "")?)
        };
        Ok(Self { pod, containers })
    }

    /// How the pod behaves as a whole.
    pub fn pod(&self) -> &Shared {
        self.pod.pod()
    }

    /// How a container behaves. Each is asked for once.
    pub fn take(&mut self, container: &str, kind: Kind) -> Result<Shared> {
        let base = self.pod.of(kind);
        match self.containers.remove(container) {
            None => Ok(base.clone()),
            Some(own) => Ok(Shared(Arc::new(overlay(base, &own, &format!("{container}."))?))),
        }
    }

    /// After all containers were asked for: an annotation for a container that the pod has not is a mistake.
    pub fn finish(self) -> Result<()> {
        match self.containers.into_iter().next() {
            None => Ok(()),
            Some((container, own)) => {
                let key = own.keys().next().map_or("", String::as_str);
                let name = format!("{container}.{DOMAIN}/{key}");
                Err(fault(&name, format!("the pod has no container `{container}`")))
            }
        }
    }
}

fn fault(annotation: &str, error: impl std::fmt::Display) -> ProviderError {
    ProviderError::invalid(format!("annotation {annotation}: {error}"))
}

/// One annotation as the part of a behaviour that it is, checked by itself so that its fault is known to be its own.
fn entry(key: &str, text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    let nested = |value: Value| {
        let inner = match key.split_once('.') {
            None => (key, value),
            Some((section, inner)) => (section, Value::Object(Map::from_iter([(inner.to_owned(), value)]))),
        };
        Map::from_iter([(inner.0.to_owned(), inner.1)])
    };
    let read = |entry: &Map<String, Value>| serde_json::from_value::<Behaviour>(Value::Object(entry.clone()));
    // `5` and `true` are a number and a truth where one is asked for, and texts elsewhere.
    if let Ok(value @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text) {
        let plain = nested(value);
        if read(&plain).is_ok() {
            return Ok(plain);
        }
    }
    let quoted = nested(Value::String(text.to_owned()));
    read(&quoted).map(|_| quoted)
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn overlay(base: &Behaviour, own: &Map<String, Value>, scope: &str) -> Result<Behaviour> {
    let internal = |source| ProviderError::internal("unable to combine annotations").with_source(source);
    let mut all = match serde_json::to_value(base).map_err(internal)? {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    merge(&mut all, own.clone());
    let behaviour: Behaviour = serde_json::from_value(Value::Object(all)).map_err(internal)?;
    behaviour
        .check()
        .map_err(|(key, expected)| fault(&format!("{scope}{DOMAIN}/{key}"), expected))?;
    Ok(behaviour)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::{CallError, Resize};

    fn read(annotations: &[(&str, &str)]) -> Result<Behaviours> {
        let annotations = annotations
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let config = Behaviour {
            exit_code: Some(9),
            ..Behaviour::default()
        };
        Behaviours::read(&annotations, &Defaults::new(config))
    }

    #[test]
    fn an_annotation_wins_over_the_config() {
        let plain = read(&[("example.com/exitCode", "1"), ("unrelated", "x")]).unwrap();
        assert_eq!(plain.pod().exit_code, Some(9));
        let own = read(&[
            ("mock.outrigger.dev/exitCode", "3"),
            ("mock.outrigger.dev/runTime", "5s"),
            ("mock.outrigger.dev/message", "12"),
            ("mock.outrigger.dev/vanishSilently", "true"),
            ("mock.outrigger.dev/resize", "deferred"),
            ("mock.outrigger.dev/create.error", "retryAfter"),
            ("mock.outrigger.dev/create.failureRate", "0.5"),
            ("mock.outrigger.dev/cpu", "2"),
        ])
        .unwrap();
        let pod = own.pod();
        assert_eq!(pod.exit_code, Some(3));
        assert_eq!(pod.run_time, Span::seconds(5));
        assert_eq!(pod.message, "12");
        assert!(pod.vanish_silently);
        assert_eq!(pod.resize, Resize::Deferred);
        assert_eq!(pod.create.error, CallError::RetryAfter);
        assert_eq!(pod.create.failure_rate, 0.5);
        assert_eq!(pod.cpu.as_nano(), 2_000_000_000);
    }

    #[test]
    fn a_container_has_its_own() {
        let mut own = read(&[
            ("mock.outrigger.dev/runTime", "5s"),
            ("prepare.mock.outrigger.dev/runTime", "1s"),
            ("web.mock.outrigger.dev/exitCode", "4"),
        ])
        .unwrap();
        assert_eq!(own.take("prepare", Kind::Init).unwrap().run_time, Span::seconds(1));
        let web = own.take("web", Kind::Regular).unwrap();
        assert_eq!((web.run_time, web.exit_code), (Span::seconds(5), Some(4)));
        let init = own.take("other", Kind::Init).unwrap();
        assert_eq!((init.run_time, init.exit_code), (Span::ZERO, None));
        assert_eq!(own.take("proxy", Kind::Sidecar).unwrap().run_time, Span::Never);
        own.finish().unwrap();
    }

    #[test]
    fn a_fault_names_its_annotation() {
        for (name, value, expected) in [
            ("mock.outrigger.dev/runtime", "5s", "unknown field `runtime`"),
            ("mock.outrigger.dev/runTime", "5", "expected a duration"),
            ("mock.outrigger.dev/exitCode", "many", "invalid type"),
            ("mock.outrigger.dev/vanishSilently", "yes", "invalid type"),
            ("mock.outrigger.dev/create.latencie", "1s", "unknown field `latencie`"),
            ("mock.outrigger.dev/create.failureRate", "2", "expected 0 to 1"),
            ("mock.outrigger.dev/backOff", "0", "at least 1ms"),
            ("mock.outrigger.dev/signal", "65", "signal's number"),
            ("web.mock.outrigger.dev/startDelay", "1s", "not for one container"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(error.code, outrigger_plugin::ErrorCode::Invalid);
            assert!(error.message.contains(name), "{}", error.message);
            assert!(error.message.contains(expected), "{}", error.message);
        }
        let stray = read(&[("ghost.mock.outrigger.dev/exitCode", "1")]).unwrap();
        let error = stray.finish().unwrap_err().message;
        assert!(error.contains("ghost.mock.outrigger.dev/exitCode"), "{error}");
    }

    #[test]
    fn every_container_key_exists() {
        let all = serde_json::to_value(Behaviour::default()).unwrap();
        for key in CONTAINER_KEYS {
            assert!(all.get(key).is_some(), "{key}");
        }
    }
}
