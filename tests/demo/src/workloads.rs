//! The workloads: manifests from files, created as they are.

use crate::error::Error;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, discovery};
use serde::Deserialize as _;
use std::path::{Path, PathBuf};

/// One object of a manifest.
pub struct Object {
    kind: GroupVersionKind,
    object: DynamicObject,
}

impl Object {
    /// Its kind and name.
    pub fn id(&self) -> (&str, &str) {
        (
            &self.kind.kind,
            self.object.metadata.name.as_deref().unwrap_or_default(),
        )
    }

    /// The label `app` of its pods, which finds them.
    pub fn app(&self) -> &str {
        let own = self
            .object
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get("app"));
        let template = self
            .object
            .data
            .pointer("/spec/template/metadata/labels/app")
            .and_then(|app| app.as_str());
        template.or(own.map(String::as_str)).unwrap_or_default()
    }

    /// How many pods it makes.
    pub fn pods(&self) -> usize {
        let replicas = self
            .object
            .data
            .pointer("/spec/replicas")
            .and_then(serde_json::Value::as_u64);
        replicas
            .and_then(|replicas| usize::try_from(replicas).ok())
            .unwrap_or(1)
    }
}

/// All objects of all `*.yaml` files of a directory, by the files' names.
pub fn read(directory: &Path) -> Result<Vec<Object>, Error> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let entries = std::fs::read_dir(directory).map_err(unreadable(directory))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable(directory))?;
    files.retain(|file| file.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    let mut objects = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = DynamicObject::deserialize(document).and_then(object);
            objects.push(object.map_err(|source| Error::Manifest {
                path: path.clone(),
                source,
            })?);
        }
    }
    if objects.is_empty() {
        Err(Error::NoManifest(directory.to_owned()))
    } else {
        Ok(objects)
    }
}

fn object(object: DynamicObject) -> Result<Object, serde_yaml::Error> {
    use serde::de::Error as _;
    let missing = |field| serde_yaml::Error::custom(format!("missing field `{field}`"));
    let types = object.types.as_ref().ok_or_else(|| missing("kind"))?;
    let kind = GroupVersionKind::try_from(types).map_err(serde_yaml::Error::custom)?;
    object.metadata.name.as_ref().ok_or_else(|| missing("metadata.name"))?;
    Ok(Object { kind, object })
}

/// Creates an object, in the namespace `default` unless it names another; returns its kind and name.
pub async fn create(client: &Client, object: &Object) -> Result<String, Error> {
    let (resource, _) = discovery::pinned_kind(client, &object.kind).await?;
    let namespace = object.object.metadata.namespace.as_deref().unwrap_or("default");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    api.create(&PostParams::default(), &object.object).await?;
    let (kind, name) = object.id();
    Ok(format!("{}/{name}", kind.to_lowercase()))
}
