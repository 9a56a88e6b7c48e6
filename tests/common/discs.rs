//! A made-up training set of six small images with two discs each.
#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use transunet::formats::write_labels;
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::volume::Volume;

pub const SIZE: [usize; 3] = [30, 28, 5];
const CASES: usize = 6;

/// Writes bytes as a NIfTI file: label files of the library are 8-bit images.
pub fn write(path: &Path, voxels: Vec<u8>) {
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let geometry = Geometry::new(SIZE, [1.0, 1.0, 3.0], [0.0; 3], axes).unwrap();
    let source = Volume::from_memory(geometry, vec![0.0; voxels.len()], "test").unwrap();
    let labels = (1..=255).map(Label::numbered).collect();
    let algorithm = Algorithm { name: "test".into(), version: "1".into() };
    write_labels(&Labelmap::new(Arc::new(source), voxels, labels, algorithm).unwrap(), path).unwrap();
}

/// A bright disc (label 1) and a grey one (label 2) that differ from case to case, with noise.
pub fn case(n: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut image, mut truth) = (Vec::new(), Vec::new());
    let mut noise = n as u64 * 7919 + 1;
    for k in 0..SIZE[2] {
        for j in 0..SIZE[1] {
            for i in 0..SIZE[0] {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let within = |x: usize, y: usize, r: usize| i.abs_diff(x).pow(2) + j.abs_diff(y).pow(2) < r * r;
                let label = match () {
                    () if within(8 + n % 3, 9 + k % 2, 5) => 1,
                    () if within(20, 17 - n % 4, 6) => 2,
                    () => 0,
                };
                truth.push(label);
                image.push([30, 200, 110][usize::from(label)] + (noise >> 59) as u8);
            }
        }
    }
    (image, truth)
}

/// The set, in a folder of its own.
pub struct Set {
    folder: TempDir,
}

impl Set {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for part in ["data/imagesTr", "data/labelsTr"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let set = Set { folder };
        for n in 0..CASES {
            let (image, truth) = case(n);
            write(&set.at(&format!("data/imagesTr/case_{n}.nii.gz")), image);
            write(&set.at(&format!("data/labelsTr/case_{n}.nii.gz")), truth);
        }
        let description = r#"{"name": "Discs", "labels": {"background": 0, "bright": 1, "grey": 2}}"#;
        std::fs::write(set.at("data/dataset.json"), description).unwrap();
        set
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration of a small network that writes to `output`.
    pub fn config(&self, output: &str, more: &str) -> PathBuf {
        let path = self.at(&format!("{output}.yaml"));
        let text = format!(
            "data: {{ folder: data }}\nsplit: {{ validation: 0.3, seed: 1 }}\noutput: {output}\npreset: tiny\n\
             architecture: {{ hidden: 16, heads: 2, layers: 1, mlp: 16, head_channels: 16, decoder_channels: [16, 8, 8, 8] }}\n\
             input: {{ plane: axial, size: [32, 32], intensity: {{ kind: window, low: 0, high: 255 }} }}\n\
             steps: 12\nbatch: 4\nvalidations: 3\ncheckpoint_minutes: 0\n{more}"
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}
