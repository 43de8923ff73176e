//! What the kubelet makes of manifests, case by case, with where that is from. "kubelet F" is the function F of
//! kubernetes v1.37 in `pkg/kubelet` or the package named before it; "API" is a rule of the API server's validation that
//! the kubelet relies on, and that no mock of an API server needs to have; "ours" is a difference, with its reason.
//!
//! A case shows variables as `NAME=value`, with `<podIP>` for what is late and `[secret]` behind a secret; and files as
//! `path 0644 content`.

mod dns;
mod env_expansion;
mod env_fields;
mod env_objects;
mod env_resources;
mod env_services;
mod held;
mod names;
mod references;
mod registries;
mod volume_keys;
mod volume_owners;
mod volume_projected;
mod world;

use super::{FaultKind, Held, Resolved};
use outrigger_plugin::{Content, EnvVar, File, Part, Value as Text};
use serde_json::{Value, json};
pub use world::World;

/// One line of a table: what a container's environment, or a volume, comes to.
pub struct Case {
    pub name: &'static str,
    pub source: &'static str,
    /// Added to the container, or to the volume.
    pub given: Value,
    /// Added to `spec`.
    pub spec: Value,
    pub result: Result<Vec<&'static str>, &'static str>,
}

/// A case that is resolved.
pub fn gives<const N: usize>(
    name: &'static str,
    source: &'static str,
    given: Value,
    result: [&'static str; N],
) -> Case {
    Case {
        name,
        source,
        given,
        spec: json!({}),
        result: Ok(result.to_vec()),
    }
}

/// A case that holds the pod.
pub fn holds(name: &'static str, source: &'static str, given: Value, message: &'static str) -> Case {
    Case {
        name,
        source,
        given,
        spec: json!({}),
        result: Err(message),
    }
}

impl Case {
    /// With more of `spec`.
    pub fn in_pod(mut self, spec: Value) -> Self {
        self.spec = spec;
        self
    }
}

/// Checks a table of environments: variables of Services left out, since every pod has them.
pub fn check_env(cases: Vec<Case>) {
    check(cases, |case| {
        let mut container = json!({ "name": "app", "image": "i" });
        merge(&mut container, &case.given);
        let mut spec = json!({ "containers": [container] });
        merge(&mut spec, &case.spec);
        let resolved = World::new().resolve(&spec);
        let kind = FaultKind::Config {
            container: "app".to_owned(),
        };
        said(resolved, &kind).map(|resolved| {
            let own = |var: &&EnvVar| !var.name.starts_with("KUBERNETES_") && !var.name.starts_with("WEB_");
            resolved.materials.env["app"].iter().filter(own).map(show_var).collect()
        })
    });
}

/// Checks a table of volumes.
pub fn check_volumes(cases: Vec<Case>) {
    check(cases, |case| {
        let mut volume = json!({ "name": "v" });
        merge(&mut volume, &case.given);
        let mut spec = json!({ "containers": [{ "name": "app", "image": "i" }], "volumes": [volume] });
        merge(&mut spec, &case.spec);
        let resolved = World::new().resolve(&spec);
        let kind = FaultKind::Mount { volume: "v".to_owned() };
        said(resolved, &kind).map(|resolved| resolved.materials.files["v"].iter().map(show_file).collect())
    });
}

fn check(cases: Vec<Case>, run: impl Fn(&Case) -> Result<Vec<String>, String>) {
    let mut wrong = Vec::new();
    for case in &cases {
        assert!(!case.source.is_empty(), "{}", case.name);
        let got = run(case);
        let same = match (&got, &case.result) {
            (Ok(got), Ok(expected)) => got == expected,
            (Err(got), Err(expected)) => got == expected,
            _ => false,
        };
        if !same {
            wrong.push(format!("{}\n   got {got:?}\n  want {:?}", case.name, case.result));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What a held pod says, all of one kind.
fn said(resolved: Result<Resolved, Held>, kind: &FaultKind) -> Result<Resolved, String> {
    resolved.map_err(|held| {
        let all = held.faults.iter().map(|fault| {
            assert_eq!(&fault.kind, kind, "{}", fault.message);
            fault.message.clone()
        });
        all.collect::<Vec<_>>().join(" | ")
    })
}

pub fn show(text: &Text) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::PodIp => "<podIP>".to_owned(),
        Part::PodIps => "<podIPs>".to_owned(),
        Part::FileKey(key) => format!("<{}/{}:{}>", key.volume, key.path, key.key),
    };
    match text {
        Text::Now(text) => text.clone(),
        Text::Late(parts) => parts.iter().map(part).collect(),
    }
}

fn show_var(var: &EnvVar) -> String {
    let secret = if var.secret { " [secret]" } else { "" };
    format!("{}={}{secret}", var.name, show(&var.value))
}

pub fn show_file(file: &File) -> String {
    let content = match &file.content {
        Content::Text(text) => show(text),
        Content::Bytes(bytes) => format!("{bytes:02x?}"),
    };
    let owner = match (file.user, file.group) {
        (None, None) => String::new(),
        (user, group) => {
            let id = |id: Option<u32>| id.map_or("-".to_owned(), |id| id.to_string());
            format!(" {}:{}", id(user), id(group))
        }
    };
    let secret = if file.secret { " [secret]" } else { "" };
    format!("{} {:04o}{owner} {content}{secret}", file.path, file.mode)
}

/// Adds the keys of one object to another, deeply.
pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
