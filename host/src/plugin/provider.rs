//! A provider as the rest of the host sees it: typed calls to whichever instance runs at the moment.

use super::Error;
use super::StartFault;
use super::Tuning;
use super::find::find;
use super::image::Image as PluginImage;
use super::instance::Ended;
use super::instance::Operation;
use super::load;
use super::load::Abi;
use super::probe;
use super::services::Sink;
use super::session;
use super::session::Forward;
use super::session::Session;
use super::session::Wanted;
use super::stream::LogStream;
use super::supervise;
use super::supervise::State;
use super::supervise::Supervised;
use super::verify;
use super::verify::PluginFile;
use crate::config::PluginLoad;
use crate::config::PluginsConfig;
use crate::config::ProviderConfig;
use crate::config::Sha256Digest;
use crate::config::schema;
use outrigger_plugin::AttachRequest;
use outrigger_plugin::ExecRequest;
use outrigger_plugin::ExitStatus;
use outrigger_plugin::Image;
use outrigger_plugin::LogRequest;
use outrigger_plugin::NodeDescription;
use outrigger_plugin::PluginInfo;
use outrigger_plugin::PodIdentity;
use outrigger_plugin::PodReport;
use outrigger_plugin::PortForwardRequest;
use outrigger_plugin::ProviderError;
use outrigger_plugin::Result;
use outrigger_plugin::StatsSummary;
use outrigger_plugin::Support;
use outrigger_plugin::UpdateOutcome;
use outrigger_plugin::request;
use outrigger_wire::PluginRef;
use outrigger_wire::RSlice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::watch;

/// A provider: a plugin with a config, kept running. Dropping it gives its instance up without a word to the plugin; see
/// [`shutdown`](Self::shutdown).
///
/// Calls take a time limit. When it ends, the call is cancelled in the plugin and fails with
/// [`ErrorCode::Timeout`](outrigger_plugin::ErrorCode::Timeout); dropping a call's future cancels it too.
/// [`Duration::MAX`] is no limit. While there is no instance, calls fail with
/// [`ErrorCode::Unavailable`](outrigger_plugin::ErrorCode::Unavailable).
pub struct Provider {
    supervised: Arc<Supervised>,
}

impl Provider {
    /// Finds, checks, loads and starts a provider. Needs a tokio runtime.
    ///
    /// A fault that the plugin itself calls passing (its backend is away) is no error: the provider is then
    /// [`State::Poisoned`] and goes on trying.
    pub async fn launch(
        config: &ProviderConfig,
        plugins: &PluginsConfig,
        sink: Arc<dyn Sink>,
    ) -> Result<Arc<Self>, Error> {
        Self::launch_with(config, plugins, sink, Tuning::default()).await
    }

    /// [`launch`](Self::launch) with other time limits.
    pub async fn launch_with(
        config: &ProviderConfig,
        plugins: &PluginsConfig,
        sink: Arc<dyn Sink>,
        tuning: Tuning,
    ) -> Result<Arc<Self>, Error> {
        let image = image(config, plugins, &tuning).await?;
        let faults = schema::validate(&config.config, &config.positions, &image.info.config_schema);
        if !faults.is_empty() {
            return Err(Error::Config {
                provider: config.name.clone(),
                path: image.path.clone(),
                faults,
            });
        }
        let supervised = Supervised::new(&config.name, image, config.config.clone(), sink, tuning);
        supervised.start(config.required).await.map_err(|fault| Error::Start {
            provider: config.name.clone(),
            path: image.path.clone(),
            fault,
        })?;
        tokio::spawn(supervise::run(supervised.clone()));
        Ok(Arc::new(Self { supervised }))
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.supervised.name
    }

    /// What its plugin says of itself.
    pub fn info(&self) -> &PluginInfo {
        &self.supervised.image.info
    }

    /// The hash of the plugin's file.
    pub fn sha256(&self) -> Sha256Digest {
        self.supervised.image.sha256
    }

    /// The ABI that the plugin was built for.
    pub fn abi(&self) -> Abi {
        self.supervised.image.abi
    }

