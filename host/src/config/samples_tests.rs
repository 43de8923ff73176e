//! The files in `configs/` are what people start from: they must be valid, and show every field.

use super::Flags;
use super::Overlay;
use super::load;
use super::shape::ROOT;
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

#[test]
fn the_sample_of_the_mock_shows_every_field() {
    let path = samples().into_iter().find(|path| path.ends_with("mock.yaml")).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let missing: Vec<_> = ROOT
        .all_names()
        .into_iter()
        .filter(|name| !text.contains(&format!("{name}:")))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
