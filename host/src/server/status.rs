//! Whether a container runs, and which of its runs has a log, read from the pod's JSON.
//!
//! The words are the kubelet's: people search for them.

use serde::Deserialize;
use std::borrow::Cow;

/// The parts of a pod that a request for logs is checked against.
#[derive(Deserialize)]
pub(super) struct Pod<'a> {
    #[serde(borrow, default)]
    spec: Spec<'a>,
    #[serde(borrow, default)]
    status: Status<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(borrow)]
    containers: Vec<Named<'a>>,
    #[serde(borrow)]
    init_containers: Vec<Named<'a>>,
    #[serde(borrow)]
    ephemeral_containers: Vec<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status<'a> {
    #[serde(borrow)]
    container_statuses: Vec<Container<'a>>,
    #[serde(borrow)]
    init_container_statuses: Vec<Container<'a>>,
    #[serde(borrow)]
    ephemeral_container_statuses: Vec<Container<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    state: State<'a>,
    #[serde(borrow, default)]
    last_state: State<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    waiting: Option<Waiting<'a>>,
    running: Option<Running>,
    #[serde(borrow)]
    terminated: Option<Terminated<'a>>,
}

#[derive(Deserialize)]
struct Waiting<'a> {
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Running {}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Terminated<'a> {
    #[serde(borrow, default, rename = "containerID")]
    container_id: Cow<'a, str>,
}

impl State<'_> {
    /// It ended, after it had really run.
    fn has_run(&self) -> bool {
        self.terminated.as_ref().is_some_and(|run| !run.container_id.is_empty())
    }
}

impl<'a> Pod<'a> {
    pub(super) fn read(raw: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(raw)
    }

    /// Whether the manifest names such a container, of any kind.
    pub(super) fn has(&self, container: &str) -> bool {
        let Spec {
            containers,
            init_containers,
            ephemeral_containers,
        } = &self.spec;
        let mut all = containers.iter().chain(init_containers).chain(ephemeral_containers);
        all.any(|each| each.name == container)
    }

    /// Whether such a container runs.
    pub(super) fn runs(&self, container: &str) -> bool {
        self.statuses()
            .any(|each| each.name == container && each.state.running.is_some())
    }

    fn statuses(&self) -> impl Iterator<Item = &Container<'a>> {
        let Status {
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
        } = &self.status;
        container_statuses
            .iter()
            .chain(init_container_statuses)
            .chain(ephemeral_container_statuses)
    }

    /// Whether the container has a log to read, else what to tell the user.
    pub(super) fn log_exists(&self, pod: &str, container: &str, previous: bool) -> Result<(), String> {
        let Some(Container { state, last_state, .. }) = self.statuses().find(|each| each.name == container) else {
            return Err(format!("container {container:?} in pod {pod:?} is not available"));
        };
        if previous {
            let missing = || format!("previous terminated container {container:?} in pod {pod:?} not found");
            return last_state.has_run().then_some(()).ok_or_else(missing);
        }
        if state.running.is_some() || state.has_run() || last_state.has_run() {
            return Ok(());
        }
        if state.terminated.is_some() || last_state.terminated.is_some() {
            return Err(format!("container {container:?} in pod {pod:?} is terminated"));
        }
        let Some(Waiting { reason }) = &state.waiting else {
            return Err(format!(
                "container {container:?} in pod {pod:?} is waiting to start - no logs yet"
            ));
        };
        let reason = match reason.as_ref() {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            other => other,
        };
        Err(format!(
            "container {container:?} in pod {pod:?} is waiting to start: {reason}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(status: serde_json::Value, previous: bool) -> Result<(), String> {
        let pod = serde_json::json!({
            "spec": { "containers": [{ "name": "c" }] },
            "status": { "containerStatuses": [status] },
        });
        let raw = serde_json::to_vec(&pod).unwrap();
        Pod::read(&raw).unwrap().log_exists("p", "c", previous)
    }

    #[test]
    fn runs_with_a_log_are_found() {
        let ran = serde_json::json!({ "terminated": { "containerID": "mock://1" } });
        for (status, previous) in [
            (serde_json::json!({ "name": "c", "state": { "running": {} } }), false),
            (serde_json::json!({ "name": "c", "state": ran }), false),
            (
                serde_json::json!({ "name": "c", "state": { "running": {} }, "lastState": ran }),
                true,
            ),
            (
                serde_json::json!({ "name": "c", "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": ran }),
                false,
            ),
        ] {
            assert_eq!(ask(status.clone(), previous), Ok(()), "{status}");
        }
    }

    #[test]
    fn the_rest_says_why_not() {
        let waiting = |reason: &str| serde_json::json!({ "name": "c", "state": { "waiting": { "reason": reason } } });
        let never_ran = serde_json::json!({ "name": "c", "state": { "terminated": { "exitCode": 128 } } });
        for (status, previous, text) in [
            (
                waiting("ContainerCreating"),
                false,
                r#"container "c" in pod "p" is waiting to start: ContainerCreating"#,
            ),
            (
                waiting("ErrImagePull"),
                false,
                r#"container "c" in pod "p" is waiting to start: image can't be pulled"#,
            ),
            (
                waiting("ImagePullBackOff"),
                false,
                r#"container "c" in pod "p" is waiting to start: trying and failing to pull image"#,
            ),
            (
                waiting("ContainerCreating"),
                true,
                r#"previous terminated container "c" in pod "p" not found"#,
            ),
            (
                serde_json::json!({ "name": "c" }),
                false,
                r#"container "c" in pod "p" is waiting to start - no logs yet"#,
            ),
            (
                serde_json::json!({ "name": "d" }),
                false,
                r#"container "c" in pod "p" is not available"#,
            ),
            (never_ran, false, r#"container "c" in pod "p" is terminated"#),
        ] {
            assert_eq!(ask(status, previous), Err(text.to_owned()));
        }
    }

    #[test]
    fn containers_of_every_kind_are_in_a_manifest() {
        let raw = br#"{"spec":{"containers":[{"name":"a"}],"initContainers":[{"name":"b"}],"ephemeralContainers":[{"name":"c"}]}}"#;
        let pod = Pod::read(raw).unwrap();
        assert!(pod.has("a") && pod.has("b") && pod.has("c") && !pod.has("d"));
        assert!(pod.log_exists("p", "a", false).unwrap_err().contains("not available"));
    }
}
