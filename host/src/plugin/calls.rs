//! Calls that wait for their completion, by number.
//!
//! A completion may come from any thread, inline on the stack of the call itself, late, twice or out of thin air. It
//! finds an entry or it does not; nothing of the plugin is ever polled, dropped or dereferenced here.

use outrigger_plugin::ErrorBody;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::ProviderError;
use outrigger_wire::code;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// The body of a reply, or the provider's error.
pub type Outcome = Result<Vec<u8>, ProviderError>;

const SHARDS: u64 = 16;

/// Numbers are never used twice in a process, across all instances, so that a completion for one instance can't meet
/// a call of another.
static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

/// The waiting calls of one instance.
#[derive(Default)]
pub struct Calls {
    shards: [Mutex<HashMap<u64, oneshot::Sender<Outcome>>>; SHARDS as usize],
    waiting: AtomicUsize,
    /// Set once the instance has been given up: no call begins any more.
    closed: AtomicBool,
    strays: AtomicU64,
}

impl Calls {
    /// Registers a call before it is made. `None` when the instance has been given up.
    pub fn begin(&self) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let call = NEXT_CALL.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let mut shard = self.shard(call);
        // Under the shard's lock: `close` sets the flag first and then empties each shard, so that it misses nobody.
        if self.is_closed() {
            return None;
        }
        shard.insert(call, sender);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Some((call, receiver))
    }

    /// Ends a call. `false`: nobody waits for it, or no longer; the outcome is dropped, and counted.
    pub fn complete(&self, call: u64, outcome: Outcome) -> bool {
        let Some(sender) = self.take(call) else {
            self.strays.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        // The caller may have gone between the two: then nobody wants it.
        drop(sender.send(outcome));
        true
    }

    /// Forgets a call; whether it was still waiting.
    pub fn forget(&self, call: u64) -> bool {
        self.take(call).is_some()
    }

    /// Lets no new call begin; returns those that were waiting, for their caller to fail.
    pub fn close(&self) -> Abandoned {
        self.closed.store(true, Ordering::SeqCst);
        let mut abandoned = HashMap::new();
        for index in 0..SHARDS {
            abandoned.extend(std::mem::take(&mut *self.shard(index)));
        }
        self.waiting.fetch_sub(abandoned.len(), Ordering::Relaxed);
        Abandoned(abandoned)
    }

    /// Whether the instance has been given up.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Calls that wait now.
    pub fn in_flight(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Completions that nobody waited for.
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }

    fn take(&self, call: u64) -> Option<oneshot::Sender<Outcome>> {
        let taken = self.shard(call).remove(&call);
        if taken.is_some() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    fn shard(&self, call: u64) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
        let index = usize::try_from(call % SHARDS).unwrap_or_default();
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls of an instance that was given up. Dropped, they fail as well, but without the reason.
#[must_use = "whoever waits should hear why"]
pub struct Abandoned(HashMap<u64, oneshot::Sender<Outcome>>);

impl Abandoned {
    /// Their numbers.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    /// Fails them all.
    pub fn fail(self, error: &ProviderError) {
        for sender in self.0.into_values() {
            // The caller may have gone: then nobody wants it.
            drop(sender.send(Err(error.clone())));
        }
    }
}

/// Reads a completion as it came over the boundary.
pub fn outcome(wire_code: u32, retry_after_ms: u64, body: &[u8]) -> Outcome {
    if wire_code == code::OK {
        return Ok(body.to_vec());
    }
    let body: ErrorBody = serde_json::from_slice(body).unwrap_or_else(|_| ErrorBody {
        message: String::from_utf8_lossy(body).into_owned(),
        detail: String::new(),
    });
    let mut error = ProviderError::new(ErrorCode::from_wire(wire_code, retry_after_ms), body.message);
    error.detail = body.detail;
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_reaches_its_call_once() {
        let calls = Calls::default();
        let (call, mut waiting) = calls.begin().unwrap();
        let (other, _other) = calls.begin().unwrap();
        assert_eq!(calls.in_flight(), 2);
        assert!(calls.complete(call, Ok(b"reply".to_vec())));
        assert_eq!(waiting.try_recv().unwrap().unwrap(), b"reply");
        assert!(!calls.complete(call, Ok(Vec::new())));
        assert!(!calls.complete(other + 1_000, Ok(Vec::new())));
        assert_eq!((calls.in_flight(), calls.strays()), (1, 2));
    }

    #[test]
    fn a_forgotten_call_is_late() {
        let calls = Calls::default();
        let (call, _waiting) = calls.begin().unwrap();
        assert!(calls.forget(call));
        assert!(!calls.forget(call));
        assert!(!calls.complete(call, Ok(Vec::new())));
        assert_eq!((calls.in_flight(), calls.strays()), (0, 1));
    }

    #[test]
    fn closing_fails_the_waiting_and_refuses_the_next() {
        let calls = Calls::default();
        let (mut numbers, mut waiting): (Vec<_>, Vec<_>) = (0..100).map(|_| calls.begin().unwrap()).unzip();
        let abandoned = calls.close();
        let mut told: Vec<_> = abandoned.numbers().collect();
        told.sort_unstable();
        numbers.sort_unstable();
        assert_eq!(told, numbers);
        assert!(
            waiting.iter_mut().all(|call| call.try_recv().is_err()),
            "first they are named"
        );
        abandoned.fail(&ProviderError::unavailable("gone"));
        for call in &mut waiting {
            assert_eq!(call.try_recv().unwrap().unwrap_err().message, "gone");
        }
        assert!(calls.begin().is_none());
        assert_eq!(calls.in_flight(), 0);
    }

    #[test]
    fn errors_cross_with_code_and_texts() {
        let error = outcome(code::RETRY_AFTER, 1500, br#"{"message":"busy","detail":"queue"}"#).unwrap_err();
        assert_eq!(error.to_string(), "RetryAfter: busy (queue)");
        assert_eq!(
            error.code,
            ErrorCode::RetryAfter(std::time::Duration::from_millis(1500))
        );
        assert_eq!(outcome(77, 0, b"plain").unwrap_err().to_string(), "Internal: plain");
    }
}
