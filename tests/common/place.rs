//! Trees of images for `transunet batch`, the command on them, and what it told.
#![allow(dead_code)] // each test binary uses its own part

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::phantom::Phantom;
use serde_json::Value;
use tempfile::TempDir;
use transunet::config::ModelConfig;
use transunet::device::Devices;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::weights::Precision;

/// A small model without training, which still tells places apart.
pub fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| untrained("batch.safetensors", 3))
}

pub fn untrained(name: &str, seed: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let config = ModelConfig::undescribed(Architecture::tiny(64, 4));
    let model = Model::untrained(&Devices::cpu(), config, seed).unwrap();
    model.save(&path, Precision::Single).unwrap();
    path
}

/// Folders for images and results.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        Place { folder }
    }

    /// `count` small series, in folders of their own.
    pub fn with_series(count: usize, slices: usize) -> Self {
        let place = Place::new();
        for n in 1..=count {
            place.series(&format!("study-{}/series-{n}", n % 2), &format!("1.2.{n}"), slices);
        }
        place
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder below the images.
    pub fn images(&self, name: &str) -> PathBuf {
        let folder = self.at("in").join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub fn series(&self, folder: &str, uid: &str, slices: usize) -> Vec<PathBuf> {
        phantom(uid, slices).write(&self.images(folder))
    }

    /// The command that segments "in" to `output`.
    pub fn command(&self, output: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
        command.arg("batch").arg(self.at("in")).arg(self.at(output)).arg("--model").arg(model());
        command.args(["--device", "cpu", "--json"]).args(more).env("NO_COLOR", "1");
        command
    }

    /// A run that must end with `code`; what it told.
    #[track_caller]
    pub fn run(&self, output: &str, more: &[&str], code: i32) -> Told {
        let run = self.command(output, more).output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{more:?}: {}", err(&run));
        Told(lines(&String::from_utf8(run.stdout).unwrap()))
    }

    pub fn manifest(&self, output: &str) -> Told {
        Told(lines(&fs::read_to_string(self.at(output).join("manifest.jsonl")).unwrap()))
    }

    /// Contents of all results in `output`, which must hold nothing but them, its settings, manifests and their locks.
    pub fn results(&self, output: &str) -> BTreeMap<String, Vec<u8>> {
        let mut results = BTreeMap::new();
        for entry in fs::read_dir(self.at(output)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                for file in fs::read_dir(&path).unwrap() {
                    let file = file.unwrap();
                    let place = format!("{name}/{}", file.file_name().to_str().unwrap());
                    results.insert(place, fs::read(file.path()).unwrap());
                }
            } else {
                let known = name == "batch.json" || name.starts_with("manifest") || name.ends_with(".lock");
                assert!(known, "{name} was left behind");
            }
        }
        results
    }
}

/// Series as a run or a manifest tells of them.
pub struct Told(pub Vec<Value>);

impl Told {
    pub fn names(&self, status: &str) -> Vec<&str> {
        let lines = self.0.iter().filter(|line| line["status"] == status);
        lines.map(|line| line["name"].as_str().unwrap()).collect()
    }

    /// The one line about a series or path.
    #[track_caller]
    pub fn about(&self, what: &str) -> &Value {
        let about: Vec<&Value> =
            self.0.iter().filter(|line| line["series_uid"] == what || line["paths"][0] == what).collect();
        assert_eq!(about.len(), 1, "lines about {what}: {:?}", self.0);
        about[0]
    }
}

pub fn phantom(uid: &str, slices: usize) -> Phantom {
    Phantom { size: [40, 36, slices], series_uid: uid.into(), ..Phantom::default() }
}

pub fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
