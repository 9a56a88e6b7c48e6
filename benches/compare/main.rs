//! Our side of `compare.py`: makes a series, or passes made-up slices through the network for each line that it reads.

use std::error::Error;
use std::fs;
use std::io::{BufRead, stdin};
use std::path::Path;
use std::time::Instant;

use dicom::dictionary_std::uids;
use serde_json::json;
use transunet::device::{Devices, cpu_threads};
use transunet::model::Model;

#[path = "../common/program.rs"]
mod program;
#[path = "../common/series.rs"]
mod series;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = program::arguments();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["make", folder, slices] => {
            series::make(Path::new(folder), slices.parse()?, uids::EXPLICIT_VR_LITTLE_ENDIAN)?;
            Ok(program::tell(&json!({ "side": series::SIDE }))?)
        }
        ["forward", folder, batch, threads] => forward(Path::new(folder), batch.parse()?, threads.parse()?),
        _ => {
            println!("benches/compare/run measures the network against PyTorch, ONNX Runtime and OpenVINO");
            Ok(())
        }
    }
}

/// An empty line is a pass over the first `batch` of `slices.raw`; a line with a path writes the logits there too.
fn forward(folder: &Path, batch: usize, threads: usize) -> Result<(), Box<dyn Error>> {
    let threads = cpu_threads(threads);
    let model = Model::load(&Devices::cpu(), &folder.join("weights.safetensors"))?;
    let [height, width] = model.config().input_size();
    let shape = [batch, 1, height, width];
    let mut pixels: Vec<f32> = bytemuck::pod_collect_to_vec(&fs::read(folder.join("slices.raw"))?);
    pixels.truncate(shape.iter().product());
    program::tell(&json!({ "pid": std::process::id(), "threads": threads, "version": env!("CARGO_PKG_VERSION") }))?;
    for line in stdin().lock().lines() {
        let out = line?;
        let input = pixels.clone();
        let began = Instant::now();
        let logits = model.first().logits(input, shape)?;
        let seconds = began.elapsed().as_secs_f64();
        if !out.is_empty() {
            fs::write(out, bytemuck::cast_slice::<f32, u8>(&logits))?;
        }
        program::tell(&json!({ "seconds": seconds }))?;
    }
    Ok(())
}
