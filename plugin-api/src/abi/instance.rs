//! Instances: a provider, its runtime, and the calls that are under way.

use super::{
    guard::{self, Contained},
    link::HostLink,
};
use crate::{Call, ErrorBody, ErrorCode, Provider, ProviderError, Result};
use outrigger_wire::{CallHeader, code};
use serde::Serialize;
use std::{
    any::Any,
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::AbortHandle,
};

static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(1);
static INSTANCES: RwLock<Option<HashMap<u64, Arc<dyn Any + Send + Sync>>>> = RwLock::new(None);

/// Stack of a worker thread: a stack overflow there ends the process without a word, so it is not small.
const WORKER_STACK: usize = 4 << 20;

pub(super) struct Instance<P> {
    pub(super) link: HostLink,
    /// Set when `start` has succeeded; calls before that are refused.
    provider: OnceLock<Arc<P>>,
    /// `None` once released.
    runtime: Mutex<Option<Runtime>>,
    /// Calls under way, to cancel them.
    calls: Mutex<HashMap<u64, AbortHandle>>,
}

impl<P: Provider> Instance<P> {
    /// Makes an instance and starts its provider with `start`.
    pub(super) fn launch<F>(
        link: HostLink,
        header: CallHeader,
        start: impl FnOnce() -> F + Send + 'static,
    ) -> std::io::Result<u64>
    where
        F: Future<Output = Result<P>> + Send,
    {
        let id = NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed);
        let runtime = Builder::new_multi_thread()
            .worker_threads(P::WORKER_THREADS.max(1))
            .thread_name(format!("plugin-{id}"))
            .thread_stack_size(WORKER_STACK)
            .on_thread_start(move || link.enter_thread())
            .enable_all()
            .build()?;
        let instance = Arc::new(Self {
            link,
            provider: OnceLock::new(),
            runtime: Mutex::new(Some(runtime)),
            calls: Mutex::new(HashMap::new()),
        });
        INSTANCES
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_default()
            .insert(id, instance.clone());
        let starting = instance.clone();
        instance.spawn(header, async move {
            let provider = start().await?;
            let support = provider.support();
            if starting.provider.set(Arc::new(provider)).is_err() {
                return Err(ProviderError::internal("instance was started twice"));
            }
            Ok(crate::request::StartReply { support })
        });
        Ok(id)
    }

    /// The instance behind a handle, if it lives.
    pub(super) fn find(id: u64) -> Option<Arc<Self>> {
        let instances = INSTANCES.read().unwrap_or_else(PoisonError::into_inner);
        let found = instances.as_ref()?.get(&id)?.clone();
        drop(instances);
        found.downcast().ok()
    }

    /// The provider, once started.
    pub(super) fn provider(&self) -> Option<Arc<P>> {
        self.provider.get().cloned()
    }

    /// Runs a call on the instance's runtime; its completion fires exactly once, whatever happens to it. Returns a wire
    /// code: not accepted when the instance has been released.
    pub(super) fn spawn<F, T>(self: &Arc<Self>, header: CallHeader, work: F) -> u32
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Serialize,
    {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = runtime.as_ref() else {
            // No guard exists yet: not accepted means that nothing follows.
            return code::UNAVAILABLE;
        };
        let fire = Fire {
            link: self.link,
            call: header.call,
            armed: true,
        };
        let owner = Arc::downgrade(self);
        let work = Contained::new(work);
        let task = async move {
            let outcome = work.await;
            if let Some(instance) = owner.upgrade() {
                instance.calls().remove(&header.call);
            }
            fire.send(outcome);
        };
        // Under the lock, so that a call that ends at once finds its entry to remove.
        let mut calls = self.calls();
        let handle = runtime.spawn(task);
        calls.insert(header.call, handle.abort_handle());
        code::OK
    }

    pub(super) fn cancel(&self, call: u64) -> u32 {
        let task = self.calls().remove(&call);
        match task {
            Some(task) => {
                task.abort();
                code::OK
            }
            None => code::NOT_FOUND,
        }
    }

    /// Forgets the instance and ends its runtime without waiting for tasks.
    pub(super) fn release(id: u64) {
        let Some(instance) = Self::find(id) else { return };
        if let Some(instances) = INSTANCES.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            instances.remove(&id);
        }
        let runtime = instance.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        instance.link.on_thread(|| {
            guard::discard(runtime.map(Runtime::shutdown_background));
            guard::discard(instance);
        });
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, AbortHandle>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call's details for the provider. Its time begins now.
pub(super) fn call_of(header: CallHeader) -> Call {
    let limit = (header.timeout_ms > 0).then(|| Duration::from_millis(header.timeout_ms));
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    Call {
        id: header.call,
        deadline,
    }
}

/// Completes a call exactly once: by `send`, or by its drop when the task was aborted or its runtime went away.
struct Fire {
    link: HostLink,
    call: u64,
    armed: bool,
}

impl Fire {
    fn send<T: Serialize>(mut self, outcome: Result<Result<T>, String>) {
        self.armed = false;
        let outcome = outcome.unwrap_or_else(|panic| Err(ProviderError::new(ErrorCode::Panicked, panic)));
        let encoded = outcome.and_then(|value| {
            serde_json::to_vec(&value)
                .map_err(|source| ProviderError::internal("unable to encode reply").with_source(source))
        });
        match encoded {
            Ok(body) => self.link.complete(self.call, code::OK, 0, &body),
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&self, error: &ProviderError) {
        let (code, retry_after_ms) = error.code.to_wire();
        let body = ErrorBody {
            message: error.message.clone(),
            detail: error.detail.clone(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        self.link.complete(self.call, code, retry_after_ms, &body);
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        if self.armed {
            let code = if std::thread::panicking() {
                ErrorCode::Panicked
            } else {
                ErrorCode::Cancelled
            };
            self.fail(&ProviderError::new(code, "call ended without a result"));
        }
    }
}
