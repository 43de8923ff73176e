//! The cluster's Services, as far as environment variables tell of them.
//!
//! One watch for all namespaces, as the kubelet has it, from the first pod on. A pod is told of the Services that there
//! are when it is made; later changes reach containers that start later, with the next thing that changes for the pod,
//! and wake nobody up: no running container can take them, and a Service that comes or goes would otherwise touch every
//! pod of its namespace.

use super::{
    Found, ThingId,
    board::{Board, News},
    reach::{Failures, Reach},
};
use crate::{
    cluster::{
        Watch,
        watch::{Event, Target},
    },
    material::{Service, ServiceLinks},
};
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The Service of the API server, of which every pod is told.
const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// All Services that have an address.
#[derive(Default)]
pub struct Services(Mutex<Table>);

#[derive(Default)]
struct Table {
    synced: bool,
    trouble: Option<String>,
    namespaces: HashMap<Box<str>, Namespace>,
    api_server: Option<Service>,
    /// For pods that are told of the API server alone.
    bare: Option<Arc<ServiceLinks>>,
}

#[derive(Default)]
struct Namespace {
    services: HashMap<Box<str>, Service>,
    links: Option<Arc<ServiceLinks>>,
}

/// Namespace and name.
type Key = (Box<str>, Box<str>);

impl Services {
    /// The variables of a namespace's pods; those of the API server alone unless `all`. They are made once for each state
    /// of the Services, when they are asked for.
    pub fn links(&self, namespace: &str, all: bool) -> Found<Arc<ServiceLinks>> {
        let mut table = self.table();
        let Table {
            namespaces,
            api_server,
            bare,
            ..
        } = match (&mut *table, all) {
            (
                Table {
                    synced: false, trouble, ..
                },
                _,
            ) => {
                return trouble.clone().map_or(Found::Unknown, Found::Unavailable);
            }
            (table, _) => table,
        };
        let own = if all { namespaces.get_mut(namespace) } else { None };
        let links = match own {
            Some(Namespace { services, links }) => {
                links.get_or_insert_with(|| Arc::new(ServiceLinks::new(api_server.as_ref(), services.values())))
            }
            None => bare.get_or_insert_with(|| Arc::new(ServiceLinks::new(api_server.as_ref(), []))),
        };
        Found::Here(links.clone())
    }

    /// Whether the first answer is still to come.
    pub fn is_unknown(&self) -> bool {
        let table = self.table();
        !table.synced && table.trouble.is_none()
    }

    /// Follows them for ever. News is only whether they are known.
    pub async fn follow(self: Arc<Self>, reach: Arc<Reach>, board: Arc<Board>, id: ThingId) {
        let target = Target::new("services", "/api/v1/services").quiet();
        let mut watch = Watch::new(reach.trunks.requests.clone(), target);
        let mut failures = Failures::default();
        // While a list is read, what it shows.
        let mut listed = None;
        loop {
            match watch.try_next().await {
                Ok(Event::Restarted) => listed = Some(HashSet::new()),
                Ok(Event::Listed { .. }) => {}
                Ok(Event::Apply(raw)) => {
                    let key = self.apply(&raw);
                    if let Some(listed) = &mut listed {
                        listed.extend(key);
                    }
                }
                Ok(Event::Delete(raw)) => {
                    if let Some((key, _)) = read(&raw) {
                        self.table().set(key, None);
                    }
                }
                Ok(Event::Synced) => {
                    failures.clear();
                    self.table().synced(&listed.take().unwrap_or_default());
                    board.tell(id, News::Table);
                }
                Err(error) => {
                    reach.report("services", &error);
                    if failures.tells(&error) && self.table().fail(error.to_string()) {
                        board.tell(id, News::Table);
                    }
                }
            }
            watch.settle();
        }
    }

