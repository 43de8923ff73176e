//! The programs and plugins under test, built once for a run of the suite.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Programs, plugins, and plugins that are broken.
const PACKAGES: [&str; 8] = [
    "outrigger",
    "outrigger-mock",
    "outrigger-fixture-hang",
    "outrigger-fixture-missing-symbol",
    "outrigger-fixture-panic",
    "outrigger-fixture-relay",
    "outrigger-fixture-wrong-abi",
    "outrigger-interop-kube-rs",
];

/// Where cargo puts what it builds in the profile of this test.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // .../target/<profile>/deps/suite-<hash>
        let this = std::env::current_exe().unwrap();
        let directory = this.ancestors().nth(2).unwrap().to_owned();
        build(directory.ends_with("release"));
        directory
    })
}

/// The path of a program.
pub fn program(name: &str) -> PathBuf {
    directory().join(name)
}

/// Brings programs and plugins up to date, unless `OUTRIGGER_SUITE_PREBUILT` says that they are.
fn build(release: bool) {
    if std::env::var_os("OUTRIGGER_SUITE_PREBUILT").is_some() {
        return;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    if release {
        command.arg("--release");
    }
    let status = command.current_dir(repository()).status().unwrap();
    assert!(status.success(), "unable to build the programs under test");
}

/// The file of a plugin.
pub fn plugin(name: &str) -> PathBuf {
    directory().join(format!("liboutrigger_{name}.so"))
}

/// The mock as another build profile makes it, in a directory of its own; built only where `OUTRIGGER_SUITE_OTHER_PROFILE`
/// asks for it, since that takes minutes the first time.
pub fn mock_of_another_profile() -> Option<PathBuf> {
    std::env::var_os("OUTRIGGER_SUITE_OTHER_PROFILE")?;
    let ours = directory().ends_with("release");
    let (profile, name) = if ours { ("dev", "debug") } else { ("release", "release") };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("other-profile");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "build",
        "--quiet",
        "--package",
        "outrigger-mock",
        "--lib",
        "--profile",
        profile,
    ]);
    // It is about another profile, not about the best one.
    command
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let status = command
        .arg("--target-dir")
        .arg(&target)
        .current_dir(repository())
        .status()
        .unwrap();
    assert!(status.success(), "unable to build the mock in profile {profile}");
    Some(target.join(name).join("liboutrigger_mock.so"))
}

/// The repository's root.
pub fn repository() -> &'static Path {
    // tests/suite
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}
