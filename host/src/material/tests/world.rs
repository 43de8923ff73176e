//! The objects and the node that the cases meet.

use super::super::*;
use outrigger_plugin::{Dns, Level, Support, support::field};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, sync::Arc};

/// A namespace `shop` on a node, and what may be changed of it.
pub struct World {
    pub config_maps: BTreeMap<&'static str, Found<Arc<ConfigMapData>>>,
    pub secrets: BTreeMap<&'static str, Found<Arc<SecretData>>>,
    pub token: Found<Arc<Token>>,
    pub bundles: BTreeMap<TrustBundleSpec, Found<Vec<Arc<str>>>>,
    pub certificate: Found<Arc<PodCertificate>>,
    pub services: Found<Vec<Service>>,
    pub support: Support,
    pub host_ips: Vec<IpAddr>,
    pub allocatable: BTreeMap<String, String>,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: &'static str,
    pub node_dns: Option<Dns>,
    /// Added to `metadata`.
    pub metadata: Value,
    /// Everything that was asked for.
    pub asked: RefCell<References>,
}

fn config_map(data: Value) -> Found<Arc<ConfigMapData>> {
    Found::Here(Arc::new(ConfigMapData::read(data.to_string().as_bytes()).unwrap()))
}

fn secret(data: Value) -> Found<Arc<SecretData>> {
    Found::Here(Arc::new(SecretData::read(data.to_string().as_bytes()).unwrap()))
}

impl World {
    pub fn new() -> Self {
        let address = |text: &str| text.parse().unwrap();
        let service = |name: &str, ip: &str, ports: Value| {
            let raw = json!({ "metadata": { "name": name }, "spec": { "clusterIP": ip, "ports": ports } });
            Service::read(raw.to_string().as_bytes()).unwrap()
        };
        Self {
            config_maps: BTreeMap::from([
                (
                    "settings",
                    // "\xff\x00" in base64
                    config_map(json!({ "data": { "COLOR": "blue", "size": "10", "log.level": "debug" },
                                       "binaryData": { "logo": "/wA=" } })),
                ),
                ("more", config_map(json!({ "data": { "COLOR": "red" } }))),
                ("empty", config_map(json!({}))),
                ("odd", config_map(json!({ "data": { "a=b": "1", "good": "2" } }))),
                ("refs", config_map(json!({ "data": { "A": "one", "REF": "$(A)" } }))),
                ("unknown", Found::Unknown),
                (
                    "forbidden",
                    Found::Unavailable("configmaps \"forbidden\" is forbidden".to_owned()),
                ),
            ]),
            secrets: BTreeMap::from([
                // user: admin, password: hunter2, bytes: ff fe, zero: "a\0b"
                (
                    "login",
                    secret(json!({ "type": "Opaque", "data": {
                        "user": "YWRtaW4=", "password": "aHVudGVyMg==" } })),
                ),
                ("binary", secret(json!({ "data": { "bytes": "//4=" } }))),
                ("zero", secret(json!({ "data": { "zero": "YQBi" } }))),
                ("unknown", Found::Unknown),
                (
                    "forbidden",
                    Found::Unavailable("secrets \"forbidden\" is forbidden".to_owned()),
                ),
            ]),
            token: Found::Here(Arc::new(Token::from("token-of-web".to_owned()))),
            bundles: BTreeMap::new(),
            certificate: Found::Here(Arc::new(PodCertificate {
                key: "KEY\n".to_owned(),
                chain: "CHAIN\n".to_owned(),
            })),
            services: Found::Here(vec![
                service("web", "10.0.0.20", json!([{ "port": 80 }])),
                service("headless", "None", json!([{ "port": 80 }])),
                service("external", "", json!([])),
            ]),
            support: Support::none().with_all(field::all(), Level::Supported),
            host_ips: vec![address("192.168.1.5"), address("fd00::5")],
            allocatable: BTreeMap::from([
                ("cpu".to_owned(), "3920m".to_owned()),
                ("memory".to_owned(), "8Gi".to_owned()),
                ("ephemeral-storage".to_owned(), "100G".to_owned()),
            ]),
            cluster_dns: vec![address("10.0.0.10")],
            cluster_domain: "cluster.local",
            node_dns: None,
            metadata: json!({}),
            asked: RefCell::default(),
        }
    }

    /// The whole manifest around a `spec`.
    pub fn manifest(&self, spec: &Value) -> Vec<u8> {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "web-0", "namespace": "shop", "uid": "11111111-2222",
                "labels": { "app": "web", "zone": "a\"b" },
                "annotations": { "note": "line one\nline two", "build": "7" },
            },
            "spec": { "nodeName": "vk-0", "serviceAccountName": "seller", "enableServiceLinks": true },
        });
        super::merge(&mut pod["metadata"], &self.metadata);
        super::merge(&mut pod["spec"], spec);
        pod.to_string().into_bytes()
    }

    pub fn resolve(&self, spec: &Value) -> Result<Resolved, Held> {
        let context = Context {
            support: &self.support,
            host_ips: &self.host_ips,
            allocatable: &self.allocatable,
            cluster_dns: &self.cluster_dns,
            cluster_domain: self.cluster_domain,
            node_dns: self.node_dns.as_ref(),
        };
        resolve(&self.manifest(spec), self, &context)
    }
}

impl Objects for World {
    fn config_map(&self, name: &str) -> Found<Arc<ConfigMapData>> {
        self.asked.borrow_mut().config_maps.insert(name.to_owned());
        self.config_maps.get(name).cloned().unwrap_or(Found::Missing)
    }

    fn secret(&self, name: &str) -> Found<Arc<SecretData>> {
        self.asked.borrow_mut().secrets.insert(name.to_owned());
        self.secrets.get(name).cloned().unwrap_or(Found::Missing)
    }

    fn token(&self, spec: &TokenSpec) -> Found<Arc<Token>> {
        self.asked.borrow_mut().tokens.insert(spec.clone());
        self.token.clone()
    }

    fn trust_bundles(&self, spec: &TrustBundleSpec) -> Found<Vec<Arc<str>>> {
        self.asked.borrow_mut().trust_bundles.insert(spec.clone());
        self.bundles.get(spec).cloned().unwrap_or(Found::Missing)
    }

    fn pod_certificate(&self, spec: &PodCertificateSpec) -> Found<Arc<PodCertificate>> {
        self.asked.borrow_mut().pod_certificates.insert(spec.clone());
        self.certificate.clone()
    }

    fn service_links(&self, namespace: bool) -> Found<Arc<ServiceLinks>> {
        self.asked.borrow_mut().service_links = namespace;
        let api_server = Service {
            name: "kubernetes".to_owned(),
            cluster_ip: "10.0.0.1".to_owned(),
            ports: vec![ServicePort {
                name: "https".to_owned(),
                port: 443,
                protocol: "TCP".to_owned(),
            }],
        };
        let links = |services: &[Service]| Arc::new(ServiceLinks::new(Some(&api_server), services));
        match &self.services {
            Found::Here(services) => Found::Here(links(if namespace { services } else { &[] })),
            Found::Missing => Found::Missing,
            Found::Unknown => Found::Unknown,
            Found::Unavailable(why) => Found::Unavailable(why.clone()),
        }
    }
}
