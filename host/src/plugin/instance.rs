//! One running instance of a plugin: its handle, and the calls made to it.

use super::StartFault;
use super::calls::Outcome;
use super::forward;
use super::image::Image;
use super::services;
use super::services::HostEnd;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ProviderError;
use outrigger_plugin::Support;
use outrigger_plugin::request::StartReply;
use outrigger_plugin::request::StartRequest;
use outrigger_wire::CallHeader;
use outrigger_wire::RSlice;
use outrigger_wire::code;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;

/// An operation of the plugin's root table, or of a capability without streams.
pub type Operation = for<'a> extern "C" fn(u64, CallHeader, RSlice<'a, u8>) -> u32;

/// An instance of a plugin. It is released when it is given up, at the latest when it is dropped; what it logs is heard
/// until it has been released.
pub struct Instance {
    /// The code that it runs.
    pub image: &'static Image,
    /// What it may reach of the host.
    pub end: Arc<HostEnd>,
    /// Counts the instances of a provider.
    pub epoch: u64,
    /// Pings in a row that got no answer.
    silence: Mutex<Silence>,
    /// Its number in the plugin.
    handle: u64,
    released: AtomicBool,
}

/// Pings in a row without an answer.
#[derive(Default)]
struct Silence {
    pings: u32,
    /// When the last of them was given up.
    last: Option<Instant>,
}

/// A call that has been accepted. Dropping it, or its time running out, cancels the call in the plugin.
pub struct Waiting {
    instance: Arc<Instance>,
    call: u64,
    receiver: oneshot::Receiver<Outcome>,
    /// `None`: without limit.
    deadline: Option<Instant>,
    limit: Duration,
}

/// How the wait for a call ended.
pub enum Ended {
    /// The plugin answered, or the host gave the instance up.
    Answered(Outcome),
    /// Time ran out; the error says so.
    Silent(ProviderError),
}

impl Ended {
    /// The outcome, whoever made it.
    pub fn into_outcome(self) -> Outcome {
        match self {
            Self::Answered(outcome) => outcome,
            Self::Silent(error) => Err(error),
        }
    }
}

impl Instance {
    /// Makes an instance and waits until it has started; gives it up when it has not within `limit`.
    pub async fn start(
        image: &'static Image,
        end: Arc<HostEnd>,
        epoch: u64,
        config: &serde_json::Value,
        limit: Duration,
    ) -> Result<(Arc<Self>, Support), StartFault> {
        let deadline = Instant::now() + limit;
        (image.root.set_log_level())(forward::level());
        let request = StartRequest {
            config: config.clone(),
            provider: end.provider.to_string(),
        };
        let body = serde_json::to_vec(&request).map_err(|error| {
            StartFault::Refused(ProviderError::internal("unable to encode provider config").with_source(error))
        })?;
        let (call, receiver) = end.calls.begin().ok_or(StartFault::Ending)?;
        let header = header(call, limit);
        // On a thread that may wait: this makes threads, and a plugin that was not made with the SDK might block.
        let making = tokio::task::spawn_blocking(move || {
            let handle = (image.root.create())(services::table(), end.handle(), header, RSlice::from_slice(&body));
            Self {
                image,
                end,
                epoch,
                silence: Mutex::default(),
                handle,
                released: AtomicBool::new(handle == 0),
            }
        });
        let made = tokio::time::timeout_at(deadline, making).await;
        let instance = Arc::new(
            made.map_err(|_| StartFault::Hung(limit))?
                .map_err(|_| StartFault::Ending)?,
        );
        if instance.handle == 0 {
            return Err(StartFault::NoInstance);
        }
        let waiting = Waiting {
            instance: instance.clone(),
            call,
            receiver,
            deadline: Some(deadline),
            limit,
        };
        let reply = match waiting.ended().await {
            Ended::Answered(Ok(reply)) => reply,
            Ended::Answered(Err(error)) => {
                instance.give_up(&error);
                return Err(match error.code {
                    ErrorCode::Panicked => StartFault::Panicked(error.message),
                    _ => StartFault::Refused(error),
                });
            }
            Ended::Silent(error) => {
                instance.give_up(&error);
                return Err(StartFault::Hung(limit));
            }
        };
        let reply: StartReply = serde_json::from_slice(&reply).map_err(|error| {
            StartFault::Refused(ProviderError::internal("unable to read the start's reply").with_source(error))
        })?;
        Ok((instance, reply.support))
    }

