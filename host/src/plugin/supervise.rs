//! Keeps one instance of a provider running.
//!
//! An instance that panicked, or whose pings get no answer, is poisoned: its calls fail, it is released, and a new one
//! is made after a pause that doubles with every failure. When too many failures come within a short time the provider
//! is quarantined: it rests for long before it gets another try. Other providers never notice.

use super::StartFault;
use super::Tuning;
use super::image::Image;
use super::instance::Instance;
use super::services::HostEnd;
use super::services::Sink;
use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;
use outrigger_plugin::ProviderError;
use outrigger_plugin::Support;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Characters of a panic's message that reach a node's condition.
const MAX_REASON: usize = 200;
/// How long a plugin may ask for no other attempt, at a start or a call; more of it counts as so much.
pub const MOST_ASKED_FOR: Duration = Duration::from_secs(24 * 3600);

/// What is true of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its first instance is being made.
    Starting,
    /// An instance takes calls.
    Ready {
        /// Counts instances: after each new one the host must sync again.
        epoch: u64,
    },
    /// There is no instance; the next one is made after a pause.
    Poisoned {
        /// Why the last one was given up or did not start.
        reason: String,
        /// Failures within the window, this one included.
        attempts: u32,
    },
    /// Too many failures within the window: it rests.
    Quarantined {
        /// Why the last instance was given up or did not start.
        reason: String,
    },
    /// It was shut down.
    Stopped,
}

impl State {
    /// Why there is no instance, for a node's condition; `None` when there is one.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Ready { .. } => None,
            Self::Starting => Some("the provider is starting".to_owned()),
            Self::Poisoned { reason, attempts } => {
                Some(format!("{reason}; rebuilt after a pause (failure {attempts})"))
            }
            Self::Quarantined { reason } => Some(format!("quarantined after too many failures: {reason}")),
            Self::Stopped => Some("the provider was shut down".to_owned()),
        }
    }
}

/// The failures of late, oldest first, and whether each counts towards quarantine.
#[derive(Default)]
struct History {
    failures: VecDeque<(Instant, Severity)>,
    /// Of the last failure: what only the log may have of it.
    detail: String,
    /// Of the last failure: how long the plugin has asked for no other attempt.
    asked: Duration,
}

/// What a failure says of the plugin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The plugin itself says that it will pass: its backend is away.
    Passing,
    /// Something is wrong with the plugin.
    Grave,
}

impl History {
    fn failed(&mut self, now: Instant, severity: Severity, reason: String, tuning: &Tuning) -> State {
        self.failures.push_back((now, severity));
        while self
            .failures
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > tuning.failure_window)
        {
            self.failures.pop_front();
        }
        let grave = self.failures.iter().filter(|(_, s)| *s == Severity::Grave).count();
        if severity == Severity::Grave && grave >= tuning.max_failures {
            return State::Quarantined { reason };
        }
        State::Poisoned {
            reason,
            attempts: u32::try_from(self.failures.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The pause before the next attempt after so many failures.
fn pause(attempts: u32, tuning: &Tuning) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    tuning
        .backoff_first
        .saturating_mul(1 << doublings)
        .min(tuning.backoff_max)
}

/// A provider and its present instance, shared by callers and the task that rebuilds.
pub struct Supervised {
    /// Its name in the config.
    pub name: Arc<str>,
    /// The plugin's code.
    pub image: &'static Image,
    /// Its timing.
    pub tuning: Tuning,
    config: serde_json::Value,
    sink: Arc<dyn Sink>,
    current: ArcSwapOption<Instance>,
    support: ArcSwap<Support>,
    state: watch::Sender<State>,
    /// Guards every change of state and instance.
    history: Mutex<History>,
    epochs: AtomicU64,
    /// Whether it answered a ping since a failure was told.
    answered: AtomicBool,
    /// Whether the host has begun to end.
    shutting_down: Arc<AtomicBool>,
}

impl Supervised {
    /// A provider without an instance.
    pub fn new(
        name: &str,
        image: &'static Image,
        config: serde_json::Value,
        sink: Arc<dyn Sink>,
        tuning: Tuning,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: Arc::from(name),
            image,
            tuning,
            config,
            sink,
            current: ArcSwapOption::empty(),
            support: ArcSwap::from_pointee(image.info.support.clone()),
            state: watch::Sender::new(State::Starting),
            history: Mutex::default(),
            epochs: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            shutting_down: Arc::default(),
        })
    }