    fn apply(&self, raw: &[u8]) -> Option<Key> {
        let (key, service) = read(raw)?;
        self.table().set(key.clone(), service);
        Some(key)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn set(&mut self, (namespace, name): Key, service: Option<Service>) {
        let known = self
            .namespaces
            .get(&namespace)
            .and_then(|known| known.services.get(&name));
        if known == service.as_ref() {
            return;
        }
        if (&*namespace, &*name) == API_SERVER {
            self.api_server.clone_from(&service);
            self.bare = None;
            self.namespaces
                .values_mut()
                .for_each(|namespace| namespace.links = None);
        }
        let own = self.namespaces.entry(namespace.clone()).or_default();
        own.links = None;
        match service {
            Some(service) => drop(own.services.insert(name, service)),
            None => drop(own.services.remove(&name)),
        }
        if own.services.is_empty() {
            self.namespaces.remove(&namespace);
        }
    }

    /// A list is complete: what it does not show is gone.
    fn synced(&mut self, listed: &HashSet<Key>) {
        let all = self.namespaces.iter();
        let gone: Vec<Key> = all
            .flat_map(|(namespace, own)| own.services.keys().map(|name| (namespace.clone(), name.clone())))
            .filter(|key| !listed.contains(key))
            .collect();
        gone.into_iter().for_each(|key| self.set(key, None));
        self.synced = true;
        self.trouble = None;
    }

    /// Whether that is news for somebody.
    fn fail(&mut self, why: String) -> bool {
        let news = !self.synced && self.trouble.as_ref() != Some(&why);
        if !self.synced {
            self.trouble = Some(why);
        }
        news
    }
}

/// A Service, if it has an address and thus variables, and whose it is. `None` when it can't be read, which is logged.
fn read(raw: &[u8]) -> Option<(Key, Option<Service>)> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        namespace: Cow<'a, str>,
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let read = || -> Result<_, serde_json::Error> {
        let Object { metadata } = serde_json::from_slice(raw)?;
        let key = (metadata.namespace.into(), metadata.name.into());
        let service = Service::read(raw)?;
        let has_address = !matches!(&*service.cluster_ip, "" | "None");
        Ok((key, has_address.then_some(service)))
    };
    read()
        .inspect_err(|error| tracing::warn!(%error, "unable to read a service"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(namespace: &str, name: &str, ip: &str) -> Vec<u8> {
        serde_json::json!({
            "metadata": { "namespace": namespace, "name": name },
            "spec": { "clusterIP": ip, "ports": [{ "port": 80 }] },
        })
        .to_string()
        .into_bytes()
    }

    fn names(links: Found<Arc<ServiceLinks>>) -> Vec<String> {
        let Found::Here(links) = links else { panic!("{links:?}") };
        let hosts = links.iter().filter(|(name, _)| name.ends_with("_SERVICE_HOST"));
        hosts.map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn nothing_is_known_before_the_first_list() {
        let services = Services::default();
        services.apply(&raw("default", "kubernetes", "10.0.0.1"));
        assert!(matches!(services.links("a", true), Found::Unknown));
        assert!(services.table().fail("forbidden".into()));
        assert!(matches!(services.links("a", true), Found::Unavailable(_)));
    }

    #[test]
    fn a_pod_sees_its_namespace_and_the_api_server() {
        let services = Services::default();
        let mut listed = HashSet::new();
        for (namespace, name, ip) in [
            ("default", "kubernetes", "10.0.0.1"),
            ("a", "web", "10.0.0.2"),
            ("a", "headless", "None"),
            ("b", "db", "10.0.0.3"),
        ] {
            listed.extend(services.apply(&raw(namespace, name, ip)));
        }
        services.table().synced(&listed);
        let api = "KUBERNETES_SERVICE_HOST=10.0.0.1";
        assert_eq!(names(services.links("a", true)), [api, "WEB_SERVICE_HOST=10.0.0.2"]);
        assert_eq!(names(services.links("a", false)), [api]);
        assert_eq!(names(services.links("elsewhere", true)), [api]);
        // Made once, until something changes.
        let (Found::Here(one), Found::Here(other)) = (services.links("b", true), services.links("b", true)) else {
            panic!("unknown")
        };
        assert!(Arc::ptr_eq(&one, &other));
        services.apply(&raw("default", "kubernetes", "10.0.0.9"));
        assert_eq!(
            names(services.links("b", true)),
            ["DB_SERVICE_HOST=10.0.0.3", "KUBERNETES_SERVICE_HOST=10.0.0.9"]
        );
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let services = Services::default();
        let first = services.apply(&raw("a", "web", "10.0.0.2"));
        services.apply(&raw("a", "old", "10.0.0.3"));
        services.table().synced(&first.into_iter().collect());
        assert_eq!(names(services.links("a", true)), ["WEB_SERVICE_HOST=10.0.0.2"]);
        services.table().synced(&HashSet::new());
        assert_eq!(names(services.links("a", true)), Vec::<String>::new());
        assert!(services.table().namespaces.is_empty());
    }
}
