//! Providers of the file, and which of them run.

use super::NodeConfig;
use super::ProviderConfig;
use super::file;
use super::names;
use super::origin::Origin;
use super::resolve::Resolver;
use std::path::Path;

impl Resolver<'_> {
    /// The providers of the file. One without a usable name keeps its place as `None`, so that nodes that refer to it
    /// are not called wrong as well.
    pub(super) fn providers(&mut self, entries: file::Items<file::Provider>) -> Vec<Option<ProviderConfig>> {
        let mut providers: Vec<Option<ProviderConfig>> = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let provider = entry.and_then(|entry| self.provider(index, entry));
            let first = provider.as_ref().and_then(|new| {
                providers
                    .iter()
                    .position(|known| known.as_ref().is_some_and(|known| known.name == new.name))
            });
            if let (Some(first), Some(new)) = (first, &provider) {
                let path = format!("providers[{index}]");
                let named = format!("{path}.name");
                let message = format!(
                    "two providers are named {:?}, the other is providers[{first}]",
                    new.name
                );
                if self.written(&named) {
                    self.fault(&named, message);
                } else {
                    self.fault(&path, format!("{message}; give one of them a `name`"));
                }
            }
            providers.push(provider);
        }
        providers
    }

    fn provider(&mut self, index: usize, entry: file::Provider) -> Option<ProviderConfig> {
        let at = format!("providers[{index}]");
        let path = entry.path.as_deref().map(|path| self.path(path));
        let plugin = match entry.plugin.or_else(|| path.as_deref().and_then(plugin_of)) {
            Some(plugin) => plugin,
            None => {
                if path.is_some() {
                    let message =
                        "expected a file called liboutrigger_NAME.so; if it has another name, say `plugin: NAME`";
                    self.fault(&format!("{at}.path"), message.to_owned());
                } else if !self.written(&format!("{at}.plugin")) && !self.written(&format!("{at}.path")) {
                    self.fault(
                        &at,
                        "plugin is missing, expected a plugin's name, or the path of its file".to_owned(),
                    );
                }
                return None;
            }
        };
        // A name that was written and is wrong has its fault already.
        let name = match entry.name {
            Some(name) => name,
            None if self.written(&format!("{at}.name")) => return None,
            None => plugin.replace('_', "-"),
        };
        let mut config = ProviderConfig::new(plugin);
        config.name = name;
        config.path = path;
        config.sha256 = entry.sha256;
        config.required = entry.required.unwrap_or(false);
        if let Some(section) = entry.config.filter(|section| !section.is_null()) {
            config.config = section;
        }
        if let Some(document) = &mut self.document {
            config.positions = document.take_section(index);
        }
        Some(config)
    }

    /// Leaves what `--provider` and `--nodename` ask for, and notes where the rest came from.
    pub(super) fn select(
        &mut self,
        providers: Vec<Option<ProviderConfig>>,
        nodes: Vec<(usize, NodeConfig)>,
    ) -> (Vec<ProviderConfig>, Vec<NodeConfig>) {
        let wanted = self.overlay.provider.clone();
        let chosen = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.value == name);
        let known = providers.iter().flatten().any(|provider| chosen(&provider.name));
        let Some(wanted) = wanted.as_ref().filter(|_| !known) else {
            let mut kept = Vec::new();
            for (entry, provider) in providers.into_iter().enumerate() {
                let Some(provider) = provider.filter(|provider| chosen(&provider.name)) else {
                    continue;
                };
                for field in ["name", "plugin", "path", "sha256", "required", "config"] {
                    self.moved("providers", entry, kept.len(), field);
                }
                kept.push(provider);
            }
            let nodes = self.chosen_nodes(nodes, chosen);
            return (kept, nodes);
        };
        // No provider of the file: a plugin, by itself.
        let from = wanted.from.clone();
        if let Err(message) = names::plugin(&wanted.value) {
            self.faults.elsewhere(source_of(&from), message);
            return (Vec::new(), Vec::new());
        }
        let mut provider = ProviderConfig::new(&wanted.value);
        provider.name = wanted.value.replace('_', "-");
        provider.positions.file = source_of(&from).to_owned();
        provider.positions.path = "config".to_owned();
        let node = NodeConfig::new(format!("outrigger-{}", provider.name), &provider.name);
        self.origins.note("providers[0].name", from.clone());
        self.origins.note("providers[0].plugin", from.clone());
        self.origins.note("nodes[0].provider", from);
        let mut nodes = vec![node];
        self.rename(&mut nodes);
        (vec![provider], nodes)
    }

    fn chosen_nodes(&mut self, nodes: Vec<(usize, NodeConfig)>, chosen: impl Fn(&str) -> bool) -> Vec<NodeConfig> {
        let any = !nodes.is_empty();
        let mut kept = Vec::new();
        for (entry, node) in nodes {
            if !chosen(&node.provider) {
                continue;
            }
            for field in super::nodes::FIELDS {
                self.moved("nodes", entry, kept.len(), field);
            }
            kept.push(node);
        }
        if let (true, true, Some(wanted)) = (any, kept.is_empty(), &self.overlay.provider) {
            let message = format!("no node of the file runs on the provider {:?}", wanted.value);
            self.faults.elsewhere(source_of(&wanted.from), message);
        }
        self.rename(&mut kept);
        kept
    }

    /// `--nodename`: the name of the one node.
    fn rename(&mut self, nodes: &mut [NodeConfig]) {
        let Some(name) = &self.overlay.nodename else { return };
        let source = source_of(&name.from);
        if let Err(message) = names::subdomain(&name.value) {
            self.faults.elsewhere(source, message);
        }
        match nodes {
            [] => {}
            [node] => {
                if node.provider_id == NodeConfig::default_provider_id(&node.provider, &node.name) {
                    node.provider_id = NodeConfig::default_provider_id(&node.provider, &name.value);
                }
                node.name = name.value.clone();
                self.origins.note("nodes[0].name", name.from.clone());
            }
            many => {
                let message = format!(
                    "would name {} nodes; choose a provider with one node by --provider, or name them in the file",
                    many.len()
                );
                self.faults.elsewhere(source, message);
            }
        }
    }

    /// Notes for item `to` of the effective configuration that its field came from item `entry` of the file.
    fn moved(&mut self, list: &str, entry: usize, to: usize, field: &str) {
        let origin = self
            .document
            .as_ref()
            .and_then(|document| document.origin(&format!("{list}[{entry}].{field}")));
        if let Some(origin) = origin {
            self.origins.note(format!("{list}[{to}].{field}"), origin);
        }
    }
}

fn source_of(origin: &Origin) -> &'static str {
    origin.outside_the_file().unwrap_or("--provider")
}

/// The plugin whose file this is by its name.
pub fn plugin_of(path: &Path) -> Option<String> {
    let name = path
        .file_name()?
        .to_str()?
        .strip_prefix("liboutrigger_")?
        .strip_suffix(".so")?;
    names::plugin(name).is_ok().then(|| name.to_owned())
}
