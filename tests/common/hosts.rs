//! What tests of host platforms run: the library under its run-time name, the command, a finished demo.
#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn library() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().join("libtransunet.so")
}

/// Both streams of a finished program, for the message of a failed test.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a program that must succeed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    said(&crate::common::run(command))
}

pub fn transunet(arguments: &[&Path]) {
    run(Command::new(env!("CARGO_BIN_EXE_transunet")).args(arguments).arg("--quiet"));
}

/// A finished `transunet demo`, made once for a test binary.
pub fn demo() -> &'static Path {
    static DEMO: OnceLock<TempDir> = OnceLock::new();
    let folder = DEMO.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        transunet(&["demo".as_ref(), "--output".as_ref(), folder.path()]);
        folder
    });
    folder.path()
}
