//! What loading a full-size model takes: memory is held to a bound, the time is printed.

#[path = "common/checkpoints.rs"]
#[allow(dead_code)]
mod checkpoints;
#[path = "common/name_weights.rs"]
mod name_weights;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use transunet::config::ModelConfig;
use transunet::device::Devices;
use transunet::model::Model;
use transunet::network::Architecture;
use transunet::weights::{BundleWriter, Precision, expected};

fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    if name.ends_with("num_batches_tracked") { vec![7.0] } else { name_weights::values(1, 24, name, shape) }
}

/// Each format in a process of its own, so that its peak memory is its own.
#[test]
fn the_full_size_loads_lean() {
    let folder = tempfile::tempdir().unwrap();
    let config = ModelConfig::undescribed(Architecture::r50_vit_b16(224, 9));
    let tensors = expected(&config.architecture);
    let (pth, bundle) = (folder.path().join("full.pth"), folder.path().join("full.safetensors"));
    checkpoints::write_pth(&pth, &tensors, values);
    let mut writer = BundleWriter::create(&bundle, &config, Precision::Single).unwrap();
    for (name, shape) in &tensors {
        writer.put(name, &values(name, shape)).unwrap();
    }
    writer.finish().unwrap();
    for path in [pth, bundle] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let args = ["--ignored", "--exact", "load_in_a_process_of_its_own", "--nocapture"];
        let out = child.args(args).env("TRANSUNET_TEST_LOAD", &path).output().unwrap();
        let out = String::from_utf8_lossy(&out.stdout).into_owned();
        let (_, figures) = out.lines().find_map(|line| line.split_once("LOADED ")).unwrap_or_else(|| panic!("{out}"));
        let (seconds, peak) = figures.split_once(' ').unwrap();
        let size = std::fs::metadata(&path).unwrap().len() as f64;
        let ratio = peak.parse::<f64>().unwrap() / size;
        println!("{}: {:.0} MB in {seconds} s, peak memory {ratio:.3} x its size", path.display(), size / 1e6);
        assert!((1.0..1.3).contains(&ratio), "peak memory is {ratio:.3} x the size of {}", path.display());
    }
}

#[test]
#[ignore = "run by the_full_size_loads_lean"]
fn load_in_a_process_of_its_own() {
    let Some(path) = std::env::var_os("TRANSUNET_TEST_LOAD") else { return };
    let start = Instant::now();
    let model = Model::load(&Devices::cpu(), Path::new(&path)).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(model.config().architecture, Architecture::r50_vit_b16(224, 9));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024;
    println!("LOADED {seconds:.2} {peak}");
}
