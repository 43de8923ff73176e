//! The promise between versions: a plugin built for ABI 1.n loads in every host with ABI 1.m, m ≥ n, a newer plugin
//! loads as well without its additions, and a real break is refused in one line.
//!
//! Versions that don't exist yet are made of `plugin-api/wire` by altering a copy of its text. Plugins and a host are then
//! built with them by a workspace of their own, outside of the tree, but into the same build directory.

use crate::fixture::*;
use outrigger::plugin::Abi;
use outrigger::plugin::Admits;
use outrigger::plugin::Verdict;
use outrigger::plugin::probe::inspect_with;
use outrigger_plugin::LogRequest;
use outrigger_plugin::wire::capability::EXEC;
use outrigger_plugin::wire::capability::LOGS;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use tokio::io::AsyncReadExt;

const VARIANTS: [Variant; 5] = [
    Variant {
        name: "appended",
        version: "1.1.0",
        changes: &[
            (
                "lib.rs",
                "pub capability: extern \"C\" fn(id: RStr<'_>) -> ROption<CapabilityEntry>,",
                "$0\n    /// Added.\n    pub drain: extern \"C\" fn(instance: u64) -> u32,",
            ),
            (
                "lib.rs",
                "pub shutting_down: extern \"C\" fn(host: u64) -> u32,",
                "$0\n    /// Added.\n    pub now_ms: extern \"C\" fn(host: u64) -> u64,",
            ),
            (
                "capability.rs",
                "pub read: extern \"C\" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fd: i32) -> u32,",
                "$0\n    /// Added.\n    pub list: extern \"C\" fn(u64, CallHeader, RSlice<'_, u8>) -> u32,",
            ),
            (
                "lib.rs",
                "pub const ABI_MINOR: u32 = 0;",
                "pub const ABI_MINOR: u32 = 1;",
            ),
        ],
    },
    Variant {
        name: "inserted",
        version: "1.2.0",
        changes: &[(
            "lib.rs",
            "    /// Cheap check that the backend works.",
            "    /// Inserted.\n    pub drain: extern \"C\" fn(instance: u64) -> u32,\n$0",
        )],
    },
    Variant {
        name: "retyped",
        version: "1.3.0",
        changes: &[(
            "lib.rs",
            "pub cancel: extern \"C\" fn(instance: u64, call: u64) -> u32,",
            "pub cancel: extern \"C\" fn(instance: u64, call: u32) -> u32,",
        )],
    },
    Variant {
        name: "retyped-exec",
        version: "1.0.0",
        changes: &[(
            "capability.rs",
            "pub exec: extern \"C\" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fds: SessionFds) -> u32,",
            "pub exec: extern \"C\" fn(instance: u64, header: CallHeader, body: RSlice<'_, u8>, fds: i32) -> u32,",
        )],
    },
    Variant {
        name: "major",
        version: "2.0.0",
        changes: &[(
            "lib.rs",
            "pub const ABI_MAJOR: u32 = 1;",
            "pub const ABI_MAJOR: u32 = 2;",
        )],
    },
];

/// A version of the wire types.
struct Variant {
    name: &'static str,
    version: &'static str,
    /// A file, a text that is there once, and what replaces it; `$0` is the text itself.
    changes: &'static [(&'static str, &'static str, &'static str)],
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Leaves the file alone when it is up to date, so that cargo builds nothing again.
fn put(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn copy(from: &Path, to: &Path) {
    put(to, &fs::read_to_string(from).unwrap());
}

fn wire(variant: &Variant, at: &Path) {
    let original = repository().join("plugin-api/wire/src");
    for file in ["lib.rs", "capability.rs", "code.rs"] {
        let mut text = fs::read_to_string(original.join(file)).unwrap();
        for (_, old, new) in variant.changes.iter().filter(|(place, ..)| *place == file) {
            assert_eq!(text.matches(old).count(), 1, "{old}");
            text = text.replace(old, &new.replace("$0", old));
        }
        put(&at.join("src").join(file), &text);
    }
    let version = variant.version;
    let manifest = format!(
        "[package]\nname = \"outrigger-wire\"\nversion = \"{version}\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\nabi_stable = {{ version = \"0.11.3\", default-features = false }}\n"
    );
    put(&at.join("Cargo.toml"), &manifest);
}

fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let fixture = repository().join("tests/fixtures/abi-next");
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi-next");
        let workspace = out.join("workspace");
        for variant in &VARIANTS {
            wire(variant, &out.join("wire").join(variant.name));
            let manifest = Path::new(variant.name).join("Cargo.toml");
            copy(&fixture.join(&manifest), &workspace.join(&manifest));
        }
        for file in [
            "Cargo.toml",
            "plugin/lib.rs",
            "host-check/Cargo.toml",
            "host-check/main.rs",
        ] {
            copy(&fixture.join(file), &workspace.join(file));
        }
        copy(
            &repository().join("host/src/plugin/layout.rs"),
            &workspace.join("host-check/layout.rs"),
        );
        // The same versions of dependencies as here, so that nothing is downloaded.
        if !workspace.join("Cargo.lock").exists() {
            copy(&repository().join("Cargo.lock"), &workspace.join("Cargo.lock"));
        }
        let status = cargo_build().arg("--offline").current_dir(&workspace).status();
        assert!(
            status.expect("unable to run cargo").success(),
            "unable to build {}",
            workspace.display()
        );
    });
}

