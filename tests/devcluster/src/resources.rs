//! What the server serves: one row per resource.

/// Kinds that the store keeps; also the index of their collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// core/v1 pods
    Pods,
    /// core/v1 nodes
    Nodes,
    /// core/v1 namespaces
    Namespaces,
    /// core/v1 events, also served as events.k8s.io/v1
    Events,
    /// core/v1 configmaps
    ConfigMaps,
    /// core/v1 secrets
    Secrets,
    /// core/v1 services
    Services,
    /// core/v1 serviceaccounts
    ServiceAccounts,
    /// coordination.k8s.io/v1 leases
    Leases,
    /// apps/v1 deployments
    Deployments,
    /// apps/v1 replicasets
    ReplicaSets,
    /// batch/v1 jobs
    Jobs,
    /// rbac.authorization.k8s.io/v1 roles (kept, never enforced)
    Roles,
    /// rbac.authorization.k8s.io/v1 rolebindings (kept, never enforced)
    RoleBindings,
    /// rbac.authorization.k8s.io/v1 clusterroles (kept, never enforced)
    ClusterRoles,
    /// rbac.authorization.k8s.io/v1 clusterrolebindings (kept, never enforced)
    ClusterRoleBindings,
}

impl Kind {
    /// All kinds, in the order of their collections.
    pub const ALL: [Kind; 16] = [
        Kind::Pods,
        Kind::Nodes,
        Kind::Namespaces,
        Kind::Events,
        Kind::ConfigMaps,
        Kind::Secrets,
        Kind::Services,
        Kind::ServiceAccounts,
        Kind::Leases,
        Kind::Deployments,
        Kind::ReplicaSets,
        Kind::Jobs,
        Kind::Roles,
        Kind::RoleBindings,
        Kind::ClusterRoles,
        Kind::ClusterRoleBindings,
    ];

    /// The row that describes the kind.
    pub fn resource(self) -> &'static Resource {
        &RESOURCES[self as usize]
    }

    /// The fields that a field selector may name, with where they are in the object.
    pub fn selectable(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Pods => &[
                ("spec.nodeName", "/spec/nodeName"),
                ("status.phase", "/status/phase"),
                ("spec.restartPolicy", "/spec/restartPolicy"),
                ("spec.schedulerName", "/spec/schedulerName"),
                ("spec.serviceAccountName", "/spec/serviceAccountName"),
                ("status.podIP", "/status/podIP"),
                ("status.nominatedNodeName", "/status/nominatedNodeName"),
            ],
            Kind::Nodes => &[("spec.unschedulable", "/spec/unschedulable")],
            Kind::Namespaces => &[("status.phase", "/status/phase")],
            Kind::Secrets => &[("type", "/type")],
            Kind::ReplicaSets => &[("status.replicas", "/status/replicas")],
            Kind::Jobs => &[("status.successful", "/status/succeeded")],
            Kind::Events => &[
                ("involvedObject.kind", "/involvedObject/kind"),
                ("involvedObject.namespace", "/involvedObject/namespace"),
                ("involvedObject.name", "/involvedObject/name"),
                ("involvedObject.uid", "/involvedObject/uid"),
                ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
                ("involvedObject.resourceVersion", "/involvedObject/resourceVersion"),
                ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
                ("reason", "/reason"),
                ("reportingComponent", "/reportingComponent"),
                ("source", "/source/component"),
                ("type", "/type"),
            ],
            _ => &[],
        }
    }
}

/// A resource as clients address it.
#[derive(Debug)]
pub struct Resource {
    /// Where its objects are kept.
    pub kind: Kind,
    /// API group; empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// `kind` of its objects.
    pub name: &'static str,
    /// The path segment.
    pub plural: &'static str,
    /// The short names that kubectl knows.
    pub short: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Subresources, apart from those that have routes of their own (log, binding, ...).
    pub subresources: &'static [&'static str],
    /// Whether `metadata.generation` counts the changes of `spec`.
    pub generation: bool,
    /// Whether kubectl's `get all` shows it.
    pub in_all: bool,
}

impl Resource {
    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `plural.group` as error messages name it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Whether `status` is written through a path of its own.
    pub fn has_status(&self) -> bool {
        self.subresources.contains(&"status")
    }