    /// The instance that takes calls.
    pub fn current(&self) -> Result<Arc<Instance>, ProviderError> {
        self.current.load_full().ok_or_else(|| {
            let reason = self.state.borrow().reason();
            ProviderError::unavailable(reason.unwrap_or_else(|| "the provider is being rebuilt".to_owned()))
        })
    }

    /// The instance that takes calls, if there is one.
    pub fn present(&self) -> Option<Arc<Instance>> {
        self.current.load_full()
    }

    /// What the present or last instance carries.
    pub fn support(&self) -> Arc<Support> {
        self.support.load_full()
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The first start. A fault that will pass leaves the provider to [`run`], and so does a start that does not end, as where
    /// the network comes after the host, unless it is `required`; any other is the caller's. One that takes long and is not
    /// `required` goes on behind the caller's back, and whatever comes of it then is left to [`run`].
    pub async fn start(self: &Arc<Self>, required: bool) -> Result<(), StartFault> {
        let provider = self.clone();
        let mut first = Box::pin(async move { provider.attempt().await });
        let outcome = if required {
            first.await
        } else {
            let Ok(outcome) = tokio::time::timeout(self.tuning.first_patience, &mut first).await else {
                let provider = self.clone();
                tokio::spawn(async move {
                    if let Err(fault) = first.await {
                        provider.failed(&fault);
                    }
                });
                return Ok(());
            };
            outcome
        };
        match outcome {
            Err(fault) if fault.is_passing() || !required && matches!(fault, StartFault::Hung(_)) => {
                self.failed(&fault);
                Ok(())
            }
            other => other,
        }
    }

    /// It has answered a ping: the next failure is news.
    pub fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// The host has begun to end, which this instance and every later one can see.
    pub fn announce_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    /// Gives up the instance of an epoch, unless that happened before.
    pub fn poison(&self, epoch: u64, reason: &str) {
        let mut history = self.history();
        let Some(instance) = self.current.load_full().filter(|instance| instance.epoch == epoch) else {
            return;
        };
        self.current.store(None);
        history.detail.clear();
        history.asked = Duration::ZERO;
        let state = history.failed(Instant::now(), Severity::Grave, reason.to_owned(), &self.tuning);
        self.state.send_replace(state);
        drop(history);
        instance.give_up(&ProviderError::unavailable(format!(
            "the provider's instance was given up: {reason}"
        )));
    }

    /// No instance from now on. Returns the last one.
    pub fn stop(&self) -> Option<Arc<Instance>> {
        let _history = self.history();
        self.state.send_replace(State::Stopped);
        self.current.swap(None)
    }

    async fn attempt(self: &Arc<Self>) -> Result<(), StartFault> {
        let epoch = self.epochs.fetch_add(1, Ordering::Relaxed) + 1;
        let owner = Arc::downgrade(self);
        let on_panic = move |message: &str| {
            if let Some(owner) = Weak::upgrade(&owner) {
                let line = message.lines().next().unwrap_or_default();
                let line: String = line.chars().take(MAX_REASON).collect();
                owner.poison(epoch, &format!("the plugin panicked: {line}"));
            }
        };
        let end = HostEnd::new(
            self.name.clone(),
            self.sink.clone(),
            self.shutting_down.clone(),
            Box::new(on_panic),
        );
        let limit = self.tuning.start_timeout;
        let (instance, support) = Instance::start(self.image, end, epoch, &self.config, limit).await?;
        let _history = self.history();
        if *self.state.borrow() == State::Stopped {
            instance.give_up(&ProviderError::unavailable("the provider was shut down"));
            return Err(StartFault::Ending);
        }
        self.support.store(Arc::new(support));
        self.current.store(Some(instance));
        self.state.send_replace(State::Ready { epoch });
        tracing::info!(provider = %self.name, epoch, "provider instance started");
        Ok(())
    }

    fn failed(&self, fault: &StartFault) {
        let mut history = self.history();
        if *self.state.borrow() == State::Stopped {
            return;
        }
        let severity = if fault.is_passing() {
            Severity::Passing
        } else {
            Severity::Grave
        };
        fault.detail().clone_into(&mut history.detail);
        history.asked = fault.asked().min(MOST_ASKED_FOR);
        let state = history.failed(Instant::now(), severity, fault.told(), &self.tuning);
        self.state.send_replace(state);
    }

    /// How long there is no other attempt.
    fn rest(&self, state: &State) -> Option<Duration> {
        match state {
            State::Starting | State::Ready { .. } | State::Stopped => None,
            State::Poisoned { attempts, .. } => Some(pause(*attempts, &self.tuning).max(self.history().asked)),
            State::Quarantined { .. } => Some(self.tuning.quarantine),
        }
    }

    /// Tells of a failure; of one that only repeats what `told` has, quietly.
    fn report(&self, state: &State, rest: Duration, told: &mut Option<String>) {
        let plugin = self.image.path.display();
        let detail = self.history().detail.clone();
        match state {
            State::Poisoned { reason, attempts } => {
                let answered = self.answered.swap(false, Ordering::Relaxed);
                if !answered && told.as_ref() == Some(reason) {
                    tracing::debug!(provider = %self.name, %reason, attempts, pause = ?rest, "provider instance given up again");
                    return;
                }
                tracing::warn!(provider = %self.name, %plugin, %reason, detail, attempts, pause = ?rest,
                    "provider instance given up, it will be rebuilt");
                *told = Some(reason.clone());
            }
            State::Quarantined { reason } => {
                tracing::error!(provider = %self.name, %plugin, %reason, detail, ?rest,
                    "provider quarantined after too many failures");
            }
            State::Starting | State::Ready { .. } | State::Stopped => {}
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rebuilds the instance whenever the state asks for it; returns when the provider has been stopped.
pub async fn run(provider: Arc<Supervised>) {
    let mut states = provider.watch();
    let mut told = None;
    loop {
        let state = states.borrow_and_update().clone();
        if state == State::Stopped {
            return;
        }
        let Some(rest) = provider.rest(&state) else {
            if states.changed().await.is_err() {
                return;
            }
            continue;
        };
        // Here and not where it happens: that may be a thread of the plugin, which must not wait for the log.
        provider.report(&state, rest, &mut told);
        tokio::select! {
            () = tokio::time::sleep(rest) => {
                if let Err(fault) = provider.attempt().await {
                    provider.failed(&fault);
                }
            }
            _ = states.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning() -> Tuning {
        Tuning::default()
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds: Vec<_> = (1..=8).map(|attempts| pause(attempts, &tuning()).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, &tuning()).as_secs(), 60);
    }

    #[test]
    fn the_fifth_grave_failure_within_the_window_quarantines() {
        let (mut history, begun) = (History::default(), Instant::now());
        for attempt in 1..=4u32 {
            let now = begun + Duration::from_secs(u64::from(attempt) * 60);
            assert_eq!(
                history.failed(now, Severity::Grave, "r".into(), &tuning()),
                State::Poisoned {
                    reason: "r".into(),
                    attempts: attempt
                }
            );
        }
        let mut late = History {
            failures: history.failures.clone(),
            ..History::default()
        };
        let now = begun + Duration::from_secs(300);
        assert_eq!(
            history.failed(now, Severity::Grave, "r".into(), &tuning()),
            State::Quarantined { reason: "r".into() }
        );
        let now = begun + Duration::from_secs(700);
        assert_eq!(
            late.failed(now, Severity::Grave, "r".into(), &tuning()),
            State::Poisoned {
                reason: "r".into(),
                attempts: 4
            }
        );
    }

    #[test]
    fn a_backend_that_is_away_never_quarantines() {
        let (mut history, begun) = (History::default(), Instant::now());
        for second in 0..100 {
            let now = begun + Duration::from_secs(second);
            let state = history.failed(now, Severity::Passing, "away".into(), &tuning());
            assert!(matches!(state, State::Poisoned { .. }));
        }
    }
}
