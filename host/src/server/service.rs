//! How a node answers requests: who may not call is refused before anything of the request is looked at.

use super::Config;
use super::access::Access;
use super::access::Denial;
use super::access::User;
use super::access::clean;
use super::answer::Answer;
use super::answer::holding;
use super::answer::not_found;
use super::answer::text;
use super::backend::Backend;
use super::configz;
use super::connection::Line;
use super::connection::Room;
use super::health;
use super::logs;
use super::measure::Measures;
use super::pods;
use super::route::Route;
use super::session;
use super::stats;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::Version;
use http::header;
use hyper::body::Incoming;
use outrigger_plugin::Timestamp;
use std::sync::Arc;

/// The endpoints of one node.
pub(super) struct Service {
    pub(super) node: String,
    access: Arc<Access>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) measures: Measures,
    pub(super) settings: Arc<configz::Settings>,
    /// The kubelet port.
    pub(super) port: u16,
    /// Since when the node is served.
    pub(super) started: Timestamp,
}

impl Service {
    pub(super) fn new(config: Config, port: u16, backend: Arc<dyn Backend>) -> Self {
        Self {
            measures: Measures::new(&config.node),
            node: config.node,
            access: config.access,
            backend,
            settings: config.settings,
            port,
            started: Timestamp::now(),
        }
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Answers one request that came by `line`.
    pub(super) async fn answer(self: &Arc<Self>, request: Request<Incoming>, line: &Arc<Line>) -> Answer {
        let caller = self.caller(request.headers(), line).await;
        self.answer_to(caller, request, line).await
    }

    /// Who sends a request with these headers by `line`.
    pub(super) async fn caller(&self, headers: &HeaderMap, line: &Line) -> Result<User, Denial> {
        self.access.authenticate(&self.node, &line.chain, headers).await
    }

    /// Answers one request of somebody whom [`caller`](Self::caller) has found, or not.
    pub(super) async fn answer_to(
        self: &Arc<Self>,
        caller: Result<User, Denial>,
        request: Request<Incoming>,
        line: &Arc<Line>,
    ) -> Answer {
        let version = request.version();
        let (head, body) = request.into_parts();
        let admitted = match caller {
            Ok(user) => self.access.authorize(&self.node, &user, &head).await,
            Err(denial) => Err(denial),
        };
        let request = Request::from_parts(head, body);
        let mut answer = match admitted {
            Ok(()) if line.room == Room::Full => text(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n"),
            Ok(()) => {
                // It is under way until the last of its answer is.
                let under_way = line.activity.begin();
                return holding(self.measured(request, line).await, under_way);
            }
            Err(denial) => denial.answer(),
        };
        // Whoever is not served gives its place to others.
        line.activity.refuse();
        if version < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }

    async fn measured(self: &Arc<Self>, request: Request<Incoming>, line: &Arc<Line>) -> Answer {
        let path = clean(request.uri().path()).into_owned();
        let route = Route::of(&path);
        let running = self.measures.begin(request.method(), route);
        let answer = match route {
            None => not_found(),
            Some(route) if !route.takes(request.method()) => method_not_allowed(route),
            Some(route) => self.dispatch(route, request, line).await,
        };
        // An upgrade has no body: its session counts for itself.
        holding(answer, running)
    }

    async fn dispatch(self: &Arc<Self>, route: Route<'_>, request: Request<Incoming>, line: &Arc<Line>) -> Answer {
        let (backend, query) = (self.backend.as_ref(), request.uri().query());
        match route {
            Route::Healthz { check } => health::answer(backend, check, query).await,
            Route::Pods => pods::all(backend).await,
            Route::RunningPods => pods::running(backend, &self.node).await,
            Route::Logs { rest } => {
                line.is_watched();
                logs::answer(backend, rest, query).await
            }
            Route::Summary => stats::summary(self).await,
            Route::ResourceMetrics => stats::resource(self).await,
            Route::CadvisorMetrics => stats::cadvisor(self).await,
            Route::ProbeMetrics => self.measures.probes(request.headers()),
            Route::Metrics => self.measures.all(self, request.headers()).await,
            Route::Configz => configz::answer(self),
            Route::Checkpoint => text(
                StatusCode::NOT_IMPLEMENTED,
                "this node makes no checkpoints of containers\n",
            ),
            Route::Exec { rest } => session::exec(self, rest, request, line).await,
            Route::Attach { rest } => session::attach(self, rest, request, line).await,
            Route::PortForward { rest } => session::port_forward(self, rest, request, line).await,
            Route::Run { rest } => session::run(self, rest, query.unwrap_or_default()).await,
        }
    }
}

fn method_not_allowed(route: Route<'_>) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    let allowed = HeaderValue::from_static(route.allowed());
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}
