//! What a host does with its rights: each scene comes to something that can be seen, if it has them.

use crate::harness::Host;
use crate::harness::HostConfig;
use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::TroubledWay;
use crate::harness::authority;
use crate::harness::caller::Caller;
use crate::harness::caller::verified_certificate;
use crate::harness::certificates_api;
use crate::harness::condition;
use crate::harness::decide;
use crate::harness::eventually;
use crate::harness::is_running;
use crate::harness::look;
use crate::harness::object;
use crate::harness::phase;
use crate::harness::sign;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::Value;
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

/// What a host of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scene {
    /// It registers its node.
    Registers,
    /// It puts a label back that somebody took from its node.
    Repairs,
    /// It puts the node's capacity right that somebody changed.
    Reports,
    /// It refuses a pod that wants another node.
    Refuses,
    /// It takes its node with it.
    Leaves,
    /// It takes its node's lease with it.
    LeavesNoLease,
    /// It renews its node's lease.
    Renews,
    /// It runs a pod that refers to this.
    Runs(Reference),
    /// It lets go of a pod that was deleted.
    LetsGo,
    /// It tells what happens to a pod.
    Tells,
    /// It tells what happens again as the same event.
    Counts,
    /// It gives a running pod what has changed.
    Follows(Reference),
    /// It reads what it has no room left to watch, where every watch takes a connection of its own.
    Rereads(Reference),
    /// It tells a new pod of a new Service.
    TellsServices,
    /// It gets a pod its certificate.
    Certifies,
    /// It gets a pod its certificate where every watch takes a connection of its own.
    CertifiesPlainly,
    /// It serves with a certificate of the cluster.
    Serves,
    /// It knows which cluster it is in.
    Identifies,
    /// It asks who a caller is.
    Authenticates,
    /// It asks what a caller may.
    Authorizes,
}

/// What a pod refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    Nothing,
    ConfigMap,
    Secret,
    Token,
    Bundle,
}

/// A host with an account of its own, and what it plays on. The host goes first.
pub struct Stage {
    pub host: Host,
    _way: Option<TroubledWay>,
    pub test: Test,
    token: String,
}

/// So many objects that there are not connections for all of them.
const CROWD: usize = 40;
/// What is to change, and into what.
const BEFORE: &str = "before";
const AFTER: &str = "after";

impl Scene {
    /// Why it can't be played there, if it can't.
    pub async fn lacks(self, test: &Test) -> Option<&'static str> {
        let (kind, plural) = match self {
            Self::Certifies | Self::CertifiesPlainly => ("PodCertificateRequest", "podcertificaterequests"),
            Self::Follows(Reference::Bundle) => BUNDLES,
            _ => return None,
        };
        let api = certificates_api(test, kind, plural).await;
        api.is_none().then_some("this cluster does not have its API")
    }

    /// Whether the host uses the right for this verb before anything is done here.
    pub fn begins_with(self, verb: &str) -> bool {
        verb == "watch" || matches!(self, Self::Certifies | Self::CertifiesPlainly | Self::Serves)
    }

    /// Starts the host.
    pub async fn stage(self, test: Test, token: String, mut kubeconfig: PathBuf) -> Stage {
        let mut way = None;
        if matches!(self, Self::Rereads(_) | Self::CertifiesPlainly) {
            // It speaks HTTP/1.1 only.
            let detour = TroubledWay::start(&kubeconfig, test.directory()).await;
            kubeconfig = detour.kubeconfig().to_owned();
            way = Some(detour);
        }
        let host = test.start(&self.config(&test, &kubeconfig));
        Stage {
            host,
            _way: way,
            test,
            token,
        }
    }

    fn config(self, test: &Test, kubeconfig: &Path) -> HostConfig {
        let config = test.mock(json!({})).with(json!({
            "cluster": { "kubeconfig": kubeconfig },
            // What operators read.
            "log": { "level": "info" },
            "intervals": { "statusReport": "500ms" },
        }));
        match self {
            Self::Leaves | Self::LeavesNoLease => config.with(json!({ "onShutdown": "deregister" })),
            Self::Serves => config.with(json!({ "kubelet": { "serverTLSBootstrap": true } })),
            _ => config,
        }
    }
}

