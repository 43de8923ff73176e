//! The way to the API server: one request, one answer, over a stack that can be replaced while it is in use.

use super::{
    outage::{Outage, Returns},
    raw::{ApiError, chain},
    trunk::Trunk,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use kube::client::Body;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{BoxError, Service, ServiceExt};

/// The body of an answer as it arrives; it fails with [`ApiError::Transport`].
pub type Incoming = UnsyncBoxBody<Bytes, ApiError>;

/// Sends requests to the API server. Cheap to clone; clones share their connections and what
/// [`replace`](Self::replace) gives them.
///
/// kube's own client is not used: a worker task between caller and connection costs each request two wake-ups, and what
/// it was built with it keeps for good.
#[derive(Clone)]
pub struct Client {
    stack: Arc<ArcSwap<Box<dyn Stack>>>,
    trunk: Option<Trunk>,
    turns: Option<Arc<Semaphore>>,
    outage: Option<Outage>,
}

impl Client {
    /// A client over an HTTP service.
    pub fn new<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            stack: Arc::new(ArcSwap::from_pointee(Box::new(Over(service)))),
            trunk: None,
            turns: None,
            outage: None,
        }
    }

    /// The same client, for so many exchanges at a time: each has a connection of its own. The others wait in line.
    pub(super) fn limited(self, exchanges: usize) -> Self {
        Self {
            turns: Some(Arc::new(Semaphore::new(exchanges))),
            ..self
        }
    }

    /// The same client, which tells of its failures there, and waits no longer than that says.
    pub(super) fn within(self, outage: &Outage) -> Self {
        Self {
            outage: Some(outage.clone()),
            ..self
        }
    }

    /// Notes that a request had no answer in time.
    pub(super) fn unanswered(&self) {
        if let Some(outage) = &self.outage {
            outage.note(None);
        }
    }

    /// Tells when the API server is back after it was away.
    pub fn returns(&self) -> Returns {
        self.outage.as_ref().map_or_else(Returns::never, Outage::returns)
    }

    /// Waits before something is tried again: for `delay`, or until the API server is back from an outage if that is
    /// sooner, but not less than `least`, which is what the server asked for.
    ///
    /// Cancel safe.
    pub async fn pause(&self, least: Duration, delay: Duration) {
        match &self.outage {
            Some(outage) => outage.pause(least, delay).await,
            None => tokio::time::sleep(delay.max(least)).await,
        }
    }

    /// Waits for one's turn, which lasts until what is returned is dropped.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it, and without a limit it is everybody's turn.
        self.turns.clone()?.acquire_owned().await.ok()
    }

    /// The same client, whose requests travel on that connection.
    pub(super) fn via(&self, trunk: Trunk) -> Self {
        Self {
            trunk: Some(trunk),
            ..self.clone()
        }
    }

    /// Lets requests from now on go the way of another client. Those under way, watches too, end on the old one.
    pub fn replace(&self, other: &Self) {
        self.stack.store(other.stack.load_full());
    }

    /// Sends a request; its answer's body is still to be read.
    ///
    /// # Errors
    /// [`ApiError::Transport`] when there is no answer: no connection, it broke, or credentials could not be had.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>, ApiError> {
        if let Some(trunk) = self.trunk {
            request.extensions_mut().insert(trunk);
        }
        let answer = self.stack.load().send(request);
        let answer = answer.await;
        if let Some(outage) = &self.outage {
            outage.note(answer.as_ref().ok().map(Response::status));
        }
        answer.map_err(|error| ApiError::Transport(chain(error.as_ref())))
    }
}

/// A service without its type.
trait Stack: Send + Sync {
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Incoming>, BoxError>>;
}

struct Over<S>(S);

impl<S, B> Stack for Over<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn send(&self, request: Request<Body>) -> BoxFuture<'static, Result<Response<Incoming>, BoxError>> {
        let answer = self.0.clone().oneshot(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into)?;
            let broken = |error: B::Error| ApiError::Transport(chain(error.into().as_ref()));
            Ok(answer.map(|body| body.map_err(broken).boxed_unsync()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &'static str) -> Client {
        Client::new(tower::service_fn(move |_: Request<Body>| async move {
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(text.as_bytes().to_vec())))
        }))
    }

    async fn ask(client: &Client) -> Vec<u8> {
        let answer = client.send(Request::new(Body::empty())).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_replaced_stack_counts_for_all_clones() {
        let (first, second) = (client("first"), client("second"));
        let clone = first.clone();
        assert_eq!(ask(&clone).await, b"first");
        first.replace(&second);
        assert_eq!(ask(&clone).await, b"second");
    }

    #[tokio::test]
    async fn exchanges_above_the_limit_wait_for_their_turn() {
        let client = client("x").limited(2);
        let (first, _second) = (client.turn().await, client.clone().turn().await);
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, client.turn()).await.is_err());
        drop(first);
        assert!(client.turn().await.is_some());
    }

    #[tokio::test]
    async fn a_failure_is_told_with_its_causes() {
        let client = Client::new(tower::service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, _>(std::io::Error::other("the wire is cut"))
        }));
        let error = client.send(Request::new(Body::empty())).await.unwrap_err();
        assert_eq!(error.class(), "transport");
        assert!(error.to_string().ends_with("the wire is cut"), "{error}");
    }
}
