//! Prints the effective configuration as a file that would give it, each value with its origin as a comment.

use super::HostConfig;
use super::LogFormat;
use super::NodeConfig;
use super::OnShutdown;
use super::Origins;
use super::PluginLoad;
use super::ProviderConfig;
use super::Resolved;
use super::ServingCert;
use super::duration::DurationText;
use super::nearest::folded;
use super::tree::field_path;
use std::fmt::Display;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Column of the origins.
const MARGIN: usize = 44;

/// What stands for a value of a provider's section whose name sounds like a secret.
const HIDDEN: &str = "(not shown)";

impl Resolved {
    /// The effective configuration as YAML, one value a line, with `# from flag --log-level` and the like behind it.
    ///
    /// Values of a provider's section that sound like secrets are not shown, so it can be pasted into a report.
    pub fn effective(&self) -> String {
        let mut page = Page {
            text: String::new(),
            origins: &self.origins,
        };
        page.host(&self.config);
        page.text
    }
}

struct Page<'a> {
    text: String,
    origins: &'a Origins,
}

impl Page<'_> {
    fn host(&mut self, config: &HostConfig) {
        self.raw("apiVersion: outrigger.dev/v1alpha1\nkind: HostConfig");
        self.raw("cluster:");
        match config.cluster.kubeconfig.as_slice() {
            [] => self.absent(2, "cluster.kubeconfig", "the service account of the host's own pod"),
            [one] => self.path(2, "cluster.kubeconfig", one),
            many => self.value(
                2,
                "cluster.kubeconfig",
                flow(many.iter().map(|path| path.display().to_string())),
            ),
        }
        match &config.cluster.id {
            None => self.absent(2, "cluster.id", "the UID of the namespace kube-system"),
            Some(id) => self.value(2, "cluster.id", quoted(id)),
        }
        match &config.cluster.node_certificates {
            None => self.absent(
                2,
                "cluster.nodeCertificates",
                "all nodes act with the host's own credentials",
            ),
            Some(directory) => self.path(2, "cluster.nodeCertificates", directory),
        }
        self.value(2, "cluster.watchesPerNodeUpTo", config.cluster.watches_per_node_up_to);
        self.raw("log:");
        self.value(2, "log.level", quoted(&config.log.level));
        self.value(
            2,
            "log.format",
            if config.log.format == LogFormat::Json {
                "json"
            } else {
                "text"
            },
        );
        self.plugins(config);
        self.raw("providers:");
        for (index, provider) in config.providers.iter().enumerate() {
            self.provider(index, provider);
        }
        self.raw("nodes:");
        for (index, node) in config.nodes.iter().enumerate() {
            self.node(index, node);
        }
        self.kubelet(config);
        let on_shutdown = match config.on_shutdown {
            OnShutdown::Keep => "keep",
            OnShutdown::Cordon => "cordon",
            OnShutdown::Deregister => "deregister",
        };
        self.value(0, "onShutdown", on_shutdown);
        self.duration(0, "shutdownTimeout", config.shutdown_timeout);
        self.raw("orphans:");
        self.value(2, "orphans.dryRun", config.orphans.dry_run);
        self.duration(2, "orphans.after", config.orphans.after);
        self.raw("events:");
        self.value(2, "events.enabled", config.events.enabled);
        self.raw("intervals:");
        self.duration(2, "intervals.ping", config.intervals.ping);
        self.duration(2, "intervals.pingTimeout", config.intervals.ping_timeout);
        self.duration(2, "intervals.statusReport", config.intervals.status_report);
        self.duration(2, "intervals.statusResend", config.intervals.status_resend);
    }

    fn plugins(&mut self, config: &HostConfig) {
        self.raw("plugins:");
        self.value(2, "plugins.directories", "");
        for directory in &config.plugins.directories {
            self.raw(&format!("    - {}", quoted(&directory.display().to_string())));
        }
        self.value(
            2,
            "plugins.load",
            if config.plugins.load == PluginLoad::Path {
                "path"
            } else {
                "memory"
            },
        );
        match &config.plugins.allow {
            None => self.absent(2, "plugins.allow", "every plugin"),
            Some(list) => {
                self.value(2, "plugins.allow", if list.is_empty() { "[]" } else { "" });
                for entry in list {
                    self.raw(&format!(
                        "    - {{ name: {}, sha256: \"{}\" }}",
                        quoted(&entry.name),
                        entry.sha256
                    ));
                }
            }
        }
    }

    fn provider(&mut self, index: usize, provider: &ProviderConfig) {
        let at = |field: &str| format!("providers[{index}].{field}");
        self.item(&at("name"), quoted(&provider.name));
        self.value(4, &at("plugin"), quoted(&provider.plugin));
        match &provider.path {
            None => self.absent(4, &at("path"), "searched in plugins.directories"),
            Some(path) => self.path(4, &at("path"), path),
        }
        match &provider.sha256 {
            None => self.absent(4, &at("sha256"), "any"),
            Some(sha256) => self.value(4, &at("sha256"), format!("\"{sha256}\"")),
        }
        self.value(4, &at("required"), provider.required);
        let config = serde_yaml::to_string(&without_secrets(&provider.config)).unwrap_or_else(|_| "{}".to_owned());
        if config.trim_end() == "{}" {
            self.value(4, &at("config"), "{}");
        } else {
            self.value(4, &at("config"), "");
            config.lines().for_each(|line| self.raw(&format!("      {line}")));
        }
    }

    fn node(&mut self, index: usize, node: &NodeConfig) {
        let at = |field: &str| format!("nodes[{index}].{field}");
        self.item(&at("name"), quoted(&node.name));
        self.value(4, &at("provider"), quoted(&node.provider));
        match node.address {
            None => self.absent(4, &at("address"), "the address that routes to the API server"),
            Some(address) => self.value(4, &at("address"), quoted(&address.to_string())),
        }
        self.value(4, &at("port"), node.port);
        for (field, map) in [
            ("labels", &node.labels),
            ("annotations", &node.annotations),
            ("capacity", &node.capacity),
        ] {
            self.value(4, &at(field), if map.is_empty() { "{}" } else { "" });
            map.iter()
                .for_each(|(key, value)| self.raw(&format!("      {}: {}", quoted(key), quoted(value))));
        }
        self.value(4, &at("taints"), if node.taints.is_empty() { "[]" } else { "" });
        for taint in &node.taints {
            let (key, value, effect) = (quoted(&taint.key), quoted(&taint.value), taint.effect.as_str());
            self.raw(&format!("      - {{ key: {key}, value: {value}, effect: {effect} }}"));
        }
        self.value(4, &at("defaults"), "");
        let defaults = node.defaults;
        for (field, value) in [
            ("taint", defaults.taint),
            ("typeLabel", defaults.type_label),
            ("excludeFromLoadBalancers", defaults.exclude_from_load_balancers),
            ("kubernetesLabels", defaults.kubernetes_labels),
        ] {
            self.value(6, &field_path(&at("defaults"), field), value);
        }
        self.value(4, &at("providerID"), quoted(&node.provider_id));
        self.value(4, &at("notReadyAfter"), node.not_ready_after);
    }

    fn kubelet(&mut self, config: &HostConfig) {
        let kubelet = &config.kubelet;
        self.raw("kubelet:");
        self.value(2, "kubelet.listen", quoted(&kubelet.listen.to_string()));
        match &kubelet.client_ca_file {
            None => self.absent(2, "kubelet.clientCAFile", "client certificates say nothing"),
            Some(path) => self.path(2, "kubelet.clientCAFile", path),
        }
        self.value(2, "kubelet.verifyClients", kubelet.verify_clients);
        let (who, may) = (&kubelet.authentication, &kubelet.authorization);
        self.raw("  authentication:\n    anonymous:");
        self.value(6, "kubelet.authentication.anonymous.enabled", who.anonymous);
        self.raw("    webhook:");
        self.value(6, "kubelet.authentication.webhook.enabled", who.tokens);
        self.duration(6, "kubelet.authentication.webhook.cacheTTL", who.cache);
        self.raw("  authorization:\n    webhook:");
        self.duration(6, "kubelet.authorization.webhook.cacheAuthorizedTTL", may.cache_allowed);
        self.duration(
            6,
            "kubelet.authorization.webhook.cacheUnauthorizedTTL",
            may.cache_denied,
        );
        self.value(
            4,
            "kubelet.authorization.sessionsRequireCreate",
            may.sessions_require_create,
        );
        match &kubelet.serving_cert {
            ServingCert::SelfSigned | ServingCert::Requested => {
                self.absent(2, "kubelet.certFile", "each node has a certificate of its own");
            }
            ServingCert::Files { cert_file, key_file } => {
                self.path(2, "kubelet.certFile", cert_file);
                self.path(2, "kubelet.keyFile", key_file);
            }
        }
        let requested = kubelet.serving_cert == ServingCert::Requested;
        self.value(2, "kubelet.serverTLSBootstrap", requested);
        match &kubelet.cert_directory {
            None => self.absent(2, "kubelet.certDirectory", "in memory, and new at each start"),
            Some(path) => self.path(2, "kubelet.certDirectory", path),
        }
        self.value(2, "kubelet.extendWebSockets", kubelet.extend_web_sockets);
        match kubelet.shared_listener {
            None => self.absent(2, "kubelet.sharedListener", "each node has a port of its own"),
            Some(port) => self.value(2, "kubelet.sharedListener", port),
        }
        let servers = kubelet.cluster_dns.iter().map(ToString::to_string);
        self.value(2, "kubelet.clusterDNS", flow(servers));
        self.value(2, "kubelet.clusterDomain", quoted(&kubelet.cluster_domain));
        match &kubelet.resolv_conf {
            None => self.absent(2, "kubelet.resolvConf", "as the backend has it"),
            Some(path) => self.path(2, "kubelet.resolvConf", path),
        }
    }

    fn raw(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A line, and the origin of the value at `path`.
    fn line(&mut self, line: &str, path: &str) {
        // Into a String, which can't fail.
        let _ = writeln!(self.text, "{:MARGIN$} # {}", line.trim_end(), self.origins.of(path));
    }

    fn value(&mut self, indent: usize, path: &str, value: impl Display) {
        self.line(&format!("{:indent$}{}: {value}", "", last(path)), path);
    }

    /// The first field of an item of a list.
    fn item(&mut self, path: &str, value: impl Display) {
        self.line(&format!("  - {}: {value}", last(path)), path);
    }

    /// A value that nobody gave and that has no default to write down.
    fn absent(&mut self, indent: usize, path: &str, meaning: &str) {
        self.raw(&format!("{:indent$}# {}: none, {meaning}", "", last(path)));
    }

    fn path(&mut self, indent: usize, path: &str, value: &Path) {
        self.value(indent, path, quoted(&value.display().to_string()));
    }

    fn duration(&mut self, indent: usize, path: &str, value: Duration) {
        self.value(indent, path, DurationText(value));
    }
}

