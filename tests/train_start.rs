//! Training that starts from other weights: what fits is taken as it is, heads of another class count start anew.

mod common;
#[path = "common/discs.rs"]
mod discs;
#[path = "common/name_weights.rs"]
mod name_weights;

use std::path::{Path, PathBuf};
use std::process::Command;

use discs::Set;
use transunet::config::ModelConfig;
use transunet::device::Devices;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::weights::{Checkpoint, Precision};

/// Sizes of the golden network `vit`, of 4 classes.
const VIT: &str = "{ preset: vit-b16, hidden: 8, heads: 2, layers: 2, mlp: 20, decoder_channels: [6, 5, 4, 3] }";
/// Sizes of the golden network `r50`.
const R50: &str = "{ preset: r50-vit-b16, stem: { width: 32, units: [2, 1, 1] }, hidden: 16, heads: 2, layers: 2, \
                   mlp: 40, decoder_channels: [12, 8, 6, 4] }";
const SMALL: &str = "{ preset: tiny, hidden: 16, heads: 2, layers: 1, mlp: 16 }";

/// One step too small to change anything, from `start`, of 3 classes.
fn trained(set: &Set, start: &Path, architecture: &str, side: usize) -> (String, PathBuf) {
    let config = set.at("start.yaml");
    let text = format!(
        "data: {{ folder: data }}\nsplit: {{ validation: 0.3, seed: 1 }}\noutput: out\nstart: '{}'\n\
         architecture: {architecture}\n\
         input: {{ plane: axial, size: [{side}, {side}], intensity: {{ kind: window, low: 0, high: 255 }} }}\n\
         steps: 1\nbatch: 2\nvalidations: 0\naverage: 0\nfreeze_statistics: true\nclip: 1\n\
         optimizer: {{ kind: sgd, rate: 1.0e-300, weight_decay: 0 }}\n",
        start.display()
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_transunet"))
        .args(["train", "-v", "--device", "cpu"])
        .arg(&config)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() || said.contains("error:"), "{said}");
    (said, set.at("out/model.safetensors"))
}

/// Names of the tensors that differ from those of `start`, brought to the network's size.
fn anew(start: &Path, model: &Path) -> Vec<String> {
    let (start, model) = (Checkpoint::open(start).unwrap(), Checkpoint::open(model).unwrap());
    let (config, _) = model.describe().unwrap();
    let same = |name: &String| {
        start.tensors.contains_key(name)
            && start.read_for(name, &config.architecture, false).ok() == model.read(name).ok()
    };
    model.tensors.keys().filter(|name| !name.ends_with("num_batches_tracked") && !same(name)).cloned().collect()
}

const HEAD: [&str; 2] = ["segmentation_head.0.bias", "segmentation_head.0.weight"];

#[test]
fn from_a_pytorch_checkpoint_of_four_classes() {
    let Some(folder) = common::golden("start from .pth", "vit") else { return };
    let (set, start) = (Set::new(), folder.join("model.pth"));
    let (said, model) = trained(&set, &start, VIT, 64);
    assert!(said.contains("2 tensors start anew: segmentation_head.0"), "{said}");
    assert_eq!(anew(&start, &model), HEAD);
    assert_eq!(Checkpoint::open(&model).unwrap().entry(HEAD[1]).unwrap().shape(), [3, 3, 3, 3]);
}

#[test]
fn from_a_bundle_of_five_classes_and_another_size() {
    let set = Set::new();
    let start = set.at("five.safetensors");
    let architecture = Architecture { hidden: 16, heads: 2, layers: 1, mlp: 16, ..Architecture::tiny(64, 5) };
    let device = Devices::cpu();
    let values = |name: &str, shape: &[usize]| Ok(name_weights::values(1, 24, name, shape));
    Model::with_values(&device, ModelConfig::undescribed(architecture), values)
        .unwrap()
        .save(&start, Precision::Single)
        .unwrap();
    let (said, model) = trained(&set, &start, SMALL, 32);
    assert!(said.contains("2 tensors start anew"), "{said}");
    assert_eq!(anew(&start, &model), HEAD);
}

#[test]
fn from_googles_weights() {
    let Some(folder) = common::golden("start from .npz", "r50") else { return };
    let (set, start) = (Set::new(), folder.join("google.npz"));
    let (said, model) = trained(&set, &start, R50, 64);
    assert!(model.exists(), "{said}");
    let anew = anew(&start, &model);
    assert!(anew.iter().all(|name| name.starts_with("decoder.") || name.starts_with("segmentation_head.")), "{anew:?}");
    assert!(anew.contains(&"decoder.conv_more.0.weight".to_owned()));
}

#[test]
fn weights_of_another_network_are_refused() {
    let Some(folder) = common::golden("start from .pth", "vit") else { return };
    let set = Set::new();
    let (said, model) = trained(&set, &folder.join("model.pth"), SMALL, 32);
    assert!(said.contains("model.pth: the tensors do not fit the network") && !model.exists(), "{said}");
    let (said, _) = trained(&set, &set.at("absent.pth"), SMALL, 32);
    assert!(said.contains("absent.pth: cannot open"), "{said}");
}
