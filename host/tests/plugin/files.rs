//! Files that are no plugin, or not the right one: each ends in one clear line with its path and cause.

use crate::fixture::*;
use outrigger::config::AllowedPlugin;
use outrigger::config::PluginLoad;
use outrigger::config::PluginsConfig;
use outrigger::config::Sha256Digest;
use outrigger::plugin;
use outrigger::plugin::Admits;
use outrigger::plugin::Provider;
use outrigger::plugin::Verdict;
use sha2::Digest;
use sha2::Sha256;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn write(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// The line names the file and holds each of the words.
async fn refused(path: &Path, words: &[&str]) {
    let line = refusal(&provider_of(path)).await;
    assert!(line.contains(path.to_str().unwrap()), "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in: {line}");
    }
}

#[tokio::test]
async fn what_is_no_library_is_named() {
    let directory = directory();
    refused(directory.path(), &["it is a directory"]).await;
    refused(&directory.path().join("gone.so"), &["does not exist", "install"]).await;
    refused(
        &write(&directory, "empty.so", b""),
        &["empty", "install the plugin again"],
    )
    .await;
    refused(
        &write(&directory, "text.so", b"#!/bin/sh\necho no\n"),
        &["not a shared library"],
    )
    .await;
    refused(&host_binary(), &["position-independent executable"]).await;
    let circle = directory.path().join("circle.so");
    symlink(&circle, &circle).unwrap();
    refused(&circle, &["make the file readable"]).await;
}