/// The name of the field that `path` leads to.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// A list on one line; JSON's form is YAML too, and commas in a text are safe in it.
fn flow(texts: impl Iterator<Item = String>) -> serde_json::Value {
    texts.collect::<Vec<_>>().into()
}

/// `text` as a YAML scalar, in quotes where it needs them.
fn quoted(text: &str) -> String {
    let plain = serde_yaml::to_string(text).map(|yaml| yaml.trim_end().to_owned());
    // A text of several lines comes out as a block, which does not fit on a line; JSON's form is YAML too.
    plain
        .ok()
        .filter(|yaml| !yaml.contains('\n'))
        .unwrap_or_else(|| serde_json::Value::from(text).to_string())
}

fn without_secrets(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| {
                    let value = if sounds_secret(key) {
                        Value::from(HIDDEN)
                    } else {
                        without_secrets(value)
                    };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_secrets).collect()),
        Value::String(text) if text.contains("PRIVATE KEY-----") => Value::from(HIDDEN),
        Value::String(text) => Value::from(without_user(text)),
        other => other.clone(),
    }
}

/// A text whose URLs are without the users and passwords in them.
fn without_user(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let authority = &part[..part.find(['/', '?', '#', ',', ' ']).unwrap_or(part.len())];
        shown.push_str("://");
        match authority.rfind('@') {
            Some(at) => shown.extend([HIDDEN, &part[at..]]),
            None => shown.push_str(part),
        }
    }
    shown
}

fn sounds_secret(key: &str) -> bool {
    const PARTS: [&str; 8] = [
        "pass",
        "pwd",
        "pem",
        "secret",
        "token",
        "credential",
        "connectionstring",
        "sas",
    ];
    let key = folded(key);
    key.ends_with("key") || PARTS.iter().any(|part| key.contains(part))
}

#[cfg(test)]
#[path = "effective_tests.rs"]
mod tests;
