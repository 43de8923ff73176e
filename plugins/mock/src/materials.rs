//! What the host has resolved for a pod, shown in its containers' logs: for tests of the host, of bytes and modes.
//!
//! **It prints secrets**, so it is for tests only, and only where `showMaterials` asks for it. Such a container's log is
//! the newest state, a line of JSON for each thing, instead of the simulated lines; a follower gets it again whenever it
//! has changed:
//!
//! ```text
//! {"revision":2}
//! {"env":"PASSWORD","value":"hunter2","secret":true}
//! {"command":["run"],"args":["--ip=10.240.0.7"],"secret":false}
//! {"subPath":"/data","value":"web-0"}
//! {"file":"config/app.conf","mode":"0644","user":null,"group":2000,"text":"...","secret":false}
//! {"file":"config/logo","mode":"0644","user":null,"group":null,"base64":"/wA=","secret":false}
//! {"volume":"empty"}
//! {"registry":"quay.io","username":"u","password":"p"}
//! {"hostname":"web-0","domain":"","dns":{...},"hosts":[...]}
//! ```
//!
//! A value that is still late has `"late"` in place of `"value"` or `"text"`.

use crate::{
    logs::Rfc3339,
    protocol::{Reply, Request},
    provider::{Mock, surprise},
};
use outrigger_plugin::{
    ByteStream, ContainerState, Content, ErrorCode, LogRequest, Materials, PodReport, PodRequest, Result, Timestamp,
    Value,
};
use serde_json::{Value as Json, json};
use std::{
    collections::HashMap,
    fmt::Write,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::io::AsyncWriteExt;

/// The materials of the pods that show them, by UID.
#[derive(Default)]
pub struct Shown(Mutex<HashMap<String, Newest>>);

/// The newest materials of a pod.
#[derive(Clone)]
struct Newest {
    materials: Arc<Materials>,
    /// Counts the changes, from 1.
    revision: u64,
    since: Timestamp,
}

impl Shown {
    /// Keeps what came with a pod, if it is to be shown.
    pub fn keep(&self, pod: &PodRequest, show: bool) {
        let mut all = self.all();
        if !show {
            all.remove(&pod.identity.uid);
            return;
        }
        let earlier = all.get(&pod.identity.uid);
        if earlier.is_some_and(|earlier| *earlier.materials == pod.materials) {
            return;
        }
        let newest = Newest {
            materials: Arc::new(pod.materials.clone()),
            revision: earlier.map_or(1, |earlier| earlier.revision + 1),
            since: Timestamp::now(),
        };
        all.insert(pod.identity.uid.clone(), newest);
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }

    /// Those pods.
    pub fn uids(&self) -> Vec<String> {
        self.all().keys().cloned().collect()
    }

    /// Whether a pod's are shown.
    pub fn has(&self, uid: &str) -> bool {
        self.all().contains_key(uid)
    }

    fn newest(&self, uid: &str) -> Option<Newest> {
        self.all().get(uid).cloned()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Newest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mock {
    /// A container's log that shows its materials.
    pub async fn show_materials(&self, request: LogRequest, mut out: ByteStream) -> Result<()> {
        let uid = &request.identity.uid;
        // A container that has no log has none of this either.
        let ask = Request::Log {
            identity: request.identity.clone(),
            container: request.container.clone(),
            previous: request.previous,
        };
        self.backend.ask(ask).await?;
        // Before the first look, so that no change falls between the two.
        let mut changes = self.backend.followers().follow();
        let mut shown = String::new();
        while let Some(newest) = self.shown.newest(uid) {
            let report = match self
                .backend
                .ask(Request::Get {
                    identity: request.identity.clone(),
                })
                .await
            {
                Ok(Reply::Report(report)) => Some(report),
                Ok(other) => return Err(surprise(&other)),
                // As long as the back end is away, nobody knows better.
                Err(error) if error.code == ErrorCode::Unavailable => None,
                Err(error) if error.code == ErrorCode::NotFound => break,
                Err(error) => return Err(error),
            };
            let addresses = report.as_ref().map_or(&[][..], |report| &report.ips);
            let text = text(&newest, &request, addresses);
            if text != shown {
                out.write_all(text.as_bytes()).await?;
                shown = text;
            }
            if !request.follow || report.is_some_and(|report| has_ended(&report, &request.container)) {
                break;
            }
            changes.changed(uid).await;
        }
        Ok(out.shutdown().await?)
    }
}

fn has_ended(report: &PodReport, container: &str) -> bool {
    let all = [
        &report.containers,
        &report.init_containers,
        &report.ephemeral_containers,
    ];
    all.into_iter()
        .flatten()
        .any(|one| one.name == container && matches!(one.state, ContainerState::Terminated(_)))
}

/// The lines that a request is for.
fn text(newest: &Newest, request: &LogRequest, addresses: &[IpAddr]) -> String {
    let mut lines = vec![json!({ "revision": newest.revision })];
    list(&newest.materials, &request.container, addresses, &mut lines);
    let tail = usize::try_from(request.tail.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let skipped = match request.since {
        Some(since) if since > newest.since => lines.len(),
        _ => lines.len().saturating_sub(tail),
    };
    let mut text = String::new();
    for line in &lines[skipped..] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {line}", Rfc3339(newest.since, 0));
    }
    text
}

fn list(materials: &Materials, container: &str, addresses: &[IpAddr], lines: &mut Vec<Json>) {
    for var in materials.env.get(container).into_iter().flatten() {
        let mut line = json!({ "env": var.name, "secret": var.secret });
        known(&mut line, "value", &var.value, addresses);
        lines.push(line);
    }
    if let Some(command) = materials.commands.get(container) {
        let all = |values: &[Value]| values.iter().map(|value| value.finish(addresses)).collect::<Vec<_>>();
        lines.push(json!({
            "command": all(&command.command), "args": all(&command.args), "secret": command.secret,
        }));
    }
    for (mount, path) in materials.sub_paths.get(container).into_iter().flatten() {
        let mut line = json!({ "subPath": mount });
        known(&mut line, "value", path, addresses);
        lines.push(line);
    }
    for (volume, files) in &materials.files {
        if files.is_empty() {
            lines.push(json!({ "volume": volume }));
        }
        for file in files {
            let mut line = json!({
                "file": format!("{volume}/{}", file.path), "mode": format!("{:04o}", file.mode),
                "user": file.user, "group": file.group, "secret": file.secret,
            });
            match &file.content {
                Content::Text(text) => known(&mut line, "text", text, addresses),
                // As it crosses to the provider.
                bytes => line["base64"] = serde_json::to_value(bytes).unwrap_or_default()["bytes"].take(),
            }
            lines.push(line);
        }
    }
    for one in &materials.registries {
        lines.push(json!({ "registry": one.registry, "username": one.username, "password": one.password }));
    }
    lines.push(json!({
        "hostname": materials.kernel_hostname(), "domain": materials.domain, "dns": materials.dns,
        "hosts": materials.hosts,
    }));
}

fn known(line: &mut Json, key: &str, value: &Value, addresses: &[IpAddr]) {
    match value.finish(addresses) {
        Some(text) => line[key] = text.into(),
        None => line["late"] = true.into(),
    }
}
