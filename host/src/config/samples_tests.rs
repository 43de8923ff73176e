//! The files in `configs/` are what people start from: they must be valid, and show every field.

use super::Flags;
use super::HostConfig;
use super::NodeConfig;
use super::Overlay;
use super::ProviderConfig;
use super::fault::Collector;
use super::load;
use super::shape::ROOT;
use super::tree;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn samples() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("kind: HostConfig\n"));
    files.filter(|path| path.is_file()).filter(is_ours).collect()
}

fn faults_of(path: PathBuf) -> String {
    let overlay = Overlay::new(
        Flags {
            config: Some(path),
            ..Flags::default()
        },
        |_| None,
    );
    load(&overlay)
        .err()
        .map(|faults| faults.to_string())
        .unwrap_or_default()
}

#[test]
fn every_sample_is_valid() {
    let samples = samples();
    assert!(samples.iter().any(|path| path.ends_with("mock.yaml")), "{samples:?}");
    for path in samples {
        assert_eq!(faults_of(path), "");
    }
}

fn sample_of_the_mock() -> PathBuf {
    samples().into_iter().find(|path| path.ends_with("mock.yaml")).unwrap()
}

/// The sample with the fields that are there as comments.
fn whole(sample: &str) -> String {
    let shown = |line: &str| {
        let text = line.trim_start();
        let field = text.strip_prefix("# ")?;
        let (name, _) = field.split_once(':')?;
        let indent = &line[..line.len() - text.len()];
        let is_name = name.chars().all(|letter| letter.is_ascii_alphanumeric());
        is_name.then(|| format!("{indent}{field}"))
    };
    let lines = sample.lines().map(|line| shown(line).unwrap_or(line.to_owned()) + "\n");
    lines.collect()
}

#[test]
fn the_sample_of_the_mock_shows_every_field_and_no_other() {
    let text = whole(&std::fs::read_to_string(sample_of_the_mock()).unwrap());
    let mut faults = Collector::new("mock.yaml");
    let root = tree::parse(&text, &mut faults).unwrap();
    assert!(faults.is_empty(), "{:?}\n{text}", faults.into_faults());
    let shown: BTreeSet<_> = ROOT.paths_in(&root, "").into_iter().collect();
    let known: BTreeSet<_> = ROOT.all_paths("").into_iter().collect();
    let (missing, spare): (Vec<_>, Vec<_>) = (known.difference(&shown).collect(), shown.difference(&known).collect());
    assert!(
        missing.is_empty() && spare.is_empty(),
        "missing {missing:?}, unknown {spare:?}"
    );
}

#[test]
fn what_the_sample_of_the_mock_says_are_the_defaults() {
    let flags = Flags {
        config: Some(sample_of_the_mock()),
        ..Flags::default()
    };
    let config = load(&Overlay::new(flags, |_| None)).unwrap().config;
    let mut provider = ProviderConfig::new("mock");
    // These are none.
    provider.config = config.providers[0].config.clone();
    provider.positions = config.providers[0].positions.clone();
    let mut defaults = HostConfig::new(vec![provider], vec![NodeConfig::new("vk-mock", "mock")]);
    // Its default depends on where the program is.
    defaults.plugins.directories = config.plugins.directories.clone();
    assert_eq!(config, defaults);
}
