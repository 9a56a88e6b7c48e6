//! What sequences of calls find: files of every kind, and handles that stay.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use transunet::config::ModelConfig;
use transunet::ffi::*;
use transunet::formats::write_labels;
use transunet::geometry::Geometry;
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::network::{Architecture, initial_values};
use transunet::volume::Volume;
use transunet::weights::{BundleWriter, Precision, expected};

use super::super::Place;
use super::super::dicom::SLICES;

/// Paths to read and to write, texts, and one handle of each kind that every sequence may use.
pub struct Files {
    place: Place,
    /// Images, label images, models, folders of all of them, and what is none of these.
    pub inputs: Vec<CString>,
    pub slices: Vec<CString>,
    pub models: Vec<CString>,
    pub configurations: Vec<CString>,
    pub data: Vec<CString>,
    /// All in the folder that [`Files::clear`] empties.
    pub outputs: Vec<CString>,
    pub runs: Vec<CString>,
    pub devices: Vec<CString>,
    pub rules: Vec<CString>,
    pub tilts: Vec<CString>,
    pub content_labels: Vec<CString>,
    pub settings: Vec<CString>,
    pub runtime: *mut transunet_runtime,
    pub model: *mut transunet_model,
    pub volumes: [*mut transunet_volume; 2],
    pub labelmap: *mut transunet_labelmap,
}

