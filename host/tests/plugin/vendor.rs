//! What a vendor does first: the manifest of the SDK's README and the example of its documentation, built and run.

use crate::fixture::*;
use outrigger_plugin::ContainerState;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The first fenced block of a text that begins with that line, without the fences.
fn block<'a>(text: &'a str, begin: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).expect("the block begins");
    rest.split_once("```\n").expect("the block ends").0
}

/// Builds it in a folder of its own; returns the library.
fn build() -> PathBuf {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin-api");
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let readme = read(sdk.join("README.md"));
    let manifest =
        block(&readme, "```toml\n").replace("path = \"...\"", &format!("path = {:?}", sdk.display().to_string()));
    let docs: String = read(sdk.join("src/lib.rs"))
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    let vendor = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vendor");
    fs::create_dir_all(vendor.join("src")).unwrap();
    // Not a member of the workspace around it, and with the same versions of dependencies, so that nothing is downloaded.
    fs::write(vendor.join("Cargo.toml"), format!("{manifest}\n[workspace]\n")).unwrap();
    fs::copy(sdk.join("../Cargo.lock"), vendor.join("Cargo.lock")).unwrap();
    let example = format!("#![deny(warnings)]\n{}", block(&docs, "```\n"));
    fs::write(vendor.join("src/lib.rs"), example).unwrap();
    let built = cargo_build().arg("--offline").current_dir(&vendor).status().unwrap();
    assert!(built.success(), "unable to build {}", vendor.display());
    build_directory().join("liboutrigger_nowhere.so")
}

#[tokio::test]
async fn the_plugin_of_the_readme_builds_and_runs_a_pod() {
    crate::logs::install();
    let (provider, _) = launch(&provider_of(&build())).await.unwrap();
    let identity = pod("u1");
    let body = json!({
        "identity": identity,
        "pod": { "spec": { "containers": [{ "name": "app", "image": "i" }, { "name": "beside", "image": "i" }] } },
    });
    for _ in 0..2 {
        let report = provider.create_pod(body.to_string().into_bytes(), LONG).await.unwrap();
        let names: Vec<_> = report
            .containers
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        assert_eq!(names, ["app", "beside"], "creating it again is no error");
        assert!(report.containers.iter().all(|container| container.ready));
    }
    assert_eq!(provider.list_pods(LONG).await.unwrap().len(), 1);
    let mut again = body.clone();
    again["identity"] = json!(pod("u2"));
    again["restart_counts"] = json!({ "app": 1, "beside": 0 });
    again["ended"] = json!({ "beside": { "exit_code": 0, "reason": "Completed", "finished_at": 7 } });
    let report = provider.create_pod(again.to_string().into_bytes(), LONG).await.unwrap();
    let [app, beside] = &report.containers[..] else {
        panic!("{report:?}")
    };
    assert!(app.ready && app.restart_count == 1);
    assert!(
        matches!(beside.state, ContainerState::Terminated(_)),
        "its work is not done twice"
    );
    let stopped = provider.stop_pod(&pod("u2"), LONG, LONG).await.unwrap();
    assert_eq!(stopped.containers[1], *beside, "nor does it end twice");
    provider.remove_pod(&pod("u2"), LONG).await.unwrap();
    let stopped = provider.stop_pod(&identity, LONG, LONG).await.unwrap();
    let has_ended = |state: &ContainerState| matches!(state, ContainerState::Terminated(end) if end.exit_code == 0);
    assert!(stopped.containers.iter().all(|container| has_ended(&container.state)));
    for _ in 0..2 {
        provider.remove_pod(&identity, LONG).await.unwrap();
    }
    assert!(provider.list_pods(LONG).await.unwrap().is_empty());
}
