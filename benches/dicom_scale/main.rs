//! Our side of `compare.py`: makes a long series, reads its headers, decodes it, writes a DICOM SEG. Each call is one process.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};
use transunet::control::Control;
use transunet::dicom::{SegOptions, Series, SeriesOptions, scan, write_seg};
use transunet::labelmap::{Algorithm, Labelmap};
use transunet::labels::Label;
use transunet::packed::Packer;
use transunet::volume::Volume;

#[path = "../common/program.rs"]
mod program;
#[path = "../common/series.rs"]
mod series;

use series::SIDE;

const LABELS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = program::arguments();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let mut answer = match words[..] {
        ["make", folder, slices, syntax] => make(Path::new(folder), slices.parse()?, syntax)?,
        ["metadata", folder] => metadata(Path::new(folder))?,
        ["decode", folder] => decode(Path::new(folder))?,
        ["write", folder, out] => write(Path::new(folder), Path::new(out))?,
        _ => {
            println!("benches/dicom_scale/run measures long series against pydicom and highdicom");
            return Ok(());
        }
    };
    answer["seconds"] = json!(began.elapsed().as_secs_f64());
    Ok(program::tell(&answer)?)
}

fn open(folder: &Path) -> transunet::Result<Series> {
    let scan = scan(&[folder.join("series")], &mut Control::none())?;
    Series::from_summary(&scan.series[0], &SeriesOptions::default())
}

fn metadata(folder: &Path) -> Result<Value, Box<dyn Error>> {
    let series = open(folder)?;
    let last = series.instances.last().map(|instance| instance.position);
    Ok(json!({ "check": [series.instances.len(), series.geometry.spacing[2], series.instances[0].position, last] }))
}

fn decode(folder: &Path) -> Result<Value, Box<dyn Error>> {
    let volume = Volume::from_series(Arc::new(open(folder)?));
    let mut sum = 0.0;
    volume.for_each_slice(|_, slice| {
        sum += slice.iter().map(|&value| f64::from(value)).sum::<f64>();
        Ok(())
    })?;
    Ok(json!({ "check": sum }))
}

fn write(folder: &Path, out: &Path) -> Result<Value, Box<dyn Error>> {
    let volume = Arc::new(Volume::from_series(Arc::new(open(folder)?)));
    let labels = (1..=LABELS as u8).map(Label::numbered).collect();
    let algorithm = Algorithm { name: "benchmark".into(), version: "1".into() };
    // A slice at a time, as the network gives them.
    let (mut file, mut packer) = (File::open(folder.join("labels.raw"))?, Packer::default());
    let (mut slice, mut slices) = (vec![0; SIDE * SIDE], Vec::new());
    for _ in 0..volume.geometry().slices() {
        file.read_exact(&mut slice)?;
        slices.push(packer.pack(&slice, SIDE)?);
    }
    let labelmap = Labelmap::of_slices(volume, slices, labels, algorithm)?;
    write_seg(&labelmap, out, &SegOptions::default(), &mut Control::none())?;
    Ok(json!({}))
}

/// `series/0000.dcm` and so on; `labels.raw`: eight balls.
fn make(folder: &Path, slices: usize, syntax: &str) -> Result<Value, Box<dyn Error>> {
    series::make(&folder.join("series"), slices, syntax)?;
    let balls: Vec<[f64; 4]> = (0..LABELS)
        .map(|n| {
            let angle = n as f64 * 0.785;
            let depth = (n as f64 + 0.5) / LABELS as f64;
            [256.0 + 120.0 * angle.cos(), 256.0 + 120.0 * angle.sin(), depth * slices as f64, 45.0]
        })
        .collect();
    let mut labels = vec![0u8; slices * SIDE * SIDE];
    labels.par_chunks_exact_mut(SIDE * SIDE).enumerate().for_each(|(k, slice)| {
        for (label, [x, y, z, radius]) in (1..).zip(&balls) {
            // Stretched along the patient: a ball of each label lies in three tenths of the slices.
            let depth = (k as f64 - z) * radius / (0.15 * slices as f64);
            for (at, voxel) in slice.iter_mut().enumerate() {
                let (i, j) = ((at % SIDE) as f64, (at / SIDE) as f64);
                if (i - x).powi(2) + (j - y).powi(2) + depth.powi(2) < radius.powi(2) {
                    *voxel = label;
                }
            }
        }
    });
    fs::write(folder.join("labels.raw"), labels)?;
    Ok(json!({}))
}
