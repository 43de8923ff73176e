//! `outrigger plugins inspect`

use crate::config::PluginsConfig;
use crate::config::plugin_of;
use crate::plugin;
use crate::plugin::Abi;
use crate::plugin::Inspection;
use crate::plugin::Verdict;
use outrigger_plugin::Level;
use outrigger_plugin::support::field;
use outrigger_wire::capability;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;

/// The capabilities that this host knows, in the order in which they are shown.
const KNOWN: [&str; 6] = [
    capability::LOGS,
    capability::EXEC,
    capability::ATTACH,
    capability::PORT_FORWARD,
    capability::STATS,
    capability::IMAGES,
];

/// What there is to know of a plugin; or its schema alone. One that the settings do not allow is not tried out.
pub(super) async fn page(name_or_path: &str, schema: bool, settings: &PluginsConfig) -> Result<String, plugin::Error> {
    let is_path = name_or_path.contains('/') || name_or_path.ends_with(".so");
    let path = if is_path {
        PathBuf::from(name_or_path)
    } else {
        plugin::find(name_or_path, &settings.directories)?
    };
    let name = match is_path {
        true => plugin_of(&path),
        false => Some(name_or_path.to_owned()),
    };
    let admits = plugin::Admits {
        plugin: name.as_deref(),
        sha256: None,
        allow: settings.allow.as_deref(),
    };
    let inspection = plugin::inspect(&path, admits).await?;
    Ok(if schema {
        format!("{:#}\n", inspection.info.config_schema)
    } else {
        describe(&inspection)
    })
}

fn describe(inspection: &Inspection) -> String {
    let info = &inspection.info;
    let mut page = String::new();
    let mut line = |name: &str, value: &dyn Display| {
        page.push_str(format!("{name:<14} {value}").trim_end());
        page.push('\n');
    };
    line("name", &info.name);
    line("version", &info.version);
    line("summary", &info.summary);
    line("file", &inspection.path.display());
    line("size", &format_args!("{} bytes", inspection.size_bytes));
    line("sha256", &inspection.sha256);
    line("abi", &format_args!("{} (this host has {})", inspection.abi, Abi::OURS));
    line("sdk", &info.sdk);
    line("build", &info.build);
    line(
        "loads in",
        &format_args!(
            "{}.{} ms",
            inspection.load_micros / 1000,
            inspection.load_micros % 1000 / 100
        ),
    );
    page.push_str("\ncapabilities\n");
    for (id, verdict) in capabilities(inspection) {
        page.push_str(&format!("  {id:<38} {verdict}\n"));
    }
    page.push_str("\nfields of a pod, with the plugin's default config\n");
    for (key, level) in support(inspection) {
        page.push_str(&format!("  {key:<38} {level}\n"));
    }
    page
}

/// The known capabilities, and those that the plugin names besides.
fn capabilities(inspection: &Inspection) -> Vec<(&str, String)> {
    let verdict = |id: &str| {
        inspection
            .capabilities
            .iter()
            .find(|named| named.id == id)
            .map(|named| &named.verdict)
    };
    let others = inspection
        .capabilities
        .iter()
        .map(|named| named.id.as_str())
        .filter(|id| !KNOWN.contains(id));
    let text = |id: &str| match verdict(id) {
        None => "no".to_owned(),
        Some(Verdict::Usable) => "yes".to_owned(),
        Some(Verdict::Unknown) => "no, this host does not know it; use a newer host".to_owned(),
        Some(Verdict::Missing) => "no, the plugin names it and has no table for it; report it to its author".to_owned(),
        Some(Verdict::Incompatible(cause)) => format!("no, its table differs from this host's: {cause}"),
    };
    KNOWN.into_iter().chain(others).map(|id| (id, text(id))).collect()
}

/// Every field that a provider can declare, and those that this one declares besides.
fn support(inspection: &Inspection) -> Vec<(&str, &'static str)> {
    let support = &inspection.info.support;
    let mut keys: BTreeSet<&str> = support.iter().map(|(key, _)| key).collect();
    for key in field::all() {
        keys.insert(key);
    }
    let word = |key: &str| match support.level(key) {
        Level::Supported => "supported",
        Level::Ignored => "ignored",
        Level::Refused => "refused",
    };
    keys.into_iter().map(|key| (key, word(key))).collect()
}