impl Files {
    pub fn new() -> Self {
        let place = Place::new();
        let at = |name: &str| place.path().join(name);
        for folder in ["series", "empty", "mixed", "out", "data/imagesTr", "data/labelsTr"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        for folder in ["series", "mixed"] {
            SLICES
                .iter()
                .enumerate()
                .for_each(|(k, bytes)| fs::write(at(folder).join(format!("{k}.dcm")), bytes).expect("a file"));
        }
        fs::write(at("mixed/other.dcm"), b"no DICOM").expect("a file");
        fs::write(at("garbage.nrrd"), b"NRRD0004\ntype: nothing\n").expect("a file");
        fs::write(at("garbage.safetensors"), [7; 100]).expect("a file");
        for name in ["image.nrrd", "image.nii", "labels.seg.nrrd", "image.nii.gz"] {
            label_file(&at(name), 0);
        }
        tiny_bundle(&at("tiny.safetensors"));
        for case in 0..4 {
            label_file(&at(&format!("data/imagesTr/case_{case}.nii.gz")), case);
            label_file(&at(&format!("data/labelsTr/case_{case}.nii.gz")), case);
        }
        let dataset = br#"{"name": "Dots", "labels": {"background": 0, "one": 1, "two": 2}}"#;
        fs::write(at("data/dataset.json"), dataset).expect("a file");
        let training = "data: { folder: data }\noutput: out/run\npreset: tiny\nsplit: { validation: 0.3, seed: 1 }\n\
            architecture: { hidden: 8, heads: 1, layers: 1, mlp: 8, head_channels: 8, decoder_channels: [8, 8, 8, 8] }\n\
            input: { plane: axial, size: [16, 16], intensity: { kind: window, low: 0, high: 9 } }\n\
            steps: 2\nbatch: 2\nvalidations: 1\ncheckpoint_minutes: 0\n";
        fs::write(at("train.yaml"), training).expect("a file");

        let paths = |names: &[&str]| names.iter().map(|name| c_path(&at(name))).collect::<Vec<_>>();
        let texts = |texts: &[&str]| texts.iter().map(|&text| CString::new(text).expect("no NUL")).collect::<Vec<_>>();
        let mut files = Files {
            inputs: paths(&[
                "series",
                "image.nrrd",
                "image.nii",
                "labels.seg.nrrd",
                "series/0.dcm",
                "image.nii.gz",
                "mixed",
                "garbage.nrrd",
                "empty",
                "tiny.safetensors",
                "nowhere",
                "out",
                "nowhere.nrrd",
                "train.yaml",
            ]),
            slices: paths(&["series/0.dcm", "series/1.dcm", "mixed/0.dcm", "mixed/other.dcm", "nowhere.dcm", "series"]),
            models: paths(&["tiny.safetensors", "garbage.safetensors", "nowhere", "empty", "", "image.nrrd", "out"]),
            configurations: paths(&["train.yaml", "nowhere.yaml", "garbage.nrrd", "data/dataset.json", "data"]),
            data: paths(&["data", "empty", "series", "nowhere", "train.yaml"]),
            outputs: paths(&[
                "out/a.seg.nrrd",
                "out/a.dcm",
                "out/a.rtstruct.dcm",
                "out/a.nrrd",
                "out/a.nii",
                "out/a.nii.gz",
                "out/a.png",
                "out/a.safetensors",
                "out/a",
                "out",
                "out/nowhere/a.dcm",
                "out/a.dcm/a.nrrd",
                "out/a.txt",
            ]),
            runs: paths(&["out/run", "out/other", "out", "out/a.dcm", "out/nowhere/run"]),
            devices: texts(&[
                "cpu",
                "cpu",
                "cpu,cpu",
                "auto",
                "cuda:0",
                "vulkan:0",
                "gpu",
                "cpu:1",
                "cuda:99999999999",
            ]),
            rules: texts(&["modality=CT", "3", "1.2.3", "slices>=2", "slices>=20", "volume=1", "modality=MR,number=3"]),
            tilts: texts(&["keep", "resample", "refuse", "Keep", "none"]),
            content_labels: texts(&["SEG", "A B_9", "lower", "A LABEL OF TOO MANY LETTERS"]),
            settings: texts(&[
                "steps: 1",
                "epochs: 0",
                "batch: 1000000000",
                "start: nowhere.pth",
                "seed: -1",
                "steps: {",
                "architecture: { layers: 1000000000 }",
                "architecture: { hidden: 1000000000, heads: 1 }",
                "architecture: { decoder_channels: [0, 1, 1000000000, 1] }",
                "cache: 18446744073709551615",
                "accumulate: 0",
                "input: { plane: axial, size: [1000000, 1000000] }",
                "input: { plane: axial, size: [16, 16], spacing: [0.0001, 0.0001] }",
            ]),
            place,
            runtime: null_mut(),
            model: null_mut(),
            volumes: [null_mut(); 2],
            labelmap: null_mut(),
        };
        files.open();
        files
    }

    /// Makes the handles that stay. The first runtime says for all how many threads compute.
    fn open(&mut self) {
        let options = transunet_runtime_options {
            struct_size: size_of::<transunet_runtime_options>(),
            device: c"cpu".as_ptr(),
            kernel_cache: null(),
            log_level: TRANSUNET_LOG_DEFAULT,
            cpu_threads: 2,
            on_log: None,
            log_user_data: null_mut(),
        };
        let open = |path: &CString, out: *mut *mut transunet_volume| {
            // SAFETY: as the header asks for.
            unsafe { transunet_volume_open(path.as_ptr(), null(), null(), out, null_mut()) }
        };
        let [series, image] = &mut self.volumes;
        // SAFETY: as the header asks for.
        let statuses = unsafe {
            [
                transunet_runtime_create(&options, &mut self.runtime, null_mut()),
                transunet_model_load(
                    self.runtime,
                    self.models[0].as_ptr(),
                    null(),
                    null(),
                    &mut self.model,
                    null_mut(),
                ),
                open(&self.inputs[0], series),
                open(&self.inputs[1], image),
                transunet_segment(self.model, *series, null(), null(), &mut self.labelmap, null_mut()),
            ]
        };
        assert_eq!(statuses, [TRANSUNET_STATUS_OK; 5], "what every sequence begins with");
    }

    /// Removes what a sequence wrote.
    pub fn clear(&self) {
        let out = self.place.path().join("out");
        if fs::read_dir(&out).is_ok_and(|mut entries| entries.next().is_none()) {
            return;
        }
        fs::remove_dir_all(&out).expect("removed");
        fs::create_dir(&out).expect("a folder");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // SAFETY: made by `open`, and no sequence is running.
        unsafe {
            transunet_labelmap_free(self.labelmap);
            self.volumes.into_iter().for_each(|volume| transunet_volume_free(volume));
            transunet_model_free(self.model);
            transunet_runtime_free(self.runtime);
        }
    }
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path")
}

/// Labels 0 to 2 on a grid of 6 x 5 x 3.
fn label_file(path: &Path, seed: usize) {
    let size = [6, 5, 3];
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Geometry::new(size, [1.0, 1.0, 2.0], [0.0; 3], axes).expect("a grid");
    let voxels: Vec<u8> = (0..grid.len()).map(|at| ((at / 7 + seed) % 3) as u8).collect();
    let source = Arc::new(Volume::from_memory(grid, vec![0.0; voxels.len()], "made").expect("a volume"));
    let algorithm = Algorithm { name: "made".into(), version: "1".into() };
    let labels = vec![Label::numbered(1), Label::numbered(2)];
    write_labels(&Labelmap::new(source, voxels, labels, algorithm).expect("labels"), path).expect("written");
}

/// The smallest network, untrained.
pub fn tiny_bundle(path: &Path) {
    let architecture = Architecture {
        stem: None,
        skips: 0,
        hidden: 8,
        heads: 1,
        layers: 1,
        mlp: 8,
        head_channels: 8,
        decoder_channels: [8; 4],
        ..Architecture::tiny(16, 3)
    };
    let mut bundle =
        BundleWriter::create(path, &ModelConfig::undescribed(architecture.clone()), Precision::Half).expect("a bundle");
    for (name, shape) in expected(&architecture) {
        if !shape.is_empty() {
            bundle.put(&name, &initial_values(1, &name, &shape)).expect("a tensor");
        }
    }
    bundle.finish().expect("written");
}
