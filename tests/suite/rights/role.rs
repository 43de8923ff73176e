//! The role of `configs/rbac.yaml`, right by right.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::eventually;
use crate::harness::object;
use crate::harness::repository;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::api::rbac::v1::Role as NamespacedRole;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// The API group; empty for the core one.
    pub group: String,
    /// The plural, and a subresource behind a slash.
    pub resource: String,
    /// `get`, `list`, ...
    pub verb: String,
}

impl Right {
    /// A right.
    pub fn new(group: &str, resource: &str, verb: &str) -> Self {
        Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: verb.to_owned(),
        }
    }

    /// How an API server says that somebody lacks it.
    pub fn denial(&self) -> String {
        let Self { group, resource, verb } = self;
        format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"")
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, resource, verb } = self;
        match group.as_str() {
            "" => write!(f, "{verb} {resource}"),
            group => write!(f, "{verb} {resource} of {group}"),
        }
    }
}

/// A right with its limits.
#[derive(Clone, Debug)]
struct Grant {
    right: Right,
    /// Only on these objects, unless it is empty.
    names: Vec<String>,
    /// Only there.
    namespace: Option<String>,
}

/// What an account may do.
#[derive(Clone, Debug)]
pub struct Role(Vec<Grant>);

impl Role {
    /// The one of `configs/rbac.yaml`: of its ClusterRole and its Roles.
    pub fn shipped() -> Self {
        let file = repository().join("configs/rbac.yaml");
        let text = std::fs::read_to_string(file).unwrap();
        let mut grants = Vec::new();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let document = Value::deserialize(document).unwrap();
            if !["ClusterRole", "Role"].contains(&document["kind"].as_str().unwrap()) {
                continue;
            }
            let namespace = document["metadata"]["namespace"].as_str().map(str::to_owned);
            let rules: Vec<PolicyRule> = object(document["rules"].clone());
            for rule in rules {
                assert!(
                    rule.non_resource_urls.is_none(),
                    "paths are nothing that a test here knows of"
                );
                for group in rule.api_groups.as_deref().unwrap() {
                    for resource in rule.resources.as_deref().unwrap() {
                        grants.extend(rule.verbs.iter().map(|verb| Grant {
                            right: Right::new(group, resource, verb),
                            names: rule.resource_names.clone().unwrap_or_default(),
                            namespace: namespace.clone(),
                        }));
                    }
                }
            }
        }
        Self(grants)
    }

    /// Everything that it holds.
    pub fn rights(&self) -> Vec<Right> {
        self.0.iter().map(|grant| grant.right.clone()).collect()
    }

    /// The same but for one right.
    pub fn without(&self, right: &Right) -> Self {
        Self(self.0.iter().filter(|grant| grant.right != *right).cloned().collect())
    }

    /// Whether it holds this right, on an object of this name in this namespace, as far as the request names them.
    pub fn allows(&self, right: &Right, namespace: Option<&str>, name: Option<&str>) -> bool {
        self.0.iter().any(|grant| {
            grant.right == *right
                && (grant.names.is_empty() || name.is_some_and(|name| grant.names.iter().any(|one| one == name)))
                && (grant.namespace.is_none() || grant.namespace.as_deref() == namespace)
        })
    }

    /// Makes an account that has this role, all of which goes with the test's namespace, and returns its token and a
    /// kubeconfig once the API server knows what it may.
    pub async fn account(&self, test: &Test) -> (String, PathBuf) {
        const NAME: &str = "host";
        let params = PostParams::default();
        let accounts: Api<ServiceAccount> = Api::namespaced(test.client.clone(), &test.id);
        let account: ServiceAccount = object(json!({ "metadata": { "name": NAME } }));
        accounts.create(&params, &account).await.unwrap();
        let request: TokenRequest = object(json!({ "metadata": {}, "spec": { "audiences": [] } }));
        let issued = accounts.create_token_request(NAME, &params, &request).await.unwrap();
        let token = issued.status.unwrap().token.unwrap();

        let namespaces: Api<Namespace> = Api::all(test.client.clone());
        let uid = namespaces.get(&test.id).await.unwrap().metadata.uid;
        let owner = json!([{ "apiVersion": "v1", "kind": "Namespace", "name": test.id, "uid": uid }]);
        let metadata = json!({ "name": test.id, "ownerReferences": owner });
        let subjects = json!([{ "kind": "ServiceAccount", "name": NAME, "namespace": test.id }]);
        let reference = |kind| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": test.id });
        let roles: Api<ClusterRole> = Api::all(test.client.clone());
        let role = json!({ "metadata": metadata, "rules": self.rules(None) });
        roles.create(&params, &object(role)).await.unwrap();
        let bindings: Api<ClusterRoleBinding> = Api::all(test.client.clone());
        let binding = json!({ "metadata": metadata, "roleRef": reference("ClusterRole"), "subjects": subjects });
        bindings.create(&params, &object(binding)).await.unwrap();
        for namespace in self.namespaces() {
            let roles: Api<NamespacedRole> = Api::namespaced(test.client.clone(), namespace);
            let role = json!({ "metadata": metadata, "rules": self.rules(Some(namespace)) });
            roles.create(&params, &object(role)).await.unwrap();
            let bindings: Api<RoleBinding> = Api::namespaced(test.client.clone(), namespace);
            let binding = json!({ "metadata": metadata, "roleRef": reference("Role"), "subjects": subjects });
            bindings.create(&params, &object(binding)).await.unwrap();
        }
        let user = format!("system:serviceaccount:{}:{NAME}", test.id);
        // One right of each binding tells of all that came with it.
        for namespace in [None].into_iter().chain(self.namespaces().map(Some)) {
            let first = self.0.iter().find(|grant| grant.namespace.as_deref() == namespace);
            is_known(test, &user, first.unwrap()).await;
        }
        (token.clone(), kubeconfig(test, token))
    }

    fn namespaces(&self) -> impl Iterator<Item = &str> {
        let mut all: Vec<_> = self.0.iter().filter_map(|grant| grant.namespace.as_deref()).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter()
    }

    fn rules(&self, namespace: Option<&str>) -> Value {
        let here = self.0.iter().filter(|grant| grant.namespace.as_deref() == namespace);
        here.map(|Grant { right, names, .. }| {
            json!({
                "apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb], "resourceNames": names,
            })
        })
        .collect()
    }
}

