//! `/portForward`: connections of a client, each to a port of a pod.

use super::Owner;
use super::Refused;
use super::Target;
use super::can_upgrade;
use super::either;
use super::failed;
use super::named;
use super::offer;
use super::refused;
use super::upgrade;
use crate::server::answer::Answer;
use crate::server::backend::Duplex;
use crate::server::backend::Feature;
use crate::server::backend::Forwarded;
use crate::server::connection::Line;
use crate::server::service::Service;
use http::Request;
use hyper::body::Incoming;
use outrigger_plugin::PodIdentity;
use outrigger_plugin::PortForwardRequest;
use outrigger_plugin::ProviderError;
use outrigger_streaming::portforward;
use outrigger_streaming::portforward::Connect;
use outrigger_streaming::portforward::Limits;
use std::sync::Arc;

/// `/portForward/{namespace}/{pod}[/{uid}]`
pub(in crate::server) async fn port_forward(
    service: &Arc<Service>,
    rest: &str,
    request: Request<Incoming>,
    line: &Arc<Line>,
) -> Answer {
    either(try_port_forward(service, rest, request, line).await)
}

async fn try_port_forward(
    service: &Arc<Service>,
    rest: &str,
    request: Request<Incoming>,
    line: &Arc<Line>,
) -> Result<Answer, Refused> {
    let target = named(Target::of_pod(rest))?;
    let view = target.find(service).await?;
    service.backend.offers(Feature::PortForward).map_err(failed)?;
    can_upgrade(&request)?;
    let agreed = portforward::negotiate(request.method(), request.headers(), offer(service)).map_err(refused)?;
    let protocol = agreed.protocol;
    let ports = match protocol.needs_ports() {
        true => portforward::ports_from_query(request.uri().query().unwrap_or_default()).map_err(refused)?,
        false => Vec::new(),
    };
    let owner = Owner {
        service: Arc::clone(service),
        line: Arc::clone(line),
    };
    let of = (&**service, &**line, "portforward");
    Ok(upgrade(request, agreed.response, of, move |io| async move {
        let Owner { service, line } = owner;
        let limits = Limits::default();
        let pod = Arc::new(Pod {
            service: Arc::clone(&service),
            identity: view.identity,
        });
        let gone = async {
            line.socket.closed().await;
            // What it sent before is handed on if that goes without it.
            tokio::time::sleep(limits.grace * 2).await;
        };
        tokio::select! {
            served = portforward::serve(io, protocol, ports, pod, limits) => if let Err(error) = served {
                let error = crate::server::report(&error);
                tracing::debug!(node = service.node(), error, "a port-forward ended early");
            },
            () = gone => {}
            () = line.ending() => {}
        }
    }))
}

/// The pod to whose ports a client connects.
struct Pod {
    service: Arc<Service>,
    identity: PodIdentity,
}

impl Connect for Pod {
    type Io = Box<dyn Duplex>;

    async fn connect(&self, port: u16) -> Result<portforward::Target<Self::Io>, String> {
        let request = PortForwardRequest {
            identity: self.identity.clone(),
            port,
        };
        let PodIdentity { name, uid, .. } = self.identity.clone();
        let told = move |error: ProviderError| {
            tracing::debug!(pod = name, uid, port, %error, "a forwarded connection failed at the provider");
            format!(
                "error forwarding port {port} to pod {name}, uid {uid}: {}",
                error.message
            )
        };
        match self.service.backend.port_forward(&request) {
            Ok(Forwarded { io, outcome }) => Ok(portforward::Target {
                io,
                outcome: Box::pin(async move { outcome.await.map_err(told) }),
            }),
            Err(error) => Err(told(error)),
        }
    }
}
