//! The protocols that carry `kubectl exec`, `attach`, `cp` and `port-forward` between a Kubernetes API server and a kubelet,
//! server and client side, over any byte stream. Nothing here knows Kubernetes' objects or this project's host.
//!
//! Two layers. Below, many byte streams over one connection:
//!
//! - [`spdy`]: SPDY/3.1 as Kubernetes speaks it, the protocol that every API server uses towards kubelets.

//! - [`websocket`]: channels, or one stream of bytes, in the messages of a WebSocket.
//!
//! Above, what the streams are for. Each begins with an HTTP request that is [negotiated](upgrade), and comes with a client:
//!
//! - [`remotecommand`]: `exec` and `attach`.
//! - [`portforward`].

pub mod portforward;
pub mod remotecommand;
pub mod spdy;
#[cfg(test)]
mod testing;
mod text;
pub mod upgrade;
pub mod websocket;