/// A kubeconfig for the test's cluster with this token.
fn kubeconfig(test: &Test, token: String) -> PathBuf {
    let mut file = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
    for user in &mut file.auth_infos {
        user.auth_info = Some(object(json!({ "token": token })));
    }
    let path = test.directory().join("account.kubeconfig");
    std::fs::write(&path, serde_yaml::to_string(&file).unwrap()).unwrap();
    path
}

/// Waits until the API server grants something: it takes a moment to hear of new roles.
async fn is_known(test: &Test, user: &str, grant: &Grant) {
    let (resource, subresource) = match grant.right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (grant.right.resource.as_str(), None),
    };
    let review: SubjectAccessReview = object(json!({ "metadata": {}, "spec": { "user": user, "resourceAttributes": {
        "verb": grant.right.verb, "group": grant.right.group, "resource": resource, "subresource": subresource,
        "namespace": grant.namespace, "name": grant.names.first(),
    }}}));
    let reviews: Api<SubjectAccessReview> = Api::all(test.client.clone());
    eventually(SOON, &format!("{user} may {}", grant.right), || async {
        let answer = reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| error.to_string())?.status.unwrap();
        status.allowed.then_some(()).ok_or("not yet".to_owned())
    })
    .await;
}

/// All denials in a text: which rights were lacking.
pub fn denials(text: &str) -> Vec<Right> {
    let mut found: Vec<Right> = text
        .split("cannot ")
        .skip(1)
        .filter_map(|rest| {
            let (verb, rest) = rest.split_once(" resource \"")?;
            let (resource, rest) = rest.split_once("\" in API group \"")?;
            Some(Right::new(rest.split_once('"')?.0, resource, verb))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn denials_are_found_in_a_text() {
    let (one, two) = (
        Right::new("", "nodes/status", "patch"),
        Right::new("apps", "deployments", "get"),
    );
    let text = format!(
        "User \"a\" {} at the cluster scope, cannot do it, {}",
        one.denial(),
        two.denial()
    );
    assert_eq!(denials(&text), [one, two]);
}
