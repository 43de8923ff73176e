//! Starting the providers: one that can't start costs its own nodes, and no others.

use super::Error;
use crate::{
    config::HostConfig,
    node::{Broken, Health, Trouble},
    plugin::{self, Provider, Sink, State},
};
use futures::future::{BoxFuture, join_all};
use outrigger_plugin::{Image, NodeDescription, ProviderError};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A provider of the config: running, or why not.
#[derive(Clone)]
pub enum Started {
    /// It takes calls, or will when its backend is back.
    Running(Arc<Provider>),
    /// It could not be started in this process.
    Broken(Arc<Broken>),
}

impl Started {
    /// The provider, if it runs.
    pub fn provider(&self) -> Option<&Arc<Provider>> {
        match self {
            Self::Running(provider) => Some(provider),
            Self::Broken(_) => None,
        }
    }

    /// What a node needs of it.
    pub fn health(&self) -> Arc<dyn Health> {
        match self {
            Self::Running(provider) => Arc::new(Alive(provider.clone())),
            Self::Broken(broken) => broken.clone(),
        }
    }
}

/// Starts all providers at the same time.
///
/// # Errors
/// [`Error::Section`] when a provider's config does not fit its plugin, [`Error::NoProvider`] when none could be started, [`Error::Required`] when one of those that must could not.
pub async fn start(config: &HostConfig, sink: &Arc<dyn Sink>) -> Result<HashMap<String, Started>, Error> {
    let launches = config.providers.iter().map(|provider| async move {
        let launched = Provider::launch(provider, &config.plugins, sink.clone()).await;
        (provider, launched)
    });
    let mut started = HashMap::new();
    let mut failure = None;
    for (provider, launched) in join_all(launches).await {
        let outcome = match launched {
            Ok(running) => {
                let info = running.info();
                let state = match *running.state().borrow() {
                    State::Ready { .. } => "provider started",
                    State::Starting => "provider takes its time to start, its nodes wait for it",
                    _ => "provider loaded",
                };
                tracing::info!(provider = %provider.name, plugin = %info.name, version = %info.version,
                    abi = %running.abi(), sha256 = %running.sha256(), "{state}");
                Started::Running(running)
            }
            // A fault of the configuration, like any other: it ends the host before anything runs.
            Err(error @ plugin::Error::Config { .. }) => {
                if let Some(Error::Section(earlier)) = failure.replace(Error::Section(Box::new(error))) {
                    tracing::error!("{earlier}");
                }
                continue;
            }
            Err(error) => {
                tracing::error!(provider = %provider.name, "{error}");
                let broken = Started::Broken(Arc::new(Broken::new(error.told())));
                if provider.required && failure.is_none() {
                    failure = Some(Error::Required {
                        provider: provider.name.clone(),
                        source: Box::new(error),
                    });
                }
                broken
            }
        };
        started.insert(provider.name.clone(), outcome);
    }
    if let Some(error) = failure {
        announce_end(&started);
        shut_down(&started, config.shutdown_timeout).await;
        return Err(error);
    }
    if !started.values().any(|started| started.provider().is_some()) {
        return Err(Error::NoProvider);
    }
    Ok(started)
}

/// Tells all providers that the host is about to end: what they are asked from now on is the last.
pub fn announce_end(providers: &HashMap<String, Started>) {
    let running = providers.values().filter_map(Started::provider);
    running.for_each(|provider| provider.announce_shutdown());
}

/// Lets all providers flush what they must, at the same time: one that hangs takes nothing from the others.
pub async fn shut_down(providers: &HashMap<String, Started>, limit: Duration) {
    let ends = providers.iter().map(|(name, started)| async move {
        if let Some(provider) = started.provider()
            && let Err(error) = provider.shutdown(limit).await
        {
            tracing::warn!(provider = %name, %error, "unable to shut provider down");
        }
    });
    join_all(ends).await;
}

struct Alive(Arc<Provider>);

impl Health for Alive {
    fn ping(&self, timeout: Duration) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(self.0.ping(timeout))
    }

    fn describe_node<'a>(
        &'a self,
        node: &'a str,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<NodeDescription, ProviderError>> {
        Box::pin(self.0.describe_node(node, timeout))
    }

    fn images<'a>(&'a self, node: &'a str, timeout: Duration) -> BoxFuture<'a, Result<Vec<Image>, ProviderError>> {
        Box::pin(self.0.images(node, timeout))
    }

    fn trouble(&self) -> Option<Trouble> {
        let state = self.0.state().borrow().clone();
        let reason = match &state {
            State::Ready { .. } => return None,
            State::Starting => "Starting",
            State::Poisoned { .. } => "Poisoned",
            State::Quarantined { .. } => "Quarantined",
            State::Stopped => "Stopped",
        };
        let message = state.reason().unwrap_or_else(|| "the provider was stopped".to_owned());
        Some(Trouble {
            reason: reason.to_owned(),
            message,
            never_ran: false,
            told: true,
        })
    }

    fn instance(&self) -> u64 {
        match *self.0.state().borrow() {
            State::Ready { epoch } => epoch,
            _ => 0,
        }
    }
}
