//! Hints for fields that are unknown where they stand: slips, fields of another place, and the flags and settings of
//! Go's virtual-kubelet that have another name here.

use super::nearest::alternatives;
use super::nearest::folded;
use super::nearest::nearest;
use super::shape::Field;
use super::shape::ROOT;

/// What is said of YAML's merge key.
pub(super) const MERGE_KEY: &str = "merge keys are not read here, write the fields out";

/// Folded name (see [`folded`]), and what to do instead.
const ELSEWHERE: &[(&str, &str)] = &[
    ("<<", MERGE_KEY),
    ("nodename", "a node is named by nodes[].name"),
    ("providerconfig", "a provider's settings stand in providers[].config"),
    (
        "providerconfigpath",
        "a provider's settings stand in providers[].config",
    ),
    ("disabletaint", "set nodes[].defaults.taint to false"),
    ("taintkey", "taints are listed in nodes[].taints"),
    ("taintvalue", "taints are listed in nodes[].taints"),
    ("tainteffect", "taints are listed in nodes[].taints"),
    ("replicas", "the number of nodes is nodes[].count"),
    ("loglevel", "it is log.level"),
    ("logformat", "it is log.format"),
    ("plugindir", "it is plugins.directories"),
    ("plugindirs", "it is plugins.directories"),
    ("clusterid", "it is cluster.id"),
    ("clusterdomain", "it is kubelet.clusterDomain"),
    ("clusterdns", "it is kubelet.clusterDNS"),
    ("capabilities", "what a provider can do is reported by its plugin"),
    ("os", "the operating system is reported by the provider's plugin"),
    (
        "operatingsystem",
        "the operating system is reported by the provider's plugin",
    ),
    ("namespace", "a host runs the pods of every namespace"),
    (
        "podsyncworkers",
        "there is nothing to set, pods are worked on as they come",
    ),
    ("fullresyncperiod", "there is nothing to set, pods are watched"),
    ("enablenodelease", "there is nothing to set, every node has a lease"),
    (
        "clientnames",
        "there is nothing to set, the cluster's authorization decides who may call: allow it nodes/proxy there",
    ),
    ("x509", "it is kubelet.clientCAFile"),
    ("noverifyclients", "set kubelet.verifyClients to false"),
    ("clientverifyca", "it is kubelet.clientCAFile"),
    ("certdir", "it is kubelet.certDirectory"),
    ("tlscertfile", "it is kubelet.certFile"),
    ("tlsprivatekeyfile", "it is kubelet.keyFile"),
    ("kubeapiqps", "there is nothing to set, requests are not throttled"),
    ("kubeapiburst", "there is nothing to set, requests are not throttled"),
];

/// What to say after "unknown field" for `name`, which stands at `path` among `siblings`.
pub(super) fn hint(name: &str, siblings: &[Field], path: &str) -> String {
    let folded = folded(name);
    if path == "provider" {
        return ": list it in providers, and name it in nodes[].provider".to_owned();
    }
    if path == "kubelet.authorization.mode" {
        return ": there is nothing to set, requests are authorized unless kubelet.verifyClients is false".to_owned();
    }
    if let Some((_, advice)) = ELSEWHERE.iter().find(|(known, _)| *known == folded) {
        return format!(": {advice}");
    }
    let names = || siblings.iter().map(|field| field.name);
    // An exact name from another place beats a similar one from this place.
    let places = ROOT.places_of(name);
    if !places.is_empty() && !names().any(|sibling| super::nearest::folded(sibling) == folded) {
        return format!(": it belongs to {}", alternatives(places.iter().map(String::as_str)));
    }
    match nearest(name, names()) {
        Some(candidate) => format!(", did you mean {candidate:?}?"),
        None => format!(", expected one of {}", names().collect::<Vec<_>>().join(", ")),
    }
}