    /// What it carries of a pod, with its config.
    pub fn support(&self) -> Arc<Support> {
        self.supervised.support()
    }

    /// Follows its state. Every new [`State::Ready`] needs a [`sync`](Self::sync).
    pub fn state(&self) -> watch::Receiver<State> {
        self.supervised.watch()
    }

    /// Whether a capability can be used.
    pub fn has(&self, capability_id: &str) -> bool {
        self.supervised.image.has(capability_id)
    }

    /// Calls that wait for an answer now.
    pub fn in_flight(&self) -> usize {
        self.supervised
            .present()
            .map_or(0, |instance| instance.end.calls.in_flight())
    }

    /// Completions of the present instance that nobody waited for.
    pub fn stray_completions(&self) -> u64 {
        self.supervised
            .present()
            .map_or(0, |instance| instance.end.calls.strays())
    }

    /// Says which pods the host believes the provider has; answers with those that it has, whoever made them.
    pub async fn sync(&self, believed: Vec<PodIdentity>, timeout: Duration) -> Result<Vec<PodReport>> {
        let body = encode(&request::SyncRequest { pods: believed })?;
        let list: request::PodList = self.call(|root| root.sync(), &body, timeout).await?;
        Ok(list.pods)
    }

    /// Runs a pod: the body is JSON of [`PodRequest`](outrigger_plugin::PodRequest). Safe to repeat.
    pub async fn create_pod(&self, body: Vec<u8>, timeout: Duration) -> Result<PodReport> {
        self.call(|root| root.create_pod(), &body, timeout).await
    }

    /// Brings a pod to a changed manifest or changed materials: the body is JSON of
    /// [`PodRequest`](outrigger_plugin::PodRequest).
    pub async fn update_pod(&self, body: Vec<u8>, timeout: Duration) -> Result<UpdateOutcome> {
        self.call(|root| root.update_pod(), &body, timeout).await
    }

    /// Stops a pod's containers and waits until they have ended. May be repeated with a shorter grace period.
    pub async fn stop_pod(&self, identity: &PodIdentity, grace: Duration, timeout: Duration) -> Result<PodReport> {
        let body = encode(&request::StopRequest {
            identity: identity.clone(),
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
        })?;
        self.call(|root| root.stop_pod(), &body, timeout).await
    }

    /// Releases what is left of a stopped pod.
    pub async fn remove_pod(&self, identity: &PodIdentity, timeout: Duration) -> Result<()> {
        let body = encode(&key(identity))?;
        self.call(|root| root.remove_pod(), &body, timeout).await
    }

    /// A pod's state.
    pub async fn get_pod(&self, identity: &PodIdentity, timeout: Duration) -> Result<PodReport> {
        let body = encode(&key(identity))?;
        self.call(|root| root.get_pod(), &body, timeout).await
    }

    /// The states of all pods that the provider has, whoever made them.
    pub async fn list_pods(&self, timeout: Duration) -> Result<Vec<PodReport>> {
        let list: request::PodList = self.call(|root| root.list_pods(), EMPTY, timeout).await?;
        Ok(list.pods)
    }

    /// How a virtual node looks.
    pub async fn describe_node(&self, node: &str, timeout: Duration) -> Result<NodeDescription> {
        let body = encode(&request::NodeKey { node: node.to_owned() })?;
        self.call(|root| root.describe_node(), &body, timeout).await
    }

    /// Whether the backend works. An instance that leaves several pings in a row without an answer is given up.
    pub async fn ping(&self, timeout: Duration) -> Result<()> {
        let instance = self.supervised.current()?;
        let begun = tokio::time::Instant::now();
        match instance.call(instance.image.root.ping(), EMPTY, timeout).await? {
            Ended::Answered(outcome) => {
                instance.heard();
                let answer = outcome.and_then(|reply| decode(&reply));
                if answer.is_ok() {
                    self.supervised.answered();
                }
                answer
            }
            Ended::Silent(error) => {
                let silent = instance.not_heard(begun);
                if silent >= self.supervised.tuning.silent_pings {
                    let reason = format!("{silent} pings in a row got no answer within {timeout:?}");
                    self.supervised.poison(instance.epoch, &reason);
                }
                Err(error)
            }
        }
    }

