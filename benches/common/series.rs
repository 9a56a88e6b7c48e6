//! Makes a long CT series for benchmarks: a body of soft gradients with a scanner's noise in air.

use std::error::Error;
use std::fs;
use std::path::Path;

use dicom::dictionary_std::uids;
use dicom::encoding::TransferSyntaxIndex as _;
use dicom::pixeldata::Transcode as _;
use dicom::transfer_syntax::TransferSyntaxRegistry;
use rayon::prelude::*;
use transunet::geometry::Geometry;
use transunet::random;

#[path = "../../src/cli/phantom/image.rs"]
mod image;

/// Rows and columns of a slice.
pub const SIDE: usize = 512;

/// `folder/0000.dcm` and so on, in this transfer syntax.
pub fn make(folder: &Path, slices: usize, syntax: &str) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let geometry = Geometry::new([SIDE, SIDE, slices], [0.75, 0.75, 0.5], [-192.0, -192.0, 0.0], axes)?;
    let made: Result<Vec<()>, String> = (0..slices)
        .into_par_iter()
        .map(|k| slice(folder, &geometry, k, syntax).map_err(|error| error.to_string()))
        .collect();
    made?;
    Ok(())
}

fn slice(folder: &Path, geometry: &Geometry, k: usize, syntax: &str) -> Result<(), Box<dyn Error>> {
    let mut noise = random::stream(k as u64, "noise", &[]);
    let words = (0..SIDE * SIDE).map(|at| {
        let (x, y) = ((at % SIDE) as f64 - 256.0, (at / SIDE) as f64 - 256.0);
        let inside = (x / 200.0).powi(2) + (y / 140.0).powi(2) < 1.0;
        let tissue = if inside { 1060.0 + 40.0 * (x / 37.0).sin() * (y / 53.0 + k as f64 / 71.0).cos() } else { 20.0 };
        (tissue + noise.between(-12.0, 12.0)) as u16
    });
    let mut file = image::image(0, geometry, k, words.collect())?;
    if syntax != uids::EXPLICIT_VR_LITTLE_ENDIAN {
        file.transcode(TransferSyntaxRegistry.get(syntax).ok_or("an unknown transfer syntax")?)?;
    }
    file.write_to_file(folder.join(format!("{k:04}.dcm")))?;
    Ok(())
}
