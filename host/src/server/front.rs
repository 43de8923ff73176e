//! Who answers what comes to a port: the one node that it belongs to, or one of several that share it.
//!
//! On a shared port a path that begins with `/nodes/NAME` is that node's, and goes on as on a port of its own. What names a
//! pod belongs to the pod's node: a pod's namespace and name are unique in a cluster, so an API server, which knows nothing
//! of such paths, finds logs and sessions all the same, once it is known who asks. What is left (`/pods`, statistics, metrics) could be anybody's and is
//! refused; the metrics-server finds its path in the Node's annotation `metrics.k8s.io/resource-metrics-path`.

use super::access::clean;
use super::answer::Answer;
use super::answer::text;
use super::backend::BoxFuture;
use super::connection::Line;
use super::query;
use super::route::Route;
use super::service::Service;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use std::collections::HashMap;
use std::sync::Arc;

/// Knows the nodes of pods.
pub trait Whereabouts: Send + Sync + 'static {
    /// The name of the node that a pod is on, if it is on one of this host.
    fn node_of<'a>(&'a self, namespace: &'a str, pod: &'a str) -> BoxFuture<'a, Option<String>>;
}

/// The nodes behind a port.
pub(super) enum Front {
    One(Arc<Service>),
    Several(Several),
}

/// Nodes that share a port.
pub(super) struct Several {
    /// Answers, and asks who calls, where no node is named.
    first: Arc<Service>,
    nodes: HashMap<String, Arc<Service>>,
    whereabouts: Arc<dyn Whereabouts>,
}

impl Front {
    /// For the log.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::One(service) => service.node(),
            Self::Several(_) => "(shared)",
        }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, line: &Arc<Line>) -> Answer {
        match self {
            Self::One(service) => service.answer(request, line).await,
            Self::Several(several) => several.answer(request, line).await,
        }
    }
}

/// A path that no node has.
const NOWHERE: &str = "/nodes";

/// Where a request goes.
enum Way<'a> {
    /// To this node, as it is.
    Straight(&'a Arc<Service>),
    /// To this node, by this path.
    By(&'a Arc<Service>, String),
    /// To the node of the pod that the path goes on with.
    Pod(&'a str),
    /// To none: the path needs a node.
    Nowhere,
}

impl Several {
    /// `None` without a node.
    pub(super) fn new(services: Vec<Arc<Service>>, whereabouts: Arc<dyn Whereabouts>) -> Option<Self> {
        let first = Arc::clone(services.first()?);
        let by_name = |service: Arc<Service>| (service.node().to_owned(), service);
        Some(Self {
            first,
            nodes: services.into_iter().map(by_name).collect(),
            whereabouts,
        })
    }

    async fn answer(&self, mut request: Request<Incoming>, line: &Arc<Line>) -> Answer {
        let path = clean(request.uri().path()).into_owned();
        let way = self.way(&path);
        let asked = match &way {
            Way::Straight(service) | Way::By(service, _) => service,
            Way::Pod(_) | Way::Nowhere => &self.first,
        };
        let caller = asked.caller(request.headers(), line).await;
        let (service, other) = match way {
            Way::Straight(service) => (service, None),
            Way::By(service, path) => (service, Some(path)),
            // Where pods are is not looked up for strangers.
            Way::Pod(rest) if caller.is_ok() => (self.of_pod(rest).await.unwrap_or(&self.first), None),
            Way::Pod(_) => (&self.first, None),
            // Whether the caller may know of it is asked first.
            Way::Nowhere => (&self.first, Some(NOWHERE.to_owned())),
        };
        let nowhere = other.as_deref() == Some(NOWHERE);
        if let Some(uri) = other.and_then(|other| at(request.uri(), &other)) {
            *request.uri_mut() = uri;
        }
        let answer = service.answer_to(caller, request, line).await;
        if nowhere && answer.status() == StatusCode::NOT_FOUND {
            let hint = format!("this port serves several nodes: ask for /nodes/NAME{path}\n");
            return text(StatusCode::NOT_FOUND, hint);
        }
        answer
    }

    fn way<'a>(&'a self, path: &'a str) -> Way<'a> {
        if let Some(rest) = path.strip_prefix("/nodes/") {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            return match self.nodes.get(name) {
                Some(service) => Way::By(service, format!("/{rest}")),
                // There is no such path on any node, so it is unknown there.
                None => Way::Straight(&self.first),
            };
        }
        match Route::of(path) {
            Some(
                Route::Logs { rest }
                | Route::Exec { rest }
                | Route::Attach { rest }
                | Route::PortForward { rest }
                | Route::Run { rest },
            ) => Way::Pod(rest),
            Some(Route::Healthz { .. }) | None => Way::Straight(&self.first),
            Some(_) => Way::Nowhere,
        }
    }

    /// The node of the pod that a path goes on with.
    async fn of_pod(&self, rest: &str) -> Option<&Arc<Service>> {
        let mut parts = rest.split('/').map(query::decode);
        let (namespace, pod) = (parts.next()??, parts.next()??);
        let node = self.whereabouts.node_of(&namespace, &pod).await?;
        self.nodes.get(&node)
    }
}

/// The same with another path, which keeps the query.
fn at(uri: &Uri, path: &str) -> Option<Uri> {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_moves_with_its_query() {
        for (from, path, to) in [
            ("/nodes/a/pods", "/pods", "/pods"),
            ("/nodes/a/x?y=z%20", "/x", "/x?y=z%20"),
            ("https://host/nodes/a/x?y", "/x", "https://host/x?y"),
        ] {
            assert_eq!(at(&from.parse().unwrap(), path).unwrap().to_string(), to);
        }
    }
}
