//! From flags, environment, file and defaults to the one configuration that counts.

use super::*;
use crate::config::document::Document;
use crate::config::document::absolute;
use crate::config::fault::Collector;
use crate::config::origin::Given;
use crate::config::origin::Origins;
use std::path::Path;
use std::path::PathBuf;

/// A configuration without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What counts.
    pub config: HostConfig,
    /// Where each value came from.
    pub origins: Origins,
}

/// Reads the file that `overlay` names, puts flags and environment over it, fills in defaults and checks the whole.
///
/// Every fault of every source is in the error, not only the first.
pub fn load(overlay: &Overlay) -> Result<Resolved, Faults> {
    let (resolved, faults) = examine(overlay);
    if faults.list().is_empty() {
        Ok(resolved)
    } else {
        Err(faults)
    }
}

/// The same for who goes on with a configuration that has faults, to find those that are elsewhere: what could not be made out of it
/// is left out, or has its default.
pub fn examine(overlay: &Overlay) -> (Resolved, Faults) {
    let path = overlay.config.as_ref().map(|given| given.value.as_path());
    let mut faults = Collector::new(path.map(|path| path.display().to_string()).unwrap_or_default());
    faults.extend(overlay.faults.iter().cloned());
    if path.is_none() && overlay.provider.is_none() {
        faults.elsewhere(
            "--config",
            "missing, expected a configuration file; or name a plugin with --provider",
        );
    }
    // Without a usable file the flags and variables are still looked at, so that one run shows all faults.
    let document = path.and_then(|path| Document::read(path, &mut faults));
    let mut resolver = Resolver {
        overlay,
        document,
        faults,
        origins: Origins::default(),
    };
    let config = resolver.host();
    let resolved = Resolved {
        config,
        origins: resolver.origins,
    };
    (resolved, resolver.faults.into_faults())
}

/// Where plugins come from, for commands that need no more of the configuration; a file that is named has to be valid.
pub fn plugin_settings(overlay: &Overlay) -> Result<PluginsConfig, Faults> {
    if overlay.config.is_some() {
        return load(overlay).map(|resolved| resolved.config.plugins);
    }
    let (faults, origins) = (Collector::new(""), Origins::default());
    Ok(Resolver {
        overlay,
        document: None,
        faults,
        origins,
    }
    .plugins(file::Plugins::default()))
}

/// The state of one [`load`].
pub(super) struct Resolver<'a> {
    pub(super) overlay: &'a Overlay,
    pub(super) document: Option<Document>,
    pub(super) faults: Collector,
    pub(super) origins: Origins,
}