const BUNDLES: (&str, &str) = ("ClusterTrustBundle", "clustertrustbundles");
const REQUESTS: (&str, &str) = ("PodCertificateRequest", "podcertificaterequests");
const POD: &str = "web";

impl Stage {
    /// All that comes before what the scene is about.
    pub async fn begin(&self, scene: Scene) {
        let test = &self.test;
        match scene {
            Scene::Registers | Scene::Renews | Scene::Identifies => return,
            Scene::Reports => {
                test.node_until(&test.node(), "it is registered", |_| true).await;
                return;
            }
            _ => drop(test.node_ready(&test.node()).await),
        }
        match scene {
            Scene::LeavesNoLease => self.keep_lease().await,
            Scene::LetsGo | Scene::TellsServices => self.run(Reference::Nothing).await,
            Scene::Follows(reference) => {
                self.put(reference, "m", BEFORE).await;
                self.run(reference).await;
            }
            Scene::Certifies | Scene::CertifiesPlainly => {
                let source = json!({ "podCertificate": {
                    "signerName": "suite.outrigger.dev/signer", "keyType": "ECDSAP256",
                    "keyPath": "key.pem", "certificateChainPath": "chain.pem",
                }});
                let volume = json!({ "name": "v", "projected": { "sources": [source] } });
                test.create(self.pod(POD, json!([volume]), json!({}))).await;
            }
            _ => {}
        }
    }

    /// What the scene is about. `whole`: the host has all its rights, so that whatever it does first can be waited for.
    pub async fn act(&mut self, scene: Scene, whole: bool) {
        let test = &self.test;
        match scene {
            Scene::Repairs => {
                let gone = json!({ "metadata": { "labels": { "type": null } } });
                let nodes = test.nodes();
                nodes
                    .patch(&test.node(), &PatchParams::default(), &Patch::Merge(gone))
                    .await
                    .unwrap();
            }
            Scene::Reports => {
                let wrong = json!({ "status": { "capacity": { "pods": WRONG } } });
                let nodes = test.nodes();
                nodes
                    .patch_status(&test.node(), &PatchParams::default(), &Patch::Merge(wrong))
                    .await
                    .unwrap();
            }
            Scene::Refuses => {
                let elsewhere = json!({ "nodeSelector": { "example.com/rack": "7" } });
                test.create(self.pod(POD, json!([]), elsewhere)).await;
            }
            Scene::Leaves | Scene::LeavesNoLease => {
                self.host.term();
                self.host.ends_with(0).await;
            }
            Scene::Runs(reference) => {
                self.put(reference, "m", BEFORE).await;
                test.create(self.pod(POD, volumes(test, reference, 1), spec(reference)))
                    .await;
            }
            Scene::Rereads(reference) => {
                for number in 0..CROWD {
                    self.put(reference, &format!("m{number}"), BEFORE).await;
                }
                test.create(self.pod(POD, volumes(test, reference, CROWD), spec(reference)))
                    .await;
            }
            Scene::LetsGo => test.delete(POD, None).await,
            Scene::Tells => drop(test.create(self.pod(POD, json!([]), json!({}))).await),
            Scene::Counts => {
                let mut pod = self.pod(POD, json!([]), json!({}));
                pod["metadata"]["annotations"]["mock.outrigger.dev/create.failures"] = json!("6");
                test.create(pod).await;
            }
            Scene::Follows(reference) => self.put(reference, "m", AFTER).await,
            Scene::TellsServices => {
                let services: Api<Service> = Api::namespaced(test.client.clone(), &test.id);
                let spec = json!({ "selector": { "app": "late" }, "ports": [{ "port": 80 }] });
                let late = object(json!({ "metadata": { "name": "late" }, "spec": spec }));
                services.create(&PostParams::default(), &late).await.unwrap();
            }
            Scene::Certifies | Scene::CertifiesPlainly => {
                let requests = self.api(REQUESTS).await;
                let requests: Api<DynamicObject> = Api::namespaced_with(test.client.clone(), &test.id, &requests);
                let first = || async {
                    let all = requests.list(&ListParams::default()).await;
                    let all = all.map_err(|error| error.to_string())?.items;
                    all.into_iter().next().ok_or("there is no request".to_owned())
                };
                let request = match whole {
                    true => Some(eventually(SOON, "a certificate is asked for", first).await),
                    false => first().await.ok(),
                };
                if let Some(request) = request {
                    sign(&requests, &request).await;
                }
            }
            Scene::Serves => {
                let requests: Api<CertificateSigningRequest> = Api::all(test.client.clone());
                let user = format!("system:serviceaccount:{}:host", test.id);
                let own = || async {
                    let all = requests.list(&ListParams::default()).await;
                    let all = all.map_err(|error| error.to_string())?.items;
                    let own = all
                        .into_iter()
                        .find(|request| request.spec.username.as_ref() == Some(&user));
                    own.and_then(|request| request.metadata.name)
                        .ok_or("there is no request".to_owned())
                };
                let request = match whole {
                    true => Some(eventually(SOON, "a certificate is requested", own).await),
                    false => own().await.ok(),
                };
                if let Some(request) = request {
                    decide(test, &request, "Approved").await;
                }
            }
            // Whoever calls makes the host ask.
            Scene::Authenticates | Scene::Authorizes => drop(self.has_come_true(scene).await),
            Scene::Registers | Scene::Renews | Scene::Identifies => {}
        }
    }