/// An inspection for tests.
#[cfg(test)]
pub(super) fn sample() -> Inspection {
    use outrigger_plugin::PluginInfo;
    use outrigger_plugin::Support;
    use plugin::Capability;
    let support = Support::none()
        .with("hostNetwork", Level::Ignored)
        .with("volumes.ours", Level::Supported);
    let named = |id: &str, verdict| Capability {
        id: id.to_owned(),
        verdict,
    };
    Inspection {
        path: "/lib/liboutrigger_my_cloud.so".into(),
        size_bytes: 1234,
        sha256: "ab".repeat(32),
        abi: "1.0".to_owned(),
        load_micros: 1567,
        info: PluginInfo::new("my-cloud", "3.1.4", support).with_summary("pods in my cloud"),
        capabilities: vec![
            named(capability::LOGS, Verdict::Usable),
            named(capability::EXEC, Verdict::Incompatible("a field is gone".to_owned())),
            named("vendor.magic", Verdict::Unknown),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AllowedPlugin;
    use crate::config::Sha256Digest;
    use sha2::Digest;

    #[test]
    fn the_page_shows_what_there_is_to_know() {
        let page = describe(&sample());
        let has = |name: &str, value: &str| {
            let found = page.lines().filter_map(|line| line.trim_start().strip_prefix(name));
            found.map(str::trim).any(|found| found == value)
        };
        for (name, value) in [
            ("name", "my-cloud"),
            ("version", "3.1.4"),
            ("summary", "pods in my cloud"),
            ("sha256", "ab".repeat(32).as_str()),
            ("abi", "1.0 (this host has 1.0)"),
            ("loads in", "1.5 ms"),
            ("outrigger.logs", "yes"),
            (
                "outrigger.exec",
                "no, its table differs from this host's: a field is gone",
            ),
            ("outrigger.attach", "no"),
            ("vendor.magic", "no, this host does not know it; use a newer host"),
            ("hostNetwork", "ignored"),
            ("hostPID", "refused"),
            ("volumes.ours", "supported"),
        ] {
            assert!(has(name, value), "{name} {value}\n{page}");
        }
    }

    #[tokio::test]
    async fn a_plugin_that_is_not_there_is_named() {
        let settings = PluginsConfig::default();
        let error = page("nothing", false, &settings).await.unwrap_err().to_string();
        assert!(error.starts_with("unable to find plugin \"nothing\""), "{error}");
        let error = page("/none/x.so", false, &settings).await.unwrap_err().to_string();
        assert!(
            error.starts_with("unable to use plugin file /none/x.so: the file does not exist"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_plugin_that_is_not_allowed_is_refused_with_its_hash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("liboutrigger_stray.so");
        // This machine's, a library, and nothing in it.
        let mut header = [0; 64];
        let own = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        std::io::Read::read_exact(&mut std::io::Read::take(own, 20), &mut header[..20]).unwrap();
        header[16] = 3;
        std::fs::write(&path, header).unwrap();
        let sha256 = Sha256Digest(sha2::Sha256::digest(header).into());
        let listed = AllowedPlugin {
            name: "other".to_owned(),
            sha256,
        };
        let settings = PluginsConfig {
            directories: vec![directory.path().to_owned()],
            allow: Some(vec![listed]),
            ..PluginsConfig::default()
        };
        for asked in ["stray", path.to_str().unwrap()] {
            let error = page(asked, false, &settings).await.unwrap_err();
            assert!(error.is_refusal(), "{error}");
            let expected = format!("plugin \"stray\" with sha256 {sha256} is not in `plugins.allow`");
            assert!(error.to_string().contains(&expected), "{error}");
        }
        // Under a name that is none of a plugin's file it goes by its hash, as a provider's `path` does.
        let path = directory.path().join("stray.so.1");
        std::fs::write(&path, header).unwrap();
        let asked = path.to_str().unwrap();
        let error = page(asked, false, &settings).await.unwrap_err();
        assert!(!error.is_refusal(), "{error}");
        let settings = PluginsConfig {
            allow: Some(Vec::new()),
            ..settings
        };
        let error = page(asked, false, &settings).await.unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains(asked), "{error}");
    }
}