    /// Tells the plugin that the host is about to shut down; [`shutdown`](Self::shutdown) follows.
    pub fn announce_shutdown(&self) {
        self.supervised.announce_shutdown();
    }

    /// Lets the plugin flush what it must, waits for the last log lines, and stops for good, all within `timeout`. Pods stay.
    pub async fn shutdown(&self, timeout: Duration) -> Result<()> {
        self.supervised.announce_shutdown();
        let Some(instance) = self.supervised.stop() else {
            return Ok(());
        };
        let reserve = LAST_WORDS.min(timeout / 4);
        let limit = timeout.saturating_sub(2 * reserve);
        let outcome = match instance.call(instance.image.root.shutdown(), EMPTY, limit).await {
            Ok(ended) => ended.into_outcome().map(drop),
            Err(error) => Err(error),
        };
        instance.give_up(&ProviderError::unavailable("the provider was shut down"));
        // How it is dropped belongs into the log as well. One that hangs there has had its time.
        let _ = tokio::time::timeout(reserve, instance.end.silent()).await;
        // A failure to run the closure means that the runtime ends: then there is no log to wait for either.
        let _ = tokio::task::spawn_blocking(move || super::forward::flush(reserve)).await;
        outcome
    }

    /// Begins to read a container's log.
    pub async fn read_logs(&self, request: &LogRequest, timeout: Duration) -> Result<LogStream> {
        let instance = self.supervised.current()?;
        let Some(logs) = instance.image.logs else {
            return Err(ProviderError::unsupported("this provider has no container logs"));
        };
        let body = encode(request)?;
        let Forward { stream, outcome } = session::forward(&instance, timeout, |handle, header, fd| {
            (logs.read())(handle, header, RSlice::from_slice(&body), fd)
        })?;
        Ok(LogStream::new(stream, outcome))
    }

    /// Resource use of a node and its pods, now.
    pub async fn stats(&self, node: &str, timeout: Duration) -> Result<StatsSummary> {
        let instance = self.supervised.current()?;
        let Some(stats) = instance.image.stats else {
            return Err(ProviderError::unsupported("this provider has no resource statistics"));
        };
        let body = encode(&request::StatsRequest { node: node.to_owned() })?;
        let ended = instance.call(stats.summary(), &body, timeout).await?;
        decode(&ended.into_outcome()?)
    }

    /// Images that the backend holds for a node.
    pub async fn images(&self, node: &str, timeout: Duration) -> Result<Vec<Image>> {
        let instance = self.supervised.current()?;
        let Some(images) = instance.image.images else {
            return Err(ProviderError::unsupported("this provider does not tell its images"));
        };
        let body = encode(&request::NodeKey { node: node.to_owned() })?;
        let ended = instance.call(images.list(), &body, timeout).await?;
        let list: request::ImageList = decode(&ended.into_outcome()?)?;
        Ok(list.images)
    }