    /// Whether the scene has come to what it is about; if not, why.
    pub async fn has_come_true(&self, scene: Scene) -> Result<(), String> {
        let test = &self.test;
        let name = test.node();
        let word = |error: kube::Error| error.to_string();
        let check = |is: bool, seen: &dyn std::fmt::Debug| if is { Ok(()) } else { Err(format!("{seen:?}")) };
        match scene {
            Scene::Registers => {
                let node = test.nodes().get(&name).await.map_err(word)?;
                let ready = condition(&node, "Ready");
                check(ready.as_deref() == Some("True"), &ready)
            }
            Scene::Repairs => {
                let labels = test.nodes().get(&name).await.map_err(word)?.metadata.labels;
                check(
                    labels.as_ref().is_some_and(|labels| labels.contains_key("type")),
                    &labels,
                )
            }
            Scene::Reports => {
                let status = test.nodes().get(&name).await.map_err(word)?.status.unwrap();
                let pods = status.capacity.unwrap_or_default().remove("pods").map(|pods| pods.0);
                check(pods.as_deref().is_some_and(|pods| pods != WRONG), &pods)
            }
            Scene::Refuses => {
                let pod = test.pods().get(POD).await.map_err(word)?;
                check(phase(&pod) == "Failed", &pod.status)
            }
            Scene::Leaves => {
                let node = test.nodes().get_opt(&name).await.map_err(word)?;
                check(node.is_none(), &"the node is there")
            }
            Scene::LeavesNoLease => {
                let lease = test.leases().get_opt(&name).await.map_err(word)?;
                check(lease.is_none(), &"the lease is there")
            }
            Scene::Renews => {
                let spec = test.leases().get(&name).await.map_err(word)?.spec.unwrap();
                check(spec.renew_time > spec.acquire_time, &spec)
            }
            Scene::Runs(_) | Scene::Rereads(_) | Scene::Certifies | Scene::CertifiesPlainly => {
                let pod = test.pods().get(POD).await.map_err(word)?;
                check(is_running(&pod), &pod.status)
            }
            Scene::LetsGo => {
                let pod = test.pods().get_opt(POD).await.map_err(word)?;
                check(pod.is_none(), &"the pod is there")
            }
            Scene::Tells | Scene::Counts => {
                let most = test.events().await.iter().filter_map(|event| event.count).max();
                // The first few may have come together, before anything was told of them.
                let wanted = if scene == Scene::Counts { 5 } else { 1 };
                check(most >= Some(wanted), &most)
            }
            Scene::Follows(reference) => {
                let shown = look(test, POD).await?;
                let text = shown.text("v0/k");
                match reference {
                    Reference::Bundle => check(text.is_some_and(|text| text.matches("BEGIN").count() == 2), &text),
                    _ => check(text == Some(AFTER), &text),
                }
            }
            Scene::TellsServices => {
                // A pod knows the Services that were there when it came.
                let unique: String = std::iter::repeat_with(fastrand::lowercase).take(5).collect();
                test.create(self.pod(&unique, json!([]), json!({}))).await;
                test.running(&unique).await;
                let shown = look(test, &unique).await?;
                check(
                    shown.env("LATE_SERVICE_HOST").is_some(),
                    &"its environment has no such Service",
                )
            }
            Scene::Serves => {
                let authority = test.cluster.kubelet_client_ca.as_ref().unwrap();
                verified_certificate(self.address().await, authority).await.map(drop)
            }
            Scene::Identifies => check(self.host.log().contains("cluster identified"), &"it does not say so"),
            Scene::Authenticates => {
                let answer = Caller::with_token(&self.token)
                    .ask(self.address().await, "GET", "/pods", &[])
                    .await;
                // Known, and with no right to look at pods.
                check(answer.status == 403, &answer)
            }
            Scene::Authorizes => {
                let (certificate, key) = test.cluster.kubelet_client.as_ref().unwrap();
                let read = |path: &Path| std::fs::read_to_string(path).unwrap();
                let caller = Caller::with_certificate(&read(certificate), &read(key));
                let answer = caller.ask(self.address().await, "GET", "/pods", &[]).await;
                check(answer.status == 200, &answer)
            }
        }
    }

