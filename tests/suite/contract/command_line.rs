//! Wrong calls and wrong files end at once, with what to do.

use crate::harness::plugin;
use crate::harness::run_to_end;

const GOOD: &str = "apiVersion: outrigger.dev/v1alpha1\nkind: HostConfig\nproviders:\n- plugin: mock\nnodes:\n- name: vk\n  provider: mock\n";

#[tokio::test]
async fn wrong_files_are_refused_with_line_and_hint() {
    let directory = tempfile::tempdir().unwrap();
    let binary = "\u{0}\u{1}\u{2}not yaml".to_owned();
    let huge = format!("{GOOD}#{}\n", "x".repeat(64 << 20));
    for (name, text, expected) in [
        ("empty", String::new(), ""),
        ("binary", binary, ""),
        ("huge", huge, ""),
        ("duplicate", format!("{GOOD}kind: HostConfig\n"), ":8:"),
        ("type", GOOD.replace("nodes:\n", "nodes: many\nx:\n"), ":5:"),
        ("unknown", format!("{GOOD}kubelt: {{}}\n"), "kubelet"),
        ("provider", GOOD.replace("  provider: mock", "  provider: moc"), "mock"),
        ("twice", format!("{GOOD}- name: vk\n  provider: mock\n"), ":8:"),
        (
            "kubeconfig",
            format!("{GOOD}cluster: {{kubeconfig: nowhere.yaml}}\n"),
            "nowhere.yaml",
        ),
    ] {
        let file = directory.path().join(format!("{name}.yaml"));
        std::fs::write(&file, text).unwrap();
        for command in ["run", "check-config"] {
            let output = run_to_end([command.as_ref(), "--config".as_ref(), file.as_os_str()]).await;
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{command} {name}: {stderr}");
            assert!(
                stderr.contains(&format!("{name}.yaml")) && stderr.contains(expected),
                "{command} {name}: {stderr}"
            );
        }
    }
}

#[tokio::test]
async fn one_run_tells_the_faults_of_the_file_and_those_of_all_sections() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("many.yaml");
    let mock = plugin("mock");
    let plugins = mock.parent().unwrap().display();
    let text = format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: HostConfig\nplugins: {{directories: [{plugins}]}}\nproviders:\n\
         - {{name: a, plugin: mock, config: {{sed: 1}}}}\n- {{name: b, plugin: mock, config: {{seed: x}}}}\n\
         nodes:\n- {{name: vk, provider: a, port: 0}}\n- {{name: vk2, provider: b, port: 0}}\n"
    );
    let faults = async |command: &str, text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = run_to_end([command.as_ref(), "--config".as_ref(), file.as_os_str()]).await;
        assert_eq!(output.status.code(), Some(64), "{command}");
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
    };
    let told = faults("check-config", &format!("{text}kubelet: {{listn: x}}\n")).await;
    for place in ["many.yaml:5:", "many.yaml:6:", "many.yaml:10:"] {
        assert!(told.contains(place), "{place}: {told}");
    }
    // Where a guard of plugins may be what is wrong, none is run.
    let guarded = text.replace(
        "plugin: mock, config: {sed: 1}",
        "plugin: mock, sha265: x, config: {sed: 1}",
    );
    let told = faults("check-config", &guarded).await;
    assert!(told.contains("sha265") && told.contains("were not checked"), "{told}");
    assert!(!told.contains("many.yaml:6:"), "{told}");
    let told = faults("run", &text).await;
    for place in ["many.yaml:5:", "many.yaml:6:"] {
        assert!(told.contains(place), "{place}: {told}");
    }
}

#[tokio::test]
async fn wrong_flags_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("two.yaml");
    std::fs::write(&file, format!("{GOOD}- name: vk2\n  provider: mock\n")).unwrap();
    let file = file.to_str().unwrap();
    for (args, expected) in [
        (&["--config", file, "--nodename", "one"][..], "nodename"),
        (&["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (&["--provider", "nothing-like-that"], "nothing-like-that"),
        (&["--frobnicate"], "--frobnicate"),
    ] {
        let output = run_to_end(args).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
}
