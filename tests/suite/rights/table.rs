//! What each right is for.

use super::role::Right;
use super::scene::Reference;
use super::scene::Scene;

/// A right, and what becomes of a host without it.
pub struct Row {
    /// The right.
    pub right: (&'static str, &'static str, &'static str),
    /// What no longer comes to its end.
    pub scene: Scene,
    /// What an operator reads then, with the API server's denial in the same line: the host's log, or an event of a pod.
    pub says: &'static str,
}

impl Row {
    /// The right.
    pub fn right(&self) -> Right {
        let (group, resource, verb) = self.right;
        Right::new(group, resource, verb)
    }
}

const fn row(group: &'static str, resource: &'static str, verb: &'static str, scene: Scene, says: &'static str) -> Row {
    Row {
        right: (group, resource, verb),
        scene,
        says,
    }
}

const CERTIFICATES: &str = "certificates.k8s.io";
const LEASES: &str = "coordination.k8s.io";
const WATCH: &str = "unable to watch, retrying";
const LEASE: &str = "unable to read or write the node's lease, retrying";
const READ: &str = "unable to read what pods refer to, retrying";
const MOUNT: &str = "event FailedMount";
const REVIEW: &str = "unable to ask the API server who may use the kubelet port";

/// Every right of `configs/rbac.yaml`.
pub const TABLE: &[Row] = &[
    row(
        "",
        "nodes",
        "get",
        Scene::Refuses,
        "unable to read node before pods are refused, retrying",
    ),
    row("", "nodes", "list", Scene::Registers, WATCH),
    row("", "nodes", "watch", Scene::Repairs, WATCH),
    row(
        "",
        "nodes",
        "create",
        Scene::Registers,
        "unable to register the node, retrying",
    ),
    row(
        "",
        "nodes",
        "patch",
        Scene::Repairs,
        "the node lacks what this host may not set",
    ),
    row(
        "",
        "nodes",
        "delete",
        Scene::Leaves,
        "unable to leave the node as configured",
    ),
    row(
        "",
        "nodes/status",
        "patch",
        Scene::Reports,
        "unable to write the node's status, retrying",
    ),
    row("", "pods", "list", Scene::Runs(Reference::Nothing), WATCH),
    row("", "pods", "watch", Scene::Runs(Reference::Nothing), WATCH),
    row("", "pods", "delete", Scene::LetsGo, "unable to write pod, retrying"),
    row(
        "",
        "pods/status",
        "patch",
        Scene::Runs(Reference::Nothing),
        "unable to write pod, retrying",
    ),
    row(
        "",
        "events",
        "create",
        Scene::Tells,
        "unable to send events, dropping them",
    ),
    row(
        "",
        "events",
        "patch",
        Scene::Counts,
        "unable to send events, dropping them",
    ),
    row("", "configmaps", "get", Scene::Rereads(Reference::ConfigMap), READ),
    row("", "configmaps", "list", Scene::Runs(Reference::ConfigMap), READ),
    row("", "configmaps", "watch", Scene::Follows(Reference::ConfigMap), READ),
    row("", "secrets", "get", Scene::Rereads(Reference::Secret), READ),
    row("", "secrets", "list", Scene::Runs(Reference::Secret), READ),
    row("", "secrets", "watch", Scene::Follows(Reference::Secret), READ),
    row("", "services", "list", Scene::Runs(Reference::Nothing), READ),
    row("", "services", "watch", Scene::TellsServices, READ),
    row(
        "",
        "serviceaccounts/token",
        "create",
        Scene::Runs(Reference::Token),
        READ,
    ),
    row("", "serviceaccounts", "get", Scene::Certifies, MOUNT),
    row(CERTIFICATES, "podcertificaterequests", "create", Scene::Certifies, READ),
    row(
        CERTIFICATES,
        "podcertificaterequests",
        "list",
        Scene::CertifiesPlainly,
        MOUNT,
    ),
    row(CERTIFICATES, "podcertificaterequests", "watch", Scene::Certifies, MOUNT),
    row("", "namespaces", "get", Scene::Identifies, "orphans are not swept"),
    row(
        "authentication.k8s.io",
        "tokenreviews",
        "create",
        Scene::Authenticates,
        REVIEW,
    ),
    row(
        "authorization.k8s.io",
        "subjectaccessreviews",
        "create",
        Scene::Authorizes,
        REVIEW,
    ),
    row(
        CERTIFICATES,
        "certificatesigningrequests",
        "create",
        Scene::Serves,
        "unable to get a serving certificate",
    ),
    row(CERTIFICATES, "certificatesigningrequests", "list", Scene::Serves, WATCH),
    row(
        CERTIFICATES,
        "certificatesigningrequests",
        "watch",
        Scene::Serves,
        WATCH,
    ),
    row(LEASES, "leases", "get", Scene::Registers, LEASE),
    row(LEASES, "leases", "create", Scene::Registers, LEASE),
    row(LEASES, "leases", "update", Scene::Renews, LEASE),
    row(
        LEASES,
        "leases",
        "delete",
        Scene::LeavesNoLease,
        "unable to give up the node's lease",
    ),
];

/// What a host does that takes no right of ours: Kubernetes lets every ServiceAccount.
pub const FREE: &[Scene] = &[Scene::Follows(Reference::Bundle)];
