//! The command on a bench: where its temporary files go, what it must say, and images for it.
#![allow(dead_code)] // each test binary uses its own part

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use dicom::dictionary_std::tags;
use dicom::object::open_file;
use serde_json::Value;
use tempfile::TempDir;

use crate::hosts;
use crate::orthanc::BASIC;

pub const AUTHORIZATION: &str = "TRANSUNET_DICOMWEB_AUTHORIZATION";

pub const STUDY: &str = "1.2.826.0.1.3680043.10.1";

pub const MULTIPART: &str = "multipart/related; type=\"application/dicom\"; boundary=frontier";

/// The command, with a folder for its temporary files, which must be empty afterwards.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Bench { folder }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.args(arguments).env("NO_COLOR", "1").env("TMPDIR", self.at("tmp"));
        for variable in
            ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", AUTHORIZATION]
        {
            command.env_remove(variable);
        }
        command
    }

    pub fn nothing_is_left(&self) {
        let left: Vec<_> = self.at("tmp").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// A run that Orthanc lets in and that must end well; what it printed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).env(AUTHORIZATION, BASIC).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", hosts::said(&output));
        self.nothing_is_left();
        String::from_utf8(output.stdout).unwrap()
    }

    /// A run without a secret that must fail with `code` and say all of `parts`.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32, parts: &[&str]) -> String {
        self.failed(self.command(arguments), code, parts)
    }

    #[track_caller]
    pub fn failed(&self, mut command: Command, code: i32, parts: &[&str]) -> String {
        let output = command.output().unwrap();
        let text = hosts::said(&output);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
        for part in parts.iter().chain(&["error: ", "hint: "]) {
            assert!(text.contains(part), "{command:?}: {part:?} is not in\n{text}");
        }
        self.nothing_is_left();
        text
    }
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Study and series UID of the demo's patient.
pub fn demo_uids() -> (String, String) {
    let file = fs::read_dir(hosts::demo().join("ct")).unwrap().next().unwrap().unwrap().path();
    let image = open_file(file).unwrap();
    let text = |tag| image.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned();
    (text(tags::STUDY_INSTANCE_UID), text(tags::SERIES_INSTANCE_UID))
}

pub fn demo_file(name: &str) -> String {
    hosts::demo().join(name).to_str().unwrap().to_owned()
}

pub fn model() -> String {
    demo_file("model.safetensors")
}

/// Bytes of `slices` images as a server sends them.
pub fn multipart(files: &[PathBuf]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend(b"--frontier\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend(fs::read(file).unwrap());
        body.extend(b"\r\n");
    }
    body.extend(b"--frontier--\r\n");
    body
}