    /// Begins a call: `start` hands it to the plugin, which must not block.
    pub fn begin(
        self: &Arc<Self>,
        limit: Duration,
        start: impl FnOnce(u64, CallHeader) -> u32,
    ) -> Result<Waiting, ProviderError> {
        let gone = || ProviderError::unavailable("the provider's instance was given up");
        let (call, receiver) = self.end.calls.begin().ok_or_else(gone)?;
        let accepted = start(self.handle, header(call, limit));
        // Whatever the refusal's code is, it speaks of the instance: taken for an answer, "not found" would be a pod
        // that vanished.
        if accepted != code::OK && self.end.calls.forget(call) {
            return Err(match accepted {
                code::PANICKED => {
                    let error = ProviderError::new(ErrorCode::Panicked, "the plugin panicked while taking a call");
                    (self.end.on_panic)(&error.message);
                    error
                }
                _ => gone(),
            });
        }
        if self.end.calls.is_closed() {
            // Given up meanwhile: the plugin may not have known its number yet when all were cancelled.
            self.cancel(call);
        }
        Ok(Waiting {
            instance: self.clone(),
            call,
            receiver,
            deadline: Instant::now().checked_add(limit),
            limit,
        })
    }

    /// Calls an operation and waits for its end.
    pub async fn call(
        self: &Arc<Self>,
        operation: Operation,
        body: &[u8],
        limit: Duration,
    ) -> Result<Ended, ProviderError> {
        let waiting = self.begin(limit, |handle, header| {
            operation(handle, header, RSlice::from_slice(body))
        })?;
        Ok(waiting.ended().await)
    }

    /// A ping was answered: the instance lives.
    pub fn heard(&self) {
        *self.silence.lock().unwrap_or_else(PoisonError::into_inner) = Silence::default();
    }

    /// A ping that began at `begun` got no answer; how many did in a row. Pings of several nodes at the same time are one.
    pub fn not_heard(&self, begun: Instant) -> u32 {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if silence.last.is_none_or(|last| last <= begun) {
            silence.pings += 1;
            silence.last = Some(Instant::now());
        }
        silence.pings
    }

    /// Ends its calls, hears nothing more of it but its log, and lets the plugin release it.
    pub fn give_up(&self, error: &ProviderError) {
        self.end.quieten();
        let abandoned = self.end.calls.close();
        // In the plugin first: whoever waits lets go of its streams, which must not pass for the end of an input.
        abandoned.numbers().for_each(|call| self.cancel(call));
        abandoned.fail(error);
        self.release();
    }

    fn cancel(&self, call: u64) {
        // Unknown to the plugin means that it ends just now: the completion finds nobody.
        let _ = (self.image.root.cancel())(self.handle, call);
    }

    fn release(&self) {
        if self.released.swap(true, Ordering::SeqCst) {
            return;
        }
        let (release, handle, end) = (self.image.root.release(), self.handle, self.end.clone());
        // The provider's own drop runs in there and may block for ever: no thread of the host waits for it.
        let thread = thread::Builder::new().name("plugin-release".to_owned());
        let released = move || {
            release(handle);
            end.hang_up();
        };
        if let Err(error) = thread.spawn(released) {
            tracing::warn!(provider = %self.end.provider, %error, "unable to release an instance: it stays in memory");
            self.end.hang_up();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end.quieten();
        self.release();
    }
}

impl Waiting {
    /// Waits for the end of the call.
    pub async fn ended(mut self) -> Ended {
        let gone = || ProviderError::unavailable("the provider's instance was given up");
        let answered = match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, &mut self.receiver).await,
            None => Ok((&mut self.receiver).await),
        };
        match answered {
            Ok(answer) => Ended::Answered(answer.unwrap_or_else(|_| Err(gone()))),
            Err(_) => Ended::Silent(ProviderError::new(
                ErrorCode::Timeout,
                format!("the provider did not answer within {:?}", self.limit),
            )),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Nobody has answered a call that the instance's end has taken out but not failed yet: that may not have cancelled it so
        // far, and the streams are closed next.
        let unanswered = |receiver: &mut oneshot::Receiver<Outcome>| receiver.try_recv() == Err(TryRecvError::Empty);
        if self.instance.end.calls.forget(self.call) || unanswered(&mut self.receiver) {
            self.instance.cancel(self.call);
        }
    }
}

/// The wire's 0 means without limit, so a limit below a millisecond counts as one.
fn header(call: u64, limit: Duration) -> CallHeader {
    let timeout_ms = match limit {
        Duration::MAX => 0,
        limit => u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1),
    };
    CallHeader { call, timeout_ms }
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
