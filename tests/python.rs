//! The Python module of hosts/python, checked by the scripts of tests/peers/python against the library and the command.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/hosts.rs"]
mod hosts;

use hosts::{demo, library, root, run};

#[track_caller]
fn passes(script: &str) {
    let Some(mut python) = common::peers(script) else { return };
    let text = run(python
        .arg(root("tests/peers/python").join(script))
        .env("TRANSUNET_LIBRARY", library())
        .env("TRANSUNET_COMMAND", env!("CARGO_BIN_EXE_transunet"))
        .env("TRANSUNET_DEMO", demo())
        .env("TRANSUNET_MODELS", root("models")));
    assert!(text.contains(" checks, 0 failures"), "{text}");
}

#[test]
fn follows_the_header() {
    if common::program("follows_the_header", "cc").is_some() {
        passes("layout.py");
    }
}

#[test]
fn opens_volumes() {
    passes("volumes.py");
}

#[test]
fn results_are_those_of_the_command() {
    passes("results.py");
}

#[test]
fn long_calls_are_watched_and_stopped() {
    passes("calls.py");
}
