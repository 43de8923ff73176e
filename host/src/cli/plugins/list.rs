//! `outrigger plugins list`

use crate::config::PluginsConfig;
use crate::plugin;
use crate::plugin::Admits;
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
        let admits = Admits {
            plugin: Some(&candidate.name),
            sha256: None,
            allow: settings.allow.as_deref(),
        };
        let result = plugin::inspect(&candidate.path, admits).await;
        (candidate, result)
    });
    let lines: Vec<_> = inspected.buffered(AT_ONCE).collect().await;
    let mut page = row("NAME", "VERSION", "ABI", "STATE", "FILE");
    for (candidate, result) in lines {
        page.push_str(&line(&candidate, result));
    }
    Ok(page)
}

fn line(candidate: &Candidate, result: Result<Inspection, plugin::Error>) -> String {
    let file = candidate.path.display().to_string();
    match result {
        Ok(found) => row(&candidate.name, &found.info.version, &found.abi, "usable", &file),
        // What is in it nobody has looked at.
        Err(error) if error.is_refusal() => row(&candidate.name, "-", "-", "not allowed", &file),
        Err(error) => row(&candidate.name, "-", "-", "broken", &file) + &format!("  {error}\n"),
    }
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

    fn candidate() -> Candidate {
        Candidate {
            name: "my_cloud".to_owned(),
            path: "/lib/liboutrigger_my_cloud.so".into(),
        }
    }

    #[test]
    fn a_broken_plugin_says_why() {
        let error = plugin::Error::Name { name: "x".to_owned() };
        let text = line(&candidate(), Err(error));
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("my_cloud             -            -      broken       /lib/"),
            "{text}"
        );
        assert!(lines[1].starts_with("  unable to find plugin \"x\""), "{text}");
        assert!(line(&candidate(), Ok(sample())).contains(" usable "));
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
