//! Tokens of the host's account that can be taken back.

use super::Test;
use super::eventually;
use super::object;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::Config;
use kube::api::DeleteParams;
use kube::api::PostParams;
use kube::config::AuthInfo;
use kube::config::Kubeconfig;
use serde_json::json;
use std::time::Duration;

const ACCOUNT: &str = "outrigger";
const NAMESPACE: &str = "outrigger-system";
/// An API server remembers for ten seconds whom it has let in.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A token that is good for as long as a Secret of the test's is there.
pub struct BoundToken {
    /// What goes into the Authorization header.
    pub token: String,
    secret: String,
}

impl BoundToken {
    /// Makes one; `name` is the test's word for it.
    pub async fn make(test: &Test, name: &str) -> Self {
        let secret = format!("{}-{name}", test.id);
        let made = secrets(test)
            .create(
                &PostParams::default(),
                &object(json!({ "metadata": { "name": secret } })),
            )
            .await
            .unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(test.client.clone(), NAMESPACE);
        let bound = json!({ "apiVersion": "v1", "kind": "Secret", "name": secret, "uid": made.metadata.uid });
        let request: TokenRequest = object(json!({ "spec": { "audiences": [], "boundObjectRef": bound } }));
        let answer = accounts
            .create_token_request(ACCOUNT, &PostParams::default(), &request)
            .await;
        let token = answer.unwrap().status.unwrap().token.unwrap();
        Self { token, secret }
    }

    /// Takes it back, and waits until the API server no longer takes it.
    pub async fn revoke(&self, test: &Test) {
        secrets(test)
            .delete(&self.secret, &DeleteParams::default())
            .await
            .unwrap();
        let file = Kubeconfig::read_from(&test.cluster.host_kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
        config.auth_info = AuthInfo {
            token: Some(self.token.clone().into()),
            ..AuthInfo::default()
        };
        let nodes: Api<Node> = Api::all(kube::Client::try_from(config).unwrap());
        eventually(FORGOTTEN, "the token is refused", || async {
            match nodes.get(&test.node()).await {
                Err(kube::Error::Api(status)) if status.code == 401 => Ok(()),
                other => Err(format!("{:?}", other.map(|node| node.metadata.name))),
            }
        })
        .await;
    }
}

fn secrets(test: &Test) -> Api<Secret> {
    Api::namespaced(test.client.clone(), NAMESPACE)
}
