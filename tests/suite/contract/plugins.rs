//! Plugins that can't be used cost their own nodes, and nobody else's.

use crate::harness::SOON;
use crate::harness::Test;
use crate::harness::condition;
use crate::harness::eventually;
use crate::harness::mock_of_another_profile;
use crate::harness::plugin;
use crate::harness::run_to_end;
use crate::harness::skip;
use serde_json::json;
use std::path::PathBuf;

/// Broken plugins by name: their files, and what the one line about each must say besides the file.
fn broken(test: &Test) -> Vec<(&'static str, PathBuf, &'static str)> {
    let whole = std::fs::read(plugin("mock")).unwrap();
    let written = |name: &str, bytes: &[u8]| {
        let path = test.directory().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    vec![
        (
            "truncated",
            written("truncated.so", &whole[..whole.len() / 2]),
            "unable to",
        ),
        ("text", written("text.so", b"This is no library.\n"), "unable to"),
        ("missing-symbol", plugin("fixture_missing_symbol"), "unable to"),
        ("wrong-abi", plugin("fixture_wrong_abi"), "unable to"),
        ("absent", test.directory().join("absent.so"), "unable to"),
    ]
}

#[tokio::test]
async fn broken_plugins_cost_only_their_own_nodes() {
    let test = Test::new("plugins_broken").await;
    let broken = broken(&test);
    let mut config = test.mock(json!({}));
    for (name, path, _) in &broken {
        config = config
            .provider(json!({ "name": name, "plugin": name, "path": path }))
            .node(&format!("{}-{name}", test.id), name, json!({}));
    }
    let digest = "0".repeat(64);
    config = config
        .provider(json!({ "name": "wrong-sha256", "plugin": "mock", "path": plugin("mock"), "sha256": digest }))
        .node(&format!("{}-wrong-sha256", test.id), "wrong-sha256", json!({}));
    for name in ["panic", "hang"] {
        let file = plugin(&format!("fixture_{name}"));
        config = config
            .provider(json!({ "name": name, "plugin": name, "path": file, "config": { "at": "ping" } }))
            .node(&format!("{}-{name}", test.id), name, json!({ "notReadyAfter": "1s" }));
    }
    let config =
        config.with(json!({ "intervals": { "ping": "500ms", "pingTimeout": "500ms", "statusReport": "500ms" } }));
    let mut host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;

    let log = host.log();
    let file = plugin("mock");
    let told = broken.iter().map(|(name, path, cause)| (*name, path, *cause));
    for (name, path, cause) in told.chain([("wrong-sha256", &file, "sha256")]) {
        let about = |line: &&str| line.contains("ERROR") && line.contains(&format!("provider={name}"));
        let lines: Vec<_> = log.lines().filter(about).collect();
        assert_eq!(lines.len(), 1, "one line about {name}: {lines:#?}");
        assert!(
            lines[0].contains(&path.display().to_string()) && lines[0].contains(cause),
            "{}",
            lines[0]
        );
        assert!(
            test.nodes()
                .get_opt(&format!("{}-{name}", test.id))
                .await
                .unwrap()
                .is_none(),
            "{name} has a node"
        );
    }
    // These load, and show their fault later.
    for (name, cause) in [("panic", "panicked"), ("hang", "got no answer")] {
        test.node_until(&format!("{}-{name}", test.id), "its provider is not healthy", |node| {
            condition(node, "ProviderHealthy").as_deref() == Some("False")
        })
        .await;
        let given_up = |line: &&str| line.contains("given up") && line.contains(&format!("provider={name}"));
        eventually(SOON, &format!("the log says what became of {name}"), || async {
            let told = host.log().lines().any(|line| given_up(&line));
            told.then_some(()).ok_or("it does not")
        })
        .await;
        // However often it was rebuilt meanwhile.
        let log = host.log();
        let loud = |line: &&str| ["WARN", "ERROR"].iter().any(|level| line.contains(level));
        let lines: Vec<_> = log.lines().filter(given_up).filter(loud).collect();
        assert_eq!(lines.len(), 1, "one line about {name}: {lines:#?}");
        let path = plugin(&format!("fixture_{name}"));
        assert!(
            lines[0].contains(&path.display().to_string()) && lines[0].contains(cause),
            "{}",
            lines[0]
        );
    }
    // What a plugin itself says of each panic is its own.
    let mut twice = host.complaints_made_twice(0);
    twice.retain(|line| !line.starts_with("ERROR plugin: "));
    assert_eq!(twice, Vec::<String>::new());
    test.create(test.pod("later", json!({}))).await;
    test.running("later").await;
    let node = test.nodes().get(&test.node()).await.unwrap();
    assert_eq!(condition(&node, "Ready").as_deref(), Some("True"), "{:?}", node.status);
    assert!(host.is_running());
}

#[tokio::test]
async fn a_required_plugin_that_is_broken_ends_the_host() {
    let test = Test::new("plugins_required").await;
    let config = test
        .mock(json!({}))
        .provider(json!({ "name": "needed", "plugin": "absent", "required": true }))
        .node(&format!("{}-needed", test.id), "needed", json!({}));
    let mut host = test.start(&config);
    host.ends_with(69).await;
    assert!(host.log().contains("needed"), "{}", host.log());
}

#[tokio::test]
async fn without_any_provider_there_is_no_host() {
    let test = Test::new("plugins_none").await;
    let config = test
        .config()
        .provider(json!({ "name": "gone", "plugin": "absent" }))
        .node(&test.node(), "gone", json!({}));
    let mut host = test.start(&config);
    host.ends_with(69).await;
    let log = host.log();
    assert!(
        log.contains("no provider could be started") && log.contains("absent"),
        "{log}"
    );
    assert!(test.nodes().get_opt(&test.node()).await.unwrap().is_none());
}

/// It was there with a plugin that worked; now its pods can't be looked after.
#[tokio::test]
async fn a_node_that_exists_is_not_ready_while_its_plugin_is_broken() {
    let test = Test::new("plugins_left").await;
    let left = format!("{}-left", test.id);
    let config = |plugin: &str| {
        test.mock(json!({}))
            .provider(json!({ "name": "later", "plugin": plugin }))
            .node(&left, "later", json!({}))
    };
    let mut host = test.start(&config("mock"));
    let before = test.node_ready(&left).await;
    host.term();
    host.ends_with(0).await;

    let _host = test.start(&config("absent"));
    let after = test
        .node_until(&left, "it is not Ready, and says why", |node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.into_iter().flatten().any(|condition| {
                let message = condition.message.as_deref().unwrap_or_default();
                condition.type_ == "Ready" && condition.status == "False" && message.contains("liboutrigger_absent.so")
            })
        })
        .await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(condition(&after, "ProviderHealthy").as_deref(), Some("False"));
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
}

