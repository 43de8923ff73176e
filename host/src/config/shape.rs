//! What a configuration file may contain: the reference of the format, as a table.
//!
//! [`walk`](super::walk) holds a document against it; the structs in [`file`](super::file) receive what passed.

use super::Sha256Digest;
use super::duration::DurationText;
use super::duration::PositiveDuration;
use super::names;
use super::node::NotReadyAfter;
use super::tree::quoted;
use std::net::IpAddr;
use std::str::FromStr;

/// What is expected at one place.
pub(super) enum Shape {
    /// A text that passes the check; the message of a failed check stands for itself.
    Text(&'static str, fn(&str) -> Result<(), String>),
    /// `true` or `false`.
    Bool,
    /// A whole number, both ends included.
    Integer(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A Kubernetes quantity, quoted or not.
    Quantity,
    /// Any number of the same.
    List(&'static Shape),
    /// Free names, checked, with values of one shape.
    Map(fn(&str) -> Result<(), String>, &'static Shape),
    /// Known fields only.
    Fields(&'static [Field]),
    /// A provider's section: anything that JSON can carry. Its values may be secrets.
    Section,
}

/// A field of [`Shape::Fields`].
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// What to write for none, where that is another thing than to leave the field out: then a field with nothing behind it
    /// may be meant either way.
    pub(super) none: Option<&'static str>,
}

const fn required(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        required: true,
        none: None,
    }
}

const fn optional(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        required: false,
        none: None,
    }
}

const fn explicit(name: &'static str, shape: Shape, none: &'static str) -> Field {
    Field {
        name,
        shape,
        required: false,
        none: Some(none),
    }
}

/// The most nodes that one entry, and one host, may have: each opens a port of its own.
pub(super) const MOST_NODES: u64 = 10_000;

/// The whole file.
pub(super) const ROOT: Shape = Shape::Fields(&[
    required("apiVersion", Shape::OneOf(&["outrigger.dev/v1alpha1"])),
    required("kind", Shape::OneOf(&["HostConfig"])),
    optional("cluster", CLUSTER),
    optional("log", LOG),
    optional("plugins", PLUGINS),
    required("providers", Shape::List(&PROVIDER)),
    required("nodes", Shape::List(&NODE)),
    optional("kubelet", KUBELET),
    optional("onShutdown", Shape::OneOf(&["keep", "cordon", "deregister"])),
    optional("shutdownTimeout", DURATION),
    optional(
        "orphans",
        Shape::Fields(&[optional("dryRun", Shape::Bool), optional("after", DURATION)]),
    ),
    optional("events", Shape::Fields(&[optional("enabled", Shape::Bool)])),
    optional("intervals", INTERVALS),
]);

const CLUSTER: Shape = Shape::Fields(&[
    optional("kubeconfig", PATH),
    optional("id", CLUSTER_ID),
    optional("nodeCertificates", PATH),
    optional("watchesPerNodeUpTo", Shape::Integer(0, MOST_NODES)),
]);

const LOG: Shape = Shape::Fields(&[
    optional("level", Shape::Text("a log level", log_level)),
    optional("format", Shape::OneOf(LOG_FORMATS)),
]);

/// The values of `log.format`.
pub(super) const LOG_FORMATS: &[&str] = &["text", "json"];

const PLUGINS: Shape = Shape::Fields(&[
    explicit(
        "directories",
        Shape::List(&PATH),
        "write [] to search none, or leave the field out for the default ones",
    ),
    optional("load", Shape::OneOf(&["memory", "path"])),
    explicit(
        "allow",
        Shape::List(&ALLOWED),
        "write [] to allow no plugin, or leave the field out to allow every one",
    ),
]);

const ALLOWED: Shape = Shape::Fields(&[required("name", PLUGIN_NAME), required("sha256", SHA256)]);

const PROVIDER: Shape = Shape::Fields(&[
    optional("name", Shape::Text("a provider's name", names::label)),
    optional("plugin", PLUGIN_NAME),
    optional("path", PATH),
    optional("sha256", SHA256),
    optional("required", Shape::Bool),
    optional("config", Shape::Section),
]);

const NODE: Shape = Shape::Fields(&[
    required("name", Shape::Text("a node's name", names::subdomain)),
    required("provider", Shape::Text("the name of a provider", names::label)),
    optional("count", Shape::Integer(1, MOST_NODES)),
    optional("address", Shape::Text("an IP address", node_address)),
    optional("port", Shape::Integer(0, 65_535)),
    optional(
        "labels",
        Shape::Map(names::qualified, &Shape::Text("a label value", names::label_value)),
    ),
    optional("annotations", Shape::Map(names::qualified, &Shape::Text("a text", any))),
    optional("taints", Shape::List(&TAINT)),
    optional("defaults", NODE_DEFAULTS),
    optional("capacity", Shape::Map(names::qualified, &Shape::Quantity)),
    optional("providerID", Shape::Text("an id", not_empty)),
    optional(
        "notReadyAfter",
        Shape::Text("a duration such as 60s, or never", reads::<NotReadyAfter>),
    ),
]);

const TAINT: Shape = Shape::Fields(&[
    required("key", Shape::Text("a qualified name", names::qualified)),
    optional("value", Shape::Text("a label value", names::label_value)),
    required("effect", Shape::OneOf(&["NoSchedule", "PreferNoSchedule", "NoExecute"])),
]);

const NODE_DEFAULTS: Shape = Shape::Fields(&[
    optional("taint", Shape::Bool),
    optional("typeLabel", Shape::Bool),
    optional("excludeFromLoadBalancers", Shape::Bool),
    optional("kubernetesLabels", Shape::Bool),
]);

const KUBELET: Shape = Shape::Fields(&[
    optional("listen", Shape::Text("an IP address", listen_address)),
    optional("clientCAFile", PATH),
    optional("verifyClients", Shape::Bool),
    optional("authentication", AUTHENTICATION),
    optional("authorization", AUTHORIZATION),
    optional("certFile", PATH),
    optional("keyFile", PATH),
    optional("serverTLSBootstrap", Shape::Bool),
    optional("certDirectory", PATH),
    optional("extendWebSockets", Shape::Bool),
    optional("sharedListener", Shape::Integer(0, 65_535)),
    optional("clusterDNS", Shape::List(&Shape::Text("an IP address", node_address))),
    optional("clusterDomain", Shape::Text("a DNS name", cluster_domain)),
    optional("resolvConf", PATH),
]);

const AUTHENTICATION: Shape = Shape::Fields(&[
    optional("anonymous", Shape::Fields(&[optional("enabled", Shape::Bool)])),
    optional(
        "webhook",
        Shape::Fields(&[optional("enabled", Shape::Bool), optional("cacheTTL", INTERVAL)]),
    ),
]);

const AUTHORIZATION: Shape = Shape::Fields(&[
    optional(
        "webhook",
        Shape::Fields(&[
            optional("cacheAuthorizedTTL", INTERVAL),
            optional("cacheUnauthorizedTTL", INTERVAL),
        ]),
    ),
    optional("sessionsRequireCreate", Shape::Bool),
]);

const INTERVALS: Shape = Shape::Fields(&[
    optional("ping", INTERVAL),
    optional("pingTimeout", INTERVAL),
    optional("statusReport", INTERVAL),
    optional("statusResend", INTERVAL),
]);

const PATH: Shape = Shape::Text("a path", path);
const CLUSTER_ID: Shape = Shape::Text("an id", cluster_id);
const PLUGIN_NAME: Shape = Shape::Text("a plugin's name", names::plugin);
const SHA256: Shape = Shape::Text("64 hexadecimal digits, as sha256sum prints them", reads::<Sha256Digest>);
const DURATION: Shape = Shape::Text("a duration such as 500ms, 10s, 5m or 1h", reads::<DurationText>);
const INTERVAL: Shape = Shape::Text("a duration such as 500ms, 10s, 5m or 1h", reads::<PositiveDuration>);

impl Shape {
    /// What belongs here, for "expected x".
    pub(super) fn expected(&self) -> String {
        match self {
            Self::Text(what, _) => (*what).to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::OneOf(words) => super::nearest::alternatives(words.iter().copied()),
            Self::Quantity => "a quantity such as 4, 500m or 16Gi".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Map(..) | Self::Fields(_) | Self::Section => "a mapping".to_owned(),
        }
    }

    /// Paths in the whole format at which a field called `name` is known: `cluster.kubeconfig`, `nodes[].port`.
    pub(super) fn places_of(&self, name: &str) -> Vec<String> {
        let mut places = Vec::new();
        self.collect_places(&super::nearest::folded(name), "", &mut places);
        places
    }

    fn collect_places(&self, folded: &str, path: &str, places: &mut Vec<String>) {
        match self {
            Self::List(item) => item.collect_places(folded, &format!("{path}[]"), places),
            Self::Fields(fields) => {
                for field in *fields {
                    let path = super::tree::field_path(path, field.name);
                    if super::nearest::folded(field.name) == folded {
                        places.push(path.clone());
                    }
                    field.shape.collect_places(folded, &path, places);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
impl Shape {
    /// The paths of all fields in the whole format: `nodes[].port`.
    pub(super) fn all_paths(&self, path: &str) -> Vec<String> {
        match self {
            Self::List(item) => item.all_paths(&format!("{path}[]")),
            Self::Fields(fields) => {
                let below = fields.iter().flat_map(|field| {
                    let path = super::tree::field_path(path, field.name);
                    let below = field.shape.all_paths(&path);
                    std::iter::once(path).chain(below)
                });
                below.collect()
            }
            _ => Vec::new(),
        }
    }

    /// The paths of all fields that are written in `node`, be they known or not.
    pub(super) fn paths_in(&self, node: &super::tree::Node, path: &str) -> Vec<String> {
        use super::tree::Value;
        match (self, &node.value) {
            (Self::List(item), Value::List(nodes)) => {
                let below = nodes.iter().flat_map(|node| item.paths_in(node, &format!("{path}[]")));
                below.collect()
            }
            (Self::Fields(fields), Value::Map(entries)) => {
                let below = entries.iter().flat_map(|entry| {
                    let path = super::tree::field_path(path, &entry.key);
                    let field = fields.iter().find(|field| field.name == entry.key);
                    let below = field.map(|field| field.shape.paths_in(&entry.node, &path));
                    std::iter::once(path).chain(below.unwrap_or_default())
                });
                below.collect()
            }
            _ => Vec::new(),
        }
    }
}

fn reads<T: FromStr<Err: ToString>>(text: &str) -> Result<(), String> {
    text.parse::<T>()
        .map(drop)
        .map_err(|error| format!("{}, found {}", error.to_string(), quoted(text)))
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err("expected a text that is not empty".to_owned())
    } else {
        Ok(())
    }
}

/// A path as it is: nothing expands `~` or variables here.
pub(super) fn path(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if text.starts_with("~") || text.contains("$") {
        return Err(format!(
            "expected a path without ~ and $, nothing expands them here, found {}",
            quoted(text)
        ));
    }
    if text.contains('\0') {
        Err("expected a path, found a text with a NUL character".to_owned())
    } else {
        Ok(())
    }
}

/// Becomes part of names and tags in backends.
fn cluster_id(text: &str) -> Result<(), String> {
    names::label(text).map_err(|_| {
        format!(
            "expected an id of lower-case letters, digits and '-', at most 63 characters, found {}",
            quoted(text)
        )
    })
}

fn listen_address(text: &str) -> Result<(), String> {
    text.parse::<IpAddr>()
        .map(drop)
        .map_err(|_| format!("expected an IP address without a port, found {}", quoted(text)))
}

fn cluster_domain(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Ok(())
    } else {
        names::subdomain(text)
    }
}

fn node_address(text: &str) -> Result<(), String> {
    listen_address(text)?;
    let unspecified = text.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    if unspecified {
        Err(format!(
            "expected an address that others can reach, found {}",
            quoted(text)
        ))
    } else {
        Ok(())
    }
}

/// A filter directive that the log set-up will take.
pub(super) fn log_level(text: &str) -> Result<(), String> {
    crate::telemetry::logs::check(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_wherever_it_is_known() {
        assert_eq!(ROOT.places_of("kubeconfig"), ["cluster.kubeconfig"]);
        assert_eq!(ROOT.places_of("Provider"), ["nodes[].provider"]);
        assert_eq!(
            ROOT.places_of("sha256"),
            ["plugins.allow[].sha256", "providers[].sha256"]
        );
        assert_eq!(ROOT.places_of("nothing"), Vec::<String>::new());
    }
}
