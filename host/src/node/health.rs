//! Whether a provider is well, asked once for all of its nodes.

use futures::future::BoxFuture;
use outrigger_plugin::ErrorCode;
use outrigger_plugin::Image;
use outrigger_plugin::NodeDescription;
use outrigger_plugin::ProviderError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// What a node needs of its provider.
pub trait Health: Send + Sync + 'static {
    /// Asks for a sign of life; the error is ready within `timeout`.
    fn ping(&self, timeout: Duration) -> BoxFuture<'_, Result<(), ProviderError>>;

    /// Asks how a node looks.
    fn describe_node<'a>(
        &'a self,
        node: &'a str,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<NodeDescription, ProviderError>>;

    /// Asks which images a node has. Unsupported where the provider can't tell.
    fn images<'a>(&'a self, node: &'a str, timeout: Duration) -> BoxFuture<'a, Result<Vec<Image>, ProviderError>> {
        let _ = (node, timeout);
        let error = ProviderError::unsupported("this provider does not tell its images");
        Box::pin(std::future::ready(Err(error)))
    }

    /// Why the provider can't be asked at all, if so.
    fn trouble(&self) -> Option<Trouble>;

    /// Which of its instances is the present one: another one may describe nodes in another way.
    fn instance(&self) -> u64 {
        0
    }
}

/// Why a provider can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase: `Poisoned`, `Quarantined`, `LoadFailed`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Whether it never ran in this process. Its nodes are not registered, and those that exist are not ready.
    pub never_ran: bool,
    /// Whether who found it has told the log, with the plugin's path.
    pub told: bool,
}

/// Stands for a provider whose plugin could not be used at start.
#[derive(Debug, Clone)]
pub struct Broken {
    message: String,
}

impl Broken {
    /// `message` says why, with path and cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl Health for Broken {
    fn ping(&self, _timeout: Duration) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(std::future::ready(Err(ProviderError::unavailable(&self.message))))
    }

    fn describe_node<'a>(
        &'a self,
        _node: &'a str,
        _timeout: Duration,
    ) -> BoxFuture<'a, Result<NodeDescription, ProviderError>> {
        Box::pin(std::future::ready(Err(ProviderError::unavailable(&self.message))))
    }

    fn trouble(&self) -> Option<Trouble> {
        Some(Trouble {
            reason: "LoadFailed".to_owned(),
            message: self.message.clone(),
            never_ran: true,
            told: true,
        })
    }
}

/// How a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was not asked yet.
    Unknown,
    /// It answered the last ping.
    Healthy,
    /// It did not, or can't be asked.
    Unhealthy {
        /// The first failure of the present row.
        since: Instant,
        /// CamelCase, for the condition ProviderHealthy.
        reason: String,
        /// For people.
        message: String,
        /// See [`Trouble::never_ran`].
        never_ran: bool,
    },
}

impl Verdict {
    fn next(&self, outcome: Result<(), Trouble>, now: Instant) -> Self {
        match outcome {
            Ok(()) => Self::Healthy,
            Err(Trouble {
                reason,
                message,
                never_ran,
                ..
            }) => Self::Unhealthy {
                since: match self {
                    Self::Unhealthy { since, .. } => *since,
                    _ => now,
                },
                reason,
                message,
                never_ran,
            },
        }
    }
}

/// Pings one provider and tells all its nodes.
pub struct Monitor {
    name: String,
    provider: Arc<dyn Health>,
    interval: Duration,
    timeout: Duration,
    verdict: watch::Sender<Verdict>,
    /// The last reason that was logged since it was healthy.
    logged: Option<String>,
    /// The instance that was found healthy last.
    instance: u64,
}