#[tokio::test]
async fn one_provider_of_the_file_can_be_chosen() {
    let test = Test::new("plugins_chosen").await;
    let nodes = ["one", "two"].map(|name| (name, format!("{}-{name}", test.id)));
    let mut config = test.config();
    for (name, node) in &nodes {
        // Of one plugin with two configs: what a node offers tells whose it is.
        let pods = json!({ "capacity": { "pods": if *name == "one" { "11" } else { "22" } } });
        config = config.mock(name, pods).node(node, name, json!({}));
    }
    let [(_, one), (_, two)] = &nodes;
    let pods = |node: &k8s_openapi::api::core::v1::Node| {
        node.status.as_ref().unwrap().capacity.as_ref().unwrap()["pods"]
            .0
            .clone()
    };
    let mut host = test.start_with(&config, &["--provider", "two"]);
    assert_eq!(pods(&test.node_ready(two).await), "22");
    host.term();
    host.ends_with(0).await;
    assert!(
        test.nodes().get_opt(one).await.unwrap().is_none(),
        "{one} was not asked for"
    );

    let _host = test.start_with(&config, &["--provider", "one"]);
    assert_eq!(pods(&test.node_ready(one).await), "11");
    let owner = test.leases().get(two).await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(owner.unwrap_or_default(), "", "nobody acts for {two} now");
}

#[tokio::test]
async fn plugins_can_be_looked_at() {
    let file = plugin("mock");
    let output = run_to_end(["plugins".as_ref(), "inspect".as_ref(), file.as_os_str()]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("mock") && text.contains("logs"), "{text}");
    let broken = plugin("fixture_missing_symbol");
    let output = run_to_end(["plugins".as_ref(), "inspect".as_ref(), broken.as_os_str()]).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("liboutrigger_fixture_missing_symbol.so"));
}

#[tokio::test]
async fn a_plugin_of_another_build_profile_loads() {
    let test = Test::new("plugins_profile").await;
    let Some(file) = mock_of_another_profile() else {
        return skip(
            "plugins_profile",
            "OUTRIGGER_SUITE_OTHER_PROFILE is not set, and a build takes minutes",
        );
    };
    let config = test
        .config()
        .provider(json!({ "name": "other", "plugin": "mock", "path": file }))
        .node(&test.node(), "other", json!({}));
    let _host = test.start(&config);
    test.node_ready(&test.node()).await;
    test.create(test.pod("web", json!({}))).await;
    test.running("web").await;
    test.delete("web", None).await;
}