    /// Begins to run a command in a container, with the streams that the request asks for. It has no time limit: it ends
    /// with the command, with the provider's instance, or when the session is dropped. Needs a tokio runtime.
    pub fn exec(&self, request: &ExecRequest) -> Result<Session<ExitStatus>> {
        let instance = self.supervised.current()?;
        let Some(exec) = instance.image.exec else {
            return Err(ProviderError::unsupported(
                "this provider runs no commands in containers",
            ));
        };
        let body = encode(request)?;
        let wanted = Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        };
        session::open(&instance, wanted, |handle, header, fds| {
            (exec.exec())(handle, header, RSlice::from_slice(&body), fds)
        })
    }

    /// Attaches to a container's main process, with the streams that the request asks for; else as
    /// [`exec`](Self::exec).
    pub fn attach(&self, request: &AttachRequest) -> Result<Session<()>> {
        let instance = self.supervised.current()?;
        let Some(attach) = instance.image.attach else {
            return Err(ProviderError::unsupported("this provider attaches to no containers"));
        };
        let body = encode(request)?;
        let wanted = Wanted {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            tty: request.tty,
        };
        session::open(&instance, wanted, |handle, header, fds| {
            (attach.attach())(handle, header, RSlice::from_slice(&body), fds)
        })
    }

    /// Begins a connection to a TCP port of a pod. That nobody listens there is told by its outcome. It has no time limit.
    /// Needs a tokio runtime.
    pub fn port_forward(&self, request: &PortForwardRequest) -> Result<Forward> {
        let instance = self.supervised.current()?;
        let Some(forward) = instance.image.port_forward else {
            return Err(ProviderError::unsupported("this provider forwards no ports"));
        };
        let body = encode(request)?;
        session::forward(&instance, Duration::MAX, |handle, header, fd| {
            (forward.connect())(handle, header, RSlice::from_slice(&body), fd)
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        operation: impl FnOnce(PluginRef) -> Operation,
        body: &[u8],
        timeout: Duration,
    ) -> Result<T> {
        let instance = self.supervised.current()?;
        let ended = instance.call(operation(instance.image.root), body, timeout).await?;
        decode(&ended.into_outcome()?)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if let Some(instance) = self.supervised.stop() {
            instance.give_up(&ProviderError::unavailable("the provider was dropped"));
        }
    }
}

/// For what an instance still logs when it ends, twice: while it is released, and on the way to the log.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Body of operations without arguments.
const EMPTY: &[u8] = b"{}";

fn key(identity: &PodIdentity) -> request::PodKey {
    request::PodKey {
        identity: identity.clone(),
    }
}

fn encode(request: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(request)
        .map_err(|error| ProviderError::internal("unable to encode a request").with_source(error))
}

pub(super) fn decode<T: DeserializeOwned>(reply: &[u8]) -> Result<T> {
    serde_json::from_slice(reply)
        .map_err(|error| ProviderError::internal("unable to read the provider's reply").with_source(error))
}

/// From a provider's config to code: find, verify, try out in a child, load.
async fn image(
    config: &ProviderConfig,
    plugins: &PluginsConfig,
    tuning: &Tuning,
) -> Result<&'static PluginImage, Error> {
    let begun = Instant::now();
    let path = match &config.path {
        Some(path) => path.clone(),
        None => find(&config.plugin, &plugins.directories)?,
    };
    let (file, loaded) = {
        let (path, config, plugins) = (path.clone(), config.clone(), plugins.clone());
        blocking(&path.clone(), move || {
            let fault = |fault| Error::File {
                path: path.clone(),
                fault,
            };
            let file = verify::read(&path).map_err(fault)?;
            file.admit(&config.plugin, config.sha256, plugins.allow.as_deref())
                .map_err(fault)?;
            let loaded = load::is_loaded(&file, plugins.load);
            Ok((file, loaded))
        })
        .await?
    };
    if !loaded {
        probe::agree(&file, &tuning.probe).await?;
    }
    let image = place(file, plugins.load).await?;
    if image.info.name.replace('-', "_") != config.plugin.replace('-', "_") {
        tracing::warn!(
            provider = config.name,
            path = %path.display(),
            asked = config.plugin,
            found = image.info.name,
            "plugin calls itself by another name than the config"
        );
    }
    tracing::info!(
        provider = config.name,
        plugin = image.info.name,
        version = image.info.version,
        path = %path.display(),
        sha256 = %image.sha256,
        abi = %image.abi,
        load = ?image.load_time,
        total = ?begun.elapsed(),
        "plugin loaded"
    );
    Ok(image)
}

async fn place(file: PluginFile, how: PluginLoad) -> Result<&'static PluginImage, Error> {
    let path = file.path.clone();
    blocking(&path.clone(), move || {
        load::load(&file, how).map_err(|fault| Error::Load { path, fault })
    })
    .await
}

/// Runs what waits for disks and the dynamic loader where it may wait.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::Ending { path: path.to_owned() }))
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name())
            .field("state", &*self.supervised.watch().borrow())
            .finish()
    }
}

impl From<StartFault> for ProviderError {
    fn from(fault: StartFault) -> Self {
        match fault {
            StartFault::Refused(error) => error,
            other => ProviderError::unavailable(other.to_string()),
        }
    }
}