    /// Waits long enough for a host that may all to have done it by then: by its next renewal of the node's lease, which
    /// comes within ten seconds, where everything else comes at once.
    pub async fn until_the_next_renewal(&self) {
        let leases = self.test.leases();
        let renewed = || async {
            let lease = leases.get(&self.test.node()).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(lease.spec.unwrap().renew_time)
        };
        let before = renewed().await.unwrap();
        eventually(SOON, "the lease is renewed", || async {
            let now = renewed().await?;
            if now > before { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    }

    /// All that an operator can read: the host's log and the events of its pods.
    pub async fn told(&self) -> String {
        // Texts in a log are quoted now and then.
        let mut text = self.host.log().replace("\\\"", "\"");
        for event in self.test.events().await {
            let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
            text.push_str(&format!("event {reason}: {message}\n"));
        }
        text
    }

    async fn run(&self, reference: Reference) {
        let volumes = volumes(&self.test, reference, 1);
        self.test.create(self.pod(POD, volumes, spec(reference))).await;
        self.test.running(POD).await;
    }

    /// A pod without a token, unless `rest` wants one, that shows what it was given.
    fn pod(&self, name: &str, volumes: Value, rest: Value) -> Value {
        let mut spec = json!({ "automountServiceAccountToken": false, "volumes": volumes });
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let metadata = json!({ "annotations": { "mock.outrigger.dev/showMaterials": "true" } });
        self.test.pod(name, json!({ "metadata": metadata, "spec": spec }))
    }

    /// Makes an object of that kind with this content, or changes it.
    async fn put(&self, reference: Reference, name: &str, content: &str) {
        let client = self.test.client.clone();
        let metadata = json!({ "name": name });
        match reference {
            Reference::Nothing | Reference::Token => {}
            Reference::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(client, &self.test.id);
                apply(&api, name, json!({ "metadata": metadata, "data": { "k": content } })).await;
            }
            Reference::Secret => {
                let api: Api<Secret> = Api::namespaced(client, &self.test.id);
                apply(
                    &api,
                    name,
                    json!({ "metadata": metadata, "stringData": { "k": content } }),
                )
                .await;
            }
            Reference::Bundle => {
                let count = if content == AFTER { 2 } else { 1 };
                let anchors: String = std::iter::repeat_with(|| authority().0).take(count).collect();
                let namespaces: Api<Namespace> = Api::all(client.clone());
                let uid = namespaces.get(&self.test.id).await.unwrap().metadata.uid;
                // It has no namespace, and goes with the test's all the same.
                let owner = json!({ "apiVersion": "v1", "kind": "Namespace", "name": self.test.id, "uid": uid });
                let metadata = json!({ "name": self.test.id, "ownerReferences": [owner] });
                let api: Api<DynamicObject> = Api::all_with(client, &self.api(BUNDLES).await);
                let bundle = json!({ "metadata": metadata, "spec": { "trustBundle": anchors } });
                apply(&api, &self.test.id, bundle).await;
            }
        }
    }

    /// The garbage collector takes a lease whose node is gone, unless it has another owner, too.
    async fn keep_lease(&self) {
        let namespaces: Api<Namespace> = Api::all(self.test.client.clone());
        let uid = namespaces.get(&self.test.id).await.unwrap().metadata.uid;
        let owner = json!({ "apiVersion": "v1", "kind": "Namespace", "name": self.test.id, "uid": uid });
        let leases = self.test.leases();
        eventually(SOON, "the lease has one more owner", || async {
            let word = |error: kube::Error| error.to_string();
            let mut lease = leases.get(&self.test.node()).await.map_err(word)?;
            let owners = lease.metadata.owner_references.get_or_insert_default();
            if !owners.iter().any(|owner| owner.kind == "Node") {
                return Err("the node does not own it yet".to_owned());
            }
            owners.push(object(owner.clone()));
            let replaced = leases.replace(&self.test.node(), &PostParams::default(), &lease).await;
            replaced.map(drop).map_err(word)
        })
        .await;
    }

    async fn api(&self, (kind, plural): (&str, &str)) -> ApiResource {
        certificates_api(&self.test, kind, plural).await.unwrap()
    }

    async fn address(&self) -> SocketAddr {
        let node = self.test.node_ready(&self.test.node()).await;
        let endpoint = node.status.unwrap().daemon_endpoints.unwrap().kubelet_endpoint.unwrap();
        SocketAddr::new(self.test.cluster.host_address, endpoint.port.try_into().unwrap())
    }
}

/// More pods than any node here takes.
const WRONG: &str = "4321";

fn spec(reference: Reference) -> Value {
    json!({ "automountServiceAccountToken": reference == Reference::Token })
}

/// Volumes `v0`, `v1`, ... of so many objects, each with one file `k`.
fn volumes(test: &Test, reference: Reference, count: usize) -> Value {
    let volume = |number: usize| {
        let name = if count == 1 {
            "m".to_owned()
        } else {
            format!("m{number}")
        };
        let source = match reference {
            Reference::Nothing | Reference::Token => return None,
            Reference::ConfigMap => json!({ "configMap": { "name": name } }),
            Reference::Secret => json!({ "secret": { "secretName": name } }),
            Reference::Bundle => json!({ "projected": { "sources": [
                { "clusterTrustBundle": { "name": test.id, "path": "k" } },
            ]}}),
        };
        let mut volume = json!({ "name": format!("v{number}") });
        volume
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        Some(volume)
    };
    (0..count).filter_map(volume).collect()
}

/// Creates an object, or changes the one of that name.
async fn apply<K>(api: &Api<K>, name: &str, whole: Value)
where
    K: Clone + serde::de::DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    match api.create(&PostParams::default(), &object(whole.clone())).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            api.patch(name, &PatchParams::default(), &Patch::Merge(whole))
                .await
                .unwrap();
        }
        made => drop(made.unwrap()),
    }
}