impl Monitor {
    /// A monitor of the provider `name`, and where its verdict is seen.
    pub fn build(
        name: impl Into<String>,
        provider: Arc<dyn Health>,
        interval: Duration,
        timeout: Duration,
    ) -> (Self, watch::Receiver<Verdict>) {
        let (verdict, seen) = watch::channel(Verdict::Unknown);
        let monitor = Self {
            name: name.into(),
            provider,
            interval,
            timeout,
            verdict,
            logged: None,
            instance: 0,
        };
        (monitor, seen)
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                outcome = self.ask() => outcome,
            };
            self.tell(outcome);
        }
    }

    async fn ask(&self) -> Result<(), Trouble> {
        if let Some(trouble) = self.provider.trouble() {
            return Err(trouble);
        }
        // The call has this deadline itself; the other one is for a call that does not keep it.
        let answer = tokio::time::timeout(self.timeout + self.timeout / 10, self.provider.ping(self.timeout)).await;
        let timed_out = || Trouble {
            reason: "PingTimeout".to_owned(),
            message: format!("no answer to a ping within {:?}", self.timeout),
            never_ran: false,
            told: false,
        };
        match answer {
            Ok(Ok(())) => Ok(()),
            Err(_) => Err(timed_out()),
            Ok(Err(error)) if error.code == ErrorCode::Timeout => Err(timed_out()),
            // A call that failed because the instance was poisoned by it: the better reason is known now.
            Ok(Err(error)) => Err(self.provider.trouble().unwrap_or_else(|| Trouble {
                reason: "PingFailed".to_owned(),
                message: error.message,
                never_ran: false,
                // The supervisor tells of every panic, perhaps a moment later.
                told: error.code == ErrorCode::Panicked,
            })),
        }
    }

    fn tell(&mut self, outcome: Result<(), Trouble>) {
        let (name, logged) = (&self.name, &mut self.logged);
        match &outcome {
            Ok(()) => *logged = None,
            // A provider that is rebuilt and fails again goes to and fro between two reasons.
            Err(trouble) if trouble.told || logged.as_ref() == Some(&trouble.reason) => {}
            Err(Trouble { reason, message, .. }) => {
                tracing::warn!(provider = %name, reason, message, "provider is unhealthy");
                *logged = Some(reason.clone());
            }
        }
        // One that was rebuilt between two pings was never seen to be unwell.
        let instance = self.provider.instance();
        let rebuilt = outcome.is_ok() && std::mem::replace(&mut self.instance, instance) != instance;
        self.verdict.send_if_modified(|verdict| {
            let next = verdict.next(outcome, Instant::now());
            if matches!((&*verdict, &next), (Verdict::Unhealthy { .. }, Verdict::Healthy)) {
                tracing::info!(provider = %name, "provider is healthy again");
            }
            let changed = *verdict != next || rebuilt;
            *verdict = next;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    };

    /// Answers pings as told.
    struct Told {
        answer: Mutex<Answer>,
        instance: AtomicU64,
    }

    #[derive(Clone)]
    enum Answer {
        Well,
        Fails,
        Hangs,
        Poisoned,
    }

    impl Told {
        fn tell(&self, answer: Answer) {
            *self.answer.lock().unwrap() = answer;
        }
    }

    impl Health for Told {
        fn ping(&self, _timeout: Duration) -> BoxFuture<'_, Result<(), ProviderError>> {
            let answer = self.answer.lock().unwrap().clone();
            match answer {
                Answer::Hangs => Box::pin(std::future::pending()),
                Answer::Fails => Box::pin(std::future::ready(Err(ProviderError::unavailable("backend is down")))),
                Answer::Well | Answer::Poisoned => Box::pin(std::future::ready(Ok(()))),
            }
        }

        fn describe_node<'a>(
            &'a self,
            _node: &'a str,
            _timeout: Duration,
        ) -> BoxFuture<'a, Result<NodeDescription, ProviderError>> {
            Box::pin(std::future::ready(Ok(NodeDescription::default())))
        }

        fn instance(&self) -> u64 {
            self.instance.load(Ordering::Relaxed)
        }

        fn trouble(&self) -> Option<Trouble> {
            matches!(*self.answer.lock().unwrap(), Answer::Poisoned).then(|| Trouble {
                reason: "Poisoned".into(),
                message: "panicked".into(),
                never_ran: false,
                told: true,
            })
        }
    }

    #[tokio::test]
    async fn each_way_of_being_unwell_has_its_reason() {
        let provider = Arc::new(Told {
            answer: Mutex::new(Answer::Well),
            instance: AtomicU64::new(1),
        });
        let (monitor, mut seen) = Monitor::build(
            "p",
            provider.clone(),
            Duration::from_millis(5),
            Duration::from_millis(20),
        );
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(monitor.run(shutdown.clone()));
        let deadline = Duration::from_secs(20);
        let mut reached = async |wanted: &str| {
            let seen = seen.wait_for(|verdict| match verdict {
                Verdict::Unhealthy { reason, .. } => reason == wanted,
                Verdict::Healthy => wanted == "healthy",
                Verdict::Unknown => false,
            });
            tokio::time::timeout(deadline, seen)
                .await
                .expect(wanted)
                .unwrap()
                .clone()
        };
        reached("healthy").await;
        provider.tell(Answer::Fails);
        let Verdict::Unhealthy { since, message, .. } = reached("PingFailed").await else {
            unreachable!()
        };
        assert_eq!(message, "backend is down");
        provider.tell(Answer::Hangs);
        let Verdict::Unhealthy { since: still, .. } = reached("PingTimeout").await else {
            unreachable!()
        };
        assert_eq!(since, still, "one row of failures has one beginning");
        provider.tell(Answer::Poisoned);
        reached("Poisoned").await;
        provider.tell(Answer::Well);
        reached("healthy").await;
        shutdown.cancel();
        running.await.unwrap();
    }

    /// From the moment at which a provider stops to answer well.
    async fn until_unhealthy(answer: Answer) -> (Duration, String) {
        const INTERVAL: Duration = Duration::from_secs(5);
        let provider = Arc::new(Told {
            answer: Mutex::new(Answer::Well),
            instance: AtomicU64::new(1),
        });
        let (monitor, mut seen) = Monitor::build("p", provider.clone(), INTERVAL, INTERVAL);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(monitor.run(shutdown.clone()));
        seen.wait_for(|verdict| *verdict == Verdict::Healthy).await.unwrap();
        // A moment after a ping: the longest way to the next one.
        tokio::time::sleep(Duration::from_millis(1)).await;
        provider.tell(answer);
        let since = Instant::now();
        let is_unhealthy = |verdict: &Verdict| matches!(verdict, Verdict::Unhealthy { .. });
        let Verdict::Unhealthy { reason, .. } = seen.wait_for(is_unhealthy).await.unwrap().clone() else {
            unreachable!()
        };
        let took = since.elapsed();
        shutdown.cancel();
        running.await.unwrap();
        (took, reason)
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_within_one_interval_and_the_deadline_of_a_ping() {
        let (took, reason) = until_unhealthy(Answer::Fails).await;
        assert!(took <= Duration::from_secs(5), "{took:?}");
        assert_eq!(reason, "PingFailed");
        let (took, reason) = until_unhealthy(Answer::Poisoned).await;
        assert!(took <= Duration::from_secs(5), "{took:?}");
        assert_eq!(reason, "Poisoned");
        // It can't be known earlier that one hangs, and a tenth is left to calls that keep their deadline themselves.
        let (took, reason) = until_unhealthy(Answer::Hangs).await;
        assert!(took <= Duration::from_millis(10_500), "{took:?}");
        assert_eq!(reason, "PingTimeout");
    }

    #[test]
    fn a_new_row_of_failures_has_a_new_beginning() {
        let trouble = || {
            Err(Trouble {
                reason: "PingFailed".into(),
                message: String::new(),
                never_ran: false,
                told: false,
            })
        };
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let first = Verdict::Unknown.next(trouble(), start);
        let second = first.next(Ok(()), later).next(trouble(), later);
        assert!(matches!(first, Verdict::Unhealthy { since, .. } if since == start));
        assert!(matches!(second, Verdict::Unhealthy { since, .. } if since == later));
    }

    #[test]
    fn an_instance_that_was_rebuilt_between_two_pings_is_news() {
        let provider = Arc::new(Told {
            answer: Mutex::new(Answer::Well),
            instance: AtomicU64::new(1),
        });
        let (mut monitor, mut seen) = Monitor::build("p", provider.clone(), Duration::MAX, Duration::MAX);
        let mut news = |monitor: &mut Monitor| {
            monitor.tell(Ok(()));
            let news = seen.has_changed().unwrap();
            seen.mark_unchanged();
            news
        };
        assert!(news(&mut monitor));
        assert!(!news(&mut monitor));
        provider.instance.store(2, Ordering::Relaxed);
        assert!(news(&mut monitor));
        assert!(!news(&mut monitor));
    }
}