fn plugin(variant: &str) -> PathBuf {
    build();
    build_directory().join(format!("liboutrigger_abi_{}.so", variant.replace('-', "_")))
}

/// What the host of ABI 1.1 says of a plugin.
fn newer_host(plugin: &Path) -> String {
    build();
    let output = Command::new(build_directory().join("outrigger-abi-host-check"))
        .arg(plugin)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn a_newer_plugin_loads_without_its_additions() {
    crate::logs::install();
    let (provider, _) = launch(&provider_of(&plugin("appended"))).await.unwrap();
    assert_eq!(provider.abi(), Abi(1, 1));
    provider.ping(LONG).await.unwrap();
    let node = provider.describe_node("vk", LONG).await.unwrap();
    assert_eq!(node.container_runtime, "now_ms://absent");
}

#[test]
fn an_older_plugin_loads_in_a_newer_host_vk_160_515() {
    assert_eq!(
        newer_host(&library("slow")),
        "accepted: minor 0, drain absent, described true, logs.list absent"
    );
    assert_eq!(
        newer_host(&plugin("appended")),
        "accepted: minor 1, drain present, described true, logs.list present"
    );
}

#[tokio::test]
async fn a_capability_that_has_grown_is_used_and_one_that_differs_costs_only_itself() {
    crate::logs::install();
    for (variant, differs) in [("appended", false), ("retyped-exec", true)] {
        let path = plugin(variant);
        let (provider, _) = launch(&provider_of(&path)).await.unwrap();
        let request = json!({ "identity": pod("u1"), "container": "main" });
        let request: LogRequest = serde_json::from_value(request).unwrap();
        let mut log = provider.read_logs(&request, LONG).await.unwrap();
        let mut text = String::new();
        log.read_to_string(&mut text).await.unwrap();
        log.finish().await.unwrap();
        assert_eq!(text, "2026-01-01T00:00:00.000000000Z line\n");

        assert_eq!(provider.has(EXEC), !differs);
        let found = inspect_with(&path, Admits::default(), &tuning().probe).await.unwrap();
        let [logs, exec] = &found.capabilities[..] else {
            panic!("{found:?}")
        };
        assert_eq!((logs.id.as_str(), &logs.verdict), (LOGS, &Verdict::Usable));
        match &exec.verdict {
            Verdict::Usable => assert!(!differs),
            Verdict::Incompatible(how) => {
                assert!(differs && how.contains("i32 in the plugin"), "{how}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_break_is_refused_in_one_line_on_either_side() {
    for (variant, words) in [
        (
            "inserted",
            "number of base fields is 17 in the host and 18 in the plugin",
        ),
        (
            "retyped",
            "at cancel.param_1: type is u64 in the host and u32 in the plugin",
        ),
        (
            "major",
            "it was built for ABI 2.0, this host has 1.0; use a plugin built for ABI 1.x",
        ),
    ] {
        let path = plugin(variant);
        let line = refusal(&provider_of(&path)).await;
        assert!(line.contains(path.to_str().unwrap()) && line.contains(words), "{line}");
        assert!(line.len() < 700, "{line}");
        let line = newer_host(&path);
        assert!(
            line.starts_with("refused: ") && !line.contains('\n') && line.len() < 500,
            "{line}"
        );
    }
}
