//! The effect in trame-slicer: 3D Slicer's segment editor on a server, its user interface in headless Chromium.
//!
//! With TRANSUNET_BLESS set, the screenshot becomes docs/hosts/trame.png.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/hosts.rs"]
mod hosts;

use std::ffi::OsStr;

use hosts::{demo, library, root, run};
use tempfile::TempDir;

/// Runs a script of tests/peers/trame, which ends with an error where a check fails.
#[track_caller]
fn passes(test: &str, script: &str, arguments: &[&OsStr]) {
    let Some(mut python) = common::peers_with(test, "trame") else { return };
    run(python
        .arg(root("tests/peers/trame").join(script))
        .args(arguments)
        .env("TRANSUNET_LIBRARY", library())
        .env("TRANSUNET_MODELS", root("models")));
}

#[test]
fn the_effect_follows_the_editor() {
    let model = root("models/phantom.safetensors");
    passes("the_effect_follows_the_editor", "effect.py", &[demo().as_ref(), model.as_ref()]);
}

#[test]
fn a_person_segments_in_the_browser() {
    let test = "a_person_segments_in_the_browser";
    let Some(chromium) = common::program(test, "chromium") else { return };
    let folder = TempDir::new().unwrap();
    let picture = match std::env::var_os("TRANSUNET_BLESS") {
        Some(_) => root("docs/hosts/trame.png"),
        None => folder.path().join("trame.png"),
    };
    passes(test, "browser.py", &[demo().as_ref(), chromium.get_program(), picture.as_ref()]);
}
