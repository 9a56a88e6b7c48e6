//! Where tests find what they do not make themselves: real images, golden numbers, other programs.
//!
//! A test that cannot run says so and passes; with `CI` set it fails, since CI has everything.
#![allow(dead_code)] // each test binary uses its own part

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(variable: &str, default: &str) -> Option<PathBuf> {
    let path =
        std::env::var_os(variable).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from);
    path.is_dir().then_some(path)
}

/// Says aloud that a test is skipped, or fails it in CI.
pub fn skipped(what: &str, missing: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}: {missing} is missing, and CI must have it");
    // Not eprintln, which the test runner swallows when a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {missing} is missing");
}

/// Real images (`TRANSUNET_TEST_DATA`, default ../shared/data): `data("x", "dicom-ct")` or a loud skip.
pub fn data(test: &str, set: &str) -> Option<PathBuf> {
    found(test, set, folder("TRANSUNET_TEST_DATA", "../shared/data"))
}

/// Golden numbers: the small ones are in tests/golden, the others in `TRANSUNET_TEST_GOLDEN` (default ../shared/golden).
pub fn golden(test: &str, set: &str) -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(set);
    if ours.exists() { Some(ours) } else { found(test, set, folder("TRANSUNET_TEST_GOLDEN", "../shared/golden")) }
}

fn found(test: &str, set: &str, root: Option<PathBuf>) -> Option<PathBuf> {
    let path = root.map(|root| root.join(set)).filter(|path| path.exists());
    if path.is_none() {
        skipped(test, set);
    }
    path
}

/// A Python with pydicom, highdicom, nibabel and slicer-core (`TRANSUNET_PEERS`, made by scripts/peers).
pub fn peers(test: &str) -> Option<Command> {
    python(test, "TRANSUNET_PEERS", "scripts/peers")
}

/// Another Python of scripts/peers: `peers_with("x", "monai")` is `TRANSUNET_PEERS_MONAI`, made by `scripts/peers monai`.
pub fn peers_with(test: &str, name: &str) -> Option<Command> {
    python(test, &format!("TRANSUNET_PEERS_{}", name.to_uppercase()), &format!("scripts/peers {name}"))
}

fn python(test: &str, variable: &str, maker: &str) -> Option<Command> {
    let python = std::env::var_os(variable);
    if python.is_none() {
        skipped(test, &format!("{variable} (a Python with the peer libraries, see {maker})"));
    }
    python.map(Command::new)
}

/// A program of the system or of the peers' environment, such as "dciodvfy".
pub fn program(test: &str, name: &str) -> Option<Command> {
    let beside_peers = std::env::var_os("TRANSUNET_PEERS")
        .and_then(|python| Some(Path::new(&python).parent()?.join(name)))
        .filter(|path| path.exists());
    let path = beside_peers.or_else(|| {
        std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.exists())
    });
    if path.is_none() {
        skipped(test, name);
    }
    path.map(Command::new)
}

/// Runs `command`, which must succeed; its output tells why it did not.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}
