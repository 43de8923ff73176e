//! What a plugin logs comes out of the host's log with its level, target and fields.

use crate::fixture::*;
use serde_json::Value;
use serde_json::json;
use std::io;
use std::sync::Mutex;
use std::sync::OnceLock;
use tracing_subscriber::fmt::MakeWriter;

/// Every line of the process's log, as JSON.
#[derive(Default)]
struct Lines(Mutex<Vec<u8>>);

impl io::Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Writer;

impl<'a> MakeWriter<'a> for Writer {
    type Writer = &'static Lines;

    fn make_writer(&'a self) -> Self::Writer {
        lines()
    }
}

fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(Lines::default)
}

/// Lines of plugins that name a provider and hold a text.
pub fn found(provider: &str, text: &str) -> Vec<Value> {
    let bytes = lines().0.lock().unwrap().clone();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "plugin" && line["fields"]["provider"] == provider)
        .filter(|line| line["fields"]["message"].as_str().unwrap().contains(text))
        .collect()
}

/// Once per process, before the first plugin is loaded: an image's level follows the host's when an instance starts.
pub fn install() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(Writer)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        tracing::callsite::rebuild_interest_cache();
    });
}

#[tokio::test]
async fn records_keep_level_target_and_fields() {
    let (provider, _) = launch(&provider("logging", "slow", json!({}))).await.unwrap();
    provider.shutdown(LONG).await.unwrap();
    eventually("the line is there", || !found("logging", "slow provider").is_empty()).await;
    let line = &found("logging", "slow provider")[0];
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["fields"]["message"], "slow provider \"started\"");
    assert_eq!(line["fields"]["plugin_target"], "outrigger_fixture_slow");
    assert_eq!(line["fields"]["fields"], "provider=logging");
}

#[tokio::test]
async fn a_panic_is_logged_as_an_error_with_its_place() {
    let (provider, _) = launch(&provider("loud", "panic", json!({ "at": "task" })))
        .await
        .unwrap();
    provider.create_pod(request("u1"), LONG).await.unwrap();
    eventually("the line is there", || !found("loud", "task of the fixture").is_empty()).await;
    let line = &found("loud", "task of the fixture")[0];
    assert_eq!(line["level"], "ERROR");
    assert!(
        line["fields"]["message"].as_str().unwrap().contains("src/lib.rs:"),
        "{line}"
    );
}
