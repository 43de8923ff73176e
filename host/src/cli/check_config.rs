//! `outrigger check-config`

use super::INTERNAL;
use super::USAGE;
use super::missing_plugin;
use super::runtime;
use super::show;
use crate::config::Fault;
use crate::config::Faults;
use crate::config::HostConfig;
use crate::config::Overlay;
use crate::config::Resolved;
use crate::config::examine;
use crate::config::schema;
use crate::plugin;
use crate::plugin::Admits;
use crate::plugin::Inspection;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::process::ExitCode;

/// Says what is wrong with the configuration, or what it amounts to.
pub(super) fn run(overlay: &Overlay, effective: bool) -> ExitCode {
    let (resolved, faults) = examine(overlay);
    // Where the directories of plugins are in doubt, nothing can be said of what is not there.
    let clear = faults.list().iter().all(is_harmless);
    let missing = clear.then(|| missing_plugin(&resolved)).flatten();
    let faults = Faults::new(faults.list().iter().cloned().chain(missing).collect());
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("unable to start a runtime: {error}; look for limits on threads or files");
            return INTERNAL.into();
        }
    };
    let sections = if faults.list().iter().all(is_harmless) {
        runtime.block_on(check_sections(&resolved.config))
    } else {
        Sections::left(&resolved.config)
    };
    for note in &sections.unchecked {
        eprintln!("{note}");
    }
    let faults = Faults::new([faults.list(), &sections.faults].concat());
    if !faults.list().is_empty() {
        eprintln!("{faults}");
        return USAGE.into();
    }
    show(&if effective {
        resolved.effective()
    } else {
        summary(&resolved)
    })
}

/// Parts of the file that say nothing of which plugins may be run.
const HARMLESS: [&str; 9] = [
    "cluster",
    "events",
    "intervals",
    "kubelet",
    "log",
    "nodes",
    "onShutdown",
    "orphans",
    "shutdownTimeout",
];

/// Whether a fault leaves no doubt about which plugins may be run: what could not be read of the file is not there, a hash or the
/// list of what is allowed for example.
fn is_harmless(fault: &Fault) -> bool {
    let part = fault.path.split(['.', '[']).next().unwrap_or_default();
    HARMLESS.contains(&part)
}

/// What the plugins' schemas say of the providers' sections.
struct Sections {
    faults: Vec<Fault>,
    /// A line for each section that could not be checked, because its plugin can't be used here: that is no fault of
    /// the file, which may be meant for another machine.
    unchecked: Vec<String>,
}

impl Sections {
    /// None was looked into, because of a fault that may be one of what guards plugins.
    fn left(config: &HostConfig) -> Self {
        let unchecked = match config.providers.is_empty() {
            true => Vec::new(),
            false => vec!["the configs of providers were not checked: correct the faults below first".to_owned()],
        };
        Self {
            faults: Vec::new(),
            unchecked,
        }
    }
}

async fn check_sections(config: &HostConfig) -> Sections {
    let mut inspected: BTreeMap<_, Result<Inspection, plugin::Error>> = BTreeMap::new();
    let (mut faults, mut unchecked) = (Vec::new(), Vec::new());
    for provider in &config.providers {
        let mut skip = |error: &plugin::Error| {
            unchecked.push(format!(
                "the config of provider {:?} was not checked: {error}",
                provider.name
            ));
        };
        let path = match &provider.path {
            Some(path) => path.clone(),
            None => match plugin::find(&provider.plugin, &config.plugins.directories) {
                Ok(path) => path,
                Err(error) => {
                    skip(&error);
                    continue;
                }
            },
        };
        let admits = Admits {
            plugin: Some(&provider.plugin),
            sha256: provider.sha256,
            allow: config.plugins.allow.as_deref(),
        };
        // Of two providers with one file only one may name its hash, and both are asked.
        let inspection = match inspected.entry((
            path,
            provider.plugin.clone(),
            provider.sha256.map(|hash| hash.to_string()),
        )) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let inspection = plugin::inspect(&new.key().0, admits).await;
                new.insert(inspection)
            }
        };
        match inspection {
            Ok(found) => {
                faults.extend(schema::validate(
                    &provider.config,
                    &provider.positions,
                    &found.info.config_schema,
                ));
            }
            Err(error) => skip(error),
        }
    }
    Sections { faults, unchecked }
}

fn summary(resolved: &Resolved) -> String {
    let (providers, nodes) = (resolved.config.providers.len(), resolved.config.nodes.len());
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "the configuration is valid: {}, {}\n",
        plural(providers, "provider"),
        plural(nodes, "node")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeConfig;
    use crate::config::ProviderConfig;

    #[tokio::test]
    async fn a_plugin_that_is_not_here_is_no_fault_of_the_file() {
        let config = HostConfig::new(
            vec![ProviderConfig::new("elsewhere")],
            vec![NodeConfig::new("vk", "elsewhere")],
        );
        let sections = check_sections(&config).await;
        assert!(sections.faults.is_empty());
        assert_eq!(sections.unchecked.len(), 1);
        let start = "the config of provider \"elsewhere\" was not checked: unable to find plugin \"elsewhere\"";
        assert!(sections.unchecked[0].starts_with(start), "{}", sections.unchecked[0]);
    }
}
