//! A loaded plugin: its tables, and what it says of itself.

use super::layout;
use super::layout::Side;
use super::load::Abi;
use super::load::Fault;
use super::verify::PluginFile;
use crate::config::Sha256Digest;
use outrigger_plugin::PluginInfo;
use outrigger_wire::ABI_MINOR;
use outrigger_wire::CapabilityEntry;
use outrigger_wire::PluginRef;
use outrigger_wire::PrefixRef;
use outrigger_wire::PrefixRefTrait;
use outrigger_wire::ROption;
use outrigger_wire::RStr;
use outrigger_wire::StableAbiTrait;
use outrigger_wire::capability as wire;
use serde::Deserialize;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// A plugin's code in this process. Lives as long as the process.
pub struct Image {
    /// The file that it was read from.
    pub path: PathBuf,
    /// Hash of its bytes.
    pub sha256: Sha256Digest,
    /// The ABI that it was built for.
    pub abi: Abi,
    /// What it says of itself.
    pub info: PluginInfo,
    /// How long it took from opening to here.
    pub load_time: Duration,
    /// Its functions.
    pub root: PluginRef,
    /// What became of each capability that it names.
    pub capabilities: Vec<Capability>,
    /// Container logs.
    pub logs: Option<wire::LogsRef>,
    /// Resource use.
    pub stats: Option<wire::StatsRef>,
    /// Commands.
    pub exec: Option<wire::ExecRef>,
    /// Attaching.
    pub attach: Option<wire::AttachRef>,
    /// Connections.
    pub port_forward: Option<wire::PortForwardRef>,
    /// Images.
    pub images: Option<wire::ImagesRef>,
}

/// A capability that a plugin names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its id.
    pub id: String,
    /// What the host makes of it.
    pub verdict: Verdict,
}

/// What the host makes of a capability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is used.
    Usable,
    /// This host knows no such capability.
    Unknown,
    /// The plugin names it, but has no table for it.
    Missing,
    /// Its table differs from this host's; where.
    Incompatible(String),
}

impl Image {
    pub(super) fn new(file: &PluginFile, root: PluginRef, abi: Abi, begun: Instant) -> Result<Self, Fault> {
        let description = (root.describe())();
        if description.is_empty() {
            return Err(Fault::Description("its description panicked".to_owned()));
        }
        let info: PluginInfo =
            serde_json::from_slice(&description).map_err(|error| Fault::Description(error.to_string()))?;
        let mut image = Self {
            path: file.path.clone(),
            sha256: file.sha256,
            abi,
            load_time: Duration::ZERO,
            root,
            capabilities: Vec::new(),
            logs: None,
            stats: None,
            exec: None,
            attach: None,
            port_forward: None,
            images: None,
            info,
        };
        for id in image.info.capabilities.clone() {
            let verdict = image.resolve(&id);
            image.capabilities.push(Capability { id, verdict });
        }
        image.load_time = begun.elapsed();
        Ok(image)
    }

    /// Whether a capability can be used.
    pub fn has(&self, id: &str) -> bool {
        self.capabilities
            .iter()
            .any(|capability| capability.id == id && capability.verdict == Verdict::Usable)
    }

    fn resolve(&mut self, id: &str) -> Verdict {
        let ROption::RSome(entry) = (self.root.capability())(RStr::from_str(id)) else {
            return Verdict::Missing;
        };
        let checked = match id {
            wire::LOGS => table(entry).map(|table| self.logs = Some(table)),
            wire::STATS => table(entry).map(|table| self.stats = Some(table)),
            wire::EXEC => table(entry).map(|table| self.exec = Some(table)),
            wire::ATTACH => table(entry).map(|table| self.attach = Some(table)),
            wire::PORT_FORWARD => table(entry).map(|table| self.port_forward = Some(table)),
            wire::IMAGES => table(entry).map(|table| self.images = Some(table)),
            _ => return Verdict::Unknown,
        };
        checked.map_or_else(Verdict::Incompatible, |()| Verdict::Usable)
    }
}

/// The table of a capability, if its layout is the one that this host knows.
#[allow(unsafe_code)]
fn table<T: PrefixRefTrait + StableAbiTrait>(entry: CapabilityEntry) -> Result<T, String> {
    let host = Side {
        minor: ABI_MINOR,
        layout: T::LAYOUT,
    };
    let plugin = Side {
        minor: entry.minor,
        layout: entry.layout,
    };
    layout::check(host, plugin)?;
    if entry.table.is_null() {
        return Err("it has no table".to_owned());
    }
    // SAFETY: the entry was filled by SDK code, which takes layout and table from one type, and that layout was
    // compared with `T`'s just now; the table is a static of an image that is never unloaded.
    Ok(T::from_prefix_ref(unsafe {
        PrefixRef::from_raw::<T::PrefixFields>(entry.table.cast())
    }))
}