#[tokio::test]
async fn a_truncated_library_is_named_wherever_it_ends() {
    let whole = fs::read(library("panic")).unwrap();
    let directory = directory();
    for length in [60, 3_000, whole.len() / 3, whole.len() * 2 / 3, whole.len() - 1] {
        let path = write(&directory, "liboutrigger_cut.so", &whole[..length]);
        refused(
            &path,
            &["truncated", &format!("{length} bytes"), "copy or build it again"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_library_with_damaged_insides_costs_a_child() {
    let mut bytes = fs::read(library("panic")).unwrap();
    let (from, to) = (4096, bytes.len() / 2);
    bytes[from..to].fill(0xff);
    let directory = directory();
    refused(&write(&directory, "damaged.so", &bytes), &["unable to load plugin"]).await;
}

#[tokio::test]
async fn libraries_of_other_kinds_are_named() {
    refused(
        &library("missing-symbol"),
        &["exports no plugin header", "export_provider!"],
    )
    .await;
    refused(
        &library("wrong-abi"),
        &[
            "ABI does not match",
            "package is outrigger-wire in the host and outrigger-fixture-wrong-abi in the plugin",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_constructor_that_aborts_costs_a_child() {
    refused(
        &library("abort"),
        &[
            "child process",
            "aborted: the constructor of the fixture panicked",
            "plugin's author",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_constructor_that_hangs_is_given_up() {
    let directory = directory();
    let script = format!(
        "#!/bin/sh\nOUTRIGGER_FIXTURE_SPIN=1 exec {} \"$@\"\n",
        host_binary().display()
    );
    let executable = write(&directory, "host", script.as_bytes());
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).unwrap();
    let mut tuning = tuning();
    tuning.probe.executable = executable;
    tuning.probe.timeout = Duration::from_millis(500);
    let line = refusal_with(&provider_of(&library("abort")), &PluginsConfig::default(), tuning).await;
    assert!(line.contains("did not load within 500ms in a child process"), "{line}");
}

#[tokio::test]
async fn a_host_that_can_not_start_children_says_so() {
    let mut tuning = tuning();
    tuning.probe.executable = PathBuf::from("/no/such/program");
    // A copy with contents of its own: an image that is loaded already needs no probe.
    let directory = directory();
    let mut bytes = fs::read(library("slow")).unwrap();
    bytes.extend_from_slice(b"unprobed");
    let path = write(&directory, "unprobed.so", &bytes);
    let line = refusal_with(&provider_of(&path), &PluginsConfig::default(), tuning).await;
    assert!(line.contains("no child process could be started"), "{line}");
}

#[tokio::test]
async fn hash_and_allow_list_are_kept() {
    let other = Sha256Digest([7; 32]);
    let mut config = provider("p", "slow", serde_json::json!({}));
    config.sha256 = Some(other);
    let line = refusal(&config).await;
    assert!(line.contains(&format!("the config asks for {other}")), "{line}");

    config.sha256 = None;
    let mut plugins = PluginsConfig {
        allow: Some(vec![AllowedPlugin {
            name: "fixture-slow".to_owned(),
            sha256: other,
        }]),
        ..PluginsConfig::default()
    };
    let line = refusal_with(&config, &plugins, tuning()).await;
    assert!(line.contains("is not in `plugins.allow`"), "{line}");

    let found = inspect("slow").await.sha256.parse().unwrap();
    plugins.allow.as_mut().unwrap()[0].sha256 = found;
    config.sha256 = Some(found);
    let sink = Arc::new(Recorder::default());
    assert!(Provider::launch_with(&config, &plugins, sink, tuning()).await.is_ok());
}

#[tokio::test]
async fn a_search_ends_at_the_first_file_even_if_it_is_broken() {
    let (broken, sound) = (directory(), directory());
    write(&broken, "liboutrigger_fixture_slow.so", b"");
    fs::copy(library("slow"), sound.path().join("liboutrigger_fixture_slow.so")).unwrap();
    let mut config = provider("p", "slow", serde_json::json!({}));
    config.path = None;
    let mut plugins = PluginsConfig {
        directories: vec![broken.path().to_owned(), sound.path().to_owned()],
        ..PluginsConfig::default()
    };
    let line = refusal_with(&config, &plugins, tuning()).await;
    assert!(
        line.contains("the file is empty") && line.contains(broken.path().to_str().unwrap()),
        "{line}"
    );
    plugins.directories.reverse();
    let sink = Arc::new(Recorder::default());
    assert!(Provider::launch_with(&config, &plugins, sink, tuning()).await.is_ok());
}

async fn inspect(fixture: &str) -> plugin::Inspection {
    plugin::probe::inspect_with(&library(fixture), Admits::default(), &tuning().probe)
        .await
        .unwrap()
}

#[tokio::test]
async fn inspect_says_what_a_plugin_is() {
    let found = inspect("slow").await;
    assert_eq!((found.info.name.as_str(), found.abi.as_str()), ("fixture-slow", "1.0"));
    assert_eq!(found.info.summary, "takes its time");
    assert_eq!(found.size_bytes, fs::metadata(library("slow")).unwrap().len());
    assert!(found.info.config_schema["properties"]["startMs"].is_object());
    let verdicts: Vec<_> = found.capabilities.iter().map(|c| (c.id.as_str(), &c.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            ("outrigger.logs", &Verdict::Usable),
            ("outrigger.stats", &Verdict::Usable)
        ]
    );
    assert!(found.load_micros > 0);
    let error = plugin::probe::inspect_with(&library("abort"), Admits::default(), &tuning().probe)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("aborted"), "{error}");
}

#[tokio::test]
async fn nothing_of_a_file_that_is_not_admitted_is_run() {
    // A library that aborts the process that loads it.
    let (path, list) = (library("abort"), []);
    let sha256 = Some(Sha256Digest([7; 32]));
    let [unknown, unlisted] = [
        Admits {
            sha256,
            ..Admits::default()
        },
        Admits {
            plugin: Some("abort"),
            allow: Some(&list),
            ..Admits::default()
        },
    ];
    for (admits, why) in [
        (unknown, "but the config asks for"),
        (unlisted, "is not in `plugins.allow`"),
    ] {
        let error = plugin::probe::inspect_with(&path, admits, &tuning().probe)
            .await
            .unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains(why), "{error}");
    }
    // Nor of one that came in its place after it was read.
    let probe = tuning().probe;
    let child = |sha256: String| {
        let mut child = std::process::Command::new(&probe.executable);
        let ended = child
            .arg(plugin::probe::SUBCOMMAND)
            .arg(&path)
            .arg(sha256)
            .output()
            .unwrap();
        String::from_utf8(ended.stdout).unwrap()
    };
    assert!(child("07".repeat(32)).contains("\"Changed\""));
    let sha256 = Sha256Digest(Sha256::digest(fs::read(&path).unwrap()).into());
    assert_eq!(child(sha256.to_string()), "", "it aborts as soon as it is loaded");
}

#[tokio::test]
async fn overwriting_a_loaded_file_hurts_nobody() {
    let directory = directory();
    let path = directory.path().join("liboutrigger_fixture_slow.so");
    let mut bytes = fs::read(library("slow")).unwrap();
    bytes.extend_from_slice(b"overwritten");
    fs::write(&path, bytes).unwrap();
    let (provider, _) = launch(&provider_of(&path)).await.unwrap();
    let file = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    provider.create_pod(request("u1"), LONG).await.unwrap();
    assert_eq!(provider.list_pods(LONG).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_loaded_by_path_can_not_be_replaced() {
    let directory = directory();
    let path = directory.path().join("liboutrigger_fixture_slow.so");
    fs::copy(library("slow"), &path).unwrap();
    let plugins = PluginsConfig {
        load: PluginLoad::Path,
        ..PluginsConfig::default()
    };
    let config = provider_of(&path);
    let sink = Arc::new(Recorder::default());
    let provider = Provider::launch_with(&config, &plugins, sink, tuning()).await.unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.contains(path.to_str().unwrap()));
    // Replaced as a package manager does: the loaded file lives on, the name is another file's.
    let other = write(&directory, "new", &fs::read(library("hang")).unwrap());
    fs::rename(other, &path).unwrap();
    let line = refusal_with(&config, &plugins, tuning()).await;
    assert!(line.contains("restart the host"), "{line}");
    assert!(provider.ping(LONG).await.is_ok());
}

#[tokio::test]
async fn images_in_memory_carry_name_and_hash() {
    let (provider, _) = launch(&provider("p", "slow", serde_json::json!({}))).await.unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let name = format!("memfd:outrigger-fixture_slow-{}", &provider.sha256().to_string()[..8]);
    assert!(maps.contains(&name), "{name}");
}

#[tokio::test]
async fn a_config_that_does_not_fit_is_refused_without_its_values() {
    let config = provider("p", "slow", serde_json::json!({ "secret": "hunter2", "strtMs": 1 }));
    let line = refusal(&config).await;
    assert!(line.contains("strtMs") && line.contains("secret"), "{line}");
    assert!(
        line.contains("plugins inspect --schema") && !line.contains("hunter2"),
        "{line}"
    );
}