impl Resolver<'_> {
    fn host(&mut self) -> HostConfig {
        let mut file = self
            .document
            .as_mut()
            .map(|document| std::mem::take(&mut document.file))
            .unwrap_or_default();
        let providers = self.providers(std::mem::take(&mut file.providers));
        let shares_port = file.kubelet.shared_listener.is_some();
        let nodes = self.nodes(std::mem::take(&mut file.nodes), &providers, shares_port);
        let (providers, nodes) = self.select(providers, nodes);
        let orphans = OrphanConfig::default();
        let rhythm = Intervals::default();
        HostConfig {
            cluster: self.cluster(file.cluster),
            log: self.log(file.log),
            plugins: self.plugins(file.plugins),
            providers,
            nodes,
            kubelet: self.kubelet(file.kubelet),
            on_shutdown: self.value("onShutdown", file.on_shutdown.map(Into::into), OnShutdown::default()),
            shutdown_timeout: self.value(
                "shutdownTimeout",
                file.shutdown_timeout.map(|text| text.0),
                HostConfig::DEFAULT_SHUTDOWN_TIMEOUT,
            ),
            orphans: OrphanConfig {
                dry_run: self.value("orphans.dryRun", file.orphans.dry_run, orphans.dry_run),
                after: self.value("orphans.after", file.orphans.after.map(|text| text.0), orphans.after),
            },
            events: EventsConfig {
                enabled: self.value("events.enabled", file.events.enabled, EventsConfig::default().enabled),
            },
            intervals: {
                let file = file.intervals;
                let mut interval = |name: &str, text: Option<duration::PositiveDuration>, default| {
                    self.value(&format!("intervals.{name}"), text.map(|text| text.0), default)
                };
                Intervals {
                    ping: interval("ping", file.ping, rhythm.ping),
                    ping_timeout: interval("pingTimeout", file.ping_timeout, rhythm.ping_timeout),
                    status_report: interval("statusReport", file.status_report, rhythm.status_report),
                    status_resend: interval("statusResend", file.status_resend, rhythm.status_resend),
                }
            },
        }
    }

    fn cluster(&mut self, file: file::Cluster) -> ClusterConfig {
        let in_file = file.kubeconfig.map(|path| vec![self.path(&path)]);
        let given = self.overlay.kubeconfig.clone();
        let given = given.map(|given| Given {
            value: vec![absolute(&given.value)],
            from: given.from,
        });
        let ambient = &self.overlay.ambient_kubeconfig;
        let mut kubeconfig = self.over("cluster.kubeconfig", given, in_file, Vec::new());
        if kubeconfig.is_empty() && !ambient.is_empty() {
            kubeconfig = ambient.iter().map(|path| absolute(path)).collect();
            self.origins.note("cluster.kubeconfig", Origin::Env("KUBECONFIG"));
        }
        if !kubeconfig.is_empty()
            && let Err(error) = kubeconfig::read(&kubeconfig)
        {
            self.fault_of("cluster.kubeconfig", error.to_string());
        }
        ClusterConfig {
            kubeconfig,
            id: self.optional("cluster.id", file.id),
            node_certificates: {
                let directory = file.node_certificates.map(|path| self.path(&path));
                self.optional("cluster.nodeCertificates", directory)
            },
            watches_per_node_up_to: self.value(
                "cluster.watchesPerNodeUpTo",
                file.watches_per_node_up_to,
                ClusterConfig::DEFAULT_WATCHES_PER_NODE_UP_TO,
            ),
        }
    }

    fn log(&mut self, file: file::Log) -> LogConfig {
        let default = LogConfig::default();
        let level = self.over("log.level", self.overlay.log_level.clone(), file.level, default.level);
        if self.origins.of("log.level").outside_the_file().is_some()
            && let Err(message) = shape::log_level(&level)
        {
            self.fault_of("log.level", message);
        }
        let words = shape::LOG_FORMATS;
        let format = self.over(
            "log.format",
            self.overlay.log_format.clone(),
            file.format,
            words[0].to_owned(),
        );
        if !words.contains(&format.as_str()) {
            let hint = nearest::did_you_mean(&format, words.iter().copied());
            let expected = nearest::alternatives(words.iter().copied());
            self.fault_of(
                "log.format",
                format!("unknown value {format:?}, expected {expected}{hint}"),
            );
        }
        let format = if format == "json" {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        LogConfig { level, format }
    }

    fn plugins(&mut self, file: file::Plugins) -> PluginsConfig {
        let in_file = file
            .directories
            .map(|list| list.iter().flatten().map(|path| self.path(path)).collect());
        let given = self.overlay.plugin_dirs.clone();
        let given = given.map(|given| Given {
            value: given.value.iter().map(|path| absolute(path)).collect::<Vec<_>>(),
            from: given.from,
        });
        let load = file.load.map(|load| match load {
            file::PluginLoad::Memory => PluginLoad::Memory,
            file::PluginLoad::Path => PluginLoad::Path,
        });
        let allow = file.allow.map(|list| {
            let known = list.into_iter().flatten();
            known
                .filter_map(|entry| {
                    Some(AllowedPlugin {
                        name: entry.name?,
                        sha256: entry.sha256?,
                    })
                })
                .collect()
        });
        PluginsConfig {
            directories: self.over("plugins.directories", given, in_file, default_directories()),
            load: self.value("plugins.load", load, PluginLoad::default()),
            allow: self.optional("plugins.allow", allow),
        }
    }

    /// A value that only the file can give.
    pub(super) fn value<T>(&mut self, path: &str, file: Option<T>, default: T) -> T {
        self.over(path, None, file, default)
    }

    /// A value that only the file can give, and that has no default.
    pub(super) fn optional<T>(&mut self, path: &str, file: Option<T>) -> Option<T> {
        self.value(path, file.map(Some), None)
    }

    /// A value that a flag or a variable may give as well; notes who did.
    pub(super) fn over<T>(&mut self, path: &str, given: Option<Given<T>>, file: Option<T>, default: T) -> T {
        if let Some(Given { value, from }) = given {
            self.origins.note(path, from);
            return value;
        }
        let Some(value) = file else { return default };
        if let Some(origin) = self.document.as_ref().and_then(|document| document.origin(path)) {
            self.origins.note(path, origin);
        }
        value
    }

    /// A fault of the value at `path`, wherever that came from.
    pub(super) fn fault_of(&mut self, path: &str, message: String) {
        match self.origins.of(path).outside_the_file() {
            Some(source) => self.faults.elsewhere(source, message),
            None => self.fault(path, message),
        }
    }

    /// A fault of the file's value at `path`.
    pub(super) fn fault(&mut self, path: &str, message: String) {
        let at = self.document.as_ref().and_then(|document| document.value_at(path));
        self.faults.push(at, path, message);
    }

    /// Whether the file has a field at `path`, be it with a fault that is known already.
    pub(super) fn written(&self, path: &str) -> bool {
        self.document.as_ref().is_some_and(|document| document.has(path))
    }

    /// A path of the file, from the file's directory.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.document
            .as_ref()
            .map_or_else(|| absolute(path), |document| document.resolve(path))
    }
}

/// Beside the program, where a build puts them, then where a package does.
fn default_directories() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent);
    let mut directories: Vec<_> = beside
        .into_iter()
        .flat_map(|dir| [dir.join("plugins"), dir.to_owned()])
        .collect();
    directories.push(PathBuf::from("/usr/lib/outrigger/plugins"));
    directories
}

impl From<file::OnShutdown> for OnShutdown {
    fn from(file: file::OnShutdown) -> Self {
        match file {
            file::OnShutdown::Keep => Self::Keep,
            file::OnShutdown::Cordon => Self::Cordon,
            file::OnShutdown::Deregister => Self::Deregister,
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
