//! `outrigger plugins list`

use crate::config::PluginsConfig;
use crate::plugin;
use crate::plugin::Candidate;
use crate::plugin::Inspection;
use futures::StreamExt;
use std::fmt::Write;

/// How many plugins are tried out at once.
const AT_ONCE: usize = 4;

/// A line for each plugin that a search would find; broken ones say why.
pub(super) async fn page(settings: &PluginsConfig) -> Result<String, plugin::Error> {
    let candidates = plugin::candidates(&settings.directories)?;
    if candidates.is_empty() {
        let directories: Vec<_> = settings
            .directories
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Ok(format!(
            "no plugins in {}; name another directory with --plugin-dir\n",
            directories.join(", ")
        ));
    }
    let inspected = futures::stream::iter(candidates).map(|candidate| async {
        let result = plugin::inspect(&candidate.path).await;
        (candidate, result)
    });
    let lines: Vec<_> = inspected.buffered(AT_ONCE).collect().await;
    let mut page = row("NAME", "VERSION", "ABI", "STATE", "FILE");
    for (candidate, result) in lines {
        page.push_str(&line(&candidate, result, settings));
    }
    Ok(page)
}

fn line(candidate: &Candidate, result: Result<Inspection, plugin::Error>, settings: &PluginsConfig) -> String {
    let file = candidate.path.display().to_string();
    match result {
        Ok(found) => {
            let state = if is_allowed(&candidate.name, &found, settings) {
                "usable"
            } else {
                "not allowed"
            };
            row(&candidate.name, &found.info.version, &found.abi, state, &file)
        }
        Err(error) => row(&candidate.name, "-", "-", "broken", &file) + &format!("  {error}\n"),
    }
}

/// Whether the allow-list, if there is one, has the plugin with this hash.
fn is_allowed(name: &str, found: &Inspection, settings: &PluginsConfig) -> bool {
    let same = |allowed: &str| allowed.replace('-', "_") == name.replace('-', "_");
    let Some(allow) = &settings.allow else { return true };
    allow
        .iter()
        .any(|entry| same(&entry.name) && entry.sha256.to_string() == found.sha256)
}

fn row(name: &str, version: &str, abi: &str, state: &str, file: &str) -> String {
    let mut row = String::new();
    // Into a String, which can't fail.
    let _ = writeln!(row, "{name:<20} {version:<12} {abi:<6} {state:<12} {file}");
    row
}

#[cfg(test)]
mod tests {
    use super::super::inspect::sample;
    use super::*;
    use crate::config::AllowedPlugin;
    use crate::config::Sha256Digest;

    fn candidate() -> Candidate {
        Candidate {
            name: "my_cloud".to_owned(),
            path: "/lib/liboutrigger_my_cloud.so".into(),
        }
    }

    #[test]
    fn a_broken_plugin_says_why() {
        let error = plugin::Error::Name { name: "x".to_owned() };
        let text = line(&candidate(), Err(error), &PluginsConfig::default());
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("my_cloud             -            -      broken       /lib/"),
            "{text}"
        );
        assert!(lines[1].starts_with("  unable to find plugin \"x\""), "{text}");
    }

    #[test]
    fn the_allow_list_shows() {
        let mut settings = PluginsConfig::default();
        let state = |settings: &PluginsConfig| line(&candidate(), Ok(sample()), settings);
        assert!(state(&settings).contains(" usable "));
        let mut entry = AllowedPlugin {
            name: "my-cloud".to_owned(),
            sha256: Sha256Digest([0xab; 32]),
        };
        settings.allow = Some(vec![entry.clone()]);
        assert!(state(&settings).contains(" usable "));
        entry.sha256 = Sha256Digest([0; 32]);
        settings.allow = Some(vec![entry]);
        assert!(state(&settings).contains(" not allowed "));
    }

    #[tokio::test]
    async fn an_empty_directory_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let settings = PluginsConfig {
            directories: vec![directory.path().to_owned()],
            ..PluginsConfig::default()
        };
        let page = page(&settings).await.unwrap();
        assert!(
            page.starts_with("no plugins in /") && page.ends_with("--plugin-dir\n"),
            "{page}"
        );
    }
}
