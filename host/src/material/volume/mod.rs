//! The files of volumes: configMap, secret, downwardAPI and projected.
//!
//! Source: the kubelet's volume plugins of these names (`MakePayload`, `CollectData`, `collectData`), its atomic writer's
//! checks of paths, and `VolumeOwnership` for what `fsGroup` does to a read-only volume.

mod payload;
mod projected;
mod trust;

pub use payload::Payload;

use super::{
    Fault, FaultKind, Kind,
    model::{ConfigMapData, SecretData},
    problem::{Cause, Problem},
    resolver::Resolver,
    view,
};
use outrigger_plugin::File;
use payload::Attributes;
use std::collections::BTreeMap;

/// What the API server writes for a `defaultMode` that is not given.
const DEFAULT_MODE: u32 = 0o644;

/// What the pod as a whole says of its files.
#[derive(Clone, Copy)]
pub struct Owners {
    /// `fsGroup`.
    pub group: Option<u32>,
    /// The user that all containers run as, if they do: the one who may read tokens.
    pub user: Option<u32>,
}

impl Owners {
    pub fn of(spec: &view::Spec<'_>) -> Self {
        let security = spec.security_context.as_ref();
        let common = security.and_then(|security| security.run_as_user);
        let mut users = spec.all_containers().map(|container| {
            let own = container.security_context.as_ref();
            own.and_then(|security| security.run_as_user).or(common)
        });
        let first = users.next().flatten();
        Self {
            group: security.and_then(|security| security.fs_group),
            user: first.filter(|_| users.all(|user| user == first)),
        }
    }
}

impl Resolver<'_, '_> {
    /// The files of all volumes that the host makes files for, by volume.
    ///
    /// # Errors
    /// A fault for each volume that has one.
    pub fn files(&mut self) -> Result<BTreeMap<String, Vec<File>>, Vec<Fault>> {
        let pod = self.pod;
        let (mut files, mut faults) = (BTreeMap::new(), Vec::new());
        let owners = Owners::of(&pod.spec);
        for volume in &pod.spec.volumes {
            let Some(made) = self.volume(volume, owners) else {
                continue;
            };
            match made.and_then(|payload| payload.finish(owners.group).map_err(|problem| vec![problem])) {
                Ok(made) => {
                    files.insert(volume.name.to_string(), made);
                }
                Err(problems) => faults.push(fault(problems, &volume.name)),
            }
        }
        if faults.is_empty() { Ok(files) } else { Err(faults) }
    }

    /// The files of one volume; `None` if there are none to make.
    fn volume(&mut self, volume: &view::Volume<'_>, owners: Owners) -> Option<Result<Payload, Vec<Problem>>> {
        let one = |made: Result<Payload, Problem>| made.map_err(|problem| vec![problem]);
        if let Some(source) = &volume.config_map {
            let made = |this: &Self| one(this.config_map_files(source, attributes(source)));
            return self.supports("volumes.configMap").then(|| made(self));
        }
        if let Some(source) = &volume.secret {
            let made = |this: &Self| one(this.secret_files(source, attributes(source)));
            return self.supports("volumes.secret").then(|| made(self));
        }
        if let Some(source) = &volume.downward_api {
            let defaults = Attributes::new(source.default_mode, source.default_user);
            return self
                .supports("volumes.downwardAPI")
                .then(|| self.downward_files(&source.items, defaults));
        }
        let source = volume.projected.as_ref()?;
        self.supports("volumes.projected")
            .then(|| self.projected_files(source, &volume.name, owners))
    }

    /// Files from a ConfigMap, as a volume or as a source of one.
    fn config_map_files(&self, source: &view::KeysVolume<'_>, defaults: Attributes) -> Result<Payload, Problem> {
        let map = self.config_map(&source.name, source.optional)?.unwrap_or_default();
        let ConfigMapData { data, binary_data, .. } = &*map;
        let text = data.iter().map(|(key, value)| (&**key, value.as_bytes()));
        let binary = binary_data.iter().map(|(key, value)| (&**key, &**value));
        let get = |key: &str| {
            let text = data.get(key).map(String::as_bytes);
            text.or_else(|| binary_data.get(key).map(Vec::as_slice))
        };
        Payload::of_keys(source, text.chain(binary), get, defaults).map_err(|key| {
            let message = format!("configmap references non-existent config key: {key}");
            Problem::object(Kind::ConfigMap, &source.name, false, Cause::NoKey, message)
        })
    }

    /// Files from a Secret, as a volume or as a source of one.
    fn secret_files(&self, source: &view::KeysVolume<'_>, defaults: Attributes) -> Result<Payload, Problem> {
        let secret = self.secret(&source.name, source.optional)?.unwrap_or_default();
        let SecretData { data, .. } = &*secret;
        let all = data.iter().map(|(key, value)| (&**key, &**value));
        let get = |key: &str| data.get(key).map(Vec::as_slice);
        let defaults = Attributes {
            secret: true,
            ..defaults
        };
        Payload::of_keys(source, all, get, defaults).map_err(|key| {
            let message = format!("references non-existent secret key: {key}");
            Problem::object(Kind::Secret, &source.name, false, Cause::NoKey, message)
        })
    }

    /// Files from fields of the pod, as a volume or as a source of one.
    fn downward_files(
        &mut self,
        items: &[view::DownwardItem<'_>],
        defaults: Attributes,
    ) -> Result<Payload, Vec<Problem>> {
        let mut payload = Payload::default();
        let mut problems = Vec::new();
        for item in items {
            let text = if let Some(reference) = &item.field_ref {
                super::field::in_file(self.pod, &reference.field_path)
            } else if let Some(reference) = &item.resource_field_ref {
                self.node = true;
                super::resource::in_file(reference, self.pod, self.context.allocatable)
            } else {
                Ok(String::new())
            };
            match text {
                Ok(text) => payload.add(&item.path, text.into_bytes(), defaults.with(item.mode, item.user)),
                Err(message) => problems.push(Problem::manifest(message)),
            }
        }
        if problems.is_empty() {
            Ok(payload)
        } else {
            Err(problems)
        }
    }
}

fn attributes(source: &view::KeysVolume<'_>) -> Attributes {
    Attributes::new(source.default_mode, source.default_user)
}

/// One fault for a volume, of all that is wrong with it; nothing while it may be that nothing is.
fn fault(problems: Vec<Problem>, volume: &str) -> Fault {
    let (unknown, known): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| problem.cause == Cause::Unknown);
    let kind = match known.is_empty() {
        true => FaultKind::Waiting,
        false => FaultKind::Mount {
            volume: volume.to_owned(),
        },
    };
    let problems = if known.is_empty() { unknown } else { known };
    let object = problems.iter().find_map(|problem| problem.object.clone());
    let mut messages = Vec::new();
    for problem in problems {
        if !messages.contains(&problem.message) {
            messages.push(problem.message);
        }
    }
    Fault {
        kind,
        message: match messages.len() {
            1 => messages.remove(0),
            _ => format!("[{}]", messages.join(", ")),
        },
        object: object.map(|(object, _)| object),
        peer: None,
    }
}
