//! What a provider was given for a pod, as the mock shows it.

use super::test::Test;
use kube::api::LogParams;
use serde_json::Value;

/// What the log of a pod's container shows of its materials.
#[derive(Debug)]
pub struct Shown(pub Vec<Value>);

impl Shown {
    /// A file, by its path below the volumes.
    pub fn file(&self, path: &str) -> Option<&Value> {
        self.0.iter().find(|line| line["file"] == path)
    }

    /// A file's text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.file(path)?["text"].as_str()
    }

    /// A variable of the environment.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|line| line["env"] == name)?["value"].as_str()
    }
}

/// Reads it, of a pod that is annotated to show them.
pub async fn look(test: &Test, pod: &str) -> Result<Shown, String> {
    let log = test.pods().logs(pod, &LogParams::default()).await;
    let log = log.map_err(|error| error.to_string())?;
    let lines: Result<_, _> = log.lines().map(serde_json::from_str).collect();
    lines.map(Shown).map_err(|error| format!("{error}: {log}"))
}