    /// Whether this row shows the objects of another row in another form (events.k8s.io shows core events).
    pub fn is_view(&self) -> bool {
        self.group == "events.k8s.io"
    }
}

const fn row(
    kind: Kind,
    (group, version): (&'static str, &'static str),
    name: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Resource {
    Resource {
        kind,
        group,
        version,
        name,
        plural,
        short,
        namespaced: true,
        subresources: &[],
        generation: false,
        in_all: false,
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");

/// All resources; the first [`Kind::ALL`] rows stand in the order of the kinds, views follow.
pub static RESOURCES: [Resource; 17] = [
    Resource {
        subresources: &["status", "resize", "ephemeralcontainers"],
        generation: true,
        in_all: true,
        ..row(Kind::Pods, CORE, "Pod", "pods", &["po"])
    },
    Resource {
        namespaced: false,
        subresources: &["status"],
        ..row(Kind::Nodes, CORE, "Node", "nodes", &["no"])
    },
    Resource {
        namespaced: false,
        subresources: &["status", "finalize"],
        ..row(Kind::Namespaces, CORE, "Namespace", "namespaces", &["ns"])
    },
    row(Kind::Events, CORE, "Event", "events", &["ev"]),
    row(Kind::ConfigMaps, CORE, "ConfigMap", "configmaps", &["cm"]),
    row(Kind::Secrets, CORE, "Secret", "secrets", &[]),
    Resource {
        subresources: &["status"],
        in_all: true,
        ..row(Kind::Services, CORE, "Service", "services", &["svc"])
    },
    row(
        Kind::ServiceAccounts,
        CORE,
        "ServiceAccount",
        "serviceaccounts",
        &["sa"],
    ),
    row(Kind::Leases, ("coordination.k8s.io", "v1"), "Lease", "leases", &[]),
    Resource {
        subresources: &["status", "scale"],
        generation: true,
        in_all: true,
        ..row(Kind::Deployments, APPS, "Deployment", "deployments", &["deploy"])
    },
    Resource {
        subresources: &["status", "scale"],
        generation: true,
        in_all: true,
        ..row(Kind::ReplicaSets, APPS, "ReplicaSet", "replicasets", &["rs"])
    },
    Resource {
        subresources: &["status"],
        generation: true,
        in_all: true,
        ..row(Kind::Jobs, ("batch", "v1"), "Job", "jobs", &[])
    },
    row(Kind::Roles, RBAC, "Role", "roles", &[]),
    row(Kind::RoleBindings, RBAC, "RoleBinding", "rolebindings", &[]),
    Resource {
        namespaced: false,
        ..row(Kind::ClusterRoles, RBAC, "ClusterRole", "clusterroles", &[])
    },
    Resource {
        namespaced: false,
        ..row(
            Kind::ClusterRoleBindings,
            RBAC,
            "ClusterRoleBinding",
            "clusterrolebindings",
            &[],
        )
    },
    row(Kind::Events, ("events.k8s.io", "v1"), "Event", "events", &["ev"]),
];

/// Finds a resource by its path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.plural == plural && r.group == group && r.version == version)
}

/// The groups (with their one version each), core first.
pub fn groups() -> Vec<(&'static str, &'static str)> {
    let mut out: Vec<(&str, &str)> = Vec::new();
    let served = RESOURCES.iter().map(|r| (r.group, r.version));
    for entry in served.chain([("authentication.k8s.io", "v1"), ("authorization.k8s.io", "v1")]) {
        if !out.contains(&entry) {
            out.push(entry);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_kinds() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            assert_eq!(RESOURCES[at].kind, kind);
            assert!(!RESOURCES[at].is_view());
        }
        assert!(RESOURCES[Kind::ALL.len()..].iter().all(Resource::is_view));
    }

    #[test]
    fn resources_are_found_by_path() {
        assert_eq!(find("", "v1", "pods").unwrap().name, "Pod");
        assert_eq!(find("events.k8s.io", "v1", "events").unwrap().kind, Kind::Events);
        assert!(find("apps", "v1", "pods").is_none());
        assert_eq!(Kind::Deployments.resource().qualified(), "deployments.apps");
    }
}
