//! What a run takes of memory hardly depends on the number of slices.

#[path = "common/phantom.rs"]
mod phantom;

use std::path::Path;
use std::process::Command;

use phantom::Phantom;
use serde_json::Value;

const SIDE: usize = 256;

/// Peak memory of the command, from a series of so many slices to a DICOM SEG; bytes.
fn peak(slices: usize) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (series, out) = (folder.path().join("series"), folder.path().join("out.dcm"));
    std::fs::create_dir(&series).unwrap();
    Phantom { size: [SIDE, SIDE, slices], spacing: [1.5, 1.5, 1.0], ..Phantom::default() }.write(&series);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/phantom.safetensors");
    let mut command = Command::new(env!("CARGO_BIN_EXE_transunet"));
    command.arg("segment").arg(&series).arg("--model").arg(model).arg("--output").arg(&out);
    let output = command.args(["--device", "cpu", "--threads", "2", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["geometry"]["size"][2], slices);
    let found = report["labels"].as_array().unwrap().iter().filter(|label| label["voxels"].as_u64() > Some(0));
    assert!(found.count() > 1, "the network finds hardly anything, which would be too easy");
    report["peak_memory_bytes"].as_u64().unwrap()
}

#[test]
fn a_long_series_takes_little_more_than_a_short_one() {
    let (short, long) = (100, 1000);
    let peaks = [short, long].map(peak);
    let more = peaks[1].saturating_sub(peaks[0]) / (long - short) as u64;
    println!("{:.1} and {:.1} MB: {more} bytes for each slice", peaks[0] as f64 / 1e6, peaks[1] as f64 / 1e6);
    assert!(more < (SIDE * SIDE / 4) as u64, "{more} bytes for each slice of {SIDE} x {SIDE} labels");
}
