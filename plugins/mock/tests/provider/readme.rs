//! What the README shows works, and it shows everything.

use crate::identity;
use outrigger_mock::{
    annotations::Defaults,
    behaviour::{Behaviour, CONTAINER_KEYS, CallBehaviour},
    config::Config,
    engine::spec::Kind,
    manifest::{self, Surroundings},
    span::Span,
};
use outrigger_plugin::PodRequest;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const README: &str = include_str!("../../README.md");

fn sample(beginning: &str) -> &'static str {
    README
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|sample| sample.starts_with(beginning))
        .unwrap()
}

/// Keys of a table, and whether they are marked.
fn table(heading: &str) -> BTreeMap<String, bool> {
    let rows = README.split_once(heading).unwrap().1.split("\n\n").next().unwrap();
    let rows = rows.lines().filter(|row| row.starts_with("| `"));
    rows.flat_map(|row| {
        let (keys, rest) = row[1..].split_once('|').unwrap();
        let marked = rest.trim_start().starts_with('•');
        keys.split_whitespace()
            .map(move |key| (key.trim_matches('`').to_owned(), marked))
    })
    .collect()
}

#[test]
fn the_sample_config_is_one() {
    let config: Config = serde_yaml::from_str(sample("# providers")).unwrap();
    config.check().unwrap();
    assert_eq!(config.seed, 7);
    assert_eq!(config.pods.create.latency, Span::Lasts(Duration::from_millis(50)));
    assert_eq!(config.node(true).capacity["pods"], "500");
}

#[test]
fn the_sample_pod_is_one() {
    let pod: serde_json::Value = serde_yaml::from_str(sample("apiVersion")).unwrap();
    let request = PodRequest {
        identity: identity("flaky"),
        pod: serde_json::value::to_raw_value(&pod).unwrap(),
        materials: Default::default(),
        restart_counts: BTreeMap::new(),
        ended: Default::default(),
    };
    let around = Surroundings {
        seed: 0,
        defaults: Defaults::new(Behaviour::default()),
        ranges: Vec::new(),
    };
    let spec = manifest::read(&request, &around).unwrap();
    assert_eq!(spec.template.behaviour.create.failures, 2);
    assert_eq!(
        (spec.containers[0].kind, spec.containers[1].kind),
        (Kind::Init, Kind::Regular)
    );
    assert_eq!(spec.containers[0].behaviour.run_time, Span::seconds(3));
    assert_eq!(spec.containers[1].behaviour.exit_code, Some(1));
}

#[test]
fn every_capability_is_told_with_its_file() {
    let shown = table("| capability | what the mock does");
    assert!(shown.is_empty(), "its first column holds no keys");
    let rows = README.split_once("| capability | what the mock does").unwrap().1;
    let rows = rows.split("\n\n").next().unwrap().lines().skip(2);
    let shown: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            let file = cells[2].trim_matches('`');
            let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
            assert!(source.is_file(), "there is no {file}");
            format!("outrigger.{}", cells[0])
        })
        .collect();
    let mut all = <outrigger_mock::provider::Mock as outrigger_plugin::abi::Exported>::CAPABILITIES.to_vec();
    all.sort_unstable();
    let mut sorted = shown.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, all);
}

#[test]
fn every_setting_is_named() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    for setting in schema["properties"].as_object().unwrap().keys() {
        assert!(
            README.contains(&format!("{setting}:")) || README.contains(&format!("`{setting}`")),
            "{setting}"
        );
    }
}

#[test]
fn the_tables_hold_every_key() {
    let keys = |value: serde_json::Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let shown = table("| key | | default");
    let all = keys(serde_json::to_value(Behaviour::default()).unwrap());
    assert_eq!(shown.keys().cloned().collect::<BTreeSet<_>>(), all);
    let marked: BTreeSet<_> = shown
        .iter()
        .filter(|(_, marked)| **marked)
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(marked, CONTAINER_KEYS.iter().copied().collect());
    let of_calls = keys(serde_json::to_value(CallBehaviour::default()).unwrap());
    assert_eq!(table("| key | default").into_keys().collect::<BTreeSet<_>>(), of_calls);
}
