//! What begins as a request and goes on as streams: exec, attach and port-forward; and `/run`, which is an exec without
//! them.
//!
//! Whatever can be found out without starting anything is checked before the upgrade and answered as HTTP; the process
//! is started when all of the client's streams are there, and what happens from then on is told on its error stream.

mod forward;
mod process;
mod pump;
mod run;

pub(super) use forward::port_forward;
pub(super) use process::attach;
pub(super) use process::exec;
pub(super) use run::run;

use super::answer::Answer;
use super::answer::failure;
use super::answer::not_found;
use super::answer::text;
use super::backend::PodView;
use super::connection::Line;
use super::query;
use super::service::Service;
use super::status::Pod;
use bytes::Bytes;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Version;
use http_body_util::BodyExt;
use http_body_util::Empty;
use hyper::body::Body;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use outrigger_plugin::ProviderError;
use outrigger_streaming::remotecommand::Offer;
use outrigger_streaming::remotecommand::Refusal;
use std::convert::Infallible;
use std::sync::Arc;

/// The answer to what is not done. Boxed, since it goes through many hands.
type Refused = Box<Answer>;

/// An upgraded connection.
type Io = TokioIo<Upgraded>;

/// Which pod, and where it is of one which container, a path names.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    namespace: String,
    pod: String,
    /// Only old tools name it; the API server never does.
    uid: Option<String>,
    /// Empty for a port-forward.
    container: String,
}

impl Target {
    /// Reads `{namespace}/{pod}[/{uid}]/{container}`.
    fn of_container(rest: &str) -> Option<Self> {
        let (target, container) = rest.rsplit_once('/')?;
        let container = query::decode(container).filter(|name| !name.is_empty())?;
        Some(Self {
            container,
            ..Self::of_pod(target)?
        })
    }

    /// Reads `{namespace}/{pod}[/{uid}]`.
    fn of_pod(rest: &str) -> Option<Self> {
        let parts: Option<Vec<String>> = rest.split('/').map(query::decode).collect();
        let mut parts = parts?;
        if parts.iter().any(String::is_empty) || !(2..=3).contains(&parts.len()) {
            return None;
        }
        let uid = parts.drain(2..).next();
        let [namespace, pod] = <[String; 2]>::try_from(parts).ok()?;
        Some(Self {
            namespace,
            pod,
            uid,
            container: String::new(),
        })
    }

    /// The pod, if it is there.
    async fn find(&self, service: &Service) -> Result<PodView, Refused> {
        let found = service.backend.find(&self.namespace, &self.pod).await;
        let is_it = |view: &PodView| self.uid.as_ref().is_none_or(|uid| view.identity.uid == *uid);
        found
            .filter(is_it)
            .ok_or_else(|| text(StatusCode::NOT_FOUND, "pod does not exist").into())
    }

    /// The pod, if the container runs in it.
    async fn find_running(&self, service: &Service) -> Result<PodView, Refused> {
        let view = self.find(service).await?;
        let running = Pod::read(&view.raw).is_ok_and(|pod| pod.runs(&self.container));
        match running {
            true => Ok(view),
            false => {
                // A kubelet's code for it, though the pod is a 404.
                let message = format!("container not found ({:?})", self.container);
                Err(text(StatusCode::INTERNAL_SERVER_ERROR, message).into())
            }
        }
    }
}

/// Whether the connection of a request can become something else.
fn can_upgrade(request: &Request<Incoming>) -> Result<(), Refused> {
    let refuse = |why: &'static str| Err(text(StatusCode::BAD_REQUEST, why).into());
    if request.version() != Version::HTTP_11 {
        return refuse("unable to upgrade: this needs HTTP/1.1\n");
    }
    if !request.body().is_end_stream() {
        return refuse("unable to upgrade: the request must have no body\n");
    }
    Ok(())
}

/// Answers 101, and runs `session` on what the connection is then.
fn upgrade<F: Future<Output = ()> + Send + 'static>(
    mut request: Request<Incoming>,
    response: Response<()>,
    (service, line, kind): (&Service, &Line, &'static str),
    session: impl FnOnce(Io) -> F + Send + 'static,
) -> Answer {
    let upgraded = hyper::upgrade::on(&mut request);
    let running = service.measures.begin_session(kind);
    line.is_watched();
    line.spawn(async move {
        let _running = running;
        match upgraded.await {
            Ok(io) => session(TokioIo::new(io)).await,
            Err(error) => tracing::debug!(kind, %error, "the client left before its session began"),
        }
    });
    response.map(|()| {
        let never = |never: Infallible| match never {};
        Empty::<Bytes>::new().map_err(never).boxed_unsync()
    })
}

fn refused(refusal: Refusal) -> Refused {
    let response: Response<String> = refusal.into();
    let (head, body) = response.into_parts();
    let mut answer = text(head.status, body);
    answer.headers_mut().extend(head.headers);
    answer.into()
}

/// The answer to what the provider does not do.
fn failed(error: ProviderError) -> Refused {
    failure(&error).into()
}

/// What an API server may ask for.
fn offer(service: &Service) -> Offer {
    Offer {
        extended: service.settings.kubelet.extend_web_sockets,
    }
}

/// The answer of a result that has one either way.
fn either(answered: Result<Answer, Refused>) -> Answer {
    answered.unwrap_or_else(|refusal| *refusal)
}

/// The target of a path, else the answer to one that names none.
fn named(target: Option<Target>) -> Result<Target, Refused> {
    target.ok_or_else(|| not_found().into())
}

/// What a session keeps of its server.
struct Owner {
    service: Arc<Service>,
    line: Arc<Line>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_pods_and_containers() {
        let target = |uid: Option<&str>, container: &str| Target {
            namespace: "ns".into(),
            pod: "web".into(),
            uid: uid.map(Into::into),
            container: container.into(),
        };
        assert_eq!(Target::of_container("ns/web/app"), Some(target(None, "app")));
        assert_eq!(Target::of_container("ns/web/u-1/app"), Some(target(Some("u-1"), "app")));
        assert_eq!(Target::of_container("ns/web/%61pp"), Some(target(None, "app")));
        assert_eq!(Target::of_pod("ns/web"), Some(target(None, "")));
        assert_eq!(Target::of_pod("ns/web/u-1"), Some(target(Some("u-1"), "")));
        for bad in [
            "",
            "ns",
            "ns/web",
            "ns/web/",
            "ns//app",
            "/web/app",
            "a/b/c/d/e",
            "ns/web/%zz",
        ] {
            assert_eq!(Target::of_container(bad), None, "{bad}");
        }
        for bad in ["", "ns", "ns/", "/web", "a/b/c/d", "ns/web/"] {
            assert_eq!(Target::of_pod(bad), None, "{bad}");
        }
    }
}
